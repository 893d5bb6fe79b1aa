"""Deletion and insertion: what becomes of an answer as the most salient voxels go, or come.

The two games of Petsiuk et al. 2018 (arXiv:1806.07421, section 4.1) need no mask and no reader. In
*deletion* the voxels of a knee are blurred away, the most salient first, and the probability of the
answer is followed: the sooner it falls, the better the map knew what the answer hangs on. In
*insertion* they come back into the blurred knee in the same order, and it should rise soon. Both
are summed up by the area under the curve. How low or high a good area is depends on the network, so
each is held against voxels in random order and in that of their absolute grey values.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.ndimage import gaussian_filter
from tqdm import tqdm

from oacore.data.cache import Volumes
from oacore.data.cohort import named_subset
from oacore.files import write
from oacore.fingerprint import fingerprint
from oacore.instruments.saliency.controls import input_map, map_similarity
from oacore.instruments.saliency.methods import saliency_map
from oacore.models.heads import HierarchicalNet, channels_last
from oacore.results import write_csv
from oacore.seals import SEAL, seal
from oacore.training.batches import load_batch
from oacore.training.convolutions import secure_convolutions
from oacore.training.runs import load_trained_on

#: What is tested: all methods that take few passes, and SmoothGrad as its authors advise.
METHODS = ("gradient", "smoothgrad", "smoothgrad recommended", "released", "grad-cam")
CONTROLS = RANDOM, INPUT = "random order", "input alone"
"""Orders of voxels that no network had a part in."""

SHARES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0)
"""Shares of the voxels that were taken; closer together where curves bend."""

BLUR = 10.0
"""Standard deviation in mm of the blur: several times the thickness of cartilage."""

PER_GRADE = 2
"""Test knees of each grade: the first, whose maps are kept as well."""

#: Gives an answer's probability (n,) for volumes (n, 1, D, H, W).
Answer = Callable[[torch.Tensor], torch.Tensor]


def given_answer(model: HierarchicalNet, head: str, volume: torch.Tensor) -> Answer:
    """The probability of what a model answers on one volume, as a function of other volumes.

    Parameters
    ----------
    model : HierarchicalNet
        In evaluation mode.
    head : {"oa", "kl"}
        Its answer is OA or no OA, whichever is likelier, or the likeliest grade.
    volume : Tensor, shape (1, 1, D, H, W)
    """

    def probabilities(x: torch.Tensor) -> torch.Tensor:
        logits = model(x)[head].float()  # (n,) or (n, 5)
        if head == "kl":
            return logits.softmax(dim=1)
        return torch.stack([(-logits).sigmoid(), logits.sigmoid()], dim=1)

    with torch.no_grad():
        answer = int(probabilities(volume)[0].argmax())
    return lambda x: probabilities(x)[:, answer]


def blurred(volume: np.ndarray, spacing: Sequence[float], width: float = BLUR) -> np.ndarray:
    """A volume (D, H, W) without its detail: a Gaussian blur of `width` mm."""
    sides = [width / side for side in spacing]
    return gaussian_filter(np.asarray(volume, np.float32), sides, mode="nearest")


def ranks(values: np.ndarray, seed: int) -> np.ndarray:
    """Place of each voxel in the order of a map: 0 the most salient; equal ones at random."""
    flat = values.ravel()
    order = np.lexsort((np.random.default_rng(seed).random(flat.size), -flat))
    places = np.empty(flat.size, dtype=np.int64)
    places[order] = np.arange(flat.size)
    return places.reshape(values.shape)


@torch.no_grad()
def curves(
    answer: Answer,
    volume: torch.Tensor,
    baseline: torch.Tensor,
    places: np.ndarray,
    shares: Sequence[float] = SHARES,
    batch_size: int = 8,
) -> dict[str, np.ndarray]:
    """An answer's probability along both games.

    Parameters
    ----------
    answer : callable
        See :func:`given_answer`.
    volume, baseline : Tensor of float32, shape (D, H, W)
        The knee, and what stands for a voxel that is gone.
    places : ndarray of int, shape (D, H, W)
        The voxels' order, see :func:`ranks`.
    shares : sequence of float
        From 0 to 1, rising: of the voxels, how many were taken.
    batch_size : int

    Returns
    -------
    dict of ndarray, each of shape (len(shares),)
        "deletion": the first `share` of the voxels are the baseline's; "insertion": they alone
        are the knee's.
    """
    taken = torch.from_numpy(places).to(volume.device)
    first = torch.stack([taken < round(share * places.size) for share in shares])  # (s, D, H, W)
    found = {}
    for game, (inside, outside) in {
        "deletion": (baseline, volume), "insertion": (volume, baseline)
    }.items():  # fmt: skip
        parts = []
        for some in first.split(batch_size):
            parts.append(answer(torch.where(some, inside, outside)[:, None]).cpu())
        found[game] = torch.cat(parts).numpy().astype(float)
    return found


def faithfulness(
    run: str | Path,
    cases: pd.DataFrame,
    volumes: Volumes,
    folder: str | Path,
    *,
    methods: Sequence[str] = METHODS,
    device: str = "cpu",
) -> Path:
    """Play both games with one finished run, on `PER_GRADE` knees a grade of the named subset.

    It is asked for its first head's answer: of a Dual model, OA.

    Parameters
    ----------
    run, cases, volumes
        As for :func:`.explain.explain`.
    folder : path-like
        Gets the tables below, their seal (:mod:`oacore.seals`), and last of all ``done.json``.
    methods : sequence of str
        Whose maps are tested, "gradient" among them.
    device : str
        "cpu", or "cuda".

    Returns
    -------
    Path
        The folder, with

        - ``curves.csv``: `case_id`, `head`, `method` (`methods`, `RANDOM`, `INPUT`), `measure`
          ("deletion", "insertion"), `share`, and `value`, the answer's probability;
        - ``likeness.csv``: `case_id`, `head`, `method`, and the likeness of its map to the
          gradient's (:func:`.controls.map_similarity`).

    Raises
    ------
    InputError
        If the run is not finished, was trained on other volumes or on permuted grades.
    """
    folder = Path(folder)
    model, record = load_trained_on(run, volumes)
    model = channels_last(model).to(device)
    if device == "cpu":
        shape = (1, 1, *volumes.images.shape[1:])
        secure_convolutions(model, [shape], bf16=False, of_input=True)
    test = named_subset(cases)
    test = test[test.groupby("kl").cumcount() < PER_GRADE].reset_index(drop=True)
    tables: dict[str, list[dict[str, Any]]] = {"curves": [], "likeness": []}
    head = next(iter(model.heads))
    for row, at in enumerate(tqdm(volumes.rows(test["case_id"]), "deletion and insertion")):
        x = load_batch(volumes, np.array([at]), torch.device(device))
        image = np.asarray(volumes.images[at], dtype=np.float32)
        said = {"case_id": int(test["case_id"].iloc[row]), "head": head}
        maps = {name: saliency_map(model, x, head, name, seed=0)[0] for name in methods}
        for name, values in maps.items():
            if name != "gradient":
                alike = map_similarity(maps["gradient"], values)
                tables["likeness"].append({**said, "method": name, **alike})
        maps[RANDOM], maps[INPUT] = np.zeros_like(image), input_map(image[None])[0]
        without = torch.from_numpy(blurred(image, volumes.spacing[at])).to(device)
        ask = given_answer(model, head, x)
        for name, values in maps.items():
            found = curves(
                ask, x[0, 0], without, ranks(values, row), batch_size=record["batch_size"]
            )
            tables["curves"] += _rows(found, {**said, "method": name})
    for name, rows in tables.items():
        write_csv(pd.DataFrame(rows), folder / f"{name}.csv")
    identity = {"volumes": volumes.key, "code": fingerprint(__name__), "methods": list(methods)}
    done = json.dumps(identity, indent=1)
    seal(folder / SEAL, [folder / f"{name}.csv" for name in tables], {"done.json": done})
    write(folder / "done.json", done)
    return folder


def _rows(found: dict[str, np.ndarray], said: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for game, values in found.items():
        for share, value in zip(SHARES, values, strict=True):
            yield {**said, "measure": game, "share": share, "value": round(float(value), 6)}
