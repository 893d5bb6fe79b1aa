"""Losses against their published formulas, written out by hand, and against PyTorch and SciPy."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.special import expit, log_softmax, softmax
from scipy.stats import wasserstein_distance

from oacore.hierarchy import prob_oa_from_kl
from oacore.instruments.hierarchy import losses
from oacore.instruments.hierarchy.arms import THRESHOLDS

#: Logits of four knees, and their grades: four cases by hand.
FOUR = np.array([[2.0, -1.0, 0.5, 0.0, -2.0], [0.1, 0.2, 0.3, 0.4, 0.5], [-3.0, 1.0, 4.0, 1.0, 0.0],
                 [0.0, 0.0, 0.0, 0.0, 0.0]])  # fmt: skip
GRADES = np.array([0, 4, 2, 3])


def tensors(dtype=torch.float64):
    return torch.tensor(FOUR, dtype=dtype), torch.tensor(GRADES)


def corn_of_coral_pytorch(logits, y, classes):
    """Its ``corn_loss``, with numpy: a subset and a sum for each task."""
    total, examples = 0.0, 0
    for task in range(classes - 1):
        asked = y > task - 1
        label = (y[asked] > task).astype(float)
        z = logits[asked, task]
        log_sigmoid = np.log(expit(z))
        total -= (log_sigmoid * label + (log_sigmoid - z) * (1 - label)).sum()
        examples += asked.sum()
    return total / examples


def coral_of_coral_pytorch(logits, y, classes):
    """Its ``coral_loss`` on its ``levels_from_labelbatch``, with numpy."""
    levels = np.array([[1] * k + [0] * (classes - 1 - k) for k in y], float)
    log_sigmoid = np.log(expit(logits))
    return -(log_sigmoid * levels + (log_sigmoid - logits) * (1 - levels)).sum(axis=1).mean()


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(losses.corn, corn_of_coral_pytorch), (losses.coral, coral_of_coral_pytorch)],
)
def test_ordinal_losses_are_those_of_coral_pytorch(ours, theirs):
    z, y = tensors()
    assert float(ours(z[:, :4], y)) == pytest.approx(theirs(FOUR[:, :4], GRADES, 5), abs=1e-12)


def test_cross_entropies_are_pytorchs():
    z, y = tensors()
    assert float(losses.cross_entropy(z, y)) == pytest.approx(float(F.cross_entropy(z, y)))
    label = torch.tensor([0, 1, 1, 0])
    wanted = F.binary_cross_entropy_with_logits(z[:, 0], label.double())
    assert float(losses.binary(z[:, :1], label)) == pytest.approx(float(wanted))


def test_soft_grades_and_smoothing_by_hand():
    z, y = tensors()
    soft = softmax(-np.abs(GRADES[:, None] - np.arange(5)), axis=1)
    wanted = -(soft * log_softmax(FOUR, axis=1)).sum(axis=1).mean()
    assert float(losses.soft_grades(z, y)) == pytest.approx(wanted)
    target = np.array([[0.9, 0.1, 0, 0, 0], [0, 0, 0, 0.1, 0.9], [0, 0.05, 0.9, 0.05, 0],
                       [0, 0, 0.05, 0.9, 0.05]])  # fmt: skip
    wanted = -(target * log_softmax(FOUR, axis=1)).sum(axis=1).mean()
    assert float(losses.smoothed(z, y)) == pytest.approx(wanted)


def test_earth_mover_of_certain_answers_is_the_distance_in_grades():
    sure = torch.tensor(1e3 * np.eye(5))  # grade 0, 1, ..., 4 for certain
    for grade in range(5):
        for said in range(5):
            found = losses.earth_mover(sure[said : said + 1], torch.tensor([grade]))
            assert float(found) == pytest.approx(wasserstein_distance([said], [grade]))
    z, y = tensors()
    reached = softmax(FOUR, axis=1).cumsum(axis=1) - (GRADES[:, None] <= np.arange(5))
    assert float(losses.earth_mover(z, y)) == pytest.approx((reached**2).sum(axis=1).mean())


def test_inconsistency_is_that_of_equation_4():
    z, _ = tensors()
    oa = torch.tensor([[-1.0], [0.0], [2.0], [5.0]], dtype=torch.float64)
    implied = prob_oa_from_kl(softmax(FOUR, axis=1))
    wanted = ((expit(oa.numpy()[:, 0]) - implied) ** 2).mean()
    assert float(losses.inconsistency(oa, z)) == pytest.approx(wanted)
    agreeing = torch.tensor(np.log(implied / (1 - implied)))[:, None]
    assert float(losses.inconsistency(agreeing, z)) == pytest.approx(0, abs=1e-20)


def test_hierarchical_softmax_is_a_product():
    z, y = tensors()
    oa = torch.tensor([[-1.0], [0.0], [2.0], [5.0]], dtype=torch.float64)
    found = losses.hierarchical(oa, z).exp().numpy()
    p = expit(oa.numpy())
    wanted = np.hstack([(1 - p) * softmax(FOUR[:, :2], axis=1), p * softmax(FOUR[:, 2:], axis=1)])
    np.testing.assert_allclose(found, wanted)
    np.testing.assert_allclose(prob_oa_from_kl(found), p[:, 0])
    # Its loss is that of OA, and that of the grade among those on the right side.
    loss = losses.cross_entropy(losses.hierarchical(oa, z), y)
    sides = F.binary_cross_entropy_with_logits(oa[:, 0], (y >= 2).double())
    within = []
    for knee, grade in enumerate(GRADES):
        own, first = (FOUR[knee, :2], 0) if grade < 2 else (FOUR[knee, 2:], 2)
        within.append(-log_softmax(own)[grade - first])
    assert float(loss) == pytest.approx(float(sides) + np.mean(within))


def test_uncertainty_is_least_where_the_variance_is_twice_the_loss():
    # exp(-s) L + s / 2 has its minimum at s = log(2 L).
    loss, s = torch.tensor(0.7), torch.tensor(0.0, requires_grad=True)
    s.data.fill_(float(np.log(1.4)))
    losses.uncertain(loss, s).backward()
    assert float(s.grad) == pytest.approx(0, abs=1e-6)


def test_probabilities():
    z, _ = tensors()
    np.testing.assert_allclose(losses.probabilities("softmax", z), softmax(FOUR, axis=1))
    p = expit(FOUR[:, :4])
    above = np.cumprod(p, axis=1)  # P(grade > k) = P(grade > k | >= k) P(grade > k - 1)
    wanted = -np.diff(np.hstack([np.ones((4, 1)), above, np.zeros((4, 1))]), axis=1)
    np.testing.assert_allclose(losses.probabilities("corn", z[:, :4]), wanted, atol=1e-12)
    ordered = -np.sort(-FOUR[:, :4], axis=1)
    wanted = -np.diff(np.hstack([np.ones((4, 1)), expit(ordered), np.zeros((4, 1))]), axis=1)
    found = losses.probabilities("coral", torch.tensor(ordered))
    np.testing.assert_allclose(found, wanted, atol=1e-12)
    crossed = losses.probabilities("coral", z[:, :4])
    assert (crossed >= 0).all() and torch.allclose(crossed.sum(-1), torch.ones(4).double())


@pytest.mark.parametrize("grading", list(losses.GRADINGS))
def test_gradients_and_leading_dimensions(grading):
    z, y = tensors()
    z = z[:, : (4 if grading in THRESHOLDS else 5)].clone().requires_grad_()
    loss = losses.GRADINGS[grading]
    assert torch.autograd.gradcheck(lambda one: loss(one, y), z)
    many = torch.stack([z.detach(), 2 * z.detach(), -z.detach()])  # three networks
    found = loss(many, y.expand(3, -1))
    for one, alone in zip(many, found, strict=True):
        assert float(alone) == pytest.approx(float(loss(one, y)))


@pytest.mark.parametrize("grading", ["softmax", "corn", "coral", "soft", "smoothed", "earth mover"])
def test_each_loss_is_lowered_toward_the_label(grading):
    y = torch.arange(5)
    z = torch.zeros(5, (4 if grading in THRESHOLDS else 5), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([z], lr=0.1)
    for _ in range(200):
        optimiser.zero_grad()
        losses.GRADINGS[grading](z, y).backward()
        optimiser.step()
    assert (losses.probabilities(grading, z.detach()).argmax(-1) == y).all()


@pytest.mark.parametrize("name", list(losses.GRADINGS))
def test_a_loss_is_computed_where_its_logits_are(name):
    """Tensors on "meta" have a device and no numbers: a number made elsewhere ends in an error."""
    outputs = 4 if name in THRESHOLDS else 5
    z, y = torch.zeros(3, outputs, device="meta"), torch.zeros(3, dtype=torch.int64, device="meta")
    assert losses.GRADINGS[name](z, y).device.type == "meta"
    assert losses.probabilities(name, z).device.type == "meta"
