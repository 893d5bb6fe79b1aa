"""The one error a user's input can cause, and what the system refuses, said alike."""

import errno


class InputError(ValueError):
    """Input that cannot be used: the message names the file, the row and the cure."""


#: What keeps a file from being read that may be as it was written.
_BARRED = (errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def unread(error: BaseException, path: str) -> str:
    """One line for an error that says nothing of what is in a file; "" for any other.

    Whoever takes such a file for a damaged one sends its user to fetch, or to remove, a good one.

    Parameters
    ----------
    error : Exception
        From opening or reading a file.
    path : str
        Of the file.
    """
    if isinstance(error, MemoryError):
        cure = "end other programs, use fewer workers, or get it again if it cannot be so large"
        return f"{path}: there is not the memory to read it; {cure}"
    if isinstance(error, OSError) and error.errno in _BARRED:
        return refusal(error, path)
    return ""


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
    path = error.filename2 or error.filename or otherwise
    cure = _CURES.get(error.errno or 0, "look at that path, and run the same command again")
    return f"{path}: {error.strerror or error}; {cure}"
