"""Is a corpus that was begun the one wanted now? Files count by what is in them, wherever they lie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Self

from comface_bench.comface.synthesis.generator import MACHINE_OPTIONS, RESUMABLE_OPTIONS

if TYPE_CHECKING:
    from collections.abc import Mapping


class Sameness(NamedTuple):
    """How two descriptions differ, as plain facts.

    Attributes:
        other: What makes them two corpora: names, with both values where that helps.
        moved: What only says where the images are made: name → value then and now, None where it wasn't said.
    """

    other: list[str]
    moved: dict[str, list[Any]]

    @classmethod
    def of(cls, begun: Mapping[str, Any], now: Mapping[str, Any]) -> Self:
        """Compare what `corpus.json` says with what is wanted now."""
        other = [f"generator ({told})" for told in _generators(begun["generator"], now["generator"])]
        for key in sorted(now):
            if key not in ("generator", "arguments") and begun[key] != now[key]:
                other.append(key)
        first, second = begun["arguments"], now["arguments"]
        differing = sorted(key for key in {*first, *second} if first.get(key) != second.get(key))
        if not set(differing) <= set(RESUMABLE_OPTIONS):
            other.append("arguments")
        moved = {key: [first.get(key), second.get(key)] for key in RESUMABLE_OPTIONS}
        for key in MACHINE_OPTIONS:  # `auto` as resolved
            moved[key] = [facts["generator"]["options"].get(key) for facts in (begun, now)]
        return cls(other, {key: values for key, values in moved.items() if values[0] != values[1]})


def _generators(begun: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Say what differs of two cards."""
    told = []
    for key in sorted(now):
        before, after = begun.get(key, {}), now[key]
        if key == "options":
            before, after = (
                {k: v for k, v in one.items() if k not in MACHINE_OPTIONS} for one in (before, after)
            )
        if key == "sources":
            told += _sources(before, after)
        elif before != after:
            told.append(f"{key}: {before}, now {after}")
    return told


def _sources(begun: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Say which files and versions differ; a file that was only renamed doesn't."""
    gone, come = dict(begun.items() - now.items()), dict(now.items() - begun.items())
    for name, value in list(come.items()):
        renamed = next((old for old, was in gone.items() if was == value and old not in now), None)
        if renamed is not None and name not in begun:
            del gone[renamed], come[name]
    return [
        f"{name}: {begun.get(name, 'none')}, now {now.get(name, 'none')}" for name in sorted({*gone, *come})
    ]
