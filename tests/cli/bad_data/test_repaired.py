"""Harmless oddities of people's copies: read as if they weren't there, down to the manifest's digest."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from PIL import Image, ImageOps

from comface_bench.data.task import load_task

TEXTS = ("*.txt", "*.csv")


def rewrite(change, *patterns):
    """Change the bytes of all label files and tables."""

    def repairable(root):
        for pattern in patterns or TEXTS:
            for path in root.rglob(pattern):
                path.write_bytes(change(path.read_bytes()))

    return repairable


def add_junk(root):
    """Leave behind what macOS and Windows do, in every folder."""
    for folder in [root, *(path for path in root.rglob("*") if path.is_dir())]:
        (folder / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
        (folder / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
        (folder / "desktop.ini").write_text("[.ShellClassInfo]\r\n")
        (folder / "__MACOSX").mkdir()
        (folder / "__MACOSX" / "._001A02.JPG").write_bytes(b"\0\5\x16\7")
        for path in list(folder.iterdir()):
            if path.suffix.lower() in (".jpg", ".png", ".txt", ".csv"):
                path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7")


def shuffle_lines(root):
    """Put the lines behind the header in another order."""
    for number, path in enumerate(sorted((*root.rglob("*.txt"), *root.rglob("*.csv")))):
        lines = path.read_text().splitlines(keepends=True)
        head = {"DISFA": 0, "DISFAPlus": 2}.get(root.name, 1 if path.suffix == ".csv" else 0)
        body = lines[head:]
        random.Random(number).shuffle(body)
        path.write_text("".join(lines[:head] + body))


EVERYWHERE = {
    "byte-order mark": rewrite(lambda text: b"\xef\xbb\xbf" + text),
    "CRLF": rewrite(lambda text: text.replace(b"\n", b"\r\n")),
    "CR": rewrite(lambda text: text.replace(b"\n", b"\r")),
    "byte-order mark and CRLF": rewrite(lambda text: b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n")),
    "blank last lines": rewrite(lambda text: text + b"\n  \n\n"),
    "no last line end": rewrite(lambda text: text.rstrip(b"\n")),
    "blanks at line ends": rewrite(lambda text: text.replace(b"\n", b" \t\n")),
    "junk files": add_junk,
    "lines in another order": shuffle_lines,
}


@pytest.mark.parametrize("data", ["DISFA", "DISFAPlus", "UNBC", "Edema-A", "table"])
@pytest.mark.parametrize("name", EVERYWHERE)
def test_every_set_is_read_all_the_same(lay_out, check, check_clean, data, name):
    root = lay_out(data)
    clean = check_clean(root)
    EVERYWHERE[name](root)
    seen = check(root)
    assert (seen.status, seen.err) == (0, "")
    assert seen.found == clean


def lower_labels(root):
    for path in [*root.glob("ActionUnit_Labels/*/*.txt")]:
        path.rename(path.with_name(path.name.lower()))
    (root / "ActionUnit_Labels").rename(root / "actionunit_labels")


def shorten_labels(root):
    for path in [*root.glob("ActionUnit_Labels/*/*.txt")]:
        path.rename(path.with_name(path.name.partition("_")[2]))
    (root / "ActionUnit_Labels").rename(root / "labels")


def pad_labels(root):
    for path in root.glob("ActionUnit_Labels/*/*.txt"):
        path.write_text(path.read_text().replace(",", " , "))


def other_columns(root):
    """Turn the order of the columns round and add one that nobody reads."""
    path = next(root.glob("*.csv"))
    rows = [line.split(",")[::-1] for line in path.read_text().splitlines()]
    path.write_text("\n".join(",".join(row) for row in rows) + "\n")


def quote_cells(root):
    path = next(root.glob("*.csv"))
    rows = [line.split(",") for line in path.read_text().splitlines()]
    path.write_text("\n".join(",".join(f'" {cell} "' for cell in row) for row in rows) + "\n")


def upper_phases(root):
    path = next(root.glob("*.csv"))
    path.write_text(path.read_text().replace(",pre,", ",PRE,").replace(",post,", ",Post,"))


def other_number_forms(root):
    path = root / "manifest.csv"
    path.write_text(path.read_text().replace(",51\n", ",51.0\n").replace(",50\n", ",+5.0e1\n"))


def name_images_without_ending(root):
    for path in root.glob("Labels/*/*/*.txt"):
        path.write_text(path.read_text().replace(".jpg", ""))


def upper_names_in_labels(root):
    for path in root.glob("Labels/*/*/*.txt"):
        path.write_text(path.read_text().replace(".jpg", ".JPG"))
        path.rename(path.with_name(path.name.lower()))


def upper_label_names(root):
    for path in [*root.glob("Frame_Labels/*/*/*/*.txt")]:
        path.rename(path.with_name(path.name.upper()))


def landmarks(root):
    for folder in ("points", "Data_files"):
        (root / folder).mkdir()
    (root / "points" / "001a02.pts").write_bytes(b"version: 1\r\nn_points: 68\r\n{\r\n1 2\r\n}\r\n")
    (root / "Data_files" / "001a43A.dat").write_bytes(b"")


def other_files_of_disfa(root):
    for name in (
        "Landmark_Points/SN001/tmp_frame_lm/SN001_0000_lm.mat",
        "Videos_LeftCamera/LeftVideoSN001_comp.avi",
        "Video_RightCamera/RightVideoSN001_Comp.avi",
        "ActionUnit_Labels/SN001/readme.doc",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"RIFF")


ONE_SET = {
    "DISFA: labels in lower case": ("DISFA", lower_labels),
    "DISFA: labels by short names": ("DISFA", shorten_labels),
    "DISFA: blanks around commas": ("DISFA", pad_labels),
    "DISFA: videos of both cameras and landmarks": ("DISFA", other_files_of_disfa),
    "DISFA: an own list of no exclusions": (
        "DISFA",
        lambda root: (root / "exclude.csv").write_text("subject,first,last,reason\n"),
    ),
    "DISFA+: image names without ending": ("DISFAPlus", name_images_without_ending),
    "DISFA+: image names in capitals": ("DISFAPlus", upper_names_in_labels),
    "UNBC: label names in capitals": ("UNBC", upper_label_names),
    "FG-NET: junk files": ("FGNET", add_junk),
    "FG-NET: points and data files": ("FGNET", landmarks),
    "Edema: columns in another order": ("Edema-A", other_columns),
    "Edema: quoted cells": ("Edema-A", quote_cells),
    "Edema: phases in capitals": ("Edema-A", upper_phases),
    "Edema: other forms of numbers": ("Edema-A", other_number_forms),
    "Edema: the version stated": (
        "Edema-A",
        lambda root: rewrite(lambda text: b"# comface-bench edema 1\n" + text)(root),
    ),
    "Edema: the version stated by a spreadsheet": (
        "Edema-A",
        lambda root: rewrite(lambda text: b"\xef\xbb\xbf# comface-bench edema 1,,,,\r\n" + text)(root),
    ),
    "csv: columns in another order": ("table", other_columns),
    "csv: quoted cells": ("table", quote_cells),
    "csv: phases in capitals": ("table", upper_phases),
}


@pytest.mark.parametrize("name", ONE_SET)
def test_spellings_that_are_documented(lay_out, check, check_clean, name):
    data, repairable = ONE_SET[name]
    root = lay_out(data)
    clean = check_clean(root)
    repairable(root)
    seen = check(root)
    assert (seen.status, seen.err) == (0, "")
    assert seen.found == clean


def table_of(root):
    """Return the labels, subject and age or the like, by image name in lower case without leading zeros."""
    names = {"FGNET": "age", "DISFA": "disfa-au12"}
    frame = load_task(f"{names[root.name]}+split=balanced-2", root.parent).manifest
    keys = [Path(name).stem.lower().lstrip("0") for name in frame["image"]]
    frame["image"] = [f"{subject} {key}" for subject, key in zip(frame["subject"], keys, strict=True)]
    return frame.sort_values("image").reset_index(drop=True)


def recase(root):
    for path in [*(root / "images").iterdir()]:
        path.rename(path.with_name(path.name.swapcase()))
    (root / "images").rename(root / "IMAGES")


def jpeg_endings(root):
    for path in [*(root / "images").iterdir()]:
        path.rename(path.with_suffix(".jpeg"))


def convert(mode):
    def repairable(root):
        for path in (root / "images").iterdir():
            with Image.open(path, formats=["JPEG", "PNG"]) as image:
                image.load()
            (ImageOps.grayscale(image) if mode == "L" else image.convert(mode)).save(path, "JPEG")

    return repairable


def without_zeros(root):
    for path in [*(root / "frames").glob("*/*")]:
        path.rename(path.with_name(path.name.lstrip("0").replace(".jpg", ".JPEG")))


OTHER_DIGEST = {
    "names in the other case": ("FGNET", recase),
    "another ending": ("FGNET", jpeg_endings),
    "grey images": ("FGNET", convert("L")),
    "CMYK images": ("FGNET", convert("CMYK")),
    "frames without leading zeros": ("DISFA", without_zeros),
}


@pytest.mark.parametrize("name", OTHER_DIGEST)
def test_other_names_or_pixels_give_the_same_labels(lay_out, check, name):
    data, repairable = OTHER_DIGEST[name]
    root = lay_out(data)
    clean = table_of(root)
    repairable(root)
    seen = check(root)
    assert (seen.status, seen.err) == (0, "")
    assert table_of(root).equals(clean)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_colour_modes_are_counted(lay_out, check, mode):
    root = lay_out("FGNET")
    convert(mode)(root)
    found = check(root).found
    assert found["modes"] == {mode: 16}
    assert found["grey_images"] == (16 if mode == "L" else 0)


class Shuffled:
    """A folder's entries in an order by chance."""

    def __init__(self, entries, seed):
        self._entries = entries
        self._shuffled = list(entries)
        random.Random(seed).shuffle(self._shuffled)

    def __iter__(self):
        return iter(self._shuffled)

    def __next__(self):
        return self._shuffled.pop()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        getattr(self._entries, "close", lambda: None)()


@pytest.mark.parametrize("data", ["DISFA", "DISFAPlus", "UNBC", "FGNET", "Edema-A"])
@pytest.mark.parametrize("seed", [1, 2])
def test_the_order_of_folders_does_not_matter(lay_out, check, check_clean, monkeypatch, data, seed):
    root = lay_out(data)
    clean = check_clean(root)
    scandir, listdir = os.scandir, os.listdir
    asked = []

    def shuffled_scandir(path="."):
        asked.append(path)
        return Shuffled(scandir(path), seed)

    def shuffled_listdir(path="."):
        asked.append(path)
        return list(Shuffled(listdir(path), seed))

    monkeypatch.setattr(os, "scandir", shuffled_scandir)
    monkeypatch.setattr(os, "listdir", shuffled_listdir)
    seen = check(root)
    monkeypatch.undo()
    assert asked
    assert (seen.status, seen.found) == (0, clean)


def test_frames_of_a_stride_are_joined_by_number(lay_out, check, draw_image):
    root = lay_out("DISFA")
    clean = table_of(root)
    for subject in ("SN001", "SN002", "SN003", "SN010"):
        (root / "frames" / subject / "00002.jpg").unlink()
    assert check(root).status == 0
    kept = clean[~clean["image"].str.endswith(" 2")].reset_index(drop=True)
    assert table_of(root).equals(kept)
