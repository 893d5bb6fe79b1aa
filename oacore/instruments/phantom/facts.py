"""Figures of real knees, and what a cohort measures beside them."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import numpy as np
import pandas as pd
from scipy.stats import binomtest, norm
from scipy.stats import t as student
from sklearn.metrics import cohen_kappa_score

from oacore.errors import InputError
from oacore.hierarchy import N_GRADES, oa_from_kl
from oacore.names import interval_text

FACT = ["quantity", "by", "group", "unit", "real", "real_sd", "real_low", "real_high", "source"]


@cache
def _facts() -> pd.DataFrame:
    with (files("oacore.instruments.phantom") / "knee_facts.csv").open() as file:
        return pd.read_csv(file, comment="#", dtype={"group": str}).astype({"n": "Int64"})


def knee_facts() -> pd.DataFrame:
    """Measured and published figures of real knees, `oacore/instruments/phantom/knee_facts.csv`.

    Returns
    -------
    DataFrame
        One row a figure:

        - quantity: a column of :func:`.measure.measure_cohort`, of the cohort's table
          or of a phantom's truth; "column=value" is the share of knees with that value, and
          "age_kl_spearman" see :func:`age_trend`;
        - by, group (str): of which knees, such as "kl", "3";
        - value, sd (over knees), low, high (a range, where the source gives one), each may be
          missing; unit;
        - n: knees behind it, where known; source: "measured" (recomputed from public tables,
          masks or landmarks, which the file's header names) or "read" (in a publication).
    """
    return _facts().copy()


def beside_facts(
    cases: pd.DataFrame, measured: pd.DataFrame, truth: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Means of a cohort beside the figures of real knees.

    Parameters
    ----------
    cases : DataFrame
        As :func:`.cohort.read_cohort` gives it.
    measured : DataFrame
        As :func:`.measure.measure_cohort` gives it: case_id, split and measurements.
    truth : DataFrame, optional
        As :func:`.cohort.read_truth` gives it. With it knees are grouped by their true
        KL grade, else by their label; figures of OARSI grades and of readers need it.

    Returns
    -------
    DataFrame
        A row for each fact of which the cohort has something to say, in their order: quantity,
        by, group, unit; measured (the mean, or the share or kappa), low, high (its 95% interval
        over knees: Student's for a mean, Wilson's for a share; none for a kappa) and n; real,
        real_sd, real_low, real_high and source.

    Raises
    ------
    InputError
        If none of the measured knees is in the cohort.
    """
    knees = cases.merge(measured.drop(columns="split"), on="case_id", how="inner")
    if truth is not None:
        known = set(knees.columns) - {"case_id"}
        extra = [column for column in truth.columns if column not in known]
        knees = knees.merge(truth[extra], on="case_id").assign(kl=lambda t: t["kl_true"])
        readings = truth.dropna(subset=["kl"])
    if knees.empty:
        raise InputError("no case of the cohort was measured; measure the same cohort again")
    spaces = [f"joint_space_{side}_mm" for side in ("medial", "lateral")]
    if set(spaces) <= set(knees.columns):
        knees["joint_space_narrower_mm"] = knees[spaces].min(axis=1, skipna=False)
    rows = []
    for fact in knee_facts().to_dict("records"):
        if fact["by"] == "readings":
            found = None if truth is None else _agreement(fact["quantity"], readings)
        elif fact["quantity"] == "age_kl_spearman":
            found = age_trend(cases) if {"age", "kl"} <= set(cases) else None
        else:
            found = mean_or_share(fact["quantity"], _group(knees, fact["by"], fact["group"]))
        if found is not None:
            fact |= {"real": fact["value"]}
            fact |= {f"real_{name}": fact[name] for name in ("sd", "low", "high")}
            rows.append(fact | found)
    return pd.DataFrame(rows, columns=[*FACT[:4], "measured", "low", "high", "n", *FACT[4:]])


def side_by_side(table: pd.DataFrame) -> pd.DataFrame:
    """A table of `beside_facts`, short enough to read.

    Returns
    -------
    DataFrame
        By quantity and group ("KL 3", "JSN 2", "male"): "this cohort", the mean and its 95%
        interval in brackets, and "real knees", the figure with its standard deviation or range.
    """

    def cohort(row: pd.Series) -> str:
        return interval_text(row["measured"], row["low"], row["high"], ".3g")

    def real(row: pd.Series) -> str:
        words = [] if pd.isna(row["real"]) else [f"{row['real']:.3g}"]
        if pd.notna(row["real_sd"]):
            words.append(f"± {row['real_sd']:.3g}")
        if pd.notna(row["real_low"]):
            words.append(f"({row['real_low']:.3g} to {row['real_high']:.3g})")
        elif pd.notna(row["real_high"]):
            words.append(f"(up to {row['real_high']:.3g})")
        return " ".join(words)

    scale = table["by"].map({"kl": "KL ", "jsn_medial": "JSN ", "jsn_lateral": "JSN "}).fillna("")
    columns = {"this cohort": table.apply(cohort, axis=1), "real knees": table.apply(real, axis=1)}
    words = table[["quantity"]].assign(group=scale + table["group"], **columns)
    return words.set_index(["quantity", "group"])


def by_grade(table: pd.DataFrame) -> pd.DataFrame:
    """Means by KL grade of a table of `beside_facts`, the cohort's and those of real knees.

    Returns
    -------
    DataFrame
        Two rows a quantity, "measured" and "real"; a column a grade.
    """
    rows = table[(table["by"] == "kl") & ~table["quantity"].str.contains("=")]
    wide = rows.pivot(index="quantity", columns="group", values=["measured", "real"])
    return pd.DataFrame(wide.stack(0, future_stack=True)).rename_axis(columns="KL")


def mean_oarsi_grades(table: pd.DataFrame) -> pd.DataFrame:
    """Mean grade of each place by KL, from the shares of knees with each of its grades.

    Parameters
    ----------
    table : DataFrame
        Of `beside_facts`, with quantities such as "jsn_medial=2".

    Returns
    -------
    DataFrame
        Two rows a place, "measured" and "real"; a column a KL grade.
    """
    rows = table[table["quantity"].str.contains(r"=\d$")]
    parts = rows["quantity"].str.split("=", expand=True)
    weighted = rows[["measured", "real"]].mul(parts[1].astype(int), axis=0)
    means = weighted.groupby([parts[0].rename("place"), rows["group"]]).sum().unstack()
    return pd.DataFrame(means.stack(0, future_stack=True)).rename_axis(columns="KL")


def age_trend(cases: pd.DataFrame) -> dict[str, float] | None:
    """Spearman's correlation of age and KL grade as read, over the graded knees.

    Parameters
    ----------
    cases : DataFrame
        Columns age, kl (may be missing).

    Returns
    -------
    dict, or None of fewer than four knees or where one of the two has a single value
        `measured`; `low`, `high`, its 95% interval by Fisher's transformation with the variance
        1.06 / (n - 3) of ranks (Fieller, Hartley and Pearson 1957, doi:10.1093/biomet/44.3-4.470);
        `n`.
    """
    known = cases[["age", "kl"]].dropna().astype(float)
    if len(known) < 4 or known.nunique().min() < 2:
        return None
    rho = float(known["age"].corr(known["kl"], method="spearman"))
    half = norm.ppf(0.975) * np.sqrt(1.06 / (len(known) - 3))
    low, high = np.tanh(np.arctanh(rho) + np.array([-half, half]))
    return {"measured": rho, "low": float(low), "high": float(high), "n": len(known)}


def mean_or_share(quantity: str, knees: pd.DataFrame) -> dict[str, float] | None:
    """Mean or share over knees with its 95% interval: Student's, or Wilson's.

    Parameters
    ----------
    quantity : str
        A column, or a column and the level whose share is asked for ("jsn_medial=2").
    knees : DataFrame

    Returns
    -------
    dict, or None where there is nothing to average
        `measured`, `low`, `high`, `n`; of a single knee's mean the limits are NaN.
    """
    column, _, level = quantity.partition("=")
    if column not in knees or (values := knees[column].dropna()).empty:
        return None
    n = len(values)
    if level:
        hits = int((values.astype(str) == level).sum())
        interval = binomtest(hits, n).proportion_ci(method="wilson")
        return {"measured": hits / n, "low": interval.low, "high": interval.high, "n": n}
    mean, low, high = float(values.mean()), np.nan, np.nan
    if n > 1:
        half = student.ppf(0.975, n - 1) * float(values.std()) / np.sqrt(n)
        low, high = mean - half, mean + half
    return {"measured": mean, "low": low, "high": high, "n": n}


def _group(knees: pd.DataFrame, by: str, group: str) -> pd.DataFrame:
    """The knees of one group; none where the cohort does not tell."""
    if by == "all":
        return knees
    if by not in knees:
        return knees.iloc[:0]
    return knees[knees[by].astype("string").fillna("") == group]


def _agreement(quantity: str, readings: pd.DataFrame) -> dict[str, float] | None:
    """How well a phantom's two readings agree."""
    if readings.empty:
        return None
    first, second = readings["kl"].to_numpy(int), readings["reader2"].to_numpy(int)
    n = len(first)
    if quantity == "reader_kappa":
        kappa = cohen_kappa_score(first, second, weights="quadratic", labels=range(N_GRADES))
        return {"measured": float(kappa), "low": np.nan, "high": np.nan, "n": n}
    if quantity == "reader_oa":
        first, second = oa_from_kl(first), oa_from_kl(second)
    same = first == second
    interval = binomtest(int(same.sum()), n).proportion_ci(method="wilson")
    return {"measured": float(same.mean()), "low": interval.low, "high": interval.high, "n": n}
