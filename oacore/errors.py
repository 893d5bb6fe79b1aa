"""The one error a user's input can cause, and what the system refuses, said alike."""

import errno
import os
import re
import shutil


class InputError(ValueError):
    """Input that cannot be used: the message names the file, the row and the cure."""


_CURES = {
    errno.EACCES: "give yourself the right to it, or name another path",
    errno.EPERM: "give yourself the right to it, or name another path",
    errno.EROFS: "name a path on a disk that can be written",
    errno.ENOSPC: "free some space and run the same command again",
    errno.EDQUOT: "free some space and run the same command again",
    errno.EISDIR: "it is a folder; name a file",
    errno.ENOTDIR: "a part of this path is a file; name a folder there, or move the file away",
    errno.EEXIST: "a file is there; name a folder, or move the file away",
    errno.EMFILE: "too many files are open; raise the limit (ulimit -n), or use fewer workers",
}


def refusal(error: OSError, otherwise: str) -> str:
    """One line for what the system refused: the path, the reason and the cure.

    Parameters
    ----------
    error : OSError
    otherwise : str
        The path, for an error that names none: a write to an open file does not.
    """
    error = _first(error)
    path = error.filename2 or error.filename or otherwise
    cure = _CURES.get(error.errno or 0, "look at that path, and run the same command again")
    return f"{path}: {error.strerror or error}; {cure}"


def _first(error: OSError) -> OSError:
    """The first of the refusals that copying a folder collects, each as a text; others as is."""
    if not (isinstance(error, shutil.Error) and error.args and isinstance(error.args[0], list)):
        return error
    source, target, why = error.args[0][0]
    if (found := re.match(r"\[Errno (\d+)\]", str(why))) is None:
        return OSError(None, str(why), target)
    number = int(found[1])
    return OSError(number, os.strerror(number), source if number == errno.EACCES else target)
