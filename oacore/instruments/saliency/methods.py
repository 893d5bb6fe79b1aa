"""Saliency maps: which voxels a model's answer hangs on, by several methods (section 3.5.3).

Every method explains one number for each volume: the OA logit, or the logit of the grade that the
model predicts. captum computes them; its methods and the plain gradient take whole batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from oacore.errors import InputError
from oacore.models.heads import HierarchicalNet
from oacore.models.shapes import last_volume


@dataclass(frozen=True)
class Question:
    """One question to a model: the logits of one head and, of five, which.

    Attributes
    ----------
    model : HierarchicalNet
    head : {"oa", "kl"}
    grades : Tensor of int, shape (batch,), or None
        The grades predicted for the volumes as they are, so that a changed volume is asked about
        the same grade; None for the OA head, which has one logit.
    """

    model: HierarchicalNet
    head: str
    grades: torch.Tensor | None

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of volumes (batch, 1, D, H, W): (batch,) of "oa", (batch, 5) of "kl"."""
        return self.model(x)[self.head]

    def greatest(self, x: torch.Tensor) -> torch.Tensor:
        """The OA logit, or the logit of the grade predicted for `x` itself: (batch,)."""
        logits = self(x)
        return logits if self.head == "oa" else logits.amax(dim=1)

    def each(self, volumes: torch.Tensor) -> Iterator[tuple[Question, torch.Tensor]]:
        """One volume at a time, with its grade."""
        for i in range(len(volumes)):
            grades = None if self.grades is None else self.grades[i : i + 1]
            yield replace(self, grades=grades), volumes[i : i + 1].detach().requires_grad_()


def saliency_map(
    model: HierarchicalNet,
    volumes: torch.Tensor,
    head: str,
    method: str = "gradient",
    seed: int = 0,
    **settings: Any,
) -> np.ndarray:
    """Saliency of each voxel for one head's answer, scaled to [0, 1] within each volume.

    Parameters
    ----------
    model : HierarchicalNet
        Is read in evaluation mode, and left as it was; no weight gets a gradient.
    volumes : Tensor of float32, shape (batch, 1, D, H, W)
        On the model's device.
    head : {"oa", "kl"}
        Explain the OA logit, or the logit of the predicted grade. The OA logit of cascaded heads is
        the difference of their two outputs.
    method : str
        A key of `METHODS`; the default is the paper's.
    seed : int
        Of the noise, the same for each volume of a batch.
    **settings
        Of the method, see the functions in `METHODS`.

    Returns
    -------
    ndarray of float32, shape (batch, D, H, W)
        0 where the attribution is least, 1 where it is greatest; all 0 if it is the same
        everywhere. Attributions with a sign are taken by their absolute value.

    Raises
    ------
    InputError
        If the model has no such head, there is no such method, or a volume or a map is not finite.
    """
    if head not in model.heads:
        raise InputError(f"saliency: no head {head!r} here; choose {' or '.join(model.heads)}")
    if method not in METHODS:
        raise InputError(f"saliency: no method {method!r}; choose one of {', '.join(METHODS)}")
    if volumes.ndim != 5 or volumes.shape[1] != 1:
        raise InputError(
            f"saliency: volumes have shape {tuple(volumes.shape)}; give (batch, 1, D, H, W)"
        )
    if not torch.isfinite(volumes).all():  # gradients may well be finite in spite of it
        raise InputError("saliency: a volume holds values that are not finite; fetch it again")
    volumes = volumes.detach().requires_grad_()  # shares memory with the caller's, no more
    with torch.enable_grad(), _only_inputs(model):
        grades = None
        if head == "kl":
            with torch.no_grad():
                grades = model(volumes)["kl"].argmax(dim=1)  # (batch,)
        ask = Question(model, head, grades)
        raw = METHODS[method](ask, volumes, seed, **settings)  # (batch, 1, D, H, W)
    found = raw.detach()[:, 0].float().cpu().numpy()  # (batch, D, H, W)
    if not np.isfinite(found).all():
        raise InputError(
            f"saliency: a map of {method!r} is not finite; look for such values in the weights"
        )
    return scaled(found)


def scaled(maps: np.ndarray) -> np.ndarray:
    """Each of some maps (n, D, H, W) brought to [0, 1]; a constant one to 0.

    The release makes a map 0 as soon as it spans no more than 1e-6, which the gradients of a
    large network with respect to ten million voxels may well do.
    """
    axes = tuple(range(1, maps.ndim))
    least, most = maps.min(axis=axes, keepdims=True), maps.max(axis=axes, keepdims=True)
    span = np.where(most > least, most - least, 1)
    return ((maps - least) / span).astype(np.float32)


@contextmanager
def _only_inputs(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, and no gradient for any weight; afterwards all is as it was."""
    modes = [(module, module.training) for module in model.modules()]
    wanted = [(weight, weight.requires_grad) for weight in model.parameters()]
    try:
        model.eval().requires_grad_(False)
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        for weight, want in wanted:
            weight.requires_grad_(want)


def gradient(ask: Question, volumes: torch.Tensor, seed: int) -> torch.Tensor:
    """Absolute gradient of the logit (Simonyan et al. 2013, arXiv:1312.6034): the paper's."""
    return _slope(ask, volumes).abs()


def smoothgrad(
    ask: Question, volumes: torch.Tensor, seed: int, samples: int = 8, noise: float = 0.05
) -> torch.Tensor:
    """Mean gradient over noisy copies (Smilkov et al. 2017, arXiv:1706.03825), absolute.

    `noise` is a standard deviation in the units of the volume, which was z-scored.
    """
    from captum.attr import NoiseTunnel, Saliency

    settings = {"nt_samples": samples, "nt_samples_batch_size": 1, "stdevs": noise}
    found = []
    for one, x in ask.each(volumes):
        with _seeded(x, seed):
            method = NoiseTunnel(Saliency(one))
            found.append(method.attribute(x, target=one.grades, abs=False, **settings))
    return torch.cat(found).abs()


def smoothgrad_recommended(
    ask: Question, volumes: torch.Tensor, seed: int, samples: int = 50, noise: float = 0.15
) -> torch.Tensor:
    """SmoothGrad as its authors advise: more copies and more noise than :func:`smoothgrad` has.

    Smilkov et al. 2017 (arXiv:1706.03825, section 3.2) find 10% to 20% best of what an image's
    values span, and little gained by more than 50 samples. `noise` is that share, of each volume's
    own span; the standard deviation that :func:`smoothgrad` takes from the released code is some
    hundredths of a span.
    """
    low, high = (
        end(volumes.detach(), (1, 2, 3, 4), keepdim=True) for end in (torch.amin, torch.amax)
    )
    total = torch.zeros_like(volumes)
    with _seeded(volumes, seed):
        for _ in range(samples):  # each copy of all volumes in one pass, with the same noise
            drawn = torch.randn(volumes.shape[1:], device=volumes.device)  # (1, D, H, W)
            copies = (volumes + noise * (high - low) * drawn).detach().requires_grad_()
            total += _slope(ask, copies)
    return (total / samples).abs()


def gradient_x_input(ask: Question, volumes: torch.Tensor, seed: int) -> torch.Tensor:
    """Gradient times the voxel's value, absolute (Shrikumar et al. 2016, arXiv:1605.01713)."""
    from captum.attr import InputXGradient

    return InputXGradient(ask).attribute(volumes, target=ask.grades).abs()


def released(
    ask: Question, volumes: torch.Tensor, seed: int, samples: int = 8, noise: float = 0.05
) -> torch.Tensor:
    """Default of the code released with arXiv:2605.00718: SmoothGrad of gradient times input.

    The mean over noisy copies of gradient times noisy volume, absolute. A KL head is asked, at
    each copy, about the grade that it predicts for this copy.
    """
    from captum.attr import InputXGradient, NoiseTunnel

    settings = {"nt_samples": samples, "nt_samples_batch_size": 1, "stdevs": noise}
    found = []
    for one, x in ask.each(volumes):
        with _seeded(x, seed):
            found.append(NoiseTunnel(InputXGradient(one.greatest)).attribute(x, **settings))
    return torch.cat(found).abs()


def integrated_gradients(
    ask: Question, volumes: torch.Tensor, seed: int, steps: int = 32
) -> torch.Tensor:
    """Gradients along the way from air to the volume (Sundararajan et al. 2017), absolute.

    arXiv:1703.01365. Before the absolute value they sum up to the difference of the logit between
    the volume and one that holds its least value everywhere.
    """
    from captum.attr import IntegratedGradients

    found = IntegratedGradients(ask).attribute(
        volumes, baselines=_air(volumes), target=ask.grades, n_steps=steps,
        internal_batch_size=len(volumes),
    )  # fmt: skip
    return found.abs()


def grad_cam(
    ask: Question, volumes: torch.Tensor, seed: int, layer: str | None = None
) -> torch.Tensor:
    """Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391), as coarse as the layer it looks at.

    By default that is the encoder's `cam_layer`, or else its last child that makes a volume;
    "layer3" takes another. What speaks against the answer is dropped, as there: a map may be 0
    everywhere. From the layer's voxels to the volume's it goes trilinearly.
    """
    from captum.attr import LayerAttribution, LayerGradCam

    encoder = ask.model.encoder
    own = getattr(encoder, "cam_layer", None)
    name = layer or own or last_volume(encoder, volumes.shape[2:])
    stages = dict(encoder.named_modules())
    if name not in stages:
        names = ", ".join(child for child, _ in encoder.named_children())
        raise InputError(f"grad-cam: the encoder has no layer {name!r}; choose one of {names}")
    method = LayerGradCam(ask, stages[name])
    coarse = method.attribute(
        volumes, target=ask.grades, relu_attributions=True
    )  # (batch, 1, d, h, w)
    return LayerAttribution.interpolate(coarse, tuple(volumes.shape[2:]), "trilinear")


def occlusion(ask: Question, volumes: torch.Tensor, seed: int, parts: int = 4) -> torch.Tensor:
    """Change of the logit when a block is filled with air (Zeiler and Fergus, arXiv:1311.2901).

    A block is 1/`parts` of each side, and moves by half of its own size: with the default the
    model reads each volume 343 times. Absolute.
    """
    from captum.attr import Occlusion

    block = tuple(max(1, side // parts) for side in volumes.shape[2:])
    step = tuple(max(1, side // 2) for side in block)
    found = Occlusion(ask).attribute(
        volumes, (1, *block), strides=(1, *step), baselines=_air(volumes), target=ask.grades
    )
    return found.abs()


#: Methods by the names that runs and tables keep.
METHODS: dict[str, Callable[..., torch.Tensor]] = {
    "gradient": gradient,
    "smoothgrad": smoothgrad,
    "smoothgrad recommended": smoothgrad_recommended,
    "gradient x input": gradient_x_input,
    "released": released,
    "integrated gradients": integrated_gradients,
    "grad-cam": grad_cam,
    "occlusion": occlusion,
}


def _slope(ask: Question, volumes: torch.Tensor) -> torch.Tensor:
    """Gradient of the logit with its sign."""
    logits = ask(volumes)  # (batch,) or (batch, 5)
    if ask.grades is not None:
        logits = logits.gather(1, ask.grades[:, None])  # (batch, 1)
    # In evaluation mode no volume of a batch touches another, so the sum's gradient is each's own.
    return torch.autograd.grad(logits.sum(), volumes)[0]


def _air(volumes: torch.Tensor) -> torch.Tensor:
    """Volumes that hold the least value of each everywhere."""
    return volumes.detach().amin(dim=(1, 2, 3, 4), keepdim=True).expand_as(volumes)


@contextmanager
def _seeded(x: torch.Tensor, seed: int) -> Iterator[None]:
    """Noise of one's own; the random numbers of others go on as if nothing had been drawn."""
    with torch.random.fork_rng(devices=[x.device] if x.is_cuda else []):
        torch.manual_seed(seed)
        yield
