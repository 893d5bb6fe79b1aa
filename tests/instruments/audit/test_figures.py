"""Figures of the audit show the findings they are given."""

import re

import numpy as np
import pytest

from oacore.errors import InputError
from oacore.instruments.audit import figures as figures_audit
from oacore.instruments.audit.findings import audit, carried_statements, carried_tables
from oacore.instruments.audit.ranks import implied_auroc


@pytest.fixture(scope="module")
def tables():
    return {table.name: table for table in carried_tables()}


@pytest.fixture(scope="module")
def findings():
    return audit(carried_tables(), carried_statements())


def traces(fig):
    return {trace.name: trace for trace in fig.data}


def test_steps_are_shares():
    drawn = traces(figures_audit.steps(98, "0.7959", "0.7951"))
    ticks = drawn["shares of the knees"]
    assert list(ticks.text) == ["76/98", "77/98", "78/98", "79/98", "80/98"]
    np.testing.assert_allclose(ticks.x, np.arange(76, 81) / 98)
    assert drawn["printed: 0.7959"].x == (0.7959,)


def test_rows_of_table_2_by_verdict_on_the_curve(tables, findings):
    drawn = traces(figures_audit.rho_against_auroc(tables["Table 2"], findings))
    assert len(drawn["inconsistent"].x) == 6 and len(drawn["undetermined"].x) == 3
    assert all(name.startswith("nnMamba") for name in drawn["undetermined"].text)
    curve = drawn["the identity"]
    np.testing.assert_allclose(curve.y, [implied_auroc(x, 65, 33) for x in curve.x])
    assert curve.y[-1] == pytest.approx(1)
    box = drawn["rounding of undetermined"]
    np.testing.assert_allclose(box.x[:2], [0.5735, 0.5745])
    np.testing.assert_allclose(box.y[1:3], [0.8515, 0.8525])


def test_dice_between_chance_and_ceiling(tables):
    drawn = traces(figures_audit.dice_below_ceiling(tables["Table 3"], "dice10", "0.0089"))
    assert len(drawn["printed"].x) == 12
    assert drawn["ceiling 0.164"].x[0] == pytest.approx(2 * 0.00895 / 0.10895)
    assert drawn["chance 0.016"].x[0] == pytest.approx(0.2 * 0.0089 / 0.1089)


def test_counts_of_verdicts(findings):
    drawn = traces(figures_audit.verdict_counts(findings))
    assert sum(sum(trace.customdata) for trace in drawn.values()) == len(findings)
    (place,) = (i for i, y in enumerate(drawn["inconsistent"].y) if y == "rho-auroc: 6, 3, 0")
    assert drawn["inconsistent"].customdata[place] == 6
    assert drawn["inconsistent"].x[place] == pytest.approx(6 / 9)
    with pytest.raises(InputError, match="no row"):
        figures_audit.verdict_counts(findings[:0])


def test_table_to_filter(findings):
    page = figures_audit.findings_table(findings).html
    assert page.count("<tr data-verdict") == len(findings)
    assert page.index('data-verdict="inconsistent"') < page.index('data-verdict="consistent"')
    for button in ("inconsistent (11)", f"all ({len(findings)})", "arXiv:2112.09177 ("):
        assert button in page
    ids = re.findall(r'<input [^>]*id="([^"]+)"', page)
    assert len(ids) == len(set(ids)) == 7
    assert re.findall(r'<label for="([^"]+)"', page) == ids
    for rule in re.findall(r"#([\w-]+):checked", page):
        assert rule in ids
    assert "<script" not in page
    assert figures_audit.findings_table(findings).html == page
