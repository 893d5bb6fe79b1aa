"""A metric of one's own: one function, one name, and it stands wherever Table 1's metrics do."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import oacore
from oacore.instruments.published.protocol import as_released, released_protocol
from tests.helpers import model

FUNCTION = '''
def oa_balanced(predictions: pd.DataFrame, counts: np.ndarray) -> np.ndarray:
    """Balanced accuracy of the OA answer: mean of sensitivity and specificity."""
    oa, said = _is_oa(predictions, "oa"), _is_oa(predictions, "pred_oa")
    return np.mean([accuracy(counts[:, one], oa[one], said[one]) for one in (oa, ~oa)], axis=0)


'''
ASKED = """
import pandas as pd
from oacore.instruments.published.predictions import printed_table1
from oacore.instruments.published.protocol import as_released, released_protocol
from oacore.metrics.compare import compare_effects, compare_supervisions
from oacore.metrics.scores import paired_bootstrap, table1
from oacore.metrics.seeds import mean_over_seeds
from oacore.plots.intervals import interval_panels

runs = pd.read_csv("runs.csv").astype({"pred_kl": "Int64"})
scores = table1(runs)
scores.to_csv("table1.csv", index=False)
as_released(released_protocol(runs, n_resamples=50)).to_csv("stats.csv", index=False)
effects = compare_supervisions(runs, n_resamples=20, seed=0, over_seeds=True)
of_backbone = effects.query("backbone == 'm3t'")
assert list(of_backbone["metric"])[3] == "oa_balanced" and len(of_backbone) == 7
assert "oa_balanced" in set(compare_effects(runs, n_resamples=20, seed=0)["metric"])
assert (mean_over_seeds(scores)["metric"] == "oa_balanced").sum() == 6
fig = interval_panels(effects.assign(series="Dual minus single"))
assert "OA balanced accuracy" in fig.layout.yaxis.ticktext
assert printed_table1().shape == (9, 8)  # the paper prints no such figure
"""


def runs():
    tables = [
        model(10 * i + j, 40, supervision=supervision, kl=[k % 5 for k in range(40)]).assign(
            backbone=backbone, seed=0
        )
        for i, backbone in enumerate(("m3t", "mine"))
        for j, supervision in enumerate(("single_oa", "single_kl", "dual"))
    ]
    return pd.concat(tables, ignore_index=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What a package says whose scores and names have one metric more."""
    folder = tmp_path_factory.mktemp("added")
    shutil.copytree(Path(oacore.__file__).parent, folder / "oacore")
    for file, before, more in (
        ("metrics/scores.py", "#: The metrics of Table 1 in its order", FUNCTION.lstrip()),
        (
            "names.py",
            '    "kl_auc": "KL macro-AUC",',
            '    "oa_balanced": "OA balanced accuracy",\n',
        ),
    ):
        path = folder / "oacore" / file
        text = path.read_text()
        assert text.count(before) == 1
        path.write_text(text.replace(before, more + before))
    runs().to_csv(folder / "runs.csv", index=False)
    words = {"cwd": folder, "env": {**os.environ, "PYTHONPATH": str(folder)}}
    done = subprocess.run([sys.executable, "-c", ASKED], **words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_its_values_are_scikit_learns(folder):
    from sklearn.metrics import balanced_accuracy_score

    table = pd.read_csv(folder / "table1.csv")
    assert len(table) == 6
    for row in table.to_dict("records"):
        own = runs().query("backbone == @row['backbone'] and supervision == @row['supervision']")
        expected = balanced_accuracy_score(own["oa"], own["pred_oa"])
        assert row["oa_balanced"] == pytest.approx(expected, abs=1e-12)


def test_the_released_rows_stay_beside_it(folder):
    found = pd.read_csv(folder / "stats.csv")
    added = (found["task"] == "OA") & (found["metric"] == "OA balanced accuracy")
    assert added.sum() == 2
    released = as_released(released_protocol(runs(), n_resamples=50))
    kept = found[~added].reset_index(drop=True).drop(columns="q_value")  # of another family
    pd.testing.assert_frame_equal(kept, released.drop(columns="q_value"))
