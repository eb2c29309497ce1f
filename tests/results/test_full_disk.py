"""A disk that is really full: a small one in memory, which only this process and its children see."""

import json
import shutil
import subprocess
import sys

import pytest

FILLED = """
import importlib.util, json, pathlib, shutil, sys
from comface_bench.core.errors import StorageError
from comface_bench.results.store import ResultStore
from comface_bench.results.validation import recompute_record

spec = importlib.util.spec_from_file_location("made", sys.argv[1])
made = importlib.util.module_from_spec(spec)
spec.loader.exec_module(made)
disk, happened = pathlib.Path(sys.argv[2]), []
for free in range(0, 65_536, 4096):  # the disk counts in pages
    store = ResultStore(disk / str(free))
    store.open(*made.header()).add(*made.run(0))
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as stream:
        try:
            while stream.write(bytes(4096)):
                pass
        except OSError:
            stream.truncate(max(0, stream.tell() - free))
    try:
        store.open(*made.header()).add(*made.run(1))
        happened.append("written")
    except StorageError as error:
        assert "the disk is full" in error.message, error
        happened.append("full")
    assert set(store.finished_units("age", "linear", "scratch")) >= {(0, 0)}, free
    filler.unlink()
    writer = store.open(*made.header())
    assert set(writer.finished) >= {(0, 0)}, free
    writer.add(*made.run(1))
    assert recompute_record(store.record_path("age", "linear", "scratch")) == []
    left = sorted(path.name for path in store.root.rglob("*") if path.is_file())
    assert left == ["scratch.json", "scratch.predictions.csv.gz"], left
    shutil.rmtree(store.root)
print(json.dumps(happened))
"""
MOUNT = 'mount -t tmpfs -o size=256k none "$1" && shift && exec "$@"'


@pytest.fixture
def small_disk(tmp_path):
    """Return the words before a command that gives it a disk of 256 kB, and that disk's folder."""
    disk = tmp_path / "disk"
    disk.mkdir()
    words = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", MOUNT, "sh", str(disk)]
    if shutil.which("unshare") is None or subprocess.run([*words, "true"], capture_output=True).returncode:
        pytest.skip("this machine lets no one mount a disk")
    return words, disk


def test_a_full_disk_loses_no_unit_wherever_it_fills_up(small_disk, tmp_path, made):
    words, disk = small_disk
    script = tmp_path / "filled.py"
    script.write_text(FILLED)
    command = [sys.executable, str(script), made.run.__code__.co_filename, str(disk)]
    done = subprocess.run([*words, *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {"written", "full"} == set(json.loads(done.stdout))
