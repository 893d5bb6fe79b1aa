"""Saliency of finished runs: what :mod:`.saliency.explain` left, as tables and maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from oacore.data.volumes import preprocess
from oacore.errors import InputError
from oacore.instruments.saliency.controls import agreement
from oacore.instruments.saliency.methods import METHODS, saliency_map
from oacore.profile import Recipe
from oacore.seals import SEAL, require
from oacore.training.records import finished
from oacore.training.runs import load_trained

#: Tables of :func:`.faithfulness.faithfulness`.
GAMES = ("curves", "likeness")


def read_explained(explained: str | Path, table: str) -> pd.DataFrame:
    """One tidy table over all runs of a folder that were explained.

    Parameters
    ----------
    explained : path-like
        Holds ``<backbone>/<supervision>/seed<number>``.
    table : {"overlap", "profile", "cascade", "twins"}
        Or one of `GAMES`, of a folder that `oacore faithfulness` wrote.

    Returns
    -------
    DataFrame
        `backbone`, `supervision`, `seed`, and the columns of the table.

    Raises
    ------
    InputError
        If there is none, or a file is not what was written.
    """
    tables = []
    for folder in explained_folders(explained):
        backbone, supervision, seed = folder.parts[-3:]
        path = _intact(folder, f"{table}.csv")
        rows = pd.read_csv(path, keep_default_na=False, na_values=[""])
        rows.insert(0, "seed", int(seed.removeprefix("seed")))
        rows.insert(0, "supervision", supervision)
        rows.insert(0, "backbone", backbone)
        tables.append(rows)
    return pd.concat(tables, ignore_index=True)


def explained_folders(explained: str | Path) -> list[Path]:
    """Folders of all runs that were explained, in order.

    Raises
    ------
    InputError
        If there is none.
    """
    found = finished(explained)
    if not found:
        raise InputError(f"{explained}: no run was explained; use `make book` or `oacore explain`")
    return found


def _intact(folder: Path, name: str) -> Path:
    """A file of a run that was explained, once it is sure that it is what was written."""
    does = "faithfulness" if name.removesuffix(".csv") in GAMES else "explain"
    cure = f"remove {folder} and measure the run again (`make book`, or `oacore {does}`)"
    require(folder / SEAL, "done.json", name, cure=cure)
    return folder / name


def read_maps(folder: str | Path) -> dict[tuple[int, str, str], np.ndarray]:
    """Maps that one run's folder keeps, by case, head and method.

    Returns
    -------
    dict of (case_id, head, method) to ndarray of float32, shape (D, H, W)
        On the network's grid, in [0, 1], to three figures.

    Raises
    ------
    InputError
        If they are not what was written.
    """
    with np.load(_intact(Path(folder), "maps.npz")) as file:
        return {
            (int(case), *name.split("/")): one.astype(np.float32)
            for name in file.files
            if name != "case_id"
            for case, one in zip(file["case_id"], file[name], strict=True)
        }


def kept_nifti(folder: str | Path, cases: pd.DataFrame, head: str) -> tuple[pd.Series, Path]:
    """The gradient's map as NIfTI of the knee with the highest grade among those that are kept.

    Parameters
    ----------
    folder : path-like
        What :func:`.explain.explain` left of one run.
    cases : DataFrame
        Of the cohort.
    head : {"oa", "kl"}

    Returns
    -------
    Series, Path
        The knee's row, and the map over its image as stored.

    Raises
    ------
    InputError
        If the file is not what was written.
    """
    kept = {case for case, *_ in read_maps(folder)}
    case = cases[cases["case_id"].isin(kept)].sort_values("kl", kind="stable").iloc[-1]
    name = f"nifti/case-{case['case_id']}-{head}-gradient.nii.gz"
    return case, _intact(Path(folder), name)


def seeds_agree(explained: str | Path) -> pd.DataFrame:
    """Likeness of the gradient's maps that several seeds of one model give of one knee.

    Parameters
    ----------
    explained : path-like

    Returns
    -------
    DataFrame
        `backbone`, `supervision`, `head`; `spearman` and `ssim`, means over all pairs of seeds and
        the knees whose maps are kept (:func:`.controls.agreement`); `pairs`,
        `knees`. Models of one seed are left out.
    """
    maps: dict[tuple[str, str, str, int], dict[int, np.ndarray]] = {}
    for folder in explained_folders(explained):
        backbone, supervision, seed = folder.parts[-3:]
        for (case, head, kept), values in read_maps(folder).items():
            if kept == "gradient":
                one = maps.setdefault((backbone, supervision, head, case), {})
                one[int(seed.removeprefix("seed"))] = values
    found = [
        agreement(list(by_seed.values()), list(by_seed)).assign(
            backbone=backbone, supervision=supervision, head=head, case_id=case
        )
        for (backbone, supervision, head, case), by_seed in maps.items()
        if len(by_seed) > 1
    ]
    columns = ["backbone", "supervision", "head", "spearman", "ssim", "pairs", "knees"]
    if not found:
        return pd.DataFrame(columns=columns)
    pairs = pd.concat(found, ignore_index=True)
    pairs["pair"] = list(zip(pairs["seed"], pairs["other"], strict=True))
    by = pairs.groupby(columns[:3], sort=False)
    return by.agg(
        spearman=("spearman", "mean"),
        ssim=("ssim", "mean"),
        pairs=("pair", "nunique"),
        knees=("case_id", "nunique"),
    ).reset_index()


def one_knee(
    run: str | Path, case: pd.Series, recipe: Recipe, head: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """One knee as a trained network sees it, and the maps of one answer by every method.

    Parameters
    ----------
    run : path-like
        Folder of a finished run.
    case : Series
        A row of the cohort.
    recipe : Recipe
        Of the run.
    head : {"oa", "kl"}

    Returns
    -------
    image : ndarray of float32, shape (D, H, W)
    labels : ndarray of uint8, shape (D, H, W)
        The mask; 0 everywhere if the case has none.
    spacing : ndarray, shape (3,)
        Voxel sizes in mm.
    maps : dict of str to ndarray of float32, shape (D, H, W)
        By the methods of :data:`.methods.METHODS`.
    """
    model = load_trained(run)
    mask = None if pd.isna(case["mask"]) else case["mask"]
    image, labels, spacing, _ = preprocess(case["image"], mask, recipe.grid, recipe.resample)
    volume = torch.from_numpy(image.astype(np.float32))[None, None]
    maps = {method: saliency_map(model, volume, head, method)[0] for method in METHODS}
    return volume[0, 0].numpy(), labels, spacing, maps
