"""Losses of a graded knee, each a small function with its source.

All take logits (..., n, K) of n knees and their grades (..., n), and give a mean over the knees,
(...): leading dimensions are networks that are trained side by side (:mod:`.hierarchy.batched`).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

from oacore.hierarchy import FIRST_OA_GRADE

#: Share of a target that :func:`smoothed` gives to the grades beside the label.
SMOOTHING = 0.1


def cross_entropy(logits: torch.Tensor, grades: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the grade, as equation (3) of arXiv:2605.00718 has it.

    Parameters
    ----------
    logits : Tensor, (..., n, K)
    grades : Tensor of int64, (..., n)

    Returns
    -------
    Tensor, (...)
    """
    return -_at(logits.log_softmax(-1), grades).mean(-1)


def binary(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy of one logit, (..., n, 1), as equation (3) has it for OA.

    Returns
    -------
    Tensor, (...)
    """
    logit = logits.squeeze(-1)
    each = F.binary_cross_entropy_with_logits(logit, labels.to(logit.dtype), reduction="none")
    return each.mean(-1)


def corn(logits: torch.Tensor, grades: torch.Tensor) -> torch.Tensor:
    """CORN: is it above this grade, asked of the knees at or above it alone.

    Parameters
    ----------
    logits : Tensor, (..., n, K - 1)
        Of P(grade > k | grade >= k), k = 0 to K - 2.
    grades : Tensor of int64, (..., n)

    Returns
    -------
    Tensor, (...)
        Summed over tasks and knees, by the number of answers that were asked for.

    Notes
    -----
    Shi, Cao and Raschka 2023, doi:10.1007/s10044-023-01181-9, equation (6); as ``corn_loss`` of
    coral-pytorch.
    """
    tasks = torch.arange(logits.shape[-1], device=grades.device)
    asked = (grades[..., None] >= tasks).to(logits.dtype)  # (..., n, K - 1)
    return (asked * _above(logits, grades)).sum((-2, -1)) / asked.sum((-2, -1))


def coral(logits: torch.Tensor, grades: torch.Tensor) -> torch.Tensor:
    """CORAL: is it above this grade, asked of all knees; summed over the K - 1 tasks.

    Parameters
    ----------
    logits : Tensor, (..., n, K - 1)
        Of P(grade > k), one score of a knee with a threshold for each k.
    grades : Tensor of int64, (..., n)

    Returns
    -------
    Tensor, (...)

    Notes
    -----
    Cao, Mirjalili and Raschka 2020, doi:10.1016/j.patrec.2020.11.008, equation (4) with all
    weights 1; as ``coral_loss`` of coral-pytorch.
    """
    return _above(logits, grades).sum(-1).mean(-1)


def soft_grades(logits: torch.Tensor, grades: torch.Tensor) -> torch.Tensor:
    """Cross-entropy against a softmax of minus the distance to the label, in grades.

    Notes
    -----
    Diaz and Marathe 2019, doi:10.1109/CVPR.2019.00487, equation (1), with the absolute distance.
    """
    distance = _distance(grades, logits.shape[-1], logits.dtype)
    return _against((-distance).softmax(-1), logits)


def smoothed(logits: torch.Tensor, grades: torch.Tensor) -> torch.Tensor:
    """Cross-entropy against a label that shares `SMOOTHING` between the grades next to it.

    Notes
    -----
    Label smoothing (Szegedy and others 2016, arXiv:1512.00567) that knows of the order. A grade at
    the end has one neighbour, which gets all.
    """
    distance = _distance(grades, logits.shape[-1], logits.dtype)
    beside = (distance == 1).to(logits.dtype)
    target = SMOOTHING * beside / beside.sum(-1, keepdim=True)
    return _against(target + (1 - SMOOTHING) * (distance == 0), logits)


def earth_mover(logits: torch.Tensor, grades: torch.Tensor) -> torch.Tensor:
    """Squared distance of the cumulative distributions of answer and label, over the grades.

    Notes
    -----
    Hou, Yu and Samaras 2016, arXiv:1611.05916, equation (6) without its constant factor: the
    squared earth mover's distance of ordered classes.
    """
    reached = logits.softmax(-1).cumsum(-1)
    truly = (grades[..., None] <= torch.arange(logits.shape[-1], device=grades.device)).to(
        logits.dtype
    )
    return ((reached - truly) ** 2).sum(-1).mean(-1)


def inconsistency(oa: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """Squared difference of the OA head and what the grade's head implies, equation (4).

    Parameters
    ----------
    oa : Tensor, (..., n, 1)
        Logits of OA.
    logits : Tensor, (..., n, 5)
        Of the grade.

    Returns
    -------
    Tensor, (...)
        From 0 to 1.

    Notes
    -----
    Equation (4) of arXiv:2605.00718 is there a way of reading the grade's head; here a penalty.
    """
    implied = logits.softmax(-1)[..., FIRST_OA_GRADE:].sum(-1)
    return ((oa.squeeze(-1).sigmoid() - implied) ** 2).mean(-1)


def hierarchical(oa: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """Log-probabilities of the grades as p(OA) times p(KL | OA).

    Parameters
    ----------
    oa : Tensor, (..., n, 1)
    logits : Tensor, (..., n, 5)
        Each of the two groups of grades has a softmax of its own.

    Returns
    -------
    Tensor, (..., n, 5)
        Whose softmax they are as well, so that :func:`cross_entropy` takes them for logits.

    Notes
    -----
    The conditional softmax of Redmon and Farhadi 2017, arXiv:1612.08242, section 4, with one
    logit where a softmax of two would do the same.
    """
    without, with_oa = logits[..., :FIRST_OA_GRADE], logits[..., FIRST_OA_GRADE:]
    return torch.cat(
        [
            F.logsigmoid(-oa) + without.log_softmax(-1),
            F.logsigmoid(oa) + with_oa.log_softmax(-1),
        ],
        dim=-1,
    )


def uncertain(loss: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
    """A loss weighted by a learned variance: exp(-s) loss + s / 2.

    Notes
    -----
    Kendall, Gal and Cipolla 2018, arXiv:1705.07115, equation (10), s = log sigma squared.
    """
    return torch.exp(-log_variance) * loss + log_variance / 2


#: Losses of the grade by the name that an arm has for them.
GRADINGS: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "softmax": cross_entropy,
    "hierarchical": cross_entropy,
    "corn": corn,
    "coral": coral,
    "soft": soft_grades,
    "smoothed": smoothed,
    "earth mover": earth_mover,
}


def probabilities(grading: str, logits: torch.Tensor) -> torch.Tensor:
    """Probabilities of the five grades from what a head of some loss answers.

    Parameters
    ----------
    grading : str
        Of :data:`GRADINGS`.
    logits : Tensor, (..., K), or (..., K - 1) for "corn" and "coral"

    Returns
    -------
    Tensor, (..., K)
        They sum to 1. Thresholds of "coral" may be out of order while it learns: a grade that
        would get less than nothing gets nothing.
    """
    if grading not in ("corn", "coral"):
        return logits.softmax(-1)
    above = logits.sigmoid()  # P(grade > k), or given that it is at least k
    above = above.cumprod(-1) if grading == "corn" else above.cummin(-1).values
    ends = (torch.ones_like(above[..., :1]), torch.zeros_like(above[..., :1]))
    reached = torch.cat([ends[0], above, ends[1]], dim=-1)
    return reached[..., :-1] - reached[..., 1:]


def _at(values: torch.Tensor, grades: torch.Tensor) -> torch.Tensor:
    return values.gather(-1, grades[..., None]).squeeze(-1)


def _above(logits: torch.Tensor, grades: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy of "above k" for every k and knee, (..., n, K - 1)."""
    truly = (grades[..., None] > torch.arange(logits.shape[-1], device=grades.device)).to(
        logits.dtype
    )
    return F.binary_cross_entropy_with_logits(logits, truly, reduction="none")


def _distance(grades: torch.Tensor, classes: int, dtype: torch.dtype) -> torch.Tensor:
    """Distance of every grade from the label, (..., n, K)."""
    return (grades[..., None] - torch.arange(classes, device=grades.device)).abs().to(dtype)


def _against(target: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """Cross-entropy against a distribution, (..., n, K), as a mean over the knees."""
    return -(target * logits.log_softmax(-1)).sum(-1).mean(-1)
