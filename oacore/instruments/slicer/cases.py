"""Test knees for the slicer of the book: images, outlines, and what all runs of a seed see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from oacore.data.volumes import view
from oacore.errors import InputError
from oacore.instruments.saliency.controls import LESIONS, read_lesions
from oacore.instruments.saliency.read import explained_folders, read_maps
from oacore.instruments.slicer.kernel import Run, seen_by, untrained_maps
from oacore.instruments.slicer.slicer import MapKey, pack_case
from oacore.names import in_order

LONGEST = 192
"""Voxels along an axis of a packed image, at the most; a finer one would not fit a case."""


def pack_cases(
    folder: str | Path,
    cases: pd.DataFrame,
    explained: str | Path,
    predictions: pd.DataFrame,
    *,
    seed: int,
    untrained: Sequence[Run] = (),
    per_grade: int = 1,
    true_kl: Mapping[int, int] | None = None,
) -> list[Path]:
    """Pack the knees whose maps were kept, with the maps of every model of one seed.

    Parameters
    ----------
    folder : path-like
        Gets the files, see :func:`.slicer.pack_case`; is published with the pages.
    cases : DataFrame
        Of the cohort.
    explained : path-like
        What :func:`.explain.explain` left, for all runs.
    predictions : DataFrame
        Rows of :func:`.records.read_runs`.
    seed : int
        Of the models.
    untrained : sequence of Run
        Of these the gradient's map is packed with random weights, too; it is computed now.
    per_grade : int
        Knees of each grade, of those with maps.
    true_kl : mapping of case_id to a grade, optional
        On a phantom; then its lesions are outlined too.

    Returns
    -------
    list of Path
        Descriptions for :func:`.slicer.slicer_page`, by grade. Cases are called "Case 1"
        and so on, in that order: no number of the cohort is published.

    Raises
    ------
    InputError
        If no run of the seed was explained.
    """
    maps: dict[tuple[int, str, str, str, str], np.ndarray] = {}
    for run in explained_folders(explained):
        backbone, supervision, number = run.parts[-3:]
        if number == f"seed{seed}":
            for (knee, head, method), values in read_maps(run).items():
                maps[knee, backbone, supervision, head, method] = values
    if not maps:
        raise InputError(f"{explained}: no run of seed {seed} was explained; choose another seed")
    columns = ["knee", "backbone", "supervision", "head", "method"]
    keys = in_order(pd.DataFrame(list(maps), columns=columns), *columns[1:4])
    maps = {key: maps[key] for key in keys.itertuples(index=False, name=None)}
    shown = cases[cases["case_id"].isin({case for case, *_ in maps})]
    shown = shown[shown.groupby("kl").cumcount() < per_grade].sort_values("kl", kind="stable")
    answers = predictions[predictions["seed"] == seed]
    random = _untrained(untrained, shown)
    packed = []
    for place in tqdm(range(len(shown)), "cases"):
        case = shown.iloc[place]
        own = int(case["case_id"])
        image, tissues, spacing = view(case, LONGEST)
        truth = true_kl[own] if true_kl is not None else None
        packed.append(
            pack_case(
                folder,
                f"Case {place + 1}",
                image,
                [float(side) for side in spacing],
                masks=outlines(case, tissues, truth is not None),
                maps={key[1:]: values for key, values in maps.items() if key[0] == own},
                untrained=random[own],
                predictions=_answers(answers[answers["case_id"] == own]),
                kl=int(case["kl"]),
                kl_true=None if truth is None else int(truth),
            )
        )
    return packed


def _untrained(runs: Sequence[Run], cases: pd.DataFrame) -> dict[int, dict[MapKey, np.ndarray]]:
    """The gradient's maps of untrained networks, by case_id."""
    images = dict(zip(cases["case_id"].tolist(), cases["image"], strict=True))
    found: dict[int, dict[MapKey, np.ndarray]] = {case: {} for case in images}
    seen: dict[Any, dict[int, torch.Tensor]] = {}  # by how the networks see them
    for run in tqdm(runs, "untrained networks"):
        grid = run.recipe.grid, run.recipe.resample
        if grid not in seen:
            seen[grid] = {case: seen_by(run, image) for case, image in images.items()}
        for (case, head), values in untrained_maps(run, seen[grid]).items():
            found[case][run.model, run.supervision, head, "gradient"] = values
    return found


def outlines(
    case: pd.Series, tissues: Mapping[str, np.ndarray], lesions: bool
) -> dict[str, np.ndarray]:
    """Masks that the slicer outlines: all cartilage first, the bones, and a phantom's lesions.

    Parameters
    ----------
    case : Series
        A row of the table of cases.
    tissues : mapping of a tissue's name to its mask
        As :func:`.volumes.view` gives them; empty where the case has no mask.
    lesions : bool
        Whether the case is of a phantom.
    """
    found: dict[str, np.ndarray] = {}
    if tissues:
        cartilage = [mask for name, mask in tissues.items() if "cartilage" in name]
        found["cartilage"] = np.any(cartilage, axis=0)
        found |= {name: mask for name, mask in tissues.items() if name in ("femur", "tibia")}
    if lesions:
        shape: Any = np.shape(next(iter(tissues.values())))
        drawn = read_lesions(case["image"], shape)
        found |= {name: np.isin(drawn, numbers) for name, numbers in LESIONS.items()}
    return {name: mask for name, mask in found.items() if mask.any()}


def _answers(rows: pd.DataFrame) -> dict[tuple[str, str], dict[str, Any]]:
    """Probabilities of each model for one knee; what a model has no head for is left out."""
    found = {}
    for row in rows.to_dict("records"):
        kl = [row[f"prob_kl_{grade}"] for grade in range(5)]
        found[row["backbone"], row["supervision"]] = {
            "prob_oa": None if row["supervision"] == "single_kl" else row["prob_oa"],
            "prob_kl": None if row["supervision"] == "single_oa" else kl,
        }
    return found
