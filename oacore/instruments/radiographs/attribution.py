"""What in a radiograph a head's answer hangs on: Grad-CAM, and the gradient in the picture.

One number is asked about for each head: its expected grade, the logit of a grade, or that of the
grade that it predicts. Grad-CAM (Selvaraju and others 2017, arXiv:1610.02391) weighs the channels
of the last map that the heads read by their mean gradient, and keeps what speaks for more. A head
that reads a few points has a gradient at these alone, and its mean says where else the same
channels are strong, which the head never reads; cell by cell (HiResCAM, 2020,
arXiv:2011.08891) gradient and map are multiplied where they are. Pooled over all cells both are
the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from oacore.errors import InputError
from oacore.instruments.coherence.patterns import GRADES
from oacore.instruments.radiographs.arms import LANDMARKS
from oacore.instruments.radiographs.cases import Radiographs
from oacore.instruments.radiographs.study import study_cases
from oacore.instruments.radiographs.words import POINTS
from oacore.models.keypoints import SAMPLED, GradingNet, sample_at
from oacore.training.augmentation import standardised
from oacore.training.pictures import AT_ONCE, PictureConfig, Pictures, build
from oacore.training.records import intact, run_record

#: What is asked of a head, besides the logit of a grade, given as its number.
EXPECTED, PREDICTED = "expected grade", "predicted grade"


def asked(logits: Tensor, about: str | int = EXPECTED) -> Tensor:
    """The number that is explained.

    Parameters
    ----------
    logits : Tensor, (batch, classes)
        Of one head.
    about : str or int
        `EXPECTED`, the mean of the grades under the head's probabilities; `PREDICTED`, the largest
        logit; or a grade, its logit.

    Returns
    -------
    Tensor, (batch,)

    Raises
    ------
    InputError
        If there is no such grade or word.
    """
    if about == EXPECTED:
        grades = torch.arange(logits.shape[1], device=logits.device, dtype=logits.dtype)
        return logits.softmax(1) @ grades
    if about == PREDICTED:
        return logits.amax(1)
    if isinstance(about, int) and 0 <= about < logits.shape[1]:
        return logits[:, about]
    raise InputError(
        f"a head of {logits.shape[1]} grades was asked about {about!r}; choose {EXPECTED!r}, "
        f"{PREDICTED!r} or a grade"
    )


def cell_maps(
    model: GradingNet,
    x: Tensor,
    points: Tensor | None = None,
    *,
    about: str | int = EXPECTED,
    cellwise: bool = False,
) -> tuple[dict[str, Tensor], float]:
    """Grad-CAM of each head, on the map that the heads read.

    Parameters
    ----------
    model : GradingNet
        In evaluation mode.
    x : Tensor, (batch, 1, H, W)
        As :func:`.augmentation.standardised` gives it.
    points : Tensor, (batch, n_points, 2), optional
        See :class:`.keypoints.GradingNet`.
    about : str or int
        See :func:`asked`.
    cellwise : bool
        Whether gradients are taken where they are, and not their mean over the map.

    Returns
    -------
    maps : dict of str to Tensor, (batch, h, w)
        By head, 0 or more.
    stride : float
        Pixels from one cell's centre to the next one's; the first cell is centred on pixel 0.
    """
    stage = SAMPLED if model.pooling == "keypoints" else len(model.encoder.strides) - 1
    seen: list[Tensor] = []
    hook = getattr(model.encoder, f"layer{stage + 1}").register_forward_hook(
        lambda module, given, found: seen.append(found)
    )
    try:
        with torch.enable_grad():
            # Of the picture, too, so that there is a gradient whatever the weights ask for.
            logits = model(x.detach().requires_grad_(), points).logits
    finally:
        hook.remove()
    cells = seen[0]  # (batch, channels, h, w)
    maps = {}
    for name, values in logits.items():
        slope = torch.autograd.grad(asked(values, about).sum(), cells, retain_graph=True)[0]
        weights = slope if cellwise else slope.mean((2, 3), keepdim=True)
        maps[name] = (weights * cells).sum(1).relu().detach()
    return maps, float(model.encoder.strides[stage])


def on_pixels(maps: Tensor, stride: float, height: int, width: int) -> Tensor:
    """Maps of cells brought to the pixels of the picture, each cell to where it is centred.

    Parameters
    ----------
    maps : Tensor, (batch, maps, h, w)
        Cell (i, j) is centred on pixel (stride * i, stride * j), see :mod:`.models.resnet2d`.
    stride : float
    height, width : int
        Of the picture.

    Returns
    -------
    Tensor, (batch, maps, height, width)
        Bilinear; beyond the outermost centres as there.
    """
    y, x = torch.meshgrid(
        torch.arange(height, device=maps.device), torch.arange(width, device=maps.device),
        indexing="ij",
    )  # fmt: skip
    pixels = torch.stack([x, y], dim=-1).view(1, -1, 2).to(maps.dtype)
    found = sample_at(maps, pixels.expand(len(maps), -1, -1), stride)  # (batch, pixels, maps)
    return found.transpose(1, 2).reshape(*maps.shape[:2], height, width)


def grad_cam(
    model: GradingNet,
    x: Tensor,
    points: Tensor | None = None,
    *,
    about: str | int = EXPECTED,
    cellwise: bool = False,
) -> dict[str, Tensor]:
    """Grad-CAM of each head at the pixels of the picture, (batch, H, W); see :func:`cell_maps`."""
    maps, stride = cell_maps(model, x, points, about=about, cellwise=cellwise)
    stacked = torch.stack([*maps.values()], dim=1)
    pixels = on_pixels(stacked, stride, x.shape[2], x.shape[3])
    return dict(zip(maps, pixels.unbind(1), strict=True))


def input_gradients(
    model: GradingNet, x: Tensor, points: Tensor | None = None, *, about: str | int = EXPECTED
) -> dict[str, Tensor]:
    """Gradient of each head's number in the picture, with its sign.

    Parameters
    ----------
    model, x, points, about
        See :func:`cell_maps`.

    Returns
    -------
    dict of str to Tensor, (batch, H, W)
        By head, for each unit of the standardised picture.
    """
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        logits = model(x, points).logits
        sums = {name: asked(values, about).sum() for name, values in logits.items()}
    return {
        name: torch.autograd.grad(total, x, retain_graph=True)[0][:, 0]
        for name, total in sums.items()
    }


def scaled(maps: np.ndarray) -> np.ndarray:
    """Each of some maps (..., H, W) of 0 or more divided by its largest value; 0 stays 0."""
    most = maps.max(axis=(-2, -1), keepdims=True)
    return (maps / np.where(most > 0, most, 1)).astype(np.float32)


def read_network(folder: str | Path) -> GradingNet:
    """The network of a finished run, in evaluation mode on the CPU.

    Parameters
    ----------
    folder : path-like
        Of the run, see :func:`.pictures.train`.

    Raises
    ------
    InputError
        If it is no finished run, or a damaged one.
    """
    names = set(PictureConfig.__dataclass_fields__)
    given = {name: value for name, value in run_record(folder).items() if name in names}
    given["halved_after"] = tuple(given["halved_after"])
    model = build(PictureConfig(**given), len(POINTS))
    model.load_state_dict(load_file(intact(folder, "weights.safetensors") / "weights.safetensors"))
    return model.eval()


def study_pictures(radiographs: Radiographs, folder: str | Path) -> Pictures:
    """What a study's runs looked at: its radiographs, with the landmarks that were detected.

    Parameters
    ----------
    radiographs : Radiographs
        Those of the study, in its size (:func:`.study.read_study`).
    folder : path-like
        Of the study.

    Raises
    ------
    InputError
        If there is no study yet, or it is one of other radiographs.
    """
    cases = study_cases(folder)
    if list(cases["case"]) != list(radiographs.cases["case"]):
        raise InputError(f"{folder}: is a study of other radiographs; run make book again")
    landmarks = load_file(Path(folder, LANDMARKS))["landmarks"].numpy()
    return Pictures(cases, radiographs.pictures, landmarks)


def run_maps(
    folder: str | Path,
    pictures: Pictures,
    cases: Sequence[str],
    *,
    about: str | int = EXPECTED,
    cellwise: bool = True,
) -> np.ndarray:
    """Grad-CAM of a finished run's heads for some cases, as :func:`.viewer.joint_viewer` takes it.

    Parameters
    ----------
    folder : path-like
        Of the run.
    pictures : Pictures
        What it was trained on, see :func:`study_pictures`.
    cases : sequence of str
        Which of them, in this order.
    about, cellwise
        See :func:`cell_maps`. With keypoints, mean gradients light up places that no head reads.

    Returns
    -------
    ndarray of float32, shape (n, 7, H, W)
        By `GRADES`, each map scaled to [0, 1].

    Raises
    ------
    InputError
        If it is no finished run, or there is no such case.
    """
    known = {case: row for row, case in enumerate(pictures.cases["case"])}
    if missing := [case for case in cases if case not in known]:
        raise InputError(f"{folder}: there is no case {missing[0]} among the run's pictures")
    model = read_network(folder)
    rows = [known[case] for case in cases]
    found = []
    for first in range(0, len(rows), AT_ONCE):
        some = rows[first : first + AT_ONCE]
        x = standardised(torch.from_numpy(pictures.images[some]))
        points = None
        if model.pooling == "keypoints" and pictures.points is not None:
            points = torch.from_numpy(np.asarray(pictures.points[some], np.float32))
        maps = grad_cam(model, x, points, about=about, cellwise=cellwise)
        found.append(torch.stack([maps[name] for name in GRADES], dim=1).numpy())
    return scaled(np.concatenate(found))
