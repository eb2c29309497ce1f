"""Whole files, and locks with one holder at a time."""

import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from comface_bench.core.errors import UsageError
from comface_bench.core.files import (
    file_lock,
    remove_unfinished,
    replace_file,
    replacing,
    require_writable,
)

HOLDER = """
import pathlib, sys, time
from comface_bench.core.files import file_lock
with file_lock(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


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


def test_a_stream_that_fails_leaves_the_old_bytes_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "file"
    with replacing(path) as stream:
        stream.write(b"o")
        assert not path.exists()
        stream.write(b"ld")
    with pytest.raises(KeyboardInterrupt), replacing(path) as stream:
        stream.write(b"new")
        raise KeyboardInterrupt
    for call in ("fsync", "replace"):
        with monkeypatch.context() as patch, pytest.raises(OSError, match="disk full"):
            patch.setattr(os, call, lambda *_: (_ for _ in ()).throw(OSError("disk full")))
            with replacing(path) as stream:
                stream.write(b"new")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("file", b"old")]


def test_of_two_streams_at_once_the_later_stays(tmp_path):
    path = tmp_path / "file"
    with replacing(path) as first:
        first.write(b"first")
        with replacing(path) as second:
            second.write(b"second")
        assert path.read_bytes() == b"second"
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("file", b"first")]


@pytest.mark.parametrize("remove", [True, False])
def test_a_lock_has_one_holder(tmp_path, remove):
    """Many threads take the lock; if each removes the lock file, a waiter's file may be a removed one."""
    path, inside, most = tmp_path / "lock", 0, 0

    def work():
        nonlocal inside, most
        for _ in range(15):
            with file_lock(path, remove=remove):
                inside += 1
                most = max(most, inside)
                time.sleep(0.0005)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (inside, most) == (0, 1)
    assert path.exists() is not remove


def test_a_lock_file_left_by_a_kill_is_no_obstacle(tmp_path):
    (tmp_path / "lock").touch()
    with file_lock(tmp_path / "lock", remove=True):
        pass
    assert not (tmp_path / "lock").exists()


def test_a_lock_leaves_the_content_of_its_file(tmp_path):
    path = tmp_path / "net.pth.part"
    path.write_bytes(b"what has come so far")
    with file_lock(path):
        path.write_bytes(path.read_bytes() + b", and more")
    assert path.read_bytes() == b"what has come so far, and more"


def test_the_end_of_a_process_releases_its_lock(tmp_path):
    path = tmp_path / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        for timeout in (0, 0.1):
            with (
                pytest.raises(UsageError, match="another process has it") as caught,
                file_lock(path, "another process has it", "Wait for it.", timeout=timeout),
            ):
                pass
            assert caught.value.hint == "Wait for it."
        holder.kill()
    with file_lock(path, "another process has it", timeout=0):
        pass


def test_a_failure_in_the_block_releases_the_lock(tmp_path):
    for remove in (True, False):
        with pytest.raises(ZeroDivisionError), file_lock(tmp_path / "lock", remove=remove):
            raise ZeroDivisionError
    with file_lock(tmp_path / "lock", "held", timeout=0):
        pass


def test_a_file_that_is_put_elsewhere_is_not_missed(tmp_path):
    """As a download that is complete: the locked file takes its place under another name."""
    for _ in range(2):
        with file_lock(tmp_path / "part", "held", timeout=0):
            (tmp_path / "part").replace(tmp_path / "whole")


def test_no_folder_is_made_for_a_lock(tmp_path):
    with pytest.raises(FileNotFoundError), file_lock(tmp_path / "none" / "lock"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_lock_file_that_cannot_be_opened(tmp_path):
    (tmp_path / "lock").mkdir()
    with pytest.raises(OSError, match="lock"), file_lock(tmp_path / "lock"):
        pass


WRITER = """
import pathlib, sys, time
from comface_bench.core.files import replacing
with replacing(pathlib.Path(sys.argv[1])) as stream:
    stream.write(b"half")
    print("half", flush=True)
    time.sleep(60)
"""


def test_what_a_killed_process_left_goes_and_what_another_writes_stays(tmp_path):
    path, other = tmp_path / "file", tmp_path / "file2"
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout.readline() == b"half\n"
        (left,) = tmp_path.iterdir()
        with replacing(other) as stream:
            stream.write(b"another file")
        with replacing(path) as stream:
            stream.write(b"whole")
        assert {entry.name for entry in tmp_path.iterdir()} == {"file", "file2", left.name}
        writer.kill()
    with replacing(other) as stream:
        stream.write(b"another file")
    assert left.exists(), "it is of another file"
    with replacing(path) as stream:
        stream.write(b"whole")
    assert {entry.name for entry in tmp_path.iterdir()} == {"file", "file2"}


def test_a_file_that_was_taken_for_a_dead_ones_is_begun_again(tmp_path, monkeypatch):
    """Another process may remove it in the moment before it is locked."""
    made, make = [], os.open

    def make_and_lose(path, flags, *mode, **more):
        handle = make(path, flags, *mode, **more)
        if flags & os.O_EXCL:
            made.append(path)
            if len(made) == 1:
                Path(path).unlink()
        return handle

    monkeypatch.setattr(os, "open", make_and_lose)
    with replacing(tmp_path / "file") as stream:
        stream.write(b"whole")
    assert len(made) == 2
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("file", b"whole")]


def test_files_are_for_whom_the_user_lets_read_them(tmp_path):
    before = os.umask(0o027)
    try:
        with replacing(tmp_path / "file") as stream:
            stream.write(b"whole")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


def test_a_folder_that_takes_nothing_is_said_with_what_to_do(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"pages can't be written to .*file: File exists") as caught:
        require_writable(tmp_path / "file", "pages", "Name another: --out DIR")
    assert caught.value.hint == "Name another: --out DIR"


def test_a_finished_file_is_not_taken_for_a_dead_processs_before_it_has_its_name(tmp_path, monkeypatch):
    path, replace = tmp_path / "whole", Path.replace

    def replace_after_another_looked(self, target):
        remove_unfinished(path)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", replace_after_another_looked)
    with replacing(path) as stream:
        stream.write(b"all of it")
    assert path.read_bytes() == b"all of it"
