import dataclasses
import json
import os
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from comface_bench.core.card import Preprocess
from comface_bench.core.errors import UnitError, UsageError
from comface_bench.core.events import Event
from comface_bench.data.image_store import open_image_store
from comface_bench.data.task import load_task
from comface_bench.engine import feature_files, feature_store
from comface_bench.engine.encoder import Encoder, ImageSource, encode
from comface_bench.engine.feature_files import list_entries
from comface_bench.engine.feature_store import FeatureStore

MakeEncoder = Callable[[], Encoder]
ROWS = np.arange(40)


class Counter:
    """Counts the images that go through backbones of this process."""

    def __init__(self) -> None:
        self.images = 0

    def count(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(module, Encoder) or type(module).__name__ in ("TinyNet", "Net"):
            self.images += len(inputs[0])

    def take(self) -> int:
        images, self.images = self.images, 0
        return images


@pytest.fixture
def counter() -> Iterator[Counter]:
    counter = Counter()
    handle = nn.modules.module.register_module_forward_hook(counter.count)
    yield counter
    handle.remove()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "features"


@pytest.fixture
def events() -> list[Event]:
    return []


def notices(events: list[Event]) -> list[str]:
    return [event.text for event in events if event.kind == "notice"]


def test_kept_features_are_those_that_were_encoded(
    source: ImageSource, make_encoder: MakeEncoder, folder: Path, counter: Counter, events: list[Event]
) -> None:
    rows = np.array([3, 1, 30, 3, 17])
    first = FeatureStore(make_encoder(), source, folder=folder)
    expected = {view: first.require(rows, view, "encoding").gather(rows) for view in ("plain", "mirrored", 2)}
    assert counter.take() == 3 * 4
    encoder = make_encoder().eval()
    assert torch.equal(
        expected["plain"], encode(encoder, source.plain, np.unique(rows), source.machine)[[1, 0, 3, 1, 2]]
    )
    assert not torch.equal(expected["plain"], expected["mirrored"])
    counter.take()
    second = FeatureStore(make_encoder(), source, events.append, folder)
    for view, values in expected.items():
        features = second.require(np.unique(rows)[::-1], view, "encoding")
        assert features.width == 8
        assert torch.equal(features.gather(rows), values)
    assert (counter.take(), second.encoded.per_second) == (0, None)
    assert len(notices(events)) == 1
    assert "comface-bench cache list" in notices(events)[0]
    with pytest.raises(IndexError):
        features.gather(np.array([0]))


def test_only_images_that_arent_kept_are_encoded(
    source: ImageSource, make_encoder: MakeEncoder, folder: Path, counter: Counter, events: list[Event]
) -> None:
    FeatureStore(make_encoder(), source, folder=folder).require(ROWS[:10], "plain", "encoding")
    counter.take()
    store = FeatureStore(make_encoder(), source, events.append, folder)
    features = store.require(ROWS[5:20], "plain", "encoding")
    assert counter.take() == store.encoded.images == 10
    assert [event.total for event in events if event.kind == "stage"] == [10]
    assert sum(event.amount for event in events if event.kind == "progress") == 10
    whole = FeatureStore(make_encoder(), source).require(ROWS, "plain", "").gather(ROWS)
    assert torch.allclose(features.gather(ROWS[5:20]), whole[5:20], atol=1e-6)


def test_without_augmentation_numbered_views_are_the_plain_one(
    source: ImageSource, make_encoder: MakeEncoder, folder: Path, counter: Counter
) -> None:
    for place in (folder, None):
        store = FeatureStore(make_encoder(), source, folder=place).with_views("none", 3)
        plain = store.require(ROWS[:10], "plain", "")
        views = [store.require(ROWS[:20], number, "") for number in (1, 2, 3)]
        assert counter.take() == 20
        assert torch.equal(views[2].gather(ROWS[:10]), plain.gather(ROWS[:10]))
    drawn = source.with_views("none", 3).augmented(ROWS, np.full(40, 2))
    assert torch.allclose(drawn, source.plain(ROWS), atol=1e-5)


def test_another_view_is_another_entry(
    source: ImageSource, make_encoder: MakeEncoder, folder: Path, counter: Counter
) -> None:
    store = FeatureStore(make_encoder(), source, folder=folder)
    for other, view in [
        (store, "plain"),
        (store, "mirrored"),
        (store, 1),
        (store, 2),
        (store.with_views("table-c", 8), 1),
        (store.with_views("table-d", 7), 1),
    ]:
        other.require(ROWS, view, "")
        assert counter.take() == len(ROWS), view
    assert store.with_views("table-c", 7).require(ROWS, 2, "").width == 8
    assert counter.take() == 0
    assert store.encoded.images == 6 * len(ROWS)


class Net(nn.Module):
    """The mean of an image's pixels under settings that are no tensors."""

    def __init__(
        self, power: float = 1.0, function: Callable[[torch.Tensor], torch.Tensor] = torch.abs
    ) -> None:
        super().__init__()
        self.power, self.function, self.shift = power, function, torch.zeros(1)
        self.register_buffer("offset", torch.zeros(3), persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.function(images).mean((2, 3)) ** self.power + self.shift + self.offset
        return features


def make_closure(exponent: int) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda images: images**exponent


class Scripted(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean((2, 3))


class ScriptedOtherwise(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.amax((2, 3))


def changed(change: str) -> Encoder:
    net, preprocess = Net(), Preprocess()
    if change == "setting":
        net = Net(2.0)
    elif change.startswith("script"):
        scripted = Scripted() if change == "script" else ScriptedOtherwise()
        return Encoder("net", torch.jit.script(scripted), preprocess)
    elif change == "function":
        net = Net(function=torch.square)
    elif change.startswith("closure"):
        net = Net(function=make_closure(int(change[-1])))
    elif change == "loose tensor":
        net.shift = torch.ones(1)
    elif change == "buffer":
        net.offset[1] = 1e-7
    elif change == "hook":
        net.register_forward_hook(lambda module, inputs, output: output + 1)
    elif change == "mean":
        preprocess = dataclasses.replace(preprocess, mean=(0.5, 0.4, 0.3))
    elif change == "std":
        preprocess = dataclasses.replace(preprocess, std=(0.5, 0.4, 0.3))
    elif change == "channels":
        preprocess = dataclasses.replace(preprocess, channels="BGR")
    elif change == "size":
        preprocess = dataclasses.replace(preprocess, size=8)
    return Encoder("net", net, preprocess)


@pytest.mark.filterwarnings("ignore:.torch.jit.script:FutureWarning")
def test_another_encoder_is_another_entry(source: ImageSource, folder: Path) -> None:
    changes = ["", "setting", "function", "closure 2", "closure 3", "loose tensor", "buffer", "hook"]
    changes += ["mean", "std", "channels", "size", "script", "script otherwise"]
    for expected in (len(ROWS), 0):
        for change in changes:
            store = FeatureStore(changed(change), source, folder=folder)
            store.require(ROWS, "plain", "")
            assert store.encoded.images == expected, change
    assert len(list_entries(folder)) == len(changes)


def test_one_changed_number_is_another_entry(
    source: ImageSource, make_encoder: MakeEncoder, folder: Path, counter: Counter
) -> None:
    for name, _ in make_encoder().backbone.state_dict().items():
        encoder = make_encoder()
        with torch.no_grad():
            encoder.backbone.state_dict()[name].view(-1)[0] += 1
        FeatureStore(encoder, source, folder=folder).require(ROWS[:1], "plain", "")
        assert counter.take() == 1, name


PLUGIN = """
import torch

class Net(torch.nn.Module):
    def forward(self, images):
        return images.mean((2, 3)) * {factor}
"""


def test_a_changed_source_file_is_another_entry(
    source: ImageSource, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def require(factor: int) -> torch.Tensor:
        path = tmp_path / "net_of_a_plugin.py"
        path.write_text(PLUGIN.format(factor=factor))
        module = types.ModuleType(path.stem)
        module.__file__ = str(path)
        exec(compile(path.read_text(), path, "exec"), vars(module))
        monkeypatch.setitem(sys.modules, path.stem, module)
        store = FeatureStore(Encoder("net", module.Net(), Preprocess()), source, folder=folder)
        return store.require(ROWS, "plain", "").gather(ROWS)

    assert torch.allclose(require(2) * 2, require(4))
    # What runs is what was loaded, whatever the file says meanwhile.
    net = sys.modules["net_of_a_plugin"].Net()
    (tmp_path / "net_of_a_plugin.py").write_text(PLUGIN.format(factor=8))
    store = FeatureStore(Encoder("net", net, Preprocess()), source, folder=folder)
    store.require(ROWS, "plain", "")
    assert store.encoded.images == 0


def test_other_images_sizes_and_precisions_are_other_entries(
    source: ImageSource,
    make_encoder: MakeEncoder,
    make_ages: Callable[..., Path],
    tmp_path: Path,
    folder: Path,
    counter: Counter,
) -> None:
    other = load_task(
        "age+split=balanced-4", make_ages(tmp_path / "other", subjects=12, ages=(3, 11, 24, 51))
    )
    machine = dataclasses.replace(source.machine, precision="bfloat16")
    for changed in (
        source,
        dataclasses.replace(source, store=open_image_store(other.table, 19, cache=tmp_path / "cache")),
        dataclasses.replace(
            source, store=open_image_store(other.table, 19, cache=tmp_path / "cache", resize="crop")
        ),
        dataclasses.replace(source, size=14),
        dataclasses.replace(source, machine=machine),
    ):
        FeatureStore(make_encoder(), changed, folder=folder).require(ROWS, "plain", "")
        assert counter.take() == len(ROWS)


def test_a_damaged_block_is_encoded_again(
    source: ImageSource,
    make_encoder: MakeEncoder,
    folder: Path,
    counter: Counter,
    events: list[Event],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feature_store, "PART_IMAGES", 20)
    expected = FeatureStore(make_encoder(), source, folder=folder).require(ROWS, "plain", "").gather(ROWS)
    (entry,) = list_entries(folder)
    parts = sorted(entry.path.glob("*.part"))
    assert len(parts) == 2
    sound = parts[0].read_bytes()
    for place in range(0, len(sound), 41):  # rows, features, checksums, counts and seal
        counter.take()
        content = bytearray(sound)
        content[place] ^= 1
        parts[0].write_bytes(content)
        assert entry.find_damaged() == [parts[0]]
        events.clear()
        store = FeatureStore(make_encoder(), source, events.append, folder)
        assert torch.equal(store.require(ROWS, "plain", "").gather(ROWS), expected)
        assert counter.take() == 20, place
        assert any("damaged" in text for text in notices(events))
        assert parts[0].read_bytes() == sound
    parts[0].write_bytes(sound[:-1])
    parts[1].write_bytes(b"")
    store = FeatureStore(make_encoder(), source, folder=folder)
    assert torch.equal(store.require(ROWS, "plain", "").gather(ROWS), expected)


class KilledError(Exception):
    pass


def test_a_kill_loses_the_part_in_work(
    source: ImageSource,
    make_encoder: MakeEncoder,
    folder: Path,
    counter: Counter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feature_store, "PART_IMAGES", 8)
    seen = []

    def kill(event: Event) -> None:
        seen.append(event.amount)
        if sum(seen) > 20:
            raise KilledError

    with pytest.raises(KilledError):
        FeatureStore(make_encoder(), source, kill, folder).require(ROWS, "plain", "")
    counter.take()
    (entry,) = list_entries(folder)
    (entry.path / "x.part.abc.unfinished").write_bytes(b"left by a kill")
    FeatureStore(make_encoder(), source, folder=folder).require(ROWS, "plain", "")
    assert counter.take() == len(ROWS) - 16
    assert not list(entry.path.glob("*.unfinished"))


def test_what_a_changed_backbone_encoded_isnt_kept(
    source: ImageSource, make_encoder: MakeEncoder, folder: Path, counter: Counter
) -> None:
    encoder = make_encoder()
    store = FeatureStore(encoder, source, folder=folder)
    store.require(ROWS[:5], "plain", "")
    store.check_frozen()
    with torch.no_grad():
        next(encoder.parameters()).add_(1)
    store.require(ROWS, "plain", "")
    with pytest.raises(UnitError, match="changed"):
        store.check_frozen()
    counter.take()
    FeatureStore(make_encoder(), source, folder=folder).require(ROWS, "plain", "")
    assert counter.take() == len(ROWS)


def test_features_stay_in_memory_where_nothing_can_be_written(
    source: ImageSource,
    make_encoder: MakeEncoder,
    folder: Path,
    events: list[Event],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = FeatureStore(make_encoder(), source).require(ROWS, "plain", "").gather(ROWS)
    folder.write_text("a file where the folder should be")
    store = FeatureStore(make_encoder(), source, events.append, folder)
    assert torch.equal(store.require(ROWS, "plain", "").gather(ROWS), expected)
    store.require(ROWS, 1, "")
    assert len(notices(events)) == 1
    assert "stay in memory" in notices(events)[0]
    folder.unlink()

    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device", "DISK")

    monkeypatch.setattr(feature_store, "write_part", full)
    events.clear()
    store = FeatureStore(make_encoder(), source, events.append, folder)
    assert torch.equal(store.require(ROWS, "plain", "").gather(ROWS), expected)
    assert "No space left" in notices(events)[0]


def test_a_folder_that_is_only_read_is_used(
    source: ImageSource,
    make_encoder: MakeEncoder,
    folder: Path,
    counter: Counter,
    events: list[Event],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = FeatureStore(make_encoder(), source, folder=folder)
    expected = [first.require(ROWS, view, "").gather(ROWS) for view in (1, 2)]

    def refuse(*arguments: Any) -> None:
        raise OSError(30, "Read-only file system", "LOCK")

    monkeypatch.setattr(feature_store, "lock_entry", refuse)
    counter.take()
    store = FeatureStore(make_encoder(), source, events.append, folder)
    assert torch.equal(store.require(ROWS, 1, "").gather(ROWS), expected[0])
    store.require(ROWS, 3, "")
    assert torch.equal(store.require(ROWS, 2, "").gather(ROWS), expected[1])
    assert counter.take() == len(ROWS)
    assert any("Read-only" in text for text in notices(events))


def test_an_encoder_that_cant_be_told_from_others_is_not_kept(
    source: ImageSource, folder: Path, events: list[Event]
) -> None:
    found: dict[str, Any] = {"__name__": "typed", "torch": torch}
    exec("class Typed(torch.nn.Module):\n def forward(self, images):\n  return images.mean((2, 3))", found)
    encoder = Encoder("typed", found["Typed"](), Preprocess())
    features = FeatureStore(encoder, source, events.append, folder).require(ROWS, "plain", "")
    assert features.gather(ROWS).shape == (40, 3)
    assert not folder.exists()
    assert "no source file" in notices(events)[0]


def test_a_limit_of_nothing_keeps_nothing(
    source: ImageSource, make_encoder: MakeEncoder, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(feature_store.LIMIT, "0")
    FeatureStore(make_encoder(), source, folder=folder).require(ROWS, "plain", "")
    assert not folder.exists()
    for text in ("much", "-1", "nan"):
        monkeypatch.setenv(feature_store.LIMIT, text)
        with pytest.raises(UsageError, match="FEATURES_GB"):
            FeatureStore(make_encoder(), source, folder=folder)


def test_beyond_the_limit_what_was_unused_longest_goes(
    source: ImageSource,
    make_encoder: MakeEncoder,
    folder: Path,
    counter: Counter,
    events: list[Event],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for number in (1, 2, 3):
        FeatureStore(make_encoder(), source, folder=folder).require(ROWS, number, "")
    for entry in list_entries(folder):
        number = int(str(entry.about["view"]).split()[0])
        os.utime(entry.path / "entry.json", (1000 * number, 1000 * number))
    FeatureStore(make_encoder(), source, folder=folder).require(ROWS, 1, "")  # used again
    size = sum(entry.size for entry in list_entries(folder))
    monkeypatch.setenv(feature_store.LIMIT, str((size + 100) / 1e9))
    store = FeatureStore(make_encoder(), source, events.append, folder)
    store.require(ROWS, 4, "")
    assert sorted(str(entry.about["view"])[0] for entry in list_entries(folder)) == ["1", "3", "4"]
    # What this store uses stays, and what finds no place beside it is in memory.
    kept = [store.require(ROWS, number, "") for number in (1, 3, 5, 6)]
    assert sorted(str(entry.about["view"])[0] for entry in list_entries(folder)) == ["1", "3", "4"]
    assert "stay in memory" in notices(events)[-1]
    counter.take()
    assert torch.equal(store.require(ROWS, 6, "").gather(ROWS), kept[-1].gather(ROWS))
    assert counter.take() == 0


PROCESS = """
import hashlib, sys
from pathlib import Path

import numpy as np
import torch

from comface_bench.core.card import AUGMENTATIONS, Preprocess
from comface_bench.data.augment import image_key
from comface_bench.data.image_store import open_image_store
from comface_bench.data.task import load_task
from comface_bench.engine.encoder import Encoder, ImageSource
from comface_bench.engine.feature_store import FeatureStore
from comface_bench.engine.precision import choose_machine

class Pool(torch.nn.Module):
    def forward(self, images):
        return torch.nn.functional.avg_pool2d(images, 4).flatten(1)

data, cache, folder = map(Path, sys.argv[1:])
store = open_image_store(load_task("age+split=balanced-4", data).table, 19, cache=cache)
keys = np.array([image_key(name) for name in store.names], dtype=np.uint64)
source = ImageSource(store, keys, 16, AUGMENTATIONS["table-c"], 7, choose_machine("cpu", "float32"))
features, rows = FeatureStore(Encoder("pool", Pool(), Preprocess()), source, folder=folder), np.arange(40)
found = [features.require(rows, view, "").gather(rows).numpy() for view in range(8)]
print(features.encoded.images, *(hashlib.sha256(values).hexdigest() for values in found))
"""


def test_two_processes_encode_nothing_twice(
    data: Path, source: ImageSource, tmp_path: Path, folder: Path
) -> None:
    script = tmp_path / "process.py"
    script.write_text(PROCESS)
    words = [sys.executable, script, data, tmp_path / "cache", folder]
    processes = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    (one, *first), (other, *second) = (process.communicate(timeout=300)[0].split() for process in processes)
    assert int(one) + int(other) == 8 * len(ROWS)
    assert first == second
    assert len(set(first)) == 8
    assert not list(folder.glob("*.lock"))


class Small(nn.Module):
    """Has room for a few images only."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if len(images) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return images.mean((2, 3))


def test_a_full_device_gets_smaller_batches(source: ImageSource, events: list[Event]) -> None:
    found = {
        most: FeatureStore(Encoder("small", Small(most), Preprocess()), source, events.append)
        .require(ROWS, "plain", "")
        .gather(ROWS)
        for most in (100, 3, 1)
    }
    assert torch.equal(found[100], found[3])
    assert torch.equal(found[100], found[1])
    assert any("2 at a time" in text for text in notices(events))
    with pytest.raises(UnitError, match="no room") as caught:
        FeatureStore(Encoder("small", Small(0), Preprocess()), source).require(ROWS, "plain", "")
    assert "--device" in caught.value.hint


def test_mapped_pages_dont_pile_up(folder: Path) -> None:
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("no /proc")
    rows, width = np.arange(4096), 12_288
    folder.mkdir()
    path = feature_files.write_part(folder, rows, np.ones((4096, width), np.float32))
    pages = feature_files.MappedPages()
    part = feature_files.MappedPart.open(path, folder.name, pages)
    assert part is not None

    def resident() -> int:
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("RssFile"))
        return int(line.split()[1]) * 1024

    before, target = resident(), np.empty((1, width), np.float32)
    most = 0
    for row in np.random.default_rng(0).permutation(4096).astype(np.int32):
        assert part.check(np.array([row]))
        part.copy_lines(np.array([row]), target, np.array([0]))
        most = max(most, resident())
    assert most - before < 100 << 20


def test_entries_say_what_they_are_of(source: ImageSource, make_encoder: MakeEncoder, folder: Path) -> None:
    about = {"method": "tiny", "data": "fgnet"}
    FeatureStore(make_encoder(), source, folder=folder, about=about).require(ROWS, 3, "")
    (entry,) = list_entries(folder)
    assert entry.about == json.loads((entry.path / "entry.json").read_text())
    facts = {"view": "3 of seed 7", "image_size": 16, "precision": "float32", "features": 8}
    assert entry.about == about | facts
    assert entry.size == sum(path.stat().st_size for path in entry.path.iterdir())
    assert entry.find_damaged() == []
    assert entry.remove()
    assert list_entries(folder) == []
    assert list_entries(folder / "nowhere") == []
