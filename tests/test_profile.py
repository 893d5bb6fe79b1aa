"""The profiles, and the paper's protocol among them."""

from dataclasses import replace

import pytest
import torch

from oacore import profile as module
from oacore.data.cohort import PAPER_KL
from oacore.errors import InputError
from oacore.models.heads import build_model
from oacore.names import BACKBONE_NAMES
from oacore.profile import load_profile

#: The paper's own backbones, which other profiles may have more than.
PAPERS = ("resnet3d", "m3t", "nnmamba")


@pytest.mark.parametrize("name", ["smoke", "laptop", "record", "changes", "study", "paper", "text"])
def test_each_profile_loads_and_each_model_can_be_built(name):
    profile = load_profile(name)
    assert profile.name == name and len(profile.train) == len(profile.test) == 5
    assert set(PAPERS) <= set(profile.backbones) <= set(BACKBONE_NAMES)
    for model in [*profile.backbones, *profile.variants, *profile.controls]:
        recipe = profile.recipe(model)
        with torch.device("meta"):
            net = build_model(recipe.backbone, "dual", 0, recipe.encoder, recipe.heads)
        assert net.cascaded == (recipe.heads == "cascaded")
    m3t = profile.backbones["m3t"]
    assert m3t.grid == (m3t.encoder["size"],) * 3


def test_a_variant_changes_what_it_says_of_its_backbone():
    profile = load_profile("smoke")
    base, cascaded = profile.recipe("resnet3d"), profile.recipe("resnet3d-cascaded")
    assert (base.heads, cascaded.heads) == ("parallel", "cascaded")
    assert cascaded.supervisions == ("dual",)
    same = {"heads": "", "supervisions": (), "seeds": ()}
    assert replace(base, **same) == replace(cascaded, **same)
    released = profile.recipe("m3t-released")
    assert released.encoder == {**profile.recipe("m3t").encoder, "variant": "as released"}
    with pytest.raises(InputError, match="no backbone or variant 'vgg'.*resnet3d.*m3t-released"):
        profile.recipe("vgg")


def test_a_control_is_a_backbone_on_permuted_grades_and_stands_nowhere_else(tmp_path, monkeypatch):
    profile = load_profile("laptop")
    base, control = profile.recipe("resnet3d"), profile.recipe("resnet3d-permuted")
    assert (base.grades, control.grades) == ("as read", "permuted")
    same = {"grades": "", "supervisions": (), "seeds": (), "epochs": 0}
    assert replace(base, **same) == replace(control, **same)
    assert profile.control("resnet3d", "dual", 0) == "resnet3d-permuted"
    for run in (("resnet3d", "dual", 1), ("resnet3d", "single_oa", 0), ("m3t", "dual", 0)):
        assert profile.control(*run) is None
    text = (module.files("oacore") / "profiles.yml").read_text()
    monkeypatch.setattr(module, "files", lambda package: tmp_path)
    for old, new in {
        "grades: as read": "grades: permuted",  # of a profile's backbones
        "{backbone: resnet3d, heads: cascaded": "{backbone: resnet3d, grades: permuted",
        "backbone: resnet3d, grades: permuted": "backbone: resnet3d, grades: as read",
    }.items():
        assert old in text
        (tmp_path / "profiles.yml").write_text(text.replace(old, new, 1))
        with pytest.raises(InputError, match="smoke.*: has grades '.*below `controls`"):
            load_profile("smoke")


def test_changes_are_of_the_record_s_models_on_its_knees():
    record, changes = load_profile("record"), load_profile("changes")
    for name in ("train", "test", "ungraded", "cohort_seed", "shape"):
        assert getattr(changes, name) == getattr(record, name)
    for name, recipe in changes.backbones.items():
        assert recipe == replace(record.backbones[name], supervisions=("dual",))
    for name, recipe in changes.variants.items():
        base = changes.backbones[recipe.backbone]
        own = {key for key in vars(recipe) if getattr(recipe, key) != getattr(base, key)}
        assert own in ({"heads"}, {"encoder"}), name


def test_paper_is_the_papers_protocol():
    """arXiv:2605.00718, sections 3.2 and 3.4."""
    paper = load_profile("paper")
    for recipe in (paper.backbones[name] for name in PAPERS):
        assert (recipe.epochs, recipe.batch_size, recipe.lr) == (100, 2, 1e-4)
        assert recipe.weight_decay == 1e-4 and recipe.resample == "as released"
    grids = {name: paper.backbones[name].grid for name in PAPERS}
    assert grids == {
        "resnet3d": (160, 256, 256), "m3t": (128, 128, 128), "nnmamba": (160, 256, 256)
    }  # fmt: skip
    assert paper.train == (82, 46, 86, 111, 58) and paper.test == (21, 12, 22, 28, 15)


def test_an_unknown_profile_names_the_known_ones():
    with pytest.raises(InputError, match="smoke, laptop, record, changes, study, paper, text"):
        load_profile("huge")


def test_a_profile_with_a_missing_setting_is_refused(tmp_path, monkeypatch):
    (tmp_path / "profiles.yml").write_text("mine: {train: [1], speed: 9}\n")
    monkeypatch.setattr(module, "files", lambda package: tmp_path)
    with pytest.raises(InputError, match="profile mine: missing or unknown.*shape.*speed"):
        load_profile("mine")


def test_text_and_paper_differ_where_the_papers_text_and_code_do():
    """`paper` is the released code's models, `text` those of the words and their sources."""
    paper, text = load_profile("paper"), load_profile("text")
    assert {r.heads for r in paper.backbones.values()} == {"cascaded"}
    assert {r.heads for r in text.backbones.values()} == {"parallel"}
    assert {r.resample for r in text.backbones.values()} == {"trilinear"}
    released, described = (p.backbones["m3t"].encoder for p in (paper, text))
    keys = ("channels", "depth2d", "width", "layers", "heads", "variant")
    assert [released[k] for k in keys] == [16, 18, 128, 4, 8, "as released"]
    assert [described[k] for k in keys] == [32, 50, 256, 8, 8, "as described"]
    assert paper.backbones["resnet3d"].encoder == {"depth": 18, "width": 64, "shortcut": "B"}
    assert paper.backbones["nnmamba"].encoder == text.backbones["nnmamba"].encoder


def test_the_laptops_test_split_has_the_real_proportions_and_whole_voxels():
    laptop = load_profile("laptop")
    share = 200 / sum(PAPER_KL["test"])
    assert sum(laptop.test) == 200
    pairs = zip(laptop.test, PAPER_KL["test"], strict=True)
    assert all(abs(n - share * one) <= 0.5 for n, one in pairs)
    for recipe in laptop.backbones.values():
        assert all(n % m == 0 for n, m in zip(laptop.shape, recipe.grid, strict=True))
