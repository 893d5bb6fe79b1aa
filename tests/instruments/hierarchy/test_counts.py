"""How many numbers each arm learns, by hand: those of one encoder, and of the heads it names."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from oacore.instruments.hierarchy import batched, split
from oacore.instruments.hierarchy.arms import ARMS
from oacore.instruments.hierarchy.batched import Fit, Network, initial_weights
from oacore.instruments.hierarchy.phantom import phantom_plan
from oacore.instruments.hierarchy.radiographs import radiographs_plan
from oacore.instruments.hierarchy.split import ArmNet, SplitCohort

#: Of a knee, for the one hidden layer.
FEATURES = 20
#: Each kind of network, as it is trained for the records, and how many features its heads read.
NETWORKS = {
    "one layer": (Network(), 64),
    "pictures": (radiographs_plan().network, 8 * 16),  # the width doubles three times
    "volumes": (phantom_plan().network, 8 * 16),
}
#: Outputs of the grade's head and of the second, where they are not 5 and 1.
OUTPUTS = {
    **dict.fromkeys(("single_kl", "scaled", "again", "soft", "smoothed", "earth_mover"), (5, 0)),
    **{"single_oa": (0, 1), "coral": (4, 0), "corn": (4, 0), "two_kl": (5, 5)},
}
LEARNED = ("grade", "second", "log_variance")

every_kind = pytest.mark.parametrize("kind", list(NETWORKS))
every_arm = pytest.mark.parametrize("name", list(ARMS))


def by_hand(name, units):
    """Numbers of an arm's heads that read so many features: a bias, and a weight per input."""
    grade, second = OUTPUTS.get(name, (5, 1))
    return {
        # One score, and a threshold for each output.
        "grade": units + 4 if name == "coral" else (units + 1) * grade,
        "second": (5 + 1 if name == "cascaded" else units + 1) * second,
        "log_variance": 2 if name == "uncertainty" else 0,
    }


def counted(network, name):
    """Numbers of each head as the arm begins; all else is taken for the encoder's."""
    if isinstance(network, Network):
        first = initial_weights(network, ARMS[name], FEATURES, 3, 1)
        sizes = {key: its.size for key, its in first.items()}
    else:
        own = ArmNet(network, ARMS[name], 3).named_parameters()
        sizes = {key.removeprefix("heads."): its.numel() for key, its in own}
    found = dict.fromkeys((*LEARNED, "encoder"), 0)
    for key, size in sizes.items():
        found[next((part for part in LEARNED if key.startswith(part)), "encoder")] += size
    return found


class _GivenError(Exception):
    """What the optimiser is given, and where training ends."""


@pytest.fixture
def optimised(monkeypatch):
    """Numbers of all that a network's trainer gives to the optimiser."""

    def given(parameters, **_):
        raise _GivenError(sum(one.numel() for one in parameters if one.requires_grad))

    monkeypatch.setattr(torch.optim, "AdamW", given)
    monkeypatch.setattr(split, "secure_convolutions", lambda *_, **__: None)
    cases = pd.DataFrame({"case": list("abcdefghij"), "split": ["train"] * 8 + ["test"] * 2})
    cases = cases.assign(kl=np.arange(10) % 5, male=0, age=60.0, quality=1.0)

    def numbers(network, name):
        with pytest.raises(_GivenError) as caught:
            if isinstance(network, Network):
                fit = Fit(3, 1, np.arange(10) < 8)
                small, x = replace(network, batch=4), np.ones((10, FEATURES))
                batched.train(small, [ARMS[name]], x, cases, [fit])
            else:
                images = np.zeros((10, *[4] * (2 if network.encoder == split.PICTURES else 3)))
                split.train(network, ARMS[name], SplitCohort(images, cases), 3)
        return caught.value.args[0]

    return numbers


@pytest.fixture(scope="module")
def encoders():
    """Numbers of Single-KL's encoder, by kind of network."""
    return {
        kind: counted(network, "single_kl")["encoder"] for kind, (network, _) in NETWORKS.items()
    }


@every_arm
def test_heads_answer_what_the_arms_loss_and_label_ask(name):
    assert (ARMS[name].grade_outputs, ARMS[name].second_outputs) == OUTPUTS.get(name, (5, 1))


@every_kind
@every_arm
def test_arms_differ_by_their_heads_numbers_alone(kind, name, encoders, optimised):
    network, units = NETWORKS[kind]
    expected = by_hand(name, units) | {"encoder": encoders[kind]}
    assert counted(network, name) == expected
    assert optimised(network, name) == sum(expected.values())


def test_the_one_layers_numbers_by_hand(encoders):
    # A weight for each feature and a bias, then the norm's weight and bias, in each of 64 units.
    assert encoders["one layer"] == 64 * (20 + 1 + 2)
    assert counted(Network(norm="none"), "dual") == {
        "encoder": 64 * 21, "grade": 5 * 65, "second": 65, "log_variance": 0,
    }  # fmt: skip
