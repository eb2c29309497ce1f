from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from comface_bench.core.errors import DataFormatError, DataMissingError
from comface_bench.tasks.formats.disfa import ACTION_UNITS, read_disfa


@pytest.fixture
def root(tmp_path, make_disfa):
    return make_disfa(tmp_path / "DISFA")


def labels(root, unit=12, subject="SN001"):
    return root / "ActionUnit_Labels" / subject / f"{subject}_au{unit}.txt"


def test_the_twelve_action_units():
    assert ACTION_UNITS == (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)


def test_frames_are_joined_to_their_labels_by_number(root):
    rows = list(read_disfa(root))
    assert [row["image"] for row in rows] == [
        f"frames/{subject}/{frame:05d}.jpg" for subject in ("SN001", "SN002") for frame in (1, 2, 3)
    ]
    for number, row in enumerate(rows):
        subject, frame = divmod(number, 3)
        assert row["subject"] == f"SN00{subject + 1}"
        # What the fixture writes: (subject's number + action unit + frame) mod 6.
        assert {unit: row[f"au{unit}"] for unit in ACTION_UNITS} == {
            unit: (subject + unit + frame + 1) % 6 for unit in ACTION_UNITS
        }


def test_a_stride_leaves_gaps_and_shifts_nothing(tmp_path, make_disfa):
    rows = list(read_disfa(make_disfa(tmp_path, ("SN001",), frames=(2, 5, 11), lines=20)))
    assert [row["image"][-9:] for row in rows] == ["00002.jpg", "00005.jpg", "00011.jpg"]
    assert [row["au4"] for row in rows] == [(4 + frame) % 6 for frame in (2, 5, 11)]


def test_neither_the_order_of_a_folder_nor_that_of_lines_matters(root, monkeypatch):
    expected = list(read_disfa(root))
    for unit in ACTION_UNITS:
        lines = labels(root, unit).read_text().splitlines()
        random.Random(unit).shuffle(lines)
        labels(root, unit).write_text("\n".join(lines))
    plain = Path.iterdir

    def shuffled(path):
        found = list(plain(path))
        random.Random(1).shuffle(found)
        return iter(found)

    monkeypatch.setattr(Path, "iterdir", shuffled)
    assert list(read_disfa(root)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "1,5\n2,4\n3,3\n\n",
        "1,5\r\n2,4\r\n3,3\r\n",
        "\ufeff1,5\n2,4\n3,3",
        " 1 , 5 \n2,4\n\n3,3\n",
        "3,3\n2,4\n1,5\n4,0\n",
    ],
    ids=["blank last line", "CRLF", "byte-order mark", "blanks", "any order"],
)
def test_text_files_as_people_have_them(root, text):
    labels(root).write_bytes(text.encode())
    assert [row["au12"] for row in read_disfa(root)][:3] == [5, 4, 3]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("2,6", "intensity 6 isn't within 0 to 5"),
        ("2,9", "intensity 9"),
        ("2,-1", "intensity -1 isn't within 0 to 5"),
        ("2,2.5", "expected `frame,intensity`, found '2,2.5'"),
        ("2,1,", "expected `frame,intensity`, found '2,1,'"),
        ("2,", "expected `frame,intensity`, found '2,'"),
        ("2", "expected `frame,intensity`, found '2'"),
        ("2;1", "expected `frame,intensity`"),
        ("frame,intensity", "expected `frame,intensity`"),
        ("1,0", "frame 1 stands twice"),
        ("0,0", "frame 0; frames count from 1"),
    ],
)
def test_malformed_lines_are_named(root, line, told):
    labels(root).write_text(f"1,0\n\n{line}\n3,0\n")
    with pytest.raises(DataFormatError) as caught:
        list(read_disfa(root))
    assert caught.value.message.startswith(f"{labels(root)}:3: ")
    assert told in caught.value.message


def test_a_missing_label_file_is_named(root):
    labels(root, 5).unlink()
    with pytest.raises(DataMissingError) as caught:
        list(read_disfa(root))
    assert str(labels(root, 5)) in caught.value.message
    assert "12 action units" in caught.value.hint


def test_a_subject_without_labels_is_named(root):
    shutil.rmtree(labels(root, subject="SN002").parent)
    with pytest.raises(DataMissingError, match=r"SN002_au1\.txt"):
        list(read_disfa(root))


@pytest.mark.parametrize("folder", ["frames", "ActionUnit_Labels"])
def test_a_missing_folder_is_named(root, folder):
    shutil.rmtree(root / folder)
    with pytest.raises(DataMissingError, match=f"{folder} doesn't exist") as caught:
        list(read_disfa(root))
    assert "docs/datasets.md" in caught.value.hint


def test_a_file_shorter_than_its_neighbours_is_named(root):
    labels(root, 20).write_text("1,0\n2,0\n")
    with pytest.raises(DataFormatError, match=r"00003\.jpg: frame 3 has no line in SN001_au20\.txt"):
        list(read_disfa(root))


def test_frames_counted_from_zero_are_refused(root, draw_image):
    draw_image(root / "frames" / "SN001" / "00000.jpg")
    with pytest.raises(DataFormatError, match="frame 0 has no line") as caught:
        list(read_disfa(root))
    assert "count from 1" in caught.value.hint


def test_one_frame_may_not_be_there_twice(root, draw_image):
    draw_image(root / "frames" / "SN001" / "2.PNG")
    with pytest.raises(DataFormatError, match=r"frame 2 is there twice"):
        list(read_disfa(root))


def test_other_files_are_passed_over(root, draw_image):
    frames = root / "frames"
    expected = list(read_disfa(root))
    for name in ("SN001/.DS_Store", "SN001/._00001.jpg", "SN001/Thumbs.db", "SN001/notes.txt", ".DS_Store"):
        (frames / name).write_bytes(b"junk")
    draw_image(frames / "left" / "00001.jpg")
    assert list(read_disfa(root)) == expected


@pytest.mark.parametrize("ending", ["jpg", "JPG", "jpeg", "png", "PNG"])
def test_endings_in_either_case(root, draw_image, ending):
    (root / "frames" / "SN001" / "00002.jpg").unlink()
    draw_image(root / "frames" / "SN001" / f"00002.{ending}")
    assert [row["image"] for row in read_disfa(root)][1] == f"frames/SN001/00002.{ending}"


def test_labels_that_are_no_text_are_named(root):
    labels(root).write_bytes(b"1,0\n\xff\xfe\n")
    with pytest.raises(DataFormatError, match=r"SN001_au12\.txt: not UTF-8 text"):
        list(read_disfa(root))
