from __future__ import annotations

import pytest

from comface_bench.core.errors import DataFormatError, DataMissingError
from comface_bench.data.manifest import Manifest
from comface_bench.tasks.formats.edema import read_edema

HEADER = "image,patient,day,phase,weight_kg"
ROW = {"image": "a.jpg", "patient": "P1", "day": "1", "phase": "pre", "weight_kg": "60.5"}


def write(root, *lines, ending="\n", mark=""):
    text = mark + ending.join(lines) + ending
    (root / "manifest.csv").write_bytes(text.encode())


def line(**changed):
    return ",".join((ROW | changed).values())


def test_rows_carry_everything(tmp_path, make_edema):
    rows = list(read_edema(make_edema(tmp_path)))
    assert len(rows) == 8
    assert rows[0] == {
        "image": "images/P1_1_pre.jpg",
        "subject": "P1",
        "session": "1",
        "phase": "pre",
        "weight_kg": 51.0,
        "where": f"{tmp_path / 'manifest.csv'}:2",
    }
    assert rows[-1]["weight_kg"] == 52.0
    assert len(Manifest.from_rows("d", tmp_path, rows)) == 8


@pytest.mark.parametrize(
    ("ending", "mark"), [("\n", ""), ("\r\n", ""), ("\n", "\ufeff"), ("\n\n", "")], ids=repr
)
def test_text_files_as_people_have_them(tmp_path, ending, mark):
    write(tmp_path, HEADER, line(), line(image="b.jpg", phase="post"), ending=ending, mark=mark)
    assert [row["phase"] for row in read_edema(tmp_path)] == ["pre", "post"]


def test_columns_in_another_order_and_further_ones(tmp_path):
    write(tmp_path, "note,weight_kg,phase,day,patient,image", '"x, y",60.5,pre,1,P1,a.jpg')
    row = next(read_edema(tmp_path))
    assert (row["image"], row["subject"], row["weight_kg"]) == ("a.jpg", "P1", 60.5)
    assert "note" not in row


@pytest.mark.parametrize("column", ROW)
def test_a_missing_column_is_named(tmp_path, column):
    kept = [name for name in ROW if name != column]
    write(tmp_path, ",".join(kept), ",".join(ROW[name] for name in kept))
    with pytest.raises(DataFormatError, match=rf"manifest\.csv:1: no column {column}") as caught:
        list(read_edema(tmp_path))
    assert HEADER in caught.value.hint


def test_an_empty_file_lacks_all_columns(tmp_path):
    (tmp_path / "manifest.csv").write_text("")
    with pytest.raises(DataFormatError, match="no column image, patient, day, phase, weight_kg"):
        list(read_edema(tmp_path))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataMissingError, match=r"manifest\.csv doesn't exist") as caught:
        list(read_edema(tmp_path))
    assert HEADER in caught.value.hint


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (line(phase="during"), "phase is 'during', not pre or post"),
        (line(phase="Pre"), "phase is 'Pre'"),
        (line(weight_kg="60500"), "weight_kg is 60500; a patient weighs 10 to 400 kg"),
        (line(weight_kg="-60"), "weight_kg is -60"),
        (line(weight_kg="nan"), "weight_kg is nan"),
        (line(weight_kg="heavy"), "weight_kg is 'heavy', not a number"),
        (line(weight_kg="60,5"), "6 cells, but the header has 5"),
        ("a.jpg,P1,1,pre", "4 cells, but the header has 5"),
        (line() + ",", "6 cells, but the header has 5"),
        (line(patient=""), "patient is empty"),
        (line(image=" ", day=""), "image, day is empty"),
    ],
)
def test_malformed_rows_are_named(tmp_path, bad, told):
    write(tmp_path, HEADER, line(), "", bad)
    with pytest.raises(DataFormatError) as caught:
        list(read_edema(tmp_path))
    assert caught.value.message.startswith(f"{tmp_path / 'manifest.csv'}:4: ")
    assert told in caught.value.message


def test_grams_are_guessed(tmp_path):
    write(tmp_path, HEADER, line(weight_kg="60500"))
    with pytest.raises(DataFormatError) as caught:
        list(read_edema(tmp_path))
    assert "grams" in caught.value.hint


def test_images_that_leave_the_folder_are_refused_with_their_line(tmp_path):
    write(tmp_path, HEADER, line(image="../a.jpg"))
    with pytest.raises(DataFormatError, match=r"manifest\.csv:2: \.\./a\.jpg leaves the data root"):
        Manifest.from_rows("d", tmp_path, read_edema(tmp_path))
