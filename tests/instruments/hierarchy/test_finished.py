"""What is finished is found again, and nothing else is taken for it."""

import numpy as np
import pytest

from oacore.errors import InputError
from oacore.instruments.hierarchy.finished import read_finished, write_finished

KEY = {"settings": {"seeds": (0, 1), "rate": 0.1}, "knees": "a", "code": "b"}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "cell" / "arm" / "seed000.npz"
    write_finished(path, KEY, {"grade": np.eye(2), "seconds": np.array(3)})
    return path


def test_it_is_found_again_and_whole(path):
    said = read_finished(path, KEY)
    assert sorted(said) == ["grade", "seconds"] and said["grade"].dtype == np.float32
    np.testing.assert_array_equal(said["grade"], np.eye(2))
    assert [one.name for one in path.parent.iterdir()] == [path.name]
    assert read_finished(path.with_name("seed001.npz"), KEY) is None


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"knees": "c"}, "other knees"),
        ({"settings": {"seeds": (0, 2), "rate": 0.1}}, "other settings"),
        ({"knees": "c", "code": "d"}, "other knees and other code"),
    ],
)
def test_what_it_follows_from_is_named_where_it_is_another(path, changed, said):
    with pytest.raises(InputError, match=f"seed000.npz was made by {said}: name another folder"):
        read_finished(path, KEY | changed)


def test_a_damaged_file_is_named_with_its_cure(path):
    whole = path.read_bytes()
    for damage in (whole[:90], b"", b"{}", whole[: len(whole) // 2]):
        path.write_bytes(damage)
        with pytest.raises(InputError, match=r"seed000.npz is damaged .*: remove it"):
            read_finished(path, KEY)
    np.savez(path, grade=np.eye(2))  # without a key
    with pytest.raises(InputError, match="is damaged"):
        read_finished(path, KEY)
