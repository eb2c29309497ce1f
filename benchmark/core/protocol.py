"""Protocols: how a method is trained on a task, every value resolved.

A protocol is a card: what is trained, the values of its settings, and the function that trains or solves
units. The built-in cards are in `comface_bench.engine.protocols`; plugins bring more.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

from comface_bench.core.card import CHIPS, Family, SplitKind
from comface_bench.core.digest import digest
from comface_bench.core.display import short_repr
from comface_bench.core.errors import PluginError, UsageError
from comface_bench.core.names import did_you_mean
from comface_bench.core.registry import Registry

PROTOCOLS_GROUP = "comface_bench.protocols"

LARGEST_IMAGE = 2048
"""Pixels; no photograph of a face gains by more, and a batch of them is 3 GB."""

Trained = Literal["head", "backbone"]


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """A resolved protocol. Every field enters the key of a unit.

    A subclass declares its settings as fields, `image_size`, `resize` and `precision` among them, in the
    order in which records hold them. Each can be set by `-o key=value`: a whole number, a number, a choice
    (a `Literal`), or one of two kinds (`int | Literal["auto"]`). A field's metadata may limit it: `least` and
    `most`, `between` (both ends excluded) or `choices`.

    Attributes:
        name: Name of the card, with overrides as `+key=value`.
        version: That of the card.
        trains: `head` keeps the backbone frozen in eval mode; `backbone` trains both.
        chip: Of `CHIPS`, the method's, where faces are aligned.
        align: `none` shows photographs as `resize` says; `five-points` shows the chip of the face in them
            (`comface_bench.data.alignment`). Every protocol has it, at `none` by default.
    """

    FIXED: ClassVar[tuple[str, ...]] = ("name", "version", "trains", "chip")
    """Fields that are no settings: the card's own, and the method's."""

    name: str
    version: int = 1
    trains: Trained
    chip: str = next(iter(CHIPS))
    align: Literal["none", "five-points"] = "none"

    if TYPE_CHECKING:

        @property
        def image_size(self) -> int:
            """Side of the square images in pixels."""

        @property
        def resize(self) -> Literal["squash", "crop"]:
            """`squash` fits the whole image into the square, `crop` its centre."""

        @property
        def precision(self) -> Literal["auto", "float32", "bfloat16"]:
            """Of the backbone; `auto` leaves it to `engine.precision.choose_machine`."""

    @classmethod
    def start(
        cls, values: Mapping[str, Any], overrides: Mapping[str, str], pretrained_head: bool
    ) -> dict[str, Any]:
        """Return the values before overrides. A subclass may let them depend on the method and on overrides.

        Args:
            values: Those of the card.
            overrides: As the user typed them.
            pretrained_head: Whether the method brings a pair head.
        """
        del overrides, pretrained_head
        return dict(values)

    def check(self, pretrained_head: bool) -> None:
        """Check that the values fit each other and the method; a subclass may refuse some.

        Raises:
            UsageError: They don't.
        """

    def facts(self) -> dict[str, Any]:
        """Return every value, the chip spelled out. A version of 1, and no alignment, go without saying."""
        values = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        if values["version"] == 1:
            del values["version"]
        chip, align = values.pop("chip"), values.pop("align")
        if align != "none":
            values["align"] = {"name": align, "chip": chip, **dataclasses.asdict(CHIPS[chip])}
        return values

    def digest(self) -> str:
        """Return the SHA-256 of all values."""
        return digest(self.facts())


@dataclass(frozen=True)
class ProtocolCard:
    """A protocol: what is trained, the values of its settings, and the function that trains or solves units.

    Attributes:
        name: Name on the command line.
        run: "module:function" that trains or solves units; an empty module means the one that the card is
            declared in. Called as `function(jobs, context)`, a list of `comface_bench.engine.jobs.Job` and a
            `RunContext`, it returns for each job in order an `Outcome`, or a `UnitError` if that one failed.
        trains: `head` keeps the backbone frozen in eval mode; `backbone` trains both.
        settings: Class of the resolved protocol.
        values: Field of that class → value.
        by_family: Family of tasks → further values.
        together: The function is given all units of a method and a data set at once, because they share
            features; otherwise one unit at a time.
        split_kind: Kind of the splits that it can run on.
        task_options: Options that its tasks have where they take them and the user names no other.
        gives_models: Whether its outcomes have `fitted`; otherwise no finished unit runs again for a model.
        version: Raised when the function computes something else.
        order: Place in lists, ascending.
        summary: One line.
    """

    name: str
    run: str
    trains: Trained
    settings: type[Protocol]
    values: Mapping[str, Any]
    by_family: Mapping[Family, Mapping[str, Any]] = field(default_factory=dict)
    together: bool = False
    split_kind: SplitKind = "subjects"
    task_options: Mapping[str, str] = field(default_factory=dict)
    gives_models: bool = True
    version: int = 1
    order: int = 100
    summary: str = ""

    def __post_init__(self) -> None:
        lacking = {"image_size", "resize", "precision"} - {
            item.name for item in dataclasses.fields(self.settings)
        }
        if lacking:
            raise PluginError(f"the settings of protocol {self.name} lack {', '.join(sorted(lacking))}")

    def __repr__(self) -> str:
        return short_repr("ProtocolCard", self.name, self.summary)

    def values_for(self, family: Family) -> dict[str, Any]:
        """Return the values of all fields for a family of tasks.

        Raises:
            PluginError: The card lacks a value, or has one that no field takes.
        """
        values = {"align": "none", **self.by_family.get(family, {}), **self.values}
        fields = {item.name for item in dataclasses.fields(self.settings)} - {*Protocol.FIXED}
        if wrong := fields ^ values.keys():
            raise PluginError(
                f"the card of protocol {self.name} and its settings differ in {', '.join(sorted(wrong))}",
                "Give each field of its settings a value, for each family of tasks.",
            )
        return {**values, "name": self.name, "version": self.version, "trains": self.trains}


def protocol_registry(files: Iterable[Path] = (), plugins: bool = True) -> Registry[ProtocolCard]:
    """Return the registry of protocols: `comface_bench.engine.protocols`, plugins and plugin files."""
    place = "comface_bench.engine.protocols"
    return Registry("protocol", ProtocolCard, place, PROTOCOLS_GROUP, files, plugins)


def protocol_names(registry: Registry[ProtocolCard] | None = None) -> list[str]:
    """Return the names of the protocols in the order of their cards; plugins that aren't loaded come last."""
    registry = registry or protocol_registry()
    declared = sorted(registry.declared(), key=lambda entry: (entry.card.order, entry.card.name))
    return list(dict.fromkeys([*(entry.card.name for entry in declared), *registry.names()]))


def override_keys(settings: type[Protocol]) -> list[str]:
    """Return the fields of a protocol that an override may set."""
    return [item.name for item in dataclasses.fields(settings) if item.name not in Protocol.FIXED]


def resolve_protocol(
    name: str,
    family: Family,
    overrides: Mapping[str, str] | None = None,
    pretrained_head: bool = False,
    registry: Registry[ProtocolCard] | None = None,
    chip: str = next(iter(CHIPS)),
) -> Protocol:
    """Resolve a protocol for a family of tasks.

    Args:
        name: Name without overrides.
        family: The task's family; picks learning rate and augmentation.
        overrides: Field → value as typed by the user; checked against the field's type.
        pretrained_head: The method brings a pair head. Fine-tuning then starts from it, setting (d).
        registry: Where the name is looked up; built-in protocols and installed plugins by default.
        chip: The method's, of `CHIPS`.

    Raises:
        UnknownNameError: The protocol doesn't exist.
        UsageError: A key is no field, or a value doesn't fit it or the others.
        PluginError: There is no such chip.
    """
    card, overrides = (registry or protocol_registry()).get(name).card, overrides or {}
    standard = card.settings(**card.settings.start(card.values_for(family), overrides, pretrained_head))
    changed = {key: parse_override(key, text, card.settings) for key, text in overrides.items()}
    changed = {key: value for key, value in changed.items() if value != getattr(standard, key)}
    protocol = dataclasses.replace(
        standard,
        name="+".join([name, *(f"{key}={_text(changed[key])}" for key in sorted(changed))]),
        chip=chip,
        **changed,
    )
    if chip not in CHIPS:
        raise PluginError(f"there is no chip {chip!r} for aligned faces", f"There are: {', '.join(CHIPS)}")
    if protocol.align != "none" and protocol.resize != "squash":
        raise UsageError(
            f"align={protocol.align} leaves nothing for resize={protocol.resize} to do: it cuts the face out",
            "Leave one of the two out.",
        )
    protocol.check(pretrained_head)
    return protocol


def _kinds(key: str, settings: type[Protocol]) -> tuple[Any, ...]:
    """Return the types that a field may have."""
    hint = get_type_hints(settings)[key]
    return get_args(hint) if isinstance(hint, UnionType) or get_origin(hint) is Union else (hint,)


def list_choices(key: str, settings: type[Protocol]) -> tuple[str, ...]:
    """Return the values of a field that are listed; none of one that takes any number or text alone."""
    (limits,) = (item.metadata for item in dataclasses.fields(settings) if item.name == key)
    choices: tuple[str, ...] = limits.get("choices", ())
    for kind in _kinds(key, settings):
        choices += get_args(kind) if get_origin(kind) is Literal else ()
    return choices


def parse_override(key: str, text: str, settings: type[Protocol]) -> Any:
    """Turn what the user typed for one field into a value of its type.

    Raises:
        UsageError: The key is no field that can be set, or the value doesn't fit.
    """
    if key not in override_keys(settings):
        known = override_keys(settings)
        raise UsageError(f"{key!r} can't be set.{did_you_mean(key, known)}", f"It takes: {', '.join(known)}")
    (limits,) = (item.metadata for item in dataclasses.fields(settings) if item.name == key)
    kinds, choices = _kinds(key, settings), list_choices(key, settings)
    wanted = next((kind for kind in kinds if kind in (int, float)), None)
    if text in choices or (wanted is None and not choices):
        return text
    if wanted is None:
        raise UsageError(f"{key}={text}: not one of {', '.join(choices)}.{did_you_mean(text, choices)}")
    try:
        value = wanted(text)
    except ValueError as error:
        also = f", nor {' or '.join(choices)}.{did_you_mean(text, choices)}" if choices else ""
        what = "a whole number" if wanted is int else "a number"
        raise UsageError(f"{key}={text}: not {what}{also}") from error
    low, high = limits.get("between", (None, None))
    if low is not None and not low < value < high:
        raise UsageError(f"{key}={text}: not between {low:g} and {high:g}")
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"{key}={text}: not a number that can be computed with")
    if value < limits.get("least", value):
        raise UsageError(f"{key}={text}: less than {limits['least']}")
    if value > limits.get("most", value):
        raise UsageError(f"{key}={text}: more than {limits['most']}")
    return value


def _text(value: object) -> str:
    # All digits of a number, so that two settings never share a name.
    return repr(value) if isinstance(value, float) else str(value)
