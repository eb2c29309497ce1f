"""Model files: what one unit learnt, as safetensors, tied to its key and to its stored predictions.

`head` is the pair head's weight; `backbone.*` are the tensors of a backbone that was trained. The file's
metadata have one entry, JSON, with the fields of `ModelFacts`. A file is data: nothing in it is executed, and
names, types and shapes are checked before a tensor is read. Its digest finds out what is damaged; it doesn't
say who wrote the file.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import torch

from comface_bench.core.errors import ResultError
from comface_bench.core.files import replacing
from comface_bench.data.photos import PhotoFacts
from comface_bench.engine.heads import HeadKind, MirrorKind
from comface_bench.engine.jobs import Fitted

if TYPE_CHECKING:
    from torch import Tensor

ENTRY = "comface-bench"
"""Key of the metadata."""
FORMAT = 1
"""Raised when tensors or facts change their meaning."""
MOST_INPUTS = 1 << 20
"""Numbers of the largest head that is read."""

_HEAD = "head"
_HEAD_TYPES = {"F32": torch.float32, "F64": torch.float64}
_AGAIN = "Make it again: the record's own command with --save-models"


@dataclass(frozen=True)
class ModelFacts:
    """What a model file says of itself.

    Attributes:
        format: `FORMAT`.
        key: Key of the unit.
        predictions_digest: Digest of the predictions that the record has of it: another run of the same unit,
            on another machine, may have learnt other numbers.
        fold, seed: The unit's.
        head, mirror, encoder: As `Fitted` has them.
        photos: What the pictures of the task's data set are like.
        tensors: SHA-256 of names, types, shapes and numbers.
    """

    key: str
    predictions_digest: str
    fold: int
    seed: int
    head: HeadKind
    mirror: MirrorKind
    encoder: str
    photos: PhotoFacts
    tensors: str
    format: int = FORMAT


def write_model(path: Path, fitted: Fitted, photos: PhotoFacts, **unit: Any) -> None:
    """Write what a unit learnt; the file is there whole or not at all.

    Args:
        path: The file; its folder is made.
        fitted: What it learnt.
        photos: What the pictures of its data set are like.
        unit: `key`, `predictions_digest`, `fold` and `seed`.

    Raises:
        StorageError: There is no room.
        OSError: It can't be written for another reason.
    """
    from safetensors.torch import save

    tensors = {_HEAD: fitted.weight.detach().cpu().contiguous()}
    # Tensors that share memory, as tied weights do, are written one by one.
    tensors |= {name: value.detach().cpu().clone().contiguous() for name, value in fitted.backbone.items()}
    facts = ModelFacts(
        head=fitted.head,
        mirror=fitted.mirror,
        encoder=fitted.encoder,
        photos=photos,
        tensors=_digest(tensors),
        **unit,
    )
    path.parent.mkdir(exist_ok=True)
    content = save(tensors, {ENTRY: json.dumps(dataclasses.asdict(facts), sort_keys=True)})
    # It can be made again, and one that a failing machine cut off isn't read: the disk isn't waited for.
    with replacing(path, durable=False) as stream:
        stream.write(content)


def read_facts(path: Path) -> ModelFacts:
    """Read what a model file says of itself.

    Raises:
        ResultError: It isn't there, is none, or is of a later form.
    """
    with _opened(path) as opened:
        return _facts_of(opened.metadata() or {}, path)


def read_model(path: Path, backbone: Mapping[str, Tensor]) -> Fitted:
    """Read a model file.

    Args:
        path: The file.
        backbone: State of the encoder that it is for. Where the file has a trained backbone, names, types and
            shapes must be these.

    Raises:
        ResultError: It is damaged, is none, or doesn't fit.
    """
    with _opened(path) as opened:
        facts = _facts_of(opened.metadata() or {}, path)
        names = set(opened.keys())
        trained = names != {_HEAD}
        if _HEAD not in names or (trained and names - {_HEAD} != set(backbone)):
            raise ResultError(f"{path}: its tensors aren't those of this backbone", _AGAIN)
        if trained == bool(facts.encoder):
            raise ResultError(f"{path}: has a trained backbone and names a frozen one, or neither", _AGAIN)
        head = opened.get_slice(_HEAD)
        (inputs, *more), kind = head.get_shape() or [0], _HEAD_TYPES.get(head.get_dtype())
        if more or kind is None or not 0 < inputs <= MOST_INPUTS:
            raise ResultError(f"{path}: its head is no list of numbers", _AGAIN)
        for name in sorted(names - {_HEAD}):
            stored, wanted = opened.get_slice(name), backbone[name]
            if stored.get_shape() != list(wanted.shape):
                raise ResultError(
                    f"{path}: {name} is {stored.get_shape()}, not {list(wanted.shape)} as in this backbone",
                    _AGAIN,
                )
        tensors: dict[str, Tensor] = {name: opened.get_tensor(name) for name in sorted(names)}
    if _digest(tensors) != facts.tensors:
        raise ResultError(f"{path}: damaged: its digest is that of other tensors", _AGAIN)
    weight = tensors.pop(_HEAD)
    for name, tensor in {_HEAD: weight, **tensors}.items():
        if name in tensors and tensor.dtype != backbone[name].dtype:
            raise ResultError(f"{path}: {name} is {tensor.dtype}, not {backbone[name].dtype}", _AGAIN)
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise ResultError(f"{path}: {name} has numbers that aren't finite", _AGAIN)
    return Fitted(weight, facts.head, facts.mirror, facts.encoder, tensors)


def _opened(path: Path) -> Any:
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(path, "pt")
    except (SafetensorError, OSError) as error:
        raise ResultError(f"{path}: no model file that can be read ({error})", _AGAIN) from None


def _facts_of(metadata: Mapping[str, str], path: Path) -> ModelFacts:
    try:
        found = json.loads(metadata[ENTRY])
        if found["format"] > FORMAT:
            raise ResultError(f"{path}: of a later comface-bench", "pip install -U comface-bench")
        facts = ModelFacts(**{**found, "photos": PhotoFacts(**found["photos"])})
    except (KeyError, ValueError, TypeError, RecursionError):
        raise ResultError(f"{path}: not written by comface-bench", _AGAIN) from None
    texts = (facts.key, facts.predictions_digest, facts.encoder, facts.tensors)
    numbers = (facts.fold, facts.seed, facts.photos.shorter_side, facts.photos.images)
    sound = (
        all(type(text) is str for text in texts)
        and all(type(number) is int for number in numbers)
        and type(facts.photos.grey) in (int, float)
        and facts.head in get_args(HeadKind)
        and facts.mirror in get_args(MirrorKind)
    )
    if not sound:
        raise ResultError(f"{path}: a fact isn't of its kind", _AGAIN)
    return facts


def _digest(tensors: Mapping[str, Tensor]) -> str:
    sha = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        sha.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()
