"""Render the executed notebooks and the pages of ``book/`` to HTML that works from disk.

Jupyter Book builds from a copy in which the executed notebooks lie where their sources lie, so
that launch buttons point at the sources. What a reader would trip over stops the build: a
notebook that failed, a warning, a page that is missing, a path of this machine in a page.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Any

import nbformat
import yaml

from oacore.errors import InputError
from oacore.seals import files_below, seal
from workflow.about import about_this_build
from workflow.api import write_api
from workflow.cards import cards
from workflow.check_build import HTML_SEAL, require_undamaged
from workflow.excerpts import write_excerpts
from workflow.graph import ROOT
from workflow.jobs import in_words
from workflow.report import report
from workflow.reporting import reporting
from workflow.scratch import PREFIX
from workflow.slim import slim
from workflow.theme import repair

#: Pages that the build writes.
PAGES = {
    "about-this-build": about_this_build,
    "report": report,
    "reporting-checklists": reporting,
    "model-card-and-datasheet": cards,
}
#: Kinds of traces that plotly's bundle in book/_static draws. The whole library has three times its
#: size; another kind would be drawn as lines, without a word.
TRACES = {
    "bar", "box", "contour", "heatmap", "histogram", "histogram2d", "histogram2dcontour", "image",
    "pie", "scatter", "scatterternary", "violin",
}  # fmt: skip
MATHJAX_PARTS = ("tex-mml-chtml.js", "output/chtml/fonts", "input/tex/extensions")


def build_book(build: Path, profile: str) -> Path:
    """Render the book of one build.

    Parameters
    ----------
    build : Path
        Folder of the build, with ``notebooks/`` executed; gets ``html/``.
    profile : str

    Returns
    -------
    Path
        ``html/index.html``.

    Raises
    ------
    InputError
        If something that the book shows is not what was written, a notebook failed, Sphinx warns,
        or a finished page is not fit to be shown.
    OSError
        If the system refuses to write something, Sphinx's own files among them.
    """
    require_undamaged(build)
    site = build / "site"
    shutil.rmtree(site, ignore_errors=True)
    notebooks = stage(build, site)
    chapters_and_rooms(site)
    for name, write in PAGES.items():
        page = write(build, profile, notebooks)
        (site / f"book/{name}.md").write_text(page, encoding="utf-8")

    log = build / "book.log"
    jupyter_book = str(Path(sys.executable).with_name("jupyter-book"))
    command = [jupyter_book, "build", str(site), "-n", "-W", "--keep-going"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}  # where _config.yml's extension lies
    with open(log, "w", encoding="utf-8") as stdout:
        done = subprocess.run(
            command, stdout=stdout, stderr=subprocess.PIPE, env=environment, check=False
        )
    if done.returncode:
        said = done.stderr.decode(errors="replace")
        for number in (errno.ENOSPC, errno.EDQUOT):  # of which Sphinx makes a traceback
            if os.strerror(number) in said:
                raise OSError(number, os.strerror(number), str(site))
        print(said, file=sys.stderr)
        raise InputError(f"the book has warnings, see above; all of Sphinx's words are in {log}")

    html = site / "_build/html"
    repair(html)
    slim(html)
    write_excerpts(html)
    # The page that leads to the first one names no icon, so a browser asks the server for its own.
    first = html / "index.html"
    icon = '<link rel="icon" href="_static/favicon.svg">'
    first.write_text(f"{icon}\n{first.read_text(encoding='utf-8')}", encoding="utf-8")
    pages = contents(site / "_toc.yml")
    check_pages(html, pages)
    seconds = {name: nb.metadata.papermill.duration for name, nb in notebooks.items()}
    record = {"pages": pages, "seconds": seconds}
    (html / "build.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
    swap(html, build / "html")
    seal(build / HTML_SEAL, files_below(build / "html"))
    return build / "html/index.html"


def stage(build: Path, site: Path) -> dict[str, Any]:
    """Lay out what Jupyter Book reads; return the executed notebooks by their names."""
    shutil.copytree(ROOT / "book", site / "book")
    shutil.copy(ROOT / "_toc.yml", site)
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    config |= {key: config.get(key, {}) | value for key, value in repository().items()}
    (site / "_config.yml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")

    static = site / "book/_static"
    static.mkdir(exist_ok=True)
    for part in MATHJAX_PARTS:
        source = Path(str(files("mathjax"))) / "static/mathjax/es5" / part
        target = static / "mathjax" / part
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)

    (site / "notebooks").mkdir()
    notebooks = {}
    for name in (page for page in contents(site / "_toc.yml") if page.startswith("notebooks/")):
        path = build / "notebooks" / f"{Path(name).name}.ipynb"
        notebook = nbformat.read(path, as_version=4)
        if notebook.metadata.get("papermill", {}).get("exception"):
            raise InputError(f"{path}: did not run to its end; run make book again")
        require_drawable(path, notebook)
        notebooks[name] = notebook
        shutil.copy(path, site / f"{name}.ipynb")
        public = build / "results" / Path(name).name / "public"
        if public.is_dir():  # files that the chapter wants beside its page
            shutil.copytree(public, static / Path(name).name)
    return notebooks


def require_drawable(path: Path, notebook: Any) -> None:
    """Refuse a notebook with a plot that the book's plotly cannot draw."""
    for output in (one for cell in notebook.cells for one in cell.get("outputs", ())):
        figure = output.get("data", {}).get("application/vnd.plotly.v1+json", {"data": []})
        for kind in {trace.get("type", "scatter") for trace in figure["data"]} - TRACES:
            raise InputError(
                f"{path}: a plot has a trace of type {kind!r}, and the book's plotly draws "
                f"{', '.join(sorted(TRACES))}; draw it with one of these"
            )


def chapters_and_rooms(site: Path) -> None:
    """Write the package's pages, and name them in the table of contents of the copy."""
    toc = site / "_toc.yml"
    pages = write_api(site, [page for page in contents(toc) if page.startswith("notebooks/")])
    table = yaml.safe_load(toc.read_text(encoding="utf-8"))
    for page in (page for part in table["parts"] for page in part["chapters"]):
        if page["file"] == "book/package":
            page["sections"] = [{"file": room} for room in pages]
    toc.write_text(yaml.safe_dump(table, sort_keys=False), encoding="utf-8")


def contents(toc: Path) -> list[str]:
    """Pages of a table of contents in their order, without endings."""
    table = yaml.safe_load(toc.read_text(encoding="utf-8"))
    pages = [table["root"]]
    for page in (page for part in table["parts"] for page in part["chapters"]):
        pages += [page["file"], *(section["file"] for section in page.get("sections", ()))]
    return pages


def github_url(remote: str) -> str | None:
    """Address of a GitHub repository's page from that of its remote; None for other remotes."""
    match = re.fullmatch(
        r"(?:https://(?:[^@/]+@)?|ssh://git@|git@)github\.com[/:]([\w.-]+/[\w.-]+?)(?:\.git)?/?",
        remote.strip(),
    )
    return f"https://github.com/{match[1]}" if match else None


def repository() -> dict[str, dict[str, Any]]:
    """Configuration of the repository and launch buttons; empty without a GitHub remote."""
    try:
        command = ["git", "-C", str(ROOT), "remote", "get-url", "origin"]
        remote = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:  # no git, hence no remote
        return {}
    url = github_url(remote)
    if url is None:
        return {}
    return {
        "repository": {"url": url, "branch": "main"},
        "html": {"use_repository_button": True, "use_issues_button": True},
        "launch_buttons": {
            "notebook_interface": "jupyterlab",
            "binderhub_url": "https://mybinder.org",
            "colab_url": "https://colab.research.google.com",
        },
    }


def machine_paths() -> re.Pattern[str]:
    """Make a pattern for paths of this machine."""
    places = {ROOT, Path.home(), Path(sys.prefix), Path(sys.base_prefix)}
    # A page may well name /usr/bin.
    places -= {Path("/"), Path("/usr"), Path("/usr/local")}
    words = [rf"{re.escape(str(place))}\b" for place in sorted(places)]
    # Where a kernel keeps what it runs; its own folder is in /tmp where that path is too long.
    words.append(re.escape(tempfile.gettempdir()) + rf"/(?:ipykernel_|tmp\w|{PREFIX})")
    words.append(f"/tmp/{PREFIX}")
    return re.compile(rf"(?<![\w.])(?:{'|'.join(words)})")


def check_pages(html: Path, pages: list[str]) -> None:
    """Refuse a site that lacks a page, or whose pages name a path of this machine.

    Raises
    ------
    InputError
        Naming the first such page.
    """
    for page in ("index", *pages):
        path = html / f"{page}.html"
        if not path.is_file():
            raise InputError(f"the built book lacks {page}.html, which _toc.yml names")
        if page != "index" and "<h1>" not in path.read_text(encoding="utf-8"):
            raise InputError(f"{page}.html has no title; start its source with one (# Title)")
    path_of_machine = machine_paths()
    for path in sorted([*html.rglob("*.html"), *(html / "_sources").rglob("*.*")]):
        found = path_of_machine.search(path.read_text(encoding="utf-8"))
        if found:
            around = found.string[max(0, found.start() - 60) : found.end() + 60]
            raise InputError(
                f"{path.relative_to(html)} names a path of this machine: {' '.join(around.split())}"
            )


def swap(new: Path, place: Path) -> None:
    """Put a folder in another's place, so that no half-written book is ever seen there."""
    old = place.with_name(f"{place.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if place.exists():
        os.replace(place, old)
    os.replace(new, place)
    shutil.rmtree(old, ignore_errors=True)


def main() -> int:
    """Command line: the build's folder, and the profile."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("build", type=Path)
    parser.add_argument("--profile", required=True)
    words = parser.parse_args()

    def build() -> None:
        build_book(words.build, words.profile)

    return in_words(build, str(words.build))


if __name__ == "__main__":
    sys.exit(main())
