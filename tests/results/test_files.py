"""Whole files and one holder at a time."""

import os
import threading
import time

import pytest

from comface_bench.core.files import replace_file
from comface_bench.results.files import locked


def test_a_failed_write_leaves_the_old_bytes(tmp_path, monkeypatch):
    path = tmp_path / "file"
    replace_file(path, b"old")

    def fail(*_):
        raise OSError("disk full")

    for call in ("fsync", "replace"):
        with monkeypatch.context() as patch, pytest.raises(OSError, match="disk full"):
            patch.setattr(os, call, fail)
            replace_file(path, b"new")
        assert path.read_bytes() == b"old"
    replace_file(path, b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"new"


def test_a_lock_has_one_holder_and_leaves_no_file(tmp_path):
    """Many threads take the lock; each removes the lock file, so a waiter's file may be a removed one."""
    path, inside, most = tmp_path / "lock", 0, 0

    def work():
        nonlocal inside, most
        for _ in range(15):
            with locked(path):
                inside += 1
                most = max(most, inside)
                time.sleep(0.0005)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert not path.exists()


def test_a_lock_file_left_by_a_kill_is_no_obstacle(tmp_path):
    (tmp_path / "lock").touch()
    with locked(tmp_path / "lock"):
        pass
    assert not (tmp_path / "lock").exists()
