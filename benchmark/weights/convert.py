"""Converting a checkpoint to safetensors: its tensors and nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from comface_bench.core.errors import UsageError, WeightsFormatError
from comface_bench.core.files import replace_file, writing
from comface_bench.core.weights import weights_digest
from comface_bench.weights.parts import describe, leads_to, read_whole
from comface_bench.weights.read import BlockedGlobalError, check_tensors
from comface_bench.weights.tfjs import is_tfjs, read_tfjs

if TYPE_CHECKING:
    from torch import Tensor

_MOST_NAMES = 50

_LICENCES = {
    "karras2019stylegan-ffhq-1024x1024.pkl": "CC BY-NC 4.0",
    "stylegan_ffhq.pth": "CC BY-NC 4.0",
    "stylegan3-r-ffhq-1024x1024.pkl": "NVIDIA Source Code License (research and evaluation only)",
    "sg3-r-ffhq-1024.pt": "NVIDIA Source Code License (research and evaluation only)",
}
"""Licences of weights that have no method's card, by the name that they are published under."""


class Converted(NamedTuple):
    """The result of a conversion: the file, how many tensors, names of code that were read past, the part.

    Beside the file lies another with the ending .json: its source and the SHA-256 of that, its licence where
    it is known, and the shape and type of each tensor.
    """

    path: Path
    tensors: int
    discarded: tuple[str, ...]
    part: str = ""


def convert_weights(source: Path, target: Path | None = None, licence: str = "", part: str = "") -> Converted:
    """Write a checkpoint's tensors as safetensors, under the names and in the types that they have.

    A file that names code besides its tensors is taken, too: what it names is read past, never run. Of a
    network that was stored as an object, its tensors are taken. Tensors that share memory become tensors of
    their own. The new file says whose digest it comes from. Of a TensorFlow.js model, `source` is its JSON,
    and the shards beside it are taken, too.

    Args:
        source: The checkpoint.
        target: The new file; by default beside the old one, with the ending .safetensors.
        licence: Of the weights; by default that under which a file of this name is published, if known.
        part: Words that lead to the state dict that is meant, where the file holds several.

    Raises:
        UsageError: The new file exists already.
        WeightsFormatError: The file can't be read, even so; the code is the system's; or it holds several
            state dicts or none that a network could load.
    """
    target = target or source.with_name(converted_name(source.name))
    for path in (target, target.with_suffix(".json")):
        if path.exists():
            raise UsageError(f"{path} exists already", "Name another one: --out FILE")
    name, tensors, discarded = _read_part(source, part)
    facts = {"source": source.name, "source_sha256": weights_digest(source)}
    if name:
        facts["part"] = name
    licence = licence or _LICENCES.get(source.name, "")
    if licence:
        facts["licence"] = licence
    write_tensors(target, tensors, facts)
    return Converted(target, len(tensors), discarded, name)


def write_tensors(target: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, str]) -> None:
    """Write tensors as safetensors, and beside them, with the ending .json, what they are and come from.

    Args:
        target: The file; it appears whole.
        tensors: Name → tensor; those that share memory become tensors of their own.
        facts: Source, its digest, licence.
    """
    from safetensors.torch import save_file

    own = {key: tensor.clone().contiguous() for key, tensor in tensors.items()}
    temporary = target.with_name(f".{target.name}.tmp")
    shapes = {
        key: {"shape": list(tensor.shape), "dtype": str(tensor.dtype).removeprefix("torch.")}
        for key, tensor in own.items()
    }
    try:
        with writing(target):
            # One entry: safetensors writes several in another order each time.
            save_file(own, temporary, {"conversion": json.dumps(facts, sort_keys=True)})
        temporary.replace(target)
        about = json.dumps({**facts, "tensors": shapes}, indent=1)
        replace_file(target.with_suffix(".json"), f"{about}\n".encode())
    finally:
        temporary.unlink(missing_ok=True)


def _read_part(source: Path, part: str) -> tuple[str, dict[str, Tensor], tuple[str, ...]]:
    """Read the one state dict of a file; return its name, its tensors and the code that was read past."""
    if is_tfjs(source):
        return "", read_tfjs(source), ()
    discarded: list[str] = []
    while True:
        try:
            parts = read_whole(source, discarded)
            break
        except BlockedGlobalError as error:
            if error.hostile or error.name in discarded or len(discarded) == _MOST_NAMES:
                raise
            discarded.append(error.name)
        except WeightsFormatError as error:
            if not discarded:
                raise
            raise WeightsFormatError(
                f"{source.name} can't be read without {', '.join(discarded)}, which would have to run",
                "docs/weights.md says how to take them out on a machine where you trust the file.",
            ) from error
    fitting = [name for name in parts if leads_to(part, name)]
    if len(fitting) != 1:
        raise WeightsFormatError(
            f"{source.name} holds {describe(parts)}"
            + (f", of which {part} is none" if part and not fitting else ""),
            f"Name the one that is meant: --part {(fitting or list(parts))[0]}",
        )
    (name,) = fitting
    return name, check_tensors(source, parts[name]), tuple(discarded)


def converted_name(name: str) -> str:
    """Return the default name of a checkpoint's converted file."""
    if name.endswith(".json"):
        # Not the bare name: what describes the new file ends with .json, too.
        return f"{name.removesuffix('.json')}.tfjs.safetensors"
    # `moco.pth.tar` is no archive: both endings go. `cc12m.1x.pth` keeps its middle.
    for ending in (".tar", ".pth", ".pt", ".bin", ".pkl", ".ckpt", ".dat"):
        name = name.removesuffix(ending)
    return f"{name}.safetensors"
