"""Equations (1) to (4) and the reader table, against their definitions and scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.metrics import cohen_kappa_score, log_loss

from oacore.hierarchy import agreement, oa_from_kl, prob_oa_from_kl, reader_table
from oacore.training.losses import hierarchical_loss


def test_oa_is_kl_of_two_or_more():
    assert oa_from_kl([0, 1, 2, 3, 4]).tolist() == [0, 0, 1, 1, 1]


@pytest.mark.parametrize("grade", [-1, 5, 2.5])
def test_a_grade_outside_the_scale_is_refused(grade):
    with pytest.raises(ValueError, match="0 to 4"):
        oa_from_kl([grade])


def test_loss_is_the_sum_of_the_two_log_losses():
    rng = np.random.default_rng(0)
    kl = np.array([0, 1, 2, 3, 4, 4])
    oa_logit = torch.tensor(rng.normal(size=6))
    kl_logits = torch.tensor(rng.normal(size=(6, 5)))
    total, parts = hierarchical_loss({"oa": oa_logit, "kl": kl_logits}, torch.tensor(kl))
    oa = log_loss(kl >= 2, oa_logit.sigmoid().numpy())
    fine = log_loss(kl, kl_logits.softmax(1).numpy(), labels=range(5))
    assert parts["oa"].item() == pytest.approx(oa, abs=1e-12)
    assert parts["kl"].item() == pytest.approx(fine, abs=1e-12)
    assert total.item() == pytest.approx(oa + fine, abs=1e-12)
    weighted, _ = hierarchical_loss(
        {"oa": oa_logit, "kl": kl_logits}, torch.tensor(kl), {"oa": 0.5, "kl": 2.0}
    )
    assert weighted.item() == pytest.approx(0.5 * oa + 2 * fine, abs=1e-12)


def test_one_head_has_its_own_loss_alone():
    kl = torch.tensor([0, 3])
    total, parts = hierarchical_loss({"oa": torch.zeros(2)}, kl)
    assert list(parts) == ["oa"] and total.item() == pytest.approx(np.log(2))


def test_implied_probability_sums_the_grades_from_two():
    prob = np.array([[0.1, 0.2, 0.3, 0.25, 0.15], [1, 0, 0, 0, 0]])
    assert prob_oa_from_kl(prob) == pytest.approx([0.7, 0.0])


def test_agreement_matches_scikit_learn_on_drawn_readings():
    shares = np.array([82, 46, 86, 111, 58])
    table = reader_table().to_numpy()
    rng = np.random.default_rng(0)
    first = rng.choice(5, size=200_000, p=shares / shares.sum())
    second = np.array(
        [rng.choice(5, p=table[k], size=(first == k).sum()) for k in range(5)], dtype=object
    )
    pairs = np.concatenate(
        [np.stack([np.full(len(s), k), s.astype(int)]) for k, s in enumerate(second)], axis=1
    )
    expected = agreement(table, shares)
    kappas = {
        "kappa": cohen_kappa_score(*pairs),
        "kappa_quadratic": cohen_kappa_score(*pairs, weights="quadratic"),
        "kappa_oa": cohen_kappa_score(*(pairs >= 2)),
    }
    # Three standard errors of a share over 200,000 draws are .0034.
    assert {name: expected[name] for name in kappas} == pytest.approx(kappas, abs=0.006)
    across = ((pairs[0] >= 2) != (pairs[1] >= 2))[pairs[0] != pairs[1]].mean()
    assert expected["moves_across"] == pytest.approx(across, abs=0.006)
    assert expected["exact"] == pytest.approx((pairs[0] == pairs[1]).mean(), abs=0.0034)
    assert expected["oa"] == pytest.approx(((pairs[0] >= 2) == (pairs[1] >= 2)).mean(), abs=0.0034)


def test_agreement_on_the_coarse_label_by_hand():
    shares = [103, 58, 108, 139, 73]  # OAIZIB-CM's 481 graded knees
    # By hand from the printed table: P(second reading on the same side of KL >= 2).
    same_side = np.array([0.836, 0.677, 0.686, 0.869, 0.990])
    found = agreement(reader_table().to_numpy(), shares)
    assert found["oa"] == pytest.approx(np.average(same_side, weights=shares), abs=0.001)


def test_faultless_readers_agree_on_everything():
    found = agreement(np.eye(5), [1, 2, 3, 4, 5])
    assert found.pop("moves_across") == 0 and set(found.values()) == {1.0}
