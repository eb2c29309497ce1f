"""Declaration of commands: groups, which import a command when it is called, shared options, completion.

An unknown command is answered with the nearest known ones; whoever interrupts one is told how to go on.
"""

from __future__ import annotations

import contextlib
import importlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple, get_args, get_origin

import typer
from typer.core import TyperCommand, TyperGroup

from comface_bench.cli.completion import complete_option
from comface_bench.core.errors import BenchError, UnknownNameError, UsageError
from comface_bench.core.names import check_device, is_pattern, unknown_name


class Terminated(KeyboardInterrupt):
    """The process was asked to end by SIGTERM: by a scheduler, a container, `kill`."""


class InterruptedRunError(BenchError):
    """A command that was stopped by Ctrl-C, or by SIGTERM."""

    exit_status = 130


class Group(TyperGroup):
    """A group that answers an unknown command with the nearest known ones."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that the arguments name.

        Raises:
            UnknownNameError: There is none.
        """
        known = self.list_commands(ctx)
        if args[0] not in known and not args[0].startswith("-"):
            error = unknown_name(args[0], known, "command")
            raise UnknownNameError(error.message, f"See them all: {ctx.command_path} --help")
        return super().resolve_command(ctx, args)


class Deferred(NamedTuple):
    """A command that is imported when it is called.

    Attributes:
        module: Name of its module.
        summary: Its line in the help.
        app: Name of its Typer app in that module.
    """

    module: str
    summary: str
    app: str = "app"


class DeferredGroup(Group):
    """A group of commands whose modules are imported when one is called; its help imports none."""

    deferred: ClassVar[Mapping[str, Deferred]] = {}

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words of the command line."""
        _convert_plainly(self.get_params(ctx))
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names in the order in which the help shows them."""
        del ctx
        return list(self.deferred)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import a command."""
        del ctx
        if cmd_name not in self.commands and cmd_name in self.deferred:
            deferred = self.deferred[cmd_name]
            command = typer.main.get_command(getattr(importlib.import_module(deferred.module), deferred.app))
            command.name = cmd_name
            self.commands[cmd_name] = command
        return self.commands.get(cmd_name)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the help's list of commands without importing them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.summary) for name, command in self.deferred.items()])

    def make_context(self, *words: Any, **facts: Any) -> Any:
        """Parse the words.

        Raises:
            InterruptedRunError: The user pressed Ctrl-C, or the process was asked to end.
        """
        with _answering_interruptions():
            return super().make_context(*words, **facts)

    def invoke(self, ctx: Any) -> Any:
        """Run the command.

        Raises:
            InterruptedRunError: As above.
        """
        with _answering_interruptions():
            return super().invoke(ctx)


@contextlib.contextmanager
def _answering_interruptions() -> Iterator[None]:
    """Say how to go on, where the command itself doesn't; and what is wrong without Typer's own words."""
    try:
        yield
    except typer.BadParameter as wrong:
        wrong.message = wrong.message.removeprefix("Value error, ")
        raise
    except KeyboardInterrupt:
        raise InterruptedRunError(
            "interrupted; what is finished is kept", "The same command goes on from there."
        ) from None


class QuickCommand(TyperCommand):
    """A command of plain parameters that starts at once."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words of the command line."""
        _convert_plainly(self.get_params(ctx))
        return super().parse_args(ctx, args)


def _convert_plainly(parameters: Iterable[Any]) -> None:
    """Convert text, paths, choices and lists of them without Typer.

    Some versions of Typer convert every value by pydantic, whose import takes longer than a list to make.
    Wrong and other values are still left to Typer, which answers them as elsewhere.
    """
    for parameter in parameters:
        if hasattr(parameter, "get_runtime_param"):  # Of such a version.
            parameter.get_runtime_param = partial(
                _PlainValues, parameter.type_descriptor.annotation, parameter.get_runtime_param
            )


@dataclass(frozen=True)
class _PlainValues:
    """Conversion of the values of one parameter, in the place of Typer's own.

    Attributes:
        annotation: Of the parameter, without None.
        typers: Makes Typer's own conversion.
    """

    annotation: Any
    typers: Callable[[], Any]

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        many = get_origin(self.annotation) is list
        if value is None:
            return () if many else None
        kind = get_args(self.annotation)[0] if many else self.annotation
        if isinstance(kind, type) and issubclass(kind, (str, Path, Enum)):
            try:
                return [kind(each) for each in value] if many else kind(value)
            except ValueError:
                pass
        return self.typers().coerce(value, param=param, ctx=ctx)


def make_app(cls: type[TyperGroup] | None = None) -> typer.Typer:
    """Make the `app` of a command's module: plain help, no completion options of its own."""
    return typer.Typer(cls=cls, add_completion=False, rich_markup_mode=None, no_args_is_help=cls is not None)


Data = Annotated[
    Path | None,
    typer.Option(
        "--data", metavar="DIR", help="Data root [default: COMFACE_DATA, else data].", show_default=False
    ),
]
Results = Annotated[Path, typer.Option("--results", metavar="DIR", help="Folder of records.")]


def _checked_device(name: str | None) -> str | None:
    if name is not None:
        check_device(name)
    return name


def _checked_level(level: float) -> float:
    from comface_bench.execute.models import check_level

    check_level(level)
    return level


Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.", callback=_checked_device)]
Plugins = Annotated[
    list[Path],
    typer.Option(
        "--plugin",
        metavar="FILE",
        help="Python file with further methods, tasks, protocols or metrics; repeatable.",
        show_default=False,
    ),
]
Folds = Annotated[
    str | None, typer.Option(metavar="0,1", help="Folds to run [default: all].", show_default=False)
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan and run nothing.")]
NoPlugins = Annotated[bool, typer.Option("--no-plugins", help="Leave installed plugins out.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]

# What a run, a sweep and a study may leave to their file.
StatedResults = Annotated[
    Path | None,
    typer.Option(
        "--results", metavar="DIR", help="Folder of records [default: results].", show_default=False
    ),
]
StatedSeeds = Annotated[
    str | None,
    typer.Option("--seeds", metavar="0,1", help="Repetitions to run [default: 0].", show_default=False),
]
StatedValues = Annotated[
    list[str] | None,
    typer.Option(
        "-o",
        "--option",
        metavar="KEY=VALUE",
        help="Set a value of protocols, methods or tasks; repeatable, and each value of one key is run.",
        autocompletion=complete_option,
        show_default=False,
    ),
]
StatedDevice = Annotated[
    str | None,
    typer.Option(
        "--device",
        help="auto, cpu, cuda or cuda:N [default: auto].",
        callback=_checked_device,
        show_default=False,
    ),
]
StatedPlugins = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin",
        metavar="FILE",
        help="Python file with further methods, tasks, protocols or metrics; repeatable.",
        show_default=False,
    ),
]
# Of commands that apply a record's models.
ModelRecord = Annotated[
    Path,
    typer.Option(
        "--model",
        metavar="RECORD",
        help="The record whose models answer: TASK/PROTOCOL/METHOD.json in a folder of results.",
        show_default=False,
    ),
]
Checkpoint = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="The method's weights, where the record was made with -o checkpoint=FILE.",
        show_default=False,
    ),
]
ModelFolds = Annotated[
    str | None,
    typer.Option(metavar="0,1", help="Folds whose models answer [default: all].", show_default=False),
]
ModelSeeds = Annotated[
    str | None, typer.Option(metavar="0,1", help="Their repetitions [default: all].", show_default=False)
]
Level = Annotated[float, typer.Option(help="Probability of the interval.", callback=_checked_level)]
AnyPhoto = Annotated[bool, typer.Option("--any-photo", help="Answer for photographs unlike the task's, too.")]


def load_metrics(files: Iterable[Path]) -> None:
    """Load plugin files, whose metrics count from then on.

    Raises:
        PluginError: A file can't be loaded.
        DuplicateNameError: Two metrics have one name.
    """
    from comface_bench.stats.metrics import metric_registry

    metric_registry(files).names()


_RANGE = re.compile(r"(\d+)(?:-(\d+))?")
_LONGEST_RANGE = 10_000
"""More folds or repetitions are a slip of the hand."""


def parse_numbers(text: str, option: str) -> tuple[int, ...]:
    """Parse `0,2-4` into numbers, in order and without repeats.

    Args:
        text: Whole numbers and ranges, which hold both of their ends, with commas between them.
        option: The option that they were given to, for the error message.

    Raises:
        UsageError: A part is neither a whole number nor a range, or there is none.
    """
    found: list[int] = []
    for part in text.split(","):
        match = _RANGE.fullmatch(part.strip())
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, -1)
        if not first <= last < first + _LONGEST_RANGE:
            raise UsageError(
                f"{option} {text}: expected whole numbers with commas between them, such as 0,1 or 0-3"
            )
        found += range(first, last + 1)
    return tuple(dict.fromkeys(found))


def take_stated(
    options: Iterable[str] | None, folds: str | None, seeds: str | None, **words: object
) -> dict[str, Any]:
    """Return what the command line states of a grid, in the grid's terms.

    Args:
        options: `key=value` texts.
        folds: Numbers and ranges.
        seeds: Likewise.
        words: Further fields, as they are.

    Raises:
        UsageError: A text isn't of its form.
    """
    stated = {
        **words,
        "options": parse_values(options or []),
        "folds": None if folds is None else parse_numbers(folds, "--folds"),
        "seeds": None if seeds is None else parse_numbers(seeds, "--seeds"),
    }
    return {key: value for key, value in stated.items() if value}


def parse_values(texts: Iterable[str]) -> dict[str, list[str]]:
    """Turn `key=value` texts into the values of each key."""
    found: dict[str, list[str]] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (key and equals and value):
            raise UsageError(f"-o {text}: expected key=value")
        found.setdefault(key, []).append(value)
    return {key: list(dict.fromkeys(values)) for key, values in found.items()}


def complete_method(incomplete: str) -> list[str]:
    """Offer methods, and an example of each open family, for the last name of a comma list."""
    return _complete_last(incomplete, _methods(incomplete.rpartition(",")[2]))


def complete_task(incomplete: str) -> list[str]:
    """Offer tasks for the last name of a comma list."""
    return _complete_last(incomplete, _tasks())


def complete_protocol(incomplete: str) -> list[str]:
    """Offer protocols."""
    return _complete_last(incomplete, _protocols())


def complete_name(incomplete: str) -> list[str]:
    """Offer methods, tasks and protocols."""
    return _complete_last(incomplete, [*_methods(incomplete), *_tasks(), *_protocols()])


def _complete_last(incomplete: str, names: Iterable[str]) -> list[str]:
    before, comma, begun = incomplete.rpartition(",")
    return [before + comma + name for name in names if name.startswith(begun)]


def _methods(begun: str) -> list[str]:
    """Return all methods; of an open family those that begin so, or an example where none is begun."""
    from comface_bench.core.registry import method_registry

    registry = method_registry()
    names = list(registry.names())
    for family in registry.families():
        listed = begun.startswith(family.prefix) and family.can_be_listed and not is_pattern(begun)
        names += family.module.list_names(f"{begun}*") if listed else [family.example]
    return names


def _tasks() -> list[str]:
    from comface_bench.core.registry import task_registry

    return list(task_registry().names())


def _protocols() -> list[str]:
    from comface_bench.core.protocol import protocol_names

    return protocol_names()
