"""Orthogonal slices by nilearn: a voxel lands where it lies in the patient, and is so lettered."""

import base64
import io

import nibabel as nib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from oacore.data.cohort import graded, read_cohort
from oacore.data.volumes import read_canonical
from oacore.errors import InputError
from oacore.instruments.phantom.cohort import write_phantom
from oacore.plots.orthogonal import case_views, knee_views, picture

SHAPE, AT = (20, 30, 40), (4, 22, 32)  # the patient's left, anterior, superior
SIDES = {"A": (1, 1), "P": (1, -1), "R": (0, 1), "L": (0, -1), "S": (2, 1), "I": (2, -1)}


def block(shape=SHAPE):
    mask = np.zeros(shape, bool)
    mask[2:7, 20:25, 30:35] = True
    return mask


def affine(turn=0.0):
    """From voxels to mm, turned about the axis of the leg by so many degrees."""
    angle = np.deg2rad(turn)
    turned = np.eye(4)
    turned[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return turned @ np.diag([2.0, 1.5, 1.0, 1]) @ nib.affines.from_matvec(np.eye(3), (-9, 5, 3))


def pixels(fig):
    """The figure's pixels, and of each plane its box in them and the places of its letters."""
    canvas = FigureCanvasAgg(fig)
    canvas.draw()
    seen = np.asarray(canvas.buffer_rgba())[..., :3].astype(int)
    planes = {}
    for axes in fig.axes:
        letters = {text.get_text(): text.get_window_extent() for text in axes.texts}
        if set("SI") < set(letters) or set("RL") < set(letters):
            middle = {k: ((b.x0 + b.x1) / 2, (b.y0 + b.y1) / 2) for k, b in letters.items()}
            planes["".join(sorted(letters))] = (axes.get_window_extent(), middle)
    return seen, planes


def coloured(seen, box):
    """Middle of the coloured pixels in a box, from the lower left of the figure."""
    rows, columns = np.indices(seen.shape[:2])
    rows = seen.shape[0] - 1 - rows
    inside = (columns > box.x0) & (columns < box.x1) & (rows > box.y0) & (rows < box.y1)
    found = inside & (np.ptp(seen, axis=2) > 60)
    assert found.sum() > 20
    return columns[found].mean(), rows[found].mean()


@pytest.mark.parametrize("turn", [0, 12])
@pytest.mark.parametrize("kind", ["mask", "map"])
def test_a_marked_voxel_lies_where_it_is_in_the_patient(kind, turn):
    image = np.full(SHAPE, 50.0)
    image[block()] = 200
    over = {"masks": {"block": (block(), affine(turn))}}
    if kind == "map":
        over = {"saliency": (block().astype(np.float32), affine(turn))}
    seen, planes = pixels(knee_views((image, affine(turn)), AT, **over))
    assert set(planes) == {"AIPS", "ILRS", "ALPR"}
    for letters, (box, places) in planes.items():
        x, y = coloured(seen, box)
        for side, (axis, sign) in SIDES.items():
            if side not in letters:
                continue
            other = next(k for k, v in SIDES.items() if v == (axis, -sign))
            near = np.hypot(x - places[side][0], y - places[side][1])
            far = np.hypot(x - places[other][0], y - places[other][1])
            there = 1 if AT[axis] > SHAPE[axis] / 2 else -1
            assert (near < far) == (there == sign), f"{letters}: {side}"
        assert places.get("A", (0,))[0] < places.get("P", (1,))[0] or "L" in letters
        assert "R" not in letters or places["R"][0] < places["L"][0], "as the patient faces us"


def test_image_and_mask_meet_by_their_affines_not_by_their_voxels():
    image, own = np.full(SHAPE, 50.0), affine()
    image[block()] = 250
    fine = np.kron(block(), np.ones((2, 2, 2))).astype(bool)  # half the voxel, the same place
    other = own @ np.diag([0.5, 0.5, 0.5, 1]) @ nib.affines.from_matvec(np.eye(3), [-0.5] * 3)
    shown = [pixels(knee_views((image, own), AT, masks={"block": over}))
             for over in ((block(), own), (fine, other))]  # fmt: skip
    for plane, (box, _) in shown[0][1].items():
        same = coloured(shown[0][0], box), coloured(shown[1][0], shown[1][1][plane][0])
        assert np.allclose(*same, atol=4), plane  # px; a voxel has ten


def test_only_the_most_salient_are_coloured():
    image = np.random.default_rng(0).uniform(50, 60, SHAPE)
    map_ = np.full(SHAPE, 0.2, np.float32)
    map_[block()] = 0.9
    seen, planes = pixels(knee_views((image, affine()), AT, saliency=(map_, affine()), top=0.5))
    for box, _ in planes.values():
        part = seen[:, int(box.x0) : int(box.x1)]
        assert 0.001 < (np.ptp(part, axis=2) > 60).mean() < 0.06


def test_what_cannot_be_drawn_is_refused():
    image, one = (np.zeros(SHAPE), affine()), (block(), affine())
    with pytest.raises(InputError, match="one or the other"):
        knee_views(image, AT, masks={"a": one}, saliency=one)
    with pytest.raises(InputError, match="8 masks but 7 colours"):
        knee_views(image, AT, masks={str(i): one for i in range(8)})
    with pytest.raises(InputError, match=r"\(4, 30, 2\) is not in an image"):
        knee_views(image, (4, 30, 2))
    with pytest.raises(InputError, match="text alternative"):
        picture(knee_views(image, AT), " ")


def test_a_case_is_drawn_as_stored_and_repeats_to_the_byte(tmp_path):
    write_phantom(
        tmp_path, train=(1,) * 5, test=(1,) * 5, ungraded=(0, 0), shape=(16, 40, 40), seed=1
    )
    case = graded(read_cohort(tmp_path)).iloc[0]
    first, again = (picture(case_views(case), "A <knee>") for _ in range(2))
    assert first.html == again.html and 'alt="A &lt;knee&gt;"' in first.html
    plain = picture(case_views(case.to_frame().T.assign(mask=None).iloc[0]), "A knee")
    assert plain.html != first.html
    data = first.html.split("base64,")[1].split('"')[0]
    width, height = Image.open(io.BytesIO(base64.b64decode(data))).size
    assert width == height > 600 and len(data) < 400_000
    array, own = read_canonical(case["image"])
    path = tmp_path / "map.nii.gz"
    nib.save(nib.Nifti1Image(np.linspace(0, 1, array.size).reshape(array.shape), own), path)
    assert picture(case_views(case, path), "A map").html != plain.html
