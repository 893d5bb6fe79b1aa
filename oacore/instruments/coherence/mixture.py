"""The Gaussian mixture of arXiv:2112.09177 on one-hot grades, and its incoherence loss.

Only what is differentiated needs PyTorch, which is imported there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from scipy.special import expit
from sklearn.mixture import GaussianMixture

from oacore.errors import InputError, unread
from oacore.files import saving, whole
from oacore.instruments.coherence.patterns import GRADES, SIZES, WIDTH, one_hot

if TYPE_CHECKING:
    import torch
    from torch import Tensor

#: From the softmax probabilities of each head, (batch, 5) or (batch, 4), to a loss, (batch,).
GradesLoss: TypeAlias = "Callable[[Mapping[str, Tensor]], Tensor]"

#: Added by scikit-learn to the diagonal of each covariance. Beside sigma^2 it is nothing, unless
#: sigma is 0.
REGULARISER = 1e-6


@dataclass(frozen=True)
class Mixture:
    """A Gaussian mixture over one-hot grades, equation (2), as float64 arrays.

    Attributes
    ----------
    weights : ndarray, shape (K,)
        alpha.
    means : ndarray, shape (K, 29)
        mu.
    roots : ndarray, shape (K, 29, 29)
        Upper triangular roots R of the precisions: the inverse of Sigma is R R^T.
    """

    weights: np.ndarray
    means: np.ndarray
    roots: np.ndarray

    def constants(self) -> np.ndarray:
        """What does not hang on P: log(alpha / sqrt((2 pi)^D det Sigma)), shape (K,)."""
        half_logdet = np.log(np.diagonal(self.roots, axis1=1, axis2=2)).sum(axis=1)
        return np.log(self.weights) + half_logdet - WIDTH / 2 * np.log(2 * np.pi)

    def score(self, probabilities: np.ndarray) -> np.ndarray:
        """g(P) of equation (3) in float64.

        Parameters
        ----------
        probabilities : ndarray, shape (n, 29)
            As :func:`.patterns.one_hot` lays them out.

        Returns
        -------
        ndarray, shape (n,)
        """
        away = probabilities[:, None] - self.means  # (n, K, 29)
        scaled = np.einsum("nkd,kde->nke", away, self.roots)  # (n, K, 29)
        each = self.constants() - (scaled**2).sum(axis=2) / 2  # (n, K)
        return np.logaddexp.reduce(each, axis=1)


def fit_mixture(
    grades: np.ndarray, *, components: int = 10, sigma: float = 0.2, seed: int
) -> Mixture:
    """Fit the mixture to noisy one-hot grades by expectation maximisation, equation (2).

    One-hot numbers lie in a subspace: their columns add up to 1 for each of seven heads, so that
    their covariance has rank 22 of 29, and no density without the noise. Without it, g runs to
    hundreds on the data themselves and below -50,000 a little beside them. What tau means hangs on
    sigma: the median of g on real readings is about 38, 24, 8 and -1 for a sigma of .05, .1, .2
    and .3.

    Parameters
    ----------
    grades : ndarray of int, shape (n, 7)
        Of single knees, in the order of `GRADES`.
    components : int
        K; the paper has 10.
    sigma : float
        Standard deviation of the noise; the paper has 0.2.
    seed : int
        Of the noise and of where the iterations begin. They end in one of many optima: single
        figures differ between seeds, see :mod:`.coherence.trial`.

    Returns
    -------
    Mixture

    Raises
    ------
    InputError
        If there are fewer knees than components.
    """
    if len(grades) < components:
        raise InputError(
            f"mixture: {len(grades)} knees are too few for {components} components; give more "
            "knees, or fewer components"
        )
    noise = np.random.default_rng(seed).normal(0, sigma, (len(grades), WIDTH))
    model = GaussianMixture(components, reg_covar=REGULARISER, random_state=seed)
    model.fit(one_hot(grades) + noise)
    return Mixture(model.weights_, model.means_, model.precisions_cholesky_)


def save_mixture(mixture: Mixture, path: Path | str) -> None:
    """Write a mixture as safetensors, whole or not at all."""
    with saving(Path(path)), whole(path) as part:
        save_file(vars(mixture), part)


def read_mixture(path: Path | str) -> Mixture:
    """Read what :func:`save_mixture` wrote.

    Raises
    ------
    InputError
        If the file is missing, damaged, or holds something else.
    """
    try:
        with safe_open(path, "numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; fit the mixture again") from None
    except (OSError, SafetensorError) as error:
        said = unread(error, str(path))
        raise InputError(said or f"{path}: no mixture ({error}); fit it again") from error
    n = len(arrays.get("weights", ()))
    shapes = {"weights": (n,), "means": (n, WIDTH), "roots": (n, WIDTH, WIDTH)}
    if n == 0 or {name: array.shape for name, array in arrays.items()} != shapes:
        raise InputError(f"{path}: not the arrays of a mixture of grades; fit it again")
    return Mixture(**arrays)


def log_density(mixture: Mixture) -> GradesLoss:
    """g(P) of equation (3) as a function of a network's probabilities.

    Parameters
    ----------
    mixture : Mixture

    Returns
    -------
    callable
        From probabilities by head to g, (batch,), differentiable. It computes in float32, or in
        float64 where the probabilities are; half precision would cost all digits.
    """
    constants = mixture.constants()[:, None]  # (K, 1)
    buffers = Buffers(means=mixture.means, roots=mixture.roots, constants=constants)

    def g(probabilities: Mapping[str, Tensor]) -> Tensor:
        import torch

        heads = in_order(probabilities)
        with torch.autocast(heads[0].device.type, enabled=False):
            own = buffers.like(heads[0])
            p = torch.cat(heads, dim=1)  # (batch, 29)
            # The difference first: next to means of a steep mixture, P R - mu R would cancel.
            away = (p.unsqueeze(1) - own["means"]).transpose(0, 1)  # (K, batch, 29)
            squares = torch.bmm(away, own["roots"]).square().sum(dim=2)  # (K, batch)
            return torch.logsumexp(own["constants"] - squares / 2, dim=0)

    return g


def mixture_loss(mixture: Mixture, tau: float) -> GradesLoss:
    """The incoherence loss of arXiv:2112.09177, equation (4), one number a picture.

    Parameters
    ----------
    mixture : Mixture
    tau : float
        Temperature, above 0; the paper's choice is 0.5, at a sigma of 0.2.

    Returns
    -------
    callable
        From the softmax probabilities of each head, (batch, 5) or (batch, 4), by its name, to
        (1 / tau) log(1 + exp(-tau g)), (batch,), above 0. Its gradient in g lies between -1 and
        0; in P there is no bound but that of g, which is the steeper the smaller sigma.

    Raises
    ------
    InputError
        If tau is not above 0.
    """
    _require_tau(tau)
    density = log_density(mixture)

    def loss(probabilities: Mapping[str, Tensor]) -> Tensor:
        from torch.nn.functional import softplus

        return softplus(-tau * density(probabilities)) / tau

    return loss


def incoherence(g: npt.ArrayLike, tau: float) -> np.ndarray:
    """The loss of equation (4) for given g, of any shape: (1 / tau) log(1 + exp(-tau g))."""
    _require_tau(tau)
    return np.logaddexp(0, -tau * np.asarray(g, float)) / tau


def incoherence_gradient(g: npt.ArrayLike, tau: float) -> np.ndarray:
    """Derivative of :func:`incoherence` in g, -1 / (1 + exp(tau g)): from -1 to 0."""
    _require_tau(tau)
    return -expit(-tau * np.asarray(g, float))


def loss_curves(taus: Sequence[float], g: npt.ArrayLike) -> pd.DataFrame:
    """The supplement's Figures 1 and 2 as numbers: equation (4) and its gradient for given g.

    Returns
    -------
    DataFrame
        A row for each tau and g: ``tau``, ``g``, ``loss``, ``gradient``.
    """
    g = np.asarray(g, float)
    each = [
        pd.DataFrame(
            {"tau": tau, "g": g, "loss": incoherence(g, tau),
             "gradient": incoherence_gradient(g, tau)}
        )
        for tau in taus
    ]  # fmt: skip
    return pd.concat(each, ignore_index=True)


def projected(patterns: pd.DataFrame, mixture: Mixture) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Patterns and a mixture's means on the first three principal axes of the one-hot grades.

    Parameters
    ----------
    patterns : DataFrame
        As :func:`.patterns.pattern_counts` gives it; each weighs as much as it has knees.
    mixture : Mixture

    Returns
    -------
    points : DataFrame
        `patterns` with ``pc1``, ``pc2``, ``pc3``; pc1 rises with KL.
    centres : DataFrame
        ``weight``, ``pc1``, ``pc2``, ``pc3`` of each component, the heaviest first.
    """
    codes = one_hot(patterns[list(GRADES)].to_numpy(np.int64))  # (patterns, 29)
    count = patterns["count"].to_numpy(float)
    middle = np.average(codes, axis=0, weights=count)
    spread = (codes - middle).T * count @ (codes - middle)  # (29, 29)
    axes = np.linalg.eigh(spread)[1][:, :-4:-1]  # (29, 3), the widest first
    # An axis has two directions, and which comes out is the linear algebra library's choice.
    level = (codes - middle).T * count @ patterns["kl"].to_numpy(float)  # (29,)
    axes = axes * np.where(level @ axes < 0, -1, 1)
    names = ["pc1", "pc2", "pc3"]
    points = pd.DataFrame((codes - middle) @ axes, columns=names, index=patterns.index)
    centres = pd.DataFrame((mixture.means - middle) @ axes, columns=names)
    centres.insert(0, "weight", mixture.weights)
    return (
        pd.concat([patterns, points], axis=1),
        centres.sort_values("weight", ascending=False, ignore_index=True),
    )


def in_order(probabilities: Mapping[str, Tensor]) -> list[Tensor]:
    """The heads' probabilities in the order of `GRADES`, in float32 or, where they are, float64.

    Raises
    ------
    InputError
        If a head is missing, or has another number of grades.
    """
    import torch

    for name, size in SIZES.items():
        there = probabilities.get(name)
        if there is None or there.ndim != 2 or there.shape[1] != size:
            found = "is missing" if there is None else f"has the shape {tuple(there.shape)}"
            raise InputError(
                f"coherence: the head {name} {found}; give probabilities of shape (batch, {size})"
            )
    heads = [probabilities[name] for name in GRADES]
    wide = torch.float64 if heads[0].dtype == torch.float64 else torch.float32
    return [head.to(wide) for head in heads]


class Buffers:
    """Constants of a loss, held once for each device and precision that it is asked on."""

    def __init__(self, **arrays: np.ndarray) -> None:
        self.arrays = arrays
        self.held: dict[tuple[torch.device, torch.dtype], dict[str, Tensor]] = {}

    def like(self, example: Tensor) -> dict[str, Tensor]:
        """The constants on the device and in the precision of a tensor."""
        import torch

        key = example.device, example.dtype
        if key not in self.held:
            # What is made in inference mode could never take part in training.
            with torch.inference_mode(False):
                self.held[key] = {
                    name: torch.tensor(array, dtype=example.dtype, device=example.device)
                    for name, array in self.arrays.items()
                }
        return self.held[key]


def _require_tau(tau: float) -> None:
    if not tau > 0:
        raise InputError(f"tau is {tau}; give a number above 0, such as the paper's 0.5")
