"""The network whose running statistics are watched: against the core's steps, and its data."""

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from oacore.errors import InputError
from oacore.instruments.hierarchy.artefact import ArtefactPlan
from oacore.instruments.hierarchy.lag import drawn_volumes, lagging
from oacore.models.heads import build_model
from oacore.training.batches import epoch_batches
from oacore.training.loop import train_epoch
from oacore.training.normalisation import re_estimate


@pytest.fixture(scope="module")
def drawn():
    torch.set_num_threads(1)
    return drawn_volumes(2, seed=5)


def test_drawn_volumes_are_scaled_and_of_every_grade(drawn):
    x, kl = drawn
    assert x.shape == (10, 1, 16, 32, 32) and kl.bincount(minlength=5).sum() == 10
    np.testing.assert_allclose(x.mean((1, 2, 3, 4)), 0, atol=1e-4)
    np.testing.assert_allclose(x.std((1, 2, 3, 4)), 1, atol=1e-4)
    again, _ = drawn_volumes(2, seed=5)
    torch.testing.assert_close(again, x, rtol=0, atol=0)


def test_each_way_of_asking_is_what_it_says(drawn):
    """The same training by the core's epoch, and three answers by hand."""
    x, kl = drawn
    table = lagging(x, kl, rate=2e-3, epochs=3, seed=1)
    fabric = Fabric(accelerator="cpu", devices=1)
    model = build_model("resnet3d", "single_kl", 1, ArtefactPlan().encoder)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-4)
    wrapped, optimizer = fabric.setup(model, optimizer)

    def share(one, batches):
        with torch.no_grad():
            return sum(int((one(x[b])["kl"].argmax(1) == kl[b]).sum()) for b in batches) / len(x)

    for epoch in range(3):
        batches = epoch_batches(10, 2, 1, epoch)
        train_epoch(fabric, wrapped, optimizer, ((x[b], kl[b]) for b in batches))
        pairs = epoch_batches(10, 2, 1, 3 + epoch)
        kept = {name: value.clone() for name, value in model.state_dict().items()}
        by_hand = {
            "running": share(model.eval(), pairs),
            "in training": share(model.train(), pairs),
        }
        model.load_state_dict(kept)  # the answers in pairs have moved the statistics
        re_estimate(fabric, model, (x[b] for b in pairs))
        by_hand["re-estimated"] = share(model.eval(), pairs)
        model.load_state_dict(kept)
        own = table[table["epoch"] == epoch + 1].set_index("asked")["accuracy"]
        assert own.to_dict() == pytest.approx(by_hand)


def test_what_does_not_fill_the_batches_is_refused(drawn):
    x, kl = drawn
    with pytest.raises(InputError, match="9 volumes do not make batches of 2: give an even number"):
        lagging(x[:9], kl[:9], rate=1e-3, epochs=1, seed=0)
