"""What a study found, in sentences and in one table: whichever way it came out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import pandas as pd

from oacore.instruments.radiographs.collect import RULE, YARDSTICKS
from oacore.instruments.radiographs.study_figures import HEADS, LOSSES, MEASURES
from oacore.metrics.crossed import KNEES
from oacore.names import interval_text, written


def outcomes(
    differences: pd.DataFrame,
    pairs: Sequence[tuple[str, str]],
    heads: Sequence[str] = ("kl", "oarsi"),
    metrics: Sequence[str] = ("accuracy",),
) -> Iterator[str]:
    """Say of each difference what it is, and whether its interval excludes zero.

    Parameters
    ----------
    differences : DataFrame
        Of :func:`.collect.collect`, of one frequency.
    pairs : sequence of (reference, other)
        One that the table lacks is passed over.
    heads, metrics : sequence of str

    Yields
    ------
    str
        Without a full stop.
    """
    keys = ["reference", "other", "head", "metric"]
    found = {tuple(one[key] for key in keys): one for one in differences.to_dict("records")}
    for reference, other in pairs:
        for head in heads:
            for metric in metrics:
                if (one := found.get((reference, other, head, metric))) is not None:
                    name = f"{other} minus {reference}, {HEADS[head]}, {MEASURES[metric]}"
                    value, low, high = (float(one[end]) for end in ("value", "low", "high"))
                    yield f"{name}: {interval_text(value, low, high, '+.3f')}; " + _verdict(
                        low, high, [reference, other][:: -1 if metric == "rmse" else 1], one["over"]
                    )


def as_list(sentences: Iterable[str]) -> str:
    """Sentences without a full stop as a list in Markdown; without any, that there are none."""
    lines = [f"- {one}." for one in sentences]
    return "\n".join(lines) or "None of these pairs was trained."


def _verdict(low: float, high: float, worse_better: Sequence[str], over: str) -> str:
    """Say whether an interval excludes zero, and for whom it speaks then."""
    if pd.isna(low) or pd.isna(high):
        return "there is no interval"
    if low > 0 or high < 0:
        said = f"the interval excludes zero, in favor of {worse_better[int(low > 0)]}"
    else:
        said = "the interval holds zero"
    return said + (", and is over knees alone, of one seed" if over == KNEES else "")


def loss_and_recall(
    recall: pd.DataFrame, coherence: pd.DataFrame, arms: Sequence[str]
) -> pd.DataFrame:
    """How coherent an arm's answers are, beside how well it finds each KL grade.

    Parameters
    ----------
    recall, coherence : DataFrame
        Of :func:`.collect.collect`.
    arms : sequence of str
        One that the tables lack is left out.

    Returns
    -------
    DataFrame
        A row an arm: each loss of coherence, a mean over the cases; the share whose KL is that
        of the rule; the mean over the KL grades of the share that is found, and the least of them
        with its grade; the share of all answers that the commonest one has, with its grade.
    """
    whole = coherence[coherence["kl"].astype(str) == "all"]
    measures = [*YARDSTICKS, RULE]
    wide = whole.pivot(index="arm", columns="measure", values="value")
    of_kl = recall[recall["head"] == "kl"]
    found = of_kl.pivot(index="arm", columns="grade", values="value")
    answered = of_kl.pivot(index="arm", columns="grade", values="answered")
    there = [arm for arm in arms if arm in wide.index and arm in found.index]
    table = wide.loc[there, measures].set_axis([LOSSES[name] for name in measures], axis=1)
    table["mean recall of KL"] = found.mean(axis=1)
    table["least recall"] = found.min(axis=1)
    table["of KL"] = found.idxmin(axis=1)
    table["commonest answer"] = answered.max(axis=1)
    table["which is KL"] = answered.idxmax(axis=1)
    return table


def asked_and_paid(
    recall: pd.DataFrame,
    coherence: pd.DataFrame,
    differences: pd.DataFrame,
    pairs: Sequence[tuple[str, str]],
) -> pd.DataFrame:
    """What a loss of coherence was to lower, and what became of the KL grades, for some pairs.

    Parameters
    ----------
    recall, coherence : DataFrame
        Of :func:`.collect.collect`.
    differences : DataFrame
        Of :func:`.collect.collect`, of one frequency.
    pairs : sequence of (without the loss, with it)
        One that the tables lack is left out.

    Returns
    -------
    DataFrame
        Of text, a row a pair: the two losses of coherence without and with, over all test knees;
        the differences in accuracy and in mean recall of KL, with their intervals, and whether
        by the last KL grades are ``found`` "more" or "less", or that is "open".
    """
    arms = dict.fromkeys(arm for pair in pairs for arm in pair)
    both = loss_and_recall(recall, coherence, list(arms))
    kl = differences[differences["head"] == "kl"].assign(cell=lambda table: written(table, "+.2f"))
    found = {(one["reference"], one["other"], one["metric"]): one for one in kl.to_dict("records")}
    rows = {}
    for without, having in pairs:
        score, recalled = (
            found.get((without, having, name)) for name in ("accuracy", "mean_recall")
        )
        if not {without, having} <= set(both.index) or score is None or recalled is None:
            continue
        losses = both.loc[[without, having], [LOSSES["mixture"], LOSSES["given kl"]]]
        row = {str(name): f"{its.iloc[0]:.2f} to {its.iloc[1]:.2f}" for name, its in losses.items()}
        row |= {f"KL {MEASURES[one['metric']]}": one["cell"] for one in (score, recalled)}
        low, high = float(recalled["low"]), float(recalled["high"])
        row["found"] = "more" if low > 0 else "less" if high < 0 else "open"
        rows[f"{having} minus {without}"] = row
    return pd.DataFrame.from_dict(rows, orient="index")
