"""One answer downhill along a loss, against steps by hand over all 20,480 patterns."""

import numpy as np
import pytest

from oacore.errors import InputError
from oacore.instruments.coherence.joint import SHAPE, fit_joint, joint_loss
from oacore.instruments.coherence.mixture import fit_mixture, mixture_loss
from oacore.instruments.coherence.patterns import (
    GRADE_NAMES,
    GRADES,
    blurred,
    by_head,
    drawn_patterns,
    one_hot,
    readings,
)
from oacore.instruments.coherence.pulled import GIVEN, expected, pulled

#: All patterns, (20480, 7).
CELLS = np.indices(SHAPE).reshape(7, -1).T


@pytest.fixture(scope="module")
def grades():
    return readings(drawn_patterns(np.arange(300) % 5, seed=0))


@pytest.fixture(scope="module")
def joint(grades):
    return fit_joint(grades)


def answer(*grades, share=0.4):
    return by_head(blurred(one_hot(np.array([grades])), share))


def by_hand(given, joint, steps, rate):
    """Each head moves by what its patterns have more, or less, than it says."""
    logits = [np.log(given[name][0]) for name in GRADES]
    for _ in range(steps):
        said = [np.exp(own) / np.exp(own).sum() for own in logits]
        chance = joint.weight.ravel() * np.prod(
            [p[CELLS[:, i]] for i, p in enumerate(said)], axis=0
        )
        chance /= chance.sum()
        for i, own in enumerate(logits):
            wanted = np.bincount(CELLS[:, i], weights=chance, minlength=len(own))
            own -= rate * (said[i] - wanted)
    said = {name: np.exp(own) / np.exp(own).sum() for name, own in zip(GRADES, logits, strict=True)}
    return {name: p @ np.arange(len(p)) for name, p in said.items()}


def test_steps_are_those_by_hand(joint):
    given = answer(3, 0, 1, 0, 2, 0, 0)
    table = pulled(given, {"exact": joint_loss(joint)}, steps=4, rate=0.5)
    for name, wanted in by_hand(given, joint, 4, 0.5).items():
        assert table.loc["exact", GRADE_NAMES[name]] == pytest.approx(wanted, abs=1e-9)
    assert table.loc["exact", "loss before"] == pytest.approx(joint.loss(given)[0])


def test_the_answer_stands_above_what_became_of_it(joint, grades):
    losses = {"exact": joint_loss(joint), "paper": mixture_loss(fit_mixture(grades, seed=0), 0.5)}
    given = answer(3, 0, 0, 0, 0, 0, 0)
    table = pulled(given, losses, steps=30)
    assert list(table.index) == [GIVEN, *losses]
    # 0.6 of KL 3, and a fifth of 0.4 of each grade; 0.4 spread over 0 to 3.
    assert table.loc[GIVEN, ["KL", "O FL"]].tolist() == pytest.approx([2.6, 0.6])
    assert table.loc[GIVEN, ["loss before", "loss after"]].isna().all()
    assert (table["loss after"] < table["loss before"])[list(losses)].all()
    assert expected(given) == table.loc[GIVEN, list(GRADE_NAMES.values())].to_dict()


def test_what_says_nothing_ends_at_the_commonest_pattern(joint):
    table = pulled(answer(2, 2, 2, 2, 2, 2, 2, share=1), {"exact": joint_loss(joint)})
    commonest = CELLS[joint.weight.argmax()]
    assert np.rint(table.loc["exact", list(GRADE_NAMES.values())].to_numpy(float)).tolist() == list(
        commonest
    )


def test_what_cannot_move_is_refused(joint):
    with pytest.raises(InputError, match="a probability is 0; blur the answer"):
        pulled(answer(0, 0, 0, 0, 0, 0, 0, share=0), {"exact": joint_loss(joint)})
    with pytest.raises(InputError, match="rate is 0; give a number above 0"):
        pulled(answer(0, 0, 0, 0, 0, 0, 0), {"exact": joint_loss(joint)}, rate=0)
