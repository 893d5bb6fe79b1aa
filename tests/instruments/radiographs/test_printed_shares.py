"""Shares of KL grades: the print's add up as the paper's sentence does, ours as the table does."""

import pandas as pd
import pytest

from oacore.errors import InputError
from oacore.instruments.radiographs.printed_shares import OURS, kl_shares


def test_printed_shares_stand_above_ours():
    pictures = pd.DataFrame(
        {"split": ["train"] * 3 + ["val", "test"], "kl": [0, 1, 4, 0, 2], "knees": [6, 3, 1, 9, 5],
         "complete": [1, 2, 1, 9, 4]}
    )  # fmt: skip
    table = kl_shares(pictures)
    printed, train, complete, test, _ = table.index
    assert list(OURS) == [train, complete, test, table.index[-1]]
    # arXiv:2112.09177, section 3 and Table 1.
    assert table.loc[printed, "number"] == 23_249
    assert table.loc[printed, "KL 2"] == pytest.approx(10_231 / 23_249)
    assert table.loc[train].tolist() == [10, 0.6, 0.3, 0, 0, 0.1]
    assert table.loc[complete].tolist() == [4, 0.25, 0.5, 0, 0, 0.25]
    assert table.loc[test].tolist() == [5, 0, 0, 1, 0, 0]
    assert table.iloc[:, 1:].sum(axis=1).tolist() == pytest.approx([1] * 5)


def test_a_table_that_lacks_a_column_is_refused():
    with pytest.raises(InputError, match="complete"):
        kl_shares(pd.DataFrame({"split": ["train"], "kl": [0], "knees": [1]}))
