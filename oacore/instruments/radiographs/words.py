"""The words of a table of radiographs: splits, sides, grades and landmarks."""

from __future__ import annotations

from oacore.instruments.coherence.patterns import GRADES

SPLITS = ("train", "val", "test")
SIDES = {"r": "right", "right": "right", "l": "left", "left": "left"}
#: The six grades beside KL.
OARSI = GRADES[1:]
#: Nine points of the tibial plateau, seven of the femoral condyles; the first of each is lateral.
POINTS = (*(f"t{i}" for i in range(9)), *(f"f{i}" for i in range(7)))
