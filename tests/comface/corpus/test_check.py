"""Findings of a check, and refusals of reading."""

import dataclasses
import io
import json
import os
import pickle
import shutil
import subprocess
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from comface_bench.comface.corpus import read as reading
from comface_bench.comface.corpus.check import check_corpus
from comface_bench.comface.corpus.generate import generate
from comface_bench.comface.corpus.layout import Layout
from comface_bench.comface.corpus.read import Corpus
from comface_bench.comface.corpus.shard import scan_records
from comface_bench.core.errors import DataFormatError, DataMissingError


def test_any_changed_byte_is_found(corpus):
    layout, random = Layout(corpus), np.random.default_rng(1)
    files = [layout.tar(0), layout.records(1), layout.images(2), layout.done(1)]
    for path in files:
        data = path.read_bytes()
        for place in random.integers(0, len(data), 12):
            flipped = bytearray(data)
            flipped[place] ^= 1 << int(random.integers(8))
            path.write_bytes(flipped)
            assert check_corpus(corpus), (path, place)
        path.write_bytes(data)
    assert check_corpus(corpus) == []


def test_a_changed_byte_of_an_image_is_never_shown(corpus):
    """Reading compares each image with its checksum: other bytes are an error, wherever they stand."""
    tar, random = Layout(corpus).tar(1), np.random.default_rng(2)
    with Corpus(corpus) as opened:
        right = {
            (number, index): opened.image(number, index) for number in range(5, 10) for index in range(5)
        }
    data, refused = tar.read_bytes(), 0
    for place in random.integers(0, len(data), 40):
        flipped = bytearray(data)
        flipped[place] ^= 1 << int(random.integers(8))
        tar.write_bytes(flipped)
        with Corpus(corpus) as opened:
            for (number, index), image in right.items():
                try:
                    assert np.array_equal(opened.image(number, index), image)
                except DataFormatError as error:
                    refused += 1
                    assert f"image {index} of record {number} isn't the one that was written" in error.message
                    assert "synth check" in error.hint
    assert refused


def test_images_that_changed_places_are_refused(corpus):
    """An index that is one, but not the shard's, shows one α for another."""
    path = Layout(corpus).images(1)
    table = np.load(path)
    table[["offset", "length", "crc32"]][[0, 1]] = table[["offset", "length", "crc32"]][[1, 0]]
    table["alpha"][[0, 1]] = table["alpha"][[1, 0]]
    np.save(path, table)
    with pytest.raises(
        DataFormatError, match=r"00001\.images\.npy: not the index that the shard was finished"
    ):
        Corpus(corpus)


def test_a_shard_of_another_corpus_is_refused(corpus, tmp_path, generator, describe):
    """All four files are whole, and name the same records: only the seed of their people differs."""
    plan = dataclasses.replace(describe(alphas=101).plan, seed=4)
    for root, one in ((tmp_path / "a", describe(alphas=101)), (tmp_path / "b", None)):
        generate(root, lambda: generator, one or dataclasses.replace(describe(), plan=plan))
    for mine, other in zip(Layout(tmp_path / "a").files(1), Layout(tmp_path / "b").files(1), strict=True):
        shutil.copy(other, mine)
    with pytest.raises(DataFormatError, match=r"00001\.json: this shard was made for another corpus"):
        Corpus(tmp_path / "a")
    (fault,) = check_corpus(tmp_path / "a")
    assert fault.message == "this shard was made for another corpus"


def test_a_description_that_was_changed_is_refused(corpus):
    path, random = Layout(corpus).description, np.random.default_rng(3)
    data = path.read_bytes()
    for place in random.integers(0, len(data), 60):
        flipped = bytearray(data)
        flipped[place] ^= 1 << int(random.integers(8))
        path.write_bytes(flipped)
        with pytest.raises((DataFormatError, DataMissingError)):
            Corpus(corpus)


@pytest.mark.parametrize("text", ["[]", "3", "{}", '{"sha256": 1}', "{"])
def test_a_mark_of_a_finished_shard_that_is_none(corpus, text):
    path = Layout(corpus).done(1)
    path.write_text(text)
    with pytest.raises(DataFormatError, match=r"00001\.json"):
        Corpus(corpus)
    (fault,) = check_corpus(corpus)
    assert fault.path == path and "synth corpus --out" in fault.hint


def repack(data, change):
    """Write a tar anew; `change(members)` changes the list of (header, bytes)."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        members = [(member, tar.extractfile(member).read()) for member in tar]
    change(members)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for member, body in members:
            member.size = len(body) if member.isreg() else 0
            tar.addfile(member, io.BytesIO(body))
    return io.BytesIO(stream.getvalue())


def facts_without(key):
    def change(members):
        facts = json.loads(members[5][1])
        del facts[key]
        members[5] = (members[5][0], json.dumps(facts).encode())

    return change


def facts_with(**other):
    def change(members):
        members[5] = (members[5][0], json.dumps(json.loads(members[5][1]) | other).encode())

    return change


def rename(place, name):
    def change(members):
        members[place][0].name = name

    return change


def link(members):
    members[1][0].type, members[1][0].linkname = tarfile.SYMTYPE, "00000000.000.png"


def swap(members):
    members[0], members[1] = members[1], members[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        *(
            (facts_without(key), f"no {key}")
            for key in ("record", "identity", "attribute", "alphas", "sha256")
        ),
        (facts_with(identity="0"), "no identity, or not as it is written"),
        (facts_with(record=3), "these are the facts of record 3"),
        (facts_with(lengths=[1, 2, 3, 4, 5]), "aren't those of the record"),
        (facts_with(alphas=[1.0]), "its images are"),
        (rename(1, "00000000.000.png"), "00000000.000.png is there twice"),
        (rename(1, "00000000.005.png"), "its images are"),
        (rename(1, "00000001.001.png"), "its images are"),
        (rename(5, "00000001.json"), "these are the facts of record 0"),
        (lambda members: members.pop(2), "its images are"),
        (link, "isn't a plain file"),
        (swap, "its images are"),
    ],
)
def test_a_record_that_is_not_whole_is_told(corpus, change, said, describe):
    data = Layout(corpus).tar(0).read_bytes()
    assert scan_records(repack(data, lambda members: None), describe())[1] is None
    found, message = scan_records(repack(data, change), describe())
    assert found == [] and said in message


def test_pictures_that_are_none(corpus, tmp_path, generator, describe):
    class Blank(type(generator)):
        def render(self, identity, attribute, alphas):
            images = super().render(identity, attribute, alphas)
            images[1] = 7
            return images

    generate(tmp_path / "blank", Blank, describe())
    assert check_corpus(tmp_path / "blank") == []
    faults = check_corpus(tmp_path / "blank", pictures=True)
    assert len(faults) == 12 and "a single colour" in faults[0].message


def test_files_that_are_not_the_corpus_s(corpus):
    (corpus / "shards" / "notes.txt").write_text("mine")
    (fault,) = check_corpus(corpus)
    assert fault.path.name == "notes.txt"


def test_a_shard_cut_short_is_said_by_name(corpus):
    layout = Layout(corpus)
    layout.tar(1).write_bytes(layout.tar(1).read_bytes()[:4000])
    with Corpus(corpus) as opened, pytest.raises(DataFormatError, match=r"00001\.tar: cut short"):
        opened.read(9, 4)


def test_pictures_of_another_size_are_one_fault(tmp_path, generator, describe):
    class Large(type(generator)):
        def render(self, identity, attribute, alphas):
            return super().render(identity, attribute, alphas).repeat(2, 2).repeat(2, 3)

    generate(tmp_path / "large", Large, describe())
    (fault,) = check_corpus(tmp_path / "large", pictures=True)
    assert fault.message.startswith("record 0, α = ")
    assert fault.message.endswith("16 × 16 pixels, not 8; so are 59 more images of the corpus")
    assert "corpus.json" in fault.hint


@pytest.mark.parametrize("kind", ["tar", "records", "images", "done"])
def test_a_damaged_shard_is_whole_again_after_the_advice(corpus, generator, describe, kind):
    """The hint's first half is a shell's; its second makes what isn't there."""
    path = getattr(Layout(corpus), kind)(1)
    path.write_bytes(b"{}" + path.read_bytes()[2:])
    hint = check_corpus(corpus)[0].hint
    removal, _, command = hint.partition(" && ")
    subprocess.run(removal, shell=True, check=True)
    assert command == f"comface-bench synth corpus --out {corpus}"
    generate(corpus, lambda: generator, describe())
    assert check_corpus(corpus) == []


@pytest.mark.parametrize("kind", ["tar", "records", "images"])
def test_a_file_that_is_missing_is_said_by_name(corpus, kind):
    path = getattr(Layout(corpus), kind)(1)
    path.unlink()
    with pytest.raises(DataMissingError) as caught:
        Corpus(corpus)
    assert caught.value.message == f"{path} is missing: 1 of 3 shards aren't there yet"
    assert caught.value.hint == f"comface-bench synth corpus --out {corpus}"


def test_a_shard_that_goes_while_a_corpus_is_open(corpus):
    with Corpus(corpus) as opened:
        Layout(corpus).tar(2).unlink()
        with pytest.raises(DataMissingError, match=r"00002\.tar is missing"):
            opened.read(11, 0)


def test_an_index_of_fewer_rows(corpus):
    path = Layout(corpus).images(1)
    np.save(path, np.load(path)[:-1])
    with pytest.raises(DataFormatError, match=r"00001\.images\.npy: not the index"):
        Corpus(corpus)


@pytest.mark.parametrize("most", [0, 1, 256])
def test_threads_read_what_one_reads(corpus, monkeypatch, most):
    monkeypatch.setattr(reading, "MOST_OPEN", most)
    places = [(number, index) for number in range(12) for index in range(5)] * 5
    with Corpus(corpus) as opened, ThreadPoolExecutor(8) as threads:
        read = list(threads.map(lambda place: opened.read(*place), places))
        assert read == [opened.read(*place) for place in places]
        assert sum(file is not None for file in opened._files) == min(most, 3)


def test_a_forked_process_reads_by_files_of_its_own(corpus):
    with Corpus(corpus) as opened:
        wanted, handle = opened.read(0, 0), opened._files[0]
        opening, begun = threading.Event(), threading.Event()

        def hold():
            with opened._opening:
                begun.set()
                opening.wait()

        thread = threading.Thread(target=hold)
        thread.start()
        begun.wait()
        same, child = False, os.fork()
        if not child:
            try:
                os.close(handle)  # as a daemon's children do
                same = opened.read(0, 0) == wanted and opened.read(11, 4) != wanted
            finally:
                os._exit(0 if same else 1)
        opening.set()
        thread.join()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert opened.read(0, 0) == wanted


@pytest.mark.parametrize("data", [b"", b"nonsense", b"\x93NUMPY\x01\x00"])
def test_an_index_that_is_none(corpus, data):
    Layout(corpus).records(0).write_bytes(data)
    with pytest.raises(DataFormatError, match="records"):
        Corpus(corpus)


def test_an_index_of_objects_is_not_unpickled(corpus):
    class Boom:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    np.save(Layout(corpus).records(0), np.array([Boom()], object), allow_pickle=True)
    with pytest.raises(DataFormatError):
        Corpus(corpus)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 3},
        {"version": "2"},
        {"key": "0" * 64},
        {"quality": 94},
        {"plan": {}},
        {"plan": {"seed": 1}},
        {"plan": {"seed": -1, "attributes": ["age"], "identities": 1}},
        {"suffix": "gif"},
        {"colour": 1},
        {"generator": None},
        {"generator": None, "plan": 3},
    ],
)
def test_a_description_that_is_none(corpus, change):
    path = Layout(corpus).description
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DataFormatError, match=r"corpus\.json"):
        Corpus(corpus)


def test_a_corpus_is_pickled_as_its_folder(corpus):
    with Corpus(corpus) as opened:
        again = pickle.loads(pickle.dumps(opened))
        assert again.read(11, 3) == opened.read(11, 3)
        again.close()


@pytest.mark.parametrize("place", [(12, 0), (-1, 0), (0, 5), (0, -1)])
def test_no_such_image(corpus, place):
    with Corpus(corpus) as opened, pytest.raises(IndexError):
        opened.read(*place)
