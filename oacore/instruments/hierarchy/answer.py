"""What the contrasts of the experiment say, in tables and sentences of a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from oacore.instruments.hierarchy.analysis import (
    GAIN,
    LOSS,
    MEASURE_NAMES,
    NONE,
    REFERENCES,
    UNDECIDED,
)
from oacore.instruments.hierarchy.arms import ARMS
from oacore.instruments.hierarchy.figures import arm_name
from oacore.instruments.hierarchy.peers import PEERS
from oacore.metrics.coverage import by_seeds
from oacore.metrics.crossed import KNEES
from oacore.names import BACKBONE_NAMES, interval_text, written

#: What a second head is told, in words; a label that is not here is its own.
_TOLD = {
    "shuffled": "one of two groups that no threshold makes",
    "permuted": "OA of another knee",
    "random": "a coin",
    "age": "older or younger",
    "quality": "signal-to-noise ratio, high or low",
    "grade": "the grade again",
}
#: What an arm is beside another, by what was found of their difference.
FOUND = {
    NONE: "Within the margin",
    GAIN: "Better",
    LOSS: "Worse",
    UNDECIDED: "Undecided",
}
#: Intervals of this experiment whose coverage was simulated.
SIMULATED = (
    *("score of an arm", "difference of arms", "90% interval of arms", "share of repeats won"),
    *("score of an arm over people", "difference of arms over people"),
    "90% interval of arms over people",
    "score by cross-validation",
    *("difference by cross-validation, labels anew", "difference by cross-validation"),
)
#: The fewest knees that :func:`.analysis.knees_needed` tries.
_FEWEST = 10
_NORMS = {"none": "none", "layer": "by layer", "group": "by group of units", "batch": "by batch"}


def arms_table(kinds: Sequence[str]) -> pd.DataFrame:
    """Arms of some kinds: what they are called, and what their second head is told."""
    rows = [
        {"arm": arm.says, "second head": _TOLD.get(arm.second, arm.second) or "none"}
        for arm in ARMS.values()
        if arm.kind in kinds
    ]
    return pd.DataFrame(rows).set_index("arm")


def primary(contrasts: pd.DataFrame) -> pd.DataFrame:
    """The primary contrasts, as a table of a page.

    Parameters
    ----------
    contrasts : DataFrame
        Rows of :func:`.analysis.contrasts`.

    Returns
    -------
    DataFrame
        Indexed by outcome and contrast: the difference with its 95% interval and half the width of
        that; the 90% interval that is held against the margin; Holm's p; what was found.
    """
    rows = _by_measure(contrasts[contrasts["primary"]])
    narrow = rows[["none_low", "none_high"]]
    said = pd.DataFrame(
        {
            "outcome": rows["measure"].map(MEASURE_NAMES),
            "Dual minus": rows["reference"].map(arm_name),
            "difference": written(rows, "+.3f"),
            "half-width": ((rows["high"] - rows["low"]) / 2).map("{:.3f}".format),
            "90% interval": [f"[{low:+.3f}, {high:+.3f}]" for low, high in narrow.to_numpy()],
            "margin": rows["margin"].map("±{:g}".format),
            "p (Holm)": rows["q_value"].map("{:.2g}".format),
            "found": rows["found"],
        }
    )
    return said.set_index(["outcome", "Dual minus"])


def sentences(verdicts: pd.DataFrame, contrasts: pd.DataFrame) -> str:
    """The answer in Markdown: a line for each primary outcome.

    Parameters
    ----------
    verdicts, contrasts : DataFrame
        See :func:`.analysis.verdicts` and :func:`.analysis.contrasts`.
    """
    rows = contrasts[contrasts["primary"]].set_index(["measure", "reference"])
    lines = []
    for own in verdicts.to_dict("records"):
        said = written(rows.loc[own["measure"]], "+.3f")
        parts = [f"minus {arm_name(name)} {said[name]} ({own[name]})" for name in REFERENCES]
        lines.append(
            f"- **{MEASURE_NAMES[own['measure']]}: {own['says']}** Dual {', '.join(parts)}."
        )
    return "\n".join(lines)


def conclusion(cohorts: Mapping[str, tuple[pd.DataFrame, pd.DataFrame, int]]) -> str:
    """What every cohort answers, in Markdown: a list for each, since their kinds are not mixed.

    Parameters
    ----------
    cohorts : mapping of str to (verdicts, contrasts, int)
        By what to call the cohort: as :func:`sentences` takes them, and the number of test knees.
    """
    parts = []
    for name, (found, contrasts, knees) in cohorts.items():
        seeds = contrasts.loc[contrasts["primary"], "seeds"].iloc[0]
        parts.append(f"**{name}** ({knees:,} test knees, {seeds} seeds):")
        parts.append(sentences(found, contrasts))
    return "\n\n".join(parts)


def by_finding(
    contrasts: pd.DataFrame, measure: str, reference: str, kinds: Sequence[str], cell: str
) -> str:
    """Arms of some kinds by what they did beside one, in Markdown.

    Parameters
    ----------
    contrasts : DataFrame
    measure, reference, cell : str
        Which of the rows.
    kinds : sequence of str
        Of :class:`.arms.TaskArm`.
    """
    rows = contrasts[
        (contrasts["measure"] == measure)
        & (contrasts["reference"] == reference)
        & (contrasts["cell"] == cell)
        & contrasts["arm"].map(lambda name: name in ARMS and ARMS[name].kind in kinds)
    ]
    lines = []
    for found, words in FOUND.items():
        own = rows[rows["found"] == found]
        if len(own):
            names = "; ".join(  # some names have a comma
                f"{arm_name(arm)} {value:+.3f}"
                for arm, value in zip(own["arm"], own["value"], strict=True)
            )
            lines.append(f"- **{words}** ({len(own)} of {len(rows)}): {names}.")
    return "\n".join(lines)


def by_network(contrasts: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Dual minus its references under each normalisation and schedule, written.

    Returns
    -------
    DataFrame
        Indexed by normalisation and learning rate, a column for each of
        :data:`.analysis.REFERENCES`.
    """
    rows = contrasts[
        (contrasts["arm"] == "dual")
        & (contrasts["measure"] == measure)
        & contrasts["reference"].isin(REFERENCES)
    ]
    cells = rows["cell"].str.split("-", n=1, expand=True)
    rows = rows.assign(
        normalisation=cells[0].map(_NORMS), rate=cells[1], said=written(rows, "+.3f")
    )
    wide = rows.pivot(index=["normalisation", "rate"], columns="reference", values="said")
    heads = {name: f"minus {arm_name(name)}" for name in REFERENCES}
    return wide[list(REFERENCES)].rename(columns=heads)


def by_backbone(contrasts: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Each arm minus Single-KL under each backbone, written, and what was found.

    Parameters
    ----------
    contrasts : DataFrame
        Rows of :func:`.trained.trained_contrasts`.
    measure : str

    Returns
    -------
    DataFrame
        Indexed by arm, two columns a backbone: the difference with its 95% interval, and `found`.
    """
    rows = contrasts[(contrasts["measure"] == measure) & (contrasts["reference"] == REFERENCES[0])]
    parts = {}
    for backbone, own in rows.groupby("backbone", sort=False):
        name, by_arm = BACKBONE_NAMES[str(backbone)], own.set_index("arm")
        parts[f"{name}, {own['over'].iloc[0]}"] = written(by_arm, "+.3f")
        parts[f"{name}: found"] = by_arm["found"]
    return pd.DataFrame(parts).rename(index=arm_name).rename_axis("arm minus Single-KL")


def null_arms(contrasts: pd.DataFrame, cell: str) -> pd.DataFrame:
    """Arms that must not differ from Single-KL: their p-values, and how many are below .05.

    Returns
    -------
    DataFrame
        A row for each of Single-KL again, OA permuted and random label that there is: measures,
        `p below .05`, `q below .05`, the least `p_value`.
    """
    names = [name for name in ("again", "permuted", "random") if name in set(contrasts["arm"])]
    rows = contrasts[
        (contrasts["reference"] == "single_kl")
        & (contrasts["cell"] == cell)
        & contrasts["arm"].isin(names)
    ]
    found = rows.groupby("arm").agg(
        measures=("p_value", "size"),
        least=("p_value", "min"),
        p=("p_value", lambda p: int((p < 0.05).sum())),
        q=("q_value", lambda q: int((q < 0.05).sum())),
    )
    found = found.loc[names].rename(index=arm_name)
    return found.rename(columns={"p": "p below .05", "q": "q below .05", "least": "least p"})


def covered(simulated: pd.DataFrame) -> pd.DataFrame:
    """How often simulated intervals held the truth, by their number of seeds.

    Parameters
    ----------
    simulated : DataFrame
        Rows of ``book/record/coverage.csv``.

    Returns
    -------
    DataFrame
        Indexed by interval, of :data:`SIMULATED`: what it promises, and a column for each number
        of seeds, means over measures and settings.
    """
    return by_seeds(simulated, SIMULATED)


def beside_peers(scores: pd.DataFrame, cell: str, measures: Sequence[str]) -> pd.DataFrame:
    """Single-KL, Dual and the models that are no networks, with 95% intervals, written.

    Parameters
    ----------
    scores : DataFrame
        Rows of :func:`.analysis.scores`.
    cell : str
        Of the networks.
    measures : sequence of str
        Columns, of :data:`.analysis.MEASURE_NAMES`.
    """
    networks = (scores["cell"] == cell) & scores["arm"].isin(["single_kl", "dual"])
    rows = scores[networks | scores["arm"].isin(list(PEERS))]
    rows = rows[rows["measure"].isin(measures)]
    said = rows.assign(
        model=rows["arm"].map(arm_name),
        said=written(rows[["value", "low", "high"]], ".3f"),
    )
    wide = said.pivot(index="model", columns="measure", values="said")
    order = [arm_name(arm) for arm in dict.fromkeys(rows["arm"])]
    return wide.loc[order, list(measures)].rename(columns=MEASURE_NAMES)


def repeats_won(contrasts: pd.DataFrame) -> pd.DataFrame:
    """In which share of repeats Dual beats the arms of the primary contrasts, written."""
    rows = contrasts[contrasts["primary"]]
    limits = {"better": "value", "better_low": "low", "better_high": "high"}
    shares = rows[list(limits)].rename(columns=limits)
    said = rows.assign(
        outcome=rows["measure"].map(MEASURE_NAMES),
        reference="over " + rows["reference"].map(arm_name),
        said=written(shares),
    )
    columns = list(dict.fromkeys(said["reference"]))
    return said.pivot(index="outcome", columns="reference", values="said")[columns]


def knees_for(power: pd.DataFrame, effects: Mapping[str, str]) -> pd.DataFrame:
    """How often effects are found with the knees there are and with 98, and what 80% would take.

    `test knees for 80%` is with the seeds that there are, `or seeds` with the knees that there are.

    Parameters
    ----------
    power : DataFrame
        Rows of :func:`.analysis.power_table`.
    effects : mapping of str to str
        What to call those that are shown.
    """
    rows = _by_measure(power[power["effect"].isin(list(effects))])
    said = pd.DataFrame(
        {
            "outcome": rows["measure"].map(MEASURE_NAMES),
            "Dual minus": rows["reference"].map(arm_name),
            "effect": rows["effect"].map(effects) + rows["size"].map(", {:.3f}".format),
            "found": rows["power"].map(_share),
            "with 98 test knees": rows["power_98"].map(_share),
            "test knees for 80%": rows["knees"].map(_knees),
            "or seeds": rows["seeds"].map(_seeds),
        }
    )
    return said.set_index(["outcome", "Dual minus", "effect"])


def _by_measure(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of one measure below each other, else in their order."""
    places = {measure: place for place, measure in enumerate(MEASURE_NAMES)}
    return rows.sort_values("measure", key=lambda own: own.map(places), kind="stable")


def _share(power: float) -> str:
    return f"{power:.0%}" if power < 0.995 else "over 99%"


def _knees(knees: float) -> str:
    if knees <= _FEWEST:
        return f"{_FEWEST} or fewer"
    return f"{knees:,.0f}" if knees < np.inf else "no number will do"


def _seeds(seeds: float) -> str:
    return f"{seeds:,.0f}" if seeds < np.inf else "no number will do"


def across(
    published: pd.DataFrame,
    features: pd.DataFrame,
    pictures: pd.DataFrame,
    volumes: pd.DataFrame,
    arms: pd.DataFrame,
    drawn: pd.DataFrame,
    tested: Mapping[str, int],
) -> pd.DataFrame:
    """Dual minus Single-KL in macro-AUC of the grade, in every cohort and network that there is.

    Parameters
    ----------
    published : DataFrame
        Rows of :func:`.protocol.released_protocol`, on the paper's own predictions.
    features, pictures, arms : DataFrame
        Rows of :func:`.analysis.contrasts`, on the radiomics, the radiographs and drawn volumes.
    volumes : DataFrame
        Rows of :func:`.compare.compare_supervisions`, on drawn volumes.
    drawn : DataFrame
        Rows of :func:`.noise_scores.noise_tables`, the contrasts; those with noise as measured,
        against readings, count, with the fewest and with the most training knees.
    tested : mapping of str to int
        Test knees of "features", "pictures", "arms" and "drawn", which have no column of them.

    Returns
    -------
    DataFrame
        Indexed by kind of evidence and network: test knees, seeds, the difference, written, and
        what its interval is over.
    """
    rows: list[dict[str, object]] = []

    def add(kind: str, network: str, knees: object, row: pd.Series) -> None:
        said = interval_text(row["value"], row["low"], row["high"], "+.3f")
        seeds = row.get("seeds", 1)
        told = {"kind": kind, "network": network, "test knees": f"{knees:,}", "seeds": seeds}
        over = row.get("over", KNEES)  # the published networks were trained once
        rows.append({**told, "Dual minus Single-KL": said, "interval over": over})

    for _, row in published[published["metric"] == "kl_auc"].iterrows():
        kind = "published predictions, real knees"
        add(kind, BACKBONE_NAMES[row["backbone"]], row["knees"], row)
    add("radiomics, real knees", "one hidden layer", tested["features"], _gain(features))
    add("radiographs, real knees", "small ResNet", tested["pictures"], _gain(pictures))
    for _, row in volumes[volumes["metric"] == "kl_auc"].iterrows():
        add("drawn volumes", BACKBONE_NAMES[row["backbone"]], row["knees"], row)
    add("drawn volumes", "ResNet3D, with controls", tested["arms"], _gain(arms))
    own = drawn[(drawn["measure"] == "kl_auc") & (drawn["reference"] == "single_kl")]
    own = own[(own["level"] == "as measured") & (own["against"] == "reading")]
    for _, row in own[own["size"].isin([own["size"].min(), own["size"].max()])].iterrows():
        network = f"one hidden layer, {row['size']:,} training knees"
        add("drawn measurements", network, tested["drawn"], row)
    return pd.DataFrame(rows).set_index(["kind", "network"])


def _gain(contrasts: pd.DataFrame) -> pd.Series:
    """Dual minus Single-KL in macro-AUC, the primary contrast."""
    main = contrasts[contrasts["primary"] & (contrasts["measure"] == "kl_auc")]
    return main[main["reference"] == "single_kl"].iloc[0]
