"""From attenuation to grey: trabeculae, scatter, unsharpness, noise, processing, edges, metal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

# How often there is metal, and how often the edge of a diaphragm; a few, as in real films.
METAL, DIAPHRAGM = 0.02, 0.06
# Attenuation per mm of steel or titanium, in between. Beyond a few mm nothing comes through.
METAL_PER_MM = 0.6
# Struts of cancellous bone: how many a mm along the bone and across it, and how strong. Most run
# up and down, some across, the rest in no direction.
STRUTS = ((0.11, 1.7, 1.0), (0.5, 0.5, 0.10), (1.2, 1.2, 0.3))
WHITEST, SOFT_END = 254.0, 9.0  # grey values: the end, and over how many it is reached
COARSE = 8  # what varies slowly is computed on every eighth pixel


@dataclass(frozen=True)
class Film:
    """One exposure and what was made of it; nothing here knows the grade.

    Attributes
    ----------
    photons : float
        Detected in a square mm behind the middle of the knee.
    scatter : float
        Share of scattered photons among these, 0 to 1.
    blur : float
        Standard deviation in mm of focal spot and detector together.
    texture : float
        Strength of the trabeculae: attenuation by the root of mm.
    sharpen, flatten : float
        How much fine detail the processing adds, and how much of the slow change it takes away.
    grey, contrast : float
        Grey value of the middle part of the picture: its median, and from its 5% to its 95%
        quantile, before the ends of the scale are softened.
    diaphragm : (float, float, float) or None
        Edge of the irradiated field: its angle, its distance from the picture's middle in halves
        of the picture, and what lies beyond (0 black, 1 white).
    metal : tuple of (float, float, float, float, float)
        Rods: both ends (u, v) and radius, in mm.
    """

    photons: float
    scatter: float
    blur: float
    texture: float
    sharpen: float
    flatten: float
    grey: float
    contrast: float
    diaphragm: tuple[float, float, float] | None
    metal: tuple[tuple[float, float, float, float, float], ...]


def draw_film(rng: np.random.Generator) -> Film:
    """Draw an exposure. Spreads were set on the training split of real films."""
    diaphragm = None
    if rng.random() < DIAPHRAGM:
        angle = rng.integers(4) * np.pi / 2 + rng.normal(0, 0.04)
        diaphragm = (float(angle), float(rng.uniform(0.72, 0.95)), float(rng.random() < 0.3))
    return Film(
        photons=float(np.exp(rng.normal(np.log(14000), 0.5))),
        scatter=float(rng.uniform(0.15, 0.45)),
        blur=float(rng.uniform(0.12, 0.32)),
        texture=float(np.exp(rng.normal(np.log(0.0065), 0.35))),
        sharpen=float(rng.uniform(0, 0.8)),
        flatten=float(rng.uniform(0, 0.6)),
        grey=float(rng.normal(165, 28)),
        contrast=float(np.exp(rng.normal(np.log(108), 0.36))),
        diaphragm=diaphragm,
        metal=_draw_metal(rng) if rng.random() < METAL else (),
    )


def _draw_metal(rng: np.random.Generator) -> tuple[tuple[float, float, float, float, float], ...]:
    """A screw across the tibia, or a staple in it or in the femur."""
    if rng.random() < 0.4:
        v, fall = rng.uniform(-26, -14), rng.uniform(-8, 8)
        inner = rng.uniform(-30, 0)
        return ((36.0, v, inner, v + fall, 1.6), (35.0, v, 38.0, v, 3.4))
    u, v = rng.choice([-1, 1]) * rng.uniform(14, 26), rng.choice([-13.0, 36.0])
    wide, turn = rng.uniform(7, 11), rng.uniform(-0.5, 0.5)
    ends = np.array([[-wide, -14], [-wide, 0], [wide, 0], [wide, -14]]) / [1.6, 1]
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    (a, b, c, d) = (ends @ rotation.T + [u, v]).tolist()
    return ((*a, *b, 0.9), (*b, *c, 0.9), (*c, *d, 0.9))


def _blurred(image: Tensor, sd: float) -> Tensor:
    """Gaussian blur by `sd` pixels; the edge goes on as it is."""
    n = max(1, int(3 * sd + 0.5))
    taps = torch.exp(-0.5 * (torch.arange(-n, n + 1) / max(sd, 1e-3)) ** 2)
    taps = taps / taps.sum()
    image = F.pad(image[None, None], (n, n, n, n), mode="replicate")
    image = F.conv2d(image, taps[None, None, None, :])
    return F.conv2d(image, taps[None, None, :, None])[0, 0]


def _slow(image: Tensor, sd: float) -> Tensor:
    """A wide blur, by `sd` pixels, on a coarser grid."""
    small = F.avg_pool2d(image[None, None], COARSE, ceil_mode=True, count_include_pad=False)
    wide = _blurred(small[0, 0], sd / COARSE)[None, None]
    return F.interpolate(wide, size=image.shape, mode="bilinear", align_corners=False)[0, 0]


def _trabeculae(shape: tuple[int, int], pixel: float, generator: torch.Generator) -> Tensor:
    """A random pattern of `STRUTS`, of mean 0 and variance 1."""
    spectrum = torch.fft.rfft2(torch.randn(shape, generator=generator))
    fv = torch.fft.fftfreq(shape[0], pixel)[:, None]
    fu = torch.fft.rfftfreq(shape[1], pixel)[None, :]
    weight = torch.zeros_like(spectrum.real)
    for along, across, share in STRUTS:
        radius = ((fv / along) ** 2 + (fu / across) ** 2).sqrt()
        weight += share * torch.exp(-(radius**2)) * (3 * radius).clamp_max(1)
    pattern = torch.fft.irfft2(spectrum * weight, s=shape)
    return pattern / pattern.std()


def _rods(film: Film, u: Tensor, v: Tensor) -> Tensor:
    """Length of rays in metal."""
    length = torch.zeros_like(u + v)
    for u0, v0, u1, v1, radius in film.metal:
        du, dv = u1 - u0, v1 - v0
        along = ((u - u0) * du + (v - v0) * dv) / (du * du + dv * dv)
        along = along.clamp(0, 1)
        off = (u - u0 - along * du) ** 2 + (v - v0 - along * dv) ** 2
        length = torch.maximum(length, 2 * (radius * radius - off).clamp_min(0).sqrt())
    return length


def expose(
    attenuation: Tensor,
    sponge: Tensor,
    u: Tensor,
    v: Tensor,
    film: Film,
    rng: np.random.Generator,
) -> np.ndarray:
    """Take the picture.

    Parameters
    ----------
    attenuation : Tensor, shape (rows, columns)
        Natural logarithm of what the beam loses.
    sponge : Tensor, same shape
        How many mm of cancellous bone it passes.
    u, v : Tensor, shapes (1, columns) and (rows, 1)
        Places of the pixels in mm, evenly spaced.
    film : Film
    rng : numpy.random.Generator
        Of the trabeculae and of the noise.

    Returns
    -------
    ndarray of uint8, shape (rows, columns)
        Bone is bright.
    """
    rows, columns = attenuation.shape
    pixel = abs(float(v[1, 0] - v[0, 0]))
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    pattern = _trabeculae((rows, columns), pixel, generator)
    attenuation = attenuation + film.texture * pattern * sponge.sqrt()
    if film.metal:
        attenuation = attenuation + METAL_PER_MM * _rods(film, u, v)
    primary = torch.exp(-attenuation)
    share = film.scatter / (1 - film.scatter)
    signal = _blurred(primary, film.blur / pixel) + share * _slow(primary, 18 / pixel)
    # Scale the middle of the knee to the photons that arrive there; noise is Poisson's, which is
    # normal at such counts.
    edge = min(rows, columns) // 6
    middle = signal[edge:-edge, edge:-edge]
    count = signal * (film.photons * pixel * pixel / middle.median())
    noise = torch.randn((rows, columns), generator=generator)
    grey = -torch.log((count + noise * count.sqrt()).clamp_min(1.0))
    slow = _slow(grey, 14 / pixel)
    grey = grey - film.flatten * slow + film.sharpen * (grey - _blurred(grey, 1.6 / pixel))
    low, median, high = torch.quantile(
        grey[edge:-edge, edge:-edge].flatten()[::7], torch.tensor([0.05, 0.5, 0.95])
    ).tolist()
    grey = film.grey + (grey - median) * (film.contrast / (high - low))
    # The ends of the scale are reached slowly, as on film.
    grey = SOFT_END * F.softplus(grey / SOFT_END)
    grey = WHITEST - SOFT_END * F.softplus((WHITEST - grey) / SOFT_END)
    if film.diaphragm is not None:
        angle, far, beyond = film.diaphragm
        half = max(rows, columns) * pixel / 2
        out = (u - u.mean()) * np.cos(angle) + (v - v.mean()) * np.sin(angle) - far * half
        grey = torch.lerp(grey, torch.full_like(grey, 255 * beyond), (out / pixel).clamp(0, 1))
    return grey.round_().clamp_(0, 255).to(torch.uint8).numpy()
