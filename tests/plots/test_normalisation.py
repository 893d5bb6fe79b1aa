"""The picture of one network that answers with two sets of statistics."""

import numpy as np
import pandas as pd
import pytest

from oacore.errors import InputError
from oacore.plots.normalisation import same_weights

KL = [0, 0, 1, 2, 3, 4]


def test_counts_and_losses_are_those_given():
    history = pd.DataFrame(
        {"epoch": [1, 2], "loss": [1.5, 0.3], "loss_evaluated": [1.6, 1.2], "lr": 1e-3}
    )
    answers = pd.concat(
        [
            pd.DataFrame({"statistics": "running", "kl": KL, "pred_kl": [4] * 6}),
            pd.DataFrame({"statistics": "re-estimated", "kl": KL, "pred_kl": [0, 1, 1, 2, 3, 4]}),
        ]
    )
    fig = same_weights(history, answers, 0.25)
    trained, evaluated, star, stale, fresh = fig.data
    assert np.array_equal(trained.y, [1.5, 0.3]) and np.array_equal(evaluated.y, [1.6, 1.2])
    assert np.array_equal(star.y, [0.25]) and np.array_equal(star.x, [2])
    assert np.array_equal(np.asarray(stale.text)[:, 4], [2, 1, 1, 1, 1])
    assert np.array_equal(np.asarray(fresh.text)[0], [1, 1, 0, 0, 0])
    titles = [note.text for note in fig.layout.annotations]
    assert titles == [
        "loss on the training knees",
        "running<br>17% right",
        "re-estimated<br>83% right",
    ]
    with pytest.raises(InputError, match="no answers with re-estimated statistics"):
        same_weights(history, answers[answers["statistics"] == "running"], 0.25)
