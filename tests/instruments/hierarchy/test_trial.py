"""A small experiment in memory: knees by their measurements, and arms that are trained at once."""

import numpy as np
import pandas as pd
import pytest

from oacore.errors import InputError
from oacore.instruments.hierarchy.analysis import collected, contrasts
from oacore.instruments.hierarchy.arms import ARMS
from oacore.instruments.hierarchy.batched import Network
from oacore.instruments.hierarchy.repeats import Knees, Plan, answers, folds_of, run
from oacore.instruments.hierarchy.trial import (
    DRAWN,
    MEASURED,
    _batch,
    knees_here,
    measured_knees,
    trial,
)
from oacore.metrics.resampling import draw_cases

NET = Network(hidden=8, epochs=2, batch=8)


def drawn(n=75, seed=0):
    rng = np.random.default_rng(seed)
    kl = np.resize(np.arange(5), n)
    cases = pd.DataFrame({"kl": kl, "male": rng.integers(0, 2, n), "age": rng.normal(60, 9, n)})
    return Knees(kl[:, None] * 0.4 + rng.normal(size=(n, 6)), cases)


def test_a_trial_is_the_run_of_a_plan(tmp_path):
    """What is trained in memory answers as what is kept in a folder."""
    knees, names = drawn(), ("single_kl", "dual", "shuffled")
    plan = Plan(NET, names, crossed=(), peers=(), seeds=(0, 1), peer_seeds=(), folds=3)
    run(plan, knees, tmp_path, quiet=True)
    kl, counts = knees.cases["kl"].to_numpy(), draw_cases(75, 20, 0)
    values = trial(knees, names, (0, 1), 20, NET, folds=3)
    assert list(values) == [("layer-constant", name) for name in names]
    wanted = collected(
        answers(plan, knees, tmp_path), kl, counts, lambda seed: folds_of(kl, seed, 3),
        lambda name: ARMS[name].second == "OA",
    )  # fmt: skip
    for key, measures in wanted.items():
        assert set(values[key]) == set(measures)
        for name, of_seeds in measures.items():  # blocks keep 32 bits
            np.testing.assert_allclose(values[key][name], of_seeds, atol=2e-3)
    table = contrasts(values, "layer-constant")
    assert set(table["found"]) <= {"none", "gain", "loss", "undecided"}


def test_a_grade_with_fewer_knees_than_folds_is_named():
    knees = drawn(n=22)
    with pytest.raises(InputError, match="a grade has 4 knees here, fewer than 5 folds"):
        trial(knees, ["single_kl"], [0], 5, NET)


def cohort(n=12):
    cases = pd.DataFrame(
        {"case_id": [f"{i:03d}" for i in range(n)], "split": ["train", "test"] * (n // 2),
         "kl": np.resize([0, 1, 2, 3, 4], n), "sex": ["male", "female"] * (n // 2), "age": 60.0}
    )  # fmt: skip
    rng = np.random.default_rng(1)
    measured = pd.DataFrame(rng.uniform(1, 5, (n, len(MEASURED))), columns=list(MEASURED))
    derived = ["thinnest_mm", "narrowest_mm", "largest_osteophyte_mm3"]
    return cases, measured.drop(columns=derived).assign(
        case_id=cases["case_id"], split=cases["split"]
    )


def test_knees_are_those_of_which_all_was_measured():
    cases, measured = cohort()
    measured.loc[3, "joint_space_medial_mm"] = np.nan
    knees = measured_knees(cases, measured)
    assert knees.x.shape == (11, len(MEASURED)) and np.isfinite(knees.x).all()
    assert knees.cases["kl"].tolist() == [0, 1, 2, *cases["kl"][4:]]
    thinnest = measured.filter(regex="^thickness_").min(axis=1).drop(3)
    np.testing.assert_allclose(knees.x[:, MEASURED.index("thinnest_mm")], thinnest)
    # What no knee of a cohort has is no feature; osteophytes are drawn in phantoms alone.
    fewer = measured_knees(cases, measured.drop(columns=list(measured.filter(like="osteo"))))
    assert fewer.x.shape == (11, len(MEASURED) - 5)


def test_a_cohort_without_masks_is_named():
    cases, measured = cohort()
    with pytest.raises(InputError, match="its masks are missing"):
        measured_knees(cases, measured.iloc[:0])


def test_a_cohort_that_cannot_serve_gives_way_to_drawn_knees():
    """Without masks, or with too few knees of a grade, a chapter still has something to train."""
    cases, measured = cohort()  # two of grades 2 to 4
    bare = measured[["case_id", "split"]].iloc[:0]  # as `oacore measure` leaves it
    torn = measured.copy()  # no knee of which all was measured
    torn.iloc[:6, 0] = torn.iloc[6:, 1] = np.nan
    for table, says in (
        (None, "no masks"), (bare, "no masks"), (measured, "2 measured"), (torn, "0 measured"),
    ):  # fmt: skip
        knees, why = knees_here(cases, table)
        assert says in why and why.endswith("drawn ones.") and len(knees.cases) == DRAWN
        assert (np.bincount(knees.cases["kl"], minlength=5) >= 5).all()
    cases, measured = cohort(40)
    knees, why = knees_here(cases, measured)
    assert why == "" and len(knees.cases) == 40


@pytest.mark.parametrize(("knees", "batch"), [(200, 32), (199, 31), (79, 31), (25, 20), (26, 20)])
def test_batches_fit_every_fold(knees, batch):
    """Where folds would differ in their number of steps, or have none, batches are smaller."""
    kl = np.resize(np.arange(5), knees)
    training = [(folds_of(kl, 0, 5) != fold).sum() for fold in range(5)]
    assert _batch(32, knees, 5) == batch
    steps = {size // batch for size in training}
    assert len(steps) == 1 and steps.pop() >= 1


def test_a_cohort_of_an_awkward_size_is_trained():
    values = trial(drawn(n=79), ["single_kl"], [0], 5, Network(hidden=8, epochs=1))
    assert values["layer-constant", "single_kl"]["kl_auc"].shape == (1, 6)
