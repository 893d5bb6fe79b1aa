"""The statistics that batch normalisation uses once training is over.

In training a batch is normalised by its own mean and variance. In evaluation the layer uses what
it has remembered: a running mean of those of the last ten batches or so, each taken under other
weights. Where weights still move when training ends, what is remembered fits none of them.
Re-estimation (Wu and Johnson 2021, "Rethinking 'Batch' in BatchNorm", section 3.2,
arXiv:2105.07576) takes the statistics of the training cases under the final weights.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from lightning_fabric import Fabric
from torch import nn
from torch.optim.swa_utils import update_bn


def re_estimate(fabric: Fabric, model: nn.Module, batches: Iterable[torch.Tensor]) -> None:
    """Replace the running statistics by the mean of those of some batches; weights stay.

    Parameters
    ----------
    fabric : Fabric
        Gives the precision.
    model : Module
        Changed in place.
    batches : iterable of Tensor, each (batch, 1, D, H, W)
        One pass over the training cases, in batches as in training. A batch of one voxel a
        channel, which has no variance, is not to be among them.
    """
    mode, dtype = model.training, next(model.parameters()).dtype
    with fabric.autocast():
        update_bn((x.to(dtype) for x in batches), model)
    model.train(mode)
