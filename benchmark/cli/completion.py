"""Completion of `-o`: the keys that protocol, methods and tasks of the line take, and their values.

A shell inserts what is the only one left, so a single key is offered with its values: the listed ones, or,
where any number will do, those that protocols have.
"""

from __future__ import annotations

import contextlib
import fnmatch
import io
from collections.abc import Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, get_args

import typer

if TYPE_CHECKING:
    from comface_bench.core.card import TaskCard
    from comface_bench.core.registry import Registry


COMPLETE = "_COMFACE_BENCH_COMPLETE"
"""The variable by which a shell asks for completions."""


def complete_option(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer options, `key=value`, for what is typed so far."""
    values = find_values(ctx.params.get("protocol"), ctx.params.get("method"), ctx.params.get("task"))
    key, equals, begun = incomplete.partition("=")
    if not equals:
        keys = [known for known in values if known.startswith(key)]
        if len(keys) != 1:
            return [f"{known}=" for known in keys]
        (key,) = keys
    return [f"{key}={value}" for value in values.get(key, ()) if value.startswith(begun)] or [f"{key}="]


def find_values(protocols: Any, methods: Any, tasks: Any) -> dict[str, list[str]]:
    """Return the options that something takes, with values that they may have.

    Args:
        protocols: Names, comma lists or patterns, as typed; all where there are none.
        methods: Likewise. What isn't known is passed over.
        tasks: Likewise.
    """
    from comface_bench.core.card import Family
    from comface_bench.core.names import METHOD_OPTIONS, TASK_OPTIONS
    from comface_bench.core.protocol import list_choices, override_keys, protocol_registry
    from comface_bench.core.registry import method_registry, task_registry

    found: dict[str, list[str]] = {}
    for card in _cards(protocol_registry(), protocols):
        for key in override_keys(card.settings):
            usual = [str(card.values_for(family)[key]) for family in get_args(Family)]
            found.setdefault(key, []).extend([*list_choices(key, card.settings), *usual])
    task: list[TaskCard] = _cards(task_registry(), tasks)
    own: list[Mapping[str, tuple[str, ...]]] = [METHOD_OPTIONS, TASK_OPTIONS]
    own += [card.options for card in (*_cards(method_registry(), methods), *task)]
    for options in own:
        for key, accepted in options.items():
            found.setdefault(key, []).extend(accepted)
    found["split"] += [split for card in task for split in card.splits] + ["balanced-4", "leave-one-out"]
    return {key: list(dict.fromkeys(values)) for key, values in found.items()}


def _cards(registry: Registry[Any], typed: Any) -> list[Any]:
    """Return the built-in cards that names mean; all where none is typed, or none is known."""
    from comface_bench.core.names import split_list

    cards = {entry.card.name: entry.card for entry in registry.declared()}
    names = [
        name.partition("+")[0] for name in split_list([typed] if isinstance(typed, str) else typed or ())
    ]
    chosen = [card for name, card in cards.items() if any(fnmatch.fnmatchcase(name, one) for one in names)]
    return chosen or list(cards.values())


@contextlib.contextmanager
def answering_bash(environment: MutableMapping[str, str]) -> Iterator[None]:
    """Let bash, which breaks words at `=`, be answered as other shells are.

    It hands over `split`, `=` and `le` for `split=le`, and inserts its answer in the place of `le` alone.
    Where a user's COMP_WORDBREAKS has no `=`, words come whole, and so does the answer.

    Args:
        environment: Of the process; left as it is unless bash asks for completions.
    """
    if environment.get(COMPLETE) != "complete_bash":
        yield
        return
    words, place = environment.get("COMP_WORDS", "").split(), int(environment.get("COMP_CWORD", "0"))
    words += [""] * (place + 1 - len(words))
    joined: list[str] = []
    for number, word in enumerate(words[: place + 1]):
        if number and "=" in (word, words[number - 1]):
            joined[-1] += word
        else:
            joined.append(word)
    environment["COMP_WORDS"], environment["COMP_CWORD"] = "\n".join(joined), str(len(joined) - 1)
    broken = joined[-1] != words[place]
    before, equals, _ = joined[-1].rpartition("=") if broken else ("", "", "")
    answer = io.StringIO()
    try:
        with contextlib.redirect_stdout(answer):
            yield
    finally:
        for line in answer.getvalue().splitlines():
            typer.echo(line.removeprefix(before + equals))
