"""How the parts of an experiment are written in prose, tables and figures, each in its order."""

from __future__ import annotations

import re
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
