"""Saying what a file is that isn't read: nobody is sent to fetch a whole file again."""

from __future__ import annotations

import io
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save

from comface_bench.core.errors import WeightsFormatError
from comface_bench.weights.read import read_tensors

TENSORS = {"a": torch.arange(500.0), "b": torch.zeros(500)}


def torch_file() -> bytes:
    stream = io.BytesIO()
    torch.save(TENSORS, stream)
    return stream.getvalue()


def arrays() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, a=np.ones(2))
    return stream.getvalue()


def archive_of_others() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("readme.txt", "words")
    return stream.getvalue()


def tar() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.pth"), io.BytesIO())
    return stream.getvalue()


WHOLE = {
    "numpy": (arrays, "an archive of numpy"),
    "archive": (archive_of_others, "an archive of other files: readme.txt"),
    "tar": (tar, "a tar archive"),
    "HDF5": (lambda: b"\x89HDF\r\n\x1a\n" + bytes(500), "HDF5, as Keras"),
    "GGUF": (lambda: b"GGUF" + bytes(500), "it is GGUF"),
    "gzip": (lambda: b"\x1f\x8b" + bytes(500), "compressed by gzip"),
    "page": (lambda: b"<!DOCTYPE html><html>", "a web page"),
    "pointer": (
        lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n",
        "a pointer of Git LFS",
    ),
    "anything": (lambda: b"nothing", "no checkpoint, or a damaged one"),
}
BROKEN = {
    "empty": (lambda: b"", "it is empty"),
    "safetensors": (lambda: save(TENSORS)[:-100], "safetensors, cut off after"),
    "header": (lambda: save(TENSORS)[:60], "cut off within its header"),
    "torch": (lambda: torch_file()[:-100], "an archive without its end"),
}


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
@pytest.mark.parametrize("kind", [*WHOLE, *BROKEN])
def test_what_a_file_is_is_said_whatever_it_is_called(tmp_path, kind, ending):
    make, told = (WHOLE | BROKEN)[kind]
    path = tmp_path / f"a{ending}"
    path.write_bytes(make())
    with pytest.raises(WeightsFormatError, match=r"^a\.\w+ can't be read as plain tensors: ") as caught:
        read_tensors(path)
    assert told in caught.value.message
    assert "again" not in caught.value.hint
    assert ("broke off" in caught.value.hint) == (kind in BROKEN)


@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.parametrize("name", ["a.pt", "a.safetensors"])
def test_a_program_is_called_one(tmp_path, name):
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / name)
    with pytest.raises(
        WeightsFormatError, match="TorchScript archive, a program with weights inside"
    ) as caught:
        read_tensors(tmp_path / name)
    assert "docs/weights.md" in caught.value.hint


def test_torch_files_called_safetensors_are_read(tmp_path):
    for legacy in (False, True):
        torch.save(TENSORS, tmp_path / "a.safetensors", _use_new_zipfile_serialization=not legacy)
        assert torch.equal(read_tensors(tmp_path / "a.safetensors")["a"], TENSORS["a"])
