"""Differences between axes, on features whose differences are known."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from oacore.errors import InputError
from oacore.instruments.axis.axis import MEASURES, fit_axis, geometry_values
from oacore.instruments.axis.effects import compare_axes
from oacore.metrics.resampling import resample_counts


def model(supervision, seed=0, noise=1.0, backbone="m3t", order=None):
    rng = np.random.default_rng([seed, len(supervision)])
    kl = np.random.default_rng(7).permutation(np.arange(100) % 5)
    features = rng.normal(size=(100, 3))
    features[:, 0] = 4 * (kl + rng.normal(0, noise, 100))
    own = pd.DataFrame({"kl": kl, "split": np.where(np.arange(100) < 60, "train", "test")})
    own.index = pd.Index(np.arange(100) if order is None else order, name="case_id")
    return {"backbone": backbone, "supervision": supervision, "seed": seed}, features, own


def of(table, reference, measure="rho_kl"):
    rows = table[(table["reference"] == reference) & (table["measure"] == measure)]
    assert len(rows) == 1
    return rows.iloc[0]


def test_a_difference_is_that_of_the_two_correlations():
    models = [model("single_oa", noise=3), model("single_kl"), model("dual", noise=0.2)]
    table = compare_axes(models, n_resamples=300, seed=0)
    assert table["reference"].unique().tolist() == ["single_oa", "single_kl"]
    assert table["measure"].tolist() == [*MEASURES] * 2
    rho = {}
    for run, features, own in models:
        test = (own["split"] == "test").to_numpy()
        pc1 = fit_axis(features, own["kl"], test).scores[test, 0]
        rho[run["supervision"]] = spearmanr(pc1, own["kl"][test]).statistic
    for name in ("single_oa", "single_kl"):
        row = of(table, name)
        assert row["value_other"] == pytest.approx(rho["dual"])
        assert row["value_reference"] == pytest.approx(rho[name])
        assert row["value"] == pytest.approx(rho["dual"] - rho[name])
        # With one seed there is nothing to draw from.
        assert (row["low"], row["high"]) == (row["knees_low"], row["knees_high"])
    assert of(table, "single_oa")["low"] > 0 and np.isnan(of(table, "single_oa")["p_value"])


def test_both_models_see_the_same_resamples():
    models = [model("single_oa"), model("dual")]
    table = compare_axes(models, n_resamples=50, seed=3)
    counts = resample_counts(40, 50, np.random.default_rng(3))
    delta = 0
    for (_, features, own), sign in zip(models, (-1, 1), strict=True):
        test = (own["split"] == "test").to_numpy()
        delta = delta + sign * geometry_values(features, own["kl"], test, counts)["rho_kl"]
    row = of(table, "single_oa")
    np.testing.assert_allclose(
        [row["knees_low"], row["knees_high"]], np.quantile(delta, [0.025, 0.975])
    )
    same = compare_axes([models[1], (dict(models[1][0], supervision="single_kl"), *models[1][1:])],
                        n_resamples=50, seed=3)  # fmt: skip
    assert (same[["value", "low", "high"]] == 0).all().all()


def test_seeds_are_averaged_paired_by_number_and_widen_the_interval():
    quality = {0: 0.2, 1: 2.0}
    models = [model("dual", seed, noise) for seed, noise in quality.items()]
    models += [model("single_kl", seed) for seed in (0, 1, 2)]
    row = of(compare_axes(models, n_resamples=400, seed=0), "single_kl")
    alone = [
        of(compare_axes([m for m in models if m[0]["seed"] == seed], n_resamples=9, seed=0),
           "single_kl")["value"]
        for seed in quality
    ]  # fmt: skip
    assert (
        row["seeds"] == 2 and row["knees"] == 40 and row["value"] == pytest.approx(np.mean(alone))
    )
    assert row["high"] - row["low"] > 1.5 * (row["knees_high"] - row["knees_low"])


def test_the_protocol_is_passed_on():
    models = [model("single_oa"), model("dual")]
    for _, features, _ in models:
        features[:, 1] *= 100  # without scaling this is PC1, and about nothing
    found = {
        protocol: of(compare_axes(models, protocol, n_resamples=5, seed=0), "single_oa")
        for protocol in ("train-fit", "as printed")
    }
    assert found["train-fit"]["value_other"] > 0.5 > found["as printed"]["value_other"]


def test_models_that_cannot_be_compared_are_refused():
    with pytest.raises(InputError, match="no model"):
        compare_axes([], n_resamples=5, seed=0)
    with pytest.raises(InputError, match="m3t dual seed 0 is of other knees"):
        compare_axes(
            [model("single_oa"), model("dual", order=np.arange(100)[::-1])], n_resamples=5, seed=0
        )
    with pytest.raises(InputError, match="no Dual model"):
        compare_axes([model("single_oa", 1), model("dual", 0)], n_resamples=5, seed=0)
    with pytest.raises(InputError, match="no Dual model"):
        compare_axes([model("single_oa"), model("dual", backbone="resnet3d")],
                     n_resamples=5, seed=0)  # fmt: skip
