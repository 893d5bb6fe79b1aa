"""Drawn radiographs cut as the public set's are, about the joint."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.ndimage import map_coordinates

from oacore.instruments.radiographs.cases import Radiographs
from oacore.instruments.radiographs.public_layout import PUBLIC_SIZE

# The public set's crops, of 350 landmarked knees of its training split: pixels from t0 to t8,
# where t4 lies (x, y), and pixels' width by their height; means and spreads.
WIDTH, PLACE = (181.0, 7.0), ((110.0, 121.6), (3.7, 7.0))
ASPECT = (0.967, 0.085)


def as_public(drawn: Radiographs, seed: int) -> Radiographs:
    """Cut drawn radiographs as those of the public set are: about the joint, to 224 x 224.

    Parameters
    ----------
    drawn : Radiographs
        With landmarks, and a field that leaves room around the joint.
    seed : int
        Of scale and place, which vary as they do there.

    Returns
    -------
    Radiographs
        With `mm_per_pixel_x` and `mm_per_pixel_y` of the crops.
    """
    rng = np.random.default_rng(seed)
    rows, columns = PUBLIC_SIZE
    pictures = np.empty((len(drawn.cases), rows, columns), np.uint8)
    landmarks = np.empty_like(drawn.landmarks)
    scales = np.empty((len(drawn.cases), 2))
    for at, (picture, points) in enumerate(zip(drawn.pictures, drawn.landmarks, strict=True)):
        across = (points[8, 0] - points[0, 0]) / rng.normal(*WIDTH)
        scale = np.array([across, across / rng.normal(*ASPECT)])
        place = rng.normal(*PLACE)
        x = points[4, 0] + (np.arange(columns) - place[0]) * scale[0]
        y = points[4, 1] + (np.arange(rows) - place[1]) * scale[1]
        grid = np.meshgrid(y, x, indexing="ij")
        crop = map_coordinates(picture.astype(np.float32), grid, order=1, mode="nearest")
        pictures[at] = crop.round()
        landmarks[at] = (points - points[4]) / scale + place
        scales[at] = scale
    names = ["mm_per_pixel_x", "mm_per_pixel_y"]
    cases = drawn.cases.assign(
        **{name: drawn.cases[name] * scales[:, at] for at, name in enumerate(names)}
    )
    return replace(drawn, cases=cases, pictures=pictures, landmarks=landmarks)
