"""How the parts of an experiment are written in prose, tables and figures, each in its order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from oacore.backbones import BACKBONE_NAMES

#: Arms: what a backbone is trained on.
SUPERVISION_NAMES = {"single_oa": "Single-OA", "single_kl": "Single-KL", "dual": "Dual"}

#: The two heads of a network, and of a phantom's readers the two labels.
HEAD_NAMES = {"oa": "OA head", "kl": "KL head"}

#: What answers: a supervision and one of its heads, in the columns of the paper's Figs. 3 to 5.
ANSWER_NAMES = {
    ("single_oa", "oa"): "Single-OA",
    ("single_kl", "kl"): "Single-KL",
    ("dual", "oa"): "Dual-OA",
    ("dual", "kl"): "Dual-KL",
}

#: Table 1's metrics. Of what label one is, its name says: it begins with `oa_` or `kl_`; the
#: function of the same name in :mod:`oacore.metrics.scores` computes it.
METRIC_NAMES = {
    "oa_auc": "OA AUC",
    "oa_acc": "OA accuracy",
    "oa_f1": "OA F1",
    "kl_auc": "KL macro-AUC",
    "kl_acc": "KL accuracy",
    "kl_f1": "KL macro-F1",
}

#: All of them at once, for tables and titles.
NAMES = {**BACKBONE_NAMES, **SUPERVISION_NAMES, **HEAD_NAMES, **METRIC_NAMES}
_PLACES = {word: place for place, word in enumerate(NAMES)}


def model_name(run: Mapping[str, Any]) -> str:
    """Write a model by its backbone and what it was taught, "ResNet3D Dual".

    Parameters
    ----------
    run : mapping
        With `backbone` and `supervision`.
    """
    return f"{BACKBONE_NAMES[run['backbone']]} {SUPERVISION_NAMES[run['supervision']]}"


def ordered(words: Iterable[str]) -> list[str]:
    """Put backbones, supervisions, heads or metrics in their order; unknown ones come last.

    Parameters
    ----------
    words : iterable of str
        Keys of the tables above, in any number; each comes out once.
    """
    return sorted(dict.fromkeys(words), key=_place)


def in_order(table: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """Sort rows by columns of such words, the first column first; rows that tie stay as they are.

    Parameters
    ----------
    table : DataFrame
    columns : str
        By default `backbone` and `supervision`.
    """
    by = list(columns or ("backbone", "supervision"))
    return table.sort_values(by, key=lambda words: words.map(_place), kind="stable")


def interval_text(value: float, low: float, high: float, form: str = ".2f") -> str:
    """Write an estimate with its 95% interval, "0.91 [0.89, 0.94]"; without limits the value alone.

    Parameters
    ----------
    value, low, high : float
    form : str
        Of each number, such as "+.3f" for differences.
    """
    if pd.isna(low):
        return f"{value:{form}}"
    return f"{value:{form}} [{low:{form}}, {high:{form}}]"


def seeds_text(value: float, low: float, high: float, form: str = ".2f") -> str:
    """Write a mean over seeds with its range, "0.91 (seeds 0.89 to 0.94)"; of one seed the value.

    Parameters
    ----------
    value : float
    low, high : float
        The lowest and the highest seed.
    form : str
        Of each number.
    """
    if pd.isna(low) or low == high:
        return f"{value:{form}}"
    return f"{value:{form}} (seeds {low:{form}} to {high:{form}})"


def written(table: pd.DataFrame, form: str = ".2f") -> pd.Series:
    """Write each row's estimate as one text.

    Parameters
    ----------
    table : DataFrame
        `value`, with `low` and `high` (:func:`interval_text`), or with `seed_low` and
        `seed_high` (:func:`seeds_text`).
    form : str
        Of each number.
    """
    of_seeds = "seed_low" in table
    text, ends = (seeds_text, "seed_") if of_seeds else (interval_text, "")
    columns = (table[name] for name in ("value", f"{ends}low", f"{ends}high"))
    rows = zip(*columns, strict=True)
    said = [text(value, low, high, form) for value, low, high in rows]
    return pd.Series(said, table.index, dtype=object)


def _place(word: str) -> int:
    return _PLACES.get(word, len(_PLACES))


@dataclass(frozen=True)
class Plane:
    """One way to cut a volume (X, Y, Z) in canonical (RAS) orientation into slices.

    Attributes
    ----------
    axis : int
        The axis that a slice fixes.
    across, up : int
        The axes along a picture's rows and columns. A row runs from high to low: anterior is on
        the left of sagittal slices, the patient's right on the left of the others.
    edges : str
        Letters of the picture's left, right, lower and upper edge.
    """

    axis: int
    across: int
    up: int
    edges: str


#: Planes by the axis that they fix.
PLANES = {
    "sagittal": Plane(axis=0, across=1, up=2, edges="APIS"),
    "coronal": Plane(axis=1, across=0, up=2, edges="RLIS"),
    "axial": Plane(axis=2, across=0, up=1, edges="RLPA"),
}
