"""A kill at any moment loses at most the unit in progress."""

import json
import os
import random
import signal
import subprocess
import sys
import time
import warnings

import pytest

from comface_bench.results.store import ResultStore

PLACES = [(0, 0), (1, 0), (2, 0)]


class Killed(BaseException):
    """Stands for the process's end: no handler of ordinary errors sees it."""


def kill_at(monkeypatch, k):
    """Make the k-th system call that changes durable state fail, and all after it, as after a kill."""
    count = 0

    def guard(real):
        def call(*args, **kwargs):
            nonlocal count
            count += 1
            if count >= k:
                raise Killed
            return real(*args, **kwargs)

        return call

    # Not os.unlink: removing the lock file on the way out stands for the kernel's releasing it.
    for name in ("fsync", "replace", "rmdir"):
        monkeypatch.setattr(os, name, guard(getattr(os, name)))


def content(root):
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def straight(tmp_path, made):
    store = ResultStore(tmp_path / "straight")
    with store.open(*made.header()) as writer:
        for place in PLACES:
            writer.add(*made.run(*place))
    return content(store.root)


@pytest.mark.filterwarnings("error::UserWarning")
def test_a_kill_at_every_step_of_every_add(tmp_path, made, monkeypatch):
    expected = straight(tmp_path, made)
    k, unharmed = 0, False
    while not unharmed:
        k += 1
        store = ResultStore(tmp_path / f"killed-{k}")
        done = set()
        with monkeypatch.context() as patch:
            kill_at(patch, k)
            try:
                with store.open(*made.header()) as writer:
                    for place in PLACES:
                        writer.add(*made.run(*place))
                        done.add(place)
                unharmed = True
            except Killed:
                pass
        record = store.load("age", "linear", "scratch")
        for unit in record.units if record else []:
            assert unit == made.run(unit.fold, unit.seed)[0]
        with store.open(*made.header()) as writer:
            assert set(writer.finished) >= done
            for place in PLACES:
                if place not in writer.finished:
                    writer.add(*made.run(*place))
        assert content(store.root) == expected, f"killed at step {k}"
    assert k > 20, "the calls must have been reached"


def test_a_kill_at_every_step_of_setting_aside_and_taking_up_again(tmp_path, made, monkeypatch):
    other = made.header(values={"epochs": 5})
    k, unharmed = 0, False
    while not unharmed:
        k += 1
        store = ResultStore(tmp_path / f"killed-{k}")
        with store.open(*made.header()) as writer:
            writer.add(*made.run(0))
        with monkeypatch.context() as patch:
            kill_at(patch, k)
            try:
                with store.open(*other) as writer:
                    writer.add(*made.run(1))
                store.open(*made.header())
                unharmed = True
            except Killed:
                pass
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            assert set(store.open(*made.header()).finished) == {(0, 0)}, f"killed at step {k}"
            assert set(store.open(*other).finished) <= {(1, 0)}
            assert set(store.open(*made.header()).finished) == {(0, 0)}, f"killed at step {k}"
    assert set(store.open(*other).finished) == {(1, 0)}
    assert k > 10, "the calls must have been reached"


def test_a_failure_recorded_when_killed_leaves_units_intact(tmp_path, made, monkeypatch):
    for k in range(1, 5):
        store = ResultStore(tmp_path / f"killed-{k}")
        with store.open(*made.header()) as writer:
            writer.add(*made.run(0))
            with monkeypatch.context() as patch, pytest.raises(Killed):
                kill_at(patch, k)
                writer.fail(made.failure(1))
        assert set(store.open(*made.header()).finished) == {(0, 0)}


def test_a_damaged_staged_unit_is_dropped(tmp_path, made, monkeypatch):
    store = ResultStore(tmp_path)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, 5)
        store.open(*made.header()).add(*made.run(0))
    (staged,) = tmp_path.rglob("*.units/*.json")
    raw = json.loads(staged.read_text())
    raw["predictions"] = raw["predictions"].replace(",0,0,", ",0,0,1", 1)
    for damage in (json.dumps(raw), "{", "[]"):
        staged.write_text(damage)
        with pytest.warns(UserWarning, match="dropped"):
            assert store.open(*made.header()).finished == {}


@pytest.mark.parametrize("seed", range(4))
def test_sigkill_at_a_random_moment(tmp_path, made, seed):
    script = tmp_path / "adder.py"
    script.write_text(KILLED_ADDER)
    root = tmp_path / "results"
    store = ResultStore(root)
    command = [sys.executable, str(script), made.run.__code__.co_filename, str(root), json.dumps(PLACES)]
    rng = random.Random(seed)
    for _ in range(2):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            process.stdout.readline()
            time.sleep(rng.uniform(0, 0.04))
            process.send_signal(signal.SIGKILL)
            done = {tuple(json.loads(line)) for line in process.stdout.read().splitlines()}
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            finished = store.open(*made.header()).finished
        assert set(finished) >= done
    assert subprocess.run(command, stdout=subprocess.DEVNULL).returncode == 0
    assert content(root) == straight(tmp_path, made)


KILLED_ADDER = """
import importlib.util, json, pathlib, sys
from comface_bench.results.store import ResultStore

spec = importlib.util.spec_from_file_location("made", sys.argv[1])
made = importlib.util.module_from_spec(spec)
spec.loader.exec_module(made)
print("ready", flush=True)
with ResultStore(pathlib.Path(sys.argv[2])).open(*made.header()) as writer:
    for fold, seed in json.loads(sys.argv[3]):
        if (fold, seed) not in writer.finished:
            writer.add(*made.run(fold, seed))
            print(json.dumps([fold, seed]), flush=True)
"""
