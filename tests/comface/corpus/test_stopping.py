"""What stops a corpus in the making stops all of its processes, and the next start ends in the same bytes."""

import contextlib
import fcntl
import importlib
import os
import pickle
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from comface_bench.comface.corpus.generate import generate
from comface_bench.comface.corpus.layout import Description, Layout
from comface_bench.comface.corpus.plan import CorpusPlan
from comface_bench.core.errors import UnitError, UsageError

STUCK = """

import os, pathlib, signal, time

class Stuck(Noise):
    '''From identity 9 on, each record takes a minute.'''

    def __init__(self, folder):
        super().__init__()
        self.folder = pathlib.Path(folder)

    def render(self, identity, *rest):
        if identity[1] >= 9:
            (self.folder / f"{os.getpid()}.stuck").touch()
            time.sleep(60)
        return super().render(identity, *rest)

class Dies(Noise):
    def render(self, identity, *rest):
        if identity[1] == 7:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().render(identity, *rest)

class Fails(Noise):
    def render(self, identity, *rest):
        if identity[1] == 7:
            raise Unpicklable("number seven")
        time.sleep(0.02)
        return super().render(identity, *rest)

class Unpicklable(Exception):
    def __reduce__(self):
        raise TypeError
"""

CHILD = """
import functools, pathlib, pickle, sys
import noise_generator
from comface_bench.comface.corpus.generate import generate

root, folder = map(pathlib.Path, sys.argv[1:])
make = functools.partial(noise_generator.Stuck, folder)
generate(root, make, pickle.loads((folder / "description").read_bytes()), workers=2)
"""


@pytest.fixture
def generators(tmp_path, monkeypatch):
    """The module of generators, which other processes can import too."""
    source = Path(__file__).with_name("conftest.py").read_text(encoding="utf-8") + STUCK
    (tmp_path / "noise_generator.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delitem(sys.modules, "noise_generator", raising=False)
    yield importlib.import_module("noise_generator")
    del sys.modules["noise_generator"]


@pytest.fixture
def description(generators):
    plan = CorpusPlan(3, generators.CARD.attributes, 12, alphas=2)
    return Description.of(generators.CARD, plan, records_per_shard=3, suffix="png")


def contents(root):
    files = (path for path in root.rglob("*") if path.is_file() and path.name != "journal.jsonl")
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def alive(process):
    """Whether a process runs; one that nobody has reaped doesn't."""
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, 0)
        return not Path("/proc/self").exists()
    return False


def wait_until(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("number", "whom"),
    [
        (signal.SIGINT, "all"),  # Ctrl-C in a terminal
        (signal.SIGTERM, "parent"),
        (signal.SIGKILL, "parent"),
    ],
)
def test_a_signal_ends_all_processes_amid_a_record(tmp_path, generators, description, number, whom):
    root = tmp_path / "corpus"
    (tmp_path / "description").write_bytes(pickle.dumps(description))
    command = [sys.executable, "-c", CHILD, str(root), str(tmp_path)]
    parent = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    wait_until(lambda: len(list(tmp_path.glob("*.stuck"))) == 2)
    workers = [int(path.stem) for path in tmp_path.glob("*.stuck")]
    done = len(list(Layout(root).shards.glob("*.json")))
    assert done == 3
    (os.killpg if whom == "all" else os.kill)(parent.pid, number)
    assert parent.wait(timeout=5) != 0
    wait_until(lambda: not any(map(alive, workers)), 5)
    assert len(list(Layout(root).shards.glob("*.json"))) == done
    for path in Layout(root).shards.glob("*.lock"):
        with path.open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    generate(root, generators.Noise, description)
    generate(tmp_path / "whole", generators.Noise, description)
    assert contents(root) == contents(tmp_path / "whole")


def test_a_shard_that_fails_ends_the_others(tmp_path, generators, description):
    layout = Layout(tmp_path / "corpus")
    layout.begin(description)
    with layout.lock(0).open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        start = time.monotonic()
        with pytest.raises(UsageError, match="another process writes") as caught:
            generate(layout.root, partial(generators.Stuck, tmp_path), description, workers=2)
    assert time.monotonic() - start < 20
    assert "--shard" in caught.value.hint
    assert len(list(layout.shards.glob("*.json"))) <= 2
    generate(layout.root, generators.Noise, description, workers=2)
    assert not any(map(layout.missing, range(description.shards)))


def test_a_process_that_dies_is_said(tmp_path, generators, description):
    with pytest.raises(UnitError, match="SIGKILL") as caught:
        generate(tmp_path / "corpus", generators.Dies, description, workers=2)
    assert "--workers" in caught.value.hint


def test_an_error_that_cannot_be_sent_is_told(tmp_path, generators, description):
    with pytest.raises(RuntimeError, match="Unpicklable: number seven"):
        generate(tmp_path / "corpus", generators.Fails, description, workers=2)
    assert len(list(Layout(tmp_path / "corpus").shards.glob("*.json"))) < description.shards
