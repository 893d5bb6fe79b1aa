"""The subjects of a phantom cohort: who they are, how ill each knee is, what two readers saw.

One row a knee; :func:`.knee.draw_knee` turns a row into an image. What a knee shows follows from
its grades and from what it is born with, by one law, `disease_of`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from oacore.data.cohort import PAPER_KL, SPLITS
from oacore.errors import InputError
from oacore.hierarchy import N_GRADES
from oacore.instruments.phantom.grades import (
    DOMINANCE,
    MARGINS,
    NARROWINGS,
    OSTEOPHYTES,
    SIDES,
    dominant_side,
    sample_grades,
)
from oacore.instruments.phantom.readers import noisy_readings, true_shares

READER_NOISE = 0.35
PLATES = ("femur_medial", "femur_lateral", "tibia_medial", "tibia_lateral")
SHAPES = [f"shape_{mode}" for mode in range(1, 5)]

# Persons as in the tables of OAIZIB-CM (doi:10.5281/zenodo.14934086): 262 men of 507, age 61.9
# (standard deviation 9.3), BMI 29.3 (4.5).
MEN, AGE, BMI = 0.52, (61.9, 9.3), (29.3, 4.5)
# Correlation of the normal scores of age and true grade. In the same tables age and the grade as
# read rise together by Spearman's .188 (481 graded knees); so they do here, in the paper's
# proportions of grades and under `READER_NOISE`, and age and the true grade by .201.
AGE_GRADE = 0.22
# Bicondylar width 88.6 mm in men and 78.5 in women, by the mean knee's 83.7; within a sex the
# cube root of the femur's volume in OAIZIB-CM varies by 4%.
SIZE, SIZE_SPREAD = {"male": 1.058, "female": 0.937}, 0.04
# Thickness grows with size to this power. Men's cartilage volumes in OAIZIB-CM are 35% (femur),
# 37% and 45% (tibia) larger; 13% wider knees alone, by area, make 27%.
THICKNESS_POWER = 0.8

# Mean thickness in mm of the central weight-bearing cartilage at KL 0, then by JSN 0 to 3 of the
# compartment from KL 1 on. Set so that the means by JSN (medial femur 2.29, 2.00, 1.29, .31) and
# by KL 0 to 4 (medial femur 2.22 to .91, medial tibia 2.23 to 1.38, lateral tibia 2.91 to 2.24)
# are those measured on real knees (n = 441). The lateral femur was not measured.
THICKNESS = {
    "femur_medial": (2.22, 2.32, 2.00, 1.29, 0.31),
    "femur_lateral": (2.25, 2.30, 1.90, 1.15, 0.35),
    "tibia_medial": (2.23, 2.32, 2.28, 1.81, 0.96),
    "tibia_lateral": (2.91, 2.88, 2.10, 1.45, 0.95),
}
# Mean of the smallest bone-to-bone distance in mm, likewise, of 748 standing radiographs with
# landmarks (KNEEL, doi:10.1109/ICCVW.2019.00046), less what the floors below add (.02 to .08).
# At JSN 2 and 3 that is less than the two mean thicknesses together, for it lies in the middle
# of what is lost.
JOINT_SPACE = {
    "medial": (4.68, 5.03, 4.23, 2.90, 1.05),
    "lateral": (5.50, 5.56, 3.91, 2.60, 1.37),
}
# Spread, as shares, between knees (the plates' mean thicknesses in OAIZIB-CM correlate by .56 to
# .73 within a sex and vary by 7 to 13%), between a knee's compartments, and between plates.
BUILD, COMPARTMENT, PLATE = 0.09, 0.06, 0.07
# Spread in mm of what separates the two cartilages, by JSN; half its variance is the knee's, half
# the compartment's. With the above the narrower side varies by .8 mm within a KL grade, and the
# sides of a knee of KL 0 correlate by .6, as measured.
CLEARANCE = (0.55, 0.55, 0.40, 0.40)
# The least joint space: bone on bone, in mm; and by JSN as a share of the two mean thicknesses.
LEAST_MM, LEAST_SHARE = 0.3, (0.90, 0.90, 0.75, 0.75)
# From the mild to the severe end of a JSN grade: change of thickness below JSN 2 (a share), and
# of the share lost from JSN 2 on, with its spread. The grades join without a gap.
THINNING, LOSS_SPAN, LOSS_SPREAD = 0.15, 0.35, 0.05

# The rest is chosen, after the order of size in the OARSI atlas (doi:10.1016/j.joca.2006.11.009)
# and what is known in outline of each sign.
# Reach in mm of an osteophyte at the mild end of grades 1, 2, 3, and the severe end of 3.
OSTEOPHYTE_MM = (1.5, 3.0, 4.6, 6.5)
# Probability of a marrow lesion at severity 0 to 5, and where it lies.
MARROW_LESION = (0.03, 0.08, 0.25, 0.60, 0.85, 0.90)
LESION_DISEASED, LESION_MEDIAL = 0.8, 0.6  # in the diseased compartment; where none is diseased
SCLEROSIS = (-0.15, -0.10, 0.50, 0.95)  # by JSN; below 0 counts as 0
EXTRUSION_MM = (0.4, 1.5, 3.0, 4.5)  # by JSN


def sample_subjects(
    train: Sequence[int] = PAPER_KL["train"],
    test: Sequence[int] = PAPER_KL["test"],
    *,
    ungraded: Sequence[int] = (21, 5),
    seed: int = 0,
    reader_noise: float | tuple[float, float] = READER_NOISE,
    left: float = 0.0,
) -> pd.DataFrame:
    """Draw the subjects: who they are, how ill, and what two readers saw.

    The label `kl` is the first reader's grade, and has exactly the counts asked for; the true
    grade follows by Bayes' rule from the label and :func:`.readers.noisy_readings`. Age rises
    with the true grade as in real knees, by a Gaussian copula, which leaves the ages of all
    knees together as they are; sex, BMI, size and side know nothing of the grade, and nothing
    else of a knee knows its age.

    Parameters
    ----------
    train, test : sequence of five int
        Knees labelled KL 0 to 4 in each split.
    ungraded : (int, int)
        Knees without a label in the training and the test split.
    seed : int
    reader_noise : float or (float, float)
        Coarse and fine noise, 0 to 1, see :func:`.readers.noisy_readings`; one number
        stands for both.
    left : float
        Share of left knees, 0 to 1; OAIZIB-CM has none.

    Returns
    -------
    DataFrame
        One row a knee, sorted by label within each split as OAIZIB-CM is.

        - case_id, split, kl (Int64, missing without a label), kl_true, severity (continuous;
          kl_true is its nearest whole number), reader2 (a second reading);
        - sex, age (years), bmi (kg/m2), side ("right" or "left");
        - osteophyte_{fl,fm,tl,tm}, jsn_{medial,lateral}: OARSI grades, 0 to 3; diseased: the side
          of the larger JSN grade, "none" where equal;
        - size (1 is the mean knee; scales lengths);
        - osteophyte_{fl,fm,tl,tm}_mm: reach beyond the margin, 0 to 6.5;
        - joint_space_{medial,lateral}_mm: smallest bone-to-bone distance;
        - whole_{plate}_mm and thickness_{plate}_mm, for `PLATES`: mean of the central
          weight-bearing cartilage without loss, and as it is; they differ only where the
          compartment's JSN grade is 2 or 3, so from KL 3 on;
        - marrow_lesion_{plate}_mm: radius, 0 (none) or 2 to 14;
        - sclerosis_{medial,lateral}: 0 to 1; effusion_mm: 0 to 10, depth of extra fluid;
          extrusion_{medial,lateral}_mm: of the meniscus, 0 to 6;
        - shape_1 to shape_4: scores of the modes of bone shape; mean by KL as measured, standard
          deviation 1 within it.

    Raises
    ------
    InputError
        If a count is negative or missing, no knee is asked for, or a noise or `left` lies
        outside 0 to 1.
    """
    for name, counts, length in (
        ("train", train, N_GRADES), ("test", test, N_GRADES), ("ungraded", ungraded, 2)
    ):  # fmt: skip
        if len(counts) != length or any(c < 0 or c != int(c) for c in counts):
            raise InputError(f"{name} is {tuple(counts)}; give {length} counts of 0 or more")
    if sum(train) + sum(test) == 0:
        raise InputError("train and test hold no graded knee; ask for at least one")
    if not 0 <= left <= 1:
        raise InputError(f"left is {left}; give the share of left knees, from 0 to 1")
    noise = np.ravel(reader_noise).tolist()
    if len(noise) not in (1, 2):
        raise InputError(f"reader_noise is {reader_noise}; give one number, or coarse and fine")
    readings = noisy_readings(noise[0], noise[-1])
    # A stream for each part: the persons stay when, say, the readers' noise changes.
    streams = np.random.SeedSequence([seed, 0]).spawn(7)
    of_truth, of_readers, of_persons, of_grades, of_cartilage, of_signs, of_age = map(
        np.random.default_rng, streams
    )

    labels, splits = [], []
    for split, counts, without in zip(SPLITS, (train, test), ungraded, strict=True):
        labels += [grade for grade, count in enumerate(counts) for _ in range(count)]
        labels += [-1] * without
        splits += [split] * (sum(counts) + without)
    label = np.array(labels)
    shares = true_shares(readings, np.add(train, test))
    posterior = shares[:, None] * readings
    posterior = posterior / np.maximum(posterior.sum(0), 1e-300)
    by_label = np.vstack([posterior.T, shares])  # the last row, -1, is for knees without a label
    kl_true = _draw(by_label[label], of_truth)
    grades = sample_grades(kl_true, of_grades)
    side = dominant_side(grades[NARROWINGS].to_numpy())
    persons = _persons(len(label), left, _normal_scores(kl_true, shares, of_age), of_persons)
    size = persons.pop("size")
    frame = pd.DataFrame(
        {
            "case_id": np.arange(1, len(label) + 1),
            "split": splits,
            "kl": pd.array(np.where(label < 0, 0, label), dtype="Int64"),
            "kl_true": kl_true,
            "severity": grades["severity"].round(4),
            "reader2": _draw(readings[kl_true], of_readers),
            **persons,
            **{name: grades[name] for name in OSTEOPHYTES + NARROWINGS},
            "diseased": np.array(DOMINANCE)[side],
            "size": size,
            **disease_of(kl_true, grades, side, draw_traits(size, of_cartilage, of_signs)),
        }
    )
    frame.loc[label < 0, "kl"] = pd.NA
    return frame


def _draw(probabilities: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One grade a row, from rows of five probabilities."""
    drawn = (rng.random((len(probabilities), 1)) > probabilities.cumsum(1)).sum(1)
    return np.minimum(drawn, N_GRADES - 1)


def _normal_scores(kl: np.ndarray, shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Grades as standard normal values: each grade a stretch as long as its share is large."""
    ends = np.concatenate([[0.0], np.cumsum(shares)])
    place = ends[kl] + shares[kl] * rng.random(len(kl))
    return norm.ppf(place.clip(1e-9, 1 - 1e-9))  # the ends themselves have no normal score


def _persons(
    n: int, left: float, grade: np.ndarray, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Who the knees belong to; `grade` is the normal score of each true grade."""
    male = rng.random(n) < MEN
    size = np.where(male, SIZE["male"], SIZE["female"])
    return {
        "sex": np.where(male, "male", "female"),
        "age": _ages(grade, rng.standard_normal(n)),
        "bmi": rng.normal(*BMI, n).clip(18, 46).round(1),
        "side": np.where(rng.random(n) < left, "left", "right"),
        "size": (size * np.exp(rng.normal(0, SIZE_SPREAD, n))).round(4),
    }


def _ages(grade: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Ages in years that follow the normal scores `grade` by `AGE_GRADE`, and else `other`."""
    mean, sd = AGE
    score = AGE_GRADE * grade + np.sqrt(1 - AGE_GRADE**2) * other
    return (mean + sd * score).clip(45, 79).round()


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
    """Draw what knees of known size are born with.

    Parameters
    ----------
    size : (n,) array
    of_cartilage, of_signs : Generator
        Streams of their own, see `sample_subjects`.
    """
    n = len(size)
    return Traits(
        size=size,
        cartilage=of_cartilage.standard_normal((14, n)),
        chances=of_signs.random((3, n)),
        signs=of_signs.standard_normal((9, n)),
        shape=of_signs.standard_normal((n, len(SHAPES))),
    )


def disease_of(
    kl: np.ndarray, grades: pd.DataFrame, side: np.ndarray, traits: Traits
) -> dict[str, np.ndarray]:
    """What knees show, from their grades and what they are born with; nothing is drawn here.

    Parameters
    ----------
    kl : (n,) int array
        True grades.
    grades : DataFrame
        Of n knees, as :func:`.grades.sample_grades` gives them.
    side : (n,) int array
        Index into ``DOMINANCE`` of :mod:`.phantom.grades`, by which a marrow lesion finds its
        place.
    traits : Traits
        Of the same knees.

    Returns
    -------
    dict of str to (n,) array
        Columns of `sample_subjects`: from the reach of the osteophytes on, all of them.
    """
    return {
        **_osteophyte_reach(grades),
        **_cartilage(kl, grades, traits),
        **_other_signs(kl, grades, side, traits),
    }


def _osteophyte_reach(grades: pd.DataFrame) -> dict[str, Any]:
    """Reach in mm, 0 at grade 0, continuous inside and across the others."""
    ends = np.array([0.0, *OSTEOPHYTE_MM])
    reach = {}
    for name, column in zip(MARGINS, OSTEOPHYTES, strict=True):
        there = grades[column] > 0
        place = np.where(there, grades[column] + grades[f"position_{name}"], 0)
        reach[f"{column}_mm"] = np.interp(place, range(len(ends)), ends).round(3)
    return reach


def _cartilage(kl: np.ndarray, grades: pd.DataFrame, traits: Traits) -> dict[str, np.ndarray]:
    """Joint space, whole and remaining thickness, in mm."""
    of_build, shared, *others = traits.cartilage
    build = traits.size**THICKNESS_POWER * _spread(BUILD, of_build)
    space, whole, thickness = {}, {}, {}
    for i, side in enumerate(SIDES):
        of_compartment, *of_plates, clearance = others[6 * i : 6 * i + 6]
        jsn = grades[f"jsn_{side}"].to_numpy()
        place = grades[f"position_{side}"].to_numpy() - 0.5
        column = np.where(kl == 0, 0, jsn + 1)
        worn = jsn >= 2
        own = build * _spread(COMPARTMENT, of_compartment)
        both, usual = np.zeros(len(kl)), np.zeros(len(kl))
        for bone, of_plate, of_loss in zip(
            ("femur", "tibia"), of_plates[::2], of_plates[1::2], strict=True
        ):
            plate = f"{bone}_{side}"
            mean = np.array(THICKNESS[plate])
            # Up to JSN 1 the whole plate is thinner; from 2 on, part of it is lost.
            full = np.where(worn, mean[1], mean[column] * (1 - THINNING * place))
            full = (full * own * _spread(PLATE, of_plate)).round(3)
            lost = 1 - mean[column] / mean[1] + LOSS_SPAN * place
            lost = (lost + LOSS_SPREAD * of_loss).clip(0.02, 1)
            whole[plate] = full
            thickness[plate] = np.where(worn, full * (1 - lost), full).round(3)
            both += thickness[plate]
            usual += mean[column]
        gap = np.array(JOINT_SPACE[side])[column] - usual
        gap += np.array(CLEARANCE)[jsn] * (shared + clearance) / np.sqrt(2)
        least = np.maximum(LEAST_MM, np.array(LEAST_SHARE)[jsn] * both)
        space[f"joint_space_{side}_mm"] = np.maximum(both + gap, least).round(3)
    return (
        space
        | {f"whole_{plate}_mm": whole[plate] for plate in PLATES}
        | {f"thickness_{plate}_mm": thickness[plate] for plate in PLATES}
    )


def _spread(share: float, normal: np.ndarray) -> np.ndarray:
    return 1 + share * normal.clip(-3, 3)


def _other_signs(
    kl: np.ndarray, grades: pd.DataFrame, side: np.ndarray, traits: Traits
) -> dict[str, np.ndarray]:
    """Marrow lesions, sclerosis, effusion, extrusion, and bone shape."""
    severity = grades["severity"].to_numpy()
    there, chance, which = traits.chances
    of_lesions, of_sides, of_effusion = traits.signs[:4], traits.signs[4:8], traits.signs[8]
    lesion = there < np.interp(severity, range(len(MARROW_LESION)), MARROW_LESION)
    astray = chance > LESION_DISEASED
    lateral = np.where(side == 2, chance > LESION_MEDIAL, (side == 1) ^ astray)
    found = {}
    for plate, of_lesion in zip(PLATES, of_lesions, strict=True):
        # A third each in the femur, the tibia, and both.
        bone = which < 2 / 3 if plate.startswith("femur") else which > 1 / 3
        here = lesion & bone & (lateral == plate.endswith("lateral"))
        radius = ((2 + 1.6 * severity) * np.exp(0.3 * of_lesion)).clip(2, 14)
        found[f"marrow_lesion_{plate}_mm"] = np.where(here, radius, 0).round(3)
    out = {}
    for name, (of_bone, of_meniscus) in zip(SIDES, of_sides.reshape(2, 2, -1), strict=True):
        jsn = grades[f"jsn_{name}"].to_numpy()
        place = grades[f"position_{name}"].to_numpy() - 0.5
        hard = np.array(SCLEROSIS)[jsn] + np.where(jsn >= 2, 0.3 * place, 0)
        found[f"sclerosis_{name}"] = (hard + 0.12 * of_bone).clip(0, 1).round(3)
        pushed = np.array(EXTRUSION_MM)[jsn] + place
        pushed = pushed + np.where(jsn == 0, 0.2, 0.6) * of_meniscus
        out[f"extrusion_{name}_mm"] = pushed.clip(0, 6).round(3)
    # Some six times as much fluid at KL 3 as at KL 0, in a wide spread: grades overlap.
    effusion = 0.6 * np.exp(0.6 * severity + 0.35 * of_effusion)
    found["effusion_mm"] = effusion.clip(0, 10).round(3)
    scores = _shape_means()[kl] + traits.shape
    return found | out | dict(zip(SHAPES, scores.T.round(3), strict=True))


@cache
def _shape_means() -> np.ndarray:
    """Mean shape scores by KL, (5, 4), from `oacore/instruments/phantom/shape_scores.csv`."""
    with (files("oacore.instruments.phantom") / "shape_scores.csv").open() as file:
        return pd.read_csv(file, comment="#", index_col="kl").to_numpy()
