"""The tidy table of predictions, ours and the published alike: columns, checks, pairing.

One row per backbone, supervision, seed, split and case:

``backbone``, ``supervision``, ``seed``, ``split``, ``case_id``; the labels ``kl`` (0 to 4) and
``oa`` (KL >= 2); ``prob_oa`` and ``pred_oa`` of the OA head (for Single-KL, of the grades 2 to
4); ``prob_oa_from_kl``, ``prob_kl_0`` to ``prob_kl_4`` and ``pred_kl``, missing for Single-OA.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from oacore.errors import InputError

GRADES = range(5)
PROB_KL = [f"prob_kl_{grade}" for grade in GRADES]
MODEL = ["backbone", "supervision", "seed"]
COLUMNS = [
    *MODEL, "split", "case_id", "kl", "oa",
    "prob_oa", "pred_oa", "prob_oa_from_kl", *PROB_KL, "pred_kl",
]  # fmt: skip


def has_kl(predictions: pd.DataFrame) -> bool:
    """Tell whether a model predicts grades: Single-OA does not."""
    return bool(predictions["pred_kl"].notna().any())


def of_model(predictions: pd.DataFrame, backbone: str, supervision: str) -> pd.DataFrame:
    """Predictions of one backbone under one supervision, in the order of the cases."""
    rows = (predictions["backbone"] == backbone) & (predictions["supervision"] == supervision)
    return predictions[rows].sort_values(["seed", "case_id"], ignore_index=True)


def pair(reference: pd.DataFrame, other: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Sort two models' predictions by case_id, once it is sure that they pair.

    Parameters
    ----------
    reference, other : DataFrame
        Tidy predictions of one model each.

    Returns
    -------
    DataFrame, DataFrame
        Row i of both is the same case.

    Raises
    ------
    InputError
        If cases or labels differ; it names the first of them.
    """
    for table in (reference, other):
        check_one_model(table)
    reference, other = (
        table.sort_values("case_id").reset_index(drop=True) for table in (reference, other)
    )
    apart = sorted(set(reference["case_id"]) ^ set(other["case_id"]))
    if apart:
        raise InputError(
            f"the two models predict different cases: case_id {_first(apart)} occurs in only one "
            "of the tables. Give both tables the same cases (the same split)."
        )
    for label in ("kl", "oa"):
        differ = (reference[label] != other[label]).to_numpy(dtype=bool)
        if differ.any():
            raise InputError(
                f"column {label} differs between the two tables for case_id "
                f"{_first(reference['case_id'][differ])}: predictions pair only under one label."
            )
    return reference, other


def check_columns(predictions: pd.DataFrame) -> None:
    """Raise InputError unless the table has its columns, rows, and one split alone."""
    missing = [column for column in COLUMNS if column not in predictions.columns]
    if missing:
        raise InputError(f"predictions lack the columns {', '.join(missing)}")
    if predictions.empty:
        raise InputError("predictions have no rows: there is nothing to measure")
    splits = predictions["split"].unique()
    if len(splits) > 1:
        raise InputError(
            f"predictions mix the splits {', '.join(map(str, splits))}: keep one of them, e.g. "
            "predictions[predictions.split == 'test']"
        )


def check_one_model(predictions: pd.DataFrame) -> None:
    """Raise InputError unless the table is one model's, complete and within range."""
    check_columns(predictions)
    models = predictions[MODEL].drop_duplicates()
    if len(models) > 1:
        raise InputError(
            f"predictions hold {len(models)} models ({', '.join(MODEL)}); select the rows of one"
        )
    name = " ".join(map(str, models.iloc[0]))
    _reject(predictions, predictions["case_id"].duplicated(), f"{name}: a second row for")
    valid: dict[str, Sequence[int]] = {"kl": GRADES, "oa": (0, 1), "pred_oa": (0, 1)}
    probabilities = ["prob_oa"]
    if has_kl(predictions):
        valid["pred_kl"] = GRADES
        probabilities += PROB_KL
    for column, values in valid.items():
        wrong = ~predictions[column].isin(list(values))
        _reject(predictions, wrong, f"{name}: {column} is not one of {list(values)} in")
    for column in probabilities:
        # Sums of single-precision probabilities can pass 1 by a rounding.
        wrong = ~predictions[column].between(0, 1 + 1e-6)
        _reject(predictions, wrong, f"{name}: {column} is not a probability in")


def _reject(predictions: pd.DataFrame, wrong: pd.Series, what: str) -> None:
    if wrong.any():
        cases = predictions["case_id"][wrong.to_numpy(dtype=bool)]
        raise InputError(f"{what} case_id {_first(cases)}. Correct or drop these rows.")


def _first(cases: Iterable[int]) -> str:
    listed = list(cases)
    return ", ".join(map(str, listed[:5])) + (", ..." if len(listed) > 5 else "")
