"""Overlap of maps with regions against a plain reading of section 3.5.3, on real knees too."""

import gzip
from itertools import permutations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from oacore.data.volumes import read_canonical
from oacore.errors import InputError
from oacore.instruments.saliency import overlap as overlap_module
from oacore.instruments.saliency.overlap import MEASURES, REGIONS, overlap, region

TOPS = (0.01, 0.05, 0.10)


def plain(values, mask, choose=None):
    """Table 3's four measures, one voxel after another; `choose` gives the top k's indices."""
    flat, roi = np.maximum(values.astype(float), 0).ravel(), mask.ravel()
    choose = choose or (lambda k: np.argsort(-flat, kind="stable")[:k])
    found = {"mass": flat[roi].sum() / flat.sum() if flat.sum() >= 1e-8 else np.nan}
    for name, q in zip(MEASURES[1:], TOPS, strict=True):
        k = max(int(np.ceil(q * flat.size)), 1)
        salient = np.zeros(flat.size, dtype=bool)
        salient[choose(k)] = True
        both = (salient & roi).sum()
        found[name] = both / k if name == "top1" else 2 * both / (salient.sum() + roi.sum())
    return found


def numpys_choice(values):
    flat = np.maximum(values.astype(np.float32), 0).ravel()
    return lambda k: np.argpartition(flat, -k)[-k:]


def with_ties(values, mask, last):
    """Of voxels that tie, choose those in the region last, or first."""
    flat, roi = np.maximum(values.astype(np.float32), 0).ravel(), mask.ravel()
    return lambda k: np.lexsort((roi if last else ~roi, -flat))[:k]


def one(values, mask, **words):
    return overlap([values], [mask], [7], **words).set_index("measure")


def compare(table, expected, **tolerance):
    for name, value in expected.items():
        assert_allclose(table.loc[name, "value"], value, err_msg=name, **tolerance)


def compare_as_far_as_decided(table, values, mask):
    """The release's figure where the map alone decides; else one between the worst and best."""
    released = plain(values, mask, numpys_choice(values))
    worst, best = (plain(values, mask, with_ties(values, mask, last)) for last in (True, False))
    decided = {name: released[name] for name in table.index if table.loc[name, "tied"] == 0}
    compare(table, decided, rtol=1e-6)
    for name in released.keys() - decided:
        value = table.loc[name, "value"]
        assert worst[name] <= released[name] <= best[name], name
        assert worst[name] < value < best[name], name


@pytest.fixture(scope="module")
def real(shared):
    """A real knee's cartilage (labels 2, 3 and 6 of the file) at full size, RAS axes."""
    raw = (shared / "real/knee_labels/knee_right_dess_labels.nrrd").read_bytes()
    _, _, packed = raw.partition(b"\n\n")
    stored = np.frombuffer(gzip.decompress(packed), np.uint8).reshape((384, 384, 160), order="F")
    labels = stored.transpose(2, 0, 1)[:, ::-1, ::-1]
    table = np.zeros(11, np.uint8)
    table[[5, 1, 6, 2, 3]] = 1, 2, 3, 4, 5
    return table[labels]


@pytest.fixture(scope="module")
def template(shared):
    name = "real/knee_template/CLAIR-Knee-103R_{}_64x128x128.nii.gz"
    labels, _ = read_canonical(shared / name.format("segmentation"))
    image, _ = read_canonical(shared / name.format("template"))
    return labels.astype(np.uint8), image.astype(np.float32)


def test_real_knee_at_full_size(real):
    rng = np.random.default_rng(0)
    mask = region(real, REGIONS["cartilage"])
    # Noise that is stronger in and before the cartilage, as a map may be.
    strength = np.float32(1) + 2 * mask + np.roll(mask, 9, axis=1)
    values = np.abs(rng.standard_normal(real.shape, dtype=np.float32)) * strength
    expected = plain(values, mask, numpys_choice(values))
    assert 0.002 < mask.mean() < 0.02 and 0.05 < expected["dice5"] < 0.3
    # A sum in 32 bits, as released, is good to 6 digits; counts are exact.
    compare(one(values, mask), expected, rtol=1e-9)
    fewer = region(real, REGIONS["cartilage without lateral tibia"])
    assert 0 < fewer.sum() < mask.sum() and not (fewer & ~mask).any()


@pytest.mark.parametrize("kind", ["edges", "image", "rounded", "8 bits"])
def test_mean_knee_with_its_own_image_as_a_map(template, kind):
    labels, image = template
    edges = np.sqrt(sum(g**2 for g in np.gradient(image)))
    values = {
        "edges": edges,
        "image": image,
        "rounded": edges.round(1 - int(np.log10(edges.max()))),
        "8 bits": np.rint(edges / edges.max() * 255),
    }[kind]
    mask = region(labels, REGIONS["cartilage"])
    assert mask.any()
    table = one(values, mask)
    compare_as_far_as_decided(table, values, mask)
    if kind in ("rounded", "8 bits"):
        assert (table["tied"] > 0).any()


@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 1, 1), (5, 5, 4), (7, 11, 13), (10, 10, 21)])
def test_small_volumes_round_the_salient_voxels_up(shape):
    rng = np.random.default_rng(1)
    values, mask = rng.permutation(np.prod(shape)).reshape(shape) + 1.0, rng.random(shape) < 0.4
    mask.flat[0] = True
    table = one(values, mask)
    compare(table, plain(values, mask), rtol=1e-7)
    assert table.loc["top1", "salient_voxels"] == max(1, np.ceil(0.01 * values.size))
    assert (table["tied"] == 0).all()


@pytest.mark.parametrize("high", ["between", "on", "one block"])
def test_a_sample_that_misleads_changes_nothing(high):
    rng = np.random.default_rng(2)
    shape = (12, 30, 40)
    index = np.arange(np.prod(shape))
    strong = {"between": index % 61 != 0, "on": index % 61 == 0, "one block": index < 1300}[high]
    values = (rng.random(index.size) + 10 * strong).reshape(shape)
    mask = rng.random(shape) < 0.03
    compare(one(values, mask), plain(values, mask, numpys_choice(values)), rtol=1e-6)


def test_voxels_that_tie_have_equal_chances():
    # All ways of choosing among the tied, one by one: 3 salient voxels of 21, 6 tie for 2 places.
    values = np.array([9, *[5] * 6, *[1] * 14], dtype=float).reshape(3, 7, 1)
    mask = np.isin(np.arange(21), [0, 2, 3, 20]).reshape(3, 7, 1)
    ways = [plain(values, mask, lambda k, way=way: [0, *way][:k])
            for way in permutations(range(1, 7), 2)]  # fmt: skip
    table = one(values, mask)
    for name in ("dice5", "dice10"):
        assert_allclose(table.loc[name, "value"], np.mean([way[name] for way in ways]))
    assert table["tied"].tolist() == [0, 0, 6, 6]


def test_ties_do_not_follow_the_order_in_memory():
    rng = np.random.default_rng(3)
    values, mask = rng.integers(0, 4, (9, 10, 11)), rng.random((9, 10, 11)) < 0.2
    table, turned = one(values, mask), one(values[::-1, :, ::-1], mask[::-1, :, ::-1])
    assert_allclose(table["value"], turned["value"], rtol=1e-12)
    assert (table["tied"] > 0).sum() == 3
    compare_as_far_as_decided(table, values, mask)


def test_ties_that_all_get_a_place_are_none():
    values = np.array([8.0] * 5 + [1.0] * 45).reshape(5, 10, 1)  # 10% of 50 is 5
    mask = np.arange(50).reshape(5, 10, 1) < 3
    table = one(values, mask)
    assert table.loc["dice10", ["value", "tied"]].tolist() == [2 * 3 / (5 + 3), 0]
    assert table.loc["dice5", ["value", "tied"]].tolist() == [2 * 1.8 / (3 + 3), 5]


@pytest.mark.parametrize("level", [0.0, 0.25, 3.0])
def test_a_constant_map_scores_by_chance(level):
    mask = np.random.default_rng(4).random((8, 9, 10)) < 0.1
    table = one(np.full(mask.shape, level), mask)
    tops = table.drop(index="mass")
    assert_allclose(tops["value"], tops["chance"], rtol=1e-12)
    assert_allclose(tops["enrichment"], 1)
    assert (tops["tied"] == mask.size).all()
    mass = table.loc["mass", "value"]
    assert np.isnan(mass) if level == 0 else np.isclose(mass, mask.mean(), rtol=1e-6)


def test_a_map_too_faint_to_have_mass():
    mask = np.arange(60).reshape(3, 4, 5) < 6
    faint = np.full(mask.shape, 1e-10)  # in all 6e-9
    assert np.isnan(one(faint, mask).loc["mass", "value"])
    assert_allclose(one(faint * 10, mask).loc["mass", "value"], 0.1 * 6e-8 / 7e-8, rtol=1e-6)


def test_what_is_below_zero_counts_as_zero():
    rng = np.random.default_rng(5)
    values, mask = rng.standard_normal((9, 10, 11)), rng.random((9, 10, 11)) < 0.2
    kept = values.copy()
    compare(one(values, mask), plain(values, mask), rtol=1e-6)
    assert np.array_equal(values, kept)
    few = np.where(values > 2.2, values, -1)  # fewer than 5% are above zero
    table = one(few, mask)
    assert 0 < (few > 0).mean() < 0.05
    above, left = (few > 0).sum(), (few <= 0).sum()
    k = table.loc["dice5", "salient_voxels"]
    hit = (mask & (few > 0)).sum() + (k - above) * (mask & (few <= 0)).sum() / left
    assert_allclose(table.loc["dice5", "value"], 2 * hit / (k + mask.sum()))
    assert table.loc["dice5", "tied"] == left


def test_an_empty_region_has_no_overlap():
    table = one(np.random.default_rng(6).random((4, 5, 6)), np.zeros((4, 5, 6), dtype=bool))
    assert table[["value", "chance", "ceiling", "enrichment"]].isna().all(axis=None)
    assert (table["roi_voxels"] == 0).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(value):
    values, mask = np.ones((4, 5, 6)), np.ones((4, 5, 6), dtype=bool)
    values[1, 2, 3] = value
    with pytest.raises(InputError, match="case 7: the map holds values that are not finite"):
        one(values, mask)


@pytest.mark.parametrize(
    ("mask", "words", "message"),
    [
        (np.ones((4, 5, 6)), {}, "mask of float64"),
        (np.ones((4, 5, 7), dtype=bool), {}, r"\(4, 5, 7\)"),
        (np.ones((4, 5, 6), dtype=bool), {"measures": ["dice0"]}, "no measure 'dice0'"),
        (np.ones((4, 5, 6), dtype=bool), {"measures": ["iou5"]}, "no measure 'iou5'"),
        (np.ones((4, 5, 6), dtype=bool), {"measures": ["top101"]}, "no measure 'top101'"),
    ],
)
def test_what_cannot_be_compared(mask, words, message):
    with pytest.raises(InputError, match=message):
        one(np.ones((4, 5, 6)), mask, **words)


def test_as_many_maps_as_masks():
    maps, masks = np.ones((2, 3, 4, 5)), np.ones((2, 3, 4, 5), dtype=bool)
    with pytest.raises(InputError, match="as many maps as masks"):
        overlap(maps, masks[:1], [1, 2])


@pytest.mark.parametrize("share", [0.004, 0.03, 0.08, 0.5, 1.0])
def test_the_best_map_reaches_the_ceiling_and_no_other_passes_it(share):
    rng = np.random.default_rng(7)
    mask = np.zeros((10, 20, 30), dtype=bool)
    mask.flat[rng.choice(mask.size, int(share * mask.size), replace=False)] = True
    noise = rng.random(mask.shape)
    best = one(mask + 0.01 * noise, mask)
    tops = best.drop(index="mass")
    assert_allclose(tops["value"], tops["ceiling"], rtol=1e-12)
    assert best.loc["mass", "ceiling"] == 1
    blind = one(noise, mask)
    assert (blind["value"] <= blind["ceiling"]).all()


def test_chance_is_the_mean_over_maps_that_know_nothing():
    rng = np.random.default_rng(8)
    mask = rng.random((8, 12, 12)) < 0.06
    table = overlap((rng.random(mask.shape) for _ in range(400)), [mask] * 400, range(400))
    found = table.groupby("measure")[["value", "chance", "enrichment"]].mean()
    error = table.groupby("measure")["value"].sem()
    assert (abs(found["value"] - found["chance"]) < 4 * error).all()
    assert_allclose(found["enrichment"], 1, atol=0.1)


def test_limits_of_cartilage_in_the_papers_volumes():
    # Cartilage fills 0.78% (labels 2 and 4) or 0.89% of the voxels.
    mask = np.zeros((10, 100, 100), dtype=bool)
    mask.flat[:780] = True
    table = one(np.random.default_rng(9).random(mask.shape), mask)
    assert table.loc["dice5", "ceiling"] == pytest.approx(0.270, abs=0.0015)
    assert table.loc["dice10", "ceiling"] == pytest.approx(0.145, abs=0.0005)
    assert table.loc["dice5", "chance"] == pytest.approx(0.0135, abs=0.0005)
    mask.flat[:890] = True
    table = one(np.random.default_rng(9).random(mask.shape), mask)
    assert table.loc["dice5", "ceiling"] == pytest.approx(0.302, abs=0.0015)


def test_a_row_for_each_case_and_measure_whatever_the_type():
    rng = np.random.default_rng(10)
    maps, masks = rng.random((3, 4, 5, 6)).astype(np.float32), rng.random((3, 4, 5, 6)) < 0.3
    table = overlap(maps, masks, ["a", "b", "c"])
    assert list(table) == [
        *("case_id", "measure", "value", "chance", "ceiling", "enrichment"),
        *("roi_voxels", "salient_voxels", "tied"),
    ]
    assert table["case_id"].tolist() == [c for c in "abc" for _ in MEASURES]
    assert table["measure"].tolist() == [*MEASURES] * 3
    again = overlap(torch.from_numpy(maps), torch.from_numpy(masks), ["a", "b", "c"])
    assert again.equals(table)
    half = overlap(maps.astype(np.float64), masks, ["a", "b", "c"], measures=["dice0.5", "top100"])
    assert half["measure"].tolist() == ["dice0.5", "top100"] * 3
    assert_allclose(half["value"][1::2], masks.mean(axis=(1, 2, 3)))


def test_only_what_passes_the_sample_is_sorted(monkeypatch):
    seen = []
    right = np.partition
    monkeypatch.setattr(overlap_module.np, "partition",
                        lambda a, *rest: seen.append(a.size) or right(a, *rest))  # fmt: skip
    values = np.random.default_rng(11).random((40, 60, 60))
    one(values, values < 0.1)
    assert max(seen) < 0.13 * values.size
