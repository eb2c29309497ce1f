"""Many problems at once, the same problems in any order of folders, and `run` on spoiled data."""

from __future__ import annotations

import os
import random
import shutil

import pytest

AU12 = "ActionUnit_Labels/SN001/SN001_au12.txt"


def seen_places(seen, root):
    return [one["where"].removeprefix(f"{root}/") for one in seen.found["problems"]]


def spoil_fgnet(root, draw):
    images = root / "images"
    draw(images / "face.JPG")
    shutil.copy(images / "001A02.JPG", images / "001a02.jpg")
    (images / "002A02.JPG").write_bytes(b"")
    (images / "003A02.JPG").write_bytes((images / "003A02.JPG").read_bytes()[:-100])
    elsewhere = draw(root.parent.parent / "elsewhere.JPG")
    (images / "004A02.JPG").unlink()
    (images / "004A02.JPG").symlink_to(elsewhere)
    return [
        "images/001a02.jpg",
        "images/face.JPG",
        "images/004A02.JPG",
        "images/002A02.JPG",
        "images/003A02.JPG",
    ]


def spoil_table(root, draw):
    path = root / "faces.csv"
    rows = path.read_text().splitlines()
    rows[1] = rows[1].replace("pre", "during")
    rows[2] = "P1/1.png,P1,day 1"
    rows[4] = rows[4].rpartition(",")[0] + ",a lot"
    rows[5] = rows[5].replace("P2/1.png", "../P2/1.png")
    rows[6] = rows[6].replace("P2/2.png", "P2/7.png")
    rows[7] = rows[7].replace("P3/0.png", "P3/1.png")
    path.write_text("\n".join(rows) + "\n")
    (root / "P4" / "0.png").write_text("<html>")
    # What is no row; what the reader finds, line by line; what the manifest and the images show.
    return [f"faces.csv:{line}" for line in (3, 2, 5, 9, 6, 7)] + ["P4/0.png"]


def spoil_disfa(root, draw):
    (root / AU12).write_text("1,1\n2,6\n3,-1\n1,0\n4,x\n")
    (root / AU12.replace("SN001", "SN002")).unlink()
    draw(root / "frames" / "SN003" / "00009.jpg")
    draw(root / "frames" / "SN033" / "00001.jpg")
    (root / "frames" / "SN010" / "00001.jpg").write_bytes(b"GIF89a")
    (root / "exclude.csv").write_text("subject,first,last,reason\nSN001,0,2,dark\nSN001,1,2\n")
    return [
        *("exclude.csv:2", "exclude.csv:3", "frames/SN033", f"{AU12}:4", f"{AU12}:5"),
        *("ActionUnit_Labels/SN002", "frames/SN003/00009.jpg", f"{AU12}:2", f"{AU12}:3"),
        "frames/SN010/00001.jpg",
    ]


def spoil_edema(root, draw):
    path = root / "manifest.csv"
    rows = path.read_text().splitlines()
    rows[1] = rows[1].replace(",51", ",51000")
    rows[2] = rows[2].replace(",post,", ",after,")
    rows[5] = rows[5].replace(",52", ",heavy")
    rows[9], rows[10] = rows[9].replace("pre", "post", 2), rows[10].replace(",post,", ",pre,")
    rows[9] = rows[9].replace("_post.jpg", "_pre.jpg")
    rows[13] = rows[13].replace(",P4,", ",,")
    path.write_text("\n".join(rows) + "\n")
    return [f"manifest.csv:{line}" for line in (2, 3, 6, 14, 10)]


SPOILED = {"FGNET": spoil_fgnet, "table": spoil_table, "DISFA": spoil_disfa, "Edema-A": spoil_edema}


@pytest.mark.parametrize("data", SPOILED)
def test_problems_of_all_kinds_are_reported_at_once(lay_out, check, draw_image, data):
    root = lay_out(data)
    expected = SPOILED[data](root, draw_image)
    seen = check(root)
    assert seen.status == 2
    assert seen_places(seen, root) == expected
    assert f"error: {len(expected)} problems" in seen.err
    assert all(one["remedy"] for one in seen.found["problems"])
    for problem in seen.found["problems"]:
        assert f"{problem['where']}: {problem['message']}\n" in seen.err
        assert f"  {problem['remedy']}\n" in seen.err


@pytest.mark.parametrize("data", ["DISFA", "FGNET"])
def test_the_order_of_folders_does_not_change_what_is_reported(lay_out, check, draw_image, monkeypatch, data):
    root = lay_out(data)
    SPOILED[data](root, draw_image)
    clean = check(root).found
    listdir = os.listdir
    monkeypatch.setattr(
        os, "listdir", lambda path=".": random.Random(3).sample(names := listdir(path), len(names))
    )
    assert check(root).found == clean


def test_a_label_that_all_subjects_lack_is_reported_once_each(lay_out, refuse):
    root = lay_out("DISFA")
    subjects = ("SN001", "SN002", "SN003", "SN010")
    for subject in subjects:
        (root / AU12.replace("SN001", subject)).unlink()
    reported = [
        (
            f"{{root}}/ActionUnit_Labels/{subject}",
            "no label file of au12",
            f"All 12 action units are needed, as {subject}_au1.txt or au1.txt and so on.",
        )
        for subject in subjects
    ]
    refuse(root, reported)


def test_of_very_many_problems_a_hundred_are_printed(lay_out, check, draw_image):
    root = lay_out("FGNET")
    for number in range(120):
        (root / "images" / f"face{number:03d}.JPG").write_bytes(b"")
    seen = check(root)
    assert (seen.status, len(seen.found["problems"])) == (2, 120)
    assert seen.err.count("face") == 100
    assert seen.err.endswith("… and 20 more; --json lists them all\n")


RUN = {
    "DISFA": (
        lambda root: (root / AU12).write_text("1,1\n2,6\n"),
        f"{AU12}:2: intensity 6 isn't within 0 to 5",
    ),
    "FGNET": (
        lambda root: (root / "images" / "001A02.JPG").rename(root / "images" / "face.JPG"),
        "images/face.JPG: the name isn't of the pattern",
    ),
    "Edema-A": (
        lambda root: (root / "manifest.csv").write_text(
            (root / "manifest.csv").read_text().replace(",51\n", ",51000\n", 1)
        ),
        "manifest.csv:2: weight_kg is 51000: grams, not kilograms",
    ),
    "table": (lambda root: shutil.rmtree(root / "P4"), "P4/0.png isn't a file under"),
}


@pytest.mark.parametrize("data", RUN)
def test_run_stops_before_it_writes_anything(lay_out, call, plugin, own_folders, tmp_path, data):
    root = lay_out(data)
    spoil, reported = RUN[data]
    spoil(root)
    results = tmp_path / "results"
    (results / "old").mkdir(parents=True)
    (results / "old" / "record.json").write_text("{}")
    before = snapshot(tmp_path), snapshot(own_folders)
    status, _, err = call(*words(root, plugin, results))
    assert status == 2
    assert reported in err
    assert "Traceback" not in err
    assert (snapshot(tmp_path), snapshot(own_folders)) == before


def test_run_stops_at_an_image_that_is_cut_off(lay_out, call, plugin, tmp_path):
    root = lay_out("FGNET")
    image = root / "images" / "001A02.JPG"
    image.write_bytes(image.read_bytes()[:-100])
    before = snapshot(root)
    status, _, err = call(*words(root, plugin, tmp_path / "results"))
    assert status in (1, 2)
    assert f"{image} is a JPEG that is cut off after " in err
    assert "Traceback" not in err
    assert snapshot(root) == before
    assert not list(tmp_path.rglob("results/**/*.json"))


def words(root, plugin, results):
    tasks = {"DISFA": "disfa-au12", "FGNET": "age", "Edema-A": "edema-a", "table": f"csv:{root}/faces.csv"}
    return [
        *("run", "--method", "tiny", "--task", tasks[root.name], "--data", root.parent),
        *("--plugin", plugin, "--no-plugins", "--results", results, "--device", "cpu"),
        *("-o", "split=balanced-2", "-o", "image_size=16", "-o", "epochs=1", "-o", "pairs_per_epoch=4"),
    ]


def snapshot(folder):
    return {
        str(path): (path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in folder.rglob("*")
        if path.name != "__pycache__" and path.suffix != ".pyc"  # Python's own, of the plugin
    }
