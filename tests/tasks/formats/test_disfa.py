from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from comface_bench.core.errors import DataMissingError
from comface_bench.core.problems import Note
from comface_bench.tasks.formats.action_units import ACTION_UNITS
from comface_bench.tasks.formats.disfa import LABEL_FOLDERS, read_disfa
from comface_bench.tasks.formats.disfa_frames import LINES


@pytest.fixture
def root(tmp_path, make_disfa):
    return make_disfa(tmp_path / "DISFA")


def labels(root, unit=12, subject="SN001"):
    return root / "ActionUnit_Labels" / subject / f"{subject}_au{unit}.txt"


def rows(root):
    return [row for row in read_disfa(root) if not isinstance(row, Note)]


def notes(root):
    return [row.text for row in read_disfa(root) if isinstance(row, Note)]


def test_the_twelve_action_units():
    assert ACTION_UNITS == (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)


def test_the_27_subjects_and_their_published_lines():
    assert len(LINES) == 27
    assert sum(LINES.values()) == 130_814
    assert {subject for subject, lines in LINES.items() if lines != 4845} == {"SN010"}
    gaps = {f"SN{number:03d}" for number in range(1, 33)} - set(LINES)
    assert gaps == {"SN014", "SN015", "SN019", "SN020", "SN022"}


def test_frames_are_joined_to_their_labels_by_number(root):
    found = rows(root)
    assert [row["image"] for row in found] == [
        f"frames/{subject}/{frame:05d}.jpg" for subject in ("SN001", "SN002") for frame in (1, 2, 3)
    ]
    for number, row in enumerate(found):
        subject, frame = divmod(number, 3)
        assert row["subject"] == f"SN00{subject + 1}"
        # What the fixture writes: (subject's number + action unit + frame) mod 6.
        assert {unit: row[f"au{unit}"] for unit in ACTION_UNITS} == {
            unit: (subject + unit + frame + 1) % 6 for unit in ACTION_UNITS
        }


def test_a_stride_leaves_gaps_and_shifts_nothing(tmp_path, make_disfa):
    found = rows(make_disfa(tmp_path, ("SN001",), frames=(2, 5, 11), lines=20))
    assert [row["image"][-9:] for row in found] == ["00002.jpg", "00005.jpg", "00011.jpg"]
    assert [row["au4"] for row in found] == [(4 + frame) % 6 for frame in (2, 5, 11)]


def test_numbers_without_leading_zeros_are_put_in_order(tmp_path, make_disfa):
    root = make_disfa(tmp_path, ("SN001",), frames=(2, 10), lines=20)
    for frame in (2, 10):
        path = root / "frames" / "SN001" / f"{frame:05d}.jpg"
        path.rename(path.with_name(f"{frame}.jpg"))
    assert [row["au4"] for row in rows(root)] == [(4 + 2) % 6, (4 + 10) % 6]


def test_neither_the_order_of_a_folder_nor_that_of_lines_matters(root, monkeypatch):
    expected = rows(root)
    for unit in ACTION_UNITS:
        lines = labels(root, unit).read_text().splitlines()
        random.Random(unit).shuffle(lines)
        labels(root, unit).write_text("\n".join(lines))
    from comface_bench.tasks.formats import folders

    class Shuffled:
        def __init__(self, path):
            with plain(path) as entries:
                self.entries = list(entries)
            random.Random(len(self.entries)).shuffle(self.entries)

        def __enter__(self):
            return iter(self.entries)

        def __exit__(self, *error):
            pass

    plain = folders.os.scandir
    monkeypatch.setattr(folders.os, "scandir", Shuffled)
    assert rows(root) == expected


@pytest.mark.parametrize("folder", [*LABEL_FOLDERS, "Labels", "actionunit_labels"])
@pytest.mark.parametrize("name", ["{subject}_au{unit}.txt", "au{unit}.txt", "{subject}_AU{unit}.TXT"])
def test_spellings_of_folders_and_label_files(root, folder, name):
    expected = rows(root)
    for unit in ACTION_UNITS:
        for subject in ("SN001", "SN002"):
            path = labels(root, unit, subject)
            path.rename(path.with_name(name.format(subject=subject, unit=unit)))
    (root / "ActionUnit_Labels").rename(root / folder)
    assert rows(root) == expected


@pytest.mark.parametrize(
    "text",
    [
        "1,5\n2,4\n3,3\n4,0\n5,0\n6,0\n\n\n",
        "1,5\r\n2,4\r\n3,3\r\n4,0\r\n5,0\r\n6,0\r\n",
        "\ufeff1,5\n2,4\n3,3\n4,0\n5,0\n6,0",
        " 1 , 5 \n2,4\n\n3,3\n4,0\n5,0\n6,0\n",
        "0006,0\n5,0\n4,0\n3,3\n2,4\n1,5\n",
    ],
    ids=["blank last lines", "CRLF", "byte-order mark", "blanks", "any order"],
)
def test_text_files_as_people_have_them(root, text):
    labels(root).write_bytes(text.encode())
    assert [row["au12"] for row in rows(root)][:3] == [5, 4, 3]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    intensities=st.lists(st.integers(0, 5), min_size=6, max_size=6),
    order=st.permutations(range(1, 7)),
    end=st.sampled_from(["\n", "\r\n", "\n\n", " \n"]),
    mark=st.sampled_from(["", "\ufeff"]),
    zeros=st.integers(0, 4),
    last=st.booleans(),
)
def test_any_way_of_writing_a_file_gives_the_same_labels(root, intensities, order, end, mark, zeros, last):
    lines = [f"{frame:0{zeros}d},{intensities[frame - 1]}" for frame in order]
    text = mark + end.join(lines) + (end if last else "")
    labels(root).write_bytes(text.encode())
    assert [row["au12"] for row in rows(root)][:3] == intensities[:3]


@pytest.mark.parametrize("ending", ["jpg", "JPG", "jpeg", "png", "PNG"])
def test_endings_in_either_case(root, draw_image, ending):
    (root / "frames" / "SN001" / "00002.jpg").unlink()
    draw_image(root / "frames" / "SN001" / f"00002.{ending}")
    assert [row["image"] for row in rows(root)][1] == f"frames/SN001/00002.{ending}"


def test_files_of_the_operating_system_are_passed_over(root):
    expected = rows(root)
    (root / "__MACOSX").mkdir()
    for folder in (root, root / "frames", root / "frames" / "SN001", labels(root).parent):
        for name in (".DS_Store", "Thumbs.db", "desktop.ini", "notes.txt", "._00001.jpg", "._SN001_au12.txt"):
            (folder / name).write_bytes(b"junk")
        (folder / "__MACOSX").mkdir(exist_ok=True)
    assert rows(root) == expected


@pytest.mark.parametrize(
    ("folder", "hint"),
    [("frames", "comface-bench data prepare disfa"), ("ActionUnit_Labels", "docs/datasets/disfa.md")],
)
def test_a_missing_folder_is_told_at_once(root, folder, hint):
    shutil.rmtree(root / folder)
    with pytest.raises(DataMissingError, match=f"{folder} doesn't exist") as caught:
        next(iter(read_disfa(root)))
    assert hint in caught.value.hint
    with pytest.raises(DataMissingError):
        list(read_disfa(root / "nowhere"))


def test_what_differs_from_the_published_set_is_noted(tmp_path, make_disfa):
    root = make_disfa(tmp_path, list(LINES)[:4])
    labels(root, 1, "SN002").parent.rename(root / "aside")
    shutil.rmtree(root / "frames" / "SN002")
    (root / "aside").rename(labels(root, 1, "SN002").parent)
    for path in (root / "frames" / "SN003").iterdir():
        path.unlink()
    for unit in ACTION_UNITS:
        labels(root, unit, "SN004").write_text("".join(f"{frame},3\n" for frame in range(1, 4846)))
    assert notes(root) == [
        "label files of 1 subject hold other than the published 4,845 lines (SN010: 4,844): 6 each",
        "labels without frames, left out: SN002, SN003",
        f"23 of DISFA's 27 subjects aren't there: {', '.join(list(LINES)[4:])}",
    ]
    for unit in ACTION_UNITS:
        labels(root, unit, "SN004").write_text("".join(f"{frame},3\n" for frame in range(1, 4847)))
    assert notes(root)[0].startswith("label files of 2 subjects ")
    assert notes(root)[0].endswith(": SN001 6, SN004 4,846")


def test_nothing_is_written(root):
    def state():
        return {path: path.stat().st_mtime_ns for path in Path(root).rglob("*")}

    before = state()
    list(read_disfa(root))
    assert state() == before
