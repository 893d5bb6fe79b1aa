"""The tidy table of predictions, ours and the published alike: columns, checks, pairing.

One row per backbone, supervision, seed, split and case:

``backbone``, ``supervision``, ``seed``, ``split``, ``case_id``; the labels ``kl`` (0 to 4) and
``oa`` (KL >= 2); ``prob_oa`` and ``pred_oa`` of the OA head (for Single-KL, of the grades 2 to
4); ``prob_oa_from_kl``, ``prob_kl_0`` to ``prob_kl_4`` and ``pred_kl``, missing for Single-OA.

Two checks. What comes out of a file must be what one network can have said: every reader of files
calls :func:`check_predictions`. What is computed on must be complete and within range, and no
more (:func:`check_one_model`), so that an answer may be altered to see what follows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
import pandas as pd

from oacore.errors import InputError

GRADES = range(5)
PROB_KL = [f"prob_kl_{grade}" for grade in GRADES]
MODEL = ["backbone", "supervision", "seed"]
COLUMNS = [
    *MODEL, "split", "case_id", "kl", "oa",
    "prob_oa", "pred_oa", "prob_oa_from_kl", *PROB_KL, "pred_kl",
]  # fmt: skip
#: What a model that predicts no grade leaves empty.
GRADED = ["prob_oa_from_kl", *PROB_KL, "pred_kl"]
#: Half a unit of the fourth decimal: probabilities may be rounded to four decimals, not to fewer.
ROUNDED = 5e-5
#: What arithmetic in single precision adds to a sum of probabilities, and more.
SINGLE = 1e-6
#: What it adds in half precision, bfloat16 for one, whose numbers are off by a 2^-8th at most.
HALF = 2.0**-8
CURE = "correct or drop these rows"
MORE_DECIMALS = "write all probabilities with four decimals or more"
#: What is wrong with a row in words, or what finds these and the cure for the first such row.
Said = str | Callable[[pd.Series], tuple[str, str]]


def has_kl(predictions: pd.DataFrame) -> bool:
    """Tell whether a model predicts grades: Single-OA does not."""
    return bool(predictions["pred_kl"].notna().any())


def each_model(predictions: pd.DataFrame) -> list[tuple[tuple, pd.DataFrame]]:
    """Take a table of predictions apart into models, once every one of them can be measured.

    Parameters
    ----------
    predictions : DataFrame
        Tidy predictions of one split, any number of models and seeds.

    Returns
    -------
    list of (tuple, DataFrame)
        Backbone, supervision and seed, in the order in which the table first has them; the rows of
        that model by case_id.

    Raises
    ------
    InputError
        If columns or values are missing, or the rows are of several splits.
    """
    check_columns(predictions)
    # A model without a name is refused below, not left out.
    each = list(predictions.groupby(MODEL, sort=False, dropna=False))
    for _, rows in each:
        check_one_model(rows)
    return [(model, rows.sort_values("case_id")) for model, rows in each]


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
    apart = sorted(set(reference["case_id"]) ^ set(other["case_id"]), key=str)
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
    for column in MODEL:
        if (absent := predictions[column].isna()).any():
            cases = _first(predictions.loc[absent.to_numpy(), "case_id"])
            raise InputError(f"{column} is missing in case_id {cases}; {CURE}")
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
    graded = np.full(len(predictions), has_kl(predictions))
    for wrong, what in _out_of_range(predictions, graded):
        _reject(predictions, wrong, what)


def check_predictions(
    predictions: pd.DataFrame,
    where: str = "",
    cure: str = CURE,
    called: Mapping[str, str] | None = None,
) -> None:
    """Raise InputError unless every row is what its model can have answered.

    Beyond :func:`check_one_model`: `oa` is KL >= 2; the probabilities of the grades sum to 1, and
    those of grades 2 to 4 to `prob_oa_from_kl`; `pred_kl` is a grade of the greatest probability,
    whichever of several; `pred_oa` is 1 above a `prob_oa` of one half, 0 below, and either at one
    half. Single-OA predicts no grade, Single-KL and Dual do, and Single-KL's `prob_oa` is
    `prob_oa_from_kl`.

    Parameters
    ----------
    predictions : DataFrame
        Tidy, of any number of models and splits. Its index counts the rows of the file from 0.
    where : str
        The file, which the error then names with the row; without one it names the model.
    cure : str
        What to do about it.
    called : mapping of str to str, optional
        What the file calls columns, where it calls them otherwise.

    Raises
    ------
    InputError
        On the first rule that a row breaks, with the first such row.

    Notes
    -----
    Sums may be off by what rounding each part to the fourth decimal does (2.5e-4 for five grades)
    and by 1e-6 for single precision. Rounding keeps an order, so the answers get the 1e-6 alone.
    Rounding to fewer decimals makes ties, and with them another AUC; the error then says how many
    there are. Where the digits are there and a sum is off by no more than half precision makes it,
    it says to divide by the sum.
    """
    known = predictions.assign(known=predictions["pred_kl"].notna())
    any_known = known.groupby(MODEL, dropna=False)["known"].transform("any")
    graded = (any_known & (predictions["supervision"] != "single_oa")).to_numpy(dtype=bool)
    for rules in (_out_of_range, _unlike_an_answer):
        for wrong, what in rules(predictions, graded):
            _reject(predictions, wrong, what, where, cure, called)


def check_both_classes(predictions: pd.DataFrame, where: str) -> None:
    """Raise InputError where a split has no knee with OA, or none without: no AUC exists there."""
    for split, oa in predictions.groupby("split")["oa"]:
        if oa.nunique() < 2:
            lacking = "without OA (KL 0 or 1)" if oa.iloc[0] == 1 else "with OA (KL 2 to 4)"
            raise InputError(
                f"{where}: the split {split} has no knee {lacking}, so its OA AUC is undefined and "
                "nothing can be compared; give the predictions of knees with and without OA"
            )


def _out_of_range(t: pd.DataFrame, graded: np.ndarray) -> Iterator[tuple[pd.Series, Said]]:
    """Rows that are incomplete, doubled or out of range, rule by rule; graded: (n,) bool."""
    for column in (*MODEL, "split", "case_id"):
        yield t[column].isna(), f"{column} is missing"
    if pd.api.types.is_numeric_dtype(t["case_id"]):
        yield t["case_id"] % 1 != 0, "case_id is not a whole number"
    yield t.duplicated([*MODEL, "split", "case_id"]), "a second row of this case"
    for column in ("kl", "oa", "pred_oa", "pred_kl"):
        valid = [0, 1] if column.endswith("oa") else [*GRADES]
        wrong = ~t[column].isin(valid)
        yield wrong & graded if column == "pred_kl" else wrong, f"{column} is not one of {valid}"
    for column in ("prob_oa", *PROB_KL):
        wrong = ~t[column].between(0, 1 + SINGLE)
        yield wrong if column == "prob_oa" else wrong & graded, f"{column} is not a probability"
    yield t["oa"] != (t["kl"] >= 2), "oa is not KL >= 2"


def _unlike_an_answer(t: pd.DataFrame, graded: np.ndarray) -> Iterator[tuple[pd.Series, Said]]:
    """Rows that no network answers, rule by rule, once all are within range."""
    coarse, fine = t["supervision"] == "single_oa", t["supervision"].isin(["single_kl", "dual"])
    some = t[GRADED].notna().any(axis=1)
    yield some & coarse, f"Single-OA predicts no grade, so {', '.join(GRADED)} must be empty"
    yield fine & ~graded, "Single-KL and Dual predict grades, and here pred_kl is missing"
    yield t[GRADED].isna().any(axis=1) & (some | graded), f"some of {', '.join(GRADED)} are missing"
    prob_kl = t[PROB_KL].to_numpy(dtype=float)  # (n, 5)
    off = pd.Series(prob_kl.sum(axis=1) - 1, t.index).abs()
    yield off > 5 * ROUNDED + SINGLE, _grades_off
    off = (t["prob_oa_from_kl"] - prob_kl[:, 2:].sum(axis=1)).abs()
    yield off > 4 * ROUNDED + SINGLE, _from_kl_off
    off = (t["prob_oa"] - t["prob_oa_from_kl"]).abs()
    yield (t["supervision"] == "single_kl") & (off > 2 * ROUNDED + SINGLE), _single_kl_off
    answer = t["pred_kl"].astype("Float64").fillna(0).to_numpy(dtype=int)
    chosen = prob_kl[np.arange(len(t)), answer]
    beaten = pd.Series(chosen < prob_kl.max(axis=1, initial=0) - SINGLE, t.index)
    yield beaten, "pred_kl is not a grade of the greatest probability"
    side = np.where(t["pred_oa"] == 1, 0.5 - t["prob_oa"], t["prob_oa"] - 0.5)
    yield pd.Series(side > SINGLE, t.index), "pred_oa is not whether prob_oa is one half or more"


def _grades_off(row: pd.Series) -> tuple[str, str]:
    """What is wrong with a row, and the cure; so the two below."""
    total = row[PROB_KL].sum()
    what = f"the KL probabilities do not sum to 1 but to {total:.5g}"
    if said := _as_rounded(total - 1, row[PROB_KL]):
        return what + said, MORE_DECIMALS
    if abs(total - 1) <= HALF:
        cure = "divide the five of each row by their sum, and sum prob_oa_from_kl anew"
        return f"{what}, as in half precision they may", cure
    return f"{what}, and are to be those of all five grades", CURE


def _from_kl_off(row: pd.Series) -> tuple[str, str]:
    one, sick = row["prob_oa_from_kl"], row[PROB_KL[2:]]
    what = f"prob_oa_from_kl is not the sum of prob_kl_2 to prob_kl_4 ({one:.5g}, {sick.sum():.5g})"
    said = _as_rounded(one - sick.sum(), row[["prob_oa_from_kl"]], sick)
    return (what + said, MORE_DECIMALS) if said else (what, CURE)


def _single_kl_off(row: pd.Series) -> tuple[str, str]:
    one, other = row["prob_oa"], row["prob_oa_from_kl"]
    what = f"prob_oa is not prob_oa_from_kl, as Single-KL's is ({one:.5g}, {other:.5g})"
    said = _as_rounded(one - other, row[["prob_oa"]], row[["prob_oa_from_kl"]])
    return (what + said, MORE_DECIMALS) if said else (what, CURE)


def _as_rounded(off: float, *parts: pd.Series) -> str:
    """Say to how many decimals parts were rounded, if that can put their sum off so much."""
    digits = [_decimals(part.to_numpy(dtype=float)) for part in parts]
    most = sum(len(part) * 0.5 * 10.0**-n for part, n in zip(parts, digits, strict=True))
    explained = min(digits) < 4 and abs(off) <= most + SINGLE
    return f", as rounding to {min(digits)} decimals makes them" if explained else ""


def _decimals(values: np.ndarray) -> int:
    """Decimals, from 2 to 4, that write values in full, or as near as a table may come."""
    shorter = (n for n in (2, 3) if np.abs(values - values.round(n)).max() <= SINGLE)
    return next(shorter, 4)


def _reject(
    predictions: pd.DataFrame,
    wrong: pd.Series,
    said: Said,
    where: str = "",
    cure: str = CURE,
    called: Mapping[str, str] | None = None,
) -> None:
    wrong = wrong.fillna(True).astype(bool)
    if not wrong.any():
        return
    first = predictions[wrong.to_numpy()].iloc[0]
    what, own = (said, CURE) if isinstance(said, str) else said(first)
    cure = own if cure == CURE else cure  # a file that was fetched is fetched again
    for ours, theirs in (called or {}).items():
        what = re.sub(rf"\b{ours}\b", theirs, what)
    if where:
        row = f"data row {int(first.name) + 1}"  # type: ignore[call-overload]
        raise InputError(f"{where}, {row}: {what} (case_id {first['case_id']}); {cure}")
    cases = predictions["case_id"][wrong.to_numpy()]
    model = " ".join(str(first[column]) for column in MODEL)
    raise InputError(f"{model}: {what} in case_id {_first(cases)}; {cure}")


def _first(cases: Iterable[int]) -> str:
    listed = list(cases)
    return ", ".join(map(str, listed[:5])) + (", ..." if len(listed) > 5 else "")
