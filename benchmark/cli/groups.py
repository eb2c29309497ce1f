"""Command groups: sub-commands are imported when they are called, and near names are offered."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import typer
from typer.core import TyperGroup

from comface_bench.core.errors import BenchError, UnknownNameError
from comface_bench.core.names import unknown_name


class InterruptedRunError(BenchError):
    """The user pressed Ctrl-C."""

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

    def invoke(self, ctx: Any) -> Any:
        """Run the command; Ctrl-C becomes an error with an exit status of its own.

        Raises:
            InterruptedRunError: The user pressed Ctrl-C.
        """
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise InterruptedRunError("interrupted") from None


def make_app(cls: type[TyperGroup] | None = None) -> typer.Typer:
    """Make the `app` of a command's module: plain help, no completion options of its own."""
    return typer.Typer(cls=cls, add_completion=False, rich_markup_mode=None, no_args_is_help=cls is not None)
