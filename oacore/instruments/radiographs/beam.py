"""One knee in the beam, looked at: cut, shone through from other sides, and without its film."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.spatial.transform import Rotation

from oacore.instruments.phantom.knee import FIELD_OF_VIEW, DrawnKnee
from oacore.instruments.radiographs.drawing import (
    FIELD,
    SIZE,
    Projection,
    Stand,
    draw_stand,
    project,
)
from oacore.instruments.radiographs.film import Film, draw_film, expose
from oacore.plots.sheets import grey_levels

#: The cartilages in the labels of a drawn knee, those of the tibia last, and its bones.
_CARTILAGES, _TIBIAL, _BONES = (2, 4, 5), (4, 5), (1, 3)
#: Grey values that are shown of a volume, as percentiles of the slices chosen; those of labels.
_WINDOW, _PAINTED = (1, 99), {"bone": 130, "cartilage": 255}
#: Between these landmarks, f5 and t7, the medial joint space lies.
_MEDIAL_GAP = [14, 7]


def coronal_slices(
    knee: DrawnKnee, shares: Mapping[str, float], labels: bool = False
) -> dict[str, np.ndarray]:
    """Slices through a drawn volume, seen from the front, at several depths of the plateau.

    Parameters
    ----------
    knee : DrawnKnee
        A right one.
    shares : mapping of a name to a number
        0 is where the tibial cartilage begins behind, 1 where it ends in front.
    labels : bool
        Whether its labels are shown, femur and tibia grey and their cartilage white, and not its
        image.

    Returns
    -------
    dict of the names to an ndarray of uint8, shape (height, width)
        A pixel is a voxel; the lateral side is on the left.
    """
    there = np.flatnonzero(np.isin(knee.labels, _TIBIAL).any(axis=(0, 2)))
    at = [round(there[0] + share * (there[-1] - there[0])) for share in shares.values()]
    if labels:
        own = knee.labels[:, at]
        bone, cartilage = np.isin(own, _BONES), np.isin(own, _CARTILAGES)
        painted = bone * _PAINTED["bone"] + cartilage * _PAINTED["cartilage"]
        chosen = painted.astype(np.uint8)
    else:
        chosen = grey_levels(knee.image[:, at], _WINDOW)
    return {name: chosen[::-1, i, ::-1].T for i, name in enumerate(shares)}


def as_wide(picture: np.ndarray, field: float = FIELD) -> np.ndarray:
    """The middle of a radiograph, as wide in mm as a drawn volume is.

    Parameters
    ----------
    picture : ndarray, shape (size, size)
    field : float
        Its width in mm.
    """
    off = round(picture.shape[1] * (1 - FIELD_OF_VIEW[0] / field) / 2)
    return picture[:, off : picture.shape[1] - off]


def tilted(stand: Stand, degrees: float) -> Stand:
    """The same knee, which has not moved, in a beam that falls more steeply.

    Parameters
    ----------
    stand : Stand
    degrees : float
        Above 0 the source, which is behind the knee, is further up.
    """
    more = Rotation.from_euler("x", -degrees, degrees=True).as_matrix()
    return replace(stand, view=replace(stand.view, turn=stand.view.turn @ more))


def in_tilted_beams(
    subject: Mapping[str, Any], seed: int | Sequence[int], tilts: Sequence[float], size: int = SIZE
) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    """One knee in several beams, with one exposure.

    Parameters
    ----------
    subject : mapping
        See :func:`.drawing.draw_radiograph`.
    seed : int or sequence of int
        Likewise: at 0 degrees it is the same knee in the same place.
    tilts : sequence of float
        Degrees, see :func:`tilted`.
    size : int
        Pixels of a side.

    Returns
    -------
    pictures : ndarray of uint8, shape (n, size, size)
    landmarks : ndarray of float32, shape (n, 16, 2)
    table : DataFrame
        `tilt`, and by `side` the smallest distance in mm between the outlines as they are drawn.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    stand, film = draw_stand(subject, rng), draw_film(rng)
    noise = int(rng.integers(2**32))
    pictures, landmarks, rows = [], [], []
    for tilt in tilts:
        met = project(tilted(stand, tilt), size, FIELD)
        pictures.append(taken(met, film, noise))
        landmarks.append(met.landmarks)
        rows += [(tilt, side, space) for side, space in met.spaces.items()]
    table = pd.DataFrame(rows, columns=["tilt", "side", "space"])
    return np.stack(pictures), np.stack(landmarks), table


def taken(met: Projection, film: Film, seed: int) -> np.ndarray:
    """The picture that a film makes of what the beam meets; see :func:`.film.expose`."""
    rng = np.random.default_rng(seed)
    return expose(met.attenuation, met.sponge, met.u, met.v, film, rng)


def along_rows(met: Projection, heights: Sequence[float], step: int = 3) -> pd.DataFrame:
    """What the beam loses along some rows of the picture, and in what.

    Parameters
    ----------
    met : Projection
    heights : sequence of float
        Of the rows over the middle of the medial joint space, in mm.
    step : int
        Every so many pixels of a row.

    Returns
    -------
    DataFrame
        `height`; `across` (mm, to the lateral side); by `part`, the natural logarithm of what is
        lost there (`attenuation`).
    """
    v, u = met.v[:, 0].numpy(), met.u[0].numpy()[::step]
    middle = v[round(float(met.landmarks[_MEDIAL_GAP, 1].mean()))]
    rows = []
    for height in heights:
        row = int(np.abs(v - middle - height).argmin())
        for part, lost in met.parts.items():
            values = lost[row].numpy()[::step]
            rows.append(
                pd.DataFrame({"height": height, "across": u, "part": part, "attenuation": values})
            )
    return pd.concat(rows, ignore_index=True)


def film_steps(met: Projection, film: Film, seed: int) -> dict[str, np.ndarray]:
    """A picture as it comes about: what the beam meets, and then each thing that a film adds.

    Parameters
    ----------
    met : Projection
    film : Film
    seed : int
        Of trabeculae and noise.

    Returns
    -------
    dict of a step's name to a picture, see :func:`.film.expose`
    """
    bare = replace(
        film, photons=1e9, scatter=0.0, blur=0.0, sharpen=0.0, flatten=0.0, diaphragm=None
    )
    blurred = replace(bare, scatter=film.scatter, blur=film.blur)
    noisy = replace(blurred, photons=film.photons)
    steps = {
        "what the beam meets": bare,
        "+ scatter and blur": blurred,
        "+ noise": noisy,
        "+ processing": replace(noisy, sharpen=film.sharpen, flatten=film.flatten),
    }
    return {name: taken(met, one, seed) for name, one in steps.items()}


def noise_of(met: Projection, film: Film, factors: Sequence[float]) -> pd.DataFrame:
    """How much two exposures of one knee differ, the more photons, the less.

    Parameters
    ----------
    met : Projection
    film : Film
    factors : sequence of float
        Of its photons.

    Returns
    -------
    DataFrame
        `photons` (in a square mm), `noise` (standard deviation of a grey value, in the middle of
        the picture; that grey values are whole numbers adds to it).
    """
    rows = []
    for factor in factors:
        # Without processing, and without trabeculae, which would be others each time.
        one = replace(film, photons=factor * film.photons, sharpen=0.0, flatten=0.0, texture=0.0)
        first, second = (taken(met, one, seed).astype(float) for seed in (0, 1))
        edge = len(first) // 4
        apart = (first - second)[edge:-edge, edge:-edge]
        rows.append((round(one.photons), float(apart.std() / np.sqrt(2))))
    return pd.DataFrame(rows, columns=["photons", "noise"])
