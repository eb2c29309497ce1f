"""Weights files: where they are found, their published digests, and the digest store."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import hashlib
import json
import multiprocessing
import os
from pathlib import Path

import pytest

from comface_bench.core.card import Checkpoint, MethodCard
from comface_bench.core.errors import WeightsFormatError, WeightsMissingError
from comface_bench.core.registry import Entry
from comface_bench.core.weights import (
    KnownDigest,
    cache_folder,
    check_published,
    digest_weights,
    find_weights,
    is_direct,
    list_states,
    locate_file,
    locate_weights,
    make_known_digest,
    published_digest,
    read_digest_store,
    store_digest,
    weights_digest,
    weights_folder,
    weights_target,
)

CONTENT = b"weights"
SHA = hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT).hexdigest()
URL = "https://example.org/net.pth"
CARD = MethodCard(
    name="m",
    version=1,
    build=":build",
    backbone="b",
    checkpoint=Checkpoint("net.pth", SHA, URL),
    options={"checkpoint": ()},
    licence="MIT",
)


def entry_of(card=CARD, **checkpoint):
    """The card's entry; a module without hooks stands for the plugin's own."""
    changed = dataclasses.replace(card, checkpoint=dataclasses.replace(card.checkpoint, **checkpoint))
    return Entry(changed, "test", "comface_bench.core.names")


ENTRY = entry_of()
UNPUBLISHED = entry_of(sha256="")


def put(folder, name="m/net.pth", content=CONTENT):
    path = folder / "weights" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


def notes(folder):
    return read_digest_store(folder / "weights")


@pytest.mark.parametrize(
    ("url", "told"),
    [
        (URL, "comface-bench weights fetch m"),
        (
            "https://drive.google.com/file/d/1/view",
            "https://drive.google.com/file/d/1/view (a program can't)",
        ),
        ("", "see the method"),
    ],
)
def test_missing_weights_say_what_goes_where_and_whence(own_folders, url, told):
    with pytest.raises(WeightsMissingError) as caught:
        find_weights(entry_of(url=url), {})
    target = own_folders / "weights" / "m" / "net.pth"
    assert all(part in str(caught.value) for part in (str(target), url, told, "-o checkpoint=FILE"))
    assert ("weights fetch" in str(caught.value)) == (url == URL)
    assert caught.value.exit_status == 2


@pytest.mark.parametrize(
    ("url", "direct"),
    [
        ("https://dl.example.org/moco/moco_v2_200ep_pretrain.pth.tar", True),
        ("http://127.0.0.1:80/net.safetensors?download=1", True),
        ("https://github.com/a/b/releases/download/v1/net%20a.pth", True),
        ("https://github.com/a/b", False),
        ("https://github.com/a/b/blob/main/net.pth", False),
        ("https://drive.google.com/uc/net.pth", False),
        ("https://www.dropbox.com/s/x/net.pth", False),
        ("https://storage.cloud.google.com/simclr-gcs/checkpoints/ResNet50_1x.zip", False),
        ("https://notdropbox.com/net.pth", True),
        ("ftp://example.org/net.pth", False),
        ("file:///net.pth", False),
        ("", False),
    ],
)
def test_addresses_that_a_program_can_fetch(url, direct):
    assert is_direct(url) is direct


@pytest.mark.parametrize("name", ["m/net.pth", "net.pth"])
def test_the_file_in_the_weights_folder_is_found(own_folders, name):
    path = put(own_folders, name)
    assert find_weights(ENTRY, {}) == path == locate_weights(CARD)


def test_the_methods_own_folder_comes_first(own_folders):
    put(own_folders, "net.pth", b"other")
    path = put(own_folders)
    assert find_weights(ENTRY, {}) == path == weights_target(CARD)


@pytest.mark.parametrize("name", ["resnet50.pth", "best.pth", "checkpoint-400.pth", "model.safetensors"])
def test_a_name_that_others_use_counts_in_the_methods_own_folder_only(own_folders, name):
    entry = entry_of(file=name)
    stray = put(own_folders, name)
    with pytest.raises(WeightsMissingError, match="doesn't count") as caught:
        find_weights(entry, {})
    assert str(stray) in caught.value.message
    assert find_weights(entry_of(file=f"my_{name}"), {"checkpoint": str(stray)}) == stray
    path = put(own_folders, f"m/{name}")
    assert find_weights(entry, {}) == path


@pytest.mark.parametrize("kind", ["sha256", "md5"])
def test_another_file_of_that_name_is_refused(own_folders, kind):
    put(own_folders, content=CONTENT + b"!")
    published = {"sha256": SHA, "md5": ""} if kind == "sha256" else {"sha256": "", "md5": MD5[:8]}
    with pytest.raises(WeightsFormatError) as caught:
        find_weights(entry_of(**published), {})
    assert published[kind] in caught.value.message
    assert hashlib.new(kind, CONTENT + b"!").hexdigest() in caught.value.message
    assert notes(own_folders) == {}


def test_the_first_use_is_noted_and_another_file_afterwards_refused(own_folders):
    path = put(own_folders)
    assert find_weights(UNPUBLISHED, {}) == path
    (name,), (note,) = notes(own_folders), notes(own_folders).values()
    assert (name, note.sha256, note.method, note.published) == ("m/net.pth", SHA, "m", "")
    assert note.when.endswith("+00:00")
    find_weights(UNPUBLISHED, {})
    assert notes(own_folders) == {name: note}
    put(own_folders, content=b"changed")
    with pytest.raises(WeightsFormatError) as caught:
        find_weights(UNPUBLISHED, {})
    for part in (SHA, hashlib.sha256(b"changed").hexdigest(), "weights verify m --accept", note.when):
        assert part in str(caught.value)
    assert notes(own_folders) == {name: note}
    put(own_folders)
    assert find_weights(UNPUBLISHED, {}) == path


def test_a_file_of_the_same_size_and_time_is_not_taken_for_the_same(own_folders):
    path = put(own_folders)
    find_weights(UNPUBLISHED, {})
    status = path.stat()
    other = put(own_folders, "m/other", b"WEIGHTS")
    other.replace(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size
    with pytest.raises(WeightsFormatError):
        find_weights(UNPUBLISHED, {})


def test_a_copy_with_another_time_keeps_the_first_use(own_folders):
    path = put(own_folders)
    find_weights(UNPUBLISHED, {})
    (before,) = notes(own_folders).values()
    os.utime(path, ns=(1, 1))
    assert not before.is_of(path)
    find_weights(dataclasses.replace(UNPUBLISHED, card=dataclasses.replace(UNPUBLISHED.card)), {})
    (after,) = notes(own_folders).values()
    assert after == dataclasses.replace(before, mtime_ns=1)


def test_a_process_reads_a_file_once(own_folders, monkeypatch):
    path = put(own_folders, content=b"read once")
    opened = []
    original = Path.open
    monkeypatch.setattr(Path, "open", lambda self, *a, **k: opened.append(self) or original(self, *a, **k))
    for _ in range(3):
        assert weights_digest(path) == hashlib.sha256(b"read once").hexdigest()
        find_weights(UNPUBLISHED, {})
    assert opened.count(path) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_used_with_a_warning(own_folders):
    path = put(own_folders)
    (own_folders / "weights").chmod(0o555)
    try:
        with pytest.warns(UserWarning, match="can't be noted"):
            assert find_weights(UNPUBLISHED, {}) == path
    finally:
        (own_folders / "weights").chmod(0o755)


def state(entry):
    (found,) = list_states([entry])
    return found


def test_states(own_folders, monkeypatch):
    md5 = entry_of(sha256="", md5=MD5[:8])
    assert state(ENTRY) == (
        *("m", "net.pth", own_folders / "weights" / "m" / "net.pth"),
        *("missing", None, "", "MIT", "comface-bench weights fetch m"),
    )
    path = put(own_folders)
    assert (state(ENTRY).state, state(ENTRY).size, state(ENTRY).digest) == ("present", 7, "not checked")
    find_weights(UNPUBLISHED, {})
    assert state(UNPUBLISHED).digest == "recorded"
    assert state(md5).digest == state(ENTRY).digest == "not checked"
    for entry in (md5, ENTRY):
        find_weights(entry, {})
        assert state(entry).digest == "published ok"
    find_weights(UNPUBLISHED, {})
    with monkeypatch.context() as patched:
        # An unchanged file isn't read.
        patched.setattr("comface_bench.core.weights._digest", None)
        assert state(UNPUBLISHED).digest == "recorded"
    os.utime(path, ns=(1, 1))
    assert state(UNPUBLISHED).digest == "recorded"
    put(own_folders, content=b"changed")
    assert state(UNPUBLISHED).digest == "recorded, now differs"
    assert list_states([dataclasses.replace(ENTRY, card=dataclasses.replace(CARD, checkpoint=None))]) == []
    assert state(entry_of(url="https://example.org/page")).get == "https://example.org/page"


def test_the_option_comes_first_and_is_not_compared(own_folders, tmp_path):
    put(own_folders)
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


@pytest.mark.parametrize(
    ("published", "told"),
    [
        ({"sha256": ""}, ""),
        ({}, f"sha256:{SHA}"),
        ({"sha256": SHA[:8]}, f"sha256:{SHA[:8]}"),
        ({"sha256": "", "md5": MD5}, f"md5:{MD5}"),
        ({"sha256": SHA[:8], "md5": MD5[:8]}, f"sha256:{SHA[:8]}"),
    ],
)
def test_leading_digits_or_none_are_enough(tmp_path, published, told):
    path = tmp_path / "a"
    path.write_bytes(CONTENT)
    card = entry_of(**published).card
    assert check_published(path, card) == told == published_digest(card.checkpoint)


@pytest.mark.parametrize("published", [{"sha256": SHA[1:9]}, {"sha256": "", "md5": MD5[1:9]}, {"md5": "0"}])
def test_other_leading_digits_are_not(tmp_path, published):
    path = tmp_path / "a"
    path.write_bytes(CONTENT)
    with pytest.raises(WeightsFormatError, match="the authors publish"):
        check_published(path, entry_of(**published).card)


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


def test_every_built_in_checkpoint_says_where_it_is_from():
    from comface_bench.core.registry import method_registry

    for entry in method_registry(plugins=False).declared():
        if entry.card.checkpoint is not None:
            url = entry.card.checkpoint.url
            assert url.startswith("https://") or (not url and entry.card.source), entry.card.name


def test_built_in_files_do_not_stand_in_for_one_another():
    from comface_bench.core.registry import method_registry

    cards = [entry.card for entry in method_registry(plugins=False).declared() if entry.card.checkpoint]
    assert len({weights_target(card) for card in cards}) == len(cards)
    for card in cards:
        flat = weights_folder() / card.checkpoint.file
        flat.parent.mkdir(exist_ok=True)
        flat.write_bytes(b"x")
        finders = [other.name for other in cards if locate_weights(other) == flat]
        assert len(finders) <= 1, f"{card.checkpoint.file} is taken by {finders}"
        flat.unlink()


def test_a_file_that_names_its_folder_lies_there(own_folders):
    entry = entry_of(file="timm/model.safetensors", sha256="")
    with pytest.raises(WeightsMissingError, match=r"weights/timm/model\.safetensors\n"):
        find_weights(entry, {})
    path = put(own_folders, "timm/model.safetensors")
    assert find_weights(entry, {}) == path == weights_target(entry.card)
    assert list(notes(own_folders)) == ["timm/model.safetensors"]


def test_a_module_that_knows_better_is_asked_by_the_list_too(own_folders, tmp_path, monkeypatch):
    import comface_bench.core.names as module

    def find(card, options):
        if not places:
            raise WeightsMissingError("nowhere")
        return places[0]

    places = []
    monkeypatch.setattr(module, "find_weights", find, raising=False)
    assert locate_file(ENTRY) is None
    assert state(ENTRY).state == "missing"
    elsewhere = tmp_path / "hub.bin"
    elsewhere.write_bytes(b"other")
    places = [elsewhere]
    assert locate_file(ENTRY) == find_weights(ENTRY, {}) == elsewhere
    assert state(ENTRY)[1:6] == ("hub.bin", elsewhere, "present", 5, "not recorded")
    assert notes(own_folders) == {}
    # Another file of the same content in the weights folder: noted, but not compared with the card's.
    places = [put(own_folders, "authors.pth", b"other")]
    assert find_weights(ENTRY, {}) == places[0]
    assert state(ENTRY).digest == "recorded"
    places = [put(own_folders, "net.pth", b"other")]
    with pytest.raises(WeightsFormatError, match="the authors publish"):
        find_weights(ENTRY, {})


NOTE = KnownDigest("ab" * 32, "m", "2026-01-01T00:00:00+00:00", 3, 4)


def test_digests_are_those_of_the_bytes(tmp_path):
    path = tmp_path / "a"
    for content in (b"", b"abc" * 1_000_000):
        path.write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest()
        assert digest_weights(path) == (sha256, sha256)
        assert weights_digest(path) == sha256


def test_there_and_back(tmp_path):
    assert read_digest_store(tmp_path) == {}
    store_digest(tmp_path, "m/b.pth", NOTE)
    store_digest(tmp_path, "a.pth", dataclasses.replace(NOTE, published="md5:12"))
    store_digest(tmp_path, "m/b.pth", dataclasses.replace(NOTE, size=5))
    expected = {
        "a.pth": dataclasses.replace(NOTE, published="md5:12"),
        "m/b.pth": dataclasses.replace(NOTE, size=5),
    }
    assert read_digest_store(tmp_path) == expected
    assert [path.name for path in tmp_path.iterdir()] == ["digests.json"]
    assert list(json.loads((tmp_path / "digests.json").read_text())) == ["a.pth", "m/b.pth"]


def test_a_note_is_of_a_file_while_it_stays(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    note = make_known_digest(path, "m")
    assert note.is_of(path)
    assert (note.size, note.sha256) == (3, hashlib.sha256(b"abc").hexdigest())
    path.write_bytes(b"abcd")
    assert not note.is_of(path)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", '{"a": 3}', '{"a": {"sha256": "x"}}', '{"a": {"unknown": 1}}', "\udcff"]
)
def test_a_malformed_digest_store_is_named_with_the_way_out(tmp_path, text):
    (tmp_path / "digests.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(WeightsFormatError, match=r"digests\.json is malformed") as caught:
        read_digest_store(tmp_path)
    assert "weights verify all" in caught.value.hint
    with pytest.raises(WeightsFormatError):
        store_digest(tmp_path, "a", NOTE)
    assert (tmp_path / "digests.json").read_bytes() == text.encode("utf-8", "surrogateescape")


def test_a_folder_that_is_gone_is_a_warning(tmp_path):
    with pytest.warns(UserWarning, match="digest of a can't be noted"):
        store_digest(tmp_path / "nothing", "a", NOTE)


def write_some(folder, number):
    for index in range(20):
        store_digest(folder, f"{number}-{index}", NOTE)


def test_many_processes_lose_nothing(tmp_path):
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(2, context) as pool:
        list(pool.map(write_some, [tmp_path] * 2, range(2)))
    assert len(read_digest_store(tmp_path)) == 40
