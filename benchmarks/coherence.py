"""How long the exact joint distribution's loss takes, beside the Gaussian mixture's.

Run from the repository's root: ``python -m benchmarks.coherence``. On one thread, forward and
backward for a batch of 48 pictures, from softmax probabilities to their gradients. There are two
peers: the mixture's loss as one would write it with ``torch.distributions``, and our own, which is
faster. These two must agree to 1e-4, and the exact joint's loss and gradients must be those of a
plain ``torch.einsum`` over all 20,480 cells, before anything is timed; then all take turns. The
mixture and the joint distribution are of grades that the phantom draws: what a step costs does not
hang on them. It takes about half a minute, prints a table, and with ``--out`` writes a record that
the book's chapter on speed can read.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal
from torch.nn.functional import softplus

from benchmarks.measure import Row, agree, alternate
from benchmarks.speed import on_one_thread
from oacore.instruments.coherence.joint import Joint, fit_joint, joint_loss
from oacore.instruments.coherence.mixture import GradesLoss, Mixture, fit_mixture, mixture_loss
from oacore.instruments.coherence.patterns import GRADES, SIZES, drawn_patterns, readings

SEED = 0
CPU = torch.device("cpu")
TAU = 0.5


@dataclass(frozen=True)
class Setting:
    """Sizes of what is timed; the defaults are those that get recorded.

    Attributes
    ----------
    batch : int
        Pictures in a step: the paper's batch.
    steps : int
        Steps in one turn.
    repeats : int
        Turns.
    knees : int
        That both are fitted to.
    aim : float
        Least ratio.
    """

    batch: int = 48
    steps: int = 200
    repeats: int = 25
    knees: int = 5000
    aim: float = 1


def simulated(batch: int) -> dict[str, Tensor]:
    """Softmax probabilities of each head, as leaves that gradients reach."""
    generator = torch.Generator().manual_seed(SEED)
    logits = {name: torch.randn(batch, n, generator=generator) for name, n in SIZES.items()}
    return {name: value.softmax(1).requires_grad_() for name, value in logits.items()}


def by_distributions(mixture: Mixture) -> GradesLoss:
    """The mixture's loss by PyTorch's own distributions."""
    weights, means, roots = (torch.tensor(a).float() for a in vars(mixture).values())
    normal = MultivariateNormal(means, precision_matrix=roots @ roots.mT)
    whole = MixtureSameFamily(Categorical(weights), normal)

    def loss(probabilities: Mapping[str, Tensor]) -> Tensor:
        g = whole.log_prob(torch.cat([probabilities[name] for name in GRADES], dim=1))
        return softplus(-TAU * g) / TAU

    return loss


def by_einsum(joint: Joint) -> GradesLoss:
    """The semantic loss as it is written down: one sum over all cells."""
    weight = torch.tensor(joint.weight, dtype=torch.float32)

    def loss(probabilities: Mapping[str, Tensor]) -> Tensor:
        heads = [probabilities[name] for name in GRADES]
        return -torch.einsum("abcdefg,za,zb,zc,zd,ze,zf,zg->z", weight, *heads).log()

    return loss


def gradients(loss: GradesLoss, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """One step: the loss, and the gradients of its mean."""
    value = loss(inputs)
    found = torch.autograd.grad(value.mean(), list(inputs.values()))
    return {"loss": value, **dict(zip(inputs, found, strict=True))}


def steps(loss: GradesLoss, inputs: Mapping[str, Tensor], n: int) -> Callable[[], None]:
    """A turn of `n` steps."""

    def turn() -> None:
        for _ in range(n):
            gradients(loss, inputs)

    return turn


def kept(loss: GradesLoss, inputs: Mapping[str, Tensor]) -> float:
    """MiB that a forward pass keeps for the backward pass, constants with it."""
    held: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        held[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        value = loss(inputs)  # stays alive, so that no storage is counted for another
    assert value.requires_grad
    return sum(held.values()) / 2**20


def rows(setting: Setting) -> Iterator[Row]:
    """Time beside both peers, and what is kept for the backward pass beside our own."""
    kl = np.random.default_rng(SEED).integers(0, 5, setting.knees)
    grades = readings(drawn_patterns(kl, seed=SEED))
    mixture, joint = fit_mixture(grades, seed=SEED), fit_joint(grades)
    inputs = simulated(setting.batch)
    named, mine, exact = by_distributions(mixture), mixture_loss(mixture, TAU), joint_loss(joint)
    for ours, theirs, what in ((mine, named, "mixture"), (exact, by_einsum(joint), "joint")):
        agree(gradients(ours, inputs), gradients(theirs, inputs), 1e-4, what)
    losses = {"named": named, "mine": mine, "exact": exact}
    calls = {name: steps(loss, inputs, setting.steps) for name, loss in losses.items()}
    for call in calls.values():
        call()
    taken = alternate(calls, CPU, setting.repeats, patience=60)
    each = {
        name: tuple(1000 * seconds / setting.steps for seconds in values)
        for name, values in taken.items()
    }
    note = f"forward and backward, batch {setting.batch}; mixture of {len(mixture.weights)}"
    exactly = "oacore.instruments.coherence.joint"
    yield Row(
        "coherence", "Loss of the exact joint beside torch's GMM: time",
        "torch.distributions", exactly, each["named"], each["exact"], "ms",
        aim=setting.aim, note=note,
    )  # fmt: skip
    peer = "oacore.instruments.coherence.mixture"
    yield Row(
        "coherence", "Loss of the exact joint beside our GMM: time",
        peer, exactly, each["mine"], each["exact"], "ms", aim=setting.aim, note=note,
    )  # fmt: skip
    yield Row(
        "coherence", "Loss of the exact joint beside our GMM: kept for the backward pass",
        peer, exactly, (kept(mine, inputs),), (kept(exact, inputs),), "MiB",
        note=f"batch {setting.batch}, with the constants: 8,710 numbers, and 30,224",
    )  # fmt: skip


def main(arguments: list[str] | None = None, setting: Setting | None = None) -> int:
    """Measure, print, and record where asked."""
    return on_one_thread("coherence", __doc__, rows, setting or Setting(), SEED, arguments)


if __name__ == "__main__":
    sys.exit(main())
