"""How alike the features of two models are, up to a rotation and a scale: linear CKA."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from oacore.errors import InputError
from oacore.names import in_order


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


def _inner(values: np.ndarray) -> np.ndarray:
    """Inner products of the knees, (n, n), less the mean knee."""
    x = np.asarray(values, dtype=np.float64)
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
