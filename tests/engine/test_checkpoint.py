"""States of training: what is damaged is never gone on from."""

import time
from pathlib import Path

import pytest
import torch

from comface_bench.core.errors import DataFormatError, StorageError
from comface_bench.engine.checkpoint import TrainingCheckpoint, load_tensors, write_tensors

WEIGHTS = torch.arange(1, 1000, dtype=torch.float32)


def save(path: Path) -> TrainingCheckpoint:
    saved = TrainingCheckpoint(path, "key", 0.0)
    assert saved.save({"weights": WEIGHTS, "epoch": 3})
    return saved


def test_a_state_comes_back_under_its_own_key_only(tmp_path: Path) -> None:
    saved = save(tmp_path / "state.pt")
    state = saved.load()
    assert state is not None
    assert torch.equal(state["weights"], WEIGHTS)
    assert TrainingCheckpoint(tmp_path / "state.pt", "other").load() is None
    assert TrainingCheckpoint(tmp_path / "none.pt", "key").load() is None


def test_a_state_of_which_a_byte_has_changed_is_not_gone_on_from(tmp_path: Path) -> None:
    """torch alone loads such a file without a word, with another weight."""
    path = tmp_path / "state.pt"
    saved = save(path)
    content = bytearray(path.read_bytes())
    content[content.index(WEIGHTS.numpy().tobytes()) + 1002] ^= 1
    path.write_bytes(content)
    assert not torch.equal(torch.load(path, weights_only=True)["state"]["weights"], WEIGHTS)
    assert saved.load() is None
    with pytest.raises(DataFormatError, match=r"state\.pt is damaged"):
        load_tensors(path)


def test_a_state_that_is_cut_off_is_not_gone_on_from(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    saved = save(path)
    path.write_bytes(path.read_bytes()[:100])
    assert saved.load() is None
    with pytest.raises(DataFormatError, match=r"state\.pt is damaged"):
        load_tensors(path)


def test_a_file_that_may_not_be_as_large_is_said_so_and_costs_no_training(tmp_path: Path) -> None:
    """torch itself says `unexpected pos 704 vs 598`."""
    resource = pytest.importorskip("resource")
    path = tmp_path / "state.pt"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    try:
        with pytest.raises(
            StorageError, match=r"state\.pt can't be written: files may not exceed 2,000 bytes"
        ):
            write_tensors(path, {"weights": WEIGHTS})
        assert not TrainingCheckpoint(path, "key", 0.0).save({"weights": WEIGHTS})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_states_are_saved_after_each_epoch_unless_that_takes_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, cost = [100.0], [0.01]

    def write(*_: object) -> None:
        now[0] += cost[0]

    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr("comface_bench.engine.checkpoint.write_tensors", write)
    saved = TrainingCheckpoint(tmp_path / "state.pt", "key")

    def count(epochs: int, seconds: float) -> int:
        written = 0
        for _ in range(epochs):
            now[0] += seconds
            written += saved.due
            saved.save({})
        return written

    assert count(10, 0.3) == 10, "a twentieth of the time at most"
    cost[0] = 1.0
    assert count(1, 0.3) == 1, "nobody knew that it takes a second"
    assert count(20, 4.0) == 4, "every twenty seconds"
    cost[0] = 10.0
    assert count(21, 4.0) == 4, "every twenty seconds at most"
