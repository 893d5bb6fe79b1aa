"""What the losses of the joint distribution give, in files: run by :mod:`workflow.carry`.

Distributions are fitted to drawn patterns; losses and gradients are of random batches, soft and
nearly sure, with exact zeros among them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from oacore.instruments.coherence.joint import (
    fit_joint,
    given_kl,
    joint_loss,
    levelled,
    likelihoods,
    rule_holds,
)
from oacore.instruments.coherence.patterns import SIZES, drawn_patterns, readings

BATCHES = 200
#: Standard deviations of the logits: from answers that are vague to those that are nearly sure.
SHARPNESS = (0.5, 2.0, 8.0, 40.0)
#: Knees of a batch.
BATCH = (1, 2, 7, 16, 33, 64)


def batch(number: int) -> dict[str, np.ndarray]:
    """Probabilities of each head, (n, 5) or (n, 4), in float64."""
    rng = np.random.default_rng([20, number])
    n, sharp = BATCH[number % len(BATCH)], SHARPNESS[number % len(SHARPNESS)]
    found = {}
    for name, grades in SIZES.items():
        logits = sharp * rng.standard_normal((n, grades))
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        if number % 3 == 0:  # the least likely grade is impossible
            odds[np.arange(n), odds.argmin(axis=1)] = 0
        if number % 10 == 0:  # some knees are wholly sure
            odds[::2] = odds[::2] == 1
        found[name] = odds / odds.sum(axis=1, keepdims=True)
    return found


def main(folder: Path) -> None:
    """Write distributions, losses and gradients."""
    knees = readings(drawn_patterns(np.repeat(np.arange(5), 800), seed=4))
    joint = fit_joint(knees)
    joints = {
        "fitted": joint,
        "given-kl": given_kl(joint),
        "levelled": levelled(joint),
        "ruleless": fit_joint(knees[::3], strength=30, rule=0, floor=0.1),
    }
    np.save(folder / "rule.npy", rule_holds())
    np.save(folder / "likelihoods.npy", likelihoods(knees, (30.0, 1000.0), seed=1).to_numpy())
    for name, one in joints.items():
        np.save(folder / f"{name}.npy", one.weight)
        np.save(folder / f"{name}-scores.npy", np.stack([one.score(knees), one.kl_score(knees)]))
        loss = joint_loss(one)
        for number in range(BATCHES):
            given = batch(number)
            np.save(folder / f"{name}-{number:03d}-plain.npy", one.loss(given))
            for precision in (torch.float32, torch.float64):
                heads = {
                    head: torch.tensor(values, dtype=precision, requires_grad=True)
                    for head, values in given.items()
                }
                losses = loss(heads)
                slopes = torch.autograd.grad(losses.sum(), list(heads.values()))
                columns = [losses[:, None], *slopes]
                kind = str(precision).removeprefix("torch.")
                out = folder / f"{name}-{number:03d}-{kind}.npy"
                np.save(out, torch.cat(columns, dim=1).detach().numpy())


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
