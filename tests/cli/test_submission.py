"""`comface-bench submission`, by its words: what is printed, and the exit status."""

import json
import shutil
from pathlib import Path

import pytest

REAL = Path(__file__).parents[1] / "submission" / "real"
STEM = "synth-weight/quick+epochs=2+image_size=16+pairs_per_epoch=16/scratch+backbone=resnet18"


@pytest.fixture
def words(tmp_path):
    return [
        *("submission", "pack", "--results", REAL, "--method", "scratch+backbone=resnet18"),
        *("--description", "An untrained network.", "--licence", "Apache-2.0", "--training-data", "none"),
        *("--code", "https://example.org/code", "--out", tmp_path / "it.zip"),
    ]


@pytest.fixture
def package(call, words, tmp_path):
    assert call(*words)[0] == 0
    return tmp_path / "it.zip"


def test_pack(call, words, tmp_path):
    status, out, err = call(*words)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[-2] == "1 record: nothing is wrong"
    assert lines[-1].startswith(f"{tmp_path / 'it.zip'}: ")
    first = (tmp_path / "it.zip").read_bytes()
    assert call(*words, "--task", "synth-*", "--protocol", "quick*")[0] == 0
    assert (tmp_path / "it.zip").read_bytes() == first


def test_pack_says_what_is_missing(call, words, tmp_path):
    status, _, err = call(*words, "--code", "http://example.org")
    assert status == 2 and "https://" in err
    status, _, err = call(*words, "--task", "synth-wieght")
    assert status == 2 and "synth-weight" in err
    status, _, err = call(*words, "--results", tmp_path / "nowhere")
    assert status == 2 and "nowhere" in err
    assert not (tmp_path / "it.zip").exists()


def test_check(call, package, tmp_path):
    assert call("submission", "check", package) == (0, "1 record: nothing is wrong\n", "")
    status, out, _ = call("submission", "check", package, "--json")
    facts = json.loads(out)
    assert (status, facts["ok"], facts["records"], facts["findings"]) == (0, True, [STEM], [])
    status, out, _ = call("submission", "check", package, "--markdown")
    assert status == 0 and out.startswith("### Submission: nothing is wrong\n")
    assert call("submission", "check", package, "--json", "--markdown")[0] == 2
    assert call("submission", "check", tmp_path / "no.zip")[0] == 2


def test_check_refuses(call, package, tmp_path):
    package.write_bytes(package.read_bytes() + b"\x1b[31m<script>")
    status, out, err = call("submission", "check", package)
    assert (status, err) == (1, "")
    assert "refused: 1 thing is wrong" in out and "it.zip: not a whole zip file" in out
    status, out, _ = call("submission", "check", package, "--json")
    assert status == 1 and not json.loads(out)["ok"]
    status, out, _ = call("submission", "check", package, "--markdown")
    assert status == 1 and "refused" in out and "<script" not in out


def test_check_against_a_board(call, package):
    status, out, _ = call("submission", "check", package, "--results", REAL)
    assert status == 1
    assert "the board has this row already, measured by its maintainers" in out


def test_accept(call, package, tmp_path):
    board = tmp_path / "board"
    assert call("submission", "accept", package, "--results", board)[0] == 2
    board.mkdir()
    status, out, _ = call("submission", "accept", package, "--results", board)
    assert status == 0
    assert out.splitlines() == [
        str(board / f"{STEM}.json"),
        f"Now build the pages: comface-bench leaderboard build --results {board}",
    ]
    assert call("results", "validate", "--results", board)[0] == 0
    assert call("results", "recompute", "--results", board)[0] == 0
    shutil.rmtree(board)
    shutil.copytree(REAL, board)
    status, _, err = call("submission", "accept", package, "--results", board, "--replace")
    assert status == 1 and "measured by its maintainers" in err


def test_checking_loads_neither_torch_nor_pandas_nor_plugins(imported, package):
    process, modules = imported("submission", "check", str(package))
    assert process.returncode == 0, process.stderr
    assert not {"torch", "pandas", "scipy", "timm"} & modules
