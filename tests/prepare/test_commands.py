"""The commands of `data prepare`, and the way from videos to a result."""

import json

import pytest
from PIL import Image
from typer.testing import CliRunner

from comface_bench.cli.prepare import app
from comface_bench.core.errors import BenchError
from comface_bench.tasks.formats.action_units import ACTION_UNITS

pytest.importorskip("dlib")


def run(*words):
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def videos(tmp_path_factory, make_video, draw_scene):
    root = tmp_path_factory.mktemp("videos")
    scenes = [draw_scene(faces) for faces in (1, 0, 2, 1)]
    make_video(root / "Video_RightCamera" / "RightVideoSN001_Comp.avi", scenes)
    return root


def test_disfa_says_what_it_did(videos, tmp_path):
    result = run("disfa", "--source", videos, "--data", tmp_path, "--stride", 1)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "SN001: 2 of 4 frames written (1 without a face, 1 with several)"
    assert "SN001 4 for 4,845" in result.stdout
    assert "faces.csv" in result.stdout
    assert "The labels weren't beside the videos" in result.stdout
    assert "the last frame is number 4, the last label's 4,845; compare the video with its owners' copy" in (
        result.stderr
    )


def test_disfa_in_json(videos, tmp_path, monkeypatch):
    monkeypatch.setenv("COMFACE_DATA", str(tmp_path / "own"))
    report = json.loads(run("disfa", "--source", videos, "--json").stdout)
    assert report["root"] == str(tmp_path / "own" / "DISFA")
    (subject,) = report["subjects"]
    assert subject["subject"] == "SN001"
    assert (subject["looked_at"], subject["written"]) == (1, 1)
    assert (tmp_path / "own" / "DISFA" / "frames" / "SN001" / "00001.jpg").exists()


def test_edema_says_what_it_did(tmp_path, draw_scene):
    source = tmp_path / "source"
    source.mkdir()
    for name, faces in (("a.png", 1), ("b.png", 0)):
        Image.fromarray(draw_scene(faces)).save(source / name)
    (source / "manifest.csv").write_text(
        "image,patient,day,phase,weight_kg\na.png,P,1,pre,60\nb.png,P,1,post,59\n"
    )
    words = ["edema", "--source", source, "--data", tmp_path, "--name", "Edema-B"]
    result = run(*words)
    assert "without an image   P 1 post" in result.stdout
    assert json.loads(run(*words, "--json").stdout)["written"] == 1


def test_fgnet_says_what_it_did(tmp_path, make_fgnet):
    make_fgnet(tmp_path / "source", ("001A02.JPG", "099A01.JPG"))
    words = ["fgnet", "--source", tmp_path / "source", "--data", tmp_path / "data"]
    result = run(*words)
    assert "1,001 more" not in result.stdout
    assert "991 more; --json names all" in result.stdout
    report = json.loads(run(*words, "--json").stdout)
    assert len(report["missing"]) == 1001
    assert report["differing"] == ["001A02.JPG"]
    assert report["unknown"][0].endswith("099A01.JPG")


@pytest.mark.parametrize(
    "words",
    [
        ["disfa", "--source", "gone"],
        ["disfa", "--source", ".", "--camera", "upper"],
        ["edema", "--source", ".", "--name", "Edema-C"],
        ["disfa", "--source", ".", "--margin", "-1"],
        ["disfa", "--source", ".", "--numbering", "order"],
        ["fgnet", "--source", "gone"],
    ],
)
def test_usage_errors(tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BenchError):
        run(*words)
    assert list(tmp_path.iterdir()) == []


SUBJECTS = ("SN001", "SN002", "SN003", "SN004")
FRAMES = 6


@pytest.fixture
def footage(tmp_path, make_video, draw_scene):
    """Both cameras' videos of four people in the published spellings, and their labels."""
    source = tmp_path / "videos"
    for subject in SUBJECTS:
        scenes = [draw_scene(subject=subject, frame=frame) for frame in range(1, FRAMES + 1)]
        make_video(source / "Video_RightCamera" / f"RightVideo{subject}_Comp.avi", scenes)
        # The other camera shows nobody: taking it by mistake would leave no frame.
        blank = [draw_scene(faces=0)] * FRAMES
        make_video(source / "Videos_LeftCamera" / f"LeftVideo{subject}_comp.avi", blank)
        folder = source / "ActionUnit_Labels" / subject
        folder.mkdir(parents=True)
        for unit in ACTION_UNITS:
            lines = [f"{frame},{(unit + frame) % 6}" for frame in range(1, FRAMES + 1)]
            (folder / f"{subject}_au{unit}.txt").write_text("\n".join(lines))
    return source


def test_videos_become_frames_a_checked_task_and_a_result(footage, tmp_path, monkeypatch, call):
    monkeypatch.chdir(tmp_path)

    status, _, err = call("data", "prepare", "disfa", "--source", footage, "--data", "data", "--stride", 1)
    assert status == 0, err
    task = "disfa-au12+split=balanced-2"
    status, out, err = call("data", "check", task, "--data", "data", "--json")
    assert status == 0, err
    found = json.loads(out)
    assert (found["images"], sorted(found["per_subject"])) == (len(SUBJECTS) * FRAMES, list(SUBJECTS))
    # The first image is the video's first frame, and has the labels' first line: (12 + 1) mod 6.
    assert found["labels"]["first"] == ["frames/SN001/00001.jpg", 1]
    small = ("-o", "image_size=32", "-o", "epochs=1", "-o", "pairs_per_epoch=16", "--device", "cpu")
    small += ("-o", "precision=float32")
    method = "scratch+backbone=resnet18"
    status, _, err = call(
        "run", "--method", method, "--task", task, "--protocol", "quick", *small, "--data", "data"
    )
    assert status == 0, err
    assert method in (tmp_path / "results" / "leaderboard" / "README.md").read_text()
