"""Model files: what is written comes back, whole or not at all."""

from pathlib import Path
from typing import Any

import pytest
import torch

from comface_bench.core.errors import ResultError
from comface_bench.data.photos import PhotoFacts
from comface_bench.engine.jobs import Fitted
from comface_bench.engine.model_file import read_facts, read_model, write_model

PHOTOS = PhotoFacts(images=3, shorter_side=20, grey=0.5)
UNIT: dict[str, Any] = {"key": "k" * 64, "predictions_digest": "d" * 64, "fold": 2, "seed": 1}
STATE = {
    "backbone.weight": torch.arange(6.0).view(2, 3).T,  # not contiguous
    "backbone.count": torch.tensor(7),
    "backbone.half": torch.tensor([0.5], dtype=torch.bfloat16),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_head_comes_back(dtype: torch.dtype, tmp_path: Path) -> None:
    weight = torch.randn(5, dtype=torch.float64).to(dtype)
    path = tmp_path / "a.models" / "m.safetensors"
    write_model(path, Fitted(weight, "difference", "mean", encoder="e" * 64), PHOTOS, **UNIT)
    facts, found = read_facts(path), read_model(path, STATE)
    assert {name: getattr(facts, name) for name in UNIT} == UNIT
    assert facts.photos == PHOTOS
    assert found.weight.dtype == dtype and torch.equal(found.weight, weight)
    assert (found.head, found.mirror, found.encoder) == ("difference", "mean", "e" * 64)
    assert found.backbone == {}


def test_a_trained_backbone_comes_back_bit_for_bit(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    shared = {**STATE, "backbone.tied": STATE["backbone.half"]}
    write_model(path, Fitted(torch.ones(3), "concat", backbone=shared), PHOTOS, **UNIT)
    found = read_model(path, shared).backbone
    assert found.keys() == shared.keys()
    assert all(torch.equal(found[name], shared[name]) for name in shared)
    with pytest.raises(ResultError, match="aren't those of this backbone"):
        read_model(path, STATE)
    other = {**shared, "backbone.weight": torch.zeros(2, 3)}
    with pytest.raises(ResultError, match=r"backbone.weight is \[3, 2\], not \[2, 3\]"):
        read_model(path, other)


def test_one_flipped_bit_is_found(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    write_model(path, Fitted(torch.ones(4), "difference", encoder="e"), PHOTOS, **UNIT)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ResultError, match="damaged"):
        read_model(path, STATE)


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.safetensors"
    write_model(path, Fitted(torch.ones(4), "difference", encoder="e"), PHOTOS, **UNIT)
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(5, "input/output error")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="input/output"):
        write_model(path, Fitted(torch.zeros(4), "difference", encoder="e"), PHOTOS, **UNIT)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_whoever_reads_the_results_reads_their_models(tmp_path: Path) -> None:
    folder = tmp_path / "a.models"
    write_model(folder / "m", Fitted(torch.ones(4), "difference", encoder="e"), PHOTOS, **UNIT)
    assert (folder / "m").stat().st_mode & 0o777 == folder.stat().st_mode & 0o666
