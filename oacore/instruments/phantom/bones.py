"""Femur and tibia as smooth implicit surfaces: signed distances in mm, negative inside.

The frame has its origin on the joint line, between the tibial spines of the mean right knee:
+x is lateral, +y anterior, +z superior. Formulas hold for any grid of points, on any device.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from oacore.instruments.phantom.grades import MARGINS

SITES = MARGINS  # of osteophytes
N_MODES = 4
REST = 0.5  # of an osteophyte's reach, along the rest of the margin
BENDING, NEAR = 90.0, 9.0  # mm: half side of the grid, and how far a landmark pulls


def smooth_min(a: Tensor, b: Tensor, k: float) -> Tensor:
    """Smooth union of two bodies; `k` is the width of the fillet in mm."""
    overlap = (k - (a - b).abs()).clamp_min(0)
    return torch.minimum(a, b) - overlap * overlap / (4 * k)


def smooth_max(a: Tensor, b: Tensor, k: float) -> Tensor:
    """Smooth intersection."""
    return -smooth_min(-a, -b, k)


def ellipse(u: Tensor, v: Tensor, a: Any, b: Any) -> Tensor:
    """Distance to an ellipse with half axes a and b, right to first order."""
    p, q = u / a, v / b
    level = (p * p + q * q + 1e-6).sqrt()
    slope = ((p / a) ** 2 + (q / b) ** 2 + 1e-8).sqrt()
    return level * (level - 1) / slope


@cache
def mean_knee() -> dict[str, dict[str, float]]:
    """Constants of the formulas below, fitted to a mean knee (see the data file's header)."""
    with (files("oacore.instruments.phantom") / "mean_knee.csv").open() as file:
        table = pd.read_csv(file, comment="#")
    return {
        str(bone): dict(zip(rows["name"], rows["value"], strict=True))
        for bone, rows in table.groupby("bone")
    }


def mean_femur(p: dict[str, Any], x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Distance to the mean femur: two condyles, trochlea, notch, shaft.

    Parameters
    ----------
    p : dict of str to float
        Constants, as `mean_knee` gives them; names that end in _m and _l are of the medial and
        of the lateral condyle.
    x, y, z : Tensor
        Points in mm, of shapes that broadcast.
    """
    y = y + p["tilt"] * x
    lateral = torch.sigmoid(x / 3)

    def of(name: str) -> Tensor:
        return p[name + "_m"] + (p[name + "_l"] - p[name + "_m"]) * lateral

    # Seen from the side a condyle is three discs: posterior, distal, anterior.
    discs = [
        torch.sqrt((y - of("y" + c)) ** 2 + (z - of("z" + c)) ** 2 + 1e-4) - of("r" + c)
        for c in ("p", "d", "a")
    ]
    profile = smooth_min(smooth_min(discs[0], discs[1], p["kb"]), discs[2], p["kb"])
    # Seen from the front it curves away from its axis, and dips into the trochlea between.
    off = torch.sqrt(x * x + p["groove"] ** 2) - of("xc")
    curve = of("rc")
    profile = (profile + off * off / (2 * curve)) / torch.sqrt(1 + (off / curve) ** 2)
    half = of("hw") - p["hshaft"] * torch.sigmoid((z - p["hz"]) / p["hzw"])
    sides = x.abs() - half + of("rb") * (p["zb"] - z).clamp_min(0) ** 2
    sides = sides + p["taper"] * (y - p["taper0"]).clamp_min(0) ** 2
    sides = sides + p["ptaper"] * (p["ptaper0"] - y).clamp_min(0) ** 2
    femur = smooth_max(profile, sides, p["kside"])
    shaft = ellipse(x - p["xsh"], y - p["ysh"] - p["tsh"] * (z - 40), half * 0.97, p["rsy"])
    femur = smooth_min(femur, smooth_max(shaft, p["ztop"] - z, 8), p["ksh"])
    roof = torch.minimum(p["nroofy"] * (y + 14) + p["nbev"] * (z - p["nroofz"] - 8), y - p["nend"])
    notch = smooth_max((x - p["nx"]).abs() - p["nh"], roof, 6)
    return smooth_max(femur, -notch, p["kn"])


def mean_tibia(p: dict[str, Any], x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Distance to the mean tibia: a hollow medial and a domed lateral plateau, spines, shaft."""
    lateral = torch.sigmoid(x / 3)
    medial_dish = ((x - p["dmx"]) ** 2 + (y - p["dmy"]) ** 2) / p["dm"]
    dish = medial_dish.clamp_max(p["dcap"]) * (1 - lateral)
    dome = ((x - p["dlx"]) ** 2 / p["dlx2"]).clamp_max(4)
    dish = dish + (dome - ((y - p["dly"]) ** 2 / p["dl"]).clamp_max(5) + p["lz"]) * lateral
    spines = torch.exp(-(((x / p["spx"]) ** 2) ** 2) - ((y - p["spy"]) / p["spw"]) ** 2)
    top = p["top"] + dish * (x.abs() / 6).clamp_max(1) + p["sp"] * spines
    top = top + p["slope"] * (y + 3) + p["slx"] * x
    top = top - p["ant"] * (y - p["ant0"]).clamp_min(0) ** 2
    taper = torch.sigmoid((p["tz"] - z) / p["tw"])
    thin = torch.sigmoid((-36 - z) / 5)  # the shaft, below the mean knee's field of view
    half = p["rx"] - p["trx"] * taper - 12 * thin
    depth = p["ry"] - p["trY"] * taper - 3 * thin
    u = (x - p["cx"] - p["xsh"] * taper) / half
    v = (y - p["cy"] - p["ysh"] * taper) / depth
    ring = (torch.sqrt(u * u + v * v + 1e-6) - 1) * torch.minimum(half, depth)
    fossa = (x - p["cx"]).abs() - p["fossaw"]
    fossa = smooth_max(fossa, y - (p["cy"] - p["ry"] + p["fossa"]), 8)
    return smooth_max(z - top, smooth_max(ring, -fossa, 6), p["kt"])


@cache
def _shape_modes() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Mean landmarks of each bone (points, 2) and their modes (modes, points, 2), in mm."""
    with (files("oacore.instruments.phantom") / "shape_modes.csv").open() as file:
        table = pd.read_csv(file, comment="#", index_col="point")
    means, modes = {}, {}
    for bone, letter in (("femur", "F"), ("tibia", "T")):
        rows = table[table.index.str.startswith(letter)]
        means[bone] = rows[["x_mm", "z_mm"]].to_numpy()
        modes[bone] = np.stack([rows[[f"x_{m}", f"z_{m}"]] for m in range(1, N_MODES + 1)])
    return means, modes


def waves(points: tuple[Tensor, Tensor, Tensor], table: np.ndarray) -> Tensor:
    """Low-frequency relief: a sum of plane waves, each (kx, ky, kz, phase, amplitude)."""
    x, y, z = points
    return sum(
        a * torch.sin(kx * x + ky * y + kz * z + phase) for kx, ky, kz, phase, a in table.tolist()
    )


def draw_waves(
    rng: np.random.Generator, n: int, low: float, high: float, amplitude: float
) -> np.ndarray:
    """Plane waves of random direction and phase, `low` to `high` mm long; shape (n, 5)."""
    direction = rng.normal(size=(n, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    k = 2 * np.pi / rng.uniform(low, high, (n, 1)) * direction
    return np.column_stack([k, rng.uniform(0, 2 * np.pi, n), np.full(n, amplitude)])


@dataclass(frozen=True)
class Bones:
    """The femur and the tibia of one knee.

    Attributes
    ----------
    size : float
        1 is the mean knee; all lengths below are of the knee itself, in mm.
    depth : float
        Front-to-back stretch of both bones.
    scores : ndarray, shape (4,)
        Shape modes, in standard deviations.
    relief : dict of str to ndarray
        Waves on each bone's surface, see `draw_waves`.
    osteophytes : dict of str to float
        Reach beyond the margin at each of `SITES`; 0 where there is none.
    seats : dict of str to float
        Where along each margin the osteophyte is centred (y).
    lift : (float, float)
        How far the femur is raised, and by how much more for each mm to the lateral side.
    """

    size: float
    depth: float
    scores: np.ndarray
    relief: dict[str, np.ndarray]
    osteophytes: dict[str, float]
    seats: dict[str, float]
    lift: tuple[float, float] = (0.0, 0.0)

    @cached_property
    def bending(self) -> dict[str, Tensor]:
        """Shift of each point (x, z) of each bone with the shape, on a grid of 2 mm."""
        axis = torch.arange(-BENDING, BENDING + 1, 2.0)
        x, z = torch.meshgrid(axis, axis, indexing="ij")
        means, modes = _shape_modes()
        found = {}
        for bone, mean in means.items():
            px, pz = torch.from_numpy(mean).float().T[:, :, None, None]
            near = torch.exp(-((x - px) ** 2 + (z - pz) ** 2) / (2 * NEAR**2))
            moved = torch.from_numpy(np.tensordot(self.scores, modes[bone], axes=1)).float()
            weight = near.sum(0)
            # A mean of the landmarks' moves: full at the outline, fading away from it.
            mean_move = torch.einsum("pxz,pd->dxz", near, moved) / (weight + 1e-3)
            found[bone] = (mean_move * (2 * weight).clamp_max(1))[None]
        return found

    def smooth(self, bone: str, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """Distance to a bone ("femur" or "tibia") without its osteophytes."""
        points = (x, y, z)
        if bone == "femur":
            z = z - self.lift[0] - self.lift[1] * x
        x, y, z = x / self.size, y / self.size / self.depth, z / self.size
        x, z = self._unbend(bone, x, z)
        form = mean_femur if bone == "femur" else mean_tibia
        return form(mean_knee()[bone], x, y, z) * self.size + waves(points, self.relief[bone])

    def _unbend(self, bone: str, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Undo the shape modes: landmarks move, and the points near them follow (in 2D)."""
        x, z = torch.broadcast_tensors(x, z)
        where = torch.stack([z, x], dim=-1).reshape(1, 1, -1, 2) / BENDING
        moved = F.grid_sample(
            self.bending[bone].to(where), where, padding_mode="border", align_corners=True
        ).reshape(2, *x.shape)
        return x - moved[0], z - moved[1]

    def lip(self, site: str, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """Height in mm by which an osteophyte raises the surface: most along the joint's margin."""
        out = self.osteophytes[site]
        side = 1 if site[1] == "l" else -1
        if site[0] == "f":
            # The margin of the femoral cartilage runs round the condyle.
            z = z - self.lift[0] - self.lift[1] * x
            v, w = y / self.size - 3, z / self.size - 25
            across = (torch.sqrt(v * v + w * w + 1e-3) - 18) * self.size
            outer = torch.sigmoid((side * x / self.size - 33) / 1.5) * torch.sigmoid(-w / 2 - 1)
        else:
            across = z + 4 * self.size
            u, v = x / (39 * self.size), y / (29 * self.size) + 0.14
            outer = torch.sigmoid((torch.sqrt(u * u + v * v) - 0.87) / 0.04)
            outer = outer * torch.sigmoid((side * x / self.size - 6) / 2)
        along = (y - self.seats[site]) / (9 + 2.5 * out)
        along = along * along
        across = across / (2.5 + 0.5 * out)
        # Highest at its seat, but the whole margin of that side has some of it.
        length = REST + (1 - REST) * torch.exp(-along * along)
        # Beside the tibia's rim its "distance" grows slower than length, so less of it is enough.
        height = out if site[0] == "f" else 0.8 * out
        return height * outer * length * torch.exp(-across * across)

    def whole(self, bone: str, x: Tensor, y: Tensor, z: Tensor, smooth: Tensor) -> Tensor:
        """Distance to a bone with its osteophytes, from the distance to it without."""
        for site in SITES:
            if site[0] == bone[0] and self.osteophytes[site] > 0:
                smooth = smooth - self.lip(site, x, y, z)
        return smooth
