"""Torch files that hold more than tensors, or claim more than they hold."""

from __future__ import annotations

import argparse
import os
import pathlib
import pickle
import zipfile

import numpy as np
import pytest
import torch

from comface_bench.core.errors import WeightsFormatError
from comface_bench.weights.read import BlockedGlobalError, read_tensors

pytestmark = pytest.mark.filterwarnings("ignore:Detected pickle protocol")

TENSORS = {"a.weight": torch.arange(6.0).view(2, 3), "b": torch.ones(1).half()}
LEGACY = pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])


def save(path, content, legacy=False):
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


def assert_same(found, expected):
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


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


class Shell:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


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
