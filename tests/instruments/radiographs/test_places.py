"""What the landmarks are called, against where drawn knees have them."""

import numpy as np

from oacore.instruments.radiographs.arms import COMPARTMENTS
from oacore.instruments.radiographs.drawing import draw_radiograph
from oacore.instruments.radiographs.places import compartment_points, landmark_table
from oacore.instruments.radiographs.words import POINTS
from tests.instruments.radiographs.sets import healthy


def test_names_say_where_the_points_of_a_drawn_knee_lie():
    points = draw_radiograph(healthy(), 4, size=128).landmarks
    table = landmark_table()
    assert tuple(table["point"]) == POINTS
    middle = points[POINTS.index("t4"), 0]
    for row, (x, y) in zip(table.to_dict("records"), points, strict=True):
        if row["side"] != "middle":
            assert (row["side"] == "lateral") == (x < middle), row["point"]
        if "tip" in row["what"]:  # of the plateau, the highest of their side
            own = points[((table["bone"] == "tibia") & (table["side"] == row["side"])).to_numpy()]
            assert y == own[:, 1].min()
    outer = points[(table["what"] == "outer corner").to_numpy()]
    assert np.sort(outer[:, 0])[[0, -1]].tolist() == [points[:, 0].min(), points[:, 0].max()]
    assert points[POINTS.index("f3"), 1] == points[9:, 1].min()


def test_compartments_are_those_that_networks_read():
    found = {f"osteophyte_{name.lower()}": own for name, own in compartment_points().items()}
    assert found == COMPARTMENTS
