"""`leaderboard build` and `leaderboard check` as they are typed."""

import json
import shlex
from pathlib import Path

import pytest


@pytest.fixture
def results(made, tmp_path):
    made.add(tmp_path / "results", method="farl")
    made.add(tmp_path / "results", method="scratch", noise=3.0)
    return tmp_path / "results"


def test_build_names_its_files(call, results):
    status, out, err = call("leaderboard", "build", "--results", results)
    assert (status, err) == (0, "")
    *pages, site = out.splitlines()
    names = {str(Path(page).relative_to(results / "leaderboard")) for page in pages}
    assert {"README.md", "overall.md", "age.md", "age/finetune.md", "leaderboard.csv"} <= names
    index, more = site.split(", and ")
    assert Path(index).is_file()
    assert more.endswith("more files of the site")


def test_no_html(call, results, tmp_path):
    _, out, _ = call("leaderboard", "build", "--results", results, "--out", tmp_path / "out", "--no-html")
    assert "of the site" not in out
    assert not (tmp_path / "out/html").exists()
    assert call("leaderboard", "check", "--results", results, "--out", tmp_path / "out")[0] == 0


def test_check_says_what_to_type(call, results, tmp_path, made):
    words = ["--results", results, "--out", tmp_path / "my pages"]
    status, out, _ = call("leaderboard", "check", *words)
    assert status == 1
    assert f"missing: {tmp_path}/my pages/README.md" in out
    command = shlex.split(out.splitlines()[-1])
    assert command[:1] == ["comface-bench"]
    assert call(*command[1:])[0] == 0
    status, out, _ = call("leaderboard", "check", *words)
    assert (status, out) == (0, f"{tmp_path}/my pages is fresh\n")
    made.add(results, method="new")
    (tmp_path / "my pages/overall.md").unlink()
    status, out, _ = call("leaderboard", "check", *words)
    assert status == 1
    assert f"differing: {tmp_path}/my pages/leaderboard.csv" in out
    assert f"missing: {tmp_path}/my pages/overall.md" in out


def test_check_for_programs(call, results):
    status, out, _ = call("leaderboard", "check", "--results", results, "--json", "--no-html")
    found = json.loads(out)
    assert status == 1
    assert not found["ok"]
    assert "README.md" in found["missing"]
    assert (found["differing"], found["left_over"]) == ([], [])
    assert found["command"].endswith("--no-html")
    call(*shlex.split(found["command"])[1:])
    status, out, _ = call("leaderboard", "check", "--results", results, "--json")
    assert (status, json.loads(out)["ok"], json.loads(out)["command"]) == (0, True, None)


def test_changed_pages_need_force(call, results):
    words = ["leaderboard", "build", "--results", results, "--no-html"]
    call(*words)
    page = results / "leaderboard/README.md"
    page.write_text(page.read_text() + "mine")
    status, _, err = call(*words)
    assert status == 2
    assert "was changed since a build wrote it" in err
    assert "--force" in err
    assert call(*words, "--force")[0] == 0
    assert not page.read_text().endswith("mine")


@pytest.mark.parametrize("command", ["build", "check"])
def test_no_results_folder(call, tmp_path, command):
    status, _, err = call("leaderboard", command, "--results", tmp_path / "none")
    assert status == 2
    assert "there is no folder of results" in err
    assert "comface-bench run" in err
    assert not (tmp_path / "none").exists()


def test_leaderboard_build_names_its_pages(call, run_words, tmp_path):
    assert call(*run_words("tiny", "--folds", "0", "--no-leaderboard"))[0] == 0
    status, out, _ = call(
        "leaderboard", "build", "--no-html", "--results", tmp_path / "results", "--out", tmp_path / "pages"
    )
    assert status == 0
    pages = [Path(line) for line in out.splitlines()]
    assert {"README.md", "overall.md", "leaderboard.csv", "leaderboard.json"} < {page.name for page in pages}
    assert all(page.is_file() and page.is_relative_to(tmp_path / "pages") for page in pages)
