"""`comface-bench explain` on rendered faces that ship: what is printed, written and refused."""

import json
from pathlib import Path

import pytest
from PIL import Image

import comface_bench as cb
import comface_bench.tasks
from comface_bench.engine.attribution import Windows

FACES = Path(comface_bench.tasks.__file__).parent / "synthfaces" / "FGNET" / "images"
PLUGIN = """
import torch
from comface_bench.core.card import MethodCard, Preprocess

CARDS = (MethodCard(name="tiny", version=1, build=":build", backbone="tiny", preprocess=Preprocess()),)


def build(options, weights, seed):
    torch.manual_seed(0)
    pool = torch.nn.AdaptiveAvgPool2d(1)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, stride=2), torch.nn.ReLU(), pool, torch.nn.Flatten())
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A record with models, and the words that name it; nothing changes them."""
    folder = tmp_path_factory.mktemp("made")
    plugin = folder / "tiny.py"
    plugin.write_text(PLUGIN)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMFACE_CACHE", str(folder / "cache"))
        cb.run(
            "tiny",
            "synth-age",
            "probe",
            folds=[0, 1],
            results=folder / "results",
            plugins=[plugin],
            image_size=32,
        )
    (record,) = (folder / "results").glob("*/*/*.json")
    return ["explain", "--model", record, "--plugin", plugin, "--device", "cpu"]


@pytest.fixture(autouse=True)
def no_detector(monkeypatch):
    """Looking for faces takes longer than the rest."""
    monkeypatch.setattr("comface_bench.execute.models._open_finder", lambda: None)


@pytest.fixture
def pair():
    return FACES / "001A07.JPG", FACES / "001A46.JPG"


def test_a_picture_and_what_stands_out(call, made, pair, tmp_path):
    pytest.importorskip("matplotlib")
    out = tmp_path / "new" / "picture.png"
    status, said, err = call(*made, *pair, "--out", out)
    assert status == 0, err
    estimate, first, second, written = said.splitlines()
    assert estimate.startswith("age: ") and " years (" in estimate
    assert first.startswith("first: the strongest region, ") and first.endswith(" years")
    assert second.startswith("second: ")
    assert written == str(out)
    with Image.open(out, formats=["JPEG", "PNG"]) as opened:
        assert opened.size == (810, 840)


@pytest.mark.parametrize("method", ["occlusion", "gradients"])
def test_numbers_for_programs(call, made, pair, method):
    words = ["--json", "--method", method, "--window", "0.5", "--stride", "0.25"]
    status, said, err = call(*made, *pair, *words)
    assert status == 0, err
    found = json.loads(said)
    assert said.count("\n") == 1
    assert (found["method"], found["image_size"], found["window"]) == (method, 32, 16)
    assert found["rows"] == found["columns"] == list(Windows.over(32, 32, 0.5, 0.25).rows)
    for side in ("first", "second"):
        grid = found["effects"][side]
        assert [len(row) for row in grid] == [len(found["columns"])] * len(found["rows"])
        assert any(value for row in grid for value in row)
    assert found["low"] <= found["change"] <= found["high"]
    predicted = call("predict", *made[1:], *pair, "--json")[1]
    assert json.loads(predicted)["change"] == pytest.approx(found["change"], abs=1e-9)


def test_what_cant_be_meant(call, made, pair, draw_image, tmp_path):
    small = draw_image(tmp_path / "small.png", 1, (20, 20))
    for words, wanted, said in (
        (pair, 2, "--out FILE.png"),
        ((*pair, "--out", "picture.gif"), 2, "a picture is called .png, .jpg, .svg or .pdf"),
        ((*pair, "--json", "--window", "2"), 2, "a window of 2"),
        ((*pair, "--json", "--method", "saliency"), 2, "saliency"),
        ((pair[0], "--json"), 2, "SECOND"),
        ((pair[0], small, "--json"), 1, "has 20 × 20 pixels"),
        ((pair[0], tmp_path / "none.jpg", "--json"), 1, "there is no photograph"),
    ):
        status, out, err = call(*made, *words)
        assert (status, out) == (wanted, "") and said in err, err
    status, out, err = call(*made, pair[0], small, "--json", "--any-photo", "--stride", "0.2")
    assert status == 0 and json.loads(out)["change"] != 0, err


@pytest.mark.parametrize("command", ["explain", "predict"])
def test_a_file_that_cant_be_written_is_said_before_the_work(
    call, made, pair, command, tmp_path, monkeypatch
):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr("comface_bench.execute.models.load_model", None)
    folder, file = tmp_path / "folder.png", tmp_path / "file"
    folder.mkdir()
    file.touch()
    for out, said in ((folder, f"--out {folder}/NAME"), (file / "a.png", "file isn't a folder")):
        status, _, err = call(command, *made[1:], *pair, "--out", out)
        assert status == 2 and said in err, err
    assert sorted(tmp_path.rglob("*")) == [file, folder]


def test_a_photograph_without_a_face_is_refused(call, made, pair, draw_image, tmp_path, monkeypatch):
    pytest.importorskip("dlib")
    monkeypatch.undo()
    monkeypatch.setenv("COMFACE_CACHE", str(tmp_path / "cache"))
    noise = draw_image(tmp_path / "noise.png", 1, (112, 112))
    status, _, err = call(*made, noise, pair[0], "--json")
    assert status == 1 and "shows no face" in err and "--any-photo" in err
    status, _, err = call(*made, noise, pair[0], "--json", "--any-photo", "--stride", "0.2")
    assert status == 0, err
