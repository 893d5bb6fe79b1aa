"""What a score must beat: constant answers, and a regression on a few lengths in mm.

They give predictions like any model's, so that the same functions score them.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from oacore.errors import InputError
from oacore.hierarchy import FIRST_OA_GRADE, N_GRADES
from oacore.metrics.predictions import COLUMNS, PROB_KL

REFERENCE = "reference"  # in place of a backbone
ALWAYS_OA = "always OA"
MAJORITY = "most frequent grade"
REGRESSION = "regression on thickness and joint space"


def reference_predictions(
    cases: pd.DataFrame, measured: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Answers for the test knees that need no network.

    Parameters
    ----------
    cases : DataFrame
        Graded knees: `case_id`, `split`, `kl`.
    measured : DataFrame, optional
        `case_id`, and in mm `thickness_…_mm` of plates of cartilage and `joint_space_…_mm` of
        compartments, as `oacore measure` writes them; other columns are not used.

    Returns
    -------
    DataFrame
        Tidy predictions (:mod:`.metrics.predictions`) of the test split. `backbone` is
        `REFERENCE`, `seed` 0, and `supervision` one of

        - `ALWAYS_OA`: each knee has OA; it has no grades;
        - `MAJORITY`: each knee has the most frequent grade of the training knees;
        - `REGRESSION`: two logistic regressions (:func:`regression`), one of OA and one of the
          grade, on the lengths, fitted on the measured training knees. It is left out unless all
          test knees, and training knees of all grades, were measured.

    Raises
    ------
    InputError
        If a split has no knee.
    """
    train, test = (cases[cases["split"] == split] for split in ("train", "test"))
    if train.empty or test.empty:
        raise InputError("a split has no graded knee: references need training and test knees")
    most = int(np.bincount(train["kl"].astype(int), minlength=N_GRADES).argmax())
    constant = np.tile(np.eye(N_GRADES)[most], (len(test), 1))
    answers = [
        _answers(test, ALWAYS_OA, np.ones(len(test)), None),
        _answers(test, MAJORITY, constant[:, FIRST_OA_GRADE:].sum(axis=1), constant),
    ]
    if measured is not None:
        known = train[train["case_id"].isin(measured["case_id"])]
        if known["kl"].nunique() == N_GRADES and test["case_id"].isin(measured["case_id"]).all():
            answers.append(_regression(known, test, measured.set_index("case_id")))
    return pd.concat(answers, ignore_index=True)


def regression() -> Pipeline:
    """Logistic regression of classes on a few numbers, to be fitted.

    Gaps are filled with the training median, and numbers are standardised; the penalty is
    scikit-learn's own.
    """
    return make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True),
        StandardScaler(),
        LogisticRegression(max_iter=5000),
    )


def _regression(train: pd.DataFrame, test: pd.DataFrame, measured: pd.DataFrame) -> pd.DataFrame:
    lengths = measured.filter(regex=r"^(thickness|joint_space)_.*_mm$")
    kl = train["kl"].to_numpy(int)
    given = []
    for target in (kl >= FIRST_OA_GRADE, kl):
        model = regression()
        model.fit(lengths.loc[train["case_id"]], target)
        given.append(model.predict_proba(lengths.loc[test["case_id"]]))
    return _answers(test, REGRESSION, given[0][:, 1], given[1])


def _answers(
    test: pd.DataFrame, name: str, prob_oa: np.ndarray, prob_kl: np.ndarray | None
) -> pd.DataFrame:
    """Tidy predictions of one reference; `prob_kl` has a column a grade."""
    kl = test["kl"].to_numpy(int)
    table = pd.DataFrame(
        {
            "backbone": REFERENCE, "supervision": name, "seed": 0, "split": "test",
            "case_id": test["case_id"].to_numpy(), "kl": kl, "oa": (kl >= FIRST_OA_GRADE) * 1,
            "prob_oa": prob_oa, "pred_oa": (prob_oa > 0.5) * 1,
        }
    )  # fmt: skip
    if prob_kl is not None:
        table[PROB_KL] = prob_kl
        table["prob_oa_from_kl"] = prob_kl[:, FIRST_OA_GRADE:].sum(axis=1)
        table["pred_kl"] = prob_kl.argmax(axis=1)
    return table.reindex(columns=COLUMNS)
