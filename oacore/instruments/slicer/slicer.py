"""Slices and saliency maps for a page without a kernel: small files and the element they feed.

`pack_case` writes one case into a folder that is published beside the pages. Each part is a
script that hands over its bytes, because a page opened from disk may run a script that lies
beside it but may neither fetch a file nor read the pixels of a picture. The image and every map
are stored once, as a sheet of sagittal slices; the viewer keeps the decoded volume and cuts the
other two planes out of it, so no plane is stored three times. `slicer_page` gives the element.
"""

from __future__ import annotations

import base64
import html
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from oacore.errors import InputError
from oacore.files import write
from oacore.instruments.slicer.parts import TOPS, name_of, pack_maps, part_of
from oacore.names import BACKBONE_NAMES, SUPERVISION_NAMES
from oacore.plots.page import Html
from oacore.plots.sheets import check_spacing, encoded, grey_levels, mask_bits, unpack
from oacore.plots.viewer import viewer_element
from oacore.results import by_hand

CASE_LIMIT = 2_000_000
"""Bytes that all files of one case may take together."""
IMAGE_LIMIT = 1_100_000  # bytes of the image's part: the rest is for masks and maps
PAGE_LIMIT = 1_000_000  # bytes of the element, which a page loads before it is touched

_QUALITIES = (90, 80, 70, 60, 50, 40, 30, 20)  # JPEG's, the first at which the image fits
_MARGIN = 4  # voxels around the knee that the crop leaves

NAMES = {
    **BACKBONE_NAMES,
    **SUPERVISION_NAMES,
    "oa": "OA head",
    "kl": "KL head",
    "smoothgrad": "SmoothGrad",
    "grad-cam": "Grad-CAM",
    "trained": "trained weights",
    "random": "random weights",
}
"""What menus and sentences call a model, a head, a method or a network's weights."""

MapKey = tuple[str, str, str, str]
"""Of a map: backbone, supervision, head, method."""


def pack_case(
    folder: str | Path,
    label: str,
    image: np.ndarray,
    spacing: Sequence[float],
    *,
    masks: Mapping[str, np.ndarray] | None = None,
    maps: Mapping[MapKey, np.ndarray] | None = None,
    untrained: Mapping[MapKey, np.ndarray] | None = None,
    predictions: Mapping[tuple[str, str], Mapping[str, Any]] | None = None,
    kl: int | None = None,
    kl_true: int | None = None,
    note: str = "",
    window: tuple[float, float] = (1.0, 99.7),
) -> Path:
    """Write one case for the slicer: its image, outlines and saliency maps, small.

    Nothing but what is given here reaches the files: no path, no header, no table. The names of
    the parts are hashes of their content, so the same case gives the same bytes and names.

    Parameters
    ----------
    folder : path-like
        Where the files go; made if need be. It is published with the pages.
    label : str
        The public name of the case, e.g. "Case 3". Never an identifier of a cohort: runs of five
        or more digits and anything like a path are refused.
    image : ndarray (X, Y, Z)
        Intensities, canonical orientation: the axes run to the right, anterior and superior.
    spacing : three floats
        Voxel size in mm.
    masks : mapping of a name to a mask (X, Y, Z), optional
        At most eight; the viewer outlines them. The first is the cartilage.
    maps : mapping of (backbone, supervision, head, method) to a map, optional
        Saliency, scaled to [0, 1] over the volume, on any grid that spans the image's field of
        view. All maps are averaged over the cells that make the case fit; see
        `oacore.instruments.slicer.parts`.
    untrained : mapping, optional
        The same, of networks with random weights.
    predictions : mapping of (backbone, supervision) to a mapping, optional
        `prob_oa` (0 to 1) and `prob_kl` (five probabilities), each or None where a model has none.
    kl, kl_true : int, optional
        The label, and on the phantom the grade that was drawn.
    note : str
        A sentence more about the case, e.g. what the phantom's lesions are.
    window : two floats
        Percentiles of the intensities stored black and white.

    Returns
    -------
    Path
        The case's description, a JSON file, for `slicer_page`. It is written last, so where it
        lies the case is whole.

    Raises
    ------
    InputError
        If an array, a probability or a name cannot be used, or the case cannot be made to fit
        `CASE_LIMIT`.
    """
    folder, masks = Path(folder), masks or {}
    both = {"trained": maps or {}, "random": untrained or {}}
    every: dict[tuple[str, ...], np.ndarray] = {
        (*key, weights): m for weights, given in both.items() for key, m in given.items()
    }
    slug = slug_of(label)
    if not slug or re.search(r"\d{5,}|[/\\]", label):
        raise InputError(
            f"pack_case: label {label!r} is empty or looks like an identifier or a path: give a "
            "public name such as 'Case 3'."
        )
    check_spacing(spacing)
    grey = grey_levels(image, window)  # uint8 (X, Y, Z)
    bits = mask_bits(masks, grey.shape)  # uint8 (X, Y, Z), a bit for each mask
    box = _knee_box(grey, bits)
    slices = tuple(slice(low, high) for low, high in box)
    for quality in _QUALITIES:
        picture = part_of(grey[slices], quality)
        if len(picture) <= IMAGE_LIMIT:
            break
    else:
        raise InputError(
            f"pack_case: the image of {label!r} takes {len(picture):,} bytes, the limit is "
            f"{IMAGE_LIMIT:,}: give it on a coarser grid (oacore.data.volumes.resize)."
        )
    outline = part_of(bits[slices], 0) if masks else b""
    left = CASE_LIMIT - len(picture) - len(outline) - 40_000  # the JSON is smaller than this
    checked = {key: _checked(key, m) for key, m in every.items()}
    stored = pack_maps(checked, box, grey.shape, left)

    parts = [picture, *([outline] if masks else []), *(part for part, _ in stored.values())]
    case: dict[str, Any] = {
        "label": label,
        "slug": slug,
        "shape": list(grey.shape),
        "spacing": [float(s) for s in spacing],
        "box": box,
        "start": first_place(bits, box),
        "image": {"file": name_of(picture), "bytes": len(picture)},
        "masks": list(masks),
        "outline": {"file": name_of(outline), "bytes": len(outline)} if masks else None,
        "maps": [
            {
                "id": map_id(*key),
                **dict(zip(MAP_FIELDS, key, strict=True)),
                **{"file": name_of(part), "bytes": len(part), **where},
            }
            for key, (part, where) in stored.items()
        ],
        "predictions": [
            {"backbone": backbone, "supervision": supervision, **probabilities(values)}
            for (backbone, supervision), values in (predictions or {}).items()
        ],
        "kl": _grade(kl),
        "kl_true": _grade(kl_true),
        "note": note,
        "bytes": sum(map(len, parts)),
    }
    if len({one["id"] for one in case["maps"]}) < len(every):
        raise InputError(f"pack_case: two maps of {label!r} have the same name in a link: rename.")
    folder.mkdir(parents=True, exist_ok=True)
    for part in parts:
        write(folder / name_of(part), part)
    description = folder / f"{slug}.json"
    write(description, json.dumps(case, indent=1, sort_keys=True))
    return description


def slicer_page(
    cases: Sequence[str | Path], address: str, *, title: str = "Slices and saliency", alt: str = ""
) -> Html:
    """The slicer as an element of a page; it shows cases that `pack_case` wrote.

    The element holds styles, script, descriptions and one small preview. A case is loaded when
    the reader asks for it, a map when it is shown. A page holds one slicer, which answers to
    ``#slicer=case-3,s42,c60,a55,resnet3d-dual-oa-gradient`` in the page's address.

    Parameters
    ----------
    cases : sequence of path-like
        Descriptions that `pack_case` returned, in the order of the menu; :func:`opening` says
        which is shown first.
    address : str
        From the page to the folder with the files, e.g. "../_static/slicer".
    title, alt : str
        Heading, and what is seen, for readers who cannot see it.

    Raises
    ------
    InputError
        If there is no case, a file of one is missing, two have one name, the address leads to
        another host, or the element is larger than `PAGE_LIMIT`.
    """
    if not cases:
        raise InputError("slicer_page: no case is given: pack one with pack_case.")
    if re.match(r"[a-z][a-z0-9+.-]*:|/", address, re.I):
        raise InputError(f"slicer_page: address {address!r} is not relative to the page.")
    described = []
    for path in map(Path, cases):
        if not path.is_file():
            raise InputError(f"slicer_page: there is no {path.name}: pack the case again.")
        case = json.loads(path.read_text(encoding="utf-8"))
        parts = [case["image"], *([case["outline"]] if case["outline"] else []), *case["maps"]]
        if gone := [part["file"] for part in parts if not (path.parent / part["file"]).is_file()]:
            raise InputError(f"slicer_page: {case['label']} lacks {gone[0]}: pack the case again.")
        described.append(case)
    if len({case["slug"] for case in described}) < len(described):
        raise InputError("slicer_page: two cases have one label: links could not tell them apart.")
    first = opening([_graded(case) for case in described])
    data = {
        "address": address.rstrip("/") + "/",
        "cases": described,
        "opens": first,
        "alt": alt or title,
        "tops": TOPS,
        "names": NAMES,
        "preview": _preview(Path(cases[first]).parent, described[first]),
    }
    page = viewer_element(data, title, place="oa-slicer")
    if len(page.encode()) > PAGE_LIMIT:
        raise InputError(
            f"slicer_page: the element takes {len(page.encode()):,} bytes, the limit is "
            f"{PAGE_LIMIT:,}: show fewer cases or fewer maps on one page."
        )
    return Html(page, alt or title)


def write_slicer(
    path: str | Path, cases: Sequence[str | Path], above: Html, *, title: str, alt: str = ""
) -> Path:
    """The slicer as a page of its own, to be sent as a link: all it needs lies in its folder.

    Parameters
    ----------
    path : path-like
        The page, beside the files that :func:`pack_case` wrote.
    cases, title, alt
        As in :func:`slicer_page`.
    above : Html
        What stands above it: on what evidence it rests.
    """
    body = slicer_page(cases, ".", title=title, alt=alt).html
    page = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<link rel="icon" href="data:,">\n'  # else a browser asks the server for one
        f'<meta name="color-scheme" content="light dark">\n<title>{html.escape(title)}</title>\n'
        "<style>body{max-width:1200px;margin:0 auto;padding:8px;font-family:system-ui,sans-serif}"
        f"</style>\n</head>\n<body>\n<main>\n{above.html}\n{body}</main>\n</body>\n</html>\n"
    )
    path = Path(path)
    write(path, page)
    return path


def in_chapter(
    folder: str | Path,
    address: str,
    cases: Sequence[str | Path],
    above: Html,
    *,
    title: str,
    alt: str = "",
) -> Html:
    """The slicer of a chapter: on its page, and beside it as a page of its own.

    In a notebook that a person runs no server has the parts where a page would look for them. There
    a sentence says so, and where the page of its own lies.

    Parameters
    ----------
    folder, address
        Where the files are, and what the chapter's page calls it (:func:`.results.beside_page`).
    cases, above, title, alt
        As in :func:`write_slicer`.
    """
    alone = write_slicer(Path(folder) / "index.html", cases, above, title=title, alt=alt)
    if by_hand():
        said = (
            "This slicer is made for the pages of the book: a notebook has no address for its "
            f"files. A browser opens it from disk: {alone}. The next cell has one with a kernel "
            "behind it."
        )
        return Html(f"<p>{html.escape(said)}</p>", said)
    element = slicer_page(cases, address, title=title, alt=alt)
    link = f'<p><a href="{address}/index.html">The slicer in a window of its own</a></p>'
    return Html(element.html + link, element.alt)


def opening(knees: Sequence[tuple[int | None, int | None, int | None]]) -> int:
    """Which knee to show first: one that the model grades rightly, of the highest grade.

    Right is the grade as drawn where it is known, else as read; where both are, a knee on which
    they agree goes before. If the model is right nowhere, it is the knee on which it is least
    wrong.

    Parameters
    ----------
    knees : sequence of three grades each
        As drawn, as read, as predicted; None where there is none.

    Returns
    -------
    int
        Its place; 0 where no knee has a grade and a prediction.
    """
    ranks = {}
    for place, (drawn, read, said) in enumerate(knees):
        grades = [grade for grade in (drawn, read) if grade is not None]
        if grades and said is not None:
            off = [abs(said - grade) for grade in grades]
            ranks[place] = (off[0], sum(off), -grades[0])
    return min(ranks, key=lambda place: ranks[place], default=0)


def opener(maps: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """Whose map is shown first: backbone and supervision, Dual where there is one."""
    offered = [one for one in maps if one["weights"] == "trained"]
    first = [one for one in offered if one["supervision"] == "dual"] + offered
    return (first[0]["backbone"], first[0]["supervision"]) if first else ("", "")


def _graded(case: Mapping[str, Any]) -> tuple[int | None, int | None, int | None]:
    """A described case's grades for :func:`opening`."""
    model, said = opener(case["maps"]), None
    for one in case["predictions"]:
        if (one["backbone"], one["supervision"]) == model and one["prob_kl"] is not None:
            said = int(np.argmax(one["prob_kl"]))
    return case["kl_true"], case["kl"], said


def slug_of(text: str) -> str:
    """A name as it stands in a link or a file name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


MAP_FIELDS = ("backbone", "supervision", "head", "method", "weights")
"""What the viewer's menus choose a map by."""


def map_id(backbone: str, supervision: str, head: str, method: str, weights: str) -> str:
    """What a link calls a map."""
    named = (backbone, supervision, head, method)
    return slug_of("-".join(named if weights == "trained" else (*named, weights)))


def _knee_box(grey: np.ndarray, bits: np.ndarray) -> list[list[int]]:
    """First and one-past-last voxel along each axis of what is not air, with a margin."""
    tissue = grey > 0.15 * np.percentile(grey, 99.5)
    box = []
    for axis, n in enumerate(grey.shape):
        across = tuple({0, 1, 2} - {axis})
        seen = (tissue.mean(across) > 0.02) | (bits > 0).any(across)
        at = np.flatnonzero(seen) if seen.any() else np.array([0, n - 1])
        box.append([max(int(at[0]) - _MARGIN, 0), min(int(at[-1]) + 1 + _MARGIN, n)])
    return box


def first_place(bits: np.ndarray, box: list[list[int]]) -> list[int]:
    """Choose where to open: the voxel of the first mask's largest sagittal slice, in its middle."""
    first = bits & 1
    if not first.any():
        return [(low + high - 1) // 2 for low, high in box]
    x = int(np.argmax(first.sum((1, 2))))
    y, z = (int(np.median(at)) for at in np.nonzero(first[x]))
    return [x, y, z]


def _checked(key: tuple[str, ...], values: np.ndarray) -> np.ndarray:
    values = np.asarray(values)
    name = " ".join(key)
    if len(key) != len(MAP_FIELDS) or not all(key):
        raise InputError(f"pack_case: map {key[:-1]} is not (backbone, supervision, head, method).")
    if values.ndim != 3 or values.size == 0:
        raise InputError(f"pack_case: map {name} has shape {values.shape}: give one 3D volume.")
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
        raise InputError(
            f"pack_case: map {name} has values outside 0 to 1: saliency.methods.scaled scales it."
        )
    return values.astype(np.float32)


def probabilities(values: Mapping[str, Any]) -> dict[str, Any]:
    """A prediction as it is stored: `prob_oa` and `prob_kl`, checked and rounded."""
    oa, kl = values.get("prob_oa"), values.get("prob_kl")
    numbers = [*([] if oa is None else [oa]), *([] if kl is None else kl)]
    wrong = kl is not None and (len(kl) != 5 or abs(sum(kl) - 1) > 1e-3)
    if wrong or not numbers or not all(0 <= p <= 1 + 1e-6 for p in numbers):
        raise InputError(
            f"prediction {dict(values)} is not prob_oa (0 to 1) and prob_kl (five "
            "probabilities with sum 1), or one of them."
        )
    return {
        "prob_oa": None if oa is None else round(float(oa), 4),
        "prob_kl": None if kl is None else [round(float(p), 4) for p in kl],
    }


def _grade(value: int | None) -> int | None:
    if value is not None and value not in range(5):
        raise InputError(f"pack_case: grade {value!r} is not 0 to 4; None where there is none.")
    return None if value is None else int(value)


def _preview(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    """The first case's three slices at the start, small: what is seen before a touch."""
    text = (folder / case["image"]["file"]).read_text(encoding="utf-8")
    body = json.loads(text[text.index("{") : text.rindex("}") + 1])
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(body["data"]))))
    volume = unpack(sheet, body["shape"])
    x, y, z = (at - low for at, (low, _) in zip(case["start"], case["box"], strict=True))
    slices = volume[x, ::-1].T, volume[::-1, y].T, volume[::-1, :, z].T
    pictures = (encoded(one[::-1], 50) for one in slices)
    uris = [f"data:{kind};base64,{data}" for data, kind in pictures]
    return {"slug": case["slug"], "planes": uris}
