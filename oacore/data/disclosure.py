"""Who may see what of a cohort's knees: decided here, by the build's word ``images``.

==================================  =======  ==================  ===============
Of single knees, in a page          phantom  real, `images=yes`  real, otherwise
==================================  =======  ==================  ===============
images, values, answers             yes      yes                 no
case numbers, rows, names of files  yes      no                  no
==================================  =======  ==================  ===============

The name of a cohort's folder is in no page. ``oacore check`` tells its owner all of it. The same
holds of radiographs: drawn ones are shown, and real ones by the same word.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from oacore.data.cohort import is_phantom
from oacore.errors import InputError


@dataclass(frozen=True)
class Allowed:
    """What a page may show of single knees.

    Attributes
    ----------
    knees : bool
        Images, values and answers of single knees, which are then numbered anew.
    names : bool
        What tells which knee of which file it is: case numbers, rows, names of files.
    """

    knees: bool
    names: bool


def asked_for(images: str) -> bool:
    """Tell whether the one who builds asked for single knees to be shown.

    Parameters
    ----------
    images : {"", "no", "yes"}

    Raises
    ------
    InputError
        If it is another word: a mistyped no must not show anybody's knee.
    """
    if images not in ("", "no", "yes"):
        raise InputError(
            f"images={images}: unknown; give yes to show single knees of the cohort, else no or "
            "nothing (in a YAML file, in quotes)"
        )
    return images == "yes"


def may_show(cohort: str | Path, images: str) -> Allowed:
    """Tell what pages may show of a cohort.

    Parameters
    ----------
    cohort : path-like
        A phantom is one whose every row says so: a single real knee hides all.
    images : {"", "no", "yes"}
        The word of the one who builds.

    Raises
    ------
    InputError
        If the word is another one, or the folder holds no cohort.
    """
    asked = asked_for(images)
    drawn = is_phantom(cohort)
    return Allowed(knees=drawn or asked, names=drawn)
