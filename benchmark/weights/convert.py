"""Converting a checkpoint to safetensors: its tensors and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from comface_bench.core.errors import UsageError, WeightsFormatError
from comface_bench.core.ledger import digest_weights
from comface_bench.weights.read import BlockedGlobalError, read_tensors

_MOST_NAMES = 50


class Converted(NamedTuple):
    """What was written: the file, how many tensors, and the names of code that were read past."""

    path: Path
    tensors: int
    discarded: tuple[str, ...]


def convert_weights(source: Path, target: Path | None = None) -> Converted:
    """Write a checkpoint's tensors as safetensors, under the names and in the types that they have.

    A file that names code besides its tensors is taken, too: what it names is read past, never run.
    Tensors that share memory become tensors of their own. The new file says whose digest it comes from.

    Args:
        source: The checkpoint.
        target: The new file; by default beside the old one, with the ending .safetensors.

    Raises:
        UsageError: The new file exists already.
        WeightsFormatError: `read_tensors` can't read the file, even so; or the code is the system's.
    """
    target = target or _default_target(source)
    if target.exists():
        raise UsageError(f"{target} exists already", "Name another one: --out FILE")
    discarded: list[str] = []
    while True:
        try:
            tensors = read_tensors(source, discarded)
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
    from safetensors.torch import save_file

    own = {name: tensor.clone().contiguous() for name, tensor in tensors.items()}
    temporary = target.with_name(f".{target.name}.tmp")
    facts = {"format": "pt", "source": source.name, "source_sha256": digest_weights(source).sha256}
    try:
        save_file(own, temporary, facts)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return Converted(target, len(own), tuple(discarded))


def _default_target(source: Path) -> Path:
    name = source.name
    # `moco.pth.tar` is no archive: both endings go. `cc12m.1x.pth` keeps its middle.
    for ending in (".tar", ".pth", ".pt", ".bin", ".pkl", ".ckpt"):
        name = name.removesuffix(ending)
    return source.with_name(f"{name}.safetensors")
