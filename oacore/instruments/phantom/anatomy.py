"""Everything of a knee but its bones: cartilage, menisci, ligaments, muscle, fluid, lesions.

Signed distances and thicknesses in mm, in the frame of :mod:`.phantom.bones`, as functions of
points on any grid. Lengths typed here are of the mean knee, read off the mean of 103 healthy
knees (CLAIR-Knee-103R) and the label map of one right knee (pymskt's example).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from oacore.instruments.phantom.bones import (
    N_MODES,
    SITES,
    Bones,
    draw_waves,
    ellipse,
    smooth_max,
    smooth_min,
    waves,
)
from oacore.instruments.phantom.grades import SIDES
from oacore.instruments.phantom.subjects import PLATES

CENTRE = {"medial": (-22.0, -4.0), "lateral": (21.0, -6.0)}  # where the weight bears (x, y)
BEARING = (8.5, 13.0)  # half axes of that area
FOCUS = 2.5  # of a defect: (half axis / width)^2 / 2; bone is bare from a loss of 37% on
# Muscles beside the joint: centre (x, y), its drift with z, half axes, lowest and highest z.
MUSCLES = (
    ((-17, -41), (0.05, 0.12), (14, 11), (-130, 34)),  # gastrocnemius, medial and lateral head
    ((18, -41), (-0.05, 0.12), (13, 11), (-130, 32)),
    ((2, -30), (0.0, 0.08), (20, 8), (-130, -2)),  # popliteus, soleus
    ((-29, -36), (0.05, -0.12), (12, 11), (-8, 130)),  # semimembranosus
    ((31, -30), (-0.05, -0.12), (10, 12), (-6, 130)),  # biceps femoris
    ((-31, 12), (0.18, 0.05), (13, 20), (18, 130)),  # vastus medialis and lateralis
    ((33, 14), (-0.18, 0.05), (9, 19), (26, 130)),
    ((29, 8), (0.0, 0.1), (11, 15), (-130, -20)),  # tibialis anterior
)
# Ligaments and tendons: from, to, half width, half thickness along y.
BANDS = (
    ((1.0, 8.0, 6.0), (10.0, -10.0, 24.0), 4.0, 4.0),  # anterior cruciate
    ((-3.0, -26.0, -4.0), (-6.0, 0.0, 16.0), 5.0, 5.0),  # posterior cruciate
    ((2.0, 46.0, 16.0), (0.0, 29.0, -34.0), 12.0, 2.6),  # patellar tendon
    ((4.0, 46.0, 50.0), (2.0, 37.0, 90.0), 14.0, 3.5),  # quadriceps tendon
    ((-44.0, 0.0, 30.0), (-37.0, 2.0, -40.0), 1.6, 8.0),  # collateral ligaments
    ((41.0, -6.0, 28.0), (34.0, -22.0, -18.0), 1.8, 3.0),
)


@dataclass(frozen=True)
class Knee:
    """One knee: its bones, and what else `describe` needs to place every tissue.

    Attributes
    ----------
    bones : Bones
    subject : mapping
        A row of :func:`.subjects.sample_subjects`.
    defects : dict of str to (float, float, float)
        Of the cartilage plates that have lost some: depth, and centre (x, y); see `_worn`.
    nature : dict
        What varies from knee to knee and does not know the grade.
    """

    bones: Bones
    subject: Mapping[str, Any]
    defects: dict[str, tuple[float, float, float]]
    nature: dict[str, Any]


def draw_anatomy(subject: Mapping[str, Any], rng: np.random.Generator) -> Knee:
    """Draw a knee that measures what the subject's row says.

    Parameters
    ----------
    subject : mapping
        A row of :func:`.subjects.sample_subjects`.
    rng : numpy.random.Generator
        Of everything that the row does not fix.
    """
    size = float(subject["size"])
    bones = Bones(
        size=size,
        depth=float(rng.normal(1, 0.03)),
        scores=np.array([float(subject[f"shape_{m}"]) for m in range(1, N_MODES + 1)]),
        relief={bone: draw_waves(rng, 3, 25, 60, 0.3) for bone in ("femur", "tibia")},
        osteophytes={site: float(subject[f"osteophyte_{site}_mm"]) for site in SITES},
        seats={site: float(rng.normal(-4, 3)) * size for site in SITES},
    )
    aims = [float(subject[f"joint_space_{side}_mm"]) for side in SIDES]
    for _ in range(2):  # setting one condyle down tilts the other
        misses = [aim - _gap(bones, side) for aim, side in zip(aims, SIDES, strict=True)]
        (xm, _), (xl, _) = CENTRE["medial"], CENTRE["lateral"]
        slope = (misses[1] - misses[0]) / (xl - xm) / size
        lift = bones.lift
        bones = replace(bones, lift=(lift[0] + misses[0] - slope * xm * size, lift[1] + slope))
    defects = {}
    for side in SIDES:
        x, y = np.array(CENTRE[side]) + rng.normal(0, [1.5, 2.5])
        for bone in ("femur", "tibia"):
            plate = f"{bone}_{side}"
            lost = 1 - float(subject[f"thickness_{plate}_mm"]) / float(subject[f"whole_{plate}_mm"])
            if lost > 0:
                defects[plate] = (_depth_of(lost), float(x), float(y))
    nature = {
        "patella": rng.normal([4, 44.5, 33], [2, 1, 3]),
        "skin": 1 + 0.006 * (float(subject["bmi"]) - 29.5) + float(rng.normal(0, 0.02)),
        "muscle": float(rng.normal(1, 0.06)),
        "vessels": rng.normal([[-3, -43], [5, -45], [22, -58], [-34, -40]], 2.0),
        "vessel_waves": rng.uniform(0, 2 * np.pi, (4, 2)),
        "vessel_width": float(np.exp(rng.normal(0, 0.3))),
        # Fluid that has nothing to do with the grade: a cyst behind the joint, in every other knee.
        "cyst": (*rng.normal([-19, -46, 8], [4, 2, 10]), rng.uniform(4, 12) * rng.integers(2)),
        "texture": draw_waves(rng, 4, 4, 14, 0.035),
        "physis": rng.normal([31, -17], 1.5),
        "lesion_at": {plate: rng.normal(0, [3, 6]) for plate in PLATES},
    }
    return Knee(bones, subject, defects, nature)


def _gap(bones: Bones, side: str) -> float:
    """Smallest vertical distance in mm of the smooth bones in one compartment."""
    (x0, y0), step = CENTRE[side], 0.25
    x, y, z = torch.meshgrid(
        (x0 + torch.linspace(-7.5, 7.5, 8)) * bones.size,
        (y0 + torch.linspace(-12, 12, 13)) * bones.size,
        torch.arange(-16, 24, step),
        indexing="ij",
    )
    femur, tibia = bones.smooth("femur", x, y, z), bones.smooth("tibia", x, y, z)
    # First femur from below, last tibia from below; where in its step a surface is crossed
    # follows from the distance there.
    first = (femur < 0).to(torch.int8).argmax(dim=2, keepdim=True)
    last = (tibia < 0).sum(dim=2, keepdim=True) - 1
    gap = (first - last) * step + femur.gather(2, first) + tibia.gather(2, last)
    return float(gap[(femur < 0).any(dim=2)].min())


def _depth_of(lost: float) -> float:
    """Depth of a defect that takes the share `lost` of the cartilage of the bearing area.

    A defect takes min(depth * g, 1) of the thickness, g a Gaussian; over an ellipse of
    (half axis / width)^2 / 2 = FOCUS its mean has a closed form, which is inverted here.
    """
    depth = np.geomspace(0.01, np.exp(FOCUS), 400)  # where nothing is left
    bare = np.log(np.maximum(depth, 1)) / FOCUS
    rim = (np.minimum(depth, 1) - depth * np.exp(-FOCUS)) / FOCUS
    share = np.where(bare >= 1, 1, bare + rim)
    return float(np.interp(lost, share, depth))


def _worn(knee: Knee, plate: str, x: Tensor, y: Tensor) -> Tensor | float:
    """Share of a plate's cartilage that is lost; 1 where the bone is denuded."""
    if plate not in knee.defects:
        return 0.0
    depth, x0, y0 = knee.defects[plate]
    p, q = (x - x0) / BEARING[0], (y - y0) / BEARING[1]
    return (depth * torch.exp(-FOCUS * (p * p + q * q))).clamp_max(1)


def cartilage(knee: Knee, x: Tensor, y: Tensor, z: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Thickness in mm of each cartilage over the nearest bone, as it is and as it was.

    Returns
    -------
    dict
        "femoral", "medial", "lateral" (tibial): thickness now and without loss; 0 off the plate.
    """
    s = knee.bones.size
    lift = knee.bones.lift
    femoral_z = (z - lift[0] - lift[1] * x) / s
    x, y, z = x / s, y / s / knee.bones.depth, z / s
    lateral = torch.sigmoid(x / 2)
    whole = {plate: float(knee.subject[f"whole_{plate}_mm"]) for plate in PLATES}
    # Femoral: an arc about the condyles' axis, from behind to the top of the trochlea.
    angle = torch.rad2deg(torch.atan2(femoral_z - 25, y - 3))
    angle = torch.where(angle > 90, angle - 360, angle)
    front = 25 - 3.3 * (-x - 3).clamp_min(0) - 9 * (x - 19).clamp_min(0)
    # Behind, it leaves the condyles' outer edges free, and the notch between them.
    back = -228 + 1.2 * ((x.abs() - 20).abs() - 5).clamp_min(0) ** 2
    medially = -70 + 2.2 * x + 25 * (x + 12).clamp_max(0)
    laterally = -70 - 2.4 * x - 18 * (x - 5).clamp_min(0)
    back = torch.maximum(back, torch.where(x < 0, medially, laterally))
    inside = 0.44 * torch.minimum(front.clamp_min(-100) - angle, angle - back)
    inside = torch.minimum(inside, 38 + lateral - x.abs() - 0.35 * (7 - femoral_z).clamp_min(0))
    plate = whole["femur_medial"] + (whole["femur_lateral"] - whole["femur_medial"]) * lateral
    # Thinnest where it bears weight under the centre, thicker behind and in the trochlea.
    uneven = 1 + 0.55 * torch.sigmoid((angle + 45) / 8) + 0.58 * torch.sigmoid((-130 - angle) / 8)
    # Volume over bone area, as thickness is measured, is 10% more over a round condyle.
    was = 0.9 * plate * uneven * (inside / 2).clamp(0, 1)
    low = (angle < -55) & (angle > -140)
    worn = torch.where(
        low & (x < 0), torch.as_tensor(_worn(knee, "femur_medial", x, y), dtype=x.dtype), 0.0
    ) + torch.where(
        low & (x > 0), torch.as_tensor(_worn(knee, "femur_lateral", x, y), dtype=x.dtype), 0.0
    )
    found = {"femoral": (was * (1 - worn), was)}
    for side, x0, y0, a, b in (("medial", -22.5, -4, 13.5, 23), ("lateral", 22, -6, 15, 21.5)):
        p, q = (x - x0) / a, (y - y0) / b
        p, q = p * p, q * q
        r = torch.sqrt(torch.sqrt(p * p + q * q + 1e-6))
        inside = 11 * (1 - r)
        # Thickest in the middle of the plateau, most so laterally.
        dome = 1.09 - (0.3 if side == "lateral" else 0.22) * r * r
        on_top = ((z + 7) / 3).clamp(0, 1)
        was = whole[f"tibia_{side}"] * dome * (inside / 3).clamp(0, 1) * on_top
        found[side] = (was * (1 - _worn(knee, f"tibia_{side}", x, y)), was)
    return found


def _band(x: Tensor, y: Tensor, z: Tensor, band: tuple[Any, ...]) -> Tensor:
    """Distance to a ligament: a straight band of elliptic cross-section."""
    start, end, half_width, half_depth = band
    ax, ay, az = start
    dx, dy, dz = (e - s for e, s in zip(end, start, strict=True))
    along = ((x - ax) * dx + (y - ay) * dy + (z - az) * dz) / (dx * dx + dy * dy + dz * dz)
    along = along.clamp(0, 1)
    p, q, r = x - ax - along * dx, y - ay - along * dy, z - az - along * dz
    p, q, r = p / half_width, q / half_depth, r / half_depth
    return (torch.sqrt(p * p + q * q + r * r) - 1) * min(half_width, half_depth)


def describe(knee: Knee, x: Tensor, y: Tensor, z: Tensor) -> dict[str, Tensor]:
    """Distances, thicknesses and shading of every tissue at points in mm.

    Returns
    -------
    dict of str to Tensor
        Signed distances: femur, tibia (smooth_femur, smooth_tibia without osteophytes), patella,
        fibula, meniscus, band (ligaments, tendons), muscle, vessel, fluid (in the recess above
        the patella), capsule, skin, marrow_lesion. Thicknesses: femoral, medial, lateral (was_*
        without loss), patellar, film (of fluid). Factors: texture (of fat and muscle),
        marrow (that, growth plate, sclerosis). The points' own "x" and "level" (z).
    """
    bones, subject, nature = knee.bones, knee.subject, knee.nature
    s = bones.size
    at = dict(zip(("x", "level"), torch.broadcast_tensors(x, y, z)[::2], strict=True))
    for bone in ("femur", "tibia"):
        at[f"smooth_{bone}"] = bones.smooth(bone, x, y, z)
        at[bone] = bones.whole(bone, x, y, z, at[f"smooth_{bone}"])
    plates = cartilage(knee, x, y, z)
    for name, (now, was) in plates.items():
        at[name], at[f"was_{name}"] = now, was
    both = torch.minimum(at["femur"], at["tibia"])
    at["meniscus"] = _meniscus(knee, x, y, at)
    # Patella: a blunt wedge, its cartilage behind.
    px, py, pz = (float(v) for v in nature["patella"])
    u, v, w = x / s - px, y / s - py, z / s - pz
    facet = v + 7 - 0.28 * (u - 1).abs()
    body = ellipse(torch.hypot(u / 1.1, w), v, 19.5, 11.0)
    at["patella"] = smooth_max(body, -facet, 4) * s
    inside = (15.5 - torch.hypot(u / 1.2, 1.15 * (w - 2))).clamp(0, 4) / 4
    at["patellar"] = 2.7 * s * inside * (v < -2)
    head = torch.sqrt((x / s - 34) ** 2 + (y / s + 23) ** 2 + (z / s + 19) ** 2) - 9.5
    neck = torch.hypot(x / s - 27 - 0.12 * (z / s + 40), y / s + 27 + 0.08 * (z / s + 40)) - 5.5
    at["fibula"] = smooth_min(head, smooth_max(neck, z / s + 14, 3), 5) * s
    first, *others = (_band(x / s, y / s, z / s, band) for band in BANDS)
    band = first
    for other in others:
        band = torch.minimum(band, other)
    at["band"] = band * s
    at["skin"] = ellipse(x, y + 5, 60 * s * nature["skin"], 66 * s * nature["skin"])
    at["muscle"] = _muscle(knee, x, y, z, both)
    at["vessel"] = _vessels(knee, x, y, z)
    # Fluid: a film round the joint, and the recess above the patella, wider with effusion.
    more = float(subject["effusion_mm"])
    fades = (7 + 0.8 * more - (z / s - 5).abs()) / 3
    at["film"] = (0.4 + 0.12 * more) * fades.clamp(0, 1)
    u, w = (x / s - 2) / (19 + 0.7 * more), 0.9 * (z / s - 58) / (17 + more)
    thick = 0.8 + 0.9 * more
    v = (y / s - 36 + 0.05 * (z / s - 58)) / thick
    recess = (torch.sqrt(u * u + v * v + w * w) - 1) * thick  # a lens
    cx, cy, cz, radius = (float(v) for v in nature["cyst"])
    if radius > 0:
        far = ((x / s - cx) ** 2 + (y / s - cy) ** 2 + 0.4 * (z / s - cz) ** 2).sqrt()
        recess = torch.minimum(recess, far - radius)
    at["fluid"] = torch.maximum(recess * s, 0.3 - both)
    at["capsule"] = smooth_max(both - 7, (z - 8 * s).abs() - 30 * s, 8)
    at["marrow_lesion"] = _marrow_lesions(knee, x, y, z, at)
    at["texture"] = 1 + waves((x, y, z), nature["texture"])
    at["marrow"] = _marrow(knee, x, y, z, at)
    return at


def _meniscus(knee: Knee, x: Tensor, y: Tensor, at: Mapping[str, Tensor]) -> Tensor:
    """Two C-shaped wedges that fill the room between the cartilages near the rim."""
    s = knee.bones.size
    u, v = x / s, y / s / knee.bones.depth
    lateral = u > 0
    out = torch.where(
        lateral,
        torch.as_tensor(float(knee.subject["extrusion_lateral_mm"]), dtype=x.dtype),
        torch.as_tensor(float(knee.subject["extrusion_medial_mm"]), dtype=x.dtype),
    )
    # Pushed out at its body, held at its horns.
    out = out * torch.exp(-(((v + 5) / 14) ** 2)) / s
    centre = torch.where(lateral, 20.5, 21.0) + out
    a, b = torch.where(lateral, 16.5, 18.0), torch.where(lateral, 20.0, 25.0)
    p, q = (u.abs() - centre) / a, (v + torch.where(lateral, 6.0, 5.0)) / b
    r = torch.sqrt(p * p + q * q + 1e-6)
    band = (torch.maximum(0.5 - r, r - 1.0) * a).maximum(7.5 - u.abs())
    tibial = torch.where(lateral, at["lateral"], at["medial"])
    above, below = at["femur"] - at["femoral"], at["tibia"] - tibial
    room = torch.maximum(-above, -below) + 0.15
    tall = below - (0.5 + 15 * (r - 0.5).clamp_min(0)) * s  # a wedge, thick at the rim
    wedge = torch.maximum(smooth_max(band * s, tall, 1.5), room)
    return torch.maximum(wedge, -3 * s - at["level"])


def _muscle(knee: Knee, x: Tensor, y: Tensor, z: Tensor, bone: Tensor) -> Tensor:
    s, girth = knee.bones.size, knee.nature["muscle"]
    u, v, w = x / s, y / s, z / s
    total: Tensor | None = None
    for (cx, cy), (tx, ty), (a, b), (low, high) in MUSCLES:
        middle = max(low, min(high, 0))
        # Spindles: they thin out over their last 30 mm.
        taper = torch.sqrt((w - low).clamp(1, 30) * (high - w).clamp(1, 30)) * (girth / 30)
        p = (u - cx - tx * (w - middle)) / a
        q = (v - cy - ty * (w - middle)) / b
        one = (torch.sqrt(p * p + q * q) - taper) * min(a, b)
        one = torch.maximum(one, torch.maximum(low - w, w - high))
        total = one if total is None else torch.minimum(total, one + 0.6)
    assert total is not None  # MUSCLES is not empty
    return torch.maximum(total * s, 2.5 - bone)


def _vessels(knee: Knee, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Popliteal artery and vein behind the joint, two veins under the skin."""
    s = knee.bones.size
    tubes = []
    for (cx, cy), (p, q), radius in zip(
        knee.nature["vessels"].tolist(),
        knee.nature["vessel_waves"].tolist(),
        (3.4, 4.2, 2.0, 1.8),
        strict=True,
    ):
        dx = x / s - cx - 3 * torch.sin(z / 31 + p)
        dy = y / s - cy - 2 * torch.sin(z / 23 + q)
        tubes.append(torch.hypot(dx, dy) - radius * knee.nature["vessel_width"])
    return torch.minimum(torch.minimum(tubes[0], tubes[1]), torch.minimum(tubes[2], tubes[3])) * s


def _marrow_lesions(
    knee: Knee, x: Tensor, y: Tensor, z: Tensor, at: Mapping[str, Tensor]
) -> Tensor:
    """Distance to the marrow lesions: half balls under the bearing surface, inside the bone."""
    s = knee.bones.size
    total = torch.full_like(at["femur"], 99.0)
    for plate in PLATES:
        radius = float(knee.subject[f"marrow_lesion_{plate}_mm"])
        if radius <= 0:
            continue
        bone, side = plate.split("_")
        (x0, y0), (dx, dy) = CENTRE[side], knee.nature["lesion_at"][plate].tolist()
        depth = -at[f"smooth_{bone}"]  # from the bone's surface inwards
        ball = torch.sqrt(
            ((x / s - x0 - dx) * s) ** 2 + (0.8 * (y / s - y0 - dy) * s) ** 2 + depth**2
        )
        far = z - 20 * s if bone == "femur" else -14 * s - z  # of the bone's other surfaces
        total = torch.minimum(total, torch.maximum(torch.maximum(ball - radius, -depth), far))
    return total


def _marrow(knee: Knee, x: Tensor, y: Tensor, z: Tensor, at: Mapping[str, Tensor]) -> Tensor:
    """Brightness of the marrow: fine texture, the scar of the growth plate, sclerosis."""
    s = knee.bones.size
    factor = at["texture"]
    up, down = (float(level) * s for level in knee.nature["physis"])
    bend = 0.004 * (x * x) / s - 2
    for level, bone in ((up, "femur"), (down, "tibia")):
        scar = torch.exp(-(((z - level + (bend if bone == "femur" else -bend)) / 1.3) ** 2))
        factor = factor - 0.22 * scar * (at[f"smooth_{bone}"] < -3)
    for side in SIDES:
        hard = float(knee.subject[f"sclerosis_{side}"])
        if hard > 0:
            x0, y0 = CENTRE[side]
            near = torch.exp(-(((x / s - x0) / 11) ** 2) - ((y / s - y0) / 15) ** 2)
            depth = torch.minimum(at["smooth_femur"].abs(), at["smooth_tibia"].abs())
            factor = factor * (1 - 0.5 * hard * near * torch.exp(-((depth / 5) ** 2)))
    return factor
