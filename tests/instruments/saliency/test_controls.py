"""Controls of the saliency overlap against NumPy, scikit-image's definition and known shapes."""

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.ndimage import gaussian_filter
from scipy.stats import rankdata

from oacore.data.volumes import read_canonical
from oacore.errors import InputError
from oacore.instruments.phantom.cohort import write_phantom
from oacore.instruments.saliency.controls import (
    LESIONS,
    agreement,
    bone_surface,
    distance_profile,
    input_map,
    map_similarity,
    other_knees,
    randomised,
    read_lesions,
)
from oacore.instruments.saliency.methods import saliency_map
from oacore.instruments.saliency.overlap import overlap, region
from oacore.models.heads import build_model
from oacore.profile import load_profile

RECIPES = load_profile("smoke").backbones

STAGES = {
    "resnet3d": ["heads", "layer4", "layer3", "layer2", "layer1", "bn1", "conv1"],
    "m3t": ["heads", "norm", "transformer", "tokens", "project", "slices", "stem"],
    "nnmamba": ["heads", "hidden", "stage4", "stage3", "stage2", "mamba", "stem"],
}


def models(backbone, supervision="dual"):
    encoder = RECIPES[backbone].encoder
    trained = build_model(backbone, supervision, 0, encoder)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():  # as if trained: no value is a new model's
        for value in trained.state_dict().values():
            if value.is_floating_point():
                value.add_(0.05 * torch.randn(value.shape, generator=generator).abs())
                value.mul_(1.01)
    return trained, build_model(backbone, supervision, 1, encoder)


@pytest.mark.parametrize("backbone", STAGES)
def test_stages_are_lost_from_the_heads_downwards(backbone):
    trained, fresh = models(backbone)
    before = {key: value.clone() for key, value in trained.state_dict().items()}
    new, lost = fresh.state_dict(), []
    for stage, changed in randomised(trained, fresh):
        lost.append(stage if stage == "heads" else f"encoder.{stage}")
        for key, value in changed.state_dict().items():
            gone = any(key.startswith(f"{name}.") for name in lost)
            assert torch.equal(value, (new if gone else before)[key]), (stage, key)
    assert [name.removeprefix("encoder.") for name in lost] == STAGES[backbone]
    assert all(torch.equal(value, before[key]) for key, value in trained.state_dict().items())
    x = torch.randn(2, 1, *RECIPES[backbone].grid)
    with torch.no_grad():
        assert torch.equal(changed.eval()(x)["kl"], fresh.eval()(x)["kl"])


def test_a_map_follows_the_weights_that_are_lost():
    trained, fresh = models("resnet3d")
    x = torch.randn(1, 1, *RECIPES["resnet3d"].grid, generator=torch.Generator().manual_seed(0))
    own = saliency_map(trained, x, "oa")[0]
    found = [
        map_similarity(own, saliency_map(changed, x, "oa")[0])["spearman"]
        for _, changed in randomised(trained, fresh)
    ]
    assert 1 > found[0] > found[3] > found[-1] and abs(found[-1]) < 0.5, found


def test_only_models_of_one_architecture():
    trained, _ = models("nnmamba")
    with pytest.raises(InputError, match="differ in their layers"):
        next(
            randomised(trained, build_model("nnmamba", "single_oa", 1, RECIPES["nnmamba"].encoder))
        )


def plain_ssim(one, other, sigma=1.5, window=11):
    """Wang et al. 2004, equation 13, inside the volume, on Gaussian means."""
    half = window // 2

    def mean(values):
        smooth = gaussian_filter(values.astype(float), sigma, truncate=half / sigma)
        return smooth[half:-half, half:-half, half:-half]

    a, b = mean(one), mean(other)
    var_a, var_b = mean(one**2) - a**2, mean(other**2) - b**2
    both = mean(one * other) - a * b
    c1, c2 = 0.01**2, 0.03**2
    return np.mean((2 * a * b + c1) * (2 * both + c2) / ((a**2 + b**2 + c1) * (var_a + var_b + c2)))


def test_similarity_of_two_maps():
    rng = np.random.default_rng(0)
    one, other = (gaussian_filter(rng.random((14, 15, 16)), 1).astype(np.float32) for _ in "ab")
    other = (0.5 * one + other).round(2)  # ties
    found = map_similarity(one, other)
    ranks = [rankdata(each.ravel()) for each in (one, other)]
    assert found["spearman"] == pytest.approx(np.corrcoef(*ranks)[0, 1], abs=1e-9)
    assert found["ssim"] == pytest.approx(plain_ssim(one, other), abs=1e-3)
    assert map_similarity(one, one) == pytest.approx({"spearman": 1, "ssim": 1})
    assert map_similarity(one, 1 - one)["spearman"] == pytest.approx(-1)
    assert np.isnan(map_similarity(one, np.zeros_like(one))["spearman"])
    with pytest.raises(InputError, match="at least 11 voxels"):
        map_similarity(one[:10], other[:10])


def test_agreement_has_a_row_for_each_pair_of_seeds():
    rng = np.random.default_rng(1)
    maps = [rng.random((11, 12, 13), dtype=np.float32) for _ in range(3)]
    table = agreement(maps, [0, 4, 7])
    assert table[["seed", "other"]].to_numpy().tolist() == [[0, 4], [0, 7], [4, 7]]
    assert table.loc[1, "spearman"] == map_similarity(maps[0], maps[2])["spearman"]
    with pytest.raises(ValueError, match="zip"):
        agreement(maps, [0, 4])


def test_the_input_alone_is_a_map():
    volumes = np.array([[[[-3.0, 0.5], [1.0, 2.0]]], [[[5.0, 5.0], [5.0, 6.0]]]], np.float16)
    assert_allclose(
        input_map(volumes),
        [[[[1, 0], [0.2, 0.6]]], [[[0, 0], [0, 1]]]],
        rtol=1e-6,
    )


@pytest.mark.parametrize("n", [2, 3, 98])
def test_every_knee_gets_the_mask_of_another(n):
    for seed in range(20):
        rows = other_knees(n, seed)
        assert sorted(rows) == list(range(n)) and (rows != np.arange(n)).all()
    assert_array_equal(other_knees(n, 3), other_knees(n, 3))
    if n == 98:
        assert (other_knees(n, 3) != other_knees(n, 4)).any()
    with pytest.raises(InputError, match="2 or more"):
        other_knees(1, 0)


def test_distances_from_a_plate_in_mm():
    mask = np.zeros((20, 5, 6), dtype=bool)
    mask[8:10] = True  # slices of 2 mm
    values = np.ones(mask.shape)
    values[11] = 4
    table = distance_profile(values, mask, (2.0, 0.5, 0.5), (2, 5, 12))
    # Slices off the plate: 2 mm, then 4 mm, then 6 to 12 mm, then further.
    assert_allclose(table["voxels"], np.array([2, 2, 2, 8, 6]) / 20)
    assert_allclose(table["mass"], np.array([2, 2, 5, 8, 6]) / 23)
    assert_allclose(table["enrichment"], table["mass"] / table["voxels"])
    assert_array_equal(table["above"], [np.nan, 0, 2, 5, 12])
    assert_array_equal(table["up_to"], [0, 2, 5, 12, np.inf])
    far = distance_profile(values, mask, (2.0, 0.5, 0.5), (2, 50)).iloc[-1]
    assert far["voxels"] == 0 and np.isnan(far["enrichment"])


def test_a_profile_against_all_distances():
    rng = np.random.default_rng(2)
    mask, spacing = rng.random((7, 8, 9)) < 0.02, np.array([2.8, 1.4, 0.7])
    mask[3, 3, 3] = True
    values = rng.random(mask.shape)
    places = np.argwhere(np.ones_like(mask)) * spacing
    gaps = places[:, None] - np.argwhere(mask)[None] * spacing
    nearest = np.sqrt((gaps**2).sum(-1)).min(1)
    table = distance_profile(values, mask, spacing, (3, 6))
    bands = pd.cut(nearest, [-1, 0, 3, 6, np.inf])
    expected = pd.Series(values.ravel()).groupby(bands, observed=False).sum() / values.sum()
    assert_allclose(table["mass"], expected.to_numpy())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mask": np.zeros((4, 5, 6), dtype=bool)}, "not empty"),
        ({"mask": np.ones((4, 5, 6))}, "mask of float64"),
        ({"values": np.full((4, 5, 6), np.nan)}, "finite values >= 0"),
        ({"values": np.zeros((4, 5, 6))}, "not all of them 0"),
        ({"values": np.full((4, 5, 6), -1.0)}, "finite values >= 0"),
        ({"edges": (2, 2)}, "rising ones"),
        ({"edges": (0, 2)}, "rising ones"),
        ({"edges": ()}, "rising ones"),
    ],
)
def test_profiles_that_mean_nothing(change, message):
    usual = {
        "values": np.ones((4, 5, 6)), "mask": np.ones((4, 5, 6), dtype=bool),
        "spacing": (1, 1, 1), "edges": (2, 4),
    }  # fmt: skip
    with pytest.raises(InputError, match=message):
        distance_profile(**{**usual, **change})


def test_band_around_the_bones():
    labels = np.zeros((3, 3, 12), np.uint8)
    labels[..., 2:6] = 1  # femur
    labels[..., 6:8] = 2  # its cartilage is no bone
    labels[..., 9:] = 3  # tibia, up to the edge
    line = bone_surface(labels, (3.0, 3.0, 1.0), 1.0)[1, 1]
    assert np.flatnonzero(line).tolist() == [1, 2, 5, 6, 8, 9]
    wide = bone_surface(labels, (3.0, 3.0, 1.0), 2.0)[1, 1]
    assert np.flatnonzero(wide).tolist() == list(range(11))
    with pytest.raises(InputError, match="no bone"):
        bone_surface(np.full((3, 3, 3), 2), (1, 1, 1), 1)
    with pytest.raises(InputError, match="no voxel lies within 0.5 mm .* 1.00 mm"):
        bone_surface(labels, (3.0, 3.0, 1.0), 0.5)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Eight ill knees of the phantom."""
    folder = tmp_path_factory.mktemp("lesions") / "cohort"
    grades = {"train": (0, 0, 0, 0, 1), "test": (0, 0, 0, 0, 3), "ungraded": (0, 0)}
    truth = write_phantom(folder, **grades, shape=(32, 72, 72), seed=3, reader_noise=0.0)
    return folder, truth


def test_lesions_of_the_phantom_lie_on_its_image(cohort):
    folder, truth = cohort
    seen = set()
    for case in truth.to_dict("records"):
        end = {"train": "Tr", "test": "Ts"}[case["split"]]
        image = folder / f"images{end}" / f"oaizib_{case['case_id']:03d}_0000.nii.gz"
        stored, _ = read_canonical(
            folder / f"lesions{end}" / f"oaizib_{case['case_id']:03d}.nii.gz"
        )
        lesions = read_lesions(image, (32, 72, 72))
        assert_array_equal(lesions, stored)
        assert read_lesions(image, (16, 36, 36)).shape == (16, 36, 36)
        seen |= {name for name, numbers in LESIONS.items() if region(lesions, numbers).any()}
        # A map that shows the lesion itself is as good as can be; another knee's isn't.
        mask = region(lesions, LESIONS["osteophytes"])
        table = overlap([mask.astype(float)], [mask], [1], measures=["mass"])
        assert mask.any() and table["value"].item() == pytest.approx(1)
    assert "osteophytes" in seen and len(seen) >= 2


def test_other_cohorts_have_no_lesions(tmp_path):
    (tmp_path / "imagesTs").mkdir()
    for folder in ("imagesTs", "elsewhere"):
        with pytest.raises(InputError, match="no lesions beside it"):
            read_lesions(tmp_path / folder / "oaizib_001_0000.nii.gz", (4, 4, 4))
