"""Where the paper's text and its released code differ, and what each difference changes.

The list is ``deviations.yml``; the functions here measure. A difference that a model can be
trained with is a variant of a profile, which changes one setting of a backbone, or its schedule.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import pandas as pd
import yaml

from oacore.errors import InputError
from oacore.metrics.seeds import compare_by_seed, seed_and_knee_interval
from oacore.names import BACKBONE_NAMES, METRIC_NAMES, written
from oacore.profile import Profile, Recipe

#: Kinds of evidence in words, {} for the knees of the cohort.
EVIDENCE = {
    "runs": "models trained on {}",
    "knees": "measured on {}",
    "computed": "computed",
    "published": "published figures",
    "none": "none",
}
NOT_TRAINED = "Not measured: this build has no such runs."


def deviations(effects: Mapping[str, str], phantom: bool) -> pd.DataFrame:
    """The list of differences, each with what it changes.

    Parameters
    ----------
    effects : mapping of a difference's name to a sentence
        For each one that can be measured.
    phantom : bool
        Whether the cohort is synthetic, so that the evidence is called by its name.

    Returns
    -------
    DataFrame
        Indexed by name: what, text, code, book, setting, evidence, effect.

    Raises
    ------
    InputError
        If an effect is missing, or there is one that is not in the list.
    """
    path = files("oacore.instruments.evidence") / "deviations.yml"
    table = pd.DataFrame(yaml.safe_load(path.read_text(encoding="utf-8"))).T
    measured = set(table.index[table["effect"].isna()])
    if wrong := measured ^ set(effects):
        raise InputError(
            f"missing or unknown effect of {', '.join(sorted(wrong))}; give one sentence for each "
            f"of {', '.join(sorted(measured))}"
        )
    table["effect"] = table["effect"].fillna(pd.Series(effects, dtype=object))
    knees = "phantom knees, not a clinical result" if phantom else "the knees of this cohort"
    kinds = table["evidence"].str.split(", ")
    untrained = table["effect"].str.startswith(NOT_TRAINED)
    table["evidence"] = [
        ", ".join(EVIDENCE[kind].format(knees) for kind in each if not (absent and kind == "runs"))
        or EVIDENCE["none"]
        for each, absent in zip(kinds, untrained, strict=True)
    ]
    return table[["what", "text", "code", "book", "setting", "evidence", "effect"]]


def profile_differences(*profiles: Profile) -> pd.DataFrame:
    """Settings of the backbones in which the first two of several profiles differ.

    Returns
    -------
    DataFrame
        Indexed by backbone and setting, a column a profile; an encoder's own defaults are filled
        in where a profile leaves them open.
    """
    flat = {}
    for profile in profiles:
        recipes = profile.backbones.items()
        flat[profile.name] = {
            (name, key): value for name, recipe in recipes for key, value in _flat(recipe).items()
        }
    table = pd.DataFrame(flat).rename_axis(["backbone", "setting"])
    first, second = (table[profile.name].map(str) for profile in profiles[:2])
    return table[first != second].sort_index()


def _flat(recipe: Recipe) -> dict[str, Any]:
    """All settings of a recipe that a single run has, those of the encoder with their defaults."""
    from oacore.models.heads import all_settings  # brings PyTorch, which the table needs not

    encoder = all_settings(recipe.backbone, recipe.encoder)
    apart = ("backbone", "encoder", "supervisions", "seeds")
    own = {key: value for key, value in vars(recipe).items() if key not in apart}
    return {**own, **{f"encoder {key}": value for key, value in encoder.items()}}


def reference_of(profile: Profile, variant: str) -> tuple[str, list[str]]:
    """Find what a variant is compared with, and the settings in which the two differ.

    Its backbone; or another variant, where that one is nearer: one that cuts the gradient of
    shortcut A is compared with one that has shortcut A.
    """
    own = _flat(profile.variants[variant])
    backbone = profile.variants[variant].backbone
    others = [name for name in profile.variants if profile.variants[name].backbone == backbone]
    differing = {}
    for name in [backbone, *(name for name in others if name != variant)]:
        theirs = _flat(profile.recipe(name))
        differing[name] = [key for key in own if own[key] != theirs[key]]
    nearest = min(differing, key=lambda name: len(differing[name]))
    return nearest, differing[nearest]


def variant_effects(
    profile: Profile,
    predictions: pd.DataFrame,
    *,
    n_resamples: int,
    seed: int,
    over_seeds: bool = False,
) -> pd.DataFrame:
    """Each variant minus what it is a variant of, as Dual models, with 95% intervals.

    Parameters
    ----------
    profile : Profile
    predictions : DataFrame
        Tidy predictions of one split by `model`, of backbones and variants.
    n_resamples, seed, over_seeds
        As in :func:`.compare.compare_supervisions`.

    Returns
    -------
    DataFrame
        Six rows for each variant (and seed): variant, reference, changes, and the columns
        of :func:`.seeds.compare_by_seed` or :func:`.seeds.seed_and_knee_interval`;
        no row where the profile has no variant.
    """
    dual = predictions[predictions["supervision"] == "dual"]
    compare = seed_and_knee_interval if over_seeds else compare_by_seed
    tables = [pd.DataFrame(columns=["variant", "reference", "changes", "metric", "knees", "seed"])]
    for variant in profile.variants:
        reference, changes = reference_of(profile, variant)
        models = [dual[dual["model"] == name] for name in (reference, variant)]
        table = compare(*models, n_resamples=n_resamples, seed=seed)
        table.insert(0, "changes", ", ".join(changes))
        table.insert(0, "reference", reference)
        table.insert(0, "variant", variant)
        tables.append(table)
    return pd.concat(tables[1:] or tables, ignore_index=True)


def in_words(effects: pd.DataFrame, setting: str, recorded: pd.DataFrame | None = None) -> str:
    """Say what the variants of one setting change, a sentence for each.

    Parameters
    ----------
    effects : DataFrame
        Of :func:`variant_effects`, over seeds.
    setting : str
        The setting that they change, such as "heads" or "encoder shortcut".
    recorded : DataFrame, optional
        The same from this project's record, whose sentences say so.
    """
    said = _each_in_words(effects, setting)
    if recorded is not None:
        kept = _each_in_words(recorded, setting)
        said += [f"From this project's record: {sentence}" for sentence in kept]
    return "\n".join(said) or NOT_TRAINED


def _each_in_words(effects: pd.DataFrame, setting: str) -> list[str]:
    names = {key: METRIC_NAMES[key] for key in ("oa_auc", "kl_auc")}
    chosen = effects[effects["changes"].map(lambda keys: setting in keys.split(", ")).astype(bool)]
    sentences = []
    for variant, table in chosen.groupby("variant", sort=False):
        rows = table.set_index("metric")
        said = written(rows, "+.3f")
        parts = [f"{name} {said[key]}" for key, name in names.items()]
        beyond = int(((rows["low"] > 0) | (rows["high"] < 0)).sum())
        first = rows.iloc[0]
        seeds = f"{first['seeds']} seeds"
        if first["seeds"] == 1:
            seeds = "1 seed, so without the spread between seeds"
        also = "" if first["changes"] == setting else f" (with {first['changes']})"
        found = f"{beyond or 'none'} of {len(rows)} differences distinguishable from zero"
        sentences.append(
            f"{variant} minus {first['reference']}{also}: {', '.join(parts)}; {found} on "
            f"{first['knees']} knees and {seeds}."
        )
    return sentences


# Sentences of chapter 7's list, each from the numbers that the chapter computes.


def heads_in_words(
    effects: pd.DataFrame,
    shares: pd.DataFrame,
    paths: Mapping[str, Mapping[str, Any]],
    profile: Profile,
    recorded: pd.DataFrame | None = None,
) -> str:
    """Say what cascaded heads change, and how often the two heads contradict each other.

    Parameters
    ----------
    effects : DataFrame
        Of :func:`variant_effects`, over seeds.
    shares : DataFrame
        Share of knees on which a model's heads contradict each other: a row a model, a column
        a seed.
    paths : mapping of a model to what :func:`.gradients.gradient_path` gives
    profile : Profile
    recorded : DataFrame, optional
        As in :func:`in_words`.
    """
    said = in_words(effects, "heads", recorded)
    for name, recipe in profile.variants.items():
        if recipe.heads != "cascaded":
            continue
        base = recipe.backbone
        mean = shares.loc[[name, base]].dropna(axis=1).mean(axis=1)  # of the seeds that both have
        said += (
            f"\n{name}: its heads contradict each other on {mean[name]:.1%} of the knees, parallel "
            f"ones on {mean[base]:.1%}; {paths[name]['oa_seen_by_kl']:.0%} of the OA gradient goes "
            f"through the KL head, {paths[base]['oa_seen_by_kl']:.0%} when parallel."
        )
    return said


def logits_in_words(gap: float, pull: float) -> str:
    """Say what two OA logits change: a difference in nats, and a factor of the gradient."""
    return (
        f"Nothing in value (difference {gap:.0e} nats); two outputs learn as if at "
        f"{pull:.1f} times the learning rate."
    )


def size_in_words(sizes: pd.DataFrame, backbone: str) -> str:
    """Say how many parameters a backbone has under profiles paper and text, columns of a table."""
    paper, text = sizes.loc[backbone, ["paper", "text"]] / 1e6
    return f"{paper:.1f} million parameters under profile paper, {text:.1f} under text"


def gap_in_words(gap: Mapping[str, float], weights: str) -> str:
    """Say how wrong the cut shortcut's input gradient is, see :func:`.gradients.gradient_gap`."""
    return (
        f"The OA logit changes by {gap['values']:.0g}; its input gradient is off by "
        f"{gap['relative']:.0%} of its length (cosine {gap['cosine']:.2f}, {weights} weights)."
    )


def axes_in_words(axes: pd.DataFrame) -> dict[str, str]:
    """Say how the axis depends on the vector and on the knees that it is fitted on.

    Parameters
    ----------
    axes : DataFrame
        By `backbone`, `vector`, `length` and `fitted on`: rho_kl, oa_auc and pc1_share.

    Returns
    -------
    dict
        "penultimate", of nnMamba's vectors fitted on the training knees, and "severity_axis".
    """

    def line(rows: pd.DataFrame, which: str) -> str:
        names = {"|rho|": "rho_kl", "OA AUC": "oa_auc", "share of variance": "pc1_share"}
        parts = (
            f"{name} {' / '.join(f'{value:.2f}' for value in rows[column])}"
            for name, column in names.items()
        )
        return f"{which}: {', '.join(parts)}"

    own = axes.loc[["nnmamba"]].droplevel("backbone")
    lengths = pd.DataFrame(own.xs("train", level="fitted on")).droplevel("vector")
    both = pd.DataFrame(axes.xs("features", level="vector")).droplevel("length")
    lines = [
        line(rows, BACKBONE_NAMES[str(name)])
        for name, rows in both.groupby(level="backbone", sort=False)
    ]
    return {
        "penultimate": line(lengths, " / ".join(f"{n} features" for n in lengths.index)),
        "severity_axis": "\n".join(["Fitted on test / training knees.", *lines]),
    }


def start_in_words(shares: Mapping[str, float], knees: int) -> str:
    """Say what share of M3T's untrained class token differs between knees, by variant."""
    described, released = (shares[name] for name in ("as described", "as released"))
    return (
        f"Of the untrained class token's length {released:.1g} differs from knee to knee as "
        f"released, {described:.1g} as described ({knees} knees). Once trained, the two are "
        "compared as M3T, the network."
    )


def input_in_words(noise: pd.DataFrame) -> str:
    """Say what reaches M3T of white noise in one step or two.

    Parameters
    ----------
    noise : DataFrame
        A voxel a row; columns "one step" and "two steps".
    """
    kept = noise.std()
    r = noise["one step"].corr(noise["two steps"])
    return (
        f"White noise keeps {kept['one step']:.2f} of its standard deviation in one step, "
        f"{kept['two steps']:.2f} in two, and the two volumes correlate by {r:.2f}: one step from "
        "384 to 128 voxels reads every third and none of those between."
    )


def grids_in_words(knees: pd.DataFrame, grid: tuple[int, ...]) -> dict[str, str]:
    """Say what a second z-score and another resampling change.

    Parameters
    ----------
    knees : DataFrame
        A row a knee: the largest change by a second z-score, "same grid" and "after resampling",
        and "area - trilinear", their difference (root mean square).
    grid : tuple of int
    """
    most = knees.max().to_dict()
    return {
        "z_score": f"On one grid nothing ({most['same grid']:.0e}); after resampling a voxel "
        f"changes by up to {most['after resampling']:.2f} standard deviations.",
        "resample": f"Volumes differ by {knees['area - trilinear'].mean():.2f} standard deviations "
        f"(root mean square, {len(knees)} knees) on a grid of {' x '.join(map(str, grid))}.",
    }


def ungraded_in_words(missing: Mapping[str, int]) -> str:
    """Say how many knees have no grade, by split."""
    return (
        f"{missing['train']} training and {missing['test']} test knees without a grade: "
        "the released KL and Dual trainers stop, ours leave them out."
    )


def spread_in_words(spread: pd.DataFrame) -> str:
    """Say how far seeds of one model lie apart.

    Parameters
    ----------
    spread : DataFrame
        Of :func:`.seeds.mean_over_seeds`, with a column `range`.
    """
    if spread["seeds"].max() == 1:
        return f"{NOT_TRAINED} Each model has one seed."
    ranges = spread.groupby("metric")["range"]
    median, largest = ranges.median().to_dict(), ranges.max().to_dict()
    models = len(spread.groupby(["backbone", "supervision"]))
    parts = (
        f"{METRIC_NAMES[key]} by {median[key]:.3f}, at most {largest[key]:.3f}"
        for key in ("oa_auc", "kl_auc")
    )
    return (
        f"Seeds of one model differ in {'; in '.join(parts)} (median and largest range of "
        f"{models} models)."
    )


def epochs_in_words(late: pd.DataFrame) -> str:
    """Say how much the training loss still changed in the second half of the epochs.

    Parameters
    ----------
    late : DataFrame
        A row a backbone: `epochs`, `loss at half`, `loss at the end`.
    """
    changes = (
        f"{row['loss at the end'] - row['loss at half']:+.2f} ({name}, {row['epochs']:.0f} epochs)"
        for name, row in late.iterrows()
    )
    return (
        "In the second half of this build's epochs Dual's training loss still changed by "
        f"{', '.join(changes)} nats; 50 against 100 epochs are not trained here."
    )


def statistics_in_words(moved: pd.DataFrame) -> str:
    """Say how far re-estimated statistics of batch normalisation move scores.

    Parameters
    ----------
    moved : DataFrame
        A row a run, a column a metric: score with statistics re-estimated minus with running ones.
    """
    parts = (
        f"{METRIC_NAMES[name]} by {moved[name].min():+.3f} to {moved[name].max():+.3f}"
        for name in ("oa_acc", "kl_acc")
    )
    return f"Re-estimated for running ones, in {len(moved)} runs: {', '.join(parts)}."


def left_out_in_words(shares: pd.Series) -> str:
    """Say how much cartilage a measure without the lateral tibia leaves out, a share a knee."""
    return (
        f"{shares.mean():.1%} of a knee's cartilage is left out, between {shares.min():.1%} and "
        f"{shares.max():.1%} ({len(shares)} knees)."
    )
