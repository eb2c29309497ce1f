"""Finding the one part of a checkpoint that fits a network.

A part is a state dict, or what stands in one under a common beginning of the names: training programs wrap
networks (`module.`, `_orig_mod.`, `backbone.`), put several into one file (`state_dict` and `state_dict_ema`,
`student` and `teacher`), or both. A part is called by the names that lead to it, such as `teacher.backbone`.
Either exactly one part fits the whole network, or nothing is loaded.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from comface_bench.core.errors import WeightsFormatError
from comface_bench.weights.read import check_tensors, read_parts
from comface_bench.weights.strict import fit_strictly, select_backbone

if TYPE_CHECKING:
    from torch import Tensor, nn

    from comface_bench.core.card import MethodCard

    Parts = Mapping[str, Mapping[str, Tensor]]
    """State dicts of a file, as `read_parts` gives them."""

    Take = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]
    """From a part's tensors to the network's by its own names; WeightsFormatError if they aren't."""

_WRAPPERS = ("module", "model", "net", "network", "backbone", "encoder")
"""Names that programs give to the network that they wrap."""

_INSIDE = re.compile(r"(?:(?<=\.)|^)(?:_fsdp_wrapped_module|_checkpoint_wrapped_module|_orig_mod)\.")
"""What sharding, activation checkpointing and compilation put anywhere into names; no module is called so."""

_FLAT = re.compile(r"(^|\.)_?flat_param(_\d+)?$")


def load_backbone(
    network: nn.Module,
    path: Path,
    card: MethodCard,
    options: Mapping[str, str],
    take: Take | None = None,
    discarded: Iterable[str] = (),
) -> None:
    """Load a file of a method's authors into its backbone, strictly; wrappers around all of it may differ.

    Args:
        network: The backbone.
        path: The file.
        card: Says which prefix the backbone's keys have, and which other keys are left out.
        options: The method's; `part` names the part that is meant where a file holds several.
        take: Makes the network's tensors of a part's, by default by the card's prefix.
        discarded: As for `read_tensors`.

    Raises:
        WeightsFormatError: The file can't be read, or not exactly one part of it is the backbone.
    """

    def by_card(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        assert card.checkpoint is not None
        return select_backbone(tensors, path, card.checkpoint.prefixes, card.dropped_keys)

    parts, chosen = read_whole(path, discarded), options.get("part", "")
    load_part(network, path, unwrapped(parts, chosen), take or by_card, parts, chosen)


def read_whole(path: Path, discarded: Iterable[str] = ()) -> Parts:
    """Read the state dicts of a checkpoint as `read_parts` does, but no shards.

    Raises:
        WeightsFormatError: The file can't be read, or no network is whole in it: it is what one process of
            several held, flat shards of FSDP or places without numbers (ZeRO's stage 3).
    """
    parts = read_parts(path, discarded)
    names = [name for tensors in parts.values() for name in tensors]
    together = "Have the training write the whole state dict, and use that file."
    if any(_FLAT.search(name) for name in names):
        raise WeightsFormatError(
            f"{path.name} holds flat shards of FSDP, of which one process has some: {names[0]}", together
        )
    sizes = [tensor.numel() for tensors in parts.values() for tensor in tensors.values()]
    if 2 * sizes.count(0) > len(sizes):
        raise WeightsFormatError(
            f"{path.name} holds names without numbers, as each process of DeepSpeed's ZeRO stage 3 does",
            together,
        )
    return parts


class Part(NamedTuple):
    """A part of a checkpoint: the names that lead to it, and its tensors by the rest of their names."""

    name: str
    tensors: Mapping[str, Tensor]


class SeveralPartsError(WeightsFormatError):
    """Several parts of a file fit, and nothing says which is meant."""


def load_part(
    network: nn.Module, path: Path, parts: Iterable[Part], take: Take, holds: Parts, chosen: str = ""
) -> str:
    """Load the only part that fits into a network, whole, or nothing at all.

    Args:
        network: What to load into; the part that was taken is noted as its `weights_part`.
        path: The file, for messages.
        parts: Candidates, the likeliest first: its error is the one that is reported.
        take: Makes the network's tensors of a part's.
        holds: What the file holds, for messages.
        chosen: Words that lead to the part, where the user names it.

    Returns:
        The part's name.

    Raises:
        SeveralPartsError: Several with different numbers fit.
        WeightsFormatError: None fits.
    """
    fitting: list[tuple[Part, Mapping[str, Tensor]]] = []
    errors: list[WeightsFormatError] = []
    for part in parts:
        if not leads_to(chosen, part.name):
            continue
        try:
            named = fit_strictly(network, take(part.tensors), path)
        except WeightsFormatError as error:
            errors.append(error)
            continue
        if not any(_equal(named, other) for _, other in fitting):
            fitting.append((part, named))
    refuse_several(path, [part.name for part, _ in fitting])
    if not fitting:
        raise _no_part(path, errors, holds, chosen)
    ((part, named),) = fitting
    check_tensors(path, part.tensors)
    network.load_state_dict({**network.state_dict(), **named}, strict=True)
    network.weights_part = part.name  # type: ignore[assignment]
    return part.name


def refuse_several(path: Path, names: Sequence[str]) -> None:
    """Refuse a choice among parts that fit.

    Raises:
        SeveralPartsError: There is more than one.
    """
    if len(names) > 1:
        shown = [name or "one without a name" for name in names]
        raise SeveralPartsError(
            f"{path.name} holds {len(names)} networks that fit: {', '.join(shown)}",
            f"Name the one that is meant: -o part={next(name for name in names[::-1] if name)}",
        )


def leads_to(chosen: str, name: str) -> bool:
    """Return whether words that a user typed, such as `teacher`, lead to a part."""
    return f".{chosen}." in f".{name}." if chosen else True


def unwrapped(parts: Parts, chosen: str = "") -> Iterator[Part]:
    """Yield each state dict, and what is left of it when wrappers around all of its tensors are taken off.

    Args:
        parts: State dicts of a file.
        chosen: A part that the user names; it is yielded wherever it stands, whatever lies beside it.
    """
    for name, state in parts.items():
        tensors: Mapping[str, Tensor] = plain_names(state)
        yield Part(name, tensors)
        place = name
        while len(first := {key.partition(".")[0] for key in tensors}) == 1 and first & {*_WRAPPERS}:
            (word,) = first
            tensors = under(tensors, f"{word}.")
            if not tensors:
                break
            place = _join(place, word)
            yield Part(place, tensors)
        if chosen:
            for prefix in sorted({key[: at.end()] for key in tensors for at in re.finditer(r"\.", key)}):
                inside = _join(place, prefix.rstrip("."))
                if f".{inside}".endswith(f".{chosen}"):
                    yield Part(inside, under(tensors, prefix))


def named_like(parts: Parts, wanted: Collection[str], beside: Collection[str] = ()) -> list[Part]:
    """Find the parts with a network's own names, wherever they stand; the ones with most of them first.

    Args:
        parts: State dicts of a file.
        wanted: The network's names.
        beside: Beginnings of names that may stand beside those and are left out, such as a classifier's.

    Returns:
        Parts with at least half of the names. What stands in another part isn't in these.
    """
    found: list[tuple[int, Part]] = []
    for name, state in parts.items():
        tensors = plain_names(state)
        starts = Counter(
            key[:place]
            for key in tensors
            for place in (0, *(at.end() for at in re.finditer(r"\.", key)))
            if key[place:] in wanted
        )
        likely = [start for start, count in starts.items() if 2 * count >= len(wanted)]
        for start in likely:
            others = tuple(other for other in likely if other != start and other.startswith(start))
            left_out = tuple(start + one for one in beside)
            inner = {
                key.removeprefix(start): tensor
                for key, tensor in tensors.items()
                if key.startswith(start) and not key.startswith(others) and not key.startswith(left_out)
            }
            found.append((starts[start], Part(_join(name, start.rstrip(".")), inner)))
    return [part for _, part in sorted(found, key=lambda pair: -pair[0])]


def plain_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take off what sharding, activation checkpointing and compilation put into names."""
    plain = {_INSIDE.sub("", name): tensor for name, tensor in tensors.items()}
    return plain if len(plain) == len(tensors) else dict(tensors)


def under(tensors: Mapping[str, Tensor], start: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with something, without that beginning."""
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


def describe(parts: Parts) -> str:
    """Say what a file holds: its state dicts, or the beginnings of names in the only one, with counts."""
    if len(parts) > 1:
        held = [f"{name} ({len(tensors)} tensors)" for name, tensors in parts.items()]
    else:
        ((_, tensors),) = parts.items()
        beginnings = Counter(_beginning(name) for name in plain_names(tensors))
        held = [f"{word} ({count})" for word, count in beginnings.most_common()]
    return ", ".join(held[:6]) + (" …" if len(held) > 6 else "")


def _no_part(
    path: Path, errors: Sequence[WeightsFormatError], holds: Parts, chosen: str
) -> WeightsFormatError:
    if chosen and not errors:
        return WeightsFormatError(
            f"{path.name} has no part {chosen} that could be it; it holds {describe(holds)}",
            "Name one of these, or something inside: -o part=NAME",
        )
    if not errors:
        return WeightsFormatError(
            f"{path.name} doesn't fit the network: less than half of its names are there; it holds"
            f" {describe(holds)}",
            "If the network has another name there, say where: -o part=NAME",
        )
    first = errors[0]
    if len(holds) > 1 or chosen:
        return WeightsFormatError(
            f"{first.message}; the file holds {describe(holds)}",
            first.hint or "Another part of it: -o part=NAME",
        )
    return first


def _equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    import torch

    return one.keys() == other.keys() and all(
        tensor is other[name] or torch.equal(tensor, other[name]) for name, tensor in one.items()
    )


def _join(place: str, word: str) -> str:
    return f"{place}.{word}" if place and word else place or word


def _beginning(name: str) -> str:
    """Return the words of a name before the first that looks like a layer's: at most two."""
    words = name.split(".")
    return ".".join(words[: 2 if words[0] in (*_WRAPPERS, "student", "teacher") and len(words) > 2 else 1])
