"""The hub's local cache, read as huggingface_hub itself reads it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import try_to_load_from_cache

from comface_bench.baselines.hub_cache import find_cached, hub_cache_folder

VARIABLES = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    place = tmp_path / "models--some--model"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text("abc123")
    for revision, files in {"abc123": ("b.bin", "c.bin"), "old": ("a.bin",)}.items():
        (place / "snapshots" / revision).mkdir(parents=True)
        for file in files:
            (place / "snapshots" / revision / file).write_bytes(b"x")
    return tmp_path


@pytest.mark.parametrize("file", ["a.bin", "b.bin", "c.bin"])
def test_a_file_is_where_the_hubs_own_tool_says(cache, file):
    theirs = try_to_load_from_cache("some/model", file, cache_dir=cache)
    found = find_cached("some/model", [file])
    assert (str(found) if found else None) == theirs


def test_the_first_file_that_is_there_counts(cache):
    assert find_cached("some/model", ["a.bin", "c.bin", "b.bin"]).name == "c.bin"
    assert find_cached("some/other", ["a.bin"]) is None


@pytest.mark.parametrize("variable", [*VARIABLES, None])
def test_the_folder_is_the_one_that_the_hubs_own_tool_uses(tmp_path, monkeypatch, variable):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    if variable:
        monkeypatch.setenv(variable, str(tmp_path / "chosen"))
    code = "import huggingface_hub.constants as c; print(c.HF_HUB_CACHE)"
    theirs = subprocess.run(
        [sys.executable, "-c", code], env=dict(os.environ), capture_output=True, text=True, check=True
    )
    assert hub_cache_folder() == Path(theirs.stdout.strip())
