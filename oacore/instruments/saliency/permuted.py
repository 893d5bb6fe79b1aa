"""What a network on permuted grades learned, before its maps are held against another's.

If it knows its training knees by heart, its maps show what any network looks at that learns
something; if it learned nothing, they show little that random weights do not.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from oacore.names import BACKBONE_NAMES, SUPERVISION_NAMES
from oacore.training.records import read_runs

RUN = ["backbone", "supervision", "seed"]
BY_HEART = 0.95
"""Share of the training knees that a network answers as it was told if it knows them by heart."""


def told_and_answered(build: str | Path) -> pd.DataFrame:
    """How well networks on permuted grades, and their twins on those as read, know their knees.

    Parameters
    ----------
    build : path-like
        Folder of a build, with its ``runs`` and ``controls``.

    Returns
    -------
    DataFrame
        For each control two rows: `backbone`, `supervision`, `seed`, `grades` ("as read",
        "permuted"); `epochs`; `loss`, of the last epoch in evaluation mode; for each `answer` of
        the supervision ("oa", "kl") a row of its own: `train`, the share of the training knees
        answered as told; `frequent`, that of the answer most of them were told; `test`, the share
        of the test knees answered as read.
    """
    told = {"permuted": _runs(build, "controls"), "as read": _runs(build, "runs")}
    twins = told["permuted"][0][RUN].drop_duplicates()
    rows = []
    for grades, (predictions, history) in reversed(told.items()):
        for run, own in predictions.merge(twins, on=RUN).groupby(RUN, sort=False):
            whose = dict(zip(RUN, run, strict=True))
            past = history[(history[RUN] == list(run)).all(axis=1)]
            said = {"epochs": len(past), "loss": past["loss_evaluated"].iloc[-1]}
            for answer in ("oa", "kl"):
                known = own[own[f"pred_{answer}"].notna()]
                right = known[answer] == known[f"pred_{answer}"]
                train = known["split"] == "train"
                if len(known) and not (answer == "oa" and whose["supervision"] == "single_kl"):
                    rows.append(
                        {
                            **whose, "grades": grades, **said, "answer": answer,
                            "train": right[train].mean(), "test": right[~train].mean(),
                            "frequent": known.loc[train, answer].value_counts(normalize=True).max(),
                        }
                    )  # fmt: skip
    return pd.DataFrame(rows)


def in_a_sentence(table: pd.DataFrame) -> str:
    """Whether each network on permuted grades knows them by heart, a sentence a network.

    Parameters
    ----------
    table : DataFrame
        From :func:`told_and_answered`.
    """
    sentences = []
    for run, own in table[table["grades"] == "permuted"].groupby(RUN, sort=False):
        backbone, supervision, seed = map(str, run)
        row = own.iloc[-1]  # the grade, where it is asked for
        name = f"{BACKBONE_NAMES[backbone]} {SUPERVISION_NAMES[supervision]}, seed {seed}"
        begin = (
            f"{name}, on permuted grades: {row['train']:.0%} of the training knees answered as "
            f"told, where the most frequent answer alone gets {row['frequent']:.0%}."
        )
        end = (
            "It knows noise by heart, so it had to look at something."
            if row["train"] >= BY_HEART
            else "It does not know them by heart, so its maps stand between those of random "
            "weights and those that this control is meant to show."
        )
        sentences.append(f"{begin} {end}")
    return "\n".join(sentences)


def _runs(build: str | Path, kind: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predictions and history of all runs of one kind."""
    grades = "permuted" if kind == "controls" else "as read"
    found = (read_runs(Path(build) / kind, table, grades) for table in ("predictions", "history"))
    predictions, history = found
    return predictions, history
