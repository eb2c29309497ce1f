"""The entry point: the table of commands, errors and exit statuses."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar

import typer

from comface_bench.cli.commands import Deferred, DeferredGroup, Terminated
from comface_bench.cli.completion import COMPLETE, answering_bash
from comface_bench.core.errors import BenchError
from comface_bench.version import __version__

_HERE = "comface_bench.cli"


class _Root(DeferredGroup):
    deferred: ClassVar[Mapping[str, Deferred]] = {
        "run": Deferred(f"{_HERE}.run", "Run methods on tasks and write the leaderboard."),
        "sweep": Deferred(
            f"{_HERE}.sweep", "Run whole studies: many methods, tasks, protocols and settings."
        ),
        "study": Deferred(f"{_HERE}.study", "Run the paper's studies and ours, each one a table."),
        "predict": Deferred(f"{_HERE}.predict", "Estimate changes between photographs by a record's models."),
        "explain": Deferred(f"{_HERE}.explain", "Show which regions of two photographs moved an estimate."),
        "list": Deferred(f"{_HERE}.listing", "List methods, tasks or protocols."),
        "show": Deferred(f"{_HERE}.listing", "Show all facts of a method, task or protocol.", "show_app"),
        "data": Deferred(f"{_HERE}.data", "Check and prepare data sets."),
        "new": Deferred(f"{_HERE}.new", "Write the plugin file of a new method or task."),
        "test": Deferred(f"{_HERE}.test", "Check that a method or task keeps its contract."),
        "weights": Deferred(f"{_HERE}.weights", "List, fetch, verify and convert weights."),
        "synth": Deferred(f"{_HERE}.synth", "Render synthetic faces."),
        "pretrain": Deferred(f"{_HERE}.pretrain", "Pre-train ComFace on synthetic faces."),
        "export": Deferred(
            f"{_HERE}.pretrain", "Write a pre-training's weights and model card.", "export_app"
        ),
        "cache": Deferred(f"{_HERE}.cache", "List, verify and clear kept images, features and tables."),
        "results": Deferred(f"{_HERE}.results", "Check, compare, unite and export result files."),
        "submission": Deferred(f"{_HERE}.submission", "Pack results for a board; check such packages."),
        "leaderboard": Deferred(f"{_HERE}.leaderboard", "Write leaderboards from result files."),
        "report": Deferred(f"{_HERE}.report", "Write one file on results, for a paper."),
        "doctor": Deferred(f"{_HERE}.doctor", "Say what this installation has and lacks."),
    }


app = typer.Typer(cls=_Root, rich_markup_mode=None, no_args_is_help=True)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"comface-bench {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; taken anywhere on the line.")
    ] = False,
) -> None:
    """Which backbone best estimates how a face changed between two images of one person?"""
    del version, debug


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: The words after the program's name; the process's own by default.

    Returns:
        The exit status of an error: its own, 143 after SIGTERM, or 1 for an unexpected one. Everything else
        leaves by SystemExit: 0 if all was done, 1 if a unit failed, 2 after a usage error.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    command: Any = typer.main.get_command(app)
    warnings.formatwarning = _format_warning
    try:
        with _interrupted_by_sigterm(), _completing():
            command(words, prog_name="comface-bench", obj={"debug": debug})
    except BenchError as error:
        if debug:
            traceback.print_exc()
        print_error(error.message, error.hint)
        return _TERMINATED if isinstance(error.__context__, Terminated) else error.exit_status
    except OSError as error:
        from comface_bench.core.files import find_storage_error

        if debug:
            traceback.print_exc()
        full = find_storage_error(error)
        print_error(full.message if full else str(error), full.hint if full else "")
        return 2
    except Exception as error:
        if debug:
            traceback.print_exc()
        hint = "" if debug else "This was not foreseen; --debug shows where it happened."
        print_error(f"{type(error).__name__}: {error}", hint)
        return 1
    return 0


_TERMINATED = 128 + signal.SIGTERM


def _completing() -> contextlib.AbstractContextManager[None]:
    """Let a shell that asks for completions be answered in its way."""
    if COMPLETE not in os.environ:
        return contextlib.nullcontext()
    return answering_bash(os.environ)


@contextlib.contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end a command as Ctrl-C does: files are closed, and how to go on is said."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(*_: object) -> None:
    raise Terminated


def print_error(message: str, hint: str = "") -> None:
    """Print an error, and the remedy, to stderr."""
    typer.echo(f"error: {message}", err=True)
    if hint:
        typer.echo(hint, err=True)


def _format_warning(message: Warning | str, *_: object, **__: object) -> str:
    return f"warning: {message}\n"
