"""`make serve`: show a built book on this machine only."""

from __future__ import annotations

import argparse
import errno
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

from oacore.errors import InputError
from oacore.profile import load_profile
from workflow.graph import ROOT, build_folder


def listen(html: str, port: str) -> ThreadingHTTPServer:
    """Take a port of this machine for a book.

    Parameters
    ----------
    html : str
        Folder of the pages, below the project.
    port : str
        As typed; "0" takes any free one.

    Raises
    ------
    InputError
        If there is no book, or the port is none, taken, or not ours to take.
    """
    if not (ROOT / html / "index.html").is_file():
        raise InputError(f"there is no book in {html} yet: make book with the same words")
    if not (port.isdecimal() and int(port) < 2**16):
        raise InputError(f"PORT={port}: give a number from 0 to 65535")
    handler = partial(SimpleHTTPRequestHandler, directory=str(ROOT / html))
    try:
        return ThreadingHTTPServer(("127.0.0.1", int(port)), handler)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        cure = "another program has it" if taken else "use one above 1023"
        raise InputError(
            f"PORT={port}: {error.strerror} ({cure}); choose another, as PORT=8001"
        ) from error


def main() -> int:
    """Command line of ``make serve``."""
    parser = argparse.ArgumentParser(description=__doc__)
    for word in ("profile", "cohort", "port"):
        parser.add_argument(f"--{word}", default="")
    words = parser.parse_args()
    try:
        html = f"{build_folder(load_profile(words.profile).name, words.cohort)}/html"
        with listen(html, words.port) as server:
            print(f"The book is at http://127.0.0.1:{server.server_port}/ (Ctrl-C ends this)")
            sys.stdout.flush()
            server.serve_forever()
    except InputError as error:
        print(f"make serve: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
