"""Landmarks of all pictures of a study, detected once for all of its runs.

Every picture gets its landmarks from a detector, training and test pictures alike, as in the paper.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from oacore.errors import InputError
from oacore.files import saving, whole, write
from oacore.fingerprint import fingerprint
from oacore.instruments.radiographs.arms import DETECTOR, ERRORS, LANDMARKS, Study
from oacore.instruments.radiographs.cases import Radiographs, read_radiographs
from oacore.instruments.radiographs.detector import (
    detect,
    fit_detector,
    landmark_errors,
    read_detector,
    save_detector,
)
from oacore.instruments.radiographs.drawing import SIZE
from oacore.instruments.radiographs.framing import as_public
from oacore.instruments.radiographs.public_layout import PUBLIC_SIZE
from oacore.instruments.radiographs.resampling import Grid, resample


def find_landmarks(
    study: Study, radiographs: Radiographs, folder: str | Path, detector: str | Path | None = None
) -> np.ndarray:
    """Landmarks of all pictures, detected once for all runs of a study.

    Parameters
    ----------
    study : Study
    radiographs : Radiographs
        In its size.
    folder : path-like
        Of the study. Gets the detector, the landmarks, and their errors against the reference's by
        split, where that has some; what is there of the same pictures and settings is taken as it
        is.
    detector : path-like, optional
        Weights of one that was trained before. Without it one is trained on the training pictures
        that have landmarks.

    Returns
    -------
    (n, 16, 2) array of float32

    Raises
    ------
    InputError
        If no training picture has landmarks, and no detector is named.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    given = None if detector is None else _digest(Path(detector).read_bytes())
    key = {
        "pictures": _digest(radiographs.pictures.tobytes() + radiographs.landmarks.tobytes()),
        "detector": study.detector if given is None else given,
        "code": fingerprint("oacore.instruments.radiographs.detector"),
    }
    record = folder / ERRORS
    if record.exists() and (folder / LANDMARKS).exists():
        said, own = json.loads(record.read_text()), _digest((folder / LANDMARKS).read_bytes())
        if said["key"] == key and said.get("landmarks", own) == own:
            return load_file(folder / LANDMARKS)["landmarks"]
    if detector is None:
        rows = to_learn_from(radiographs)
        if not rows.any():
            raise InputError(
                "no training picture has landmarks, so no detector can be trained; name one that "
                "was trained on others (--detector FILE)"
            )
        model = fit_detector(
            radiographs.pictures[rows], radiographs.landmarks[rows], **study.detector
        )
    else:
        model = read_detector(detector)
    save_detector(model, folder / DETECTOR)
    found = detect(model, radiographs.pictures)
    with saving(folder / LANDMARKS), whole(folder / LANDMARKS) as part:
        save_file({"landmarks": found}, part)
    errors = {
        split: landmark_errors(*_of_split(radiographs, found, split)).to_dict("records")
        for split in radiographs.cases["split"][with_landmarks(radiographs)].unique()
    }
    own = _digest((folder / LANDMARKS).read_bytes())
    write(record, json.dumps({"key": key, "landmarks": own, "errors": errors}, indent=1))
    return found


def detector_of_drawn(study: Study, drawn: str | Path, folder: str | Path) -> Path:
    """A detector for radiographs without landmarks: trained on drawn ones, cut as real ones are.

    Parameters
    ----------
    study : Study
    drawn : path-like
        See :func:`.drawn.write_radiographs`.
    folder : path-like
        Gets the detector, and what :func:`find_landmarks` says of it.

    Returns
    -------
    Path
        Its weights.
    """
    drawn_whole = read_radiographs(drawn, height=SIZE, width=SIZE)
    cut = as_public(drawn_whole, seed=study.detector["seed"])
    size = (study.height, study.width)
    grid = Grid(PUBLIC_SIZE, size, study.crop)
    pictures = np.stack([resample(one, *size, study.crop) for one in cut.pictures])
    landmarks = np.stack([grid.moved(points) for points in cut.landmarks]).astype(np.float32)
    find_landmarks(study, replace(cut, pictures=pictures, landmarks=landmarks), folder)
    return Path(folder, DETECTOR)


def to_learn_from(radiographs: Radiographs) -> np.ndarray:
    """Which pictures a detector may be trained on: of the training split, with landmarks, (n,)."""
    return with_landmarks(radiographs) & (radiographs.cases["split"] == "train").to_numpy()


def with_landmarks(radiographs: Radiographs) -> np.ndarray:
    """Which pictures have landmarks of the reference, (n,)."""
    return ~np.isnan(radiographs.landmarks).any(axis=(1, 2))


def _of_split(
    radiographs: Radiographs, found: np.ndarray, split: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Detected and reference landmarks of a split, and millimetres a pixel where they are known."""
    rows = (radiographs.cases["split"] == split).to_numpy()
    mm = None
    columns = ["mm_per_pixel_x", "mm_per_pixel_y"]
    if set(columns) <= set(radiographs.cases):
        mm = radiographs.cases.loc[rows, columns].to_numpy(float)
    return found[rows], radiographs.landmarks[rows], mm


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=8).hexdigest()
