from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import pytest

from comface_bench.core.card import Checkpoint, MethodCard
from comface_bench.core.errors import WeightsFormatError, WeightsMissingError
from comface_bench.core.registry import Entry
from comface_bench.core.weights import cache_folder, check_digest, find_weights, weights_folder

CONTENT = b"weights"
SHA = hashlib.sha256(CONTENT).hexdigest()
URL = "https://example.org/net.pth"
CARD = MethodCard(
    name="m",
    version=1,
    build=":build",
    backbone="b",
    checkpoint=Checkpoint("net.pth", SHA, URL),
    options={"checkpoint": ()},
)
# A module without hooks stands for the plugin's own.
ENTRY = Entry(CARD, "test", "comface_bench.core.names")


def test_missing_weights_say_what_goes_where_and_whence(own_folders):
    with pytest.raises(WeightsMissingError) as caught:
        find_weights(ENTRY, {})
    told = str(caught.value)
    assert all(part in told for part in ("net.pth", str(own_folders / "weights"), URL, "-o checkpoint=FILE"))
    assert caught.value.exit_status == 2


def test_the_file_in_the_weights_folder_is_found(own_folders):
    path = own_folders / "weights" / "net.pth"
    path.write_bytes(CONTENT)
    assert find_weights(ENTRY, {}) == path


def test_another_file_of_that_name_is_refused(own_folders):
    (own_folders / "weights" / "net.pth").write_bytes(CONTENT + b"!")
    with pytest.raises(WeightsFormatError) as caught:
        find_weights(ENTRY, {})
    assert SHA in caught.value.message
    assert hashlib.sha256(CONTENT + b"!").hexdigest() in caught.value.message


def test_the_option_comes_first_and_is_not_compared(own_folders, tmp_path):
    (own_folders / "weights" / "net.pth").write_bytes(CONTENT)
    mine = tmp_path / "mine.pth"
    mine.write_bytes(b"other")
    assert find_weights(ENTRY, {"checkpoint": str(mine)}) == mine


def test_the_option_must_name_a_file(tmp_path):
    for path in (tmp_path / "nothing.pth", tmp_path):
        with pytest.raises(WeightsMissingError, match="doesn't exist"):
            find_weights(ENTRY, {"checkpoint": str(path)})


def test_a_method_without_checkpoint_needs_none():
    entry = dataclasses.replace(ENTRY, card=dataclasses.replace(CARD, checkpoint=None))
    assert find_weights(entry, {}) is None


def test_a_module_may_know_better(tmp_path, monkeypatch):
    import comface_bench.core.names as module

    monkeypatch.setattr(
        module, "find_weights", lambda card, options: tmp_path / options["model"], raising=False
    )
    assert find_weights(ENTRY, {"model": "x"}) == tmp_path / "x"


@pytest.mark.parametrize("published", ["", SHA, SHA[:8]])
def test_leading_digits_or_none_are_enough(tmp_path, published):
    path = tmp_path / "a"
    path.write_bytes(CONTENT)
    check_digest(path, published, "m")


def test_other_leading_digits_are_not(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(CONTENT)
    with pytest.raises(WeightsFormatError):
        check_digest(path, SHA[1:9], "m")


def test_folders_follow_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("COMFACE_CACHE", "/a")
    monkeypatch.setenv("COMFACE_WEIGHTS", "/b")
    assert (cache_folder(), weights_folder()) == (Path("/a"), Path("/b"))
    monkeypatch.delenv("COMFACE_WEIGHTS")
    assert weights_folder() == Path("/a/weights")
    monkeypatch.delenv("COMFACE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert cache_folder() == Path("/x/comface-bench")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "comface-bench"


def test_every_built_in_checkpoint_that_is_looked_for_can_be_got():
    from comface_bench.core.registry import method_registry

    for entry in method_registry(plugins=False).declared():
        if entry.card.checkpoint is not None:
            assert entry.card.checkpoint.url.startswith("https://"), entry.card.name
