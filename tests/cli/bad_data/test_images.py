"""Images by wrong names, that can't be decoded, or that links would fetch from elsewhere."""

from __future__ import annotations

import os
import random
import shutil
import struct
import zlib

import pytest
from PIL import Image, features

PATTERN = "the name isn't of the pattern 001A02.JPG (subject, A, age, perhaps a letter)"
RENAME = "Rename it, or take it out."
ONE_OUT = "Take one of the two out."
AGAIN = "Get the file again, or take it out."
LARGE = "Shrink it, or cut the face out. If it isn't so large, its header is damaged: get the file again."
RESCALE = "Save it with 8 bits a channel, so that black is 0 and white is 255."
COPY = "Copy the images, or point --data at the folder that really holds them."
FIRST = "images/001A02.JPG"


def rename(new):
    return lambda root: (root / FIRST).rename(root / "images" / new)


def copy(new):
    return lambda root: shutil.copy(root / FIRST, root / "images" / new)


NAMES = {
    "another name": (rename("face.JPG"), "face.JPG", PATTERN, RENAME),
    "two digits of a subject": (rename("01A02.JPG"), "01A02.JPG", PATTERN, RENAME),
    "three digits of an age": (rename("001A002.JPG"), "001A002.JPG", PATTERN, RENAME),
    "two letters": (copy("001A30ab.JPG"), "001A30ab.JPG", PATTERN, RENAME),
    "a copy by the file manager": (copy("001A02 (1).JPG"), "001A02 (1).JPG", PATTERN, RENAME),
    "digits of another script": (copy("00١A02.JPG"), "00١A02.JPG", PATTERN, RENAME),
    "one image in two cases": (
        copy("001a02.jpg"),
        "001a02.jpg",
        "this image is there twice, also as 001A02.JPG",
        ONE_OUT,
    ),
    "one image with two endings": (
        copy("001A02.jpeg"),
        "001A02.jpeg",
        "this image is there twice, also as 001A02.JPG",
        ONE_OUT,
    ),
}


@pytest.mark.parametrize("name", NAMES)
def test_names_refused(lay_out, refuse, name):
    root = lay_out("FGNET")
    spoil, where, message, remedy = NAMES[name]
    spoil(root)
    refuse(root, [(f"{{root}}/images/{where}", message, remedy)])


def test_a_folder_by_the_name_of_an_image(lay_out, refuse):
    root = lay_out("FGNET")
    (root / "images" / "001A44.JPG").mkdir()
    reported = "images/001A44.JPG isn't a file under {root}"
    refuse(root, [("images/001A44.JPG", reported, "Put it there, or take the row out.")])


def test_an_age_that_nobody_reaches_is_beyond_two_digits(lay_out, refuse):
    # 99 is the oldest age that a name can say, and within the task's range.
    root = lay_out("FGNET")
    rename("001A150.JPG")(root)
    refuse(root, [("{root}/images/001A150.JPG", PATTERN, RENAME)])


def test_two_folders_of_images(lay_out, refuse):
    root = lay_out("FGNET")
    shutil.copytree(root / "images", root / "Images")
    remedy = "Keep one of them: every image stands in one folder."
    refuse(root, [("", "{root} has the folders Images and images", remedy)])


LAYOUTS = {
    "one level too deep": (
        lambda root: shutil.move(root / "images", root / "FGNET" / "images"),
        "There is {root}/FGNET/images: move what FGNET holds one level up, or: --data {root}",
    ),
    "images in the folder itself": (
        lambda root: (
            [path.rename(root / path.name) for path in (root / "images").iterdir()]
            and (root / "images").rmdir()
        ),
        "The images lie in {root} itself: move them into {root}/images.",
    ),
    "nothing": (
        lambda root: shutil.rmtree(root / "images"),
        "Lay the data set out as docs/datasets/fgnet.md shows.",
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_images_in_another_place(lay_out, stop, name):
    root = lay_out("FGNET")
    spoil, hint = LAYOUTS[name]
    spoil(root)
    stop(root, "{root}/images doesn't exist", hint)


def test_no_images_at_all(lay_out, stop):
    root = lay_out("FGNET")
    for path in (root / "images").iterdir():
        path.unlink()
    hint = "Put them there, or point --data at the folder that holds them."
    stop(root, "FGNET: no images under {root}", hint)


def test_no_data_set_at_all(lay_out, stop):
    root = lay_out("FGNET")
    shutil.rmtree(root)
    how = "FG-NET must be laid out by hand; docs/datasets/fgnet.md shows the layout and the terms."
    stop(root, "task age needs {root}, which doesn't exist", how)


NOISE = b"".join(b"\0" + random.Random(row).randbytes(60) for row in range(20))


def png(width, height, data=b""):
    """Return a PNG whose header promises any size."""

    def chunk(kind, content):
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(data))
        + chunk(b"IEND", b"")
    )


def cut(path, rest=0.6):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * rest)])


def as_avif(path):
    with Image.open(path, formats=["JPEG", "PNG"]) as image:
        image.save(path, "AVIF")
    cut(path)


def huge_jpeg(path):
    """Say 60000 × 60000 in the frame header of a JPEG."""
    content = bytearray(path.read_bytes())
    place = content.index(b"\xff\xc0") + 5
    content[place : place + 4] = struct.pack(">HH", 60000, 60000)
    path.write_bytes(content)


UNREADABLE = {
    "no bytes": (lambda path: path.write_bytes(b""), "is empty", AGAIN),
    "a web page": (
        lambda path: path.write_text("<!DOCTYPE html><html><body>404</body></html>"),
        "is a web page, not a picture",
        "Open the page in a browser to see what the site answers, then get the picture again.",
    ),
    "text of a large-file store": (
        lambda path: path.write_text("version https://git-lfs.example/spec/v1\n"),
        "is a pointer of Git LFS, in place of the picture",
        "Fetch the pictures, in the folder of that clone: git lfs pull",
    ),
    "a JPEG cut off": (cut, "is a JPEG that is cut off after ", AGAIN),
    "a JPEG without its last bytes": (
        lambda path: cut(path, 0.98),
        "is a JPEG that is cut off after ",
        AGAIN,
    ),
    "a PNG cut off": (
        lambda path: path.write_bytes(png(20, 20, NOISE)[:-200]),
        "is a PNG that is cut off after ",
        AGAIN,
    ),
    "a PNG with a wrong byte": (
        lambda path: path.write_bytes(png(20, 20, NOISE).replace(NOISE[600:601], b"?")),
        "is a PNG that can't be decoded: ",
        AGAIN,
    ),
    "a PNG of 60000 × 60000": (
        lambda path: path.write_bytes(png(60000, 60000)),
        "has more than 178 million pixels",
        LARGE,
    ),
    "a JPEG of 60000 × 60000": (huge_jpeg, "has more than 178 million pixels", LARGE),
    "an AVIF cut off": (as_avif, "is an AVIF that can't be decoded: ", AGAIN),
    "floating-point numbers": (
        lambda path: Image.new("F", (8, 8)).save(path, "TIFF"),
        "holds 32-bit floating-point numbers and doesn't say which of them is white",
        RESCALE,
    ),
    "12 bits in 16": (
        lambda path: Image.new("I;16", (8, 8), 4095).save(path, "PNG"),
        "holds 12 bits in numbers of 16, so that it would be nearly black",
        RESCALE,
    ),
    "a single colour": (
        lambda path: Image.new("RGB", (8, 8), (1, 2, 3)).save(path, "PNG"),
        "shows a single colour",
        "Get the picture again, or take it out: there is no face in it.",
    ),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_images_that_can_not_be_used(lay_out, check, name):
    if name == "an AVIF cut off" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    root = lay_out("FGNET")
    spoil, message, remedy = UNREADABLE[name]
    spoil(root / FIRST)
    seen = check(root)
    (problem,) = seen.found["problems"]
    assert seen.status == 2
    assert problem["where"] == str(root / FIRST)
    assert problem["message"].startswith(message)
    assert problem["remedy"] == remedy
    assert seen.err.endswith(f"error: 1 problem\n{root / FIRST}: {problem['message']}\n  {remedy}\n")


def test_cut_off_images_are_reported_though_a_library_would_fill_them(lay_out, check, monkeypatch):
    monkeypatch.setattr("PIL.ImageFile.LOAD_TRUNCATED_IMAGES", True)
    root = lay_out("FGNET")
    cut(root / FIRST)
    assert [one["where"] for one in check(root).found["problems"]] == [str(root / FIRST)]


def outside(root):
    """Move a file or folder out of the data root and leave a link in its place."""
    target = root.parent.parent / "elsewhere" / root.name
    target.parent.mkdir(parents=True, exist_ok=True)
    return lambda path: (shutil.move(path, target), path.symlink_to(target))


LINKS = {
    "an image of FG-NET": ("FGNET", "images/001A02.JPG", ["images/001A02.JPG"]),
    "a folder of frames": ("DISFA", "frames/SN001", [f"frames/SN001/{frame:05d}.jpg" for frame in (1, 2, 3)]),
    "a folder of images": (
        "DISFAPlus",
        "Images/SN001/A1",
        [f"Images/SN001/A1/{image:03d}.jpg" for image in (1, 2, 3)],
    ),
    "a frame": (
        "UNBC",
        "Images/042-ll042/ll042t1aaaff/ll042t1aaaff001.png",
        ["Images/042-ll042/ll042t1aaaff/ll042t1aaaff001.png"],
    ),
    "an image of a table": ("table", "P1/1.png", ["P1/1.png"]),
    "an image of a patient": ("Edema-A", "images/P1_1_pre.jpg", ["images/P1_1_pre.jpg"]),
}
LINES = {"table": "{root}/faces.csv:3", "Edema-A": "{root}/manifest.csv:2"}


@pytest.mark.parametrize("name", LINKS)
def test_links_out_of_the_root(lay_out, refuse, name):
    data, path, images = LINKS[name]
    root = lay_out(data)
    outside(root)(root / path)
    reported = [
        (LINES.get(data, image), f"{image} is a link that leaves the data root", COPY) for image in images
    ]
    refuse(root, reported)


def test_links_within_the_root_are_followed(lay_out, check):
    root = lay_out("FGNET")
    clean = check(root).found["manifest_digest"]
    (root / "images").rename(root / "photographs")
    (root / "images").symlink_to("photographs")
    seen = check(root)
    assert (seen.status, seen.found["manifest_digest"]) == (0, clean)


def test_a_data_root_that_is_itself_a_link_is_followed(lay_out, check, tmp_path):
    root = lay_out("FGNET")
    clean = check(root).found["manifest_digest"]
    (tmp_path / "linked").symlink_to(root.parent)
    seen = check(tmp_path / "linked" / "FGNET")
    assert (seen.status, seen.found["manifest_digest"]) == (0, clean)


def test_a_link_to_nothing(lay_out, refuse):
    root = lay_out("FGNET")
    (root / FIRST).unlink()
    (root / FIRST).symlink_to("gone.JPG")
    refuse(root, [(FIRST, f"{FIRST} isn't a file under {{root}}", "Put it there, or take the row out.")])


def test_links_in_a_ring(lay_out, refuse):
    root = lay_out("FGNET")
    (root / FIRST).unlink()
    (root / FIRST).symlink_to("001A02.JPG")
    refuse(root, [(FIRST, f"{FIRST} isn't a file under {{root}}", "Put it there, or take the row out.")])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes")
def test_a_pipe_in_place_of_an_image_is_not_waited_for(lay_out, check):
    root = lay_out("FGNET")
    (root / FIRST).unlink()
    os.mkfifo(root / FIRST)
    seen = check(root)
    assert [one["message"] for one in seen.found["problems"]] == [f"{FIRST} isn't a file under {root}"]
