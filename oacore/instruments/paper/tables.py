"""Tables 1 to 3 of arXiv:2605.00718, a build's figures beside the printed ones.

All three have one tidy form: `backbone`, `setting`, `source` (this build's, the paper's, or what
limits both), `measure`, `value`, and `printed`, the very digits of the paper; in Tables 1 and 2
`seed_low`, `seed_high`, the lowest and the highest seed, in Table 3 `low`, `high`, a 95% interval.
From it come the table on the page, a CSV file with all digits, and one in LaTeX.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from oacore.errors import InputError
from oacore.files import write
from oacore.instruments.audit.printed import NAMES, carried_tables
from oacore.instruments.axis.axis import PROTOCOLS
from oacore.names import BACKBONE_NAMES, SUPERVISION_NAMES, written
from oacore.plots.page import Html
from oacore.plots.page import table as page
from oacore.profile import Profile
from oacore.results import beside_page, kept, write_csv

OURS, PAPER = "this build", "paper"
COLUMNS = ["backbone", "setting", "source", "measure", "value"]
SEEDS, INTERVAL = ["seed_low", "seed_high"], ["low", "high"]
_SETTINGS = ("Single-OA", "Single-KL", "Dual", "Dual-KL", "Dual-OA", "any map")
_SOURCES = (OURS, *(f"{OURS}, {protocol}" for protocol in PROTOCOLS), PAPER, "chance", "ceiling")
_GEOMETRY = {  # of oacore.instruments.axis.axis, as oacore.instruments.audit.printed calls them
    "evr_pc1": "evr_pc1",
    "rho_kl": "rho_kl",
    "rho_oa": "rho_oa",
    "oa_auc": "auroc_oa",
    "rho_d_adj": "rho_distances",
}
_TEX = str.maketrans({"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$"})


def need_kept(build: str | Path, *names: str) -> list[pd.DataFrame]:
    """Tables that other chapters of a build kept.

    Raises
    ------
    InputError
        If any is missing; it names all of them and the chapters that keep them.
    """
    found = {name: kept(build, name) for name in names}
    if missing := [name for name, one in found.items() if one is None]:
        chapters = ", ".join(sorted({name.split("/")[0] for name in missing}))
        raise InputError(
            f"this build lacks the kept tables {', '.join(missing)}: run the chapters {chapters} "
            "first (`make book` does)."
        )
    return [one for one in found.values() if one is not None]


def recipes(profiles: Mapping[str, Profile]) -> pd.DataFrame:
    """How large the models of several profiles are made, side by side.

    Parameters
    ----------
    profiles : mapping of a word, such as "this build", to a profile

    Returns
    -------
    DataFrame
        A row for each backbone of any of them; below each word `grid`, `epochs` and
        `runs of a model`, as text.
    """
    found = {
        word: {
            BACKBONE_NAMES[name]: {
                "grid": " x ".join(map(str, recipe.grid)),
                "epochs": str(recipe.epochs),
                "runs of a model": str(len(recipe.seeds)),
            }
            for name, recipe in profile.backbones.items()
        }
        for word, profile in profiles.items()
    }
    return pd.concat({word: pd.DataFrame(rows).T for word, rows in found.items()}, axis=1)


def beside_table1(scores: pd.DataFrame) -> pd.DataFrame:
    """Table 1: means over seeds, lowest and highest seed, and the printed figures.

    Parameters
    ----------
    scores : DataFrame
        Rows of :func:`.seeds.mean_over_seeds`.

    Returns
    -------
    DataFrame
        Tidy, see the module.
    """
    ours = scores.rename(columns={"metric": "measure"}).assign(
        setting=scores["supervision"].map(SUPERVISION_NAMES), source=OURS
    )
    return _beside(ours, "Table 1", SEEDS)


def beside_table2(geometry: pd.DataFrame) -> pd.DataFrame:
    """Table 2 under both protocols: means over seeds, lowest and highest seed; printed figures.

    Parameters
    ----------
    geometry : DataFrame
        Rows of :func:`.axis.severity_geometry`, with `backbone`, `supervision`, `seed`
        and `protocol`.
    """
    own = geometry[geometry["measure"].isin(list(_GEOMETRY))]
    by = own.groupby(["backbone", "supervision", "protocol", "measure"], sort=False)["value"]
    ours = by.agg(value="mean", seed_low="min", seed_high="max").reset_index()
    ours["measure"] = ours["measure"].map(_GEOMETRY)
    ours["setting"] = ours["supervision"].map(SUPERVISION_NAMES)
    ours["source"] = f"{OURS}, " + ours["protocol"]
    return _beside(ours, "Table 2", SEEDS)


def printed_geometry() -> pd.DataFrame:
    """Table 2 as the paper prints it, a row a model, columns as :mod:`.axis.axis` calls them.

    The paper fits and judges on the same knees, so that its share and its AUROC are `evr_pc1` and
    `evr_pc1_fit`, `oa_auc` and `oa_auc_fit` in one; they stand under both names.
    """
    printed = _printed("Table 2")[list(_GEOMETRY.values())].set_axis(list(_GEOMETRY), axis=1)
    return printed.assign(evr_pc1_fit=printed["evr_pc1"], oa_auc_fit=printed["oa_auc"])


def beside_table3(overlap: pd.DataFrame, method: str, region: str) -> pd.DataFrame:
    """Table 3 for one method and region: means, intervals, printed figures, chance and ceiling.

    Parameters
    ----------
    overlap : DataFrame
        `backbone`, `supervision`, `head`, `method`, `region`, `measure`, `value`, `low`, `high`,
        `chance`, `ceiling`: means over seeds and test knees.
    method, region : str
        As the table names them.

    Raises
    ------
    InputError
        If the table has neither.
    """
    own = overlap[(overlap["method"] == method) & (overlap["region"] == region)]
    if own.empty:
        raise InputError(
            f"beside_table3: no row of {method!r} on {region!r}; the table has the methods "
            f"{sorted(set(overlap['method']))} and the regions {sorted(set(overlap['region']))}."
        )
    setting = own["supervision"].map(SUPERVISION_NAMES)
    setting = setting.where(own["supervision"] != "dual", "Dual-" + own["head"].str.upper())
    ours = [own.assign(setting=setting, source=OURS)]
    # Chance and ceiling depend on knees and grid alone, so a backbone's heads share them.
    for limit in ("chance", "ceiling"):
        mean = own.groupby(["backbone", "measure"], sort=False)[limit].mean()
        ours.append(mean.rename("value").reset_index().assign(setting="any map", source=limit))
    return _beside(pd.concat(ours, ignore_index=True), "Table 3", INTERVAL)


def wide(tidy: pd.DataFrame, decimals: int = 2) -> pd.DataFrame:
    """A tidy table as it is read: a row for each source, a column for each measure, text in cells.

    Ours are rounded, with their interval in brackets or the range of their seeds
    (:func:`.names.written`); the paper's are as they are printed.
    """
    ours = written(tidy, f".{decimals}f").where(tidy["value"].notna(), "")
    cells = tidy.assign(cell=tidy["printed"].where(tidy["source"] == PAPER, ours))
    index = ["backbone", "setting", "source"]
    table = cells.set_index([*index, "measure"])["cell"].unstack().fillna("")
    order = {"backbone": list(BACKBONE_NAMES.values()), "setting": _SETTINGS, "source": _SOURCES}
    keys = {name: pd.Index(list(places)).get_indexer for name, places in order.items()}
    table = table.sort_index(key=lambda level: pd.Index(keys[str(level.name)](level)))
    measures = [name for name in NAMES if name in set(tidy["measure"])]
    table = table[measures].rename(columns=NAMES).rename_axis(columns=None)
    return table[(table != "").any(axis=1)]


def save_table(
    tidy: pd.DataFrame, folder: str | Path, name: str, caption: str, decimals: int = 2
) -> tuple[Path, Path]:
    """Write a tidy table as CSV, all digits, and as it is read in LaTeX with booktabs.

    Parameters
    ----------
    tidy : DataFrame
    folder : path-like
        Made if need be.
    name : str
        Of both files, without a suffix.
    caption : str
        Plain words; what kind of evidence the figures are belongs here.
    decimals : int
        Of our figures in LaTeX.
    """
    csv, tex = Path(folder) / f"{name}.csv", Path(folder) / f"{name}.tex"
    write_csv(tidy, csv)
    table = wide(tidy, decimals).rename_axis(["Backbone", "Setting", "Source"])
    style = table.style.format(escape="latex")
    for axis in (0, 1):
        style = style.format_index(escape="latex", axis=axis)
    text = style.to_latex(
        hrules=True, multirow_align="t", environment="table*", position="tbp",
        position_float="centering", caption=caption.translate(_TEX), label=f"tab:{name}",
        column_format="lll" + "c" * table.shape[1],
    )  # fmt: skip
    text = text.replace("\\begin{tabular}", "\\footnotesize\n\\begin{tabular}")
    first, *others = re.split(r"(?m)^(?=\\multirow)", text)  # a backbone's first row begins so
    text = "\\midrule\n".join([first + others[0], *others[1:]])
    head = "% Needs \\usepackage{booktabs} and \\usepackage{multirow}.\n"
    write(tex, head + text)
    return csv, tex


def page_table(tidy: pd.DataFrame, address: str, name: str, decimals: int = 2) -> Html:
    """A tidy table as part of a page, with links to the files of :func:`save_table`.

    Parameters
    ----------
    tidy : DataFrame
    address : str
        From the page to the folder with the files.
    name : str
        Of the files, without a suffix.
    decimals : int
    """
    table = wide(tidy, decimals)
    shown = page(table)
    links = " · ".join(
        f'<a href="{html.escape(address)}/{name}.{kind}">{words}</a>'
        for kind, words in (("csv", "CSV"), ("tex", "LaTeX"))
    )
    foot = f'<div style="text-align:right;font-size:.9rem">{links}</div>'
    return Html(f'<div style="white-space:nowrap">{shown.html}</div>{foot}', shown.alt)


def publish_table(
    tidy: pd.DataFrame, build: str | Path, name: str, caption: str, decimals: int = 2
) -> Html:
    """Write a tidy table's files beside the chapter's page, and show it with links to them.

    Parameters
    ----------
    tidy : DataFrame
    build : path-like
        Folder of the build.
    name : str
        Chapter and table, "24-tables-and-figures/table1".
    caption : str
        Of the LaTeX, see :func:`save_table`.
    decimals : int
    """
    path, address = beside_page(build, name)
    save_table(tidy, path.parent, path.name, caption, decimals)
    return page_table(tidy, address.rpartition("/")[0], path.name, decimals)


def _printed(name: str) -> pd.DataFrame:
    """A table of the paper, its very digits."""
    (table,) = (one for one in carried_tables() if one.name == name and "2605.00718" in one.source)
    return table.figures


def _beside(ours: pd.DataFrame, name: str, limits: list[str]) -> pd.DataFrame:
    """Our rows, with their limits, and the paper's in the tidy form."""
    theirs = _printed(name).rename_axis("row").reset_index()
    theirs = theirs.melt("row", var_name="measure", value_name="printed")
    theirs = theirs[theirs["printed"] != ""].reset_index(drop=True)
    theirs[["backbone", "setting"]] = theirs["row"].str.split(" ", n=1, expand=True)
    theirs = theirs.assign(source=PAPER, value=theirs["printed"].astype(float))
    ours = ours.assign(backbone=ours["backbone"].map(BACKBONE_NAMES), printed="")
    joined = pd.concat([ours, theirs], ignore_index=True)
    return joined.reindex(columns=[*COLUMNS, *limits, "printed"])
