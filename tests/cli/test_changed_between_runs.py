"""Whatever changes between two runs of one command: the second is right for it, or says what is wrong.

A small data set is drawn and run. Then one thing changes, behind the product's back: sizes and times of
files stay as they were. The same command must give what it gives in an empty folder on the changed files,
or end with an error. What it must never give is the earlier answer.
"""

import contextlib
import csv
import functools
import gzip
import io
import json
import os
import re
import shutil
from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from comface_bench.cli.main import main

PLUGIN = """
import torch
from comface_bench.core.card import MethodCard, Preprocess

CARD = MethodCard(
    name="tiny", version=1, build=":build", backbone="tiny", preprocess=Preprocess(), drawn=True
)


def build(options, weights, seed):
    torch.manual_seed(seed)
    pool = torch.nn.AdaptiveAvgPool2d(1)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, stride=2), torch.nn.ReLU(), pool, torch.nn.Flatten())
"""
SUBJECTS, IMAGES, SIDE = 8, 3, 16


def draw_data(folder, seed):
    """Write a table of people, with images that aren't compressed, so that any change keeps their size."""
    random, rows = np.random.default_rng(seed), ["image,subject,pain"]
    folder.mkdir(parents=True)
    for subject in range(SUBJECTS):
        for number in range(IMAGES):
            name = f"s{subject}_{number}.png"
            pixels = random.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name, compress_level=0)
            rows.append(f"{name},P{subject},{random.integers(10, 100)}")
    (folder / "faces.csv").write_text("\n".join(rows) + "\n")


def call(folder, *words):
    """Call the command line with a folder's own cache; returns the exit status and what was said."""
    said = io.StringIO()
    with (
        mock.patch.dict(os.environ, COMFACE_CACHE=str(folder / "cache")),
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(said),
    ):
        try:
            status = main([str(word) for word in words])
        except SystemExit as leaving:
            status = int(leaving.code or 0)
    assert "This was not foreseen" not in said.getvalue(), said.getvalue()
    assert status == 0 or "error" in said.getvalue(), said.getvalue()
    return status, said.getvalue()


def run(folder, plugin):
    words = ["run", "--method", "tiny", "--plugin", plugin, "--no-plugins", "--protocol", "probe"]
    words += ["-o", "image_size=16", "--device", "cpu", "--task", f"csv:{folder}/data/faces.csv"]
    return call(folder, *words, "--results", folder / "results")


def page(path):
    """The rows of a board, without how fast they were computed."""
    with path.open(newline="") as stream:
        return [{**row, "images_per_second": ""} for row in csv.DictReader(stream)]


def answer(folder):
    """All numbers that a run leaves: on the board, in the record, and its predictions."""
    record, predictions = found(folder, "tiny.json"), found(folder, "tiny.predictions.csv.gz")
    facts = json.loads(record.read_text())
    metrics = {unit["fold"]: unit["metrics"] for unit in facts["units"]}
    board = page(folder / "results" / "leaderboard" / "leaderboard.csv")
    return board, facts["summary"], metrics, gzip.decompress(predictions.read_bytes()).decode()


def found(folder, pattern):
    (path,) = folder.rglob(pattern)
    return path


def rewrite(path, data):
    """Replace a file's bytes; its times stay."""
    before = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def an_image(folder, random):
    return folder / "data" / f"s{random.integers(SUBJECTS)}_{random.integers(IMAGES)}.png"


def change_pixels(folder, random):
    path = an_image(folder, random)
    size = path.stat().st_size
    with Image.open(path, formats=["PNG"]) as image:
        pixels = np.array(image)
    y, x = random.integers(SIDE - 4, size=2)
    pixels[y : y + 4, x : x + 4] = 255 - pixels[y : y + 4, x : x + 4]
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=0)
    assert len(stream.getvalue()) == size
    rewrite(path, stream.getvalue())


def change_names(folder, random):
    """Two images of one person change places."""
    first, second = random.choice(IMAGES, 2, replace=False)
    subject = random.integers(SUBJECTS)
    one, other = (folder / "data" / f"s{subject}_{number}.png" for number in (first, second))
    before, after = one.read_bytes(), other.read_bytes()
    rewrite(one, after)
    rewrite(other, before)


def change_table(pattern, replace):
    def change(folder, random):
        path = folder / "data" / "faces.csv"
        lines = path.read_text().splitlines()
        row = 1 + random.integers(SUBJECTS * IMAGES)
        cell = re.search(pattern, lines[row])
        lines[row] = lines[row].replace(cell[0], replace(cell[0], random))
        rewrite(path, ("\n".join(lines) + "\n").encode())

    return change


def other_label(cell, random):
    return f",{10 + (int(cell[1:]) - 10 + random.integers(1, 90)) % 90}"


def other_subject(cell, random):
    return f",P{(int(cell[2]) + random.integers(1, SUBJECTS)) % SUBJECTS},"


def flip_bytes(pattern):
    def change(folder, random):
        paths = sorted(path for path in folder.rglob(pattern) if path.is_file())
        path = paths[random.integers(len(paths))]
        data = bytearray(path.read_bytes())
        place = int(random.integers(len(data)))
        for index in range(place, min(place + 16, len(data))):
            data[index] ^= 0xFF
        rewrite(path, bytes(data))

    return change


def other_digit(text, random, pattern):
    """Change one digit of a text; `pattern` finds those that may be."""
    places = [match.start(1) for match in re.finditer(pattern, text)]
    place = places[random.integers(len(places))]
    return text[:place] + str((int(text[place]) + random.integers(1, 10)) % 10) + text[place + 1 :]


def change_store(folder, random):
    """Its records go, too: with them, no image would be looked at."""
    flip_bytes("cache/images/*")(folder, random)
    shutil.rmtree(folder / "results")


def change_record(folder, random):
    """A digit of any number or digest, and each third time one of a metric."""
    path = found(folder, "tiny.json")
    pattern = r'"value": -?\d*\.?(\d)' if random.integers(3) else r"(\d)"
    rewrite(path, other_digit(path.read_text(), random, pattern).encode())


def change_predictions(folder, random):
    path = found(folder, "tiny.predictions.csv.gz")
    text = other_digit(gzip.decompress(path.read_bytes()).decode(), random, r",-?\d+\.(\d)\d*\n")
    rewrite(path, gzip.compress(text.encode(), mtime=0))


CHANGES = {
    "pixels": change_pixels,
    "names": change_names,
    "label": change_table(r",\d+$", other_label),
    "subject": change_table(r",P\d,", other_subject),
    "store": change_store,
    "record": change_record,
    "record's bytes": flip_bytes("tiny.json"),
    "predictions": change_predictions,
    "predictions' bytes": flip_bytes("tiny.predictions.csv.gz"),
}


@pytest.fixture(scope="module")
def first_run(tmp_path_factory):
    """Draw a data set by its seed and run it; returns its folder, which nobody changes, and the plugin."""
    plugin = tmp_path_factory.mktemp("plugin") / "tiny_methods.py"
    plugin.write_text(PLUGIN)

    @functools.cache
    def make(seed):
        folder = tmp_path_factory.mktemp("first")
        draw_data(folder / "data", seed)
        status, said = run(folder, plugin)
        assert status == 0, said
        return folder, plugin

    return make


def check_change(first_run, scratch, what, data_seed, seed):
    first, plugin = first_run(data_seed)
    with contextlib.ExitStack() as stack:
        folders = [scratch / name for name in ("again", "fresh")]
        for folder in folders:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        again, fresh = folders
        shutil.copytree(first, again)
        CHANGES[what](again, np.random.default_rng(seed))
        shutil.copytree(again / "data", fresh / "data")
        fresh_status, said = run(fresh, plugin)
        wanted = answer(fresh) if fresh_status == 0 else said
        words = ("--results", again / "results", "--out", again / "pages", "--plugin", plugin)
        records = (again / "results").exists()
        if (
            records and call(again, "leaderboard", "build", *words)[0] == 0
        ):  # the board of what was run before the change, whatever was done to its files
            assert page(again / "pages" / "leaderboard.csv") == answer(first)[0]
        status, said = run(again, plugin)
        if status == 0:
            assert fresh_status == 0, f"an empty folder gives an error, this one none:\n{wanted}"
            assert answer(again) == wanted, said
            assert (answer(again) != answer(first)) == (what in ("pixels", "names", "label", "subject"))


QUICK = settings(
    max_examples=3,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],  # there is no simpler number of a seed
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("what", CHANGES)
def test_the_second_run_is_right_or_says_what_is_wrong(first_run, tmp_path, what):
    @QUICK
    @given(st.integers(0, 1), st.integers(0, 2**32))
    def check(data_seed, seed):
        check_change(first_run, tmp_path, what, data_seed, seed)

    check()


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("COMFACE_TEST_LONG"), reason="COMFACE_TEST_LONG isn't set: minutes")
@pytest.mark.parametrize("what", CHANGES)
def test_after_many_changes_too(first_run, tmp_path, what):
    @settings(QUICK, max_examples=25, derandomize=False)
    @given(st.integers(0, 9), st.integers(0, 2**32))
    def check(data_seed, seed):
        check_change(first_run, tmp_path, what, data_seed, seed)

    check()
