"""One drawn knee at any stage of its disease: the same person, no sign of which ever recedes.

:mod:`.phantom.subjects` draws persons once, each at one grade. Here a knee has a path through the
continuous OARSI grades (grade and place inside it) of its six sites, from before KL 0 to beyond KL
4, along which none falls. Everything else of a row follows from the six and from what the knee is
born with, by the phantom's own law: KL by its rule, severity by its definition, lengths by its
constants. So a knee of any grade looks as one that the phantom draws, and a test holds it to that.

A path is made of knees that the phantom draws at each grade. Those of neighbouring grades are
paired so that as little as possible falls, and what would fall stays where it was: a knee keeps
its side and its sites, and the knees of a grade are nearly the phantom's.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment
from scipy.stats import norm

from oacore.errors import InputError
from oacore.hierarchy import N_GRADES
from oacore.instruments.phantom.grades import (
    DOMINANCE,
    MARGINS,
    MOMENTS,
    NARROWINGS,
    OSTEOPHYTES,
    SIDES,
    dominant_side,
    kl_from_oarsi,
    sample_grades,
    signs,
)
from oacore.instruments.phantom.subjects import (
    BUILD,
    CLEARANCE,
    COMPARTMENT,
    EXTRUSION_MM,
    JOINT_SPACE,
    LEAST_MM,
    LEAST_SHARE,
    LESION_DISEASED,
    LESION_MEDIAL,
    LOSS_SPAN,
    LOSS_SPREAD,
    MARROW_LESION,
    OSTEOPHYTE_MM,
    PLATE,
    PLATES,
    SCLEROSIS,
    SHAPES,
    THICKNESS,
    THICKNESS_POWER,
    THINNING,
)

#: Sites whose continuous grades make a path: four margins, then two compartments.
SIGNS = [*OSTEOPHYTES, *NARROWINGS]
#: Stages at which a path is known: at 0 to 4 a knee of that grade, before and after them the ends.
STAGES = np.arange(-1, N_GRADES + 1)
#: Paths are made together, so that those of neighbouring grades find a fitting partner.
TOGETHER = 400
#: How much more a fall counts than a rise where knees of two grades are paired.
_FALLS = 100.0
#: A continuous grade ends below 4: that is where grade 3 does.
_END = 4 - 1e-6
_PATHS = 4006


@dataclass(frozen=True)
class Traits:
    """What n knees are born with, as standard normal or uniform numbers.

    Attributes
    ----------
    size : (n,) array
        1 is the mean knee.
    cartilage : (14, n) array
        Normal: build, and what is common to the clearance of both compartments; then of the medial
        and the lateral one its own thickness, two for each plate (thickness, loss), its clearance.
    chances : (3, n) array
        Uniform: whether there is a marrow lesion, on which side, in which bone.
    signs : (9, n) array
        Normal: size of the lesions of each plate; sclerosis and extrusion of each side; effusion.
    shape : (n, 4) array
        Normal: modes of bone shape, about the mean of the grade.
    """

    size: np.ndarray
    cartilage: np.ndarray
    chances: np.ndarray
    signs: np.ndarray
    shape: np.ndarray


def draw_traits(
    size: np.ndarray, of_cartilage: np.random.Generator, of_signs: np.random.Generator
) -> Traits:
    """Draw what knees of known size are born with, in the order in which the phantom does.

    Parameters
    ----------
    size : (n,) array
    of_cartilage, of_signs : Generator
        Streams of their own, as in :func:`.subjects.sample_subjects`.
    """
    n = len(size)
    return Traits(
        size=size,
        cartilage=of_cartilage.standard_normal((14, n)),
        chances=of_signs.random((3, n)),
        signs=of_signs.standard_normal((9, n)),
        shape=of_signs.standard_normal((n, len(SHAPES))),
    )


def continuous(grades: pd.DataFrame) -> np.ndarray:
    """Continuous grades of :data:`SIGNS`, (n, 6), of a table of :func:`.grades.sample_grades`."""
    positions = [f"position_{name}" for name in (*MARGINS, *SIDES)]
    return grades[SIGNS].to_numpy() + grades[positions].to_numpy()


def draw_paths(n: int, seed: int) -> np.ndarray:
    """Paths of n knees through the continuous grades of their sites.

    Parameters
    ----------
    n : int
    seed : int

    Returns
    -------
    (n, len(STAGES), 6) array
        Of :data:`SIGNS` at each of :data:`STAGES`, 0 or more and below 4; along the second axis
        nothing falls. A knee at stage g, 0 to 4, has KL g by the rule.
    """
    if n < 1:
        raise InputError(f"n is {n}; ask for one knee or more")
    rng = np.random.default_rng([_PATHS, seed])
    blocks = [_paths_together(rng) for _ in range(-(-n // TOGETHER))]
    return np.concatenate(blocks)[:n]


def _paths_together(rng: np.random.Generator) -> np.ndarray:
    """:data:`TOGETHER` paths."""
    places = [continuous(sample_grades(np.full(TOGETHER, kl), rng)) for kl in range(N_GRADES)]
    path = [np.zeros_like(places[0]), places[0]]
    for later in places[1:]:
        rise = later[None] - path[-1][:, None]  # (before, after, 6)
        unlike = (np.where(rise < 0, _FALLS, 1.0) * rise**2).sum(axis=2)
        before, after = linear_sum_assignment(unlike)
        path.append(np.maximum(path[-1][before], later[after]))
    beyond = path[-1] + (path[-1] - path[-2])  # a knee goes on as it went
    return np.stack([*path, np.minimum(beyond, _END)], axis=1)


def at_stages(paths: np.ndarray, stages: np.ndarray) -> np.ndarray:
    """Continuous grades of each knee at a stage of its own, between two of its path in proportion.

    Parameters
    ----------
    paths : (n, len(STAGES), 6) array
        See :func:`draw_paths`.
    stages : (n,) array
        From the first of :data:`STAGES` to the last.

    Returns
    -------
    (n, 6) array
    """
    if (stages < STAGES[0]).any() or (stages > STAGES[-1]).any():
        raise InputError(f"a stage lies outside {STAGES[0]} to {STAGES[-1]}")
    below = np.clip(np.floor(stages).astype(int) - STAGES[0], 0, len(STAGES) - 2)
    share = (stages - STAGES[below])[:, None]
    knees = np.arange(len(paths))
    return (1 - share) * paths[knees, below] + share * paths[knees, below + 1]


def rows(grades: np.ndarray, traits: Traits, side: np.ndarray | None = None) -> pd.DataFrame:
    """What the phantom draws of knees, from the continuous grades of their sites and their traits.

    Parameters
    ----------
    grades : (n, 6) array
        See :func:`continuous`.
    traits : Traits
    side : (n,) int array, optional
        Index into ``DOMINANCE`` of :mod:`.phantom.grades` by which a marrow lesion finds its place;
        that of the grades themselves if it is not given.

    Returns
    -------
    DataFrame
        The columns of :func:`.subjects.sample_subjects` that know the disease, by its names.
    """
    grade = np.floor(grades).astype(np.int64)
    place = np.clip(grades - grade, 1e-6, 1 - 1e-6)
    table = pd.DataFrame(grade, columns=SIGNS)
    kl = kl_from_oarsi(table)
    dominance = dominant_side(grade[:, len(MARGINS) :])
    severity = severity_of(kl, grade, place)
    ends = np.array([0.0, *OSTEOPHYTE_MM])
    reach = {
        f"{name}_mm": np.interp(np.where(grade[:, i] > 0, grade[:, i] + place[:, i], 0),
                                range(len(ends)), ends).round(3)
        for i, name in enumerate(OSTEOPHYTES)
    }  # fmt: skip
    jsn, within = grade[:, len(MARGINS) :].T, place[:, len(MARGINS) :].T - 0.5
    return pd.DataFrame(
        {
            "kl_true": kl,
            "severity": severity.round(4),
            **{name: table[name] for name in SIGNS},
            "diseased": np.array(DOMINANCE)[dominance],
            **reach,
            **_cartilage(kl, jsn, within, traits),
            **_other_signs(kl, severity, jsn, within, dominance if side is None else side, traits),
        }
    )


def severity_of(kl: np.ndarray, grade: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Severity behind grades, as :func:`.grades.sample_grades` defines it.

    Parameters
    ----------
    kl : (n,) int array
    grade, place : (n, 6) arrays
        Of :data:`SIGNS`: the grade, and the place inside it between 0 and 1.
    """
    osteophytes, narrowing = signs(grade, place)
    mean_o, sd_o, mean_n, sd_n, sd_sum = _moments()[kl].T
    common = ((osteophytes - mean_o) / sd_o + (narrowing - mean_n) / sd_n) / sd_sum
    return kl - 0.5 + norm.cdf(common).clip(0.001, 0.999)


@cache
def _moments() -> np.ndarray:
    """Moments of the phantom's signs, (5, 5), by KL and `MOMENTS`."""
    with (files("oacore.instruments.phantom") / "oarsi_model.csv").open() as file:
        table = pd.read_csv(file, comment="#", dtype={"first": str})
    own = table[table["kind"] == "moment"].pivot(index="kl", columns="first", values="value")
    return own[list(MOMENTS)].to_numpy()


@cache
def _shape_means() -> np.ndarray:
    """Mean scores of bone shape by KL, (5, 4)."""
    with (files("oacore.instruments.phantom") / "shape_scores.csv").open() as file:
        return pd.read_csv(file, comment="#", index_col="kl").to_numpy()


def _cartilage(
    kl: np.ndarray, jsn: np.ndarray, within: np.ndarray, traits: Traits
) -> dict[str, np.ndarray]:
    """Joint space, whole and remaining thickness in mm; jsn and within (2, n), by side."""
    of_build, shared, *others = traits.cartilage
    build = traits.size**THICKNESS_POWER * _spread(BUILD, of_build)
    space, whole, thickness = {}, {}, {}
    for i, side in enumerate(SIDES):
        own, *plates, clearance = others[6 * i : 6 * i + 6]
        column = np.where(kl == 0, 0, jsn[i] + 1)
        worn = jsn[i] >= 2
        here = build * _spread(COMPARTMENT, own)
        both, usual = np.zeros(len(kl)), np.zeros(len(kl))
        for bone, of_plate, of_loss in zip(
            ("femur", "tibia"), plates[::2], plates[1::2], strict=True
        ):
            plate = f"{bone}_{side}"
            mean = np.array(THICKNESS[plate])
            full = np.where(worn, mean[1], mean[column] * (1 - THINNING * within[i]))
            full = (full * here * _spread(PLATE, of_plate)).round(3)
            lost = 1 - mean[column] / mean[1] + LOSS_SPAN * within[i]
            lost = (lost + LOSS_SPREAD * of_loss).clip(0.02, 1)
            whole[f"whole_{plate}_mm"] = full
            remains = np.where(worn, full * (1 - lost), full).round(3)
            thickness[f"thickness_{plate}_mm"] = remains
            both += remains
            usual += mean[column]
        gap = np.array(JOINT_SPACE[side])[column] - usual
        gap += np.array(CLEARANCE)[jsn[i]] * (shared + clearance) / np.sqrt(2)
        least = np.maximum(LEAST_MM, np.array(LEAST_SHARE)[jsn[i]] * both)
        space[f"joint_space_{side}_mm"] = np.maximum(both + gap, least).round(3)
    return space | whole | thickness


def _spread(share: float, normal: np.ndarray) -> np.ndarray:
    return 1 + share * normal.clip(-3, 3)


def _other_signs(
    kl: np.ndarray,
    severity: np.ndarray,
    jsn: np.ndarray,
    within: np.ndarray,
    side: np.ndarray,
    traits: Traits,
) -> dict[str, np.ndarray]:
    """Marrow lesions, sclerosis, effusion, extrusion, and bone shape."""
    there, chance, which = traits.chances
    lesion = there < np.interp(severity, range(len(MARROW_LESION)), MARROW_LESION)
    astray = chance > LESION_DISEASED
    lateral = np.where(side == 2, chance > LESION_MEDIAL, (side == 1) ^ astray)
    found, pushed = {}, {}
    for plate, size in zip(PLATES, traits.signs, strict=False):
        bone = which < 2 / 3 if plate.startswith("femur") else which > 1 / 3
        here = lesion & bone & (lateral == plate.endswith("lateral"))
        radius = ((2 + 1.6 * severity) * np.exp(0.3 * size)).clip(2, 14)
        found[f"marrow_lesion_{plate}_mm"] = np.where(here, radius, 0).round(3)
    for i, name in enumerate(SIDES):
        of_bone, of_meniscus = traits.signs[4 + 2 * i : 6 + 2 * i]
        hard = np.array(SCLEROSIS)[jsn[i]] + np.where(jsn[i] >= 2, 0.3 * within[i], 0)
        found[f"sclerosis_{name}"] = (hard + 0.12 * of_bone).clip(0, 1).round(3)
        out = np.array(EXTRUSION_MM)[jsn[i]] + within[i]
        out = out + np.where(jsn[i] == 0, 0.2, 0.6) * of_meniscus
        pushed[f"extrusion_{name}_mm"] = out.clip(0, 6).round(3)
    effusion = 0.6 * np.exp(0.6 * severity + 0.35 * traits.signs[8])
    found["effusion_mm"] = effusion.clip(0, 10).round(3)
    scores = _shape_means()[kl] + traits.shape
    return found | pushed | dict(zip(SHAPES, scores.T.round(3), strict=True))
