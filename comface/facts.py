"""Facts of exported weights: what a file of ComFace's says of itself, and of the start of its training.

A training may have started from another one's weights, and that one from another's; the first of them may
have started from a method's backbone, whose topology, preprocessing and teachers all that follow share.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, get_args

from comface_bench.core.card import TAUGHT_AGES, Group, MethodCard, Preprocess, Supervision
from comface_bench.core.errors import WeightsFormatError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

KIND = "comface"
"""Key of the file's metadata that holds its facts, and of the facts' format."""

FORMAT = 1
"""Raised when the file's keys or facts change their meaning."""
_REQUIRED_FACTS = {"format", "backbone", "starts"}


@dataclass(frozen=True)
class MethodStart:
    """A method whose backbone a pre-training started from.

    Attributes:
        method: Its name, options included.
        weights: Digest of what its file holds, as records have it; empty where its weights are drawn.
        topology, feature, feature_dim: Of the backbone.
        preprocess: The images that it takes.
        trained_on, labels_of, supervision, group, chip, licence, training_scale: As its card says.
    """

    method: str
    weights: str
    topology: str
    feature: str
    feature_dim: int
    preprocess: Preprocess
    trained_on: tuple[str, ...] = ()
    labels_of: tuple[str, ...] = ()
    supervision: tuple[Supervision, ...] = ()
    group: Group = "Other"
    chip: str = "dlib"
    licence: str = ""
    training_scale: str = ""

    @classmethod
    def of(
        cls, name: str, card: MethodCard, weights: str | None, feature_dim: int, preprocess: Preprocess
    ) -> Self:
        """Take from a method's card what its descendants must say, too."""
        return cls(
            method=name,
            weights=weights or "",
            topology=card.backbone,
            feature=card.feature,
            feature_dim=feature_dim,
            preprocess=preprocess,
            trained_on=card.trained_on,
            labels_of=card.labels_of,
            supervision=card.supervision,
            group=card.group,
            chip=card.chip,
            licence=card.licence,
            training_scale=card.training_scale,
        )

    def as_json(self) -> dict[str, Any]:
        """Return every fact, JSON-ready."""
        found: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return found

    @classmethod
    def read(cls, facts: Mapping[str, Any], place: str) -> Self:
        """Read what `as_json` wrote.

        Args:
            facts: The facts.
            place: Where they stand, for messages.

        Raises:
            WeightsFormatError: They are something else.
        """
        from pydantic import TypeAdapter

        words = ("method", "weights", "topology", "feature", "group", "chip", "licence", "training_scale")
        lists = ("trained_on", "labels_of", "supervision")
        try:
            shape = dict(facts["preprocess"])
            shape["mean"], shape["std"] = (tuple(map(float, shape[name])) for name in ("mean", "std"))
            values = {name: str(facts[name]) for name in words}
            several = {name: tuple(map(str, facts[name])) for name in lists}
            found = cls(
                **{**values, **several},  # type: ignore[arg-type]
                feature_dim=int(facts["feature_dim"]),
                preprocess=TypeAdapter(Preprocess).validate_python(shape),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise _bad(place, repr(error)) from error
        if unknown := {*found.supervision} - {*get_args(Supervision)} or {found.group} - {*get_args(Group)}:
            raise _bad(place, f"nobody knows {', '.join(sorted(unknown))}")
        taken = found.preprocess
        if 0 in taken.std or not all(map(math.isfinite, (*taken.mean, *taken.std, taken.scale))):
            raise _bad(place, "mean, std or scale is no number to compute with")
        if min(taken.multiple, 1 if taken.size is None else taken.size) < 1:
            raise _bad(place, "images have a side of no pixel")
        return found

    def passed_on(self, card: MethodCard) -> MethodCard:
        """Return the card of ComFace's weights with what they have from this start.

        Whom and what the start has seen counts beside the rendered faces: a start that was taught ages makes
        weights that were, and a task that it was trained on is marked or refused. Their heads aren't offered
        as a start: on photographs a drawn one does better (docs/transfer.md).
        """
        return dataclasses.replace(
            card,
            backbone=self.topology,
            feature=self.feature,
            feature_dim=self.feature_dim,
            preprocess=self.preprocess,
            pretrained_head=False,
            # The file says which backbone it holds.
            options={name: values for name, values in card.options.items() if name != "backbone"},
            trained_on=tuple(dict.fromkeys((*card.trained_on, *self.trained_on))),
            labels_of=tuple(dict.fromkeys((*card.labels_of, *self.labels_of))),
            supervision=tuple(dict.fromkeys((*card.supervision, *self.supervision))),
            group=self.group if self.group == TAUGHT_AGES else card.group,
            chip=self.chip,
            licence=f"{card.licence}; of the start, {self.method}: {self.licence}",
            training_scale=f"rendered faces after {self.training_scale or 'unknown'} of {self.method}",
        )


def _bad(place: str, what: str) -> WeightsFormatError:
    return WeightsFormatError(
        f"{place}: its start isn't described as export does it: {what}", "Export it again."
    )


def earlier_trainings(facts: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the training that one started from, then the one before it, and so on.

    Args:
        facts: Of a training; `start` is empty or lacking where it started from random weights.
    """
    while (facts := facts.get("start") or {}) and "method" not in facts:
        yield facts


def first_start(facts: Mapping[str, Any], place: str) -> MethodStart | None:
    """Return the method that the first of a row of trainings started from; None for random weights.

    Args:
        facts: Of a training, or of the file that it was exported to.
        place: Where they stand, for messages.

    Raises:
        WeightsFormatError: The method isn't described as `MethodStart.as_json` does it.
    """
    while facts := facts.get("start") or {}:
        if not isinstance(facts, dict):
            raise _bad(place, "facts have names")
        if "method" in facts:
            return MethodStart.read(facts, place)
    return None


def read_facts(path: Path) -> dict[str, Any] | None:
    """Read the facts of an exported file, or None if it isn't one."""
    from safetensors import SafetensorError, safe_open

    try:
        # Of "numpy", as planning a run has no need of torch.
        with safe_open(path, "numpy") as opened:
            metadata: Mapping[str, str] = opened.metadata() or {}
    except (SafetensorError, OSError):
        return None
    try:
        found = json.loads(metadata[KIND])
    except (KeyError, ValueError):
        return None
    fits = isinstance(found, dict) and found.keys() >= _REQUIRED_FACTS and found["format"] == FORMAT
    return found if fits else None
