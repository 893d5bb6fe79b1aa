"""One answer that nobody has graded, and what a loss of coherence alone makes of it.

A network is trained by such a loss through its weights. Here the seven answers of one picture are
free, so that nothing holds them but each other: it shows which way the loss pulls.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from oacore.errors import InputError
from oacore.instruments.coherence.mixture import GradesLoss
from oacore.instruments.coherence.patterns import GRADE_NAMES, GRADES, SIZES

#: What an answer is called before any loss has pulled at it.
GIVEN = "as given"


def pulled(
    answer: Mapping[str, np.ndarray],
    losses: Mapping[str, GradesLoss],
    *,
    steps: int = 300,
    rate: float = 0.2,
) -> pd.DataFrame:
    """Follow each loss downhill from one answer, by gradient descent in the logits of its heads.

    Parameters
    ----------
    answer : mapping of str to ndarray, shape (1, 5) or (1, 4)
        Probabilities by head, as :func:`.patterns.by_head` cuts them; none may be 0.
    losses : mapping of str to callable
        Of :func:`.mixture.mixture_loss` or :func:`.joint.joint_loss`, by what they are called.
    steps : int
    rate : float
        Of a step, above 0.

    Returns
    -------
    DataFrame
        A row for the answer as it was given, `GIVEN`, and one for each loss: the expected grade of
        each head, by its written name, once the loss has pulled; then ``loss before`` and ``loss
        after``, missing of the first.

    Raises
    ------
    InputError
        If a probability is 0, from where no step leads away, or `rate` is not above 0.
    """
    import torch

    if any((answer[name] <= 0).any() for name in GRADES):
        raise InputError("answer: a probability is 0; blur the answer, so that it can be moved")
    if not rate > 0:
        raise InputError(f"rate is {rate}; give a number above 0")
    rows = {GIVEN: expected(answer)}
    for name, loss in losses.items():
        logits = {
            head: torch.tensor(np.log(answer[head]), dtype=torch.float64, requires_grad=True)
            for head in GRADES
        }
        values = []
        for _ in range(steps):
            value = loss({head: own.softmax(1) for head, own in logits.items()}).sum()
            values.append(value.item())
            gradients = torch.autograd.grad(value, list(logits.values()))
            with torch.no_grad():
                for own, gradient in zip(logits.values(), gradients, strict=True):
                    own -= rate * gradient
        end = {head: own.detach().softmax(1) for head, own in logits.items()}
        rows[name] = expected({head: own.numpy() for head, own in end.items()})
        rows[name] |= {"loss before": values[0], "loss after": loss(end).item()}
    return pd.DataFrame.from_dict(rows, orient="index")


def expected(answer: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The expected grade of each head of one answer, by the head's written name."""
    return {
        GRADE_NAMES[head]: float(answer[head][0] @ np.arange(size)) for head, size in SIZES.items()
    }
