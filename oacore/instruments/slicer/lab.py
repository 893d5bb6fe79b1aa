"""The slicer in JupyterLab: images and maps come from the kernel when they are asked for.

The viewer is that of :mod:`.slicer.slicer`; only where its parts come from differs. Bytes travel as
binary buffers of messages and are no state of the widget, so a saved notebook holds none of them.
"""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

import anywidget
import numpy as np
import pandas as pd

from oacore.data.cohort import graded, is_phantom, read_cohort
from oacore.errors import InputError
from oacore.hierarchy import SUPERVISIONS
from oacore.instruments.phantom.cohort import read_truth
from oacore.instruments.saliency.methods import METHODS
from oacore.instruments.saliency.nifti import write_map
from oacore.instruments.slicer.kernel import Knee, Run, compute_map, finished_runs, read_knee
from oacore.instruments.slicer.parts import TOPS, map_codes
from oacore.instruments.slicer.slicer import (
    MAP_FIELDS,
    NAMES,
    first_place,
    map_id,
    opener,
    opening,
    probabilities,
)
from oacore.metrics.predictions import PROB_KL
from oacore.plots.sheets import sagittal
from oacore.plots.viewer import viewer_body, viewer_script, viewer_text

ROOM = 512_000_000
"""Bytes of computed maps that a widget keeps."""

_OWN = files("oacore.instruments.slicer") / "lab_slicer.js"
_PAUSE = 0.1  # s between two reports of progress, as a browser has better to do than read them
_TITLE = "Slices and saliency"
_SYNTHETIC = "A synthetic knee: nothing that it shows is a clinical finding."

Reply = tuple[dict[str, Any], list[memoryview]]


class Dropped(Exception):
    """Nobody waits for this part any more."""


def lab_slicer(
    cohort: str | Path,
    runs: str | Path,
    *,
    profile: str = "laptop",
    seed: int = 0,
    cases: Sequence[int] | None = None,
    folder: str | Path = "saliency",
) -> LabSlicer:
    """The slicer as a widget: every graded case, every finished run, every method.

    Each map is offered with random weights, too: what the same network shows untrained.
    A case is read when it is chosen, and a map computed when it is shown, on a thread: the kernel
    goes on answering. SmoothGrad seeds torch's one generator while its noise is drawn, so a cell
    that draws random numbers meanwhile may not repeat.

    Parameters
    ----------
    cohort : path-like
        See :func:`.cohort.read_cohort`.
    runs : path-like
        Folder of all runs, ``build/<profile>/runs``.
    profile : str
        That the runs were trained by: it says on which grid the networks see a case.
    seed : int
        Of the runs.
    cases : sequence of int, optional
        case_id of those in the menu, in this order, and the first is shown; by default all, the
        test split first, and a test case is shown that is graded rightly (:func:`.slicer.opening`).
    folder : path-like
        Where "Save as NIfTI" writes; made if need be.

    Returns
    -------
    LabSlicer
        A widget; as the last line of a cell it is shown.

    Raises
    ------
    InputError
        If the cohort cannot be read or has no such case, or there is no finished run of this
        seed, or one of another profile or cohort.
    """
    table = graded(read_cohort(cohort)).sort_values(["split", "case_id"])  # test before train
    tested = int((table["split"] == "test").sum())
    found = finished_runs(runs, profile, seed)
    for run in found:
        if list(run.predictions["kl"].reindex(table["case_id"])) != list(table["kl"]):
            raise InputError(f"{run.folder}: was not trained on {cohort}; give its own cohort")
    if cases is not None:
        if unknown := [case for case in cases if case not in set(table["case_id"])]:
            raise InputError(f"{cohort}: has no graded case {unknown[0]}; choose another")
        table, tested = table.set_index("case_id", drop=False).loc[list(cases)], 1
    if table.empty:
        raise InputError(f"{cohort}: no graded case is left to show")
    truth = read_truth(cohort).set_index("case_id")["kl_true"] if is_phantom(cohort) else None
    return LabSlicer(table.to_dict("records"), truth, found, Path(folder), tested)


class LabSlicer(anywidget.AnyWidget):
    """The widget that :func:`lab_slicer` returns; it answers the messages of lab_slicer.js."""

    _esm = (
        viewer_script()
        + f"const BODY = {json.dumps(viewer_body(_TITLE))};\n"
        + _OWN.read_text(encoding="utf-8")
    )
    _css = viewer_text("viewer.css")

    def __init__(
        self,
        cases: list[dict[Any, Any]],
        truth: pd.Series | None,
        runs: list[Run],
        folder: Path,
        tested: int,
    ) -> None:
        super().__init__()
        self._cases, self._truth, self._folder = cases, truth, folder
        self._offered = {
            map_id(run.model, run.supervision, head, method, weights): (run, head, method, weights)
            for run in runs
            for head in SUPERVISIONS[run.supervision]
            for method in METHODS
            for weights in ("trained", "random")
        }
        self._runs, self._tested = runs, tested
        self._answers = [_answers(run, [case["case_id"] for case in cases]) for run in runs]
        self._maps: OrderedDict[tuple[int, str], np.ndarray] = OrderedDict()
        self._knee: Callable[[int], Knee] = lru_cache(2)(
            lambda place: read_knee(pd.Series(cases[place]), truth is not None)
        )
        self._wanted: set[str] = set()  # ids of the requests that somebody waits for
        # Maps have a thread of their own, so that a case opens while one is computed.
        self._queues: dict[str, SimpleQueue[dict[str, Any] | None]] = {}
        for name in ("cases", "maps"):
            self._queues[name] = SimpleQueue()
            Thread(target=self._work, args=(self._queues[name],), daemon=True).start()
        self.on_msg(self._asked)

    def close(self) -> None:
        """Take the widget away and end its threads."""
        self._wanted.clear()
        for queue in self._queues.values():
            queue.put(None)
        super().close()

    def _asked(self, _widget: Any, content: dict[str, Any], _buffers: Any) -> None:
        """Queue a request of the browser, or drop an earlier one."""
        if content["ask"] == "drop":
            self._wanted.discard(content["of"])
            return
        self._wanted.add(content["id"])
        slow = content["ask"] in ("map", "save")
        self._queues["maps" if slow else "cases"].put(content)

    def _work(self, queue: SimpleQueue[dict[str, Any] | None]) -> None:
        while (content := queue.get()) is not None:
            self._answer(content)

    def _answer(self, content: dict[str, Any]) -> None:
        """Send what was asked for, or one sentence that says why not."""
        answers = {
            "start": self._start, "case": self._case, "picture": self._picture,
            "map": self._map, "save": self._save,
        }  # fmt: skip
        number = content["id"]
        try:
            self._still_wanted(number)
            answer, buffers = answers[content["ask"]](content)
        except Dropped:
            return
        except InputError as error:
            answer, buffers = {"error": str(error)}, []
        except Exception as error:  # shown in the widget, and with its traceback in the log
            self.log.exception("the slicer's kernel part failed")
            answer = {
                "error": f"The kernel failed: {type(error).__name__}: {error}".splitlines()[0]
            }
            buffers = []
        self._wanted.discard(number)
        self.send({"id": number, **answer}, buffers)

    def _still_wanted(self, number: str) -> None:
        if number not in self._wanted:
            raise Dropped

    def _start(self, content: dict[str, Any]) -> Reply:
        """Menus, and the case that is shown first."""
        named = [self._name(place) for place in range(len(self._cases))]
        model = " ".join(opener(self._maps_of(0)))
        grades = [
            (self._drawn(case), int(case["kl"]), GRADES.get(one["predicted"][model]))
            for case, one in zip(self._cases[: self._tested], named, strict=False)
        ]
        first = opening(grades)
        named[first] = self._describe(first)
        data = {"cases": named, "opens": first, "tops": TOPS, "names": NAMES, "alt": _TITLE}
        return {"data": data}, []

    def _case(self, content: dict[str, Any]) -> Reply:
        return {"case": self._describe(content["place"])}, []

    def _name(self, place: int) -> dict[str, Any]:
        """What the menu needs of a case."""
        case = self._cases[place]
        named = zip(self._runs, self._answers, strict=True)
        return {
            "label": f"Case {case['case_id']} ({case['split']})",
            "slug": f"case-{case['case_id']}",
            "kl": int(case["kl"]),
            "predicted": {f"{run.model} {run.supervision}": said[place] for run, said in named},
        }

    def _drawn(self, case: dict[Any, Any]) -> int | None:
        return None if self._truth is None else int(self._truth[case["case_id"]])

    def _predictions(self, case: dict[Any, Any]) -> list[dict[str, Any]]:
        found = []
        for run in self._runs:
            row = run.predictions.loc[case["case_id"]]
            kl = None if row[PROB_KL].isna().any() else [float(p) for p in row[PROB_KL]]
            values = probabilities({"prob_oa": row["prob_oa"], "prob_kl": kl})
            found.append({"backbone": run.model, "supervision": run.supervision, **values})
        return found

    def _maps_of(self, place: int) -> list[dict[str, Any]]:
        """All maps of a case that can be computed."""
        maps = []
        for name, (run, *rest) in self._offered.items():
            grid = list(run.recipe.grid)
            key = zip(MAP_FIELDS, (run.model, run.supervision, *rest), strict=True)
            maps.append(
                {
                    "id": name, "file": f"{place}/{name}", "bytes": int(np.prod(grid)), **dict(key),
                    "grid": grid, "step": 1, "box": [[0, side] for side in grid],
                }
            )  # fmt: skip
        return maps

    def _describe(self, place: int) -> dict[str, Any]:
        """A case as `pack_case` describes it, with all maps that can be computed."""
        case, knee = self._cases[place], self._knee(place)
        shape = list(knee.grey.shape)
        box = [[0, side] for side in shape]
        size = knee.grey.size
        return {
            **self._name(place),
            "shape": shape,
            "spacing": knee.spacing,
            "box": box,
            "start": first_place(knee.bits, box),
            "image": {"file": f"{place}/image", "bytes": size},
            "masks": knee.masks,
            "outline": {"file": f"{place}/outline", "bytes": size} if knee.masks else None,
            "maps": self._maps_of(place),
            "predictions": self._predictions(case),
            "kl_true": self._drawn(case),
            "note": "" if self._truth is None else _SYNTHETIC,
        }

    def _picture(self, content: dict[str, Any]) -> Reply:
        """The image or the outlines of a case."""
        place, _, part = content["file"].partition("/")
        knee = self._knee(int(place))
        return _volume(knee.grey if part == "image" else knee.bits, [])

    def _map(self, content: dict[str, Any]) -> Reply:
        values = self._computed(content["file"], content["id"])
        box = [[0, side] for side in values.shape]
        codes, tops, _ = map_codes(values, box, values.shape, 1)
        return _volume(codes, tops)

    def _computed(self, file: str, number: str) -> np.ndarray:
        """A map from memory, or computed now."""
        first, _, name = file.partition("/")
        place, said = int(first), 0.0
        if (place, name) not in self._maps:
            run, head, method, weights = self._offered[name]

            def report(done: int, of: int) -> None:
                nonlocal said
                self._still_wanted(number)
                if time.monotonic() - said > _PAUSE:
                    said = time.monotonic()
                    self.send({"id": number, "done": done, "of": of})

            image = self._cases[place]["image"]
            values = compute_map(run, image, head, method, report, weights)
            self._maps[place, name] = values
        self._maps.move_to_end((place, name))
        while sum(one.nbytes for one in self._maps.values()) > ROOM and len(self._maps) > 1:
            self._maps.popitem(last=False)
        return self._maps[place, name]

    def _save(self, content: dict[str, Any]) -> Reply:
        """Write the maps that are shown over their image, in its own space."""
        self._folder.mkdir(parents=True, exist_ok=True)
        written = []
        for file in content["files"]:
            values = self._computed(file, content["id"])
            place, _, name = file.partition("/")
            case, seed = self._cases[int(place)], self._runs[0].folder.name
            path = self._folder / f"case-{case['case_id']}-{name}-{seed}.nii.gz"
            written.append(str(write_map(values, case["image"], path).resolve()))
        return {"saved": f"Saved {' and '.join(written)}"}, []


#: How a grade is written, and what it is.
GRADES = {f"KL {grade}": grade for grade in range(5)}


def _answers(run: Run, cases: Sequence[int]) -> list[str]:
    """What a run answers of each case, for the menu: its grade, or OA or not without a KL head."""
    rows = run.predictions.loc[list(cases)]
    if rows[PROB_KL].isna().any(axis=None):
        return ["OA" if p > 0.5 else "no OA" for p in rows["prob_oa"]]
    return [f"KL {grade}" for grade in rows[PROB_KL].to_numpy().argmax(axis=1)]


def _volume(array: np.ndarray, tops: list[int]) -> Reply:
    """Bytes in the order in which the viewer keeps them."""
    return {"n": list(array.shape), "tops": tops}, [np.ascontiguousarray(sagittal(array)).data]
