"""Reading the reference files: the real template, and tables of grades made here."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from oacore.data.volumes import LABELS
from oacore.errors import InputError
from oacore.instruments.phantom import template as references
from tests.helpers import readings
from workflow.fit_shape import bone_outlines


def test_template_is_a_right_knee_of_plausible_size(shared):
    image, labels, spacing = references.read_template(shared / "real/knee_template")
    assert image.shape == labels.shape == (64, 128, 128)
    assert image.dtype == np.float32 and labels.dtype == np.uint8
    assert image.min() == 0 and image.max() == 1
    assert set(np.unique(labels)) == {0, *LABELS}
    assert spacing == (1.4, 0.7292, 0.7292)
    centre = {name: np.argwhere(labels == label).mean(0) for label, name in LABELS.items()}
    # Right: lateral is to the right, which is high x. Up: the femur stands above the tibia.
    assert centre["lateral tibial cartilage"][0] > centre["medial tibial cartilage"][0] + 20
    assert centre["femur"][2] > centre["femoral cartilage"][2]
    assert centre["femoral cartilage"][2] > centre["tibia"][2]
    # Cartilage is brighter than bone; over knees the measured ratio runs from 3 to 5.8.
    assert 3 < image[labels == 2].mean() / image[labels == 1].mean() < 5.8
    # 15.1 +- 3.2 cm3 over 507 knees of all grades.
    femoral = (labels == 2).sum() * np.prod(spacing) / 1000
    assert 15.1 - 2 * 3.2 < femoral < 15.1 + 2 * 3.2


def test_template_comes_out_in_ras_however_it_was_stored(shared, tmp_path):
    expected = references.read_template(shared / "real/knee_template")
    for name in (references.TEMPLATE, references.TEMPLATE_LABELS):
        stored = nib.load(shared / "real/knee_template" / name)
        orientation = nib.orientations.axcodes2ornt(("P", "I", "L"))
        nib.save(stored.as_reoriented(orientation), tmp_path / name)
    image, labels, spacing = references.read_template(tmp_path)
    np.testing.assert_array_equal(image, expected[0])
    np.testing.assert_array_equal(labels, expected[1])
    assert spacing == expected[2]


def test_template_that_is_not_there_or_does_not_fit_is_named(shared, tmp_path):
    for name, slices in ((references.TEMPLATE, 64), (references.TEMPLATE_LABELS, 63)):
        with pytest.raises(InputError, match=f"lacks .*{name}.*oacore fetch references"):
            references.read_template(tmp_path)
        stored = nib.load(shared / "real/knee_template" / name)
        nib.save(stored.slicer[:slices], tmp_path / name)
    with pytest.raises(InputError, match="do not fit"):
        references.read_template(tmp_path)


def test_grade_patterns_are_counted_in_the_central_readings_alone(tmp_path):
    pattern = ["KL", "FL", "FM", "TL", "TM", "JL", "JM"]
    rng = np.random.default_rng(0)
    counts = pd.DataFrame(rng.integers(0, 4, (30, 7)), columns=pattern).drop_duplicates()
    counts["count"] = rng.integers(1, 9, len(counts))
    rows = readings(counts)
    # What must not count: other projects, and knees with a reading missing.
    other = rows.head(20).assign(READPRJ=37)
    partly = rows.head(20).assign(V00XROSTL=np.nan)
    pd.concat([other, rows, partly]).to_excel(tmp_path / references.GRADES, index=False)
    found = references.read_grade_patterns(tmp_path)
    expected = counts.sort_values(pattern).reset_index(drop=True)
    pd.testing.assert_frame_equal(found, expected)


@pytest.mark.parametrize("word", ["#N/A", "#REF!", "two"])
def test_a_lost_reading_is_named(tmp_path, word):
    rows = pd.DataFrame({"READPRJ": [15, 15], **{name: [1, 2] for name in references.COLUMNS}})
    rows = rows.astype({"V00XRKL": object})
    rows.loc[1, "V00XRKL"] = word
    rows.to_excel(tmp_path / references.GRADES, index=False)
    with pytest.raises(InputError, match="row 3: V00XRKL is no reading; .*oacore fetch"):
        references.read_grade_patterns(tmp_path)


def test_another_table_of_grades_is_refused(tmp_path):
    with pytest.raises(InputError, match="oacore fetch references"):
        references.read_grade_patterns(tmp_path)
    pd.DataFrame({"KL": [1]}).to_excel(tmp_path / references.GRADES, index=False)
    with pytest.raises(InputError, match="not OAI's table"):
        references.read_grade_patterns(tmp_path)
    (tmp_path / references.GRADES).write_bytes(b"damaged")
    with pytest.raises(InputError, match="not OAI's table"):
        references.read_grade_patterns(tmp_path)


def test_the_fit_reads_the_landmarks_as_released(shared, tmp_path):
    """The public table names its first column otherwise and its rows come in another order."""
    here = pd.read_csv(shared / "real/radiograph_landmarks/landmarks.csv")
    released = here.rename(columns={"knee": "subject_id"}).sample(frac=1, random_state=0)
    released.to_csv(tmp_path / references.LANDMARKS, index=False)
    outlines = bone_outlines(pd.read_csv(tmp_path / references.LANDMARKS))
    order = np.argsort(released["subject_id"].to_numpy())
    np.testing.assert_array_equal(outlines[order], bone_outlines(here))
