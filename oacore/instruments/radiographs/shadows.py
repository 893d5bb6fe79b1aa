"""The shadows of femur and tibia: how far each ray runs in them, and their outlines.

The knee stands as for a fixed-flexion film, seen from behind by a source 1.8 m away: the femur
is bent against the tibia, and the beam runs along the plateau but for a few degrees. In the plane
of the picture u points to the lateral side and v up; s runs along the beam. All lengths in mm;
those typed here are of a mean knee.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from scipy.spatial.transform import Rotation
from torch import Tensor

from oacore.instruments.phantom.bones import BENDING, Bones, smooth_min
from oacore.instruments.phantom.grades import SIDES

SOURCE = 1800.0  # from the X-ray source to the knee
STEP, DEPTH_STEP = 1.75, 2.5  # of the lattice on which distances to bone are computed
HALF_WIDTH = 52.0  # how far from the middle there is femur or tibia
DEPTHS = {"femur": (-42.0, 42.0), "tibia": (-38.0, 34.0)}
LOWEST, HIGHEST = -8.0, 14.0  # v of the femur's lowest point, and of the tibia's spines, at most
HINGE = (-4.0, 22.0)  # y, z of the axis about which the femur bends
# Degrees, mean and spread: the femur's bend; the beam's fall against the plateau, where half a
# degree shows its floor as one line (the mean tibia's, by trial); turn of the leg; lean in the
# picture, with which the mean plateau lies level.
FLEXION, TILT, TURN, LEAN = (12.0, 4.0), (0.5, 2.2), (0.0, 3.0), (-2.5, 1.8)
# Where bone bears weight: the plateau's floor between its front and back rims, in s, and the
# part of a compartment in which its joint space is measured, in u.
FLOOR = (-13.0, 6.0)
BEARING = {"medial": (-29.0, -14.0), "lateral": (14.0, 30.0)}

# Where the mean landmarks of 748 real films (KNEEL) and the mean knee of MR differ, bones are
# moved. The spines, and the saddle between them: tip (x, y, z), its radius, and how far tips vary
# sideways and upwards.
SPINES = (((5.9, -2.0, 9.0), 1.6), ((-5.9, -1.0, 10.3), 1.6), ((0.2, -3.0, 6.2), 3.0))
SPINE_SPREAD = (1.1, 1.0)
# The condyles' lower corners: side, from where on in x, and how far they are moved out.
CORNERS = ((1.0, 24.0, 4.5), (-1.0, 26.0, 1.5))
# The femur's sides: from which z on, and by how much, the femur is stretched upwards.
STRETCH = (20.0, 0.22)
GROOVE = (35.0, 13.0, 1.3)  # of the popliteus, over the lateral condyle: x, z and depth


@dataclass(frozen=True)
class View:
    """How a knee stands in the beam.

    Attributes
    ----------
    flexion : float
        Of the femur against the beam's plane, degrees.
    turn : ndarray, shape (3, 3)
        Takes beam to knee.
    spines : ndarray, shape (3, 2)
        How far the tips in `SPINES` lie from the mean knee's, sideways and upwards.
    lift : (float, float)
        How far the femur is raised in the picture, and by how much more for each mm of u.
    """

    flexion: float
    turn: np.ndarray
    spines: np.ndarray
    lift: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Shadow:
    """One bone in the picture.

    Attributes
    ----------
    rows, columns : slice
        The part of the picture in which it lies.
    u, v : ndarray
        Places of these columns and rows; u and v both fall.
    nearest : ndarray, shape (rows, columns)
        Smallest distance to the bone along each ray, negative inside.
    floor : ndarray, same shape
        The same, along the part of the ray where weight is borne.
    lengths : list of Tensor, same shape
        How far each ray runs in the bone, in what its cortex holds, and in its core.
    """

    rows: slice
    columns: slice
    u: np.ndarray
    v: np.ndarray
    nearest: np.ndarray
    floor: np.ndarray
    lengths: list[Tensor]


def draw_view(rng: np.random.Generator) -> View:
    """Draw how a knee stands in the beam; its grades are not known here."""
    flexion, tilt, turn, lean = (rng.normal(*spread) for spread in (FLEXION, TILT, TURN, LEAN))
    matrix = Rotation.from_euler("zxy", [turn, tilt, lean], degrees=True).as_matrix()
    return View(float(flexion), matrix, rng.normal(0, SPINE_SPREAD, (3, 2)))


def _points(view: View, u: Tensor, v: Tensor, s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Points, in the knee's frame and in mm, on the rays that pass the plane s = 0 at (u, v)."""
    grow = 1 + s / SOURCE
    a, b = u * grow, v * grow
    x, y, z = (row[0] * a + row[1] * s + row[2] * b for row in view.turn.tolist())
    return x, y, z


def _femur(bones: Bones, view: View, u: Tensor, v: Tensor, s: Tensor) -> Tensor:
    """Distance to the femur at points of the beam."""
    x, y, z = _points(view, u, v - view.lift[0] - view.lift[1] * u, s)
    x, y, z = (axis / bones.size for axis in (x, y, z))
    angle, (y0, z0) = np.deg2rad(view.flexion), HINGE
    cos, sin = float(np.cos(angle)), float(np.sin(angle))
    y, z = y0 + cos * (y - y0) + sin * (z - z0), z0 + cos * (z - z0) - sin * (y - y0)
    low = torch.sigmoid((24 - z) / 5)
    for side, start, out in CORNERS:
        x = x - side * out * low * torch.sigmoid((side * x - start) / 4)
    z = z - STRETCH[1] * 3 * F.softplus((z - STRETCH[0]) / 3)
    x, y, z = torch.broadcast_tensors(x, y, z)
    groove = torch.exp(-(((z - GROOVE[1]) / 3) ** 2)) * torch.sigmoid(x - GROOVE[0])
    x, y, z = (axis * bones.size for axis in (x, y, z))
    whole = bones.whole("femur", x, y, z, bones.smooth("femur", x, y, z))
    return whole + GROOVE[2] * bones.size * groove


def _tibia(bones: Bones, view: View, u: Tensor, v: Tensor, s: Tensor) -> Tensor:
    """Distance to the tibia at points of the beam."""
    x, y, z = torch.broadcast_tensors(*_points(view, u, v, s))
    distance = bones.smooth("tibia", x, y, z)
    for ((x0, y0, z0), radius), (aside, up) in zip(SPINES, view.spines.tolist(), strict=True):
        # Moved with the bone's shape, which is known on a grid of 2 mm.
        cell = [round((at + BENDING) / 2) for at in (x0, z0)]
        dx, dz = bones.bending["tibia"][0, :, cell[0], cell[1]].tolist()
        p = x / bones.size - (x0 + dx + aside)
        q = (y / bones.size - y0) / 3.5
        below = z / bones.size - (z0 + dz + up) + radius
        # A blunt cone that widens downwards and ends inside the bone.
        side = torch.sqrt(p * p + q * q + 0.3) - radius + 0.55 * below.clamp(-9, 0)
        cone = torch.maximum(torch.maximum(side, below - radius), -9 - below)
        distance = smooth_min(distance, cone * bones.size, 4.0)
    return bones.whole("tibia", x, y, z, distance)


_DISTANCES = {"femur": _femur, "tibia": _tibia}


def _depths(bone: str, size: float) -> Tensor:
    """Where along the beam distances to a bone are computed."""
    near, far = DEPTHS[bone]
    return torch.arange(near * size, far * size, DEPTH_STEP)


def _on_floor(s: Tensor, size: float) -> Tensor:
    return (s >= FLOOR[0] * size) & (s <= FLOOR[1] * size)


def crossing(distance: np.ndarray, v: np.ndarray, last: bool) -> np.ndarray:
    """Where along each column bone begins, or ends.

    Parameters
    ----------
    distance : ndarray, shape (rows, columns)
        Negative in bone.
    v : ndarray, shape (rows,)
        Places of the rows, rising.
    last : bool
        The highest point of bone; else the lowest.

    Returns
    -------
    ndarray, shape (columns,)
        NaN without bone.
    """
    inside = distance < 0
    n, columns = len(v), np.arange(distance.shape[1])
    row = n - 1 - inside[::-1].argmax(0) if last else inside.argmax(0)
    other = (row + (1 if last else -1)).clip(0, n - 1)
    near, far = distance[row, columns], distance[other, columns]
    share = np.divide(near, near - far, out=np.zeros_like(near), where=other != row)
    return np.where(inside.any(0), v[row] + share * (v[other] - v[row]), np.nan)


def outlines(femur: Shadow, tibia: Shadow) -> tuple[np.ndarray, np.ndarray]:
    """Lower outline of the femur, and the plateau's floor, of each column; NaN without bone."""
    lower = crossing(femur.nearest[::-1], femur.v[::-1], last=False)
    return lower, crossing(tibia.floor[::-1], tibia.v[::-1], last=True)


def joint_spaces(femur: Shadow, tibia: Shadow, size: float) -> dict[str, float]:
    """Smallest distance in mm of the two outlines in each compartment, as they are drawn."""
    lower, floor = outlines(femur, tibia)
    found = {}
    for side in SIDES:
        low, high = BEARING[side]
        bearing = (femur.u > low * size) & (femur.u < high * size)
        found[side] = float(np.nanmin((lower - floor)[bearing]))
    return found


def seat(bones: Bones, view: View, aims: Mapping[str, float]) -> View:
    """Raise and tilt the femur until each compartment shows the joint space it should.

    Parameters
    ----------
    bones : Bones
        Their own `lift` counts too, and stays.
    view : View
    aims : mapping of str to float
        Of each of `SIDES`, in mm.

    Returns
    -------
    View
    """
    size, n = bones.size, 16
    columns = np.concatenate([np.linspace(*BEARING[side], n) * size for side in SIDES])
    u = torch.from_numpy(columns).float()[None, None]
    found = {}
    for bone, low, high in (("femur", -10.0, 26.0), ("tibia", -14.0, 10.0)):
        s = _depths(bone, size)
        s = s[_on_floor(s, size)] if bone == "tibia" else s
        v = torch.arange(low, high) * size
        distance = _DISTANCES[bone](bones, view, u, v[None, :, None], s[:, None, None])
        found[bone] = crossing(distance.amin(0).numpy(), v.numpy(), last=bone == "tibia")
    gap = found["femur"] - found["tibia"]
    raised, tilt = 0.0, 0.0
    for _ in range(6):  # setting one condyle down tilts the other
        there = gap + raised + tilt * columns
        at = [int(np.nanargmin(there[:n])), n + int(np.nanargmin(there[n:]))]
        missing = [aims[side] - there[place] for side, place in zip(SIDES, at, strict=True)]
        more = (missing[1] - missing[0]) / (columns[at[1]] - columns[at[0]])
        tilt += more
        raised += missing[0] - more * columns[at[0]]
    return replace(view, lift=(float(raised), float(tilt)))


def _weights(places: np.ndarray, n: int) -> Tensor:
    """Cubic interpolation from n lattice points at 0, 1, ... to places: (places, n)."""
    place = places.clip(0, n - 1)
    base = np.floor(place).astype(int).clip(0, n - 2)
    t = place - base
    taps = (
        -0.5 * t + t**2 - 0.5 * t**3, 1 - 2.5 * t**2 + 1.5 * t**3,
        0.5 * t + 2 * t**2 - 1.5 * t**3, -0.5 * t**2 + 0.5 * t**3,
    )  # fmt: skip
    found = np.zeros((len(places), n), np.float32)
    for shift, tap in zip((-1, 0, 1, 2), taps, strict=True):
        np.add.at(found, (np.arange(len(places)), (base + shift).clip(0, n - 1)), tap)
    return torch.from_numpy(found)


def cast(
    bone: str,
    bones: Bones,
    view: View,
    u: np.ndarray,
    v: np.ndarray,
    shells: tuple[Tensor, float],
) -> Shadow:
    """How far all rays run in one bone.

    Distances are smooth: they are computed on a lattice and interpolated to the pixels, cubic
    across the beam. Along it each stretch between two points is cut where its distance, taken as
    linear, passes zero.

    Parameters
    ----------
    bone : str
        "femur" or "tibia".
    bones : Bones
    view : View
    u, v : ndarray
        Places of the picture's columns and rows, evenly spaced and falling.
    shells : (Tensor, float)
        Thickness of the cortex that each ray meets, shape (rows, columns), and of the layer
        between that and the core.

    Returns
    -------
    Shadow
    """
    size = bones.size
    low, high = (LOWEST * size, np.inf) if bone == "femur" else (-np.inf, HIGHEST * size)
    rows, columns = _span((v >= low) & (v <= high)), _span(np.abs(u) < HALF_WIDTH * size)
    u, v = u[columns], v[rows]
    lattice_u = np.arange(u[-1], u[0] + STEP, STEP)
    lattice_v = np.arange(v[-1], v[0] + STEP, STEP)
    s = _depths(bone, size)
    field = _DISTANCES[bone](
        bones,
        view,
        torch.from_numpy(lattice_u).float()[None, None],
        torch.from_numpy(lattice_v).float()[None, :, None],
        s[:, None, None],
    )
    across = _weights((u - lattice_u[0]) / STEP, len(lattice_u)).T.contiguous()
    down = _weights((v - lattice_v[0]) / STEP, len(lattice_v))
    cortex = shells[0][rows, columns]
    offsets = (torch.zeros_like(cortex), cortex, cortex + shells[1])
    nearest = torch.full((len(v), len(u)), 99.0)
    floor = nearest.clone()
    lengths = [torch.zeros_like(nearest) for _ in offsets]
    before: list[tuple[Tensor, Tensor]] = []
    for bears, plane in zip(_on_floor(s, size).tolist(), field, strict=True):
        here = down @ plane @ across
        torch.minimum(nearest, here, out=nearest)
        if bears:
            torch.minimum(floor, here, out=floor)
        now = []
        for offset in offsets:
            distance = here + offset
            far = distance.abs()
            now.append((far - distance, far))  # twice the depth inside, 0 outside
        for length, (deep, far), (deeper, farther) in zip(lengths, before, now, strict=False):
            length.add_((deep + deeper).div_((far + farther).add_(1e-6)))
        before = now
    for length in lengths:
        length.mul_(DEPTH_STEP / 2)
    return Shadow(rows, columns, u, v, nearest.numpy(), floor.numpy(), lengths)


def _span(where: np.ndarray) -> slice:
    found = np.flatnonzero(where)
    return slice(int(found[0]), int(found[-1]) + 1)
