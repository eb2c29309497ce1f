"""Malformed label files and folders of DISFA: refused, with file and line or frame."""

from __future__ import annotations

import shutil

import pytest

RAW = "Take the raw labels, 0 to 5, as the data set's authors give them out."
FORM = "Write one label a line, and nothing behind it."
CUT = "The file is cut off: copy it again from the original."
SAME = "Copy it again from the original; the 12 label files cover the same frames."
ALL_12 = "All 12 action units are needed, as SN001_au1.txt or au1.txt and so on."
KEEP_ONE = "Keep the right one, and move the rest elsewhere."
KNOWN = (
    "Its subjects are SN001 to SN013, SN016 to SN018, SN021, and SN023 to SN032."
    " Correct the name, or move the folder elsewhere."
)
FRAME_NAME = "Name each frame by its number in the label files: 00001.jpg, JPEG or PNG."
LAYOUT = "Lay the data set out as docs/datasets/disfa.md shows."
EXCLUDE = 'Write rows like SN029,4330,4536,"reason"; ends are included.'

AU12 = "ActionUnit_Labels/SN001/SN001_au12.txt"
AU5 = "ActionUnit_Labels/SN001/SN001_au5.txt"


def lines(*rows, end="\n"):
    """Write AU12 of SN001."""
    return lambda root, draw: (root / AU12).write_bytes(("\n".join(rows) + end).encode())


def label(line):
    """Write one line in place of the second of six."""
    return lines("1,1", line, *(f"{frame},2" for frame in (3, 4, 5, 6)))


def binarise(root, draw):
    for path in root.glob("ActionUnit_Labels/*/*.txt"):
        path.write_text("".join(f"{frame},{frame % 2}\n" for frame in range(1, 7)))


def start_at_zero(root, draw):
    for path in (root / AU12).parent.iterdir():
        path.write_text("".join(f"{frame},{frame % 6}\n" for frame in range(6)))


def short_by_one(root, draw):
    (root / AU5).write_text("".join((root / AU5).read_text().splitlines(keepends=True)[:-1]))


def both_cameras(root, draw):
    for camera in ("left", "right"):
        draw(root / "frames" / camera / "SN001" / "00001.jpg")


def number_from_zero(root, draw):
    for frame in (1, 2, 3):
        (root / f"frames/SN001/{frame:05d}.jpg").rename(root / f"frames/SN001/{frame - 1:05d}.jpg")


def add_subject(kind):
    def spoil(root, draw):
        new = shutil.copytree(root / kind / "SN001", root / kind / "SN033")
        for path in new.iterdir():
            path.rename(path.with_name(path.name.replace("SN001", "SN033")))

    return spoil


def exclude(text):
    return lambda root, draw: (root / "exclude.csv").write_text(text)


DISFA = {
    "a missing label file": (
        lambda root, draw: (root / AU5).unlink(),
        "ActionUnit_Labels/SN001",
        "no label file of au5",
        ALL_12,
    ),
    "one line less than beside it": (
        short_by_one,
        AU5,
        "lacks 1 frame that the files beside it have, the first 6",
        SAME,
    ),
    "a last line cut off": (
        lines("1,1", "2,2", "3,", end=""),
        f"{AU12}:3",
        "the file ends in the middle of a line: '3,'",
        CUT,
    ),
    "an empty label file": (
        lines(end=""),
        AU12,
        "lacks 6 frames that the files beside it have, the first 1",
        SAME,
    ),
    "a trailing comma": (
        label("2,1,"),
        f"{AU12}:2",
        "expected `frame,intensity` such as 12,3, found '2,1,'",
        FORM,
    ),
    "a semicolon": (label("2;1"), f"{AU12}:2", "expected `frame,intensity` such as 12,3, found '2;1'", FORM),
    "a header": (
        lines("frame,intensity", "1,1"),
        f"{AU12}:1",
        "expected `frame,intensity` such as 12,3, found 'frame,intensity'",
        FORM,
    ),
    "intensity 6": (label("2,6"), f"{AU12}:2", "intensity 6 isn't within 0 to 5", RAW),
    "intensity -1": (label("2,-1"), f"{AU12}:2", "intensity -1 isn't within 0 to 5", RAW),
    "intensity 2.5": (label("2,2.5"), f"{AU12}:2", "intensity 2.5 isn't a whole number from 0 to 5", RAW),
    "intensity 9": (label("2,9"), f"{AU12}:2", "intensity 9 isn't within 0 to 5", RAW),
    "intensity nan": (label("2,nan"), f"{AU12}:2", "intensity nan isn't a whole number from 0 to 5", RAW),
    "a line counted behind a blank one": (
        lines("1,1", "", "\t", "2,6", "3,0"),
        f"{AU12}:4",
        "intensity 6 isn't within 0 to 5",
        RAW,
    ),
    "a frame twice": (
        lines("1,1", "2,0", "2,0", "3,4"),
        f"{AU12}:3",
        "frame 2 stands twice",
        "Keep the line that is right.",
    ),
    "label files that aren't text": (
        lambda root, draw: (root / AU12).write_bytes(b"1,0\n\xff\xfe\n"),
        "",
        "{root}/" + AU12 + ": not UTF-8 text (invalid start byte at byte 4)",
        "Save it as UTF-8 text.",
    ),
    "binarised labels": (
        binarise,
        "ActionUnit_Labels/SN001/SN001_au1.txt",
        "this and all other label files hold only 0, 1: they seem binarised (1 for 2 or more)",
        f"Binarised labels can't serve. {RAW}",
    ),
    "labels of an unknown subject": (
        add_subject("ActionUnit_Labels"),
        "ActionUnit_Labels/SN033",
        "DISFA has no subject SN033",
        KNOWN,
    ),
    "frames of an unknown subject": (
        add_subject("frames"),
        "frames/SN033",
        "DISFA has no subject SN033",
        KNOWN,
    ),
    "another subject's labels": (
        lambda root, draw: shutil.copy(root / AU12, (root / AU12).with_name("SN002_au12.txt")),
        "ActionUnit_Labels/SN001/SN002_au12.txt",
        "labels of SN002 in a folder of SN001",
        "Put them into their own folder.",
    ),
    "an action unit twice": (
        lambda root, draw: shutil.copy(root / AU12, (root / AU12).with_name("AU12.TXT")),
        AU12,
        "AU12 is there twice, also as AU12.TXT",
        "Keep the right file.",
    ),
    "an action unit that isn't coded": (
        lambda root, draw: shutil.copy(root / AU12, (root / AU12).with_name("au7.txt")),
        "ActionUnit_Labels/SN001/au7.txt",
        "AU7 isn't coded in this data set",
        "Take it out; the coded units are 1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26.",
    ),
    "two folders of labels": (
        lambda root, draw: shutil.copytree(root / "ActionUnit_Labels", root / "labels"),
        "{root}",
        "ActionUnit_Labels and labels hold the same kind of data",
        KEEP_ONE,
    ),
    "frames counted from 0": (
        number_from_zero,
        "frames/SN001/00000.jpg",
        "frame 0, but labels count from 1: all frames of this folder seem to be numbered one too low",
        "Give each file of the folder the next number: the first frame of the video is 00001.jpg.",
    ),
    "a frame without a label": (
        lambda root, draw: draw(root / "frames/SN001/00007.jpg"),
        "frames/SN001/00007.jpg",
        "frame 7 has no label",
        "Name frames as the label files do; take out what has no label.",
    ),
    "a frame in two files": (
        lambda root, draw: draw(root / "frames/SN001/2.png"),
        "frames/SN001/2.png",
        "frame 2 is there twice, also as 00002.jpg",
        "Keep one file a frame.",
    ),
    "a frame that isn't named by a number": (
        lambda root, draw: draw(root / "frames/SN001/frame4.jpg"),
        "frames/SN001/frame4.jpg",
        "not the name or ending of a frame",
        FRAME_NAME,
    ),
    "frames without labels": (
        lambda root, draw: draw(root / "frames/SN004/00001.jpg"),
        "ActionUnit_Labels/SN004",
        "frames/SN004 has frames, but there are no labels for them",
        LAYOUT,
    ),
    "exclusions without a header": (
        exclude("SN001,1,2,blurred\n"),
        "exclude.csv:1",
        "the header is 'SN001,1,2,blurred', not 'subject,first,last,reason'",
        "Write the header subject,first,last,reason; a file of nothing else leaves out no frame.",
    ),
    "exclusions that end before they begin": (
        exclude("subject,first,last,reason\nSN001,3,2,blurred\n"),
        "exclude.csv:2",
        "the range ends at 2, before it begins at 3",
        EXCLUDE,
    ),
    "exclusions of an unknown subject": (
        exclude("subject,first,last,reason\n\nSN033,1,2,blurred\n"),
        "exclude.csv:3",
        "no subject is called 'SN033'",
        EXCLUDE,
    ),
}


@pytest.mark.parametrize("name", DISFA)
def test_refused(lay_out, refuse, draw_image, name):
    root = lay_out("DISFA")
    spoil, where, message, remedy = DISFA[name]
    spoil(root, draw_image)
    absolute = where if where.startswith("{") or not where else f"{{root}}/{where}"
    refuse(root, [(absolute, message, remedy)])


def test_labels_counted_from_0_are_reported_file_by_file(lay_out, refuse, draw_image):
    root = lay_out("DISFA")
    start_at_zero(root, draw_image)
    remedy = "Add one to every frame number of the subject, if its lines begin with the first frame."
    files = [AU12.replace("au12", f"au{unit}") for unit in (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)]
    refuse(root, [(f"{{root}}/{file}:1", "frame 0; frames count from 1", remedy) for file in files])


def test_two_cameras_at_once_are_two_unknown_subjects(lay_out, refuse, draw_image):
    root = lay_out("DISFA")
    both_cameras(root, draw_image)
    reported = [
        (f"{{root}}/frames/{camera}", f"DISFA has no subject {camera}", KNOWN) for camera in ("left", "right")
    ]
    refuse(root, reported)
