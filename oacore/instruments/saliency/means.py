"""Overlaps of many knees and seeds as Table 3 has them, with intervals, and their contrasts."""

from __future__ import annotations

import numpy as np
import pandas as pd

from oacore.errors import InputError
from oacore.metrics.crossed import crossed
from oacore.metrics.resampling import draw_cases
from oacore.metrics.significance import benjamini_hochberg

#: What an overlap is of, besides its knee and the seed of the model.
KEYS = (*("backbone", "supervision", "head", "method", "weights", "mask", "region", "measure"),)
#: Columns of the value over chance, and of its interval.
_ENDS = {"value": "enrichment", "low": "enrichment_low", "high": "enrichment_high"}


def overlap_means(overlaps: pd.DataFrame, *, n_resamples: int = 2000, seed: int) -> pd.DataFrame:
    """Mean over knees and seeds, with 95% intervals over both.

    Parameters
    ----------
    overlaps : DataFrame
        Rows of :func:`.read.read_explained`, each seed with the same knees.
    n_resamples, seed : int
        Of the bootstrap over the knees.

    Returns
    -------
    DataFrame
        `KEYS`; `value`, `low`, `high` and the other columns of :func:`.crossed.crossed`;
        `chance`, `ceiling`, means over the same knees; `enrichment`, mean value over mean chance,
        with `enrichment_low`, `enrichment_high`; `knees`. A knee is left out where the value is
        undefined, as the mass of a map that is zero everywhere; NaN where no knee is left.

    Notes
    -----
    The mean of ratios would give a knee with little cartilage the most say; so here it is the
    ratio of the means.
    """
    rows = []
    for keys, group in overlaps.groupby(list(KEYS), sort=False):
        value, chance, ceiling = _matrices(group, "value", "chance", "ceiling")
        counts = _resamples(value.shape[1], n_resamples, seed)
        means, by_chance = _means(value, counts), _means(chance, counts)
        highest = _means(ceiling, counts)[:, 0].mean()
        # Without any chance of an overlap there is no enrichment.
        over = np.divide(means, by_chance, out=np.full(means.shape, np.nan), where=by_chance > 0)
        enrichment = crossed(over, within=(0, np.inf))
        rows.append(
            {
                **dict(zip(KEYS, keys, strict=True)),
                **crossed(means, within=(0, 1)),
                **{
                    "chance": by_chance[:, 0].mean(),
                    "ceiling": highest,
                },
                **{column: enrichment[name] for name, column in _ENDS.items()},
                "knees": value.shape[1],
            }
        )
    return pd.DataFrame(rows)


def over_chance(means: pd.DataFrame) -> pd.DataFrame:
    """Rows of :func:`overlap_means` whose `value`, `low`, `high` are those of the enrichment."""
    return means.assign(**{name: means[column] for name, column in _ENDS.items()})


def beside_limits(means: pd.DataFrame, rows: str, columns: str = "measure") -> pd.DataFrame:
    """Values as a table to read, each backbone's followed by chance and ceiling.

    Parameters
    ----------
    means : DataFrame
        Rows of :func:`overlap_means`, of one method and region, with `panel`, the backbone's name.
    rows, columns : str
        Names of the columns whose values become rows (below the panel) and columns.
    """
    parts = []
    for panel, own in means.groupby("panel", sort=False):
        wide = own.pivot(index=rows, columns=columns, values="value")
        limits = own.groupby(columns)[["chance", "ceiling"]].mean().T
        both = pd.concat([wide.loc[own[rows].unique()], limits])
        parts.append(pd.concat({panel: both[own[columns].unique()]}))
    return pd.concat(parts)


def contrast(
    overlaps: pd.DataFrame,
    column: str,
    one: str,
    other: str,
    *,
    measured: str = "value",
    n_resamples: int = 2000,
    seed: int,
) -> pd.DataFrame:
    """Mean difference between two kinds of maps of the same knees and seeds: `one` minus `other`.

    Parameters
    ----------
    overlaps : DataFrame
        As for :func:`overlap_means`.
    column : str
        One of `KEYS`, such as "weights", in which the two differ.
    one, other : str
        Its two values.
    measured : str
        What is compared, such as "value".
    n_resamples, seed : int
        Of the bootstrap over the knees.

    Returns
    -------
    DataFrame
        The other `KEYS`; the columns of :func:`.crossed.crossed`; `knees`; `q_value` by Benjamini
        and Hochberg over all rows, NaN with one seed as `p_value` is.

    Raises
    ------
    InputError
        If nothing is there twice.
    """
    by = [key for key in KEYS if key != column]
    rows = []
    for keys, group in overlaps.groupby(by, sort=False):
        pair = [group[group[column] == name] for name in (one, other)]
        if pair[0].empty or pair[1].empty:
            continue
        at = ["seed", "case_id"]
        joined = pair[0].merge(pair[1], on=at, suffixes=("", "_other"), validate="one_to_one")
        if joined.empty:  # no seed in common
            continue
        joined["difference"] = joined[measured] - joined[f"{measured}_other"]
        (difference,) = _matrices(joined, "difference")
        means = _means(difference, _resamples(difference.shape[1], n_resamples, seed))
        rows.append(
            {**dict(zip(by, keys, strict=True)), **crossed(means), "knees": difference.shape[1]}
        )
    if not rows:
        raise InputError(
            f"contrast: no row has both {one!r} and {other!r} in column {column!r} under one seed"
        )
    table = pd.DataFrame(rows)
    return table.assign(q_value=benjamini_hochberg(table["p_value"]))


def dual_minus_single(
    overlaps: pd.DataFrame, *, measured: str = "value", n_resamples: int = 2000, seed: int
) -> pd.DataFrame:
    """Dual's head minus the network that has this head alone; columns as of :func:`contrast`."""
    single = overlaps["supervision"] == "single_" + overlaps["head"]
    named = overlaps.assign(supervision=np.where(single, "single", overlaps["supervision"]))
    words = {"measured": measured, "n_resamples": n_resamples, "seed": seed}
    return contrast(named, "supervision", "dual", "single", **words)  # type: ignore[arg-type]


def profile_means(profiles: pd.DataFrame, *, n_resamples: int = 2000, seed: int) -> pd.DataFrame:
    """Mean enrichment of the gradient's maps by the distance from cartilage.

    Parameters
    ----------
    profiles : DataFrame
        Table "profile" of :func:`.read.read_explained`.
    n_resamples, seed : int
        Of the bootstrap over the knees.

    Returns
    -------
    DataFrame
        As :func:`overlap_means`: `region` is the band, `value` its share of the mass, `chance`
        its share of the voxels.
    """
    bands = zip(profiles["above"], profiles["up_to"], strict=True)
    as_overlaps = profiles.assign(
        method="gradient", mask="own", region=[_band(*ends) for ends in bands], measure="mass",
        value=profiles["mass"], chance=profiles["voxels"], ceiling=1.0,
    )  # fmt: skip
    return overlap_means(as_overlaps, n_resamples=n_resamples, seed=seed)


def _band(above: float, up_to: float) -> str:
    if np.isnan(above):
        return "cartilage"
    return f"over {above:g} mm" if np.isinf(up_to) else f"{above:g} to {up_to:g} mm"


def _matrices(rows: pd.DataFrame, *columns: str) -> list[np.ndarray]:
    """Values (seeds, knees) of the knees whose first column is defined under every seed."""
    # A pivot of each column would sort the same rows again, thousands of times a chapter.
    seeds, row = np.unique(rows["seed"].to_numpy(), return_inverse=True)
    cases, column = np.unique(rows["case_id"].to_numpy(), return_inverse=True)
    if np.bincount(row * len(cases) + column).max(initial=0) > 1:
        raise InputError("overlaps: a knee comes twice under one seed; keep one row of the two")
    wide = np.full((len(columns), len(seeds), len(cases)), np.nan)
    wide[:, row, column] = rows[list(columns)].to_numpy(dtype=float).T
    known = ~np.isnan(wide[0]).any(axis=0)
    # A seed's values side by side, or products of matrices round otherwise.
    return [np.ascontiguousarray(values[:, known]) for values in wide]


def _resamples(n: int, n_resamples: int, seed: int) -> np.ndarray:
    """Counts of n knees, (1 + B, n); the first row takes each once."""
    return draw_cases(n, n_resamples, seed) if n else np.ones((1 + n_resamples, 0))


def _means(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Mean of values (S, n) of each seed in each resample, (S, 1 + B); NaN without a knee."""
    if not values.size:
        return np.full((len(values), len(counts)), np.nan)
    if values.shape[1] == 1:  # one knee says nothing of others
        return np.column_stack([values, np.full((len(values), len(counts) - 1), np.nan)])
    return values @ (counts / counts.sum(axis=1, keepdims=True)).T
