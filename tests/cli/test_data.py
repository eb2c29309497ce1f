"""`data check`, `synth render`, `leaderboard build` and `doctor`."""

import json
import os
from pathlib import Path

import pytest


def test_check_prints_the_counts(call, data):
    status, out, _ = call("data", "check", "age+split=balanced-4", "--data", data)
    assert status == 0
    facts = dict(line.split("  ", 1) for line in out.split("\n\n")[0].splitlines())
    assert facts["images"].strip() == "32"
    assert facts["subjects"].strip() == "8"
    assert facts["pairs"].strip() == "48 within subjects, 0 of them with zero change"
    assert facts["grey images"].strip() == "0"
    assert facts["age"].strip().startswith("2 to 60 years")


def test_check_in_json(call, data):
    found = json.loads(call("data", "check", "age+split=balanced-4", "--data", data, "--json")[1])
    assert found["ok"] is True
    assert (found["images"], len(found["per_subject"]), found["pairs"]) == (32, 8, 48)
    assert sum(fold["test_pairs"] for fold in found["folds"]) == 48


def test_the_hint_of_a_split_that_does_not_fit_can_be_typed(call, data):
    status, _, err = call("data", "check", "age", "--data", data)
    assert status == 2
    option = err.strip().rsplit(": ", 1)[1].split()
    assert option == ["-o", "split=balanced-4"]
    assert call("data", "check", "age", "--data", data, *option)[0] == 0


def test_a_truncated_image_is_found(call, data):
    path = data / "FGNET" / "images" / "001A02.JPG"
    path.write_bytes(path.read_bytes()[:-200])
    status, _, err = call("data", "check", "age+split=balanced-4", "--data", data)
    assert status == 2
    assert "001A02.JPG: can't be decoded" in err


def test_check_of_what_ships_needs_no_data(call):
    status, out, _ = call("data", "check", "synth-age")
    assert status == 0
    assert "synthfaces" in out


@pytest.mark.parametrize("harm", ["not an image", "wrong name"])
def test_check_exits_2_on_a_problem(call, data, harm):
    images = data / "FGNET" / "images"
    name = "001A02.JPG" if harm == "not an image" else "face.JPG"
    (images / name).write_bytes(b"nothing")
    status, _, err = call("data", "check", "age+split=balanced-4", "--data", data)
    assert status == 2
    assert err.strip().startswith("error: 1 problem\n")
    assert name in err
    found = json.loads(call("data", "check", "age+split=balanced-4", "--data", data, "--json")[1])
    assert found["ok"] is False
    assert name in found["problems"][0]["where"]


def test_check_counts_each_subject_on_demand(call, data):
    words = ("data", "check", "age+split=balanced-4", "--data", data)
    _, out, _ = call(*words, "--subjects")
    rows = [line.split() for line in out.split("\n\n")[-1].splitlines()]
    assert rows[1] == ["001", "4", "4", "6", "6"]
    assert len(rows) == 9
    assert "training pairs" not in call(*words)[1]


def test_render_refuses_a_folder_that_holds_something(call, tmp_path):
    (tmp_path / "kept.txt").write_text("mine")
    status, _, err = call("synth", "render", "--out", tmp_path)
    assert status == 2
    assert "isn't an empty folder" in err
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]


def test_render_passes_every_setting_on(call, tmp_path, monkeypatch):
    seen = {}

    def render(out, *, progress, **settings):
        seen.update(settings, out=out)
        progress(1, 1)

    monkeypatch.setattr("comface_bench.comface.synthesis.synthfaces.render_synthfaces", render)
    out = tmp_path / "new"
    words = ["--sets", "edema,fgnet", "--seed", 5, "--size", 64, "--edema-days", 2, "--workers", 2]
    assert call("synth", "render", "--out", out, *words)[0] == 0
    assert seen == {
        "out": out,
        "sets": ["edema", "fgnet"],
        "seed": 5,
        "size": 64,
        "disfa_subjects": 27,
        "disfa_frames": 20,
        "edema_patients": 24,
        "edema_days": 2,
        "fgnet_subjects": 40,
        "fgnet_ages": 10,
        "workers": 2,
    }


def test_leaderboard_build_names_its_pages(call, run_words, tmp_path):
    assert call(*run_words("tiny", "--folds", "0", "--no-leaderboard"))[0] == 0
    status, out, _ = call(
        "leaderboard", "build", "--no-html", "--results", tmp_path / "results", "--out", tmp_path / "pages"
    )
    assert status == 0
    pages = [Path(line) for line in out.splitlines()]
    assert {"README.md", "overall.md", "leaderboard.csv", "leaderboard.json"} < {page.name for page in pages}
    assert all(page.is_file() and page.is_relative_to(tmp_path / "pages") for page in pages)


def test_leaderboard_build_wants_a_folder_of_results(call, tmp_path):
    status, _, err = call("leaderboard", "build", "--results", tmp_path / "none")
    assert status == 2
    assert "comface-bench run" in err


def test_doctor_finds_nothing_broken(call, data):
    status, out, _ = call("doctor", "--data", data)
    assert status == 0, out
    for said in ("torch", "precision", "threads", "synthfaces/FGNET", "scratch", "nothing is broken"):
        assert said in out
    (line,) = [line for line in out.splitlines() if line.split()[:1] == ["FGNET"]]
    assert line.split()[1] == "found"


def test_doctor_exits_1_if_results_can_not_be_written(call, tmp_path):
    (tmp_path / "file").write_text("no folder")
    status, out, _ = call("doctor", "--results", tmp_path / "file" / "results")
    assert status == 1
    assert "broken: results" in out
    assert os.environ["COMFACE_CACHE"] in out
