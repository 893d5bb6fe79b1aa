"""What the runs of a study answer on its test pictures, as tables of aggregates.

No row is a person's. Intervals are over seeds and people at once (:mod:`oacore.metrics.crossed`):
both knees of a person are drawn together, as they are alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from oacore.errors import InputError
from oacore.instruments.coherence.patterns import GRADES, SIZES, one_hot
from oacore.instruments.phantom.grades import NARROWINGS, OSTEOPHYTES, kl_from_oarsi
from oacore.instruments.radiographs.arms import Arm, Study, run_folder
from oacore.instruments.radiographs.told import coherence_loss, readings_of
from oacore.metrics.clinical import weighted_kappa
from oacore.metrics.crossed import crossed, crossed_difference
from oacore.metrics.resampling import draw_cases
from oacore.metrics.scores import accuracy, macro_auc
from oacore.training.records import intact, run_record

#: Means over heads, by the name that they have beside those of single heads.
GROUPS = {
    "oarsi": (*OSTEOPHYTES, *NARROWINGS),
    "osteophytes": tuple(OSTEOPHYTES),
    "narrowings": tuple(NARROWINGS),
}
#: How cases count: as they are in the set; as frequent as their KL grade is in nature; or only
#: those of which all seven grades were read, as in the paper.
AS_SAMPLED, NATURAL, COMPLETE = "as sampled", "natural", "all grades read"
#: What is called an arm where it is the readers' own grades.
READERS = "readers' own grades"
#: Share of pictures whose KL is the one that the rule reads off the six other grades.
RULE = "KL as by the rule"
#: Losses by which all arms are measured, fitted to the readings of all training cases.
YARDSTICKS = ("mixture", "joint", "given kl")
#: Settings that mean nothing where there is no loss of coherence.
OF_THE_LOSS = ("tau", "weight", "warm_up")


def rmse(counts: np.ndarray, label: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Root of the mean squared distance of grades, for each of B resamples; (B, n) to (B,)."""
    return np.sqrt(counts @ (label - predicted) ** 2.0 / counts.sum(axis=1))


def mean_recall(counts: np.ndarray, label: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Mean over the grades of the share that is found, for each of B resamples; (B, n) to (B,).

    NaN where a resample lacks a grade that the cases have.
    """
    each = [label == grade for grade in np.unique(label)]
    return np.mean([accuracy(counts[:, own], label[own], predicted[own]) for own in each], axis=0)


#: From counts (B, n), labels (n,) and probabilities (n, K) to (B,); and the range of each.
METRICS: dict[str, tuple[Callable[..., np.ndarray], tuple[float, float]]] = {
    "accuracy": (lambda c, y, p: accuracy(c, y, p.argmax(1)), (0, 1)),
    "rmse": (lambda c, y, p: rmse(c, y, p.argmax(1)), (0, np.inf)),
    "kappa": (lambda c, y, p: weighted_kappa(c, y, p.argmax(1)), (-1, 1)),
    "macro_auc": (macro_auc, (0, 1)),
    "mean_recall": (lambda c, y, p: mean_recall(c, y, p.argmax(1)), (0, 1)),
}

#: A measure of an arm's seeds on the people themselves and on resamples: (S, 1 + B).
Values = np.ndarray
#: Answers of an arm by head: (S, n, K).
Answers = dict[str, np.ndarray]


def collect(
    study: Study,
    folder: str | Path,
    cases: pd.DataFrame,
    *,
    n_resamples: int = 1000,
    seed: int,
    split: str = "test",
) -> dict[str, pd.DataFrame]:
    """Tables of all finished arms of a study.

    Parameters
    ----------
    study : Study
    folder : path-like
        Its own.
    cases : DataFrame
        Of the radiographs that it was trained on, see :class:`.cases.Radiographs`.
    n_resamples, seed : int
        Of the people.
    split : {"test", "val"}
        Settings are chosen on "val", and results are of "test".

    Returns
    -------
    dict of DataFrame
        - "scores": `arm`, `head` (or a mean over heads, `GROUPS`), `metric`, `frequency` (`NATURAL`
          where cases have weights), number of `cases`, and the columns of :func:`.crossed.crossed`;
        - "by_seed": the same for each `seed`, as a `value`;
        - "recall": `arm`, `head`, `grade`, `cases`, share of the grade's cases that are given it,
          and `answered`, the share of all cases with such a grade that is given it;
        - "coherence": `arm`, `measure` (`YARDSTICKS`: means of the losses; or `RULE`: a share),
          `kl` as read (or "all"), `cases`;
        - "differences": `reference`, `other`, `differs` in; `head` ("kl" or one of `GROUPS`),
          `metric`, `frequency`, number of `cases`, and the columns of
          :func:`.crossed.crossed_difference`;
        - "fewer": of such a pair with all labels (`value_reference`) and of its twins with a share
          `labelled` (`value_other`) the differences, and how much larger the latter is; otherwise
          as "differences", and empty where no arm has a twin;
        - "runs": `arm`, its settings, `seeds`, and of its runs the mean `processor_seconds`,
          `weights`, `device`, `commit`, `torch`, `monai`.

    Raises
    ------
    InputError
        If no arm is finished, a run is damaged, or it answers for other cases.
    """
    own = cases[cases["split"] == split].sort_values("case", ignore_index=True)
    answers = dict(read_answers(study, folder, own))
    if not answers:
        raise InputError(f"{folder}: no arm of study {study.name} is finished; train it")
    counts = by_person(own, n_resamples, seed)
    frequencies = {AS_SAMPLED: counts, COMPLETE: counts * _all_read(own)}
    if "weight" in own:
        frequencies[NATURAL] = counts * own["weight"].to_numpy(float)
    values = {
        (arm, frequency): measured(own, of_arm, drawn)
        for arm, of_arm in answers.items()
        for frequency, drawn in frequencies.items()
    }
    return {
        "scores": _scores(values, own),
        "by_seed": _by_seed(study, values),
        "recall": _recall(answers, own, counts),
        "coherence": _coherence(answers, cases, own, counts),
        "differences": _differences(study, values, own),
        "fewer": _fewer(study, values, own),
        "runs": _runs(study, folder, answers),
    }


def read_answers(
    study: Study, folder: str | Path, cases: pd.DataFrame
) -> Iterator[tuple[str, Answers]]:
    """Answers of each arm all of whose seeds are finished, for some cases in their order."""
    for arm in study.arms:
        runs = [run_folder(folder, arm, seed) for seed in study.seeds]
        if not all((run / "done.json").exists() for run in runs):
            continue
        found: dict[str, list[np.ndarray]] = {name: [] for name in SIZES}
        for run in runs:
            table = pd.read_csv(intact(run, "predictions.csv") / "predictions.csv")
            for name, size in SIZES.items():
                own = table[table["head"] == name].set_index("case")
                missing = set(cases["case"]) - set(own.index)
                if missing:
                    raise InputError(
                        f"{run}: has no answer for case {min(missing)}; the runs are of another set"
                    )
                columns = [f"p{grade}" for grade in range(size)]
                found[name].append(own.loc[cases["case"], columns].to_numpy(float))
        yield arm, {name: np.ascontiguousarray(np.stack(each)) for name, each in found.items()}


def by_person(cases: pd.DataFrame, n_resamples: int, seed: int) -> np.ndarray:
    """How often each case occurs in the sample itself, and in resamples of people, (1 + B, n)."""
    person, people = pd.factorize(cases["person"])
    return draw_cases(len(people), n_resamples, seed)[:, person]


def measured(
    cases: pd.DataFrame, answers: Answers, counts: np.ndarray
) -> dict[tuple[str, str], Values]:
    """Every metric of an arm by head, and means over heads, by (head, metric)."""
    found: dict[tuple[str, str], Values] = {}
    for name, probabilities in answers.items():
        there, label = _read(cases, name)
        for metric, (measure, _) in METRICS.items():
            found[name, metric] = np.stack(
                [measure(counts[:, there], label, p[there]) for p in probabilities]
            )
    for group, names in GROUPS.items():
        for metric in METRICS:
            found[group, metric] = np.mean([found[name, metric] for name in names], axis=0)
    return found


def contrasts(study: Study) -> list[tuple[str, str, str]]:
    """Pairs of arms that are compared: (reference, other, in what they differ).

    All that differ in one thing, where the whole loss of coherence is one thing; every arm against
    the one called "global", and against its twin with as many labels; and the one called "proposed"
    against the like of "global" of any depth.
    """
    pairs = []
    for one, other in combinations(study.arms.values(), 2):
        differs = [key for key, value in asdict(one).items() if value != asdict(other)[key]]
        apart = ("name", *(OF_THE_LOSS if "none" in (one.coherence, other.coherence) else ()))
        differs = [key for key in differs if key not in apart]
        whole = one == Arm(one.name, one.depth, labelled=one.labelled)
        if (
            len(differs) == 1
            or one.name == "global"
            or (_is_twin(one, study.arms.get("global")) and one.labelled == other.labelled)
            or (whole and one.labelled == 1 and other.name == "proposed")
        ):
            pairs.append((one.name, other.name, ", ".join(differs)))
    return pairs


def twins(study: Study) -> list[tuple[str, str, str, str, float]]:
    """Compared pairs of arms with all labels, and the same two with fewer, and with what share."""
    found = []
    for reference, other, _ in contrasts(study):
        one, two = study.arms[reference], study.arms[other]
        if one.labelled != 1 or two.labelled != 1:
            continue
        for few, same in product(study.arms.values(), repeat=2):
            fewer = few.labelled == same.labelled < 1
            if fewer and _is_twin(few, one) and _is_twin(same, two):
                found.append((reference, other, few.name, same.name, few.labelled))
    return found


def _is_twin(one: Arm, other: Arm | None) -> bool:
    """Whether two arms differ in nothing but their share of labels."""
    return other is not None and replace(one, name=other.name, labelled=other.labelled) == other


def _read(cases: pd.DataFrame, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Which cases have a grade, (n,), and the grades of those."""
    there = cases[name].notna().to_numpy()
    return there, cases.loc[there, name].to_numpy(np.int64)


def _all_read(cases: pd.DataFrame) -> np.ndarray:
    """Which cases have all seven grades, (n,)."""
    return cases[list(GRADES)].notna().all(axis=1).to_numpy()


def _scores(
    values: Mapping[tuple[str, str], dict[tuple[str, str], Values]], cases: pd.DataFrame
) -> pd.DataFrame:
    rows = []
    for (arm, frequency), of_arm in values.items():
        for (head, metric), value in of_arm.items():
            counted = _all_read(cases) if frequency == COMPLETE else np.ones(len(cases), bool)
            if head in SIZES:
                counted = counted & _read(cases, head)[0]
            n = int(counted.sum())
            named = {"arm": arm, "head": head, "metric": metric, "frequency": frequency, "cases": n}
            rows.append({**named, **crossed(value, METRICS[metric][1])})
    return pd.DataFrame(rows)


def _by_seed(
    study: Study, values: Mapping[tuple[str, str], dict[tuple[str, str], Values]]
) -> pd.DataFrame:
    rows = [
        (arm, head, metric, frequency, seed, value)
        for (arm, frequency), of_arm in values.items()
        for (head, metric), of_seeds in of_arm.items()
        for seed, value in zip(study.seeds, of_seeds[:, 0], strict=True)
    ]
    return pd.DataFrame(rows, columns=["arm", "head", "metric", "frequency", "seed", "value"])


def _recall(
    answers: Mapping[str, Answers], cases: pd.DataFrame, counts: np.ndarray
) -> pd.DataFrame:
    rows = []
    for arm, of_arm in answers.items():
        for name, probabilities in of_arm.items():
            there, label = _read(cases, name)
            for grade in np.unique(label):
                given = (probabilities[:, there].argmax(2) == grade).astype(float)  # (S, n)
                own = label == grade
                value = _mean(counts[:, there][:, own], given[:, own])
                named = {"arm": arm, "head": name, "grade": int(grade), "cases": int(own.sum())}
                answered = {"answered": given.mean()}
                rows.append({**named, **crossed(value, (0, 1)), **answered})
    return pd.DataFrame(rows)


def _coherence(
    answers: Mapping[str, Answers], cases: pd.DataFrame, own: pd.DataFrame, counts: np.ndarray
) -> pd.DataFrame:
    grades = readings_of(cases.assign(labelled=True))
    losses = {kind: coherence_loss(Arm(kind, 0, coherence=kind), grades, 0) for kind in YARDSTICKS}
    complete = _all_read(own)
    read = own.loc[complete, list(GRADES)].to_numpy(np.int64)
    sure = np.split(one_hot(read), np.cumsum([*SIZES.values()])[:-1], axis=1)
    by_readers = {name: part[None] for name, part in zip(SIZES, sure, strict=True)}
    kl = own["kl"].to_numpy(np.int64)
    rows = []
    for arm, of_arm in [*answers.items(), (READERS, by_readers)]:
        some = complete if arm == READERS else np.ones(len(own), dtype=bool)
        for measure, value in _coherences(of_arm, losses).items():
            for grade in [*np.unique(kl), "all"]:
                of_grade = np.ones(len(own), dtype=bool) if grade == "all" else kl == grade
                drawn = counts[:, some & of_grade]
                mean = _mean(drawn, value[:, of_grade[some]])
                named = {"arm": arm, "measure": measure, "kl": str(grade), "cases": drawn.shape[1]}
                rows.append({**named, **crossed(mean, (0, 1 if measure == RULE else np.inf))})
    return pd.DataFrame(rows)


def _coherences(answers: Answers, losses: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Each loss of each picture, and whether it obeys the rule, (S, n), by name."""
    found: dict[str, list[np.ndarray]] = {}
    for seed in range(len(answers["kl"])):
        tensors = {name: torch.from_numpy(p[seed]) for name, p in answers.items()}
        for kind, loss in losses.items():
            found.setdefault(kind, []).append(loss(tensors).numpy())
        most = pd.DataFrame({name: p[seed].argmax(1) for name, p in answers.items()})
        by_rule = kl_from_oarsi(most) == most["kl"].to_numpy()
        found.setdefault(RULE, []).append(by_rule.astype(float))
    return {name: np.stack(of_seeds) for name, of_seeds in found.items()}


def _differences(
    study: Study,
    values: Mapping[tuple[str, str], dict[tuple[str, str], Values]],
    cases: pd.DataFrame,
) -> pd.DataFrame:
    rows = []
    for reference, other, differs in contrasts(study):
        for named, both in _each_measure([reference, other], values, cases):
            pair = {"reference": reference, "other": other, "differs": differs}
            rows.append({**pair, **named, **crossed_difference(*both)})
    return pd.DataFrame(rows)


def _fewer(
    study: Study,
    values: Mapping[tuple[str, str], dict[tuple[str, str], Values]],
    cases: pd.DataFrame,
) -> pd.DataFrame:
    rows = []
    for reference, other, *few, share in twins(study):
        for named, four in _each_measure([reference, other, *few], values, cases):
            pair = {"reference": reference, "other": other, "labelled": share}
            found = crossed_difference(four[1] - four[0], four[3] - four[2])
            rows.append({**pair, **named, **found})
    columns = ["reference", "other", "labelled", "head", "metric", "frequency"]
    return pd.DataFrame(rows, columns=None if rows else columns)


def _each_measure(
    arms: list[str],
    values: Mapping[tuple[str, str], dict[tuple[str, str], Values]],
    cases: pd.DataFrame,
) -> Iterator[tuple[dict[str, Any], list[Values]]]:
    """Head, metric, frequency and number of cases, and what each arm has there, if all have."""
    for frequency in (AS_SAMPLED, NATURAL, COMPLETE):
        if any((arm, frequency) not in values for arm in arms):
            continue
        n = int(_all_read(cases).sum()) if frequency == COMPLETE else len(cases)
        for head in ("kl", *GROUPS):
            for metric in METRICS:
                named = {"head": head, "metric": metric, "frequency": frequency, "cases": n}
                yield named, [values[arm, frequency][head, metric] for arm in arms]


def _runs(study: Study, folder: str | Path, answers: Mapping[str, Answers]) -> pd.DataFrame:
    rows = []
    for arm in answers:
        records = [run_record(run_folder(folder, arm, seed)) for seed in study.seeds]
        origins = [record["provenance"] for record in records]
        rows.append(
            {
                "arm": arm,
                **{k: v for k, v in asdict(study.arms[arm]).items() if k != "name"},
                "seeds": len(records),
                "processor_seconds": np.mean([record["processor_seconds"] for record in records]),
                "weights": records[0]["n_weights"],
                "device": _each(origin["device"] for origin in origins),
                "commit": _each(str(origin["commit"])[:10] for origin in origins),
                **{
                    package: _each(origin["versions"][package] for origin in origins)
                    for package in ("torch", "monai")
                },
            }
        )
    return pd.DataFrame(rows)


def _each(values: Iterator[str]) -> str:
    return ", ".join(dict.fromkeys(values))


def _mean(counts: np.ndarray, values: np.ndarray) -> Values:
    """Means of values (S, n) over cases as often as they are drawn, (1 + B, n): (S, 1 + B)."""
    total = counts.sum(axis=1)
    out = np.full((len(values), len(counts)), np.nan)
    return np.divide(values @ counts.T, total, out=out, where=total > 0)
