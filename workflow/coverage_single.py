"""How often the intervals of one network, or of a cohort, hold the truth (`workflow.coverage`).

Each function draws one data set, has the book's own function make its intervals, and gives them
with the truth: from a formula of the model where there is one, else from very many knees.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import multivariate_normal, norm
from sklearn.metrics import roc_auc_score

from oacore.hierarchy import FIRST_OA_GRADE, N_GRADES
from oacore.instruments.axis.axis import geometry_values
from oacore.instruments.axis.shape import follows
from oacore.instruments.phantom.baseline import classical_baseline
from oacore.instruments.phantom.facts import age_trend, mean_or_share
from oacore.instruments.saliency.faithfulness import RANDOM
from oacore.instruments.saliency.games import areas, over_random
from oacore.instruments.saliency.means import over_chance, overlap_means, profile_means
from oacore.metrics.compare import compare_effects, truth_minus_label
from oacore.metrics.power import equivalence_interval
from oacore.metrics.resampling import draw_cases, estimates
from oacore.metrics.scores import paired_bootstrap
from oacore.metrics.shares import Z, exact, wilson
from oacore.metrics.subgroups import SHOWN, Limits, auc_limits, difference_limits
from workflow.coverage_models import CUTS, GRADES, SPREADS, answers, by_scikit_learn, knees, network

N_RESAMPLES = 200
MANY = 20_000
#: Training knees of an axis.
TRAIN = 200
DRAWN = ["interval", "measure", "knees", "low", "high", "truth"]
ALONE: dict[str, Any] = {"over": "knees alone", "seeds": 1}
#: Women and men of 98 knees, and the share of each that has OA: 31 of 56 and 34 of 42.
SIZES, ILL = (56, 42), (31 / 56, 34 / 42)
#: True AUC among women and men, and the SD of scores with OA where that of the others is 1.
WORLDS = {
    "AUC .70": (0.7, 0.7, 1.0),
    "AUC .85": (0.85, 0.85, 1.0),
    "AUC .85, unequal spread": (0.85, 0.85, 1.7),
    "AUC .95 and .80": (0.95, 0.8, 1.0),
    "AUC .97": (0.97, 0.97, 1.0),
}
#: Standard deviations between the neighbouring grades of a measurement.
GAPS = (0.3, 2.0)
SHARES = (0.05, 0.5, 0.9)
FEW = 20


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


def of_groups(_: int, __: float, ___: int, rng: np.random.Generator) -> pd.DataFrame:
    """AUC and accuracy of five networks among women and men, and the differences.

    Scores are normal, so an AUC is that of two normal distributions, and the accuracy at the
    threshold halfway between their means is a mean of two normal probabilities. A group with fewer
    than `SHOWN` knees of a class is not shown, and is drawn again here.
    """
    rows = []
    for world, (*aucs, sd) in WORLDS.items():
        found: dict[str, list[tuple[float, Limits, float]]] = {"oa_auc": [], "oa_acc": []}
        for size, share, auc in zip(SIZES, ILL, aucs, strict=True):
            apart = norm.ppf(auc) * np.hypot(1, sd)
            oa = _both_classes(size, share, rng)
            score = np.where(oa, apart + sd * rng.normal(size=size), rng.normal(size=size))
            value = float(roc_auc_score(oa, score))
            n_ill = int(oa.sum())
            of_auc = partial(auc_limits, value, n_ill, size - n_ill)
            found["oa_auc"].append((value, of_auc, auc))
            right = float(((score > apart / 2) == oa).mean())
            true = share * norm.cdf(apart / 2 / sd) + (1 - share) * norm.cdf(apart / 2)
            found["oa_acc"].append((right, partial(wilson, right, size), true))
        for metric, pair in found.items():
            measure = f"{metric}, {world}"
            for size, (_value, limits, true) in zip(SIZES, pair, strict=True):
                rows.append(("score in a group", measure, size, *limits(Z), true))
            (first, of_first, true_first), (second, of_second, true_second) = pair
            both = difference_limits((first, second), (of_first, of_second))
            truth = true_second - true_first
            rows.append(("difference of two groups", measure, sum(SIZES), *both, truth))
    return pd.DataFrame(rows, columns=DRAWN).assign(**ALONE, spread=np.nan)


def _both_classes(size: int, share: float, rng: np.random.Generator) -> np.ndarray:
    while True:
        oa = rng.random(size) < share
        if SHOWN <= oa.sum() <= size - SHOWN:
            return oa


def of_baselines(_: int, __: float, n: int, rng: np.random.Generator) -> pd.DataFrame:
    """AUC of a fitted logistic regression on one measurement, which orders knees as that does.

    So its true AUC is that of the measurement: over pairs of grades, of two normal distributions.
    """
    rows = []
    healthy, ill = GRADES[:FIRST_OA_GRADE], GRADES[FIRST_OA_GRADE:]
    pairs = np.outer(ill / ill.sum(), healthy / healthy.sum())
    steps = np.arange(FIRST_OA_GRADE, N_GRADES)[:, None] - np.arange(FIRST_OA_GRADE)
    for gap in GAPS:
        truth = (pairs * norm.cdf(gap * steps / np.sqrt(2))).sum()
        for size in (n, n // 4):
            train_kl, kl = (
                pd.Series(rng.choice(N_GRADES, size=m, p=GRADES)) for m in (2 * n, size)
            )
            train, test = (
                pd.DataFrame({"x": gap * one + rng.normal(size=len(one))}) for one in (train_kl, kl)
            )
            found = classical_baseline(train, train_kl, test, kl)
            limits = {"low": found["oa_auc_low"], "high": found["oa_auc_high"]}
            measure = f"true AUC {truth:.2f}"
            rows.append({"measure": measure, "knees": size, "truth": truth, **limits})
    return pd.DataFrame(rows).assign(interval="AUC of a baseline", **ALONE, spread=np.nan)


@cache
def true_spearman(rho: float) -> float:
    """Spearman's correlation of two normal variables, the second cut into grades at `CUTS`.

    That of ranks is of their distribution functions, which for a grade is the middle of its step:
    E[Phi(X) m(grade)] follows from the bivariate normal distribution, cut by cut, for
    E[Phi(X); Y > c] = P(X' <= X, Y > c) of an X' drawn apart.
    """
    shares = np.diff([0, *norm.cdf(CUTS), 1])
    middles = np.r_[0, np.cumsum(shares)[:-1]] + shares / 2
    # (X' - X) / sqrt(2) and -Y have the correlation rho / sqrt(2).
    both = multivariate_normal(cov=[[1, rho / np.sqrt(2)], [rho / np.sqrt(2), 1]])
    above = np.array([0.5, *(both.cdf([0, -cut]) for cut in CUTS), 0])
    covariance = (middles * (above[:-1] - above[1:])).sum() - 0.25
    variance = (shares * middles**2).sum() - 0.25
    return float(covariance / np.sqrt(variance / 12))


def of_facts(_: int, __: float, n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Chapter 2's and 3's figures of a cohort: a correlation, a share, a mean; chapter 10's share.

    Means are of a normal measurement and of a skewed one (exponential); shares of `SHARES`.
    """
    rows = []
    for size in (n, FEW):
        for rho in (0.0, 0.3, 0.6):
            x = rng.normal(size=size)
            y = rho * x + np.sqrt(1 - rho**2) * rng.normal(size=size)
            found = age_trend(pd.DataFrame({"age": x, "kl": np.searchsorted(CUTS, y)}))
            if found is not None:
                truth = true_spearman(rho)
                name = "correlation with the grade"
                rows.append((name, f"{truth:.2f}", size, *_limits(found), truth))
        cohort = pd.DataFrame(
            {"normal": rng.normal(2, 0.5, size), "exponential": rng.exponential(2, size)}
        )
        for kind in ("normal", "exponential"):
            rows.append(
                ("mean of a cohort", kind, size, *_limits(mean_or_share(kind, cohort)), 2.0)
            )
        for share in SHARES:
            graded = pd.DataFrame({"jsn_medial": (rng.random(size) < share).astype(int)})
            of_cohort = _limits(mean_or_share("jsn_medial=1", graded))
            rows.append(("share of a cohort", f"{share:g}", size, *of_cohort, share))
            limits = exact(int(rng.binomial(size, share)), size)
            rows.append(("exact share", f"{share:g}", size, *limits, share))
    return pd.DataFrame(rows, columns=DRAWN).assign(**ALONE, spread=np.nan)


def _limits(found: dict[str, float] | None) -> tuple[float, float]:
    assert found is not None  # there are knees to average
    return found["low"], found["high"]


def of_maps(seeds: int, spread: float, n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Enrichment of an overlap and of a profile's band, a ratio of two means over the same knees.

    A knee's chance is log-normal, and its overlap that times a factor of the knee, of mean 1, and
    one of the seed about the true enrichment, 3.
    """
    chance = 0.02 * rng.lognormal(-0.08, 0.4, n)
    of_knee = rng.lognormal(-0.08, 0.4, n)
    parts = []
    for seed in range(seeds):
        level = 3 * (1 + spread * rng.normal() / 2)
        value = level * chance * of_knee * rng.lognormal(-0.02, 0.2, n)
        parts.append(pd.DataFrame({"seed": seed, "case_id": range(n), "value": value}))
    named: dict[str, Any] = {
        "backbone": "m3t",
        "supervision": "dual",
        "head": "oa",
        "weights": "trained",
    }
    maps = pd.concat(parts, ignore_index=True).assign(**named, chance=np.tile(chance, seeds))
    options = {"n_resamples": N_RESAMPLES, "seed": _seed(rng)}
    overlaps = maps.assign(
        method="gradient", mask="own", region="cartilage", measure="dice5", ceiling=1.0
    )
    bands = maps.assign(above=0.0, up_to=2.0, mass=maps["value"], voxels=maps["chance"])
    bands = bands.drop(columns=["value", "chance"])
    found = {
        "enrichment of an overlap": over_chance(overlap_means(overlaps, **options)),
        "enrichment by distance": over_chance(profile_means(bands, **options)),
    }
    return pd.concat(
        [table.assign(interval=name, truth=3.0) for name, table in found.items()], ignore_index=True
    )


def of_games(_: int, __: float, n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Areas under curves of deletion, which fall as powers: their means, and less the random order.

    They fall from a probability in straight lines to 0: at half of the voxels or at all of them
    under a map, so that the area is 1/4 or 1/2 of the probability, and at all in random order.
    """
    share = np.array([0, 0.5, 1])
    sure = rng.choice([0.5, 0.9], n)
    middle = rng.choice([0, 0.5], n)
    curves = [
        pd.DataFrame({"case_id": range(n), "share": at, "value": sure * left}).assign(method=method)
        for method, halfway in (("gradient", middle), (RANDOM, 0.5))
        for at, left in zip(share, (1.0, halfway, 0.0), strict=True)
    ]
    named: dict[str, Any] = {"backbone": "m3t", "supervision": "dual", "head": "oa", "seed": 0}
    played = areas(pd.concat(curves).assign(**named, measure="deletion"))
    options = {"n_resamples": N_RESAMPLES, "seed": _seed(rng)}
    mean = overlap_means(played[played["method"] != RANDOM], **options)
    less = over_random(played, **options)
    return pd.concat(
        [
            mean.assign(interval="area of a game", truth=0.7 * 3 / 8),
            less.assign(interval="area less the random order's", truth=-0.7 / 8),
        ]
    ).assign(measure="deletion", spread=np.nan, knees=n)


def _phantoms(n: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """PC1, true severity, true grade and label of n phantom knees.

    The reader's error depends on the true grade alone, as a phantom's does, and no image shows it.
    """
    severity = rng.normal(2, 1.2, n).clip(-0.49, 4.49)
    grade = np.rint(severity)
    label = (grade + rng.choice([-1, 0, 1], n, p=[0.2, 0.6, 0.2])).clip(0, 4)
    return severity + rng.normal(0, 0.8, n), severity, grade, label


@cache
def _true_follows() -> dict[str, float]:
    found = follows(*_phantoms(MANY, np.random.default_rng(0)), n_resamples=1, seed=0)
    return dict(zip(found["measure"], found["value"], strict=True)) | {"label_within_grade": 0.0}


def of_follows(_: int, __: float, n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Chapter 13's correlations of an axis with the truth and with the label."""
    table = follows(*_phantoms(n, rng), n_resamples=N_RESAMPLES, seed=_seed(rng))
    truth = table["measure"].map(_true_follows())
    return table.assign(interval="what an axis follows", truth=truth, **ALONE, spread=np.nan)


@cache
def _printed_axis() -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
    """Features and grades of very many knees of one network, and its measures on all of them.

    The first `TRAIN` are training knees, which say which end of the axis is up.
    """
    rng = np.random.default_rng(0)
    severity, kl, picture = knees(TRAIN + MANY // 10, rng)
    reading = network(severity, picture, 1, SPREADS[2], rng)[0]
    features = np.outer(reading, rng.normal(size=8)) + rng.normal(size=(kl.size, 8))
    features = features.astype(np.float32)
    found = _as_printed(features, kl, np.ones((1, kl.size - TRAIN)))
    return features, kl, {name: value[0] for name, value in found.items()}


def _as_printed(features: np.ndarray, kl: np.ndarray, counts: np.ndarray) -> dict[str, np.ndarray]:
    """Measures of an axis fitted to the very knees on which it is judged, all but `TRAIN`."""
    return geometry_values(features, kl, np.arange(len(kl)) >= TRAIN, counts, "as printed")


def of_printed_axes(_: int, __: float, n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Chapter 13's measures as printed, where a resample fits its own axis."""
    features, kl, truth = _printed_axis()
    own = np.r_[:TRAIN, TRAIN + rng.choice(len(kl) - TRAIN, size=n, replace=False)]
    table = estimates(_as_printed(features[own], kl[own], draw_cases(n, N_RESAMPLES, _seed(rng))))
    true = table["measure"].map(truth)
    return table.assign(interval="measure of a refitted axis", truth=true, **ALONE)


@cache
def _published() -> tuple[pd.DataFrame, np.ndarray, dict[tuple[str, str], dict[str, float]]]:
    """Answers of six networks on very many knees, their true grades, and the scores of each."""
    rng = np.random.default_rng(0)
    severity, kl, picture = knees(MANY, rng)
    tables, truth = [], {}
    for backbone in ("resnet3d", "m3t"):
        for supervision in ("single_oa", "single_kl", "dual"):
            reading = network(severity, picture, 1, SPREADS[2], rng)
            table = answers(reading, kl, backbone=backbone, supervision=supervision)
            tables.append(table)
            truth[backbone, supervision] = by_scikit_learn(table)
    return pd.concat(tables, ignore_index=True), np.searchsorted(CUTS, severity), truth


def of_published(_: int, __: float, n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Chapter 9's other intervals of given networks, over knees.

    BCa; the 90% interval of equivalence; the difference of two effects.
    """
    everyone, _grades, truth = _published()
    own = everyone[everyone["case_id"].isin(rng.choice(MANY, size=n, replace=False))]
    effects = {}
    for backbone in ("resnet3d", "m3t"):
        of = {name: truth[backbone, f"single_{name[:2]}"] for name in truth[backbone, "dual"]}
        effects[backbone] = {m: truth[backbone, "dual"][m] - of[m][m] for m in of}
    one, dual = (
        own[(own["backbone"] == "m3t") & (own["supervision"] == name)]
        for name in ("single_kl", "dual")
    )
    table = paired_bootstrap(one, dual, n_resamples=2000, seed=_seed(rng))
    table = table[table["metric"].str.startswith("kl")].assign(measure=lambda t: t["metric"])
    table["truth"] = table["measure"].map(effects["m3t"])
    low, high = equivalence_interval(table["value"], table["se"], np.inf)
    both = compare_effects(own, fixed=True, n_resamples=N_RESAMPLES, seed=_seed(rng))
    between = {m: effects["m3t"][m] - effects["resnet3d"][m] for m in effects["m3t"]}
    # `reference` is the backbone whose effect is taken off.
    sign = np.where(both["reference"] == "resnet3d", 1, -1)
    parts = [
        table.assign(interval="difference by BCa", low=table["bca_low"], high=table["bca_high"]),
        table.assign(interval="90% interval of equivalence", low=low, high=high, nominal=0.9),
        both.assign(
            interval="difference of given effects",
            measure=both["metric"],
            truth=sign * both["metric"].map(between),
        ),
    ]
    return pd.concat(parts, ignore_index=True).assign(**ALONE, knees=n)


def of_true_grades(_: int, __: float, n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Scores of a given network against true grades less those against labels."""
    everyone, grades, truth = _published()
    dual = everyone[(everyone["backbone"] == "m3t") & (everyone["supervision"] == "dual")]
    own = dual[dual["case_id"].isin(rng.choice(MANY, size=n, replace=False))]
    true_kl = pd.Series(grades, index=pd.RangeIndex(MANY, name="case_id"))
    table = truth_minus_label(own, true_kl, n_resamples=N_RESAMPLES, seed=_seed(rng))
    less = truth["m3t", "dual"]
    more = _against_truth()
    true = table["metric"].map({name: more[name] - less[name] for name in less})
    return table.assign(interval="truth minus label", measure=table["metric"], truth=true)


@cache
def _against_truth() -> dict[str, float]:
    everyone, grades, _ = _published()
    dual = everyone[(everyone["backbone"] == "m3t") & (everyone["supervision"] == "dual")]
    return by_scikit_learn(dual.assign(kl=grades, oa=(grades >= FIRST_OA_GRADE).astype(int)))


#: What is simulated, as in :data:`workflow.coverage.SIMULATIONS`.
SINGLE = {
    "groups": (of_groups, (1,), (0.0,)),
    "baselines": (of_baselines, (1,), (0.0,)),
    "facts": (of_facts, (1,), (0.0,)),
    "maps": (of_maps, (1, 3), (0.0, 0.3)),
    "games": (of_games, (1,), (0.0,)),
    "follows": (of_follows, (1,), (0.0,)),
    "printed-axes": (of_printed_axes, (1,), SPREADS[2:3]),
    "published": (of_published, (1,), SPREADS[2:3]),
    "true-grades": (of_true_grades, (1,), SPREADS[2:3]),
}
