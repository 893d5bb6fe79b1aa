"""One synthetic knee: from a row of truth to an image and its label maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.spatial.transform import Rotation
from torch import Tensor

from oacore.instruments.phantom.anatomy import Knee, describe, draw_anatomy
from oacore.instruments.phantom.image import acquire, compose, draw_scanner

FIELD_OF_VIEW = (112.0, 140.0, 140.0)  # mm: 160 x 384 x 384 voxels of 0.7 x 0.3646 x 0.3646
LATTICE = (80, 100, 100)  # 1.4 mm: surfaces are smooth, so finer grids are interpolated from it
CHUNK, SLAB = 80_000, 200_000  # points worked on at once, to stay in the processor's cache


@dataclass(frozen=True)
class DrawnKnee:
    """One knee as drawn; arrays of one shape, from left to right, back to front, bottom to top.

    Attributes
    ----------
    image : ndarray of int16
    labels : ndarray of uint8
        1 femur, 2 femoral cartilage, 3 tibia, 4 medial and 5 lateral tibial cartilage.
    tissues : ndarray of uint8
        All that was drawn, see :data:`.image.TISSUES`.
    lesions : ndarray of uint8
        What the disease changed, see :data:`.image.LESIONS`.
    """

    image: np.ndarray
    labels: np.ndarray
    tissues: np.ndarray
    lesions: np.ndarray


def _centres(n: int, length: float) -> Tensor:
    """Centres of n cells that fill a length, about its middle."""
    return ((torch.arange(n) + 0.5) * (length / n) - length / 2).float()


def _between(fields: Tensor, start: int, stop: int, shape: tuple[int, int, int]) -> Tensor:
    """Slices start to stop of `fields` (channels, *lattice), linearly brought to `shape`."""
    if fields.shape[1:] == shape:
        return fields[:, start:stop]
    n = fields.shape[1]
    place = (torch.arange(start, stop, device=fields.device) + 0.5) * (n / shape[0]) - 0.5
    place = place.clamp(0, n - 1)
    low = place.floor().long().clamp_max(max(n - 2, 0))
    weight = (place - low)[None, :, None, None]
    high = (low + 1).clamp_max(n - 1)
    part = torch.lerp(fields[:, low], fields[:, high], weight)
    if part.shape[2:] == shape[1:]:
        return part
    return F.interpolate(part, size=shape[1:], mode="bilinear", align_corners=False)


def draw_knee(
    subject: Mapping[str, Any],
    shape: tuple[int, int, int],
    seed: int | Sequence[int],
    device: str | torch.device = "cpu",
) -> DrawnKnee:
    """Draw the magnetic resonance image of one knee, with its label maps.

    Parameters
    ----------
    subject : mapping
        A row of :func:`.subjects.sample_subjects`.
    shape : (int, int, int)
        Voxels from left to right, back to front and bottom to top, of `FIELD_OF_VIEW`.
    seed : int or sequence of int
        Of all that the subject's row does not fix: relief, pose, soft tissue, scanner, noise;
        none of them knows the grade.
    device : str or torch.device
        Where to compute. Random numbers are drawn on the CPU, so that a GPU draws the same
        knee, to within rounding.

    Returns
    -------
    DrawnKnee
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    return scan(draw_anatomy(subject, rng), shape, rng, device)


def scan(
    knee: Knee,
    shape: tuple[int, int, int],
    rng: np.random.Generator,
    device: str | torch.device = "cpu",
) -> DrawnKnee:
    """Lay a knee into the scanner, take its image, and paint its label maps.

    Parameters
    ----------
    knee : Knee
        See :func:`.anatomy.draw_anatomy`.
    shape : (int, int, int)
        As in `draw_knee`.
    rng : Generator
        Of pose, scanner and noise. That which drew the knee goes on to draw them in `draw_knee`;
        with another, the same knee comes a second time.
    device : str or torch.device
        As in `draw_knee`.

    Returns
    -------
    DrawnKnee
    """
    turn = Rotation.from_euler("xyz", rng.normal(0, [2, 1.5, 2]), degrees=True).as_matrix().tolist()
    centre = rng.normal([0, -4, -11], [1, 1.5, 1.5]).tolist()
    scanner = draw_scanner(rng)
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))

    lattice = tuple(min(n, most) for n, most in zip(shape, LATTICE, strict=True))
    axes = [_centres(n, length) for n, length in zip(lattice, FIELD_OF_VIEW, strict=True)]
    rows = max(1, CHUNK // (lattice[1] * lattice[2]))
    names: list[str] = []
    fields = torch.empty(0)
    for start in range(0, lattice[0], rows):
        some = slice(start, start + rows)
        box = torch.meshgrid(axes[0][some], axes[1], axes[2], indexing="ij")
        wx, wy, wz = (axis.to(device) for axis in box)
        points = [r[0] * wx + r[1] * wy + r[2] * wz - c for r, c in zip(turn, centre, strict=True)]
        at = describe(knee, *points)
        # Factors of the coil and of failing fat suppression vary slowly: they ride along.
        u, v, w = wx / 56, wy / 70, wz / 70
        a = scanner.field
        bend = a[3] * u * u + a[4] * v * v + a[5] * w * w
        at["bias"] = torch.exp(a[0] * u + a[1] * v + a[2] * w + bend)
        level, strength, *corner = scanner.fat
        along = corner[0] * u + corner[1] * v + corner[2] * w
        at["fat"] = level * (1 + strength * torch.sigmoid((along - 0.9) * 8))
        if not names:
            names, fields = list(at), torch.empty((len(at), *lattice), device=device)
        for field, value in zip(fields, at.values(), strict=True):
            field[some] = value

    voxel = [length / n for length, n in zip(FIELD_OF_VIEW, shape, strict=True)]
    edge = float(np.sqrt(np.mean(np.square(voxel))))
    drawn = {name: np.empty(shape, np.uint8) for name in ("labels", "tissues", "lesions")}
    image = np.empty(shape, np.int16)
    slab = max(1, SLAB // (shape[1] * shape[2]))
    for start in range(0, shape[0], slab):
        stop = min(start + slab, shape[0])
        part = _between(fields, start, stop, shape)
        here = dict(zip(names, part, strict=True))
        bias = here.pop("bias")
        painted = compose(here, edge, scanner, here.pop("fat"))
        noise = torch.randn((2, stop - start, *shape[1:]), generator=generator).to(device)
        signal = painted.pop("signal")
        image[start:stop] = acquire(signal, scanner, bias, (voxel[1], voxel[2]), noise).cpu()
        for name, array in painted.items():
            drawn[name][start:stop] = array.cpu()
    if knee.subject["side"] == "left":  # drawn as a right knee, then mirrored
        image = image[::-1].copy()
        drawn = {name: array[::-1].copy() for name, array in drawn.items()}
    return DrawnKnee(image=image, **drawn)
