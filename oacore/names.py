"""How the parts of an experiment are written in prose, tables and figures, each in its order."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files


def _backbones() -> dict[str, str]:
    """Written names of the encoders: each file of ``oacore/models`` that sets NAME is one.

    They are read, not imported: PyTorch takes seconds.
    """
    names: dict[str, str] = {}
    for path in sorted((files("oacore") / "models").iterdir(), key=lambda path: path.name):
        if path.name.endswith(".py"):
            said = re.search(r'^NAME = "(.+)"$', path.read_text(encoding="utf-8"), re.MULTILINE)
            if said:
                names[path.name.removesuffix(".py")] = said[1]
    first = [backbone for backbone in ("resnet3d", "m3t", "nnmamba") if backbone in names]
    return {backbone: names[backbone] for backbone in [*first, *names]}


#: Encoders, the paper's in its order and then others.
BACKBONE_NAMES = _backbones()

#: Arms: what a backbone is trained on.
SUPERVISION_NAMES = {"single_oa": "Single-OA", "single_kl": "Single-KL", "dual": "Dual"}

#: Table 1's metrics.
METRIC_NAMES = {
    "oa_auc": "OA AUC",
    "oa_acc": "OA accuracy",
    "oa_f1": "OA F1",
    "kl_auc": "KL macro-AUC",
    "kl_acc": "KL accuracy",
    "kl_f1": "KL macro-F1",
}


@dataclass(frozen=True)
class Plane:
    """How slices of a volume (X, Y, Z) in canonical (RAS) orientation are looked at.

    Attributes
    ----------
    axis : int
        The axis that a slice fixes.
    across, up : int
        The axes along a picture's rows and columns. A row runs from high to low: anterior is on
        the left of sagittal slices, the patient's right on the left of the others.
    edges : str
        Letters of the picture's left, right, lower and upper edge.
    """

    axis: int
    across: int
    up: int
    edges: str


#: Planes by the axis that they fix.
PLANES = {
    "sagittal": Plane(axis=0, across=1, up=2, edges="APIS"),
    "coronal": Plane(axis=1, across=0, up=2, edges="RLIS"),
    "axial": Plane(axis=2, across=0, up=1, edges="RLPA"),
}
