"""Generation: the bytes on disk after failures, signals and kills, in one process and in several."""

import contextlib
import dataclasses
import fcntl
import importlib
import json
import os
import pickle
import resource
import signal
import sys
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from subprocess import TimeoutExpired

import numpy as np
import pytest

from comface_bench.comface.corpus.check import check_corpus
from comface_bench.comface.corpus.generate import generate
from comface_bench.comface.corpus.layout import Description, Layout
from comface_bench.comface.corpus.plan import CorpusPlan
from comface_bench.comface.corpus.read import Corpus
from comface_bench.core.errors import DataFormatError, DataMissingError, StorageError, UnitError, UsageError


def tree(root):
    """Every file's bytes but the journal's, which has times."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and path.name != "journal.jsonl"
    }


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


def test_every_image_is_the_generators(corpus, generator, describe):
    plan = describe().plan
    with Corpus(corpus) as opened:
        assert len(opened) == 12
        for number in range(12):
            record, wanted = opened.record(number), plan.record(number)
            assert (record.identity, record.attribute) == (wanted.identity, wanted.attribute)
            assert np.allclose(record.alphas, wanted.alphas)
            (identity,) = generator.identities(3, 1, first=wanted.identity)
            images = generator.render(identity, wanted.attribute, wanted.alphas)
            for index in (4, 0, 2):
                assert np.array_equal(opened.image(number, index), images[index])
        assert opened.identities.tolist() == list(range(12))
        assert opened.attributes.tolist() == [0, 1, 2] * 4


def test_a_shard_is_a_tar_of_webdataset(corpus, describe):
    with tarfile.open(Layout(corpus).tar(1)) as shard:
        names = shard.getnames()
        assert len(names) == 5 * 6
        keys = [name.partition(".")[0] for name in names]
        assert keys == [f"{number:08d}" for number in range(5, 10) for _ in range(6)]
        # Every sample has the same fields: some readers take the first samples' for all.
        fields = [name.partition(".")[2] for name in names]
        assert fields == ["000.png", "001.png", "002.png", "003.png", "004.png", "json"] * 5
        facts = json.loads(shard.extractfile("00000005.json").read())
        assert (facts["identity"], facts["alphas"]) == (5, list(describe().plan.record(5).alphas))
    # GNU tar's own padding, so that any tool reads it without a word.
    assert Layout(corpus).tar(1).stat().st_size % tarfile.RECORDSIZE == 0


def test_a_corpus_is_whole(corpus):
    assert check_corpus(corpus, pictures=True) == []


def test_parts_and_processes_make_the_same_bytes(corpus, tmp_path, describe, generators):
    seen = []
    for part in (2, 1):
        generate(
            tmp_path / "parts",
            generators.Noise,
            describe(),
            workers=2 if part == 1 else 1,
            part=(part, 2),
            progress=lambda done, total: seen.append((done, total)),
        )
    assert tree(tmp_path / "parts") == tree(corpus)
    assert seen[0] == (0, 25) and seen[-1] == (35, 35)


def test_going_on_renders_nothing_twice(tmp_path, generator, describe):
    class Stops(type(generator)):
        def render(self, identity, attribute, alphas):
            if self.rendered >= 35:
                raise KeyboardInterrupt
            return super().render(identity, attribute, alphas)

    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path / "a", Stops, describe())
    generate(tmp_path / "a", lambda: generator, describe())
    assert generator.rendered == 60 - 35
    assert check_corpus(tmp_path / "a") == []


@pytest.mark.parametrize("cut", [0, 1, 511, 512, 700, 3000, 5000, 9999, -1])
def test_a_shard_cut_anywhere_is_taken_up_again(corpus, tmp_path, generator, describe, cut):
    before, layout = tree(corpus), Layout(corpus)
    data = layout.tar(1).read_bytes()
    for path in (layout.tar(1), layout.records(1), layout.images(1), layout.done(1)):
        path.unlink()
    layout.partial(1).write_bytes(data[:cut])
    generate(corpus, lambda: generator, describe())
    assert tree(corpus) == before


def test_bytes_after_the_last_whole_record_are_cut_off(corpus, generator, describe):
    before, layout = tree(corpus), Layout(corpus)
    data = layout.tar(1).read_bytes()
    for path in layout.files(1):
        path.unlink()
    layout.partial(1).write_bytes(data[:2000] + b"\1" * 2 * len(data))
    generate(corpus, lambda: generator, describe())
    assert tree(corpus) == before


def test_bytes_lost_in_a_power_cut_are_made_again(corpus, generator, describe):
    before, layout = tree(corpus), Layout(corpus)
    data = bytearray(layout.tar(0).read_bytes())
    data[2000:2600] = bytes(600)
    layout.done(0).unlink()
    layout.tar(0).write_bytes(data)
    generate(corpus, lambda: generator, describe())
    assert tree(corpus) == before


SLOW = """
import pathlib, sys, time
sys.path.insert(0, sys.argv[1])
import noise_generator
from comface_bench.comface.corpus.generate import generate
from comface_bench.comface.corpus.layout import Description
from comface_bench.comface.corpus.plan import CorpusPlan

class Slow(noise_generator.Noise):
    def render(self, *arguments):
        time.sleep(0.01)
        return super().render(*arguments)

plan = CorpusPlan(3, noise_generator.CARD.attributes, 12, alphas=5)
generate(pathlib.Path(sys.argv[2]), Slow, Description.of(Slow.card, plan, records_per_shard=9, suffix="png"))
"""


def test_killed_at_random_it_resumes_to_the_same_bytes(tmp_path, generator, describe, fork):
    source = Path(__file__).with_name("conftest.py").read_text(encoding="utf-8")
    (tmp_path / "noise_generator.py").write_text(source, encoding="utf-8")
    generate(tmp_path / "whole", lambda: generator, describe(identities=12, records_per_shard=9))
    command = ["-c", SLOW, tmp_path, tmp_path / "killed"]
    random, kills = np.random.default_rng(0), 0
    while kills < 20:
        process = fork(command)
        root = Layout(tmp_path / "killed")
        while not root.journal.exists() and process.poll() is None:
            time.sleep(0.005)
        lines = root.journal.read_text().count('"start"')
        while root.journal.read_text().count('"start"') == lines and kills and process.poll() is None:
            time.sleep(0.005)
        try:
            process.wait(timeout=random.uniform(0, 0.12))
            break
        except TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
    # On a busy machine twenty lives may be too short for the whole corpus.
    assert fork(command).wait(120) == 0
    assert kills >= 2
    assert tree(tmp_path / "killed") == tree(tmp_path / "whole")


def test_killed_after_the_shard_and_before_its_lock_is_gone(corpus, generator, describe):
    before = tree(corpus)
    Layout(corpus).lock(1).touch()
    generate(corpus, lambda: generator, describe())
    assert tree(corpus) == before


def test_another_corpus_in_the_folder_is_left_alone(corpus, tmp_path, generator, describe):
    before = tree(corpus)
    with pytest.raises(UsageError, match="other plan"):
        generate(corpus, lambda: generator, describe(identities=5))
    with pytest.raises(UsageError, match="other suffix"):
        generate(corpus, lambda: generator, describe(suffix="jpg"))
    assert tree(corpus) == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("…")
    with pytest.raises(UsageError, match="empty folder"):
        generate(tmp_path / "mine", lambda: generator, describe())


def test_records_of_another_corpus_are_refused(corpus, tmp_path, generator, describe):
    other = tmp_path / "other"
    generate(other, lambda: generator, describe(first=100))
    layout = Layout(corpus)
    layout.done(0).unlink()
    layout.tar(0).write_bytes(Layout(other).tar(0).read_bytes())
    before = tree(corpus)
    with pytest.raises(DataFormatError, match="record 0 was made for another corpus"):
        generate(corpus, lambda: generator, describe())
    layout.partial(0).replace(layout.tar(0))
    assert tree(corpus) == before


def test_records_out_of_order_are_refused(corpus, generator, describe):
    layout = Layout(corpus)
    layout.done(0).unlink()
    layout.tar(0).write_bytes(layout.tar(1).read_bytes())
    with pytest.raises(DataFormatError, match="isn't the one planned"):
        generate(corpus, lambda: generator, describe())


def test_a_corpus_of_version_1_is_read_and_gone_on_with(tmp_path, generator, describe):
    """Its images are named by α and have no checksum; a later version makes the rest as it was begun."""
    old = dataclasses.replace(describe(), version=1)
    generate(tmp_path / "whole", lambda: generator, old)
    generate(tmp_path / "begun", lambda: generator, old)
    layout = Layout(tmp_path / "begun")
    with tarfile.open(layout.tar(0)) as shard:
        alphas = old.plan.record(0).alphas
        names = [f"00000000.{'m' if alpha < 0 else 'p'}{abs(round(10 * alpha)):02d}.png" for alpha in alphas]
        assert shard.getnames()[:6] == [*names, "00000000.json"]
    assert np.load(layout.images(0)).dtype.names == ("alpha", "offset", "length")
    for path in layout.files(1)[:2]:
        path.unlink()
    generate(layout.root, lambda: generator, describe())
    assert tree(layout.root) == tree(tmp_path / "whole")
    assert check_corpus(layout.root, pictures=True) == []
    generate(tmp_path / "new", lambda: generator, describe())
    with Corpus(layout.root) as first, Corpus(tmp_path / "new") as second:
        assert np.array_equal(first.image(7, 3), second.image(7, 3))
        assert np.array_equal(first.record(7).alphas, second.record(7).alphas)


def test_a_shard_in_the_making_elsewhere(corpus, generator, describe):
    layout = Layout(corpus)
    layout.done(0).unlink()
    with layout.lock(0).open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match="another process"):
            generate(corpus, lambda: generator, describe())


@pytest.mark.parametrize("part", [(0, 2), (3, 2), (1, 0)])
def test_a_part_out_of_range(tmp_path, generator, describe, part):
    with pytest.raises(UsageError, match="no part"):
        generate(tmp_path / "c", lambda: generator, describe(), part=part)
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("lost", [["tar"], ["records"], ["images"], ["tar", "images"], ["records", "done"]])
def test_a_shard_that_lost_files_is_made_again(corpus, generator, describe, lost):
    before, layout = tree(corpus), Layout(corpus)
    for name in lost:
        getattr(layout, name)(1).unlink()
    rendered = generator.rendered
    generate(corpus, lambda: generator, describe())
    assert tree(corpus) == before
    assert generator.rendered - rendered == (25 if "tar" in lost else 0)


def test_any_number_of_processes_begin_a_corpus(tmp_path, describe):
    """Threads stand for processes: a lock of flock is each open file's own."""
    with ThreadPoolExecutor(8) as threads:
        for number in range(20):
            root = tmp_path / f"{number}" / "corpus"
            begun = list(threads.map(lambda _, root=root: Layout(root).begin(describe()), range(8)))
            assert begun == [None] * 8
            assert sorted(path.name for path in root.iterdir()) == ["corpus.json", "shards"]


def test_of_two_corpora_begun_at_once_one_is_refused(tmp_path, describe):
    def begin(identities):
        try:
            Layout(tmp_path / "corpus").begin(describe(identities=identities))
        except UsageError as error:
            return error.message

    with ThreadPoolExecutor(2) as threads:
        messages = list(threads.map(begin, (4, 5)))
    assert None in messages and any("other plan" in (message or "") for message in messages)


@pytest.mark.parametrize("left", [[], ["shards"], ["shards", ".corpus.json.tmp", "corpus.lock"]])
def test_a_beginning_that_was_killed_is_taken_up(tmp_path, corpus, generator, describe, left):
    root = tmp_path / "begun"
    root.mkdir()
    for name in left:
        (root / name).mkdir() if name == "shards" else (root / name).write_text('{"ver')
    generate(root, lambda: generator, describe())
    assert tree(root) == tree(corpus)


def test_shards_without_a_description_are_nobodys(tmp_path, corpus, generator, describe):
    Layout(corpus).description.unlink()
    before = tree(corpus)
    with pytest.raises(UsageError, match="empty folder"):
        generate(corpus, lambda: generator, describe())
    assert tree(corpus) == before


def test_a_full_disk_is_said_with_the_file(tmp_path, corpus, generator, describe):
    root = tmp_path / "full"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(
            StorageError, match=r"00000\.tar\.partial can't be written: .* 20,000 bytes"
        ) as caught:
            generate(root, lambda: generator, describe())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "ulimit" in caught.value.hint
    generate(root, lambda: generator, describe())
    assert tree(root) == tree(corpus)


def test_an_unfinished_corpus_is_not_read(corpus):
    Layout(corpus).done(2).unlink()
    with pytest.raises(DataMissingError, match="1 of 3 shards"):
        Corpus(corpus)
    assert check_corpus(corpus)[0].message == "missing"
    with pytest.raises(DataMissingError, match="holds no corpus"):
        Corpus(corpus / "nowhere")


STUCK = """

import os, pathlib, signal, time

class Stuck(Noise):
    '''From identity 9 on, each record takes ten minutes.'''

    def __init__(self, folder):
        super().__init__()
        self.folder = pathlib.Path(folder)

    def render(self, identity, *rest):
        if identity[1] >= 9:
            (self.folder / f"{os.getpid()}.stuck").touch()
            time.sleep(600)
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


def alive(process):
    """Return True for a process that runs; one that nobody has reaped doesn't."""
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, 0)
        return not Path("/proc/self").exists()
    return False


def wait_until(condition, seconds=100.0):
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
def test_a_signal_ends_all_processes_amid_a_record(tmp_path, generators, description, fork, number, whom):
    root = tmp_path / "corpus"
    (tmp_path / "description").write_bytes(pickle.dumps(description))
    parent = fork(["-c", CHILD, root, tmp_path], start_new_session=True)
    wait_until(lambda: len(list(tmp_path.glob("*.stuck"))) == 2)
    workers = [int(path.stem) for path in tmp_path.glob("*.stuck")]
    done = len(list(Layout(root).shards.glob("*.json")))
    assert done == 3
    (os.killpg if whom == "all" else os.kill)(parent.pid, number)
    assert parent.wait(timeout=60) != 0
    # A terminal sends SIGINT to all; only the parent answers it.
    assert parent.stdout.read().count("KeyboardInterrupt\n") == (number == signal.SIGINT)
    wait_until(lambda: not any(map(alive, workers)), 60)
    assert len(list(Layout(root).shards.glob("*.json"))) == done
    for path in Layout(root).shards.glob("*.lock"):
        with path.open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    generate(root, generators.Noise, description)
    generate(tmp_path / "whole", generators.Noise, description)
    assert tree(root) == tree(tmp_path / "whole")


def test_a_shard_that_fails_ends_the_others(tmp_path, generators, description):
    layout = Layout(tmp_path / "corpus")
    layout.begin(description)
    with layout.lock(0).open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        start = time.monotonic()
        with pytest.raises(UsageError, match="another process writes") as caught:
            generate(layout.root, partial(generators.Stuck, tmp_path), description, workers=2)
    assert time.monotonic() - start < 100
    assert "--shard" in caught.value.hint
    assert len(list(layout.shards.glob("*.json"))) <= 2
    generate(layout.root, generators.Noise, description, workers=2)
    assert not any(map(layout.missing, range(description.shards)))


def test_a_process_that_dies_is_said(tmp_path, generators, description):
    with pytest.raises(UnitError, match="SIGKILL") as caught:
        generate(tmp_path / "corpus", generators.Dies, description, workers=2)
    assert "--workers" in caught.value.hint


def test_an_error_that_cannot_be_sent_is_reported(tmp_path, generators, description):
    with pytest.raises(RuntimeError, match="Unpicklable: number seven"):
        generate(tmp_path / "corpus", generators.Fails, description, workers=2)
    assert len(list(Layout(tmp_path / "corpus").shards.glob("*.json"))) < description.shards
