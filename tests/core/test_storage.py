"""Full disks, quotas and limits on a file's size: each is a sentence with the file, the disk and a remedy."""

import contextlib
import errno
import os
import shutil
from pathlib import Path

import pytest

from comface_bench.core.errors import StorageError
from comface_bench.core.files import (
    append_line,
    find_storage_error,
    replace_file,
    replacing,
    require_room,
    writing,
)

resource = pytest.importorskip("resource", reason="only POSIX limits the size of files")


@contextlib.contextmanager
def size_limit(size):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def write_piecewise(path, data):
    with replacing(path) as stream:
        for start in range(0, len(data), 1000):
            stream.write(data[start : start + 1000])


@pytest.mark.parametrize("write", [replace_file, write_piecewise])
def test_a_limit_on_size_is_said_and_the_old_file_stays(tmp_path, write):
    path = tmp_path / "record.json"
    write(path, b"old")
    with size_limit(5000), pytest.raises(StorageError) as caught:
        write(path, bytes(20_000))
    assert caught.value.message == f"{path} can't be written: files may not exceed 5,000 bytes (ulimit -f)"
    assert "ulimit -f unlimited" in caught.value.hint
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("record.json", b"old")]


@pytest.mark.parametrize(
    ("number", "reason"),
    [(errno.ENOSPC, "the disk is full"), (errno.EDQUOT, "the quota of disk space is used up")],
)
@pytest.mark.parametrize("write", [replace_file, write_piecewise])
def test_a_full_disk_is_said_with_its_place_and_room(tmp_path, write, number, reason, monkeypatch):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError) as caught:
        write(tmp_path / "record.json", b"new")
    assert caught.value.message.startswith(
        f"{tmp_path / 'record.json'} can't be written: {reason}: the disk at /"
    )
    assert " free of " in caught.value.message
    assert "--results" in caught.value.hint
    assert "COMFACE_CACHE" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no device that is always full")
def test_a_line_that_finds_no_room():
    with pytest.raises(StorageError, match="/dev/full can't be written: the disk is full: the disk at /"):
        append_line(Path("/dev/full"), "line")


def test_a_file_that_its_file_system_does_not_take(tmp_path):
    with (
        pytest.raises(StorageError, match="files may not be as large there: the disk at"),
        writing(tmp_path / "file"),
    ):
        raise OSError(errno.EFBIG, "File too large")


def test_the_reason_is_found_behind_the_errors_of_libraries(tmp_path):
    def hide(behind):
        try:
            try:
                raise behind
            except Exception:
                raise RuntimeError("unexpected pos 704 vs 598")  # noqa: B904 - as torch does
        except RuntimeError as error:
            return error

    full = OSError(errno.ENOSPC, "No space left on device")
    for error in (hide(full), hide(hide(full)), ValueError("I/O error: No space left (os error 28)")):
        found = find_storage_error(error, tmp_path / "file")
        assert found is not None
        assert "the disk is full" in found.message
    assert find_storage_error(OSError(errno.ENOSPC, "No space", str(tmp_path / "a"))).message.startswith(
        f"{tmp_path}/a "
    )
    assert find_storage_error(full).message == "a file can't be written: the disk is full"
    for other in (OSError(errno.EACCES, "no"), ValueError("(os error 13)"), hide(KeyError("x"))):
        assert find_storage_error(other, tmp_path) is None


def test_other_errors_pass_and_name_the_file(tmp_path):
    with pytest.raises(OSError, match=r"Input/output error: '.*file'") as caught, writing(tmp_path / "file"):
        raise OSError(errno.EIO, "Input/output error")
    assert not isinstance(caught.value, StorageError)
    with pytest.raises(OSError, match="there") as caught, writing(tmp_path / "file"):
        raise FileNotFoundError(errno.ENOENT, "not here", "there")
    with pytest.raises(KeyError), writing(tmp_path / "file"):
        raise KeyError("x")


def test_an_inner_sentence_stays(tmp_path):
    with pytest.raises(StorageError, match="inner"), writing(tmp_path / "outer"), writing(tmp_path / "inner"):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_what_will_not_fit_is_said_before_it_is_made(tmp_path, monkeypatch):
    require_room(tmp_path / "file", 10)
    with (
        size_limit(5000),
        pytest.raises(StorageError, match=r"file will have 10\.0 MB, but files may not exceed 5,000"),
    ):
        require_room(tmp_path / "file", 10_000_000)
    total = shutil.disk_usage(tmp_path).total
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(total, total, 3_000_000))
    with pytest.raises(
        StorageError, match=r"file will have 25\.7 GB, too much for the disk at /.* with 3\.0 MB free of"
    ):
        require_room(tmp_path / "file", 25_700_000_000)
