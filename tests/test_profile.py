"""The four profiles, and the paper's protocol among them."""

import pytest

from oacore import profile as module
from oacore.errors import InputError
from oacore.profile import load_profile


@pytest.mark.parametrize("name", ["smoke", "laptop", "study", "paper"])
def test_each_profile_loads(name):
    profile = load_profile(name)
    assert profile.name == name and len(profile.train) == len(profile.test) == 5
    assert "resnet3d" in profile.backbones


def test_paper_is_the_papers_protocol():
    """arXiv:2605.00718, sections 3.2 and 3.4."""
    paper = load_profile("paper")
    assert (paper.epochs, paper.batch_size, paper.lr, paper.weight_decay) == (100, 2, 1e-4, 1e-4)
    assert paper.grid == (160, 256, 256) and paper.resample == "trilinear"
    assert paper.train == (82, 46, 86, 111, 58) and paper.test == (21, 12, 22, 28, 15)


def test_an_unknown_profile_names_the_known_ones():
    with pytest.raises(InputError, match="smoke, laptop, study, paper"):
        load_profile("huge")


def test_a_profile_with_a_missing_setting_is_refused(tmp_path, monkeypatch):
    (tmp_path / "profiles.yml").write_text("mine: {epochs: 3, speed: 9}\n")
    monkeypatch.setattr(module, "files", lambda package: tmp_path)
    with pytest.raises(InputError, match="profile mine: missing or unknown.*lr.*speed"):
        load_profile("mine")
