"""How hard a cohort is: what perfect knowledge, plain measurements and shortcuts reach.

A network that stays below `perfect_reader` has room left; one that a shortcut matches may have
learned the shortcut.
"""

from __future__ import annotations

from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from sklearn.metrics import cohen_kappa_score

from oacore.data.cohort import graded
from oacore.errors import InputError
from oacore.hierarchy import FIRST_OA_GRADE, N_GRADES
from oacore.instruments.phantom.measure import NAMES, PERCENTILES
from oacore.metrics.references import regression
from oacore.metrics.scores import accuracy, auc, macro_auc, macro_f1
from oacore.metrics.subgroups import auc_limits

_SIDES = ("medial", "lateral")
_PLATES = [f"{bone}_{side}" for bone in ("femur", "tibia") for side in _SIDES]
#: Feature sets of `difficulty`: what the disease changes, then the shortcuts.
FEATURES = {
    "thickness, joint space, osteophyte volume": [
        *(f"thickness_{plate}_mm" for plate in _PLATES),
        *(f"joint_space_{side}_mm" for side in _SIDES),
        *(f"osteophyte_{margin}_mm3" for margin in ("fl", "fm", "tl", "tm")),
        "thinnest_mm", "narrowest_mm", "largest_osteophyte_mm3",
    ],
    "intensity statistics": ["image_mean", "image_sd", *(f"image_p{p}" for p in PERCENTILES)],
    "cartilage volume": [f"{NAMES[label]}_cm3" for label in (2, 4, 5)],
    "age, sex, BMI": ["age", "male", "bmi"],
    "case number": ["case_id"],
    "place in the split's table": ["place"],
}  # fmt: skip
HEADER = "header"  # the set of all numbers in an image's header
SCORES = ["oa_auc", "oa_accuracy", "kl_accuracy", "kl_macro_auc", "kl_macro_f1", "kl_kappa"]


def _score(
    kl: np.ndarray, oa_score: np.ndarray, oa: np.ndarray, prob_kl: np.ndarray, pred_kl: np.ndarray
) -> dict[str, float]:
    """All `SCORES` of one set of predictions against the labels `kl`."""
    once, label = np.ones((1, len(kl))), kl >= FIRST_OA_GRADE
    return {
        "oa_auc": auc(once, label, oa_score).item(),
        "oa_accuracy": accuracy(once, label, oa).item(),
        "kl_accuracy": accuracy(once, kl, pred_kl).item(),
        "kl_macro_auc": macro_auc(once, kl, prob_kl).item(),
        "kl_macro_f1": macro_f1(once, kl, pred_kl).item(),
        "kl_kappa": float(
            cohen_kappa_score(kl, pred_kl, weights="quadratic", labels=range(N_GRADES))
        ),
    }


def perfect_reader(truth: pd.DataFrame) -> pd.DataFrame:
    """Score who knows a phantom's true grade, against its noisy labels.

    Parameters
    ----------
    truth : DataFrame
        Columns split, kl (the label, may be missing), kl_true and severity.

    Returns
    -------
    DataFrame
        For each of the splits, and for "all": two rows. `inputs` is "true severity", whose
        answer is the true grade itself (`kl_macro_auc` is that of a certain answer, 0 or 1), or
        "true grade", whose answer is the label that such a knee most likely bears. No classifier
        of the true grade does better on the OA AUC and on the accuracies than the second, save
        by chance. `SCORES` follow; `kl_kappa` has quadratic weights.

    Raises
    ------
    InputError
        If no knee is graded.

    Notes
    -----
    P(label | true grade) is counted over all graded knees, and scored on the same ones.
    """
    knees = graded(truth)
    if knees.empty:
        raise InputError("no knee in the truth has a label; give graded knees")
    table = np.zeros((N_GRADES, N_GRADES))
    np.add.at(table, (knees["kl_true"].to_numpy(int), knees["kl"].to_numpy(int)), 1)
    given = table / np.maximum(table.sum(1, keepdims=True), 1)
    rows = []
    for split in [*knees["split"].unique(), "all"]:
        part = knees if split == "all" else knees[knees["split"] == split]
        kl, true = part["kl"].to_numpy(int), part["kl_true"].to_numpy(int)
        severity, prob = part["severity"].to_numpy(float), given[true]
        prob_oa = prob[:, FIRST_OA_GRADE:].sum(1)
        certain = _score(kl, severity, true >= FIRST_OA_GRADE, np.eye(N_GRADES)[true], true)
        likely = _score(kl, prob_oa, prob_oa > 0.5, prob, prob.argmax(1))
        rows.append({"split": split, "inputs": "true severity", "n": len(part)} | certain)
        rows.append({"split": split, "inputs": "true grade", "n": len(part)} | likely)
    return pd.DataFrame(rows)


def classical_baseline(
    train_features: pd.DataFrame,
    train_kl: pd.Series,
    test_features: pd.DataFrame,
    test_kl: pd.Series,
) -> dict[str, float]:
    """Logistic regression on a table of features, fitted to one split and scored on the other.

    One model each (:func:`.references.regression`) is fitted for OA and for the grade.

    Parameters
    ----------
    train_features, test_features : DataFrame, one row a knee
    train_kl, test_kl : Series of int
        Grades 0 to 4 of those rows.

    Returns
    -------
    dict of str to float
        `SCORES` on the test split, and the limits `oa_auc_low` and `oa_auc_high` of the AUC's
        95% interval over test knees (the fitted model held fixed); NaN where the test knees are
        all on one side of KL 2.

    Raises
    ------
    InputError
        If the training knees all have OA, or all have none.

    Notes
    -----
    The interval is :func:`.subgroups.auc_limits`: features can part few knees without a fault, and
    then each resample of a bootstrap has an AUC of 1 as well. ``workflow.coverage`` has what it
    holds.
    """
    grades, kl = train_kl.to_numpy(int), test_kl.to_numpy(int)
    if len(np.unique(grades >= FIRST_OA_GRADE)) < 2:
        raise InputError("the training knees are all on one side of KL 2; give some of both")
    prob = np.zeros((len(kl), N_GRADES))
    prob_oa = np.zeros(len(kl))
    for target, out in ((grades >= FIRST_OA_GRADE, prob_oa), (grades, prob)):
        model = regression()
        given = model.fit(train_features, target).predict_proba(test_features)
        if out.ndim == 1:
            out[:] = given[:, 1]
        else:
            out[:, model.classes_] = given
    found = _score(kl, prob_oa, prob_oa > 0.5, prob, prob.argmax(1))
    ill = int((kl >= FIRST_OA_GRADE).sum())
    low = high = np.nan
    if 0 < ill < len(kl):
        low, high = auc_limits(found["oa_auc"], ill, len(kl) - ill)
    return found | {"oa_auc_low": low, "oa_auc_high": high}


def header_features(cases: pd.DataFrame) -> pd.DataFrame:
    """All numbers in the headers of the images: shape, voxel sizes, affine, type, scaling.

    Parameters
    ----------
    cases : DataFrame
        Column image: path of a NIfTI file.

    Returns
    -------
    DataFrame
        One row a case, one column a number.
    """
    rows = []
    for path in cases["image"]:
        header: Any = nib.load(path).header
        fields = {key: np.ravel(header[key]) for key in header}
        rows.append(
            {
                f"{key}_{place}": float(number)
                for key, values in fields.items()
                if values.dtype.kind in "fiu"
                for place, number in enumerate(values)
            }
        )
    return pd.DataFrame(rows, index=cases.index)


def feature_table(cases: pd.DataFrame, measured: pd.DataFrame) -> pd.DataFrame:
    """The columns that `FEATURES` names, one row a graded case that was measured.

    Parameters
    ----------
    cases : DataFrame
        As `oacore.data.cohort.read_cohort` gives it.
    measured : DataFrame
        As `oacore.instruments.phantom.measure.measure_cohort` gives it.

    Returns
    -------
    DataFrame
        `cases`, `measured`, and `male`, `place` (0 to 1 within the graded knees of a split, in
        order of case_id), `thinnest_mm`, `narrowest_mm` and `largest_osteophyte_mm3` (over
        plates, sides and margins). Columns of `FEATURES` that were not measured are empty.
    """
    table = graded(cases).merge(measured.drop(columns="split"), on="case_id")
    named = [column for columns in FEATURES.values() for column in columns]
    table = table.reindex(columns=list(dict.fromkeys([*table.columns, *named])))
    table["male"] = (table["sex"] == "male").astype(float)
    table["place"] = table.groupby("split")["case_id"].rank(pct=True)
    table["thinnest_mm"] = table.filter(regex=r"^thickness_").min(axis=1)
    table["narrowest_mm"] = table.filter(regex=r"^joint_space_").min(axis=1)
    table["largest_osteophyte_mm3"] = table.filter(regex=r"^osteophyte_").max(axis=1)
    return table


def difficulty(cases: pd.DataFrame, truth: pd.DataFrame, measured: pd.DataFrame) -> pd.DataFrame:
    """Scores on the test split of a phantom, from the truth down to shortcuts.

    In OAIZIB-CM, and in a phantom after it, knees are sorted by label inside each split. So the
    case number and the place in the table tell the label: the last two rows show by how much.

    Parameters
    ----------
    cases : DataFrame
        As `oacore.data.cohort.read_cohort` gives it.
    truth : DataFrame
        As `oacore.instruments.phantom.cohort.read_truth` gives it.
    measured : DataFrame
        As `oacore.instruments.phantom.measure.measure_cohort` gives it.

    Returns
    -------
    DataFrame
        `inputs`, `SCORES`, `oa_auc_low`, `oa_auc_high`: two rows of `perfect_reader` (no
        interval), then one for each of `FEATURES` and for the header.

    Raises
    ------
    InputError
        If a split has no graded and measured knee.
    """
    table = feature_table(cases, measured)
    train, test = (table[table["split"] == split] for split in ("train", "test"))
    if train.empty or test.empty:
        raise InputError("a split has no graded knee with a mask; both are needed")
    ceiling = perfect_reader(truth)
    ceiling = ceiling[ceiling["split"] == "test"].drop(columns=["split", "n"])
    rows: list[dict[Any, Any]] = ceiling.to_dict("records")
    sets = {name: table[columns] for name, columns in FEATURES.items()}
    for name, features in {**sets, HEADER: header_features(table)}.items():
        fitted = classical_baseline(
            features.loc[train.index], train["kl"], features.loc[test.index], test["kl"]
        )
        rows.append({"inputs": name} | fitted)
    return pd.DataFrame(rows)
