"""Every claim of the two papers, judged by what each source of evidence left in a build."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from oacore.instruments.evidence import coherence_claims
from oacore.instruments.evidence.claims import claims, judge, published_effects, run_effects
from oacore.instruments.evidence.verdicts import ABSENT, Judgement
from oacore.record import beside, found
from oacore.results import kept

SOURCES = {
    "published": "Published predictions",
    "radiomics": "Public radiomics",
    "radiographs": "Public radiographs",
    "phantom": "Phantom",
    "oaizib-cm": "Real images",
}
#: Chapters whose tables are computed in the build, or read from the project's record.
CHAPTERS = {
    "published": "09-published-record",
    "radiomics": "11-radiomics",
    "phantom": "08-comparison",
}
#: What each source has, where a chapter keeps it, and the label of the cell that computed it.
KEPT = {
    "published": {
        "effects": ("09-published-record/stats", "cell-stats"),
        "table1": ("09-published-record/table1", "cell-table1"),
        "interaction": ("09-published-record/interaction", "cell-interaction"),
        "audit": ("10-printed-tables/audit", "cell-audit"),
    },
    "radiomics": {
        "effects": ("11-radiomics/effects", "cell-radiomics-effects"),
        "benchmark": ("11-radiomics/benchmark", "cell-radiomics-benchmark"),
        "hierarchy": ("20-is-it-the-hierarchy/radiomics/contrasts", "cell-hierarchy-recorded"),
    },
    "radiographs": {
        "hierarchy": ("20-is-it-the-hierarchy/radiographs/contrasts", "cell-hierarchy-pictures"),
    },
    "runs": {
        "effects": ("08-comparison/effects", "cell-effects"),
        "interaction": ("08-comparison/interaction", "cell-run-interaction"),
        "axis": ("13-severity-axis/differences", "cell-axis-differences"),
        "saliency": ("14-saliency/differences", "cell-saliency-differences"),
        "hierarchy": ("20-is-it-the-hierarchy/arms", "cell-hierarchy-arms"),
    },
}
#: Records of the experiment with controls, by source.
CONTROLS = {
    "radiomics": "20-is-it-the-hierarchy/radiomics",
    "radiographs": "20-is-it-the-hierarchy/radiographs",
    "phantom": "20-is-it-the-hierarchy/phantom-second",  # as the design says
}
#: What the record calls a table that stands beside a build's own, where that is another name.
BESIDE = {KEPT["runs"]["hierarchy"][0]: f"{CONTROLS['phantom']}/contrasts"}
#: What a source cannot answer of a kind of claim of which it says something.
UNASKED = {
    ("radiomics", "hierarchy"): "one hidden layer on features of masks: what a network might gain "
    "while it learns to see is not asked; and these intervals, of kappa above all, may be too "
    "narrow, as the chapter has measured",
    ("radiographs", "hierarchy"): "a small network on single radiographs, not the paper's on "
    "volumes",
}
#: Why a source says nothing of a kind of claim, where it is not for want of files.
SILENT = {
    "published": {
        "axis": "No feature was released.",
        "saliency": "No saliency map was released.",
        "benchmark": "The paper sets a figure beside another study's mean: nothing to pair.",
        "hierarchy": "No control was released.",
    },
    "radiomics": {},
    "radiographs": {},
    "runs": {
        "table1": "Other models, so there is nothing to recompute.",
        "benchmark": "Other knees than the benchmark's.",
        "hierarchy": "No control was trained on these images: `make book ARMS=main`.",
    },
}
#: Evidence on the second paper's claims: studies of radiographs.
SECOND_SOURCES = {
    "recorded": "Real radiographs, recorded",
    "given": "Real radiographs, this build",
    "drawn": "Drawn radiographs, this build",
}
#: Where the record lies, and where the chapter that judges by it keeps what it has read.
SECOND_CHAPTERS = {"recorded": "17-keypoints"}
_SHOWN = "19-second-papers-tables/recorded/17-keypoints"
#: As `KEPT`. A build trains one study: on the radiographs that it was given, or on drawn ones.
SECOND_KEPT = {
    "recorded": {
        "differences": (f"{_SHOWN}/differences", "cell-arms-recorded"),
        "fewer": (f"{_SHOWN}/fewer", "cell-arms-recorded"),
    },
    "given": {
        "differences": ("17-keypoints/given-differences", "cell-arms-live"),
        "fewer": ("17-keypoints/given-fewer", "cell-arms-live"),
    },
    "drawn": {
        "differences": ("17-keypoints/drawn-differences", "cell-arms-live"),
        "fewer": ("17-keypoints/drawn-fewer", "cell-arms-live"),
    },
}
SECOND_SILENT = {
    "recorded": "No chapter of this build showed the record.",
    "given": "Not run in this build: `make book RADIOGRAPHS=FOLDER`.",
    "drawn": "This build trained no study on drawn radiographs.",
}
NO_SUCH_ARMS = {
    "recorded": "The record has no such arms.",
    "given": "The small study of a build has no such arms.",
    "drawn": "The small study of a build has no such arms.",
}
#: Why a source has no answer to any other claim.
NOT_THERE = {
    "radiomics": "Radiomics hold no image, so there is no such network.",
    "radiographs": "Radiographs are no volumes, so there is no such network.",
}


def evidence(build: Path, phantom: bool) -> pd.DataFrame:
    """Judge every claim by every source.

    Returns
    -------
    DataFrame
        claim, where, printed, source, verdict, because, label (of the cell; "" without), recorded
        (whether the source spoke from the record, and not from what this build computed).
    """
    tables: dict[str, dict[str, pd.DataFrame]] = {}
    read: dict[str, dict[str, bool]] = {}
    for source, names in KEPT.items():
        shown = {
            kind: _found(build, name, source == "runs" and phantom)
            for kind, (name, _) in names.items()
        }
        tables[source] = {kind: frame for kind, (frame, _) in shown.items() if frame is not None}
        read[source] = {kind: from_record for kind, (_, from_record) in shown.items()}
    if "effects" in tables["published"]:
        tables["published"]["effects"] = published_effects(tables["published"]["effects"])
    for source in ("radiomics", "runs"):
        if "effects" in tables[source]:
            tables[source]["effects"] = run_effects(tables[source]["effects"])
    own = "phantom" if phantom else "oaizib-cm"
    rows = []
    for _, claim in claims().iterrows():
        kind = "effects" if isinstance(claim["effects"], dict) else claim["kind"]
        for source in SOURCES:
            store = "runs" if source in ("phantom", "oaizib-cm") else source
            if store == "runs" and source != own:
                finding = Judgement(ABSENT, _not_built(source))
            else:
                finding = judge(claim, tables[store], same_data=source == "published")
                if finding.verdict == ABSENT:
                    finding = Judgement(ABSENT, _silent(store, kind, tables[store]))
            spoke = finding.verdict != ABSENT
            unasked = UNASKED.get((store, kind), "") if spoke else ""
            key = kind if kind in KEPT[store] else "audit"
            recorded = spoke and read[store][key]
            label = KEPT[store][key][1] if spoke else ""
            if recorded and store == "runs":
                label += "-record"  # what stands beside a chapter's own results has its own cell
            rows.append(
                {
                    **claim[["claim", "where", "printed"]],
                    "source": source,
                    "verdict": finding.verdict,
                    "because": "; ".join(filter(None, (finding.because, unasked))),
                    "label": label,
                    "recorded": recorded,
                }
            )
    return pd.DataFrame(rows)


def second_evidence(build: Path) -> pd.DataFrame:
    """Judge every claim of the second paper by every study of radiographs.

    Returns
    -------
    DataFrame
        As of :func:`evidence`, `source` one of `SECOND_SOURCES`.
    """
    parts = []
    for source, names in SECOND_KEPT.items():
        tables = {kind: kept(build, name) for kind, (name, _) in names.items()}
        found = {kind: table for kind, table in tables.items() if table is not None}
        own = coherence_claims.judged(found).assign(source=source, recorded=False, label="")
        spoke = own["verdict"] != ABSENT
        own.loc[spoke, "recorded"] = source == "recorded"
        own.loc[spoke, "label"] = names["differences"][1]
        own.loc[~spoke, "because"] = (NO_SUCH_ARMS if found else SECOND_SILENT)[source]
        parts.append(own)
    # One claim after the other, each with its sources in their order.
    together = pd.concat(parts)
    return together.loc[coherence_claims.claims().index].reset_index(drop=True)


def _found(build: Path, name: str, runs: bool) -> tuple[pd.DataFrame | None, bool]:
    """A table of a source; of a phantom's runs that of the record, of more seeds and knees."""
    if runs and (table := beside(build, BESIDE.get(name, name))) is not None:
        return table, True
    return found(build, name)


def _not_built(source: str) -> str:
    if source == "phantom":
        return "This build has another cohort; `make book` without `COHORT` draws the phantom."
    return "Not run in this build: `oacore fetch oaizib-cm`, then `make book COHORT=FOLDER`."


def _silent(store: str, kind: str, tables: Mapping[str, pd.DataFrame]) -> str:
    if kind in SILENT[store]:
        return SILENT[store][kind]
    if kind in KEPT[store] and kind not in tables:
        return "No chapter of this build kept it."
    return NOT_THERE.get(store, "This source has no such model.")
