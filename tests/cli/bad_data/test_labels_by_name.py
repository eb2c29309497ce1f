"""Malformed labels of DISFA+ and UNBC, which go by the image's name, and folders that aren't there."""

from __future__ import annotations

import shutil

import pytest

RAW = "Take the raw labels, 0 to 5, as the data set's authors give them out."
FORM = "Write one label a line, and nothing behind it."
SAME_IMAGES = "Copy it again from the original; the 12 label files cover the same images."
ALL_12 = "All 12 action units are needed, as SN001_au1.txt or au1.txt and so on."
COPY = "Copy the file again from the original, or take it out: frames without a label are left out."

PLUS = "Labels/SN001/A1/AU12.txt"
PAIN = "Frame_Labels/PSPI/042-ll042/ll042t1aaaff/ll042t1aaaff002_facs.txt"


def spoil_plus(*rows):
    return lambda root, draw: (root / PLUS).write_text("\n".join(rows) + "\n")


DISFA_PLUS = {
    "no header": (
        spoil_plus("001.jpg     1", "002.jpg     2", "003.jpg     3"),
        f"{PLUS}:1",
        "'001.jpg     1' is a label where the header belongs (and 1 more such line)",
        "The first two lines are a header; labels begin in line 3.",
    ),
    "an image twice": (
        spoil_plus("", "", "001.jpg 1", "002.jpg 2", "001.JPG 3", "003.jpg 1"),
        f"{PLUS}:5",
        "image 001.JPG stands twice",
        "Keep the line that is right.",
    ),
    "an intensity out of range": (
        spoil_plus("a", "b", "001.jpg 1", "002.jpg 6", "003.jpg 1"),
        f"{PLUS}:4",
        "intensity 6 isn't within 0 to 5",
        RAW,
    ),
    "a third cell": (
        spoil_plus("a", "b", "001.jpg 1", "002.jpg 1 1", "003.jpg 1"),
        f"{PLUS}:4",
        "expected `image-name intensity` such as 001.jpg 3, found '002.jpg 1 1'",
        FORM,
    ),
    "an image fewer than beside it": (
        spoil_plus("a", "b", "001.jpg 1", "003.jpg 1"),
        PLUS,
        "lacks 1 image that the files beside it have, the first 002",
        SAME_IMAGES,
    ),
    "a missing label file": (
        lambda root, draw: (root / PLUS).unlink(),
        "Labels/SN001/A1",
        "no label file of au12",
        ALL_12,
    ),
    "a folder that is no subject": (
        lambda root, draw: draw(root / "Images/left/A1/001.jpg"),
        "Images/left",
        "not the name of a subject",
        "Name it like SN001, or move it to somewhere else.",
    ),
    "an image outside of a trial": (
        lambda root, draw: draw(root / "Images/SN001/001.jpg"),
        "Images/SN001/001.jpg",
        "an image outside of a trial's folder",
        "Put it where it belongs.",
    ),
}


def write_pain(text):
    return lambda root, draw: (root / PAIN).write_text(text)


UNBC = {
    "a score beyond 16": (write_pain("16.5\n"), f"{PAIN}:1", "PSPI is 16.5, not within 0 to 16", COPY),
    "a score below 0": (write_pain("\n-1\n"), f"{PAIN}:2", "PSPI is -1, not within 0 to 16", COPY),
    "no number": (write_pain("none\n"), f"{PAIN}:1", "PSPI is 'none', not a number", COPY),
    "an empty label": (write_pain(""), PAIN, "expected one number, found 0 lines", COPY),
    "two numbers": (write_pain("1\n2\n"), PAIN, "expected one number, found 2 lines", COPY),
    "an image outside of a sequence": (
        lambda root, draw: draw(root / "Images/042-ll042/1.png"),
        "Images/042-ll042/1.png",
        "an image outside of a sequence's folder",
        "Put it where it belongs.",
    ),
    "an image of another format": (
        lambda root, draw: draw(root / "Images/042-ll042/ll042t1aaaff/a.bmp"),
        "Images/042-ll042/ll042t1aaaff/a.bmp",
        "not a format that is read",
        "Save it as JPEG or PNG.",
    ),
}

CASES = [
    (data, name, *case)
    for data, cases in (("DISFAPlus", DISFA_PLUS), ("UNBC", UNBC))
    for name, case in cases.items()
]


@pytest.mark.parametrize(
    ("data", "spoil", "where", "message", "remedy"),
    [case[:1] + case[2:] for case in CASES],
    ids=[f"{data}: {name}" for data, name, *_ in CASES],
)
def test_refused(lay_out, refuse, draw_image, data, spoil, where, message, remedy):
    root = lay_out(data)
    spoil(root, draw_image)
    refuse(root, [(f"{{root}}/{where}", message, remedy)])


MISSING = {
    ("DISFA", "ActionUnit_Labels"): "Lay the data set out as docs/datasets/disfa.md shows.",
    (
        "DISFA",
        "frames",
    ): "Make frames of the videos: comface-bench data prepare disfa; docs/datasets/disfa.md says how.",
    ("DISFAPlus", "Labels"): "Lay the data set out as docs/datasets/disfaplus.md shows.",
    ("DISFAPlus", "Images"): "Lay the data set out as docs/datasets/disfaplus.md shows.",
    ("UNBC", "Images"): "Lay the data set out as docs/datasets/unbc.md shows.",
    ("UNBC", "Frame_Labels/PSPI"): "Lay the data set out as docs/datasets/unbc.md shows.",
}


@pytest.mark.parametrize(("data", "folder"), MISSING)
def test_a_folder_that_is_not_there(lay_out, stop, data, folder):
    root = lay_out(data)
    shutil.rmtree(root / folder)
    stop(root, f"{{root}}/{folder} doesn't exist", MISSING[data, folder])
