"""From anatomy to a magnetic resonance image: double-echo steady state, water excited.

Tissues are painted one over the other, each with the share of the voxel that it fills, so
edges have partial volume. Then come the scanner's faults; none of them knows the grade.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

# Signal relative to femoral marrow. Cartilage, tibia: medians over OAIZIB-CM (femoral cartilage
# to femur 4.3 after partial volume, medial tibial 14% darker, tibia 1.06). Muscle .9, meniscus
# .5 and fluid up to 3 times cartilage are of a steady-state model; fluid stays well below it,
# for the brightest voxels of OAIZIB-CM reach about eleven times the femur. Fat is suppressed.
SIGNAL = {
    "air": 0.05,
    "skin": 2.4,
    "fat": 0.85,
    "muscle": 4.1,
    "vessel": 4.4,
    "band": 0.75,
    "capsule": 2.2,
    "fluid": 7.2,
    "meniscus": 2.3,
    "femur": 1.0,
    "tibia": 1.06,
    "cortex": 0.4,
    "marrow_lesion": 2.8,
    "femoral": 4.65,
    "medial": 4.1,
    "lateral": 4.5,
    "patellar": 4.7,
}
FEMUR = 42.5  # median grey value of the femur in OAIZIB-CM
NOISE = 6.0  # grey values, in each of the two receiver channels
POINT_SPREAD = 0.25  # mm, standard deviation in plane
#: What is drawn, in the order of its codes.
TISSUES = (
    "background", "femur", "femoral cartilage", "tibia", "medial tibial cartilage",
    "lateral tibial cartilage", "patella", "patellar cartilage", "fibula", "meniscus",
    "ligament or tendon", "muscle", "vessel", "joint fluid", "fat and skin",
)  # fmt: skip
#: What the disease changes in the image.
LESIONS = (
    "none", "osteophyte, femur lateral", "osteophyte, femur medial", "osteophyte, tibia lateral",
    "osteophyte, tibia medial", "cartilage lost down to bone", "cartilage thinned",
    "marrow lesion",
)  # fmt: skip


@dataclass(frozen=True)
class Scanner:
    """One acquisition: what it does to any knee; see `draw_scanner`."""

    gain: float
    contrast: float
    field: tuple[float, ...]
    fat: tuple[float, ...]
    fluid: float
    flow: float
    ghost: tuple[float, int, float]


def draw_scanner(rng: np.random.Generator) -> Scanner:
    """Draw gain, contrast, coil field, failing fat suppression and, in some, motion ghosts."""
    fails = rng.random() < 0.25
    moves = rng.random() < 0.15
    strength = rng.uniform(0.4, 1.6) * fails
    corner = rng.normal(size=3)
    corner = corner / np.linalg.norm(corner)
    return Scanner(
        gain=FEMUR * float(np.exp(rng.normal(0, 0.08))),
        contrast=float(np.exp(rng.normal(0, 0.03))),
        field=tuple(rng.normal(0, [0.06, 0.06, 0.06, 0.04, 0.04, 0.04]).tolist()),
        fat=(float(np.exp(rng.normal(0, 0.09))), float(strength), *corner.tolist()),
        fluid=float(rng.uniform(0.5, 1.1)),
        flow=float(min(np.exp(rng.normal(0, 0.4)), 1.6)),
        ghost=(
            float(rng.uniform(0.02, 0.06) * moves),
            1 + int(rng.random() < 0.5),
            float(rng.uniform(0.2, 0.5)),
        ),
    )


def compose(
    at: Mapping[str, Tensor], edge: float, scanner: Scanner, fat: Tensor
) -> dict[str, Tensor]:
    """Paint signal and label maps from the fields of :func:`.anatomy.describe`.

    Parameters
    ----------
    at : mapping of str to Tensor
        The fields, all of one shape.
    edge : float
        Width in mm over which a voxel goes from one tissue to the next.
    scanner : Scanner
    fat : Tensor
        Factor of the signal of fat and marrow, as its suppression succeeds or fails.

    Returns
    -------
    dict of str to Tensor
        "signal" (femoral marrow is 1), "labels", "tissues", "lesions" (codes: `TISSUES`,
        `LESIONS`; labels are OAIZIB-CM's five).
    """

    def share(distance: Tensor, width: float = edge) -> Tensor:
        return (0.5 - distance / max(width, edge)).clamp_(0, 1)

    femur, tibia = at["femur"], at["tibia"]
    signal = torch.full_like(femur, SIGNAL["air"])
    tissues = torch.zeros(femur.shape, dtype=torch.uint8, device=femur.device)

    def paint(part: Tensor, tissue: float | Tensor, code: int | None, where: Tensor) -> None:
        signal.add_(part * (tissue - signal))
        if code is not None:
            tissues.masked_fill_(where, code)

    marrow = fat * at["marrow"]  # it is fat too
    lesion = share(at["marrow_lesion"], 3.0)
    skin = at["skin"]
    paint(share(skin), SIGNAL["skin"], 14, skin < 0)
    paint(share(skin + 2.2), SIGNAL["fat"] * fat * at["texture"], None, skin < 0)
    paint(
        share(torch.maximum(at["muscle"], skin + 5), 1.5),
        SIGNAL["muscle"] * at["texture"],
        11,
        torch.maximum(at["muscle"], skin + 5) < 0,
    )
    paint(share(at["capsule"], 4.0) * 0.4, SIGNAL["capsule"], None, skin < 0)
    paint(share(at["vessel"], 1.0), SIGNAL["vessel"] * scanner.flow, 12, at["vessel"] < 0)
    paint(share(at["fluid"]), SIGNAL["fluid"] * scanner.fluid, 13, at["fluid"] < 0)
    paint(share(at["band"], 1.2), SIGNAL["band"], 10, at["band"] < 0)
    patella, fibula = at["patella"], at["fibula"]
    cover = patella - at["patellar"]
    paint(share(cover), SIGNAL["patellar"], 7, cover < 0)
    for bone, code in ((patella, 6), (fibula, 8)):
        paint(share(bone), SIGNAL["cortex"], None, bone < 0)
        paint(share(bone + 0.9), SIGNAL["femur"] * marrow, code, bone < 0)
    # Between the bones: fluid in the gap, menisci, cartilage.
    tibial = torch.maximum(at["medial"], at["lateral"])
    lost = at["was_femoral"] - at["femoral"]
    lost = lost + torch.maximum(at["was_medial"] - at["medial"], at["was_lateral"] - at["lateral"])
    film = torch.minimum(femur, tibia) - at["film"]
    gap = torch.maximum(femur - at["femoral"], tibia - tibial) - 1.5 - lost
    gap = torch.where(at["film"] > 0.1, torch.minimum(gap, film), gap)
    paint(share(gap), SIGNAL["fluid"] * scanner.fluid * 0.8, 13, gap < 0)
    paint(share(at["meniscus"]), SIGNAL["meniscus"], 9, at["meniscus"] < 0)
    # Where two cartilages touch they share the room in proportion to their thickness.
    owns = (at["femoral"] > 0.05) & (femur * (tibial + 1e-3) < tibia * at["femoral"])
    for name, code in (("medial", 4), ("lateral", 5)):
        depth = tibia - at[name]
        on = (at[name] > 0.05) & ~(owns & (femur < at["femoral"]))
        paint(share(depth) * on, SIGNAL[name], code, on & (depth < 0))
    depth = femur - at["femoral"]
    on = (at["femoral"] > 0.05) & (owns | (tibia > tibial))
    paint(share(depth) * on, SIGNAL["femoral"], 2, on & (depth < 0))
    for name, bone, code in (("tibia", tibia, 3), ("femur", femur, 1)):
        paint(share((bone + 0.35).abs() - 0.5) * 0.75, SIGNAL["cortex"], None, bone < 0)
        inner = SIGNAL[name] * marrow
        inner = inner + lesion * (SIGNAL["marrow_lesion"] - inner)
        paint(share(bone + 0.8), inner, code, bone < 0)
    labels = torch.where(tissues <= 5, tissues, 0)
    return {"signal": signal, "labels": labels, "tissues": tissues, "lesions": _lesions(at, labels)}


def _lesions(at: Mapping[str, Tensor], labels: Tensor) -> Tensor:
    """What the disease changed; see `LESIONS`."""
    lesions = torch.zeros_like(labels)
    bone = (labels == 1) | (labels == 3)
    # The marrow lesion first: an osteophyte over it, or bare bone, is the finer statement.
    lesions.masked_fill_((at["marrow_lesion"] < 0) & bone, 7)
    for code, name, plates in ((1, "femur", ("femoral",)), (3, "tibia", ("medial", "lateral"))):
        distance, smooth = at[name], at[f"smooth_{name}"]
        grown = (distance < 0) & (smooth > 0.3) & (labels == code)
        lesions.masked_fill_(grown & (at["x"] > 0), code)
        lesions.masked_fill_(grown & (at["x"] <= 0), code + 1)
        for plate in plates:
            was, now = at[f"was_{plate}"], at[plate]
            place = (distance > -0.4) & (distance < was) & (was > 0.3) & (distance > now - 0.4)
            bare = place & (now < 0.1)
            thinned = place & (now < 0.8 * was) & (distance > 0) & ~bone
            lesions.masked_fill_(thinned & (lesions == 0), 6)
            lesions.masked_fill_(bare, 5)
    return lesions


def acquire(
    signal: Tensor, scanner: Scanner, bias: Tensor, voxel: tuple[float, float], noise: Tensor
) -> Tensor:
    """Point spread, ghosts, coil field and Rician noise, on slices that are whole in plane.

    Parameters
    ----------
    signal : Tensor, shape (slices, rows, columns)
        Femoral marrow is 1.
    scanner : Scanner
    bias : Tensor
        Factor of the coil's field, of the signal's shape or one that broadcasts.
    voxel : (float, float)
        In plane, mm.
    noise : Tensor, shape (2, slices, rows, columns)
        Standard normal.

    Returns
    -------
    Tensor of int16
        Whole grey values, 0 or more.
    """
    for axis, h in ((1, voxel[0]), (2, voxel[1])):
        side = 0.5 * (POINT_SPREAD / h) ** 2  # three taps with the variance of the point spread
        if side > 0.01:  # on coarser grids there is nothing to see
            n, side = signal.shape[axis], min(side, 0.25)
            blurred = signal * (1 - 2 * side)
            for to, of in ((0, 1), (1, 0)):
                blurred.narrow(axis, to, n - 1).add_(signal.narrow(axis, of, n - 1), alpha=side)
            for end in (0, n - 1):  # the image's edge is its own neighbour
                blurred.narrow(axis, end, 1).add_(signal.narrow(axis, end, 1), alpha=side)
            signal = blurred
    amplitude, axis, shift = scanner.ghost
    if amplitude > 0:
        signal = signal + amplitude * signal.roll(int(shift * signal.shape[axis]), axis)
    if scanner.contrast != 1:
        signal = signal * signal.clamp_min(0.3) ** (scanner.contrast - 1)
    signal = signal * (scanner.gain * bias)
    real = signal + NOISE * noise[0]
    return torch.hypot(real, NOISE * noise[1]).round_().to(torch.int16)
