"""What was measured on 5,507 real readings, found again; and the trial on drawn grades.

Figures marked `QUOTED` were measured once, by another program that this project does not have. The
tolerances follow from how much they differ between seeds.
"""

import numpy as np
import pandas as pd
import pytest

from oacore.errors import InputError
from oacore.instruments.coherence import trial
from oacore.instruments.coherence.joint import fit_joint
from oacore.instruments.coherence.mixture import fit_mixture
from oacore.instruments.coherence.patterns import (
    CORRUPTIONS,
    GRADES,
    blurred,
    drawn_patterns,
    one_hot,
    pattern_counts,
    readings,
)
from oacore.instruments.coherence.trial import SPEARMAN

#: Held-out AUC at the three corruptions, and Spearman's rho with KL.
QUOTED = {
    "Gaussian mixture": (0.846, 0.904, 0.803, -0.69),
    "exact joint": (0.854, 0.906, 0.811, None),
    "joint x rule": (0.865, 0.968, 0.930, None),
    "joint x rule, given KL": (0.876, 0.967, 0.922, None),
    "KL given the other six": (0.833, 0.991, 0.982, 0.64),
}
#: By measure. Those of the joint distribution hang on how it is smoothed: see test_other_rule.
WITHIN = dict(zip(CORRUPTIONS, (0.02, 0.012, 0.02), strict=True)) | {SPEARMAN: 0.09}
LOSS_BY_KL = 0.16, 0.17, 0.78, 1.29, 2.83
#: Three standard errors of a difference of two means of five seeds, from 40 seeds.
LOSS_WITHIN = 0.17, 0.17, 0.21, 0.33, 1.4


@pytest.fixture(scope="module")
def table(shared):
    return pd.read_csv(shared / "real/oarsi_grades/oarsi_pattern_counts.csv", comment="#")


@pytest.fixture(scope="module")
def patterns(table):
    return pattern_counts(table)


@pytest.fixture(scope="module")
def found(patterns):
    return trial.held_out(patterns, seeds=range(5))


@pytest.fixture(scope="module")
def losses(patterns):
    return trial.loss_by_grade(patterns, seeds=range(5))


def means(found):
    return found.groupby(["score", "measure"])["value"].mean()


@pytest.mark.parametrize("score", QUOTED)
def test_held_out_auc(score, found):
    mean = means(found)[score]
    for measure, quoted in zip((*CORRUPTIONS, SPEARMAN), QUOTED[score], strict=True):
        if quoted is not None:
            assert mean[measure] == pytest.approx(quoted, abs=WITHIN[measure]), measure


def test_auc_hardly_differs_between_halves(found):
    """The quoted standard deviations are at most .009; the mixture's off by one has .02 here."""
    spread = found[found["measure"] != SPEARMAN].groupby(["score", "measure"])["value"].std()
    exact = spread.drop("Gaussian mixture")
    assert exact.max() <= 0.009
    assert spread["Gaussian mixture"].max() < 0.025


def test_the_order_of_the_measures(found):
    mean = means(found).unstack()
    off = mean["KL off by one"]
    assert off["Gaussian mixture"] < off["joint x rule, given KL"] - 0.09
    shuffled = mean["every grade shuffled"]
    assert shuffled["Gaussian mixture"] < shuffled["joint x rule, given KL"] - 0.02
    # Severity: taxed least by the levelled form.
    rho = mean[SPEARMAN]
    assert rho["joint x rule"] < rho["joint x rule, given KL"] < -0.5
    assert abs(rho["joint x rule, levelled"]) < 0.15
    assert off["joint x rule, levelled"] > off["joint x rule, given KL"]


def simple_rule(grades):
    """KL 2 from any osteophyte on, and 1 from JSN 1: one line, right in 89.4% of the knees."""
    jsn = grades[:, 5:].max(1)
    osteophyte = grades[:, 1:5].max(1) >= 1
    return np.where(jsn >= 2, jsn + 1, np.where(osteophyte, 2, np.minimum(jsn, 1)))


def test_other_rule(patterns):
    """The quoted figures of the rule are of a simpler one than ours, right in 89.6% of the knees.

    With it, .786 .961 .924 for the rule alone, and Spearman's rho of -.46 and -.40, which ours
    does not give.
    """
    known = readings(patterns)
    assert (simple_rule(known) == known[:, 0]).mean() == pytest.approx(0.896, abs=0.003)
    assert (trial.by_rule(known) == 0).sum() == 5107  # 92.7%

    def scores(grades, seed):
        joint = fit_joint(grades, rule=0, strength=100)
        of_kl = np.log(joint.weight.reshape(5, -1).sum(axis=1))

        def obeys(tried):
            return -np.abs(simple_rule(tried) - tried[:, 0])

        return {
            "rule": obeys,
            "ruled": lambda tried: joint.score(tried) + 4 * obeys(tried),
            "given": lambda tried: joint.score(tried) + 4 * obeys(tried) - of_kl[tried[:, 0]],
        }

    mean = means(trial.held_out(patterns, seeds=range(5), scores=scores)).unstack()
    columns = [*CORRUPTIONS, SPEARMAN]
    for name, quoted in {
        "rule": (0.786, 0.961, 0.924),
        "ruled": (0.865, 0.968, 0.930, -0.46),
        "given": (0.876, 0.967, 0.922, -0.40),
    }.items():
        within = (0.008, 0.008, 0.008, 0.025)
        for measure, value, allowed in zip(columns, quoted, within, strict=False):
            assert mean.loc[name, measure] == pytest.approx(value, abs=allowed), (name, measure)


def test_the_mixture_taxes_severity(losses):
    mixture = losses[losses["loss"] == "Gaussian mixture"].groupby("kl")["true"].mean()
    assert (np.abs(mixture.to_numpy() - LOSS_BY_KL) <= LOSS_WITHIN).all()
    assert mixture[4] > 2 * mixture[3] > 2 * mixture[2] > 6 * mixture[0]
    level = losses[losses["loss"] == "joint x rule, levelled"].groupby("kl")["true"].mean()
    assert level.max() - level.min() < 1.2 and level[4] < level[1]


def overall(losses, name):
    """Mean over all knees of true and of blurred answers, by seed."""
    rows = losses[losses["loss"] == name]
    sums = rows[["true", "blurred"]].mul(rows["knees"], axis=0).groupby(rows["seed"]).sum()
    return sums.div(rows.groupby("seed")["knees"].sum(), axis=0)


def test_the_mixture_pays_for_vague_answers(losses):
    """Quoted: 1.13 to .58, which is .51 of it.

    The share is found, to two and a half times its standard deviation of .036 over 40 halves. The
    level is not: it is .76 here, and .79 in those 40, with a standard deviation of .11.
    """
    mixture = overall(losses, "Gaussian mixture")
    assert (mixture["blurred"] / mixture["true"]).mean() == pytest.approx(0.51, abs=0.09)
    assert mixture["true"].mean() == pytest.approx(0.79, abs=0.12)
    for name in ("exact joint", "joint x rule", "joint x rule, given KL", "joint x rule, levelled"):
        exact = overall(losses, name)
        assert (exact["blurred"] > exact["true"] + 0.5).all()


def test_without_noise_g_explodes(table):
    """In the order of the file, on which the optimum found hangs as on a seed."""
    rows = table.rename(columns=dict(zip(("KL", "FL", "FM", "TL", "TM", "JM", "JL"), GRADES,
                                         strict=True)))  # fmt: skip
    grades = readings(rows)
    mixture = fit_mixture(grades, sigma=0, seed=0)
    g = mixture.score(one_hot(grades))
    assert g.min() == pytest.approx(-122, abs=1) and g.max() == pytest.approx(144, abs=1)
    assert mixture.score(blurred(one_hot(grades[:1]), 1))[0] == pytest.approx(-245_180, abs=50)


def test_g_by_sigma(patterns):
    by_seed = pd.concat(
        trial.g_by_sigma(patterns, (0, 0.05, 0.1, 0.2, 0.3), seed=seed) for seed in range(2)
    )
    mean = by_seed.groupby("sigma").mean()
    quoted = {0.05: (38, 4), 0.1: (22, 2.5), 0.2: (8.3, 1.5), 0.3: (-1.1, 1.2)}
    for sigma, (median, within) in quoted.items():
        assert mean.loc[sigma, "median"] == pytest.approx(median, abs=within)
    assert mean.loc[0, "even"] < -50_000 and mean.loc[0, "most"] > 130
    assert mean.loc[0.2, "least"] == pytest.approx(-22.5, abs=4)
    assert mean.loc[0.2, "shuffled"] == pytest.approx(-10.6, abs=2.5)
    assert mean.loc[0.2, "most"] == pytest.approx(18.5, abs=0.5)  # the prototype of KL 0


def test_the_loss_is_least_at_the_prototype_of_kl_0(patterns):
    grades = readings(patterns)
    g = fit_mixture(grades, seed=0).score(one_hot(grades))
    assert (grades[g.argmax()] == 0).all()


@pytest.fixture(scope="module")
def drawn():
    return drawn_patterns(np.arange(1000) % 5, seed=0)


def test_the_trial_on_drawn_grades(drawn):
    """The phantom obeys the rule without exception, so the rule finds each KL that does not."""
    found = trial.held_out(drawn, seeds=[0, 1])
    assert list(found) == ["seed", "score", "measure", "value"]
    mean = means(found)
    for how in ("KL at random", "KL off by one"):
        assert mean["KL rule alone", how] == 1
        assert mean["KL given the other six", how] > 0.99
    assert found.loc[found["score"] == "KL rule alone", "value"].isna().sum() == 2  # of SPEARMAN
    assert found.equals(trial.held_out(drawn, seeds=[0, 1]))


def test_losses_of_drawn_grades(drawn):
    found = trial.loss_by_grade(drawn, seeds=[0])
    assert found.groupby("loss")["knees"].sum().eq(500).all()
    assert found["loss"].nunique() == 5 and found.notna().all(axis=None)
    # The mean over single knees, without the shortcut over equal patterns.
    fitted_to, held = trial.halves(readings(drawn), 0)
    expected = -fit_joint(fitted_to).score(held[held[:, 0] == 3]).mean()
    row = found[(found["loss"] == "joint x rule") & (found["kl"] == 3)]
    assert row["true"].item() == pytest.approx(expected)


def test_no_seed(drawn):
    for call in (trial.held_out, trial.loss_by_grade):
        with pytest.raises(InputError, match="no seed"):
            call(drawn, seeds=[])
