"""Reader noise against the measured table, against published agreement and a linear solver."""

import numpy as np
import pytest

from oacore.data.cohort import PAPER_KL
from oacore.errors import InputError
from oacore.hierarchy import agreement, reader_table
from oacore.instruments.phantom.readers import noisy_readings, true_shares

LEVELS = [(0, 0), (0.35, 0.35), (1, 1), (1, 0), (0, 1), (0.2, 0.9)]
SHARES = np.add(PAPER_KL["train"], PAPER_KL["test"])
OA = np.arange(5) >= 2
ACROSS = OA[:, None] != OA[None, :]


def test_tables_span_identity_to_measured():
    np.testing.assert_array_equal(noisy_readings(0, 0), np.eye(5))
    np.testing.assert_allclose(noisy_readings(1, 1), reader_table(), atol=1e-12)
    straight = 0.65 * np.eye(5) + 0.35 * reader_table().to_numpy()
    np.testing.assert_allclose(noisy_readings(0.35, 0.35), straight, atol=1e-12)


@pytest.mark.parametrize("level", LEVELS)
def test_rows_are_probabilities(level):
    table = noisy_readings(*level)
    np.testing.assert_allclose(table.sum(1), 1)
    assert (table >= 0).all()


def test_the_two_noises_act_apart():
    for coarse in (0, 0.4, 1):
        for fine in (0, 0.4, 1):
            table, measured = noisy_readings(coarse, fine), reader_table().to_numpy()
            off = ~np.eye(5, dtype=bool)
            np.testing.assert_allclose(table[ACROSS], coarse * measured[ACROSS])
            np.testing.assert_allclose(table[~ACROSS & off], fine * measured[~ACROSS & off])
    # Coarse noise alone moves every error across KL 2, fine noise alone none.
    assert agreement(noisy_readings(1, 0), SHARES)["moves_across"] == pytest.approx(1)
    assert agreement(noisy_readings(0, 1), SHARES)["moves_across"] == pytest.approx(0)
    assert agreement(noisy_readings(0, 1), SHARES)["oa"] == pytest.approx(1)
    # What happens to the coarse label is up to the coarse noise alone.
    for coarse in (0, 0.35, 1):
        oa = [agreement(noisy_readings(coarse, fine), SHARES)["oa"] for fine in (0, 0.5, 1)]
        np.testing.assert_allclose(oa, oa[0])


def test_default_readers_lie_between_published_ones():
    # Published inter-observer weighted kappas reach .85, the central re-reading .95 to .97.
    for level, low, high in (((0.35, 0.35), 0.85, 0.97), ((1, 1), 0.46, 0.85)):
        assert low < agreement(noisy_readings(*level), SHARES)["kappa_quadratic"] < high
    # OA agreement of the measured table by hand, from what stays on either side in each row.
    rows = [0.836, 0.677, 0.686, 0.869, 0.990]
    for coarse in (0.35, 1):
        by_hand = 1 - coarse * (1 - np.average(rows, weights=SHARES))
        oa = agreement(noisy_readings(coarse, 0.35), SHARES)["oa"]
        assert oa == pytest.approx(by_hand, abs=0.001)


@pytest.mark.parametrize("level", LEVELS)
def test_true_shares_undo_the_readings(level):
    readings = noisy_readings(*level)
    truth = np.array([0.2, 0.15, 0.25, 0.25, 0.15])
    observed = truth @ readings
    found = true_shares(readings, 1000 * observed)
    assert found.sum() == pytest.approx(1)
    # The iteration is stopped early, where what it expects is what was observed to .1%; the shares
    # themselves, solved for exactly, lie within 3%.
    np.testing.assert_allclose(found @ readings, observed, atol=0.001)
    np.testing.assert_allclose(found, np.linalg.solve(readings.T, observed), atol=0.03)


def test_true_shares_stay_shares_where_no_solution_does():
    readings = noisy_readings(1, 1)
    observed = np.array([0, 1, 0, 0, 0])
    assert np.linalg.solve(readings.T, observed).min() < 0  # no shares give this exactly
    found = true_shares(readings, observed)
    assert found.min() >= 0
    assert found.argmax() == 1


@pytest.mark.parametrize("level", [(1.5, 0), (0, -0.1), (float("nan"), 0)])
def test_noise_outside_its_range(level):
    with pytest.raises(InputError, match="from 0 to 1"):
        noisy_readings(*level)
