"""Runs that ended and did not learn what their scores seem to say.

Two signs, each looked for in every run: a loss that is far higher in evaluation than in training
on the same knees, and a head that gives nearly all knees one answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pandas as pd
from sklearn.metrics import log_loss

from oacore.hierarchy import N_GRADES, SUPERVISIONS
from oacore.names import BACKBONE_NAMES, SUPERVISION_NAMES

#: A run has a gap where its loss in evaluation exceeds this share of that in training ...
GAP_SHARE = 1.5
#: ... and that by at least so many nats.
GAP_NATS = 0.1
RUN = ["model", "supervision", "seed"]


def of_run(table: pd.DataFrame, run: pd.Series) -> pd.DataFrame:
    """Rows of the run that `run` names by `model`, `supervision` and `seed`."""
    return table[(table[RUN] == run[RUN].to_numpy()).all(axis=1)]


def evaluated_loss(predictions: pd.DataFrame, supervision: str) -> float:
    """The loss of equation (3) in evaluation mode, from the predicted probabilities.

    Parameters
    ----------
    predictions : DataFrame
        Rows of one run, see :func:`.prediction.predict`.
    supervision : {"single_oa", "single_kl", "dual"}
    """
    total = 0.0
    if "oa" in SUPERVISIONS[supervision]:
        total += log_loss(predictions["oa"], predictions["prob_oa"], labels=[0, 1])
    if "kl" in SUPERVISIONS[supervision]:
        prob = predictions[[f"prob_kl_{grade}" for grade in range(N_GRADES)]].to_numpy()
        total += log_loss(predictions["kl"], prob, labels=list(range(N_GRADES)))
    return total


def normalisation_gaps(history: pd.DataFrame, predictions: pd.DataFrame) -> pd.DataFrame:
    """Each run's loss on the training knees, in training and in evaluation.

    Parameters
    ----------
    history : DataFrame
        As :func:`.records.read_runs` gives it.
    predictions : DataFrame
        With both statistics, see :func:`.records.read_both`; for each run those that it uses
        stand first.

    Returns
    -------
    DataFrame
        A row for each run: `model`, `supervision`, `seed`; `training`, the loss of the last epoch
        as training saw it; `running` and `re-estimated`, the loss over the whole training split
        in evaluation mode with either statistics; `statistics`, those that the run's predictions
        use; and `gap`, whether the loss under these exceeds that of training by `GAP_NATS` and
        by a factor of `GAP_SHARE`.
    """
    last = history.groupby(RUN, sort=False)["loss"].last().to_dict()
    rows = []
    for key, run in predictions[predictions["split"] == "train"].groupby(RUN, sort=False):
        row: dict[str, Any] = dict(zip(RUN, cast(tuple, key), strict=True))
        used, training = str(run["statistics"].iloc[0]), float(last[key])
        losses = {
            str(name): evaluated_loss(part, row["supervision"])
            for name, part in run.groupby("statistics", sort=False)
        }
        gap = losses[used] - training > GAP_NATS and losses[used] > GAP_SHARE * training
        rows.append({**row, "training": training, **losses, "statistics": used, "gap": gap})
    order = [*RUN, "training", "running", "re-estimated", "statistics", "gap"]
    return pd.DataFrame(rows, columns=order)


def collapsed_runs(test: pd.DataFrame) -> pd.DataFrame:
    """Each run's most frequent answers on the test knees, and whether it has collapsed to one.

    A head has collapsed where the share of its most frequent answer lies nearer to 1 than to the
    share of the most frequent label.

    Parameters
    ----------
    test : DataFrame
        Predictions on the test split, of any number of runs.

    Returns
    -------
    DataFrame
        A row for each run and trained head: `model`, `supervision`, `seed`, `head`, `answer`,
        `share` of the knees that get it, `commonest` label's share, `collapsed`.
    """
    rows = []
    for key, run in test.groupby(RUN, sort=False):
        row: dict[str, Any] = dict(zip(RUN, cast(tuple, key), strict=True))
        for head in SUPERVISIONS[row["supervision"]]:
            shares = run[f"pred_{head}"].value_counts(normalize=True)
            most, commonest = shares.iloc[0], run[head].value_counts(normalize=True).max()
            said = {"head": head, "answer": int(shares.index[0]), "share": most}
            collapsed = bool(most > (1 + commonest) / 2)
            rows.append({**row, **said, "commonest": commonest, "collapsed": collapsed})
    return pd.DataFrame(rows)


def doubts(gaps: pd.DataFrame, collapsed: pd.DataFrame) -> list[str]:
    """One sentence for each run that shows either sign, and one that says so where none does.

    Sentences are broken into lines that a page shows whole.

    Parameters
    ----------
    gaps, collapsed : DataFrame
        Of :func:`normalisation_gaps` and :func:`collapsed_runs`.
    """
    said = []
    for row in gaps[gaps["gap"]].to_dict("records"):
        used = row["statistics"]
        said.append(
            f"{run_name(row)}: with {used} statistics its loss on its own training knees\n"
            f"is {row[used]:.2f}, against {row['training']:.2f} while training."
        )
    for row in collapsed[collapsed["collapsed"]].to_dict("records"):
        answer = f"KL {row['answer']}" if row["head"] == "kl" else ("no OA", "OA")[row["answer"]]
        said.append(
            f"{run_name(row)} has collapsed: {row['share']:.0%} of the test knees are called\n"
            f"{answer}; the most frequent label has {row['commonest']:.0%}."
        )
    return said or [f"None of {len(gaps)} runs has a gap, and none has collapsed."]


def run_name(row: Mapping[Any, Any]) -> str:
    """Write a run by its model, supervision and seed."""
    model = BACKBONE_NAMES.get(row["model"], row["model"])
    return f"{model}, {SUPERVISION_NAMES[row['supervision']]}, seed {row['seed']}"
