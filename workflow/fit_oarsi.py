"""Fit the model of OARSI grades given KL to counted grade patterns of real knees.

``python -m workflow.fit_oarsi FOLDER`` reads the table of readings that ``oacore fetch references``
leaves in FOLDER, and writes `oacore/instruments/phantom/oarsi_model.csv` anew.
"""

from __future__ import annotations

import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.stats import norm, qmc

from oacore.errors import InputError
from oacore.files import write
from oacore.hierarchy import N_GRADES
from oacore.instruments.phantom.grades import (
    COPULA_GRADES,
    DOMINANCE,
    MARGINS,
    MOMENTS,
    NARROWINGS,
    OSTEOPHYTES,
    dominant_side,
    draw_grades,
    kl_from_oarsi,
    read_model,
    signs,
)
from oacore.instruments.phantom.template import read_grade_patterns

SITES = OSTEOPHYTES + NARROWINGS
COLUMNS = ["KL", "FL", "FM", "TL", "TM", "JM", "JL", "count"]
# Lateral-dominant share, between three sources that differ: see the header.
LATERAL = {3: 0.23, 4: 0.315}
PRIOR = 10  # knees' worth of the grade's overall shares, added where a side has few knees
SWEEPS, STILL = 100, 1e-4  # at most so many, and until no value moves by more
NODES, WEIGHTS = np.polynomial.legendre.leggauss(20)
KNEES = 200_000  # drawn at each grade for the moments: their standard errors are below .005
MODEL = Path(__file__).parent.parent / "oacore/instruments/phantom/oarsi_model.csv"
HEADER = """\
# OARSI grades given KL: the model from which `oacore.instruments.phantom.grades.sample_grades`
# draws.
# Fitted by `fit_oarsi` in workflow/fit_oarsi.py to 786 patterns over 5,507 knees of the
# Osteoarthritis Initiative with all seven readings; of them the 5,107 that the rule of
# `oacore.instruments.phantom.grades.kl_from_oarsi` grades as the reader did.
# jsn: share of each pair of joint space narrowing (first medial, second lateral) given KL. At KL 3
#   and 4 reweighted: lateral-dominant .230 and .315, where the patterns have .196 and .310, a
#   larger sample of readings .26 and .32, and the narrower side in 748 radiographs .22 and .30.
# single: at KL 1 without narrowing, share of each margin (first) to have the one osteophyte.
# threshold: where the latent normal variable of margin `first` passes to grade `second`, given KL
#   and the side with more narrowing; shrunk to the KL grade's overall shares by 10 knees. At KL 2
#   fitted so that the draws which the rule accepts have the measured shares.
# correlation: polychoric, of the latent variables of two margins, one matrix a KL grade.
# moment: of continuous osteophytes and narrowing, by simulation; they scale the severity.
"""


def bivariate_cdf(h: np.ndarray, k: np.ndarray, rho: float) -> np.ndarray:
    """P(X < h, Y < k) of two standard normal variables with correlation `rho`.

    Plackett's identity (doi:10.1093/biomet/41.3-4.351): the density is the slope in `rho`.

    Parameters
    ----------
    h, k : ndarray
        Of shapes that broadcast; finite or infinite.
    rho : float
        Above -1 and below 1; twenty nodes reach 1e-8 up to .9.

    Returns
    -------
    ndarray
    """
    r = rho * (NODES + 1) / 2
    h, k = np.clip(h, -9, 9)[..., None], np.clip(k, -9, 9)[..., None]
    rest = 1 - r * r
    density = np.exp(-(h * h - 2 * r * h * k + k * k) / (2 * rest)) / (2 * np.pi * np.sqrt(rest))
    independent = norm.cdf(h[..., 0]) * norm.cdf(k[..., 0])
    return independent + rho / 2 * (density @ WEIGHTS)


def polychoric(tables: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    """Correlation of two latent normal variables behind ordinal grades, over several groups.

    Maximum likelihood with the thresholds given (Olsson 1979, doi:10.1007/BF02296207).

    Parameters
    ----------
    tables : ndarray, shape (groups, 4, 4)
        Knees by grade of the one and of the other.
    first, second : ndarray, shape (groups, 3)
        Thresholds.

    Returns
    -------
    float
    """
    edge = np.full((len(tables), 1), np.inf)
    h = np.concatenate([-edge, first, edge], 1)[:, :, None]
    k = np.concatenate([-edge, second, edge], 1)[:, None, :]

    def loss(rho: float) -> float:
        cells = np.diff(np.diff(bivariate_cdf(h, k, rho), axis=1), axis=2)
        return -float((tables * np.log(np.maximum(cells, 1e-12))).sum())

    return float(minimize_scalar(loss, bounds=(-0.9, 0.9), method="bounded").x)


def _complete(
    thresholds: np.ndarray, correlation: np.ndarray, groups: list[pd.DataFrame], points: np.ndarray
) -> np.ndarray:
    """Knees of each pattern (groups, 4, 4, 4, 4), with those that the rule leaves out imputed."""
    cells = np.zeros((len(groups), 4, 4, 4, 4))
    latent = points @ np.linalg.cholesky(correlation).T
    for cell, rows, threshold in zip(cells, groups, thresholds, strict=True):
        drawn = (latent[:, :, None] > threshold).sum(2)
        for pair, part in rows.groupby(NARROWINGS):
            np.add.at(cell, tuple(part[OSTEOPHYTES].to_numpy().T), part["count"].to_numpy())
            both = np.hstack([drawn, np.tile(np.array(pair), (len(drawn), 1))])
            out = kl_from_oarsi(pd.DataFrame(both, columns=SITES)) != rows["kl"].iloc[0]
            # For each knee that is kept, so many are left out.
            np.add.at(cell, tuple(drawn[out].T), part["count"].sum() / (~out).sum())
    return cells


def _margins(cells: np.ndarray) -> np.ndarray:
    """Thresholds (groups, 4, 3) that give the shares of the completed knees."""
    counts = np.stack(
        [cells.sum(tuple(axis for axis in range(1, 5) if axis != site + 1)) for site in range(4)],
        axis=1,
    )
    overall = counts.sum(0) / counts.sum((0, 2))[:, None]
    counts = counts + PRIOR * overall
    shares = counts.cumsum(2)[..., :3] / counts.sum(2, keepdims=True)
    return norm.ppf(shares)


def fit_copula(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Thresholds and correlations of the osteophytes at one KL grade.

    Expectation and maximisation in turn: what the rule leaves out is imputed from the model, then
    thresholds and correlations are fitted to the completed table.

    Parameters
    ----------
    rows : DataFrame
        Patterns of one grade, which the rule grades so: kl, `OSTEOPHYTES`, `NARROWINGS`, count.

    Returns
    -------
    thresholds : ndarray, shape (3, 4, 3)
        Axes `DOMINANCE`, `MARGINS`, grade.
    correlation : ndarray, shape (4, 4)
    """
    side = dominant_side(rows[NARROWINGS].to_numpy())
    groups = [rows[side == index] for index in range(len(DOMINANCE))]
    points = qmc.MultivariateNormalQMC(np.zeros(4), rng=0).random(2**15)
    thresholds = np.tile([0.0, 1.0, 2.0], (3, 4, 1))
    correlation = np.eye(4)
    for _ in range(SWEEPS):
        before = np.append(thresholds, correlation)
        cells = _complete(thresholds, correlation, groups, points)
        thresholds = _margins(cells)
        for i, j in combinations(range(4), 2):
            others = tuple(axis + 1 for axis in range(4) if axis not in (i, j))
            found = polychoric(cells.sum(others), thresholds[:, i], thresholds[:, j])
            correlation[i, j] = correlation[j, i] = found
        if np.abs(np.append(thresholds, correlation) - before).max() < STILL:
            break
    return thresholds, correlation


def fit_oarsi(counts: pd.DataFrame) -> pd.DataFrame:
    """Fit the model of OARSI grades given KL.

    Parameters
    ----------
    counts : DataFrame
        As :func:`.template.read_grade_patterns` gives them: KL, FL, FM, TL, TM (osteophytes), JL,
        JM (narrowing), count (knees of each pattern).

    Returns
    -------
    DataFrame
        Columns kl, kind, side, first, second, value; the header of the written file tells what
        each kind is. Values are rounded to 4 decimals.

    Raises
    ------
    InputError
        If a column is missing.
    """
    if missing := set(COLUMNS) - set(counts.columns):
        raise InputError(f"counts: no column {', '.join(sorted(missing))}; give {COLUMNS}")
    patterns = counts[COLUMNS].set_axis(["kl", *SITES, "count"], axis=1)
    patterns = patterns[kl_from_oarsi(patterns) == patterns["kl"]]
    table: list[tuple[int, str, str, str, str, float]] = []
    for kl in range(1, 5):
        rows = patterns[patterns["kl"] == kl]
        pairs = rows.groupby(NARROWINGS)["count"].sum() / rows["count"].sum()
        side = dominant_side(np.array(pairs.index.to_list()))
        if kl in LATERAL:
            lateral = pairs[side == 1].sum()
            rest = 1 - LATERAL[kl] - pairs[side == 2].sum()
            pairs[side == 0] *= rest / pairs[side == 0].sum()
            pairs[side == 1] *= LATERAL[kl] / lateral
        for (medial, lateral), share in pairs.items():
            table.append((kl, "jsn", "", str(medial), str(lateral), share))
    doubtful = patterns[(patterns["kl"] == 1) & (patterns[OSTEOPHYTES].sum(axis=1) == 1)]
    for name, column in zip(MARGINS, OSTEOPHYTES, strict=True):
        share = doubtful.loc[doubtful[column] == 1, "count"].sum() / doubtful["count"].sum()
        table.append((1, "single", "", name, "", share))
    for kl in COPULA_GRADES:
        thresholds, correlation = fit_copula(patterns[patterns["kl"] == kl])
        for (i, j, k), value in np.ndenumerate(thresholds):
            table.append((kl, "threshold", DOMINANCE[i], MARGINS[j], str(k + 1), value))
        for i, j in combinations(range(4), 2):
            table.append((kl, "correlation", "", MARGINS[i], MARGINS[j], correlation[i, j]))
    columns = ["kl", "kind", "side", "first", "second", "value"]
    model = pd.DataFrame(table, columns=columns).round({"value": 4})
    moments = pd.DataFrame(_moments(model), columns=columns).round({"value": 4})
    return pd.concat([model, moments], ignore_index=True)


def _moments(table: pd.DataFrame) -> list[tuple[int, str, str, str, str, float]]:
    """Rows with the moments that scale the severity, from knees drawn by the model itself."""
    rows = []
    rng = np.random.default_rng(0)
    model = read_model(table)
    for kl in range(N_GRADES):
        osteophytes, narrowing = signs(*draw_grades(np.full(KNEES, kl), rng, model))
        spread = osteophytes.std(), narrowing.std()
        if kl == 1:  # a knee has one sign or the other: a grade of each weighs the same
            spread = spread[0], spread[0]
        means = osteophytes.mean(), narrowing.mean()
        both = (osteophytes - means[0]) / spread[0] + (narrowing - means[1]) / spread[1]
        found = means[0], spread[0], means[1], spread[1], both.std()
        for name, value in zip(MOMENTS, found, strict=True):
            rows.append((kl, "moment", "", name, "", float(value)))
    return rows


def main(folder: str) -> int:
    """Fit to the readings in a folder and write the model."""
    try:
        model = fit_oarsi(read_grade_patterns(folder))
    except InputError as error:
        print(f"fit_oarsi: {error}", file=sys.stderr)
        return 2
    write(MODEL, HEADER + model.to_csv(index=False))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
