"""Who may see what: a phantom all, a real cohort groups, unless its owner says yes."""

import pytest

from oacore.data.cohort import SYNTHETIC
from oacore.data.disclosure import Allowed, asked_for, may_show
from oacore.errors import InputError
from tests.helpers import GRADES, table, write_tables


def cohort(folder, drawn):
    """Tables of ten knees, of which so many are drawn."""
    marks = [SYNTHETIC] * drawn + [0] * (10 - drawn)
    train, test = table(GRADES, 1), table(GRADES, 6)
    write_tables(folder, train.assign(MRBarCode=marks[:5]), test.assign(MRBarCode=marks[5:]))
    return folder


@pytest.mark.parametrize(
    ("drawn", "images", "allowed"),
    [
        (10, "", Allowed(knees=True, names=True)),
        (10, "no", Allowed(knees=True, names=True)),
        (0, "", Allowed(knees=False, names=False)),
        (0, "no", Allowed(knees=False, names=False)),
        (0, "yes", Allowed(knees=True, names=False)),
        (9, "", Allowed(knees=False, names=False)),  # one real knee among drawn ones
        (1, "no", Allowed(knees=False, names=False)),
    ],
)
def test_what_pages_may_show(tmp_path, drawn, images, allowed):
    assert may_show(cohort(tmp_path, drawn), images) == allowed


@pytest.mark.parametrize("word", ["true", "True", "Yes", "YES", "1", "0", " yes", "no "])
def test_any_other_word_is_refused_in_one_line(tmp_path, word):
    for ask in (lambda: asked_for(word), lambda: may_show(cohort(tmp_path, 0), word)):
        with pytest.raises(InputError, match="unknown; give yes to show single knees") as said:
            ask()
        assert "\n" not in str(said.value)


def test_a_folder_without_a_cohort_is_an_error(tmp_path):
    with pytest.raises(InputError, match="holds no cohort"):
        may_show(tmp_path, "")
