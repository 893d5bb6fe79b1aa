"""Tables 4 and 5 of arXiv:2605.00718: its models beside those of arXiv:2603.02367, as printed.

The second study prints means +- standard deviations, the first one figure for one test split. What
the two have in common is the data set, so they can be set side by side but not ranked.
"""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import pandas as pd

from oacore.instruments.audit.printed import read_printed

QUOTED = "Chen et al."
PAPER = "Zhang"
# Of each table: the rows of the paper's own models, and those it quotes.
TABLES = {
    "Table 4": ("table4.csv", "table4_quoted.csv"),
    "Table 5": ("table5.csv", "table5_quoted.csv"),
}
SPREAD = "quoted_sd.csv"


def external_benchmark() -> pd.DataFrame:
    """Every figure that Tables 4 and 5 print.

    Returns
    -------
    DataFrame
        A row a figure: ``table``, ``source`` ("Chen et al." or "Zhang"), ``model``, ``metric``
        ("oa_acc", "oa_f1" of the class OA, "oa_macro_f1", "oa_auc", "kl_acc", "kl_f1" and "kl_auc",
        both macro), ``value``, and ``sd``, what stands behind the sign +-, NaN where none does.
    """
    printed_tables = files("oacore.instruments.audit") / "printed"
    with (files("oacore.instruments.radiomics") / SPREAD).open(encoding="utf-8") as file:
        spread = pd.read_csv(file, comment="#", index_col="row")
    rows = []
    for table, names in TABLES.items():
        for source, name in zip((PAPER, QUOTED), names, strict=True):
            figures = read_printed(str(printed_tables / name)).figures
            for metric in figures.columns.drop("same_as", errors="ignore"):
                for model, printed in figures[metric].items():
                    sd = float(spread[metric][str(model)]) if source == QUOTED else np.nan
                    short = str(model).removeprefix(f"{source} ")
                    rows.append((table, source, short, metric, float(printed), sd))
    return pd.DataFrame(rows, columns=["table", "source", "model", "metric", "value", "sd"])


def knees_behind(share: pd.Series, sd: pd.Series) -> pd.Series:
    """Number of test knees that would give a standard deviation by chance alone.

    If each of n knees is judged rightly with probability p, the share of right ones has the
    variance p (1 - p) / n; so n = p (1 - p) / sd^2. A fold with more knees than that varies for
    other reasons too: its training knees, and the training run.

    Parameters
    ----------
    share, sd : Series
        Accuracies and their standard deviations.
    """
    return share * (1 - share) / sd**2
