"""Conversion to safetensors: tensors only, nothing run, nothing overwritten."""

from __future__ import annotations

import argparse
import collections
import hashlib
import json
import os
import pathlib
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors import safe_open

from comface_bench.core.errors import StorageError, UsageError, WeightsFormatError
from comface_bench.core.weights import digest_weights
from comface_bench.weights.convert import convert_weights
from comface_bench.weights.read import BlockedGlobalError, read_tensors

pytestmark = pytest.mark.filterwarnings("ignore:Detected pickle protocol")


def test_names_types_and_values_stay_and_the_source_is_reported(tmp_path):
    shared = torch.arange(4.0)
    tensors = {
        "module.a": torch.ones(2, 3).half(),
        "b": torch.arange(6.0).view(2, 3).t(),
        "steps": torch.tensor(3),
        "one": shared,
        "same": shared,
        "view": shared[1:3],
        "bf": torch.ones(2, dtype=torch.bfloat16),
    }
    source = tmp_path / "moco_v2.pth.tar"
    torch.save({"state_dict": tensors, "epoch": 1}, source)
    converted = convert_weights(source)
    assert converted == (tmp_path / "moco_v2.safetensors", 7, (), "state_dict")
    found = read_tensors(converted.path)
    assert set(found) == set(tensors)
    for name, tensor in tensors.items():
        assert torch.equal(found[name], tensor)
        assert found[name].dtype == tensor.dtype
    with safe_open(converted.path, "pt") as stream:
        facts = json.loads(stream.metadata()["conversion"])
    assert facts["source_sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert facts["source"] == "moco_v2.pth.tar"
    names = ["moco_v2.json", "moco_v2.pth.tar", "moco_v2.safetensors"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_two_conversions_have_equal_bytes_and_a_key_by_their_tensors(tmp_path):
    source = tmp_path / "a.pth"
    torch.save({"model": {"b": torch.ones(2, 3).half(), "a": torch.arange(3)}}, source)
    script = (
        "import pathlib, sys; from comface_bench.weights.convert import convert_weights;"
        "convert_weights(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), 'MIT')"
    )
    # In processes of their own: the order that the library's table has is drawn anew in each.
    for number in range(6):
        command = [sys.executable, "-c", script, str(source), str(tmp_path / f"{number}.safetensors")]
        subprocess.run(command, check=True)
    written = {(tmp_path / f"{number}.safetensors").read_bytes() for number in range(6)}
    assert len(written) == 1
    renamed = source.rename(tmp_path / "of-another-name.pth")
    other = convert_weights(renamed, tmp_path / "other.safetensors").path
    assert other.read_bytes() not in written
    assert digest_weights(other).content == digest_weights(tmp_path / "0.safetensors").content


def test_a_target_that_has_no_room_is_named_and_not_left(tmp_path):
    resource = pytest.importorskip("resource")
    source = tmp_path / "net.pth"
    torch.save({"weight": torch.ones(5000)}, source)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, before[1]))
    try:
        with pytest.raises(StorageError, match=r"net\.safetensors can't be written: .* 5,000 bytes"):
            convert_weights(source)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == [source]


def test_a_file_beside_says_source_licence_and_shapes(tmp_path):
    source = tmp_path / "stylegan_ffhq.pth"
    torch.save({"a": torch.ones(2, 3).half(), "b": torch.tensor(1)}, source)
    converted = convert_weights(source)
    told = json.loads(converted.path.with_suffix(".json").read_text())
    assert told == {
        "source": "stylegan_ffhq.pth",
        "source_sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
        "licence": "CC BY-NC 4.0",
        "tensors": {"a": {"shape": [2, 3], "dtype": "float16"}, "b": {"shape": [], "dtype": "int64"}},
    }
    other = convert_weights(source, tmp_path / "other.safetensors", "mine")
    assert json.loads(other.path.with_suffix(".json").read_text())["licence"] == "mine"
    (tmp_path / "third.json").touch()
    with pytest.raises(UsageError, match=r"third\.json exists already"):
        convert_weights(source, tmp_path / "third.safetensors")


def test_only_endings_of_checkpoints_are_taken_off(tmp_path):
    torch.save({"a": torch.ones(1)}, tmp_path / "cc12m.1x.pth")
    assert convert_weights(tmp_path / "cc12m.1x.pth").path.name == "cc12m.1x.safetensors"


def test_array_pickles_become_safetensors(tmp_path):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"w": array}, 2))
    found = read_tensors(convert_weights(tmp_path / "a.pkl", tmp_path / "b.safetensors").path)
    assert torch.equal(found["w"], torch.from_numpy(array))


def test_nothing_is_overwritten(tmp_path):
    torch.save({"a": torch.ones(1)}, tmp_path / "a.pth")
    (tmp_path / "a.safetensors").write_bytes(b"mine")
    for target in (None, tmp_path / "a.safetensors", tmp_path / "a.pth"):
        with pytest.raises(UsageError, match="exists already"):
            convert_weights(tmp_path / "a.pth", target)
    assert (tmp_path / "a.safetensors").read_bytes() == b"mine"


class Config:
    """A class of a training script, with code that runs when it is loaded."""

    ran: list[str] = []  # noqa: RUF012

    def __init__(self, mark):
        self.mark = mark

    def __setstate__(self, state):
        Config.ran.append("set")

    def __reduce__(self):
        return make_config, (self.mark,), {"x": 1}


def make_config(mark):
    pathlib.Path(mark).touch()
    return Config(mark)


@pytest.mark.parametrize("how", ["zip", "legacy", "pickle"])
def test_code_beside_the_tensors_is_left_out_without_running(tmp_path, how, monkeypatch):
    # A module that a file can name.
    monkeypatch.setitem(sys.modules, "training_script", sys.modules[__name__])
    monkeypatch.setattr(make_config, "__module__", "training_script")
    mark, source = tmp_path / "ran", tmp_path / "a.pth"
    config, folder = Config(str(mark)), pathlib.PurePosixPath("x")
    if how == "pickle":
        content = {"model": {"a": np.ones(2)}, "config": config, "folder": folder}
        source.write_bytes(pickle.dumps(content, 2))
    else:
        content = {"model": {"a": torch.ones(2).double()}, "config": config, "folder": folder}
        torch.save(content, source, _use_new_zipfile_serialization=how == "zip")
    with pytest.raises(BlockedGlobalError, match="weights convert") as caught:
        read_tensors(source)
    assert caught.value.name == "training_script.make_config"
    converted = convert_weights(source)
    assert converted.discarded[0] == "training_script.make_config"
    assert any(name.startswith("pathlib") for name in converted.discarded)
    assert torch.equal(read_tensors(converted.path)["a"], torch.ones(2).double())
    assert not mark.exists()
    assert Config.ran == []
    # The real loaders run it.
    pickle.loads(source.read_bytes()) if how == "pickle" else torch.load(source, weights_only=False)
    assert mark.exists()
    Config.ran.clear()


def test_a_network_that_was_stored_as_an_object_gives_its_tensors(tmp_path):
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))
    network.register_buffer("passing", torch.ones(1), persistent=False)
    for name, content in {
        "plain": network,
        "inside": {"model": torch.nn.DataParallel(network), "epoch": 3},
    }.items():
        torch.save(content, tmp_path / f"{name}.pth")
        with pytest.raises(BlockedGlobalError, match="would have to run torch"):
            read_tensors(tmp_path / f"{name}.pth")
        converted = convert_weights(tmp_path / f"{name}.pth")
        wrapper = "module." if name == "inside" else ""
        expected = {f"{wrapper}{key}": tensor for key, tensor in network.state_dict().items()}
        found = read_tensors(converted.path)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], tensor) for key, tensor in expected.items())
        assert "torch.nn.modules.conv.Conv2d" in converted.discarded


def test_a_network_of_torchs_first_format_needs_a_machine_that_trusts_it(tmp_path):
    source = tmp_path / "a.pth"
    torch.save(torch.nn.Linear(1, 1), source, _use_new_zipfile_serialization=False)
    with pytest.raises(WeightsFormatError, match=r"without torch\.nn\.modules\.linear\.Linear") as caught:
        convert_weights(source)
    assert "docs/weights.md" in caught.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["a.pth"]


def test_one_of_several_state_dicts_is_named(tmp_path):
    state = {"a.weight": torch.zeros(2)}
    source = tmp_path / "a.pth"
    torch.save({"model": state, "model_ema": {"a.weight": torch.ones(2)}, "epoch": 1}, source)
    with pytest.raises(WeightsFormatError, match=r"model \(1 tensors\), model_ema \(1 tensors\)") as caught:
        convert_weights(source)
    assert "--part model" in caught.value.hint
    with pytest.raises(WeightsFormatError, match="of which teacher is none"):
        convert_weights(source, part="teacher")
    assert [path.name for path in tmp_path.iterdir()] == ["a.pth"]
    converted = convert_weights(source, part="model_ema")
    assert converted.part == "model_ema"
    assert torch.equal(read_tensors(converted.path)["a.weight"], torch.ones(2))


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ({"_fsdp_wrapped_module._flat_param": torch.ones(9)}, "flat shards of FSDP"),
        ({"a.weight": torch.ones(0), "a.bias": torch.ones(0)}, "ZeRO"),
    ],
)
def test_shards_are_not_converted(tmp_path, state, told):
    torch.save({"module": state}, tmp_path / "a.pth")
    with pytest.raises(WeightsFormatError, match=told):
        convert_weights(tmp_path / "a.pth")
    assert [path.name for path in tmp_path.iterdir()] == ["a.pth"]


def test_a_damaged_file_is_reported_as_such(tmp_path):
    (tmp_path / "a.pth").write_bytes(b"nothing")
    with pytest.raises(WeightsFormatError, match="no checkpoint, or a damaged one"):
        convert_weights(tmp_path / "a.pth")


class Shell:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


class Evaluated:
    def __reduce__(self):
        return eval, ("1",)


@pytest.mark.parametrize("how", ["zip", "legacy", "pickle"])
@pytest.mark.parametrize("kind", ["shell", "eval", "unfit"])
def test_what_cannot_be_meant_well_or_is_no_state_dict_leaves_nothing(tmp_path, how, kind):
    evil = {
        "shell": Shell(tmp_path / "ran"),
        "eval": Evaluated(),
        "unfit": collections.defaultdict(list, {"a": [argparse.Namespace()]}),
    }[kind]
    content = {"model": {"a": np.ones(2) if how == "pickle" else torch.ones(2)}, "x": evil}
    source = tmp_path / "a.pth"
    if how == "pickle":
        source.write_bytes(pickle.dumps(content, 2))
    else:
        torch.save(content, source, _use_new_zipfile_serialization=how == "zip")
    with pytest.raises(WeightsFormatError):
        convert_weights(source)
    assert [path.name for path in tmp_path.iterdir()] == ["a.pth"]
