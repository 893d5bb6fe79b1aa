"""What a trained run looks at: saliency maps of its test knees, measured, beside their controls.

Section 3.5.3 and Table 3 of arXiv:2605.00718. For each test knee of the cohort's named subset
(:func:`.cohort.named_subset`: all, where it names none) and head: where the map of the
trained network lies, where that of the same network untrained does, or of its twin that was
trained on permuted grades, where the knee's own grey values would, and how much of it falls on the
cartilage of another knee. A figure of Table 3 says something of training only as far as it differs
from these.
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
from oacore.data.cohort import named_subset
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
from oacore.models.heads import HierarchicalNet, channels_last
from oacore.results import write_csv
from oacore.seals import SEAL, damage, read_sealed, seal, sealed_text
from oacore.training.batches import load_batch
from oacore.training.convolutions import secure_convolutions
from oacore.training.records import require_grades, run_record
from oacore.training.resuming import say
from oacore.training.runs import build_like, load_trained, load_trained_on

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

FILES = ("overlap.csv", "profile.csv", "cascade.csv", "twins.csv", "maps.npz")
"""What is left of a run that has been explained, besides its record and ``nifti/``."""

TWINS_SHARE = ("backbone", "encoder", "heads", "supervision", "seed", "volumes")
"""What a run and its twin on permuted grades have in common."""


def explain(
    run: str | Path,
    cases: pd.DataFrame,
    volumes: Volumes,
    folder: str | Path,
    *,
    lesions: bool,
    methods: Sequence[str] = METHODS,
    permuted: str | Path | None = None,
    device: str = "cpu",
) -> Path:
    """Measure the saliency of one finished run on graded test knees that have a mask.

    On those of the cohort's named subset; on all where it names none.

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
        interruption is not measured again, and nothing is where all of it was.
    lesions : bool
        Whether the cohort is a phantom, whose lesions are known.
    methods : sequence of str
        What is measured: "gradient" on all these knees, any other on the first `SAMPLE` a grade.
    permuted : path-like, optional
        Folder of the run's twin on permuted grades, whose maps are measured beside its own.
    device : str
        "cpu", or "cuda".

    Returns
    -------
    Path
        The folder, with

        - ``overlap.csv``: `case_id`, `head`, `method`, `weights` ("trained", "random", "permuted",
          or "none" for the input alone), `mask` ("own", "another knee"), `region`, and the columns
          of :func:`.overlap.overlap`;
        - ``profile.csv``: `case_id`, `head`, `weights` and the columns of
          :func:`.controls.distance_profile`, of the gradient's maps;
        - ``cascade.csv``: of the knees whose maps are kept, the likeness of the gradient's map to
          that of the trained network once it lost its stages down to `stage`;
        - ``twins.csv``: of these knees, the same likeness of the untrained network's maps and of
          those of the twin on permuted grades, by `weights`;
        - ``maps.npz``: maps of all `methods` for `PER_GRADE` knees a grade
          (:func:`.read.read_maps`);
        - ``nifti/``: the gradient's maps of these knees over their images as stored;
        - ``seal.json``: what all these are (:mod:`oacore.seals`).

    Raises
    ------
    InputError
        If the run is not finished, was trained on other volumes or on permuted grades, or
        `permuted` is not its twin.
    """
    run, folder = Path(run), Path(folder)
    models = _models(run, permuted, volumes, device)
    test = named_subset(cases)
    with_mask = test["mask"].notna()
    has_masks = with_mask.sum() > 1  # another knee's mask is asked for too
    test = test[with_mask | ~has_masks].reset_index(drop=True)
    measure = _Measure(models, test, volumes, lesions, methods, device)
    identity = _identity(run, permuted, test, volumes, methods)
    if _is_finished(folder, identity):
        return folder
    parts = _resumed(folder, identity)
    size = run_record(run)["batch_size"]
    starts = range(0, len(test) if has_masks else 0, size)
    for start in tqdm(starts, f"saliency of {run.parent.parent.name}"):
        part = parts / f"{start:06d}.json"
        if read_sealed(part) is None:
            if part.exists():
                say(folder, f"{part.name}: is damaged; measured again")
            rows = np.arange(start, min(start + size, len(test)))
            tables = {name: table.to_dict("records") for name, table in measure(rows).items()}
            write(part, sealed_text(tables))
    found = [read_sealed(parts / f"{start:06d}.json") for start in starts]
    for name in ("overlap", "profile"):
        records = [record for one in found for record in one[name]]
        table = pd.DataFrame(records, columns=None if records else ["case_id"])
        write_csv(table, folder / f"{name}.csv")
    kept_rows = np.flatnonzero(test.groupby("kl").cumcount() < PER_GRADE)
    _keep_maps(measure, kept_rows, folder)
    write_csv(pd.DataFrame(_cascade(measure, kept_rows)), folder / "cascade.csv")
    write_csv(pd.DataFrame(_twins(measure, kept_rows)), folder / "twins.csv")
    record = json.dumps(identity, indent=1)
    files = [*(folder / name for name in FILES), *(folder / "nifti").iterdir()]
    seal(folder / SEAL, files, {"done.json": record})
    write(folder / "done.json", record)
    shutil.rmtree(parts)
    return folder


class _Measure:
    """Tables of some test knees, by row."""

    def __init__(
        self,
        weights: dict[str, HierarchicalNet],
        test: pd.DataFrame,
        volumes: Volumes,
        lesions: bool,
        methods: Sequence[str],
        device: str,
    ) -> None:
        self.weights = weights
        self.test, self.volumes = test, volumes
        self.lesions, self.methods, self.device = lesions, methods, torch.device(device)
        self.secured: set[tuple[str, int]] = set()  # networks, and sizes of batches
        self.at = volumes.rows(test["case_id"])
        self.other = other_knees(len(test), seed=0)  # with masks, or never asked
        self.sampled = (test.groupby("kl").cumcount() < SAMPLE).to_numpy()

    def maps(self, rows: np.ndarray, weights: str, head: str, method: str) -> np.ndarray:
        """Maps of some rows, (batch, D, H, W)."""
        batch = load_batch(self.volumes, self.at[rows], self.device)
        if self.device.type == "cpu" and (weights, len(rows)) not in self.secured:
            shape = tuple(batch.shape)
            secure_convolutions(self.weights[weights], [shape], bf16=False, of_input=True)
            self.secured.add((weights, len(rows)))
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


def _models(
    run: Path, permuted: str | Path | None, volumes: Volumes, device: str
) -> dict[str, HierarchicalNet]:
    """The trained network, its untrained twin and, if there is one, that on permuted grades."""
    model, done = load_trained_on(run, volumes)
    models = {"trained": model, "random": build_like(done, done["seed"] + UNTRAINED)}
    if permuted is not None:
        twin = run_record(permuted)
        require_grades(Path(permuted), twin, "permuted")
        if differ := [key for key in TWINS_SHARE if twin[key] != done[key]]:
            raise InputError(
                f"{permuted}: is no twin of {run}, for they differ in {', '.join(differ)}; give "
                "the run on permuted grades that has these in common with it"
            )
        models["permuted"] = load_trained(permuted)
    return {name: channels_last(model).to(device) for name, model in models.items()}


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


def _twins(measure: _Measure, rows: np.ndarray) -> Iterator[dict[str, Any]]:
    """Likeness of other networks' gradient maps to those of the trained one, knee by knee."""
    cases = measure._cases(rows)
    for head in measure.weights["trained"].heads:
        maps = {name: measure.maps(rows, name, head, "gradient") for name in measure.weights}
        own = maps.pop("trained")
        for name, others in maps.items():
            for case, one, other in zip(cases, own, others, strict=True):
                alike = map_similarity(one, other)
                yield {"case_id": case, "head": head, "weights": name, **alike}


def _identity(
    run: Path,
    permuted: str | Path | None,
    test: pd.DataFrame,
    volumes: Volumes,
    methods: Sequence[str],
) -> dict[str, str]:
    """All that the measured figures follow from."""
    encoder = f"oacore.models.{run_record(run)['backbone']}"
    weights, twin = (
        hashlib.sha256((Path(one) / "weights.safetensors").read_bytes()).hexdigest() if one else ""
        for one in (run, permuted)
    )
    knees = ",".join(map(str, test["case_id"]))
    return {
        **{"run": weights, "permuted": twin, "volumes": volumes.key},
        **{"code": fingerprint(__name__, encoder)},
        **{"methods": ", ".join(methods), "knees": hashlib.sha256(knees.encode()).hexdigest()},
    }


def _is_finished(folder: Path, identity: dict[str, str]) -> bool:
    """Whether a folder holds what was measured of just this, undamaged."""
    done = folder / "done.json"
    if not done.exists():
        return False
    if said := damage(folder / SEAL):
        say(folder, f"{said.replace(f'{folder}/', '')}; measured again")
        return False
    return json.loads(done.read_bytes()) == identity


def _resumed(folder: Path, identity: dict[str, str]) -> Path:
    """Folder of what was measured before an interruption; emptied if it is of something else."""
    for left in ("done.json", SEAL):  # of what is measured anew from here on
        (folder / left).unlink(missing_ok=True)
    if (folder / "nifti").exists():
        shutil.rmtree(folder / "nifti")
    parts = folder / "parts"
    record = parts / "identity"
    if parts.exists() and read_sealed(record) != identity:
        shutil.rmtree(parts)
    parts.mkdir(parents=True, exist_ok=True)
    remove_parts(folder)
    write(record, sealed_text(identity))
    return parts
