"""From the two cameras' videos to a leaderboard, by what a user types."""

import json

import pytest

from comface_bench.tasks.formats.action_units import ACTION_UNITS

SUBJECTS = ("SN001", "SN002", "SN003", "SN004")
FRAMES = 6


@pytest.fixture
def videos(tmp_path, make_video, draw_scene):
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


def test_videos_become_frames_a_checked_task_and_a_result(videos, tmp_path, monkeypatch, call):
    monkeypatch.chdir(tmp_path)

    status, _, err = call("data", "prepare", "disfa", "--source", videos, "--data", "data", "--stride", 1)
    assert status == 0, err
    task = "disfa-au12+split=balanced-2"
    status, out, err = call("data", "check", task, "--data", "data", "--json")
    assert status == 0, err
    found = json.loads(out)
    assert (found["images"], sorted(found["per_subject"])) == (len(SUBJECTS) * FRAMES, list(SUBJECTS))
    # The first image is the video's first frame, and has the labels' first line: (12 + 1) mod 6.
    assert found["labels"]["first"] == ["frames/SN001/00001.jpg", 1]
    small = ("-o", "image_size=32", "-o", "epochs=1", "-o", "pairs_per_epoch=16", "--device", "cpu")
    method = "scratch+backbone=resnet18"
    status, _, err = call(
        "run", "--method", method, "--task", task, "--protocol", "quick", *small, "--data", "data"
    )
    assert status == 0, err
    assert method in (tmp_path / "results" / "leaderboard" / "README.md").read_text()
