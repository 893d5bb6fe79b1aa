"""What a run follows from, besides the volumes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from oacore.profile import Recipe


@dataclass(frozen=True)
class RunConfig:
    """All that a run's result follows from, besides the volumes.

    ``profiles.yml`` says what each setting means.
    """

    backbone: str
    supervision: str
    seed: int
    epochs: int
    batch_size: int
    lr: float
    weight_decay: float
    schedule: str = "constant"
    statistics: str = "re-estimated"
    precision: str = "32-true"
    heads: str = "parallel"
    grades: str = "as read"
    encoder: dict[str, Any] = field(default_factory=dict)


def run_config(recipe: Recipe, supervision: str, seed: int) -> RunConfig:
    """One run of a recipe."""
    return RunConfig(
        backbone=recipe.backbone,
        supervision=supervision,
        seed=seed,
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        lr=recipe.lr,
        weight_decay=recipe.weight_decay,
        schedule=recipe.schedule,
        statistics=recipe.statistics,
        precision=recipe.precision,
        heads=recipe.heads,
        grades=recipe.grades,
        encoder=recipe.encoder,
    )
