"""One synthetic right knee: from a row of truth to an image and a label map.

Implicit surfaces (signed distances in mm, negative inside) in a frame with its origin on the
joint line: +x is the patient's right, so lateral in a right knee and -x medial; +y anterior;
+z superior. They can be evaluated on any grid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

Array = npt.NDArray[np.floating[Any]]

FIELD_OF_VIEW = (112.0, 140.0, 140.0)  # mm: 160 x 384 x 384 voxels of 0.7 x 0.3646 x 0.3646
PLATES = ("femur_medial", "femur_lateral", "tibia_medial", "tibia_lateral")
MARGINS = ("fm", "fl", "tm", "tl")  # femur or tibia, medial or lateral, as OARSI names them
# Signal relative to femoral marrow. DESS with water excitation: marrow and fat are dark,
# cartilage about 4.3 times brighter once thin layers are averaged with their surroundings.
SIGNAL = {
    "air": 0.05,
    "fat": 0.9,
    "muscle": 3.4,
    "tendon": 0.7,
    "capsule": 2.7,
    "fluid": 6.0,
    "meniscus": 2.1,
    "femur": 1.0,
    "tibia": 1.06,
    "femoral_cartilage": 4.65,
    "medial_cartilage": 4.1,
    "lateral_cartilage": 4.3,
}
FEMUR_SIGNAL = 42.5  # median grey value of the femur in OAIZIB-CM
NOISE = 7.0  # grey values, in each of the two receiver channels


def _blend_min(a: Array, b: Array, k: float) -> Array:
    """Smooth minimum, so a smooth union of two bodies; `k` is the width of the fillet in mm."""
    overlap = np.maximum(k - np.abs(a - b), 0)
    return np.minimum(a, b) - overlap * overlap / (4 * k)


def _blend_max(a: Array, b: Array, k: float) -> Array:
    """Smooth maximum, so a smooth intersection."""
    return -_blend_min(-a, -b, k)


def _ellipse(u: Array, v: Array, a: Any, b: Any) -> Array:
    """Distance to an ellipse, right to first order (gradient-normalised)."""
    p, q = u / a, v / b
    level = np.sqrt(p * p + q * q) + 1e-6
    slope = np.sqrt((p / a) ** 2 + (q / b) ** 2) + 1e-6
    return level * (level - 1) / slope


def _ridge(x: Array, y: Array, z: Array, at: tuple[float, float, float], out: float) -> Array:
    """Osteophyte: a lip along the margin at (x, y, z), reaching `out` mm beyond it."""
    radius = 1.5 + 0.6 * out
    side = 1 if at[0] > 0 else -1
    # The margin curves inwards, front and back.
    bend = 0.008 * (y - at[1]) ** 2
    centre = at[0] + side * (out - radius - 2 * max(0.0, 1 - out) - bend)
    along = np.maximum(np.abs(y - at[1]) - (7 + 1.4 * out), 0)
    return np.sqrt((x - centre) ** 2 + along**2 + (0.8 * (z - at[2])) ** 2) - radius


def _waves(x: Array, y: Array, z: Array, waves: np.ndarray) -> Array:
    """Low-frequency relief: a sum of plane waves, each (kx, ky, kz, phase, amplitude)."""
    total = np.zeros(np.broadcast_shapes(x.shape, y.shape, z.shape), np.float32)
    for kx, ky, kz, phase, amplitude in waves.astype(np.float32):
        total += amplitude * np.sin(kx * x + ky * y + kz * z + phase)
    return total


class _Knee:
    """The surfaces of one knee, as functions of position in mm."""

    def __init__(self, subject: Mapping[str, Any], rng: np.random.Generator) -> None:
        def waves(n: int, low: float, high: float, amplitude: float) -> np.ndarray:
            direction = rng.normal(size=(n, 3))
            direction /= np.linalg.norm(direction, axis=1, keepdims=True)
            k = 2 * np.pi / rng.uniform(low, high, (n, 1)) * direction
            rest = rng.uniform(0, 2 * np.pi, n), np.full(n, amplitude)
            return np.column_stack([k, *rest])

        self.subject = subject
        self.size = float(subject["size"])
        severity = float(subject["severity"])
        self.width = 39.2 * rng.normal(1, 0.025) + 0.35 * severity
        self.depth = rng.normal(1.04, 0.03)
        self.notch = rng.normal(9.5, 0.8)
        self.spine = rng.normal(7.0, 0.8) + 0.2 * severity
        self.slope = rng.normal(0.05, 0.025)
        self.relief = {bone: waves(3, 25, 60, 0.35) for bone in ("femur", "tibia")}
        self.texture = waves(4, 5, 16, 0.03)
        self.margin_y = {name: rng.normal(-4, 3) for name in MARGINS}
        self.patella = rng.normal([0, 43, 27], [1.5, 1, 3])
        self.skin = 1 + 0.006 * (float(subject["bmi"]) - 29.5) + rng.normal(0, 0.02)
        self.lift = (0.0, 0.0)
        gaps = [self._gap(side) for side in (-22.0, 22.0)]
        aims = [float(subject[f"joint_space_{side}_mm"]) for side in ("medial", "lateral")]
        medial, lateral = ((aim - gap) / self.size for aim, gap in zip(aims, gaps, strict=True))
        # Each condyle is set down on its plateau, so unequal loss tilts the femur (varus, valgus).
        self.lift = ((medial + lateral) / 2, (lateral - medial) / 44)

    def _gap(self, side: float) -> float:
        """Smallest vertical distance in mm of femur and tibia in one compartment."""
        x = np.array(side * self.size)
        y, z = np.meshgrid(
            np.arange(-14, 10, 1.0) * self.size, np.arange(-8, 12, 0.1), indexing="ij"
        )
        below_femur = (self.femur(x, y, z) > 0).argmin(axis=1)
        in_tibia = (self.tibia(x, y, z) < 0).argmin(axis=1)
        return float((below_femur - in_tibia).min() * 0.1)

    def _half_width(self, z: Array) -> Array:
        return self.width - 20 / (1 + np.exp((44 - z) / 7))

    def femur(self, x: Array, y: Array, z: Array) -> Array:
        """Distance to the femur: two condyles, trochlea, notch, shaft, osteophytes."""
        relief = _waves(x, y, z, self.relief["femur"])
        x, y, z = x / self.size, y / self.size / self.depth, z / self.size
        z = z - self.lift[0] - self.lift[1] * x
        y = y + 0.035 * x  # the lateral condyle reaches further back
        half = self._half_width(z)
        posterior = np.hypot(y + 11, z - 19.5) - 19.5
        distal = np.hypot(y - 3, z - 27.5) - 27.5
        off = np.sqrt(x * x + 9) - 22
        profile = _blend_min(posterior, distal, 4) + off * off / 46
        profile = profile / np.sqrt(1 + (off / 23) ** 2)
        sides = np.abs(x) - half + np.maximum(y - 4, 0) ** 2 / 52
        shaft = _ellipse(x, y - 10, half, 17.5)
        femur = _blend_max(profile, sides, 7)
        femur = _blend_min(femur, _blend_max(shaft, 26 - z, 8), 12)
        femur = _blend_max(femur, -self.intercondylar(x, y, z), 4)
        for name in ("fm", "fl"):
            x0 = (-1 if name == "fm" else 1) * (self.width - 0.5)
            out = float(self.subject[f"osteophyte_{name}_mm"]) / self.size
            lip = _ridge(x, y, z, (x0, self.margin_y[name], 9.0), out)
            femur = _blend_min(femur, lip, 2)
        return femur * self.size + relief

    def intercondylar(self, x: Array, y: Array, z: Array) -> Array:
        """Distance to the notch, in units of the mean knee."""
        roof = np.minimum(0.78 * (y + 14) + 0.625 * (z - 30), y + 15)
        return _blend_max(np.abs(x) - self.notch, roof, 6)

    def tibia(self, x: Array, y: Array, z: Array) -> Array:
        """Distance to the tibia: two plateaus, spines, shaft, osteophytes."""
        relief = _waves(x, y, z, self.relief["tibia"])
        x, y, z = x / self.size, y / self.size / self.depth, z / self.size
        radius = (np.sqrt(x * x + 9) - 22) ** 2 + (y + 6) ** 2
        dish = np.minimum(radius / 150, 3) * (x < 0) - np.minimum((y + 3) ** 2 / 130, 4) * (x > 0)
        dish = dish * np.minimum(np.abs(x) / 6, 1)
        spines = self.spine * np.exp(-(((x / 8) ** 2) ** 2) - ((y + 3) / 14) ** 2)
        top = dish + spines + self.slope * (y + 3)
        taper = 1 / (1 + np.exp((z + 28) / 8))
        half = self.width - 1.2 - 20 * taper
        ring = _ellipse(x, y + 7 - 8 * taper, half, 28 - 10 * taper)
        tibia = _blend_max(z - top, ring, 6)
        for name in ("tm", "tl"):
            x0 = (-1 if name == "tm" else 1) * (self.width - 2.2)
            out = float(self.subject[f"osteophyte_{name}_mm"]) / self.size
            lip = _ridge(x, y, z, (x0, self.margin_y[name] - 2, -4.0), out)
            tibia = _blend_min(tibia, lip, 2)
        return tibia * self.size + relief

    def cartilage(self, x: Array, y: Array, z: Array) -> dict[str, Array]:
        """Thickness in mm of each cartilage over the nearest bone, 0 outside its plate."""
        x, y, z = x / self.size, y / self.size / self.depth, z / self.size
        whole = {name: float(self.subject[f"whole_{name}_mm"]) for name in PLATES}
        loss = {name: float(self.subject[f"loss_{name}"]) for name in PLATES}
        lateral = 1 / (1 + np.exp(-x / 2))
        inside = 35 - 0.05 * y - z
        inside = np.minimum(inside, self.intercondylar(x, y, z) - 4)
        inside = np.minimum(inside, self._half_width(z) - np.abs(x) - 2)
        femoral = (1 - lateral) * whole["femur_medial"] + lateral * whole["femur_lateral"]
        femoral = femoral * np.clip(inside / 3, 0, 1) * (1 + 0.3 * np.clip((y - 12) / 8, 0, 1))
        thickness = {}
        for side, sign in (("medial", -1), ("lateral", 1)):
            reach = 0.85 + 0.35 * loss[f"femur_{side}"]  # a lesion that deepens also spreads
            p, q = (x - sign * 22) / (12 * reach), (y + 4) / (16 * reach)
            worn = np.exp(-((p * p + q * q) ** 2))
            femoral = femoral * (1 - np.minimum(loss[f"femur_{side}"] * worn, 1) * (z < 25))
            p, q = (x - sign * 22) / 15.2, (y + 7) / (23 if side == "medial" else 21.5)
            plate = np.clip(3.5 * (1 - np.sqrt(p * p + q * q)), 0, 1) * np.clip((z + 6) / 3, 0, 1)
            left = 1 - np.minimum(loss[f"tibia_{side}"] * worn, 1)
            thickness[side] = whole[f"tibia_{side}"] * plate * left
        return {"femoral": femoral, **thickness}

    def menisci(self, x: Array, y: Array) -> Array:
        """1 under the two menisci, 0 elsewhere (seen from above)."""
        x, y = x / self.size, y / self.size / self.depth
        q = np.sqrt(((np.abs(x) - 21) / 17) ** 2 + ((y + 6) / 24) ** 2)
        open_to_centre = np.abs(x) > 11
        return (np.clip((q - 0.62) * 6, 0, 1) * np.clip((1.1 - q) * 6, 0, 1)) * open_to_centre


def _render(
    knee: _Knee, x: Array, y: Array, z: Array, blur: float
) -> tuple[np.ndarray, np.ndarray]:
    """Noiseless signal (femoral marrow is 1) and labels at points in mm."""

    def cover(distance: Array, edge: float = 0.0) -> Array:
        return np.clip(0.5 - distance / max(edge, blur), 0, 1)

    def paint(signal: Array, share: Array, tissue: float | Array) -> Array:
        return signal + share * (tissue - signal)

    size = knee.size
    femur, tibia = knee.femur(x, y, z), knee.tibia(x, y, z)
    thickness = knee.cartilage(x, y, z)
    texture = 1 + _waves(x, y, z, knee.texture)
    # Round the joint: skin, fat, muscle behind and above, tendons and patella in front.
    skin = _ellipse(x, y + 6, 62 * size * knee.skin, 68 * size * knee.skin)
    limb = _ellipse(x, y + 12, 50 * size, 50 * size)
    signal = paint(np.full(x.shape, SIGNAL["air"], np.float32), cover(skin), 2.6)
    signal = paint(signal, cover(skin + 2), SIGNAL["fat"] * texture)
    behind = np.maximum(y + 30 * size - 0.35 * np.abs(z), 4 - np.minimum(femur, tibia))
    signal = paint(signal, cover(np.maximum(limb, behind)), SIGNAL["muscle"] * texture)
    capsule = _blend_max(np.minimum(femur, tibia) - 9, 0.7 * np.abs(z) - 22 * size, 8)
    signal = paint(signal, cover(capsule, 3.5), SIGNAL["capsule"] * texture)
    px, py, pz = (float(v) * size for v in knee.patella)
    tendon = np.maximum(np.abs(x - px) - 12, np.abs(y - (py - 0.16 * np.abs(z - pz))) - 2.5)
    signal = paint(signal, cover(tendon), SIGNAL["tendon"])
    bulge = _ellipse(np.hypot((x - px) / 1.15, z - pz), y - py, 19 * size, 9.5 * size)
    behind_patella = np.maximum(bulge - 2.2, y - py - 1)
    signal = paint(signal, cover(behind_patella), SIGNAL["femoral_cartilage"])
    signal = paint(signal, cover(bulge), SIGNAL["femur"])
    fibula = np.maximum(np.hypot(x - 32 * size, y + 25 * size) - 7 * size, z + 16 * size)
    signal = paint(signal, cover(fibula), SIGNAL["tibia"])
    # Inside the joint.
    near = np.maximum(femur, tibia) - 4.5
    rim = np.maximum(np.abs(x) - 36 * size, np.abs(y + 5 * size) - 26 * size)
    signal = paint(signal, cover(np.maximum(near, rim)), SIGNAL["fluid"] * 0.85)
    signal = paint(signal, cover(near) * knee.menisci(x, y), SIGNAL["meniscus"])
    # Where two cartilages touch they share the room in proportion to their thickness.
    labels = np.zeros(x.shape, np.uint8)
    for label, side in ((4, "medial"), (5, "lateral")):
        depth = tibia - thickness[side]
        own = (thickness[side] > 0.05) & (tibia < 15)
        signal = paint(signal, cover(depth) * own, SIGNAL[f"{side}_cartilage"])
        labels[own & (depth < 0)] = label
    depth = femur - thickness["femoral"]
    own = (thickness["femoral"] > 0.05) & (femur < 15)
    share = femur * np.maximum(thickness["medial"], thickness["lateral"])
    wins = own & ((labels == 0) | (share < tibia * thickness["femoral"]))
    signal = paint(signal, cover(depth) * wins, SIGNAL["femoral_cartilage"])
    labels[wins & (depth < 0)] = 2
    for label, name, bone in ((3, "tibia", tibia), (1, "femur", femur)):
        signal = paint(signal, cover(np.abs(bone + 0.4) - 0.5) * 0.7, 0.4)  # cortical bone
        signal = paint(signal, cover(bone + 0.8), SIGNAL[name])
        labels[bone < 0] = label
    return signal, labels


def draw_knee(
    subject: Mapping[str, Any], shape: tuple[int, int, int], seed: int | Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the magnetic resonance image and the label map of one knee.

    Parameters
    ----------
    subject : mapping
        A row of `sample_subjects`.
    shape : (int, int, int)
        Voxels from left to right, back to front and bottom to top, of `FIELD_OF_VIEW`.
    seed : int or sequence of int
        Of bone shape, pose, receiver gain and field, and noise; none of them knows the grade.

    Returns
    -------
    image : ndarray of int16
    labels : ndarray of uint8
        1 femur, 2 femoral cartilage, 3 tibia, 4 medial and 5 lateral tibial cartilage.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    knee = _Knee(subject, rng)
    turn = Rotation.from_euler("xyz", rng.normal(0, [3, 2, 4]), degrees=True).as_matrix()
    centre = rng.normal([0, -4, -8], [2, 2, 3])
    gain = FEMUR_SIGNAL * float(np.exp(rng.normal(0, 0.13)))
    contrast = float(np.exp(rng.normal(0, 0.06)))
    field = rng.normal(0, [0.06, 0.06, 0.06, 0.04, 0.04, 0.04]).tolist()
    voxel = np.array(FIELD_OF_VIEW) / shape
    axes = [
        ((np.arange(n) + 0.5) * h - length / 2).astype(np.float32)
        for n, h, length in zip(shape, voxel, FIELD_OF_VIEW, strict=True)
    ]
    blur = float(np.sqrt((voxel**2).mean()))
    image, labels = np.empty(shape, np.int16), np.empty(shape, np.uint8)
    # Slabs that fit the processor's cache: faster, and memory does not grow with the grid.
    slab = max(1, 100_000 // (shape[1] * shape[2]))
    for start in range(0, shape[0], slab):
        part = slice(start, start + slab)
        wx, wy, wz = np.meshgrid(axes[0][part], axes[1], axes[2], indexing="ij", sparse=True)
        x, y, z = (
            np.float32(r[0]) * wx + np.float32(r[1]) * wy + np.float32(r[2]) * wz - np.float32(c)
            for r, c in zip(turn, centre, strict=True)
        )
        signal, labels[part] = _render(knee, x, y, z, blur)
        u, v, w = wx / 56, wy / 70, wz / 70
        bias = field[0] * u + field[1] * v + field[2] * w
        bias = bias + field[3] * u * u + field[4] * v * v + field[5] * w * w
        signal = gain * np.exp(bias) * signal * np.maximum(signal, 0.3) ** (contrast - 1)
        noise = rng.standard_normal((2, *signal.shape), dtype=np.float32) * np.float32(NOISE)
        image[part] = np.rint(np.hypot(signal + noise[0], noise[1]))
    return image, labels
