"""How like real radiographs the drawn ones are: joint space, grey, and what a classifier sees.

Only figures of whole sets leave this module, no picture and no row of a person.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from oacore.errors import InputError
from oacore.instruments.phantom.grades import SIDES
from oacore.instruments.radiographs.cases import Radiographs
from oacore.instruments.radiographs.framing import as_public
from oacore.instruments.radiographs.public_layout import PUBLIC_SIZE
from oacore.metrics.resampling import draw_cases, estimate
from oacore.metrics.scores import auc, macro_auc

RESAMPLES = 1000  # of people, for each interval
#: The group of what a model trained on drawn pictures is above one trained on real ones.
APART = "trained on drawn minus trained on real"
BANDS = (2, 4, 8, 16, 32, 64, 112)  # cycles a picture
CELL, ORIENTATIONS = 14, 8  # pixels of a picture of half the size; of gradients
POINTS_OF = {"medial": ((6, 7, 8), (13, 14, 15)), "lateral": ((0, 1, 2), (9, 10, 11))}


def joint_gaps(radiographs: Radiographs) -> pd.DataFrame:
    """Smallest vertical distance of the landmarks' polylines in each compartment.

    Parameters
    ----------
    radiographs : Radiographs
        With `mm_per_pixel_x` and `mm_per_pixel_y`, where known.

    Returns
    -------
    DataFrame
        Columns `SIDES`, in mm; NaN without landmarks or scale.
    """
    scale = radiographs.cases.reindex(columns=["mm_per_pixel_x", "mm_per_pixel_y"])
    points = radiographs.landmarks * scale.to_numpy(dtype=float)[:, None, :]
    found = {}
    for side, (of_tibia, of_femur) in POINTS_OF.items():
        gaps = []
        for knee in points:
            # Both run from the lateral side to the medial, that is to the right.
            (tx, ty), (fx, fy) = knee[list(of_tibia)].T, knee[list(of_femur)].T
            x = np.linspace(max(tx[0], fx[0]), min(tx[-1], fx[-1]), 200)
            gaps.append((np.interp(x, tx, ty) - np.interp(x, fx, fy)).min())
        found[side] = gaps
    return pd.DataFrame(found)[list(SIDES)]


def grey_statistics(pictures: np.ndarray) -> pd.DataFrame:
    """Grey values and their spectrum, a row a picture.

    Parameters
    ----------
    pictures : ndarray of uint8, shape (n, side, side)

    Returns
    -------
    DataFrame
        mean, sd, q05, q25, q50, q75, q95 (grey values); power_2, power_4, ... (decimal logarithm
        of the mean power from so many cycles a picture to twice as many); slope (of these against
        the logarithm of the frequency); upright (mean square of horizontal by that of vertical
        differences: above 1 where lines run up and down); middle (how much brighter its middle is
        than its sides); above (than below).
    """
    side = pictures.shape[1]
    window = np.hanning(side)[:, None] * np.hanning(side)
    away = np.arange(side) - side // 2
    radius = np.hypot(away[:, None], away)
    rings = [(radius >= low) & (radius < high) for low, high in pairwise(BANDS)]
    centres = [np.log10(np.sqrt(low * high)) for low, high in pairwise(BANDS)]
    edge, half = side // 20, side // 2
    rows = []
    for picture in pictures.astype(np.float32):
        quantiles = np.percentile(picture, [5, 25, 50, 75, 95])
        spectrum = np.fft.fftshift(np.fft.fft2((picture - picture.mean()) * window))
        power = np.abs(spectrum) ** 2
        bands = [np.log10(power[ring].mean() + 1e-9) for ring in rings]
        across, down = np.diff(picture, axis=1), np.diff(picture, axis=0)
        middle = picture[:, half - 2 * edge : half + 2 * edge].mean()
        sides = (picture[:, :edge].mean() + picture[:, -edge:].mean()) / 2
        above, below = picture[edge : half // 2].mean(), picture[-half // 2 : -edge].mean()
        rows.append(
            [
                picture.mean(), picture.std(), *quantiles, *bands,
                np.polyfit(centres, bands, 1)[0],
                (across**2).mean() / max((down**2).mean(), 1e-9),
                middle - sides, above - below,
            ]
        )  # fmt: skip
    names = ["mean", "sd", "q05", "q25", "q50", "q75", "q95"]
    names += [f"power_{low}" for low in BANDS[:-1]] + ["slope", "upright", "middle", "above"]
    return pd.DataFrame(rows, columns=names)


def gradient_histograms(pictures: np.ndarray) -> np.ndarray:
    """Histograms of oriented gradients of pictures at half their size.

    Each cell's histogram is divided by its length, so that contrast does not count; after Dalal
    and Triggs, doi:10.1109/CVPR.2005.177, without overlapping blocks.

    Parameters
    ----------
    pictures : ndarray of uint8, shape (n, side, side)
        Sides a multiple of 28.

    Returns
    -------
    ndarray of float32, shape (n, cells * 8)
    """
    n, side = pictures.shape[:2]
    half = pictures.reshape(n, side // 2, 2, side // 2, 2).mean(axis=(2, 4), dtype=np.float32)
    cells = side // 2 // CELL
    found = np.empty((n, cells * cells, ORIENTATIONS), np.float32)
    row, column = (index // CELL for index in np.indices(half.shape[1:]))
    cell = row * cells + column
    for at, picture in enumerate(half):
        dy, dx = np.gradient(picture)
        turn = np.mod(np.arctan2(dy, dx), np.pi) / np.pi * ORIENTATIONS
        bin_ = cell * ORIENTATIONS + turn.astype(int) % ORIENTATIONS
        sums = np.bincount(bin_.ravel(), np.hypot(dx, dy).ravel(), cells * cells * ORIENTATIONS)
        histogram = sums.reshape(cells * cells, ORIENTATIONS)
        found[at] = histogram / (np.linalg.norm(histogram, axis=1, keepdims=True) + 1)
    return found.reshape(n, -1)


def _model() -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.003, max_iter=300))


def likeness(drawn: Radiographs, real: Radiographs, seed: int = 0) -> pd.DataFrame:
    """Drawn radiographs beside real ones, as figures of the two sets.

    Parameters
    ----------
    drawn : Radiographs
        From :func:`.drawn.draw_radiographs`.
    real : Radiographs
        Of the public set, 224 x 224.
    seed : int
        Of the crops, see `as_public`, of the folds and of the resamples.

    Returns
    -------
    DataFrame
        measure, group, drawn, real (values in each set), n_drawn, n_real (knees), and drawn_low,
        drawn_high, real_low, real_high: 95% percentile intervals over the people of each set, which
        hold what was fitted fixed; NaN where too many resamples lack a grade.

        - gap_medial, gap_lateral: mean joint gap in mm, by JSN grade (group), over all splits;
        - each column of `grey_statistics`: mean and sd over the training split;
        - told_apart: AUC of a logistic regression on `gradient_histograms` that tells drawn from
          real, cross-validated on the training splits, people whole; .5 is alike, 1 is never
          mistaken. It stands in both columns;
        - oa_auc and kl_auc (KL 2 or more; mean over the grades, one against the rest), of the same
          kind of model; group: "trained on drawn" or "trained on real" (training split), and what
          the first is above the second; columns: where it was tested (test split).

    Raises
    ------
    InputError
        If the pictures of `real` have another size.
    """
    if real.pictures.shape[1:] != PUBLIC_SIZE:
        raise InputError(f"pictures are {real.pictures.shape[1:]}; read them as {PUBLIC_SIZE}")
    pair = [as_public(drawn, seed), real]
    rng = np.random.default_rng(np.random.SeedSequence([seed, 1]))
    train = [one.cases["split"].to_numpy() == "train" for one in pair]
    counts = [_people_drawn(one.cases[at], rng) for one, at in zip(pair, train, strict=True)]
    features = [gradient_histograms(one.pictures) for one in pair]
    rows = _gaps(pair, rng)
    rows += _grey([one.pictures[at] for one, at in zip(pair, train, strict=True)], counts)
    rows.append(_told_apart(pair, features, train, counts, seed))
    return pd.DataFrame(rows + _transfer(pair, features, train, rng))


def _people_drawn(cases: pd.DataFrame, rng: np.random.Generator) -> np.ndarray:
    """How often each case is in the sample, then in resamples of people."""
    codes, people = pd.factorize(cases["person"])
    return draw_cases(len(people), RESAMPLES, rng)[:, codes]


def _mean(counts: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Means over resamples; NaN of one without a case."""
    n = counts.sum(1)
    return np.divide(counts @ values, n, out=np.full(len(n), np.nan), where=n > 0)


def _sd(counts: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Standard deviations over resamples, of two cases or more."""
    away = values - values.mean()  # so that the squares do not cancel
    mean, n = _mean(counts, away), counts.sum(1)
    return np.sqrt((counts @ away**2 / n - mean**2).clip(0) * n / (n - 1))


def _row(
    measure: str, group: str, values: Sequence[np.ndarray], n: Sequence[int]
) -> dict[str, Any]:
    """One row of the table, from 1 + B values of each set."""
    row: dict[str, Any] = {"measure": measure, "group": group}
    for name, of_set in zip(("drawn", "real"), values, strict=True):
        found = estimate(of_set)
        row |= {name: found["value"], f"{name}_low": found["low"], f"{name}_high": found["high"]}
    return row | {"n_drawn": n[0], "n_real": n[1]}


def _gaps(pair: list[Radiographs], rng: np.random.Generator) -> list[dict[str, Any]]:
    """Joint gaps by grade."""
    counts = [_people_drawn(one.cases, rng) for one in pair]
    tables = [joint_gaps(one).join(one.cases) for one in pair]
    rows = []
    for side in SIDES:
        for jsn in range(4):
            means, n = [], []
            for count, table in zip(counts, tables, strict=True):
                of_grade = table[f"jsn_{side}"].eq(jsn).fillna(False)
                seen = (of_grade & table[side].notna()).to_numpy(dtype=bool)
                means.append(_mean(count[:, seen], table.loc[seen, side].to_numpy()))
                n.append(int(seen.sum()))
            rows.append(_row(f"gap_{side}", f"JSN {jsn}", means, n))
    return rows


def _grey(pictures: list[np.ndarray], counts: list[np.ndarray]) -> list[dict[str, Any]]:
    """Mean and spread of the statistics of grey."""
    tables = [grey_statistics(one) for one in pictures]
    rows = []
    for name in tables[0]:
        of_sets = [
            (count, table[name].to_numpy()) for count, table in zip(counts, tables, strict=True)
        ]
        for group, of in (("mean", _mean), ("sd", _sd)):
            rows.append(
                _row(str(name), group, [of(*one) for one in of_sets], [*map(len, pictures)])
            )
    return rows


def _told_apart(
    pair: list[Radiographs],
    features: list[np.ndarray],
    train: list[np.ndarray],
    counts: list[np.ndarray],
    seed: int,
) -> dict[str, Any]:
    """How well a model tells drawn from real, by folds that keep people whole."""
    n = [int(at.sum()) for at in train]
    is_drawn = np.repeat([True, False], n)
    x = np.concatenate([own[at] for own, at in zip(features, train, strict=True)])
    names = [one.cases["person"][at] for one, at in zip(pair, train, strict=True)]
    drawn, real = (pd.factorize(of)[0] for of in names)
    score = cross_val_predict(
        _model(), x, is_drawn, method="decision_function",
        groups=np.concatenate([drawn, real + len(drawn)]),  # nobody is in both sets
        cv=StratifiedGroupKFold(5, shuffle=True, random_state=seed),
    )  # fmt: skip
    told = auc(np.hstack(counts), is_drawn, score)
    return _row("told_apart", "all", [told, told], n)


def _transfer(
    pair: list[Radiographs],
    features: list[np.ndarray],
    train: list[np.ndarray],
    rng: np.random.Generator,
) -> list[dict[str, Any]]:
    """AUC of models trained on either set and tested on both, and what one loses to the other."""
    grades = [one.cases["kl"].to_numpy(dtype=int) for one in pair]
    test = [one.cases["split"].to_numpy() == "test" for one in pair]
    n = [int(at.sum()) for at in test]
    counts = [_people_drawn(one.cases[at], rng) for one, at in zip(pair, test, strict=True)]
    found: dict[str, list[list[np.ndarray]]] = {"oa_auc": [], "kl_auc": []}
    for x, kl, at in zip(features, grades, train, strict=True):
        oa, graded = _model().fit(x[at], kl[at] >= 2), _model().fit(x[at], kl[at])
        of_oa, of_kl = [], []
        for other, truth, seen, count in zip(features, grades, test, counts, strict=True):
            score = oa.decision_function(other[seen])
            shares = np.zeros((len(score), 5))
            shares[:, graded.classes_] = graded.predict_proba(other[seen])
            of_oa.append(auc(count, truth[seen] >= 2, score))
            of_kl.append(macro_auc(count, truth[seen], shares))
        found["oa_auc"].append(of_oa)
        found["kl_auc"].append(of_kl)
    rows = []
    for measure, (by_drawn, by_real) in found.items():
        apart = [one - other for one, other in zip(by_drawn, by_real, strict=True)]
        groups = {"trained on drawn": by_drawn, "trained on real": by_real, APART: apart}
        rows += [_row(measure, group, values, n) for group, values in groups.items()]
    return rows
