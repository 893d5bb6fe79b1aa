"""Whether probabilities can be taken at their word: errors beside chance, curves, grades.

Arrays in, numbers out, then tables of all models. What an interval covers was measured by
simulation (``workflow/coverage_clinical.py`` repeats it); where none was found that covers what it
says, none is given.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from oacore.metrics.predictions import GRADES, MODEL, PROB_KL, each_model, has_kl
from oacore.metrics.recalibration import CLIP, calibration_in_the_large, calibration_slope
from oacore.metrics.shares import share

SLOPE = "calibration slope, OA probability"
INTERCEPT = "calibration in the large, OA probability"
OA_ECE = "expected calibration error, OA probability"
KL_ECE = "expected calibration error, KL confidence"
BINS = 10  # of the calibration error, as most authors have it
COLUMNS = [*MODEL, "measure", "value", "low", "high", "chance", "chance_95", "p_value", "n", "why"]


def calibration_error(
    counts: np.ndarray, probability: np.ndarray, happened: np.ndarray
) -> np.ndarray:
    """Expected calibration error: how far probabilities lie from shares, on average over cases.

    Parameters
    ----------
    counts : (B, n) array
    probability : (n,) float array in [0, 1]
    happened : (n,) or (B, n) bool array

    Returns
    -------
    (B,) float array in [0, 1]
        Sum over `BINS` equally wide bins, each with its upper limit, of
        (cases in it / cases) x abs(mean probability - share that happened).

    Notes
    -----
    Naeini, Cooper and Hauskrecht 2015, doi:10.1609/aaai.v29i1.9602. Chance alone makes it
    positive, the more so the fewer cases a bin has: :func:`chance_error` says by how much.
    """
    gap = counts * (probability - happened)  # (B, n); sums to (mean probability - share) x cases
    in_bin = _bin_of(probability, BINS)[:, None] == np.arange(BINS)  # (n, bins)
    return np.abs(gap @ in_bin).sum(axis=1) / counts.sum(axis=1)


def chance_error(probability: np.ndarray, n_draws: int, seed: int) -> np.ndarray:
    """Calibration errors that chance alone gives a model whose probabilities are all true.

    Parameters
    ----------
    probability : (n,) float array in [0, 1]
    n_draws, seed : int
        Of the simulation: each case happens with its own probability.

    Returns
    -------
    (n_draws,) float array
    """
    draws = np.random.default_rng(seed).random((n_draws, probability.size)) < probability
    return calibration_error(np.ones(draws.shape), probability, draws)


def calibration_table(
    predictions: pd.DataFrame, *, n_draws: int = 2000, seed: int, clip: float = CLIP
) -> pd.DataFrame:
    """Calibration of each model: slope, calibration in the large, and errors beside chance.

    Parameters
    ----------
    predictions : DataFrame
        Tidy predictions of one split, any number of models and seeds.
    n_draws, seed : int
        Of what chance gives (:func:`chance_error`).
    clip : float
        See :data:`.recalibration.CLIP`.

    Returns
    -------
    DataFrame
        A row for each model and `measure`: `value`; `low`, `high`, the 95% interval of slope and
        calibration in the large; `n` cases; `why`, the reason where there is no value. Expected
        calibration errors have `chance` and `chance_95` instead, mean and 95th percentile of what
        a model with these probabilities has where all of them are true, and `p_value`, how often
        that is as large as `value` (one-sided). The KL confidence is the probability given to the
        predicted grade, against how often it is right.

    Raises
    ------
    InputError
        If columns or values are missing, or the rows are of several splits.

    Notes
    -----
    Calibration errors have no interval, since none was found that covers. Absolute values in ten
    bins make the error large by chance, and by how much depends on how the true error lies in the
    bins, which the cases do not tell. For true errors of 0 to .2, evenly or unevenly spread, the
    bootstrap's percentiles reflected about the value cover .40 to .91 with 98 cases and .49 to .93
    with 400; a normal interval about the value less the bootstrap's bias .33 to .92 and .45 to
    .93; inverted simulation, of tables with the seen gaps grown or shrunk, .60 to .98 and .61 to
    .96. The test against perfect calibration passes .949 to .958 of tables that are calibrated.
    """
    rows = []
    for model, table in each_model(predictions):
        for of, (probability, happened) in _answers(table).items():
            measured = {}
            if of == OA_ECE:
                measured[SLOPE] = calibration_slope(probability, happened, clip)
                measured[INTERCEPT] = calibration_in_the_large(probability, happened, clip)
            n, nothing = len(table), (np.nan, np.nan, np.nan)
            rows += [
                (*model, name, got.value, got.low, got.high, *nothing, n, got.why)
                for name, got in measured.items()
            ]
            value = float(calibration_error(np.ones((1, n)), probability, happened)[0])
            drawn = chance_error(probability, n_draws, seed)
            above = (drawn >= value - 1e-12).sum()
            p = float((above + 1) / (n_draws + 1))  # the sample itself is one of the draws
            chance = float(drawn.mean()), float(np.quantile(drawn, 0.95)), p
            rows.append((*model, of, value, np.nan, np.nan, *chance, n, ""))
    return pd.DataFrame(rows, columns=COLUMNS)


def overconfident(table: pd.DataFrame) -> pd.Series:
    """Whether each model's slope lies below 1 with all of its interval; False where it has none.

    Parameters
    ----------
    table : DataFrame
        From :func:`calibration_table`.

    Returns
    -------
    Series of bool
        Named by backbone, supervision and seed.
    """
    slopes = table[table["measure"] == SLOPE].set_index(MODEL)
    return slopes["high"] < 1


def reliability(predictions: pd.DataFrame, bins: int = BINS) -> pd.DataFrame:
    """Points of each model's reliability curves: probabilities against what happened.

    Parameters
    ----------
    predictions : DataFrame
        Tidy predictions of one split, any number of models and seeds.
    bins : int
        Equally wide, each with its upper limit.

    Returns
    -------
    DataFrame
        A row for each model, `of` ("OA probability", and "KL confidence" where it predicts
        grades) and bin that holds a case: `bin_low`, `bin_high`, `predicted` (mean probability),
        `observed` (share that has OA, or whose predicted grade is right) with its exact 95%
        interval `low`, `high`, and `n`.

    Raises
    ------
    InputError
        If columns or values are missing, or the rows are of several splits.
    """
    edges = np.linspace(0, 1, bins + 1)
    rows = []
    for model, table in each_model(predictions):
        for name, (probability, happened) in _answers(table).items():
            of = name.removeprefix("expected calibration error, ")
            place = _bin_of(probability, bins)
            for k in np.unique(place):
                here = place == k
                shown = share(happened[here])
                predicted = probability[here].mean()
                rows.append((*model, of, edges[k], edges[k + 1], predicted, *shown))
    names = ["of", "bin_low", "bin_high", "predicted", "observed", "low", "high", "n"]
    return pd.DataFrame(rows, columns=[*MODEL, *names])


def by_grade(predictions: pd.DataFrame) -> pd.DataFrame:
    """What each model says of OA among the knees of each grade.

    Parameters
    ----------
    predictions : DataFrame
        Tidy predictions of one split, any number of models and seeds.

    Returns
    -------
    DataFrame
        A row for each model, grade `kl` that occurs, and `of` ("mean probability of OA", "share
        called OA"): `value`, its 95% interval `low`, `high` (:func:`.shares.share`), and `n` knees.

    Raises
    ------
    InputError
        If columns or values are missing, or the rows are of several splits.
    """
    said = {"mean probability of OA": "prob_oa", "share called OA": "pred_oa"}
    rows = [
        (*model, kl, of, *share(table.loc[table["kl"] == kl, column].to_numpy(float)))
        for model, table in each_model(predictions)
        for kl in GRADES
        if (table["kl"] == kl).any()
        for of, column in said.items()
    ]
    return pd.DataFrame(rows, columns=[*MODEL, "kl", "of", "value", "low", "high", "n"])


def _answers(table: pd.DataFrame) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Probabilities that a model gives, and what came true, by the name of their error."""
    # Sums of single-precision probabilities can pass 1 by a rounding.
    prob_oa = table["prob_oa"].to_numpy(float).clip(0, 1)
    answers = {OA_ECE: (prob_oa, table["oa"].to_numpy() == 1)}
    if has_kl(table):
        pred_kl = table["pred_kl"].to_numpy(dtype=int)
        confidence = table[PROB_KL].to_numpy(dtype=float)[np.arange(len(table)), pred_kl]
        answers[KL_ECE] = (confidence.clip(0, 1), table["kl"].to_numpy() == pred_kl)
    return answers


def _bin_of(probability: np.ndarray, bins: int) -> np.ndarray:
    """Number of the bin that each probability falls into; limits belong to the bin below."""
    return np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], probability)
