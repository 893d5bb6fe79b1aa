"""Fit the phantom's bone formulas to a mean knee, and write its `mean_knee.csv`.

    python -m workflow.fit_bones SEGMENTATION.nii.gz

The segmentation is that of CLAIR-Knee-103R (64 x 128 x 128), which `oacore fetch references`
brings. Least squares of the signed distance near the bone surfaces, by gradient descent from
hand-set constants; a few seconds a bone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.ndimage import distance_transform_edt

from oacore.data.volumes import read_canonical
from oacore.files import write
from oacore.instruments.phantom.bones import mean_femur, mean_tibia

TABLE = Path(__file__).resolve().parent.parent / "oacore/instruments/phantom/mean_knee.csv"
ORIGIN = (46.5, 42.0, 28.5)  # mm from the template's corner: the joint line between the spines
HEADER = """\
# Constants of the bone formulas in oacore/instruments/phantom/bones.py, in mm unless they are
# slopes or powers.
# Fitted by workflow/fit_bones.py to the segmentation of CLAIR-Knee-103R, the mean of 103 right
# knees of KL 0 (Yao et al. 2024, CartiMorph, doi:10.1016/j.media.2023.103035; CC-BY-NC 4.0).
# Mean distance of the fitted surfaces from its own: femur {femur:.2f} mm, tibia {tibia:.2f} mm.
"""
# fmt: off
START = {
    "femur": dict(
        tilt=.03, yp_m=-12., zp_m=19., rp_m=18., yp_l=-11., zp_l=19., rp_l=18., yd_m=2., zd_m=27.,
        rd_m=26., yd_l=3., zd_l=27., rd_l=26., ya_m=18., za_m=25., ra_m=18., ya_l=20., za_l=25.,
        ra_l=19., xc_m=24., xc_l=23., rc_m=23., rc_l=23., groove=3., kb=6., hw_m=40., hw_l=39.,
        taper=.012, taper0=5., ptaper=.012, ptaper0=-12., hz=45., hzw=7., hshaft=20., ysh=14.,
        rsy=18., xsh=1., ztop=28., tsh=.1, ksh=12., kside=7., rb_m=.004, rb_l=.004, zb=18., nh=9.,
        nx=-1., nroofz=22., nroofy=.78, nbev=.5, kn=5., nend=8.),
    "tibia": dict(
        cx=1., cy=-6., rx=38., ry=27., xsh=.1, ysh=2., tz=-26., tw=7., trx=20., trY=11.,
        dm=140., dmx=-22., dmy=-6., dl=140., dlx=22., dly=-3., dlx2=200., sp=7., spy=-3., spw=14.,
        spx=8., slope=.1, slx=.1, top=-1., kt=5., fossa=8., fossaw=11., dcap=6., lz=-2., ant=.02,
        ant0=12.),
}
# fmt: on
LIMITS = {"femur": (-10.0, 62.0), "tibia": (-26.0, 20.0)}  # z: the template ends beyond
LABEL = {"femur": 1, "tibia": 3}
STEPS = 600  # of gradient descent
FORM: dict[str, Callable[..., torch.Tensor]] = {"femur": mean_femur, "tibia": mean_tibia}


def fit_bone(bone: str, labels: np.ndarray, spacing: np.ndarray) -> tuple[dict[str, float], float]:
    """Constants of one bone, and the mean distance in mm of its surface from the labels'."""
    inside = labels == LABEL[bone]
    distance = distance_transform_edt(~inside, sampling=spacing)
    distance = distance - distance_transform_edt(inside, sampling=spacing)
    axes = [
        (np.arange(n) + 0.5) * h - o for n, h, o in zip(inside.shape, spacing, ORIGIN, strict=True)
    ]
    z = np.broadcast_to(axes[2], inside.shape)
    low, high = LIMITS[bone]
    near = np.nonzero((np.abs(distance) < 9) & (z > low) & (z < high))
    points = [
        torch.tensor(axis[index], dtype=torch.float32)
        for axis, index in zip(axes, near, strict=True)
    ]
    target = torch.tensor(distance[near], dtype=torch.float32)
    start = START[bone]
    scale = {name: torch.ones((), requires_grad=True) for name in start}
    optimizer = torch.optim.Adam(scale.values(), lr=0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for step in range(STEPS):
        some = torch.randint(
            0, len(target), (60_000,), generator=torch.Generator().manual_seed(step)
        )
        found = FORM[bone](
            {name: scale[name] * value for name, value in start.items()},
            *(axis[some] for axis in points),
        )
        error = found.clamp(-6, 6) - target[some].clamp(-6, 6)
        weight = torch.exp(-((target[some] / 4) ** 2)) + 0.1
        loss = (weight * error**2 / (1 + 0.1 * error.abs())).sum() / weight.sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    fitted = {name: round(float(scale[name].detach()) * value, 4) for name, value in start.items()}
    with torch.no_grad():
        found = FORM[bone](fitted, *points)
    surface = target.abs() < 1
    return fitted, float((found - target)[surface].abs().mean())


def main() -> None:
    """Fit both bones and write the table."""
    labels, affine = read_canonical(sys.argv[1])
    spacing = np.abs(np.diag(affine)[:3])
    rows, gaps = [], {}
    for bone in START:
        fitted, gaps[bone] = fit_bone(bone, np.asarray(labels), spacing)
        rows += [{"bone": bone, "name": name, "value": value} for name, value in fitted.items()]
    body = pd.DataFrame(rows).to_csv(index=False)
    write(TABLE, HEADER.format(**gaps) + body)


if __name__ == "__main__":
    main()
