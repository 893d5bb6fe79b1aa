"""The one error a user's input can cause, and what the system refuses, said alike."""

import errno
import os
import re
import shutil
from tempfile import gettempdir


class InputError(ValueError):
    """Input that cannot be used: the message names the file, the row and the cure."""


#: What keeps a file from being read that may be as it was written.
_BARRED = (errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO,
           errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN)  # fmt: skip


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
    errno.EFBIG: "raise the limit of a file's size (ulimit -f), or name a path on another disk",
    errno.EISDIR: "it is a folder; name a file",
    errno.ENOTDIR: "a part of this path is a file; name a folder there, or move the file away",
    errno.EEXIST: "a file is there; name a folder, or move the file away",
    errno.EMFILE: "too many files are open; raise the limit (ulimit -n), or use fewer workers",
    errno.ENFILE: "too many files are open; end other programs, or use fewer workers",
    errno.ENOMEM: "end other programs, or use fewer workers",
    **dict.fromkeys(
        (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN),
        "see whether its disk is sound and still there, and run the same command again",
    ),
}
#: A disk, a quota, or the size that a file may have, is used up.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
#: These are about no path, whatever the command reads and writes.
_OF_NO_PATH = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
#: How the loaders of Linux and macOS say that a library cannot be loaded.
_LIBRARY = re.compile(
    r"(cannot open|load) shared object file|Library not loaded|image not found|undefined symbol"
    r"|version `\S+' not found|invalid ELF header|wrong ELF class|incompatible architecture"
)


def refusal(error: OSError, otherwise: str = "") -> str:
    """One line for what the system refused: the path, the reason and the cure.

    Parameters
    ----------
    error : OSError
    otherwise : str
        The path, for an error that names none: a write to an open file does not.

    Returns
    -------
    str
        "" where it is not known what was refused: the error is none of the system's, nor of a
        file that could not be copied, or neither it nor the caller names a path.
    """
    error = _first(error)
    path = error.filename2 or error.filename or otherwise
    if not error.strerror or (not path and error.errno not in _OF_NO_PATH):
        return ""
    said = f"{error.strerror}; {cure_of(error)}"
    return f"{path}: {said}" if path else said


def cure_of(error: OSError) -> str:
    """What to do about a refusal of the system's."""
    return _CURES.get(error.errno or 0, "look at that path, and run the same command again")


def of_the_system(error: OSError | ImportError, out: str) -> str:
    """One line for an error that ends a command, and is about the system it runs on.

    Parameters
    ----------
    error : OSError or ImportError
    out : str
        What the command writes to; "" where that is its output alone.

    Returns
    -------
    str
        What was refused; or which library of the installation cannot be loaded. "" for any other
        error: what it is about is not known, so that its traceback says more than a guess.
    """
    if isinstance(error, OSError):
        if said := refusal(error):
            return said
        if error.errno in FULL:  # a write to an open file does not name it
            places = [out, "the command's output", f"a temporary file in {gettempdir()}"]
            where = ", or ".join(filter(None, places))
            return f"{error.strerror}, in writing to {where}; {cure_of(error)}"
    words = str(error)
    if getattr(error, "errno", None) is not None or not _LIBRARY.search(words):
        return ""
    return (
        f"{words.splitlines()[0]}; a library of this installation is missing or does not fit, or "
        "there was not the memory for it: end other programs, or remove .venv and run make book "
        "again, or reinstall the package that needs it"
    )


#: How PyTorch says that a computer's or a graphics card's memory ran out, in a RuntimeError. oneDNN
#: has no other words for it than for a layer that it cannot compute, which none of ours is.
_NO_MEMORY = re.compile(
    r"allocate memory|not enough memory|(?P<card>CUDA) out of memory|std::bad_alloc"
    r"|start new thread|could not create a primitive"
)
_ASKED = re.compile(r"ried to allocate ([\d.]+ \w+)|Unable to allocate ([\d.]+ \w+)")


def out_of_memory(kind: str, words: str) -> str:
    """One line for an error that says there is no memory left; "" for any other.

    Parameters
    ----------
    kind : str
        Name of the error's class. NumPy and Python have classes of their own for it, PyTorch none.
    words : str
        What the error says.
    """
    found = _NO_MEMORY.search(words)
    if not (found or kind.endswith(("MemoryError", "OutOfMemoryError"))):
        return ""
    size = _ASKED.search(words)
    asked = f" for another {size[1] or size[2]}" if size else ""
    where = "on the GPU" if found and found["card"] else "on this computer"
    cure = "end other programs, raise a limit that was set (ulimit -v), or take a smaller profile"
    if found and found["card"]:
        cure = "end what else runs on it (nvidia-smi), or take --precision bf16-mixed"
    return f"there is no memory left {where}{asked}; {cure}"


def _first(error: OSError) -> OSError:
    """The first of the refusals that copying a folder collects, each as a text; others as is."""
    if not (isinstance(error, shutil.Error) and error.args and isinstance(error.args[0], list)):
        return error
    source, target, why = error.args[0][0]
    if (found := re.match(r"\[Errno (\d+)\]", str(why))) is None:
        return OSError(None, str(why), target)
    number = int(found[1])
    return OSError(number, os.strerror(number), source if number == errno.EACCES else target)
