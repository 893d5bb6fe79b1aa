"""The exact joint distribution and its loss, against sums over all 20,480 cells."""

import numpy as np
import pandas as pd
import pytest
import torch

from oacore.errors import InputError
from oacore.instruments.coherence.joint import (
    FLOOR,
    SHAPE,
    STRENGTH,
    fit_joint,
    given_kl,
    joint_loss,
    levelled,
    likelihoods,
    rule_holds,
    semantic_loss,
)
from oacore.instruments.coherence.patterns import (
    GRADES,
    SIZES,
    blurred,
    by_head,
    drawn_patterns,
    one_hot,
    pattern_counts,
    readings,
)
from oacore.instruments.phantom.grades import kl_from_oarsi

FORMS = {"joint": lambda joint: joint, "given KL": given_kl, "levelled": levelled}
#: All patterns, (20480, 7).
CELLS = np.indices(SHAPE).reshape(7, -1).T


@pytest.fixture(scope="module")
def grades():
    """Drawn grades, of which KL is wrong in a tenth, as readings are."""
    found = readings(drawn_patterns(np.arange(1500) % 5, seed=0))
    found[::10, 0] = (found[::10, 0] + 1) % 5
    return found


@pytest.fixture(scope="module")
def joint(grades):
    return fit_joint(grades)


def answers(n, scale=2.0, dtype=torch.float64):
    """Logits and the probabilities that follow from them."""
    generator = torch.Generator().manual_seed(0)
    logits = {
        name: (scale * torch.randn(n, size, generator=generator, dtype=dtype)).requires_grad_()
        for name, size in SIZES.items()
    }
    return logits, {name: value.softmax(1) for name, value in logits.items()}


def drawn_cells(probabilities):
    """Probability of each pattern under a network's answers, (n, 20480)."""
    product = 1.0
    for axis, name in enumerate(GRADES):
        product = product * probabilities[name].detach().double().numpy()[:, CELLS[:, axis]]
    return product


def test_the_rule_is_the_phantoms():
    table = pd.DataFrame(CELLS, columns=list(GRADES))
    assert np.array_equal(rule_holds().ravel(), kl_from_oarsi(table) == table["kl"])
    assert rule_holds().sum() == 4**6  # one KL for each way of the other six


def test_the_distribution_by_hand(grades):
    """Each cell from its counts, one cell at a time."""
    found = fit_joint(grades, strength=50, rule=2, floor=0.1).weight
    table = pd.DataFrame(grades, columns=list(GRADES))

    def before_scaling(cell):
        at = table[table["kl"] == cell[0]]
        smooth = (len(at) + 0.5) / (len(table) + 2.5)
        for name, grade in zip(GRADES[1:], cell[1:], strict=True):
            smooth *= ((at[name] == grade).sum() + 0.5) / (len(at) + 2)
        count = (table[list(GRADES)] == cell).all(axis=1).sum()
        own = pd.DataFrame([cell], columns=list(GRADES))
        obeys = kl_from_oarsi(own)[0] == cell[0]
        return (count + 50 * smooth) * np.exp(2 * obeys)

    some = [*grades[:6].tolist(), [0] * 7, [4, 3, 3, 3, 3, 3, 3], [1, 0, 0, 0, 0, 0, 0]]
    by_hand = np.array([before_scaling(cell) for cell in some])
    ours = (found[tuple(np.array(some).T)] - 0.1 / 20480) / 0.9
    assert np.allclose(ours / ours[0], by_hand / by_hand[0], rtol=1e-9)
    assert found.sum() == pytest.approx(1)


@pytest.mark.parametrize("form", FORMS)
def test_the_loss_is_a_sum_over_all_cells(form, joint):
    one = FORMS[form](joint)
    _, p = answers(40)
    expected = -np.log(drawn_cells(p) @ one.weight.ravel())
    assert np.allclose(joint_loss(one)(p).detach().numpy(), expected, atol=1e-12)
    assert np.allclose(semantic_loss(p, one).detach().numpy(), expected, atol=1e-12)
    plain = {name: value.detach().numpy() for name, value in p.items()}
    assert np.allclose(one.loss(plain), expected, atol=1e-12)
    single = {name: value.detach().float() for name, value in p.items()}
    assert np.allclose(joint_loss(one)(single).numpy(), expected, atol=1e-5)


def test_of_sure_answers_it_is_the_score(joint, grades):
    for form in FORMS.values():
        one = form(joint)
        p = {name: torch.tensor(value) for name, value in by_head(one_hot(grades)).items()}
        assert np.allclose(joint_loss(one)(p).numpy(), -one.score(grades), atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_gradients_are_those_of_the_docstring(form, joint):
    """In the logits p - q, where q are marginals of weight times prod p, summed by hand."""
    one = FORMS[form](joint)
    logits, p = answers(25)
    joint_loss(one)(p).sum().backward()
    posterior = drawn_cells(p) * one.weight.ravel()
    posterior /= posterior.sum(axis=1, keepdims=True)
    for axis, (name, size) in enumerate(SIZES.items()):
        q = np.stack([posterior[:, CELLS[:, axis] == k].sum(axis=1) for k in range(size)], axis=1)
        gap = p[name].detach().numpy() - q
        assert np.allclose(logits[name].grad.numpy(), gap, atol=1e-10)
        assert np.abs(gap).sum(axis=1).max() <= 2


def test_gradients_by_finite_differences(joint):
    _, p = answers(2)
    leaves = [p[name].detach().requires_grad_() for name in GRADES]
    loss = joint_loss(joint)
    assert torch.autograd.gradcheck(lambda *x: loss(dict(zip(GRADES, x, strict=True))), leaves)


@pytest.mark.parametrize("form", FORMS)
def test_the_bounds_hold_for_extreme_answers(form, joint):
    """Logits of hundreds, in single precision: as sure as a network can be, mostly of nonsense."""
    one = FORMS[form](joint)
    logits, p = answers(500, scale=300, dtype=torch.float32)
    for value in p.values():
        value.retain_grad()
    loss = joint_loss(one)(p)
    loss.sum().backward()
    assert loss.max() <= -np.log(one.weight.min()) + 1e-4
    assert loss.min() >= -np.log(one.weight.max()) - 1e-4
    assert loss.max() > 10  # nonsense was among them
    steepest = one.weight.max() / one.weight.min()
    for name in GRADES:
        assert torch.isfinite(logits[name].grad).all() and logits[name].grad.abs().max() <= 1
        assert -1.001 * steepest <= p[name].grad.min() and p[name].grad.max() <= 0


def test_the_floor_bounds_the_loss(joint):
    assert joint.weight.min() >= FLOOR / 20480
    assert -np.log(joint.weight.min()) == pytest.approx(14.53, abs=0.01)


def test_forms_that_are_given_kl(joint):
    by_kl = given_kl(joint).weight.reshape(5, -1)
    assert np.allclose(by_kl.sum(axis=1), 1)
    assert np.allclose(by_kl / joint.weight.reshape(5, -1), 1 / by_kl_sum(joint))
    # Knees drawn at any KL lose nothing on average, by the levelled form.
    level = levelled(joint).weight.reshape(5, -1)
    assert np.allclose((by_kl * -np.log(level)).sum(axis=1), 0, atol=1e-12)
    assert not np.allclose((by_kl * -np.log(by_kl)).sum(axis=1), 0, atol=1)
    # Both know of KL no more than a factor for each grade.
    assert np.allclose(level / by_kl, (level / by_kl)[:, :1])


def test_where_vague_answers_are_pulled(joint):
    """To the frequent KL, to none, or to the KL with the most patterns."""
    even = {name: torch.full((1, n), 1 / n, dtype=torch.float64) for name, n in SIZES.items()}

    def pull(one):
        logits = torch.zeros(1, 5, dtype=torch.float64, requires_grad=True)
        joint_loss(one)(even | {"kl": logits.softmax(1)}).backward()
        return -logits.grad[0].numpy()  # q - p

    assert np.allclose(pull(joint), by_kl_sum(joint)[:, 0] - 0.2)
    assert np.allclose(pull(given_kl(joint)), 0)
    assert pull(levelled(joint)).argmin() == 0 and pull(levelled(joint))[4] > 0


def by_kl_sum(joint):
    return joint.weight.reshape(5, -1).sum(axis=1, keepdims=True)


def test_kl_given_the_others_is_bayes(joint, grades):
    table = joint.weight[:, *grades[:50, 1:].T]  # (5, 50)
    expected = np.log(table / table.sum(axis=0))[grades[:50, 0], np.arange(50)]
    assert np.allclose(joint.kl_score(grades[:50]), expected)
    assert np.allclose(given_kl(joint).score(grades) - joint.score(grades),
                       -np.log(by_kl_sum(joint)[grades[:, 0], 0]))  # fmt: skip


def test_half_precision_and_slices(joint):
    _, p = answers(32, dtype=torch.float32)
    p = {name: value.detach() for name, value in p.items()}
    loss = joint_loss(joint)
    expected = loss(p)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(loss(p), expected)
    assert loss({name: value.bfloat16() for name, value in p.items()}).dtype == torch.float32
    # Heads cut out of one tensor are not contiguous.
    one = torch.cat(list(p.values()), dim=1)
    cut = dict(zip(GRADES, one.split(list(SIZES.values()), dim=1), strict=True))
    assert torch.allclose(loss(cut), expected)
    assert loss({name: value[:0] for name, value in p.items()}).shape == (0,)


def test_a_loss_that_was_first_asked_without_gradients(joint):
    loss = joint_loss(joint)
    logits, p = answers(3)
    with torch.inference_mode():
        loss(p)
    loss(p).sum().backward()
    assert logits["kl"].grad.abs().sum() > 0


def test_vague_answers_cost_more_than_right_ones(joint, grades):
    true = one_hot(grades)
    for form in FORMS.values():
        one = form(joint)
        sure, vague = (one.loss(by_head(blurred(true, share))).mean() for share in (0, 0.3))
        assert vague > sure + 0.3


def test_settings_that_cannot_be(grades, joint):
    with pytest.raises(InputError, match="no knee"):
        fit_joint(grades[:0])
    for wrong in ({"strength": 0}, {"floor": 0}, {"floor": 1}):
        with pytest.raises(InputError, match="joint distribution: strength is"):
            fit_joint(grades, **wrong)
    _, p = answers(3)
    del p["osteophyte_tm"]
    with pytest.raises(InputError, match="head osteophyte_tm is missing"):
        joint_loss(joint)(p)


@pytest.mark.parametrize("seed", range(3))
def test_the_strength_is_the_likeliest_on_training_halves(seed, shared):
    table = pd.read_csv(shared / "real/oarsi_grades/oarsi_pattern_counts.csv", comment="#")
    known = readings(pattern_counts(table))
    fitted_to = known[np.random.default_rng(seed).permutation(len(known))[: len(known) // 2]]
    found = likelihoods(fitted_to, (30, 100, 300, 1000, 3000), seed=seed)
    assert found.idxmax() == STRENGTH == likelihoods(known, list(found.index), seed=seed).idxmax()
