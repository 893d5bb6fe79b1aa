"""One drawn radiograph: all that a beam meets in a phantom knee, and 16 landmarks of its shadow.

Frames, and lengths in mm, as in :mod:`.shadows`: u points to the lateral side, v up. Lengths typed
here are of a mean knee.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from oacore.errors import InputError
from oacore.instruments.phantom import anatomy
from oacore.instruments.phantom.anatomy import MUSCLES, Knee, draw_anatomy
from oacore.instruments.phantom.grades import SIDES
from oacore.instruments.radiographs.film import draw_film, expose
from oacore.instruments.radiographs.shadows import (
    Shadow,
    View,
    cast,
    draw_view,
    joint_spaces,
    outlines,
    seat,
)

SIZE, FIELD = 320, 140.0  # pixels and mm of a picture's side
LEAST_SIZE, LEAST_FIELD, MOST_FIELD = 64, 110.0, 200.0
# Where the joint lies in the picture: its middle is this far above the joint line, and moves.
MIDDLE, MOVES = (0.0, 6.0), (2.0, 2.5)
# Attenuation per mm at about 45 keV, after NIST's tables; bone by its share of mineral.
FAT, MUSCLE, CORTEX = 0.0215, 0.0255, 0.095
DENSE, CORE = 0.0365, 0.0325  # cancellous bone, near the surface and deep inside
DENSE_MM = 7.0  # how far under the surface it is dense
SCAR = 0.0009  # more, where the growth plate was
# Cortex of the bones' ends in mm; how much more there is of it in a shaft, where that begins, and
# over how many mm.
END_MM = 0.55
SHAFT = {"femur": (1.8, 55.0, 8.0), "tibia": (1.6, -38.0, -7.0)}
# The plate under the plateau's cartilage, medial and lateral; what full sclerosis adds to it, and
# to the condyle above.
PLATE_MM, SCLEROSIS_MM = {"medial": 1.4, "lateral": 2.0}, {"tibia": 2.6, "femur": 1.8}
# The leg: half axes across and along the beam, how much wider it is above, how far off its bones.
LEG, WIDER, ASIDE = (60.0, 66.0), 0.12, 5.0
# Where between its inner end and its corner each point of a condyle lies, as in real films.
ALONG = ((1, 0, 0.70), (2, 0, 0.36), (4, 6, 0.35), (5, 6, 0.68))


@dataclass(frozen=True)
class DrawnRadiograph:
    """One radiograph as drawn, as a right knee with the lateral side on the picture's left.

    Attributes
    ----------
    picture : ndarray of uint8, shape (size, size)
        Bone is bright.
    landmarks : ndarray of float32, shape (16, 2)
        x and y in pixels, pixel centres at whole numbers, of the points t0 to t8, f0 to f6.
    spaces : dict of str to float
        Smallest distance in mm between the outlines of each compartment, by side.
    """

    picture: np.ndarray
    landmarks: np.ndarray
    spaces: dict[str, float]


def _ball(u: Tensor, v: Tensor, at: Sequence[float], half: Sequence[float]) -> Tensor:
    """Length of rays in an ellipsoid: centre (u, v), half axes across, up, and along the beam."""
    p, q = (u - at[0]) / half[0], (v - at[1]) / half[1]
    return 2 * half[2] * (1 - p * p - q * q).clamp_min_(0).sqrt_()


def _leg(knee: Knee, aside: float, u: Tensor, v: Tensor) -> Tensor:
    """Attenuation of the leg as if it had no bones: skin and fat, muscles, the joint's capsule."""
    size, nature = knee.bones.size, knee.nature
    u, v = u / size, v / size
    girth = nature["skin"] * (0.92 + (WIDER + 0.05 * (v / 70).clamp_min(0)) * v / 70)
    across = (u - aside) / (LEG[0] * girth)
    leg = 2 * LEG[1] * girth * (1 - across * across).clamp_min(0).sqrt()
    wet = _ball(u, v, (0, 6), (49, 46, 24))
    swollen = float(knee.subject["effusion_mm"])
    wet = wet + _ball(u, v, (2, 58), (25, 22, 0.5 + 0.5 * swollen))  # above the patella
    for (x, _), (drift, _), (wide, deep), (low, high) in MUSCLES:
        # As in the phantom: spindles that thin out over their last 30 mm.
        taper = ((v - low).clamp(0, 30) * (high - v).clamp(0, 30)).sqrt() * (nature["muscle"] / 30)
        off = (u - x - drift * (v - max(low, min(high, 0)))) / wide
        wet = wet + 2 * deep * (taper * taper - off * off).clamp_min(0).sqrt()
    return size * (FAT * leg + (MUSCLE - FAT) * torch.minimum(wet, leg))


def _small_bones(knee: Knee, view: View, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Length of rays in patella and fibula: in their cortex, and in what that holds."""
    size = knee.bones.size
    u, v = u / size, v / size

    def seen(x: float, y: float, z: float) -> tuple[float, float]:
        across, _, up = (view.turn.T @ np.array([x, y, z])).tolist()
        return across, up

    # The patella: a blunt triangle that points down, its rim uneven.
    px, py, pz = knee.nature["patella"].tolist()
    cu, cv = seen(px, py - 4, pz)
    along = (v - cv) / 19
    across = (u - cu) / (20 * (1 + 0.16 * along.clamp(-1, 1)))
    uneven = 1 + 0.04 * torch.sin((u - cu) / 5 + px) * torch.sin(along * 4 + pz)
    level = (across.abs() ** 2.4 + along.abs() ** 2.4) * uneven
    whole = 19.0 * (1 - level).clamp_min(0) ** 0.8
    held = 18.0 * (1 - 1.12 * level).clamp_min(0) ** 0.8
    # The fibula's head; its neck and shaft, which lean inwards.
    cu, cv = seen(34.0, -23.0, -20.0)
    head, in_head = (_ball(u, v, (cu, cv), (8.5 - t, 9.5 - t, 8.5 - t)) for t in (0.0, 0.7))
    cu, cv = seen(31.0, -26.0, -24.0)
    down = (cv - v).clamp_min(0)
    begins = (down / 6).clamp_max(1)
    radius = 7.2 - 1.6 * (down / 22).clamp_max(1)
    off = (u - cu + 0.12 * down) ** 2
    shaft, in_shaft = (
        2 * begins * ((radius - t) ** 2 - off).clamp_min(0).sqrt() for t in (0.0, 1 + begins)
    )
    hard = (whole - held) + torch.maximum(head - in_head, shaft - in_shaft)
    return size * hard, size * (held + torch.maximum(in_head, in_shaft))


def _cortex(knee: Knee, bone: str, u: Tensor, v: Tensor) -> Tensor:
    """Thickness in mm of the cortex that a ray meets."""
    size = knee.bones.size
    u, v = u / size, v / size
    more, begins, over = SHAFT[bone]
    shell = END_MM + more * torch.sigmoid((v - begins) / over)
    for side, middle in zip(SIDES, (-23.0, 23.0), strict=True):
        near = torch.exp(-(((u - middle) / 13) ** 2) - ((v + 1) / 9) ** 2)
        plate = SCLEROSIS_MM[bone] * float(knee.subject[f"sclerosis_{side}"])
        shell = shell + near * (plate + (PLATE_MM[side] if bone == "tibia" else 0))
    return size * shell


def _scar(knee: Knee, bone: str, u: Tensor, v: Tensor) -> Tensor:
    """Share, 0 to 1, of the thin bright line where the growth plate was."""
    up, down = knee.nature["physis"].tolist()
    u, v = u / knee.bones.size, v / knee.bones.size
    bend = 0.004 * u * u - 2 + 0.8 * torch.sin(u / 4 + up)
    off = v - up + bend if bone == "femur" else v - down - bend
    return torch.exp(-((off / 0.9) ** 2))


def _corner(shadow: Shadow, side: int, rise: float, size: float) -> tuple[float, float]:
    """The outermost point (u, v) of an outline in the direction (side, rise)."""
    direction = np.array([side, rise]) / np.hypot(side, rise)
    reach = direction[0] * shadow.u[None, :] + direction[1] * shadow.v[:, None]
    # A pixel beside the outline stands for the point of it that is nearest. Only the next ones do:
    # further off, what counts as distance may be less. The spines are higher, but further in.
    pixel = shadow.u[0] - shadow.u[1]
    beside = (np.abs(shadow.nearest) < 0.75 * pixel) & (side * shadow.u > 20 * size)
    reach = np.where(beside, reach - shadow.nearest, -np.inf)
    row, column = np.unravel_index(reach.argmax(), reach.shape)
    u, v = np.array([shadow.u[column], shadow.v[row]]) - direction * shadow.nearest[row, column]
    return float(u), float(v)


def find_landmarks(femur: Shadow, tibia: Shadow, size: float) -> np.ndarray:
    """The 16 points on the outlines.

    Of the tibia: 0 and 8 its outermost corners, spurs and all; 3 and 5 the tips of the spines and
    4 the lowest point between; 2 and 6 their feet; 1 and 7 halfway between foot and corner. Of the
    femur: 0 and 6 the lower outer corners, spurs and all; 3 the top of the notch; the others at
    fixed shares of the way between. Those inside run along the plateau's floor (where weight is
    borne; its rims may stand higher) and along the condyles' lower outline.

    Parameters
    ----------
    femur, tibia : Shadow
    size : float
        Of the knee; 1 is the mean knee.

    Returns
    -------
    ndarray, shape (16, 2)
        u and v in mm.
    """
    lower, floor = outlines(femur, tibia)
    t, f = np.empty((9, 2)), np.empty((7, 2))

    def on(outline: np.ndarray, us: np.ndarray, at: Any) -> Any:
        return np.interp(at, us[::-1], outline[::-1])

    t[0], t[8] = (_corner(tibia, side, 2.0, size) for side in (1, -1))
    for point, (low, high), sign in ((3, (2, 11), 1), (5, (-11, -2), 1), (4, (0, 0), -1)):
        # The valley is looked for between the two tips, which are known by then.
        span = (low * size, high * size) if sign > 0 else (t[5, 0], t[3, 0])
        inside = (tibia.u > span[0]) & (tibia.u < span[1])
        best = np.nanargmax(np.where(inside, sign * floor, np.nan))
        t[point] = tibia.u[best], floor[best]
    for foot, tip, corner, middle in ((2, 3, 0, 1), (6, 5, 8, 7)):
        # Farthest below the line from the tip to the plateau.
        at = np.linspace(t[tip, 0], t[tip, 0] + 0.62 * (t[corner, 0] - t[tip, 0]), 60)
        v = on(floor, tibia.u, at)
        lowest = (np.linspace(v[0], v[-1], 60) - v).argmax()
        t[foot] = at[lowest], v[lowest]
        between = (t[foot, 0] + t[corner, 0]) / 2
        t[middle] = between, on(floor, tibia.u, between)
    best = np.nanargmax(np.where(np.abs(femur.u) < 9 * size, lower, np.nan))
    f[3] = femur.u[best], lower[best]
    f[0], f[6] = (_corner(femur, side, -2.2, size) for side in (1, -1))
    for point, corner, share in ALONG:
        at = f[3, 0] + share * (f[corner, 0] - f[3, 0])
        f[point] = at, on(lower, femur.u, at)
    return np.concatenate([t, f])


@dataclass(frozen=True)
class Stand:
    """A knee that stands before the film.

    Attributes
    ----------
    knee : anatomy.Knee
    view : View
        Seated: its femur leaves the joint space that it should.
    aside : float
        How far the leg's middle lies off its bones, in mm.
    centre : ndarray, shape (2,)
        u and v of the picture's middle.
    """

    knee: anatomy.Knee
    view: View
    aside: float
    centre: np.ndarray


@dataclass(frozen=True)
class Projection:
    """What the beam meets in a knee, before there is a film.

    Attributes
    ----------
    parts : dict of str to Tensor, shape (size, size)
        Natural logarithm of what the beam loses in "soft tissue" (as if all of the leg were),
        and what it loses more in "patella and fibula", "femur" and "tibia".
    sponge : Tensor, same shape
        How many mm of cancellous bone it passes.
    u, v : Tensor, shapes (1, size) and (size, 1)
        Places of the pixels in mm; both fall.
    landmarks, spaces
        As of :class:`DrawnRadiograph`.
    """

    parts: dict[str, Tensor]
    sponge: Tensor
    u: Tensor
    v: Tensor
    landmarks: np.ndarray
    spaces: dict[str, float]

    @property
    def attenuation(self) -> Tensor:
        """Natural logarithm of all that the beam loses, shape (size, size)."""
        total = torch.zeros_like(self.sponge)
        for part in self.parts.values():
            total += part
        return total


def draw_stand(subject: Mapping[str, Any], rng: np.random.Generator) -> Stand:
    """Draw a knee and how it stands in the beam.

    Parameters
    ----------
    subject : mapping
        See :func:`draw_radiograph`.
    rng : numpy.random.Generator
        Of all that the row does not fix.
    """
    knee = draw_anatomy(subject, rng)
    aims = {side: float(subject[f"joint_space_{side}_mm"]) for side in SIDES}
    view = seat(knee.bones, draw_view(rng), aims)
    return Stand(knee, view, float(rng.normal(0, ASIDE)), rng.normal(MIDDLE, MOVES))


def project(stand: Stand, size: int, field: float) -> Projection:
    """What the beam meets on its way to each pixel, and where the outlines lie.

    Parameters
    ----------
    stand : Stand
    size : int
        Pixels of a side.
    field : float
        Millimetres of a side.
    """
    knee, view, bones = stand.knee, stand.view, stand.knee.bones
    pixel, middle = field / size, (size - 1) / 2
    u, v = ((middle - np.arange(size)) * pixel + at for at in stand.centre)
    across, up = torch.from_numpy(u).float()[None, :], torch.from_numpy(v).float()[:, None]
    hard, sponge = _small_bones(knee, view, across, up)
    parts = {
        "soft tissue": _leg(knee, stand.aside, across, up),
        "patella and fibula": (CORTEX - MUSCLE) * hard + (CORE - MUSCLE) * sponge,
    }
    shadows = {}
    for bone in ("femur", "tibia"):
        shells = (_cortex(knee, bone, across, up), DENSE_MM)
        shadow = shadows[bone] = cast(bone, bones, view, u, v, shells)
        outer, inner, core = shadow.lengths
        here = (shadow.rows, shadow.columns)
        more = CORE - DENSE
        part = (CORTEX - MUSCLE) * (outer - inner) + (DENSE - MUSCLE) * inner + more * core
        scar = _scar(knee, bone, across[:, shadow.columns], up[shadow.rows])
        parts[bone] = torch.zeros_like(sponge)
        parts[bone][here] = part + SCAR * inner * scar
        sponge[here] += inner
    points = find_landmarks(shadows["femur"], shadows["tibia"], bones.size)
    landmarks = (middle - (points - stand.centre) / pixel).astype(np.float32)
    spaces = joint_spaces(shadows["femur"], shadows["tibia"], bones.size)
    return Projection(parts, sponge, across, up, landmarks, spaces)


def draw_radiograph(
    subject: Mapping[str, Any],
    seed: int | Sequence[int],
    size: int = SIZE,
    field: float = FIELD,
) -> DrawnRadiograph:
    """Draw the frontal radiograph of one knee: from behind, standing, slightly bent.

    The narrowest place between the drawn outlines, within the bearing part of a compartment, is as
    wide as `joint_space_{medial,lateral}_mm` says.

    Parameters
    ----------
    subject : mapping
        A row of :func:`oacore.instruments.phantom.subjects.sample_subjects`.
    seed : int or sequence of int
        Of all that the row does not fix: relief, pose, soft tissue, exposure, noise; none of them
        knows the grade.
    size : int
        Pixels of a side, 64 or more.
    field : float
        Millimetres of a side, 110 to 200.

    Returns
    -------
    DrawnRadiograph

    Raises
    ------
    InputError
        If size or field is out of range.
    """
    if size < LEAST_SIZE:
        raise InputError(f"size is {size}; give {LEAST_SIZE} pixels or more")
    if not LEAST_FIELD <= field <= MOST_FIELD:
        raise InputError(f"field is {field}; give {LEAST_FIELD:g} to {MOST_FIELD:g} mm")
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    stand = draw_stand(subject, rng)
    film = draw_film(rng)
    met = project(stand, size, field)
    picture = expose(met.attenuation, met.sponge, met.u, met.v, film, rng)
    return DrawnRadiograph(picture, met.landmarks, met.spaces)
