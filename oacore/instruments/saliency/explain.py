"""What a trained run looks at: saliency maps of its test knees, measured, beside their controls.

Section 3.5.3 and Table 3 of arXiv:2605.00718. For every test knee and head: where the map of the
trained network lies, where that of the same network untrained does, where the knee's own grey
values would, and how much of it falls on the cartilage of another knee. A figure of Table 3 says
something of training only as far as it differs from these.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from oacore.data.cache import Volumes
from oacore.errors import InputError
from oacore.files import remove_parts, whole, write
from oacore.fingerprint import fingerprint
from oacore.instruments.saliency.controls import (
    LESIONS,
    bone_surface,
    distance_profile,
    input_map,
    map_similarity,
    other_knees,
    randomised,
    read_lesions,
)
from oacore.instruments.saliency.methods import saliency_map
from oacore.instruments.saliency.nifti import write_map
from oacore.instruments.saliency.overlap import REGIONS, overlap, region
from oacore.models.heads import HierarchicalNet, build_model, channels_last
from oacore.results import write_csv
from oacore.training.loop import load_batch
from oacore.training.records import run_record
from oacore.training.runs import load_trained

#: What is measured: the method of the paper's text, the default of its released code, and one that
#: looks at a layer instead of the voxels.
METHODS = ("gradient", "released", "grad-cam")
SAMPLE = 4
"""Test knees of each grade on which methods other than the gradient are measured: the first."""

PER_GRADE = 2
"""Test knees of each grade whose maps are kept: the first."""

BONE_BAND = 5.0
"""Half width of the bone's surface in mm: about a voxel of the laptop's grids, on either side."""

BANDS = (5.0, 10.0, 20.0, 40.0)
"""Distances from cartilage in mm that :func:`distance_profile` tells apart."""

MASKS = ("own", "another knee")
UNTRAINED = 1000
"""Added to a run's seed for the weights of its untrained twin."""


def explain(
    run: str | Path,
    cases: pd.DataFrame,
    volumes: Volumes,
    folder: str | Path,
    *,
    lesions: bool,
    methods: Sequence[str] = METHODS,
    device: str = "cpu",
) -> Path:
    """Measure the saliency of one finished run on the graded test knees that have a mask.

    In a cohort without masks there is nothing to measure on, and maps alone are left.

    Parameters
    ----------
    run : path-like
        Folder of the run, see :func:`.records.run_folder`.
    cases : DataFrame
        Graded cases of the cohort that it was trained on.
    volumes : Volumes
        Those that it was trained on.
    folder : path-like
        Gets the tables and maps below, and last of all ``done.json``. What was measured before an
        interruption is not measured again.
    lesions : bool
        Whether the cohort is a phantom, whose lesions are known.
    methods : sequence of str
        What is measured: "gradient" on all test knees, any other on the first `SAMPLE` a grade.
    device : str
        "cpu", or "cuda".

    Returns
    -------
    Path
        The folder, with

        - ``overlap.csv``: `case_id`, `head`, `method`, `weights` ("trained", "random", or "none"
          for the input alone), `mask` ("own", "another knee"), `region`, and the columns of
          :func:`.overlap.overlap`;
        - ``profile.csv``: `case_id`, `head`, `weights` and the columns of
          :func:`.controls.distance_profile`, of the gradient's maps;
        - ``cascade.csv``: of the knees whose maps are kept, the likeness of the gradient's map to
          that of the trained network once it lost its stages down to `stage`;
        - ``maps.npz``: maps of all `methods` for `PER_GRADE` knees a grade
          (:func:`.read.read_maps`);
        - ``nifti/``: the gradient's maps of these knees over their images as stored.

    Raises
    ------
    InputError
        If the run is not finished, or was trained on other volumes.
    """
    run, folder = Path(run), Path(folder)
    model, untrained = _models(run, volumes, device)
    test = cases[cases["split"] == "test"]
    with_mask = test["mask"].notna()
    has_masks = with_mask.sum() > 1  # another knee's mask is asked for too
    test = test[with_mask | ~has_masks].reset_index(drop=True)
    measure = _Measure(model, untrained, test, volumes, lesions, methods, device)
    identity = _identity(run, test, volumes, methods)
    parts = _resumed(folder, identity)
    size = run_record(run)["batch_size"]
    starts = range(0, len(test) if has_masks else 0, size)
    for start in tqdm(starts, f"saliency of {run.parent.parent.name}"):
        part = parts / f"{start:06d}.json"
        if not part.exists():
            rows = np.arange(start, min(start + size, len(test)))
            tables = {name: table.to_dict("records") for name, table in measure(rows).items()}
            write(part, json.dumps(tables))
    found = [json.loads(part.read_text()) for part in sorted(parts.glob("*.json"))]
    for name in ("overlap", "profile"):
        records = [record for one in found for record in one[name]]
        table = pd.DataFrame(records, columns=None if records else ["case_id"])
        write_csv(table, folder / f"{name}.csv")
    kept_rows = np.flatnonzero(test.groupby("kl").cumcount() < PER_GRADE)
    _keep_maps(measure, kept_rows, folder)
    write_csv(pd.DataFrame(_cascade(measure, kept_rows)), folder / "cascade.csv")
    write(folder / "done.json", json.dumps(identity, indent=1))
    shutil.rmtree(parts)
    return folder


class _Measure:
    """Tables of some test knees, by row."""

    def __init__(
        self,
        model: HierarchicalNet,
        untrained: HierarchicalNet,
        test: pd.DataFrame,
        volumes: Volumes,
        lesions: bool,
        methods: Sequence[str],
        device: str,
    ) -> None:
        self.weights = {"trained": model, "random": untrained}
        self.test, self.volumes = test, volumes
        self.lesions, self.methods, self.device = lesions, methods, torch.device(device)
        self.at = volumes.rows(test["case_id"])
        self.other = other_knees(len(test), seed=0)  # with masks, or never asked
        self.sampled = (test.groupby("kl").cumcount() < SAMPLE).to_numpy()

    def maps(self, rows: np.ndarray, weights: str, head: str, method: str) -> np.ndarray:
        """Maps of some rows, (batch, D, H, W)."""
        batch = load_batch(self.volumes, self.at[rows], self.device)
        return saliency_map(self.weights[weights], batch, head, method, seed=0)

    def labels(self, row: int) -> np.ndarray:
        """The mask of a row, (D, H, W)."""
        return np.asarray(self.volumes.masks[self.at[row]])

    def __call__(self, rows: np.ndarray) -> dict[str, pd.DataFrame]:
        """Tables "overlap" and "profile" of some rows."""
        self.regions = {row: self._regions(row) for row in {*rows, *self.other[rows]}}
        profiles: list[pd.DataFrame] = []
        images = np.stack([self.volumes.images[at] for at in self.at[rows]])
        said = {"head": "none", "method": "input alone", "weights": "none"}
        tables = [self._overlap(rows, input_map(images), "own", said)]
        for head in self.weights["trained"].heads:
            for method in self.methods:
                chosen = rows if method == "gradient" else rows[self.sampled[rows]]
                for weights in self.weights if len(chosen) else ():
                    maps = self.maps(chosen, weights, head, method)
                    said = {"head": head, "method": method, "weights": weights}
                    tables += [self._overlap(chosen, maps, mask, said) for mask in MASKS]
                    if method == "gradient":
                        profiles += self._profiles(rows, maps, head, weights)
        return {"overlap": pd.concat(tables), "profile": pd.concat(profiles)}

    def _overlap(
        self, rows: np.ndarray, maps: np.ndarray, mask: str, said: dict[str, str]
    ) -> pd.DataFrame:
        """Overlap of maps with all regions of their own knees, or cartilage of other ones."""
        own = mask == "own"
        names = self.regions[rows[0]] if own else REGIONS
        cases, tables = self._cases(rows), []
        for name in names:
            masks = [self.regions[row if own else self.other[row]][name] for row in rows]
            found = overlap(maps, masks, cases)
            found = found[found["roi_voxels"] > 0]  # not a lesion that this knee lacks
            labels = {**said, "mask": mask, "region": name}
            tables.append(
                pd.concat([found[["case_id"]].assign(**labels), found.iloc[:, 1:]], axis=1)
            )
        return pd.concat(tables).round(6)

    def _cases(self, rows: np.ndarray) -> list[int]:
        return [int(case) for case in self.test["case_id"].iloc[rows]]

    def _regions(self, row: int) -> dict[str, np.ndarray]:
        labels, spacing = self.labels(row), self.volumes.spacing[self.at[row]]
        found = {name: region(labels, numbers) for name, numbers in REGIONS.items()}
        found["bone surface"] = bone_surface(labels, spacing, BONE_BAND)
        if self.lesions:
            lesions = read_lesions(self.test["image"].iloc[row], labels.shape)
            found |= {name: region(lesions, numbers) for name, numbers in LESIONS.items()}
        return found

    def _profiles(
        self, rows: np.ndarray, maps: np.ndarray, head: str, weights: str
    ) -> Iterator[pd.DataFrame]:
        for row, values in zip(rows, maps, strict=True):
            cartilage = self.regions[row]["cartilage"]
            if not (values.any() and cartilage.any()):
                continue  # a map that is the same everywhere lies nowhere
            spacing = self.volumes.spacing[self.at[row]]
            found = distance_profile(values, cartilage, spacing, BANDS).round(6)
            found.insert(0, "weights", weights)
            found.insert(0, "head", head)
            found.insert(0, "case_id", int(self.test["case_id"].iloc[row]))
            yield found.astype(object).where(found.notna(), None)


def _models(run: Path, volumes: Volumes, device: str) -> tuple[HierarchicalNet, HierarchicalNet]:
    """The trained network, and its untrained twin."""
    model = load_trained(run)
    done = run_record(run)
    if done["volumes"] != volumes.key:
        raise InputError(f"{run}: was trained on other volumes; give the cohort that it is of")
    encoder = {k: v for k, v in done["encoder"].items() if k not in ("weights", "weights2d")}
    seed = done["seed"] + UNTRAINED
    untrained = build_model(done["backbone"], done["supervision"], seed, encoder, done["heads"])
    return channels_last(model).to(device), channels_last(untrained).to(device)


def _keep_maps(measure: _Measure, rows: np.ndarray, folder: Path) -> None:
    arrays: dict[str, list[np.ndarray]] = {}
    nifti = folder / "nifti"
    nifti.mkdir(exist_ok=True)
    for row in rows:
        case = measure.test.iloc[row]
        for head in measure.weights["trained"].heads:
            for method in measure.methods:
                one = measure.maps(np.array([row]), "trained", head, method)[0]
                arrays.setdefault(f"{head}/{method}", []).append(one.astype(np.float16))
                if method == "gradient":
                    name = f"case-{case['case_id']}-{head}-gradient.nii.gz"
                    write_map(one, case["image"], nifti / name, "uint8")
    stacked: dict[str, Any] = {name: np.stack(maps) for name, maps in arrays.items()}
    with whole(folder / "maps.npz") as part:
        np.savez_compressed(part, case_id=measure.test["case_id"].to_numpy()[rows], **stacked)


def _cascade(measure: _Measure, rows: np.ndarray) -> Iterator[dict[str, Any]]:
    model, untrained = measure.weights["trained"], measure.weights["random"]
    whole = {head: measure.maps(rows, "trained", head, "gradient") for head in model.heads}
    batch = load_batch(measure.volumes, measure.at[rows], measure.device)
    for order, (stage, copy) in enumerate(randomised(model, untrained), start=1):
        for head in model.heads:
            changed = saliency_map(copy, batch, head)
            for case, one, other in zip(measure._cases(rows), whole[head], changed, strict=True):
                alike = map_similarity(one, other)
                yield {"case_id": case, "head": head, "order": order, "stage": stage, **alike}


def _identity(
    run: Path, test: pd.DataFrame, volumes: Volumes, methods: Sequence[str]
) -> dict[str, str]:
    """All that the measured figures follow from."""
    encoder = f"oacore.models.{run_record(run)['backbone']}"
    weights = (run / "weights.safetensors").read_bytes()
    knees = ",".join(map(str, test["case_id"]))
    return {
        **{"run": hashlib.sha256(weights).hexdigest(), "volumes": volumes.key},
        **{"code": fingerprint(__name__, encoder)},
        **{"methods": ", ".join(methods), "knees": hashlib.sha256(knees.encode()).hexdigest()},
    }


def _resumed(folder: Path, identity: dict[str, str]) -> Path:
    """Folder of what was measured before an interruption; emptied if it is of something else."""
    parts = folder / "parts"
    record = parts / "identity"
    if parts.exists() and not (record.exists() and json.loads(record.read_text()) == identity):
        shutil.rmtree(parts)
    parts.mkdir(parents=True, exist_ok=True)
    remove_parts(folder)
    write(record, json.dumps(identity))
    return parts
