"""Reading checkpoints: every layout of tensors by name; whatever else a file holds or claims is refused."""

from __future__ import annotations

import argparse
import os
import pathlib
import pickle
import random
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from comface_bench.core.errors import WeightsFormatError
from comface_bench.weights.read import BlockedGlobalError, read_tensors

# Torch remarks on the pickle protocol of files that aren't its own.
pytestmark = pytest.mark.filterwarnings("ignore:Detected pickle protocol")

TENSORS = {"a.weight": torch.arange(6.0).view(2, 3), "a.steps": torch.tensor(3), "b": torch.ones(1).half()}
LEGACY = pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])


def save(path, content, legacy=False):
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


def assert_same(found, expected):
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name
        assert found[name].dtype == tensor.dtype


def test_safetensors(tmp_path):
    save_file(TENSORS, tmp_path / "a.safetensors")
    found = read_tensors(tmp_path / "a.safetensors")
    assert_same({name: found[name] for name in TENSORS}, TENSORS)
    assert len(found) == len(TENSORS)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("ending", [".pth", ".pt", ".bin", ""])
def test_torch_files(tmp_path, legacy, ending):
    assert_same(read_tensors(save(tmp_path / f"a{ending}", OrderedDict(TENSORS), legacy)), TENSORS)


@pytest.mark.parametrize("wrap", [("state_dict",), ("model",), ("state_dict", "model")], ids=str)
def test_containers_are_unwrapped_and_what_lies_beside_is_left(tmp_path, wrap):
    content = TENSORS
    for name in reversed(wrap):
        content = {"epoch": 3, name: content, "arch": "resnet50", "optimizer": {"lr": 0.1}}
    assert_same(read_tensors(save(tmp_path / "a.pth", content)), TENSORS)


def test_a_tensor_may_be_called_model(tmp_path):
    content = {"model": torch.ones(2)}
    assert_same(read_tensors(save(tmp_path / "a.pth", content)), content)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"a": torch.ones(1), "epoch": 3}, "entry 'epoch' is no tensor"),
        ({"a": [torch.ones(1)]}, "entry 'a' is no tensor"),
        ({3: torch.ones(1)}, "entry 3 is no tensor"),
        ({}, "holds no state dict"),
        ({"state_dict": {}}, "holds no state dict"),
        (torch.ones(3), "holds no state dict"),
        ([torch.ones(3)], "holds no state dict"),
    ],
)
def test_anything_but_tensors_by_name_is_refused(tmp_path, content, told):
    with pytest.raises(WeightsFormatError) as caught:
        read_tensors(save(tmp_path / "a.pth", content))
    assert caught.value.message.startswith("a.pth")
    assert told in caught.value.message


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize(("size", "place"), [(1, 0), (5, 3), (1000, 998), (1000, 0)])
def test_values_that_are_not_finite_are_refused(tmp_path, value, dtype, size, place):
    broken = torch.ones(size, dtype=dtype)
    broken[place] = value
    with pytest.raises(WeightsFormatError, match=r"a\.pth: b holds values that aren't finite"):
        read_tensors(save(tmp_path / "a.pth", {"a": torch.ones(1), "b": broken}))


def test_a_tensor_without_numbers_is_read(tmp_path):
    content = {"a": torch.ones(0), "b": torch.ones(3, 0, 2).half()}
    assert_same(read_tensors(save(tmp_path / "a.pth", content)), content)


@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy"])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 0.6, 0.9, 0.999])
def test_truncated_files_are_refused(tmp_path, kind, share):
    path = tmp_path / ("a.safetensors" if kind == "safetensors" else "a.pth")
    content = {"a": torch.ones(500), "b": torch.zeros(500)}
    save_file(content, path) if kind == "safetensors" else save(path, content, legacy=kind == "legacy")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(WeightsFormatError, match="can't be read as plain tensors"):
        read_tensors(path)


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    "content",
    [
        b"<html>not found</html>",
        b"\x80\x02}q\x00.",
        b"\x00" * 64,
        b"PK\x03\x04nonsense",
        b"version https://git-lfs",
    ],
)
def test_other_files_are_refused(tmp_path, ending, content):
    path = tmp_path / f"a{ending}"
    path.write_bytes(content)
    with pytest.raises(WeightsFormatError, match=r"^a\."):
        read_tensors(path)


@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy"])
def test_damaged_files_are_read_or_refused_and_never_anything_else(tmp_path, kind):
    path = tmp_path / ("a.safetensors" if kind == "safetensors" else "a.pth")
    content = {"a": torch.ones(50), "b": torch.zeros(3, 4)}
    save_file(content, path) if kind == "safetensors" else save(path, content, legacy=kind == "legacy")
    whole, chance, refused = path.read_bytes(), random.Random(0), 0
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(3):
            damaged[chance.randrange(min(len(whole), 700))] = chance.randrange(256)
        path.write_bytes(damaged)
        try:
            read_tensors(path)
        except WeightsFormatError:
            refused += 1
    assert refused > 100


class Shell:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("how", ["zip", "legacy", "pickle", "inside"])
def test_code_in_a_file_never_runs(tmp_path, how):
    mark, path = tmp_path / "ran", tmp_path / "evil.pth"
    if how == "pickle":
        path.write_bytes(pickle.dumps(Shell(mark)))
    else:
        save(
            path,
            {"state_dict": {"a": torch.ones(1)}, "x": Shell(mark)} if how == "inside" else Shell(mark),
            how == "legacy",
        )
    with pytest.raises(WeightsFormatError) as caught:
        read_tensors(path)
    assert not mark.exists()
    assert "never loaded" in caught.value.hint
    # The file is as harmful as it was meant to be.
    torch.load(path, weights_only=False) if how != "pickle" else pickle.loads(path.read_bytes())
    assert mark.exists()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(WeightsFormatError, match=r"nothing\.pth can't be read"):
        read_tensors(tmp_path / "nothing.pth")


@LEGACY
def test_options_and_numbers_of_a_training_script_are_left(tmp_path, legacy):
    args = argparse.Namespace(lr=1e-3, warm=np.float64(0.5), inner=argparse.Namespace(names=["a"]))
    log = {"best": np.float32(0.7), "epochs": [np.int64(3), np.bool_(True)], "history": np.arange(4.0)}
    content = {"model": TENSORS, "optimizer": {"state": {0: log}}, "epoch": 9, "scaler": {}, "args": args}
    path = save(tmp_path / "cc12m.1x.pth", content, legacy)
    assert_same(read_tensors(path), TENSORS)
    with pytest.raises(pickle.UnpicklingError, match=r"Namespace|numpy"):
        torch.load(path, weights_only=True)


@LEGACY
@pytest.mark.filterwarnings("ignore:numpy.core")
def test_files_of_numpy_1_name_its_core_otherwise(tmp_path, legacy, monkeypatch):
    log = np.float64(0.25)
    path = save(tmp_path / "a.pth", {"model": TENSORS, "best": log}, True)
    path.write_bytes(path.read_bytes().replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert_same(read_tensors(path), TENSORS)
    assert torch.load(path, weights_only=False)["best"] == log


@LEGACY
def test_arrays_among_the_tensors_become_tensors(tmp_path, legacy):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    found = read_tensors(save(tmp_path / "a.pth", {"a": array, "b": torch.ones(2)}, legacy))
    assert torch.equal(found["a"], torch.from_numpy(array))


@LEGACY
def test_parameters_are_plain_tensors_afterwards(tmp_path, legacy):
    content = {"w": torch.nn.Parameter(torch.ones(2))}
    (found,) = read_tensors(save(tmp_path / "a.pth", content, legacy)).values()
    assert type(found) is torch.Tensor
    assert not found.requires_grad


@LEGACY
@pytest.mark.parametrize("where", ["namespace", "state", "array", "key", "scalar"])
def test_code_in_what_is_left_never_runs(tmp_path, legacy, where):
    mark = tmp_path / "ran"
    shell = Shell(mark)
    args = argparse.Namespace(x=1)
    beside = {
        "namespace": argparse.Namespace(x=shell),
        "state": [args, shell],
        "array": np.array([shell], dtype=object),
        "key": {("a", shell): 1},
        "scalar": [np.float64(1), shell],
    }[where]
    path = save(tmp_path / "a.pth", {"model": TENSORS, "args": beside}, legacy)
    with pytest.raises(WeightsFormatError):
        read_tensors(path)
    assert not mark.exists()
    torch.load(path, weights_only=False)
    assert mark.exists()


def test_nothing_that_was_allowed_for_one_file_is_for_the_next(tmp_path):
    before = set(torch.serialization.get_safe_globals())
    with_path = save(tmp_path / "b.pth", {"model": TENSORS, "x": pathlib.PurePosixPath("a")})
    read_tensors(save(tmp_path / "a.pth", {"model": TENSORS, "args": argparse.Namespace(x=1)}))
    read_tensors(with_path, [f"{pathlib.PurePosixPath.__module__}.PurePosixPath"])
    assert set(torch.serialization.get_safe_globals()) == before
    with pytest.raises(BlockedGlobalError) as caught:
        read_tensors(with_path)
    assert caught.value.name.startswith("pathlib")
    assert not caught.value.hostile


@LEGACY
def test_whole_networks_are_refused(tmp_path, legacy):
    path = save(tmp_path / "a.pth", torch.nn.Sequential(torch.nn.Linear(1, 1)), legacy)
    with pytest.raises(BlockedGlobalError) as caught:
        read_tensors(path)
    assert caught.value.name == "torch.nn.modules.container.Sequential"


def rewrite(path, change, compression=zipfile.ZIP_STORED):
    """Write a torch archive anew, its members changed by `change(name, data)`."""
    with zipfile.ZipFile(path) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members:
            archive.writestr(name, change(name, data))
    return path


def test_archives_that_torch_did_not_write_but_could_have_are_read(tmp_path):
    assert_same(read_tensors(rewrite(save(tmp_path / "a.pth", TENSORS), lambda name, data: data)), TENSORS)


@pytest.mark.parametrize("checksums", [True, False])
def test_a_changed_number_is_found_where_there_are_checksums(tmp_path, monkeypatch, checksums):
    monkeypatch.setattr(torch.serialization, "get_crc32_options", lambda: checksums)
    path = save(tmp_path / "a.pth", {"a": torch.ones(2000), "b": torch.ones(3)})
    read_tensors(path)
    whole = path.read_bytes()
    at = whole.index(torch.ones(2000).numpy().tobytes()) + 4001
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
    if checksums:
        with pytest.raises(WeightsFormatError, match="data/0 in it isn't as it was written") as caught:
            read_tensors(path)
        assert "copy it again" in caught.value.hint
    else:
        assert read_tensors(path)["a"][1000] != 1


def test_a_compressed_member_is_refused(tmp_path):
    zeros = {"a": torch.zeros(1_000_000)}
    path = rewrite(save(tmp_path / "a.pth", zeros), lambda name, data: data, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 20_000
    with pytest.raises(WeightsFormatError) as caught:
        read_tensors(path)
    assert "compressed" in str(caught.value.__cause__)


def test_members_larger_than_the_file_are_refused(tmp_path):
    path = save(tmp_path / "a.pth", {f"t{number}": torch.zeros(1000) for number in range(20)})
    changed, at = bytearray(path.read_bytes()), 0
    # The archive's directory says that every member is larger, so that they overlap.
    while (at := changed.find(b"PK\x01\x02", at)) >= 0:
        for field in (20, 24):
            changed[at + field : at + field + 4] = (50_000).to_bytes(4, "little")
        at += 4
    path.write_bytes(changed)
    with pytest.raises(WeightsFormatError) as caught:
        read_tensors(path)
    assert "larger than the file" in str(caught.value.__cause__)


@LEGACY
@pytest.mark.parametrize("shape", [(10**13,), (10**6, 10**7), (1000, 1000)])
def test_a_few_numbers_that_claim_to_be_many_are_refused(tmp_path, legacy, shape):
    path = save(tmp_path / "a.pth", {"a": torch.ones(1).expand(shape)}, legacy)
    assert path.stat().st_size < 5000
    with pytest.raises(WeightsFormatError, match="a states more numbers than the file holds"):
        read_tensors(path)


@LEGACY
def test_storages_larger_than_the_file_are_refused(tmp_path, legacy):
    path = save(tmp_path / "a.pth", {"a": torch.ones(4)}, legacy)

    def enlarge(name, data):
        # `K\x04` is the number of elements, as the storage's and as the shape's.
        return data.replace(b"K\x04", b"\x8a\x05" + (10**11).to_bytes(5, "little"))

    if legacy:
        path.write_bytes(enlarge("", path.read_bytes()))
    else:
        rewrite(path, lambda name, data: enlarge(name, data) if name.endswith(".pkl") else data)
    with pytest.raises(WeightsFormatError):
        read_tensors(path)


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.ones(2, 2).to_sparse(),
        lambda: torch.ones(2, device="meta"),
        lambda: torch.ones(2, dtype=torch.complex64),
        lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
        lambda: torch.ones(2, dtype=torch.float8_e4m3fn),
    ],
    ids=["sparse", "meta", "complex", "quantized", "float8"],
)
@pytest.mark.filterwarnings("ignore")
def test_tensors_of_other_kinds_are_refused(tmp_path, make):
    with pytest.raises(WeightsFormatError, match=r"^a\.pth"):
        read_tensors(save(tmp_path / "a.pth", {"a": make()}))


@pytest.mark.parametrize("name", ["weights", "a.pth", "a.pkl", "net.safetensors"])
def test_the_content_decides_not_the_name(tmp_path, name):
    from safetensors.torch import save_file

    plain = {key: tensor.clone() for key, tensor in sorted(TENSORS.items())}
    save_file(plain, tmp_path / name)
    found = read_tensors(tmp_path / name)
    assert_same({key: found[key] for key in plain}, plain)
    if name == "net.safetensors":
        return
    for legacy in (False, True):
        assert_same(read_tensors(save(tmp_path / name, TENSORS, legacy)), TENSORS)
