"""What the system refuses, in one line."""

import errno
import os
import shutil

import pytest

from oacore.errors import refusal, unread


@pytest.mark.parametrize(
    ("number", "named", "cure"),
    [
        (errno.ENOSPC, "there/one.html", "free some space"),
        (errno.EACCES, "here/one.html", "the right to it"),
    ],
)
def test_a_copy_that_stops_is_one_line_on_its_first_file(tmp_path, number, named, cure):
    """shutil collects what it could not copy, and says it as a list of texts."""
    for name in ("one.html", "two.html"):
        (tmp_path / "here").mkdir(exist_ok=True)
        (tmp_path / "here" / name).touch()

    def refuse(source, target):
        raise OSError(number, os.strerror(number), target)

    with pytest.raises(shutil.Error) as caught:
        shutil.copytree(tmp_path / "here", tmp_path / "there", copy_function=refuse)
    said = refusal(caught.value, "x")
    reason = os.strerror(number)
    assert said.startswith((f"{tmp_path}/{named}: {reason}; ", f"{tmp_path}/{named[:-8]}two.html"))
    assert cure in said and "[" not in said.removeprefix(str(tmp_path)) and "\n" not in said


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN])
def test_a_disk_that_is_gone_damages_nothing(number):
    """A finished run on such a disk was removed and trained again, its file for a damaged one."""
    said = unread(OSError(number, os.strerror(number), "w"), "w")
    assert said.startswith(f"w: {os.strerror(number)}; see whether its disk is sound")
    assert unread(OSError(errno.ELOOP, "Too many links", "w"), "w") == ""


def test_a_copy_that_stops_without_a_number_says_why():
    error = shutil.Error([("a", "b", "it is no file")])
    assert refusal(error, "x").startswith("b: it is no file; look at that path")
