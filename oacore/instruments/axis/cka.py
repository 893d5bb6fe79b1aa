"""How alike the features of two models are, up to a rotation and a scale: linear CKA."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations, permutations, product

import numpy as np
import pandas as pd

from oacore.errors import InputError
from oacore.names import BACKBONE_NAMES, in_order

MOST = 5000  # relabelings


def linear_cka(x: np.ndarray, y: np.ndarray, debiased: bool = True) -> float:
    """Likeness of two sets of features of the same knees: linear centred kernel alignment.

    Kornblith et al. 2019, arXiv:1905.00414: ``HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L))`` with K
    and L the inner products of the knees. It does not change when either is rotated, shifted or
    scaled as a whole. HSIC as they define it grows towards 1 when there are more features than
    knees, for unrelated features too; the debiased form takes the unbiased HSIC of Song et al.
    2012 (https://jmlr.org/papers/v13/song12a.html, equation 5), about 0 for unrelated ones.

    Parameters
    ----------
    x, y : (n, any number of features) arrays
        Row i of both the same knee; at least four knees.
    debiased : bool

    Returns
    -------
    float
        At most 1; in [0, 1] if not debiased. NaN where either does not vary.
    """
    if len(x) != len(y) or len(x) < 4:
        raise InputError(f"linear_cka: {len(x)} and {len(y)} knees; give the same ones, 4 or more")
    k, t = (_inner(values) for values in (x, y))
    hsic = _hsic_unbiased if debiased else _hsic
    norm = hsic(k, k) * hsic(t, t)
    return float(hsic(k, t) / np.sqrt(norm)) if norm > 0 else np.nan


def cka_matrix(models: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Linear CKA between all models, a row and a column each.

    Parameters
    ----------
    models : mapping of str to (n, any number of features) array
        Features of the same knees in the same order; test knees, for training knees have been
        fitted by all.
    """
    names = list(models)
    values = [[linear_cka(models[a], models[b]) for b in names] for a in names]
    return pd.DataFrame(values, index=names, columns=names)


def cka_pairs(models: Sequence[tuple[Mapping[str, str | int], np.ndarray]]) -> pd.DataFrame:
    """Linear CKA of every two models of one backbone, and what the two differ in.

    Two supervisions under one seed start from the same encoder weights and see the knees in the
    same order, which two seeds do not; so the fair companion of "seed" is "both".

    Parameters
    ----------
    models : sequence of (run, features)
        run: backbone, supervision, seed. Features of the same knees in the same order.

    Returns
    -------
    DataFrame
        backbone; `differ`: "seed" (one supervision under two seeds), "supervision" (two under
        one seed) or "both"; cka. In the paper's order of backbones, for each "supervision",
        "seed", "both".
    """
    rows = []
    for (one, x), (other, y) in combinations(models, 2):
        if one["backbone"] != other["backbone"]:
            continue
        apart = [name for name in ("seed", "supervision") if one[name] != other[name]]
        if not apart:
            raise InputError(f"cka_pairs: {dict(one)} comes twice; give each model once")
        differ = "both" if len(apart) == 2 else apart[0]
        row = {"backbone": one["backbone"], "differ": differ, "cka": linear_cka(x, y)}
        rows.append(row)
    table = pd.DataFrame(rows, columns=["backbone", "differ", "cka"])
    kinds = ["supervision", "seed", "both"].index
    by_kind = table.sort_values("differ", key=lambda differ: differ.map(kinds), kind="stable")
    return in_order(by_kind, "backbone")


def supervision_test(
    models: Sequence[tuple[Mapping[str, str | int], np.ndarray]], *, seed: int
) -> pd.DataFrame:
    """Whether two seeds are more alike under one supervision than under two, by permutation.

    If the supervision did nothing, the models of one seed, which share their first weights and the
    order of the knees, could bear each other's labels. So the labels are dealt out anew within each
    seed but the first, in all ways, or in 5,000 random ones where there are more.

    Parameters
    ----------
    models : sequence of (run, features)
        As for :func:`cka_pairs`.
    seed : int
        Of the random relabelings.

    Returns
    -------
    DataFrame
        A row a backbone: `seeds` that have all its supervisions; `value`, the mean CKA of pairs
        that differ in the seed alone less that of pairs that differ in both; `p_value`, the share
        of relabelings in which it is as large or larger; `ways`, how many relabelings there are,
        so that no p-value lies below 1 / `ways`. NaN with one seed.
    """
    rows = []
    for backbone in dict.fromkeys(str(run["backbone"]) for run, _ in models):
        own = {(run["seed"], run["supervision"]): x for run, x in models
               if run["backbone"] == backbone}  # fmt: skip
        labels = list(dict.fromkeys(label for _, label in own))
        seeds = [s for s in dict.fromkeys(s for s, _ in own) if all((s, k) in own for k in labels)]
        row = {"backbone": backbone, "seeds": len(seeds), "value": np.nan, "p_value": np.nan}
        if len(seeds) < 2 or len(labels) < 2:
            rows.append({**row, "ways": 1})
            continue
        # Of each two seeds, alike[k, l]: label k under the one with label l under the other.
        alike = {
            (i, j): np.array([[linear_cka(own[seeds[i], k], own[seeds[j], m]) for m in labels]
                              for k in labels])
            for i, j in combinations(range(len(seeds)), 2)
        }  # fmt: skip
        values = [_same_less_other(alike, dealt) for dealt in _relabelings(labels, seeds, seed)]
        large = np.array(values) >= values[0] - 1e-12  # the first is as the labels are
        found = {"value": values[0], "p_value": large.mean() if np.isfinite(values[0]) else np.nan}
        rows.append({**row, **found, "ways": len(values)})
    return in_order(pd.DataFrame(rows), "backbone")


def in_sentences(told: pd.DataFrame) -> str:
    """A sentence a backbone on what a change of supervision does beyond one of the seed.

    Parameters
    ----------
    told : DataFrame
        From :func:`supervision_test`.
    """
    sentences = []
    for row in told.to_dict("records"):
        name = BACKBONE_NAMES[row["backbone"]]
        if row["seeds"] < 2:
            sentences.append(f"{name}: one seed, so nothing to compare")
            continue
        found = f"seed minus both {row['value']:+.2f}, p = {row['p_value']:.2g}"
        least = f"the least that {row['seeds']} seeds allow is {1 / row['ways']:.2g}"
        sentences.append(f"{name}: {found} ({least})")
    return "\n".join(sentences)


def _relabelings(labels: Sequence[object], seeds: Sequence[object], seed: int) -> list[np.ndarray]:
    """Arrays (seeds, labels) of which model bears each label; as they are first."""
    orders = [np.array(order) for order in permutations(range(len(labels)))]
    if len(orders) ** (len(seeds) - 1) <= MOST:
        return [np.array([orders[0], *rest]) for rest in product(orders, repeat=len(seeds) - 1)]
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(orders), (MOST, len(seeds)))
    drawn[0] = 0
    return [np.array([orders[i] for i in row]) for row in drawn]


def _same_less_other(alike: Mapping[tuple[int, int], np.ndarray], dealt: np.ndarray) -> float:
    """Mean CKA of two seeds' models of one label less that of two labels."""
    mean = np.mean([matrix[np.ix_(dealt[i], dealt[j])] for (i, j), matrix in alike.items()], axis=0)
    n = len(mean)
    same = np.trace(mean) / n
    return float(same - (mean.sum() - np.trace(mean)) / (n * (n - 1)))


def _inner(values: np.ndarray) -> np.ndarray:
    """Inner products of the knees, (n, n), less the mean knee; all 0 where no feature varies.

    A constant less its mean is not always 0, for a mean is rounded; less the first knee it is.
    CKA does not depend on the scale, which is taken out so that no square overflows or vanishes.
    """
    x = np.asarray(values, dtype=np.float64)
    x = x - x[0]
    x = x / (np.abs(x).max() or 1.0)
    x = x - x.mean(axis=0)
    return x @ x.T


def _hsic(k: np.ndarray, t: np.ndarray) -> float:
    """HSIC of two centred kernels, up to a factor that CKA divides out."""
    return float((k * t).sum())


def _hsic_unbiased(k: np.ndarray, t: np.ndarray) -> float:
    """Unbiased HSIC up to the factor n (n - 3); a knee is never compared with itself."""
    n = len(k)
    k, t = (kernel - np.diag(np.diag(kernel)) for kernel in (k, t))
    rows_k, rows_t = k.sum(axis=1), t.sum(axis=1)
    return float(
        (k * t).sum()
        + rows_k.sum() * rows_t.sum() / ((n - 1) * (n - 2))
        - 2 * (rows_k @ rows_t) / (n - 2)
    )
