"""Watching a pre-training: a bar on a terminal, lines elsewhere, JSON for programs, TensorBoard on demand."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import typer

from comface_bench.cli.progress import describe_seconds
from comface_bench.core.errors import MissingExtraError

if TYPE_CHECKING:
    from comface_bench.comface.pretrain.folder import TrainingFolder

Line = dict[str, Any]
LINE_S = 60.0
"""Seconds from one line about steps to the next where there is no terminal."""


@contextlib.contextmanager
def watch_training(
    folder: TrainingFolder, first: bool, tensorboard: bool, as_json: bool
) -> Iterator[Callable[[Line], None]]:
    """Give the function that the training tells its log to.

    Args:
        folder: Of the training; events lie in its `tensorboard`.
        first: Whether this process is the one that talks.
        tensorboard: Whether events are written.
        as_json: Print each line as JSON to stdout.

    Raises:
        MissingExtraError: TensorBoard isn't installed.
    """
    with contextlib.ExitStack() as stack:
        hearers: list[Callable[[Line], None]] = []
        if first and tensorboard:
            hearers.append(stack.enter_context(_events(folder)))
        if first and as_json:
            hearers.append(_print_json)
        elif first and sys.stderr.isatty():
            hearers.append(stack.enter_context(_bar()))
        elif first:
            hearers.append(Lines())

        def tell(line: Line) -> None:
            for hear in hearers:
                hear(line)

        yield tell


def _print_json(line: Line) -> None:
    typer.echo(json.dumps(line))
    sys.stdout.flush()


class Lines:
    """Plain lines on stderr: each epoch, and steps once a minute.

    Args:
        write: Prints one line.
        clock: Gives seconds.
    """

    def __init__(
        self,
        write: Callable[[str], None] = lambda line: typer.echo(line, err=True),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._write, self._clock = write, clock
        self._said = -LINE_S
        self._pace = Pace(clock)

    def __call__(self, line: Line) -> None:
        """Print a line, if it is worth one."""
        self._pace.note(line)
        if line["kind"] == "step":
            if self._clock() - self._said < LINE_S:
                return
            self._said = self._clock()
        self._write(describe_line(line, self._pace.left(line)))


class Pace:
    """How long the rest takes, by the progress of this process.

    Args:
        clock: Gives seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began: tuple[float, float] | None = None

    def note(self, line: Line) -> None:
        """Take a line into account."""
        if self._began is None and "progress" in line:
            self._began = (self._clock(), line["progress"])

    def left(self, line: Line) -> float | None:
        """Return the seconds left, or None while they can't be told."""
        if self._began is None or line.get("progress", 0) <= self._began[1]:
            return None
        done = line["progress"] - self._began[1]
        return float((self._clock() - self._began[0]) / done * (1 - line["progress"]))


def describe_line(line: Line, left: float | None) -> str:
    """Say a line of the log in words."""
    if line["kind"] == "resumed":
        return f"going on after step {line['step']}, in epoch {line['epoch']}"
    if line["kind"] == "finished":
        return f"nothing to do: all {line['epoch'] - 1} epochs are done"
    if line["kind"] == "unsaved":
        return f"{line['path']} couldn't be written (is the disk full?): a kill would cost what came since"
    losses = f"identities {line['inter']:.3f} · changes {line['intra']:.3f}"
    if line["kind"] == "step":
        rest = "" if left is None else f" · {describe_seconds(left)} left"
        return (
            f"epoch {line['epoch']} · step {line['step']} · {losses} · "
            f"{line['images_per_second']:.0f} images/s{rest}"
        )
    known = {name: r for name, r in line["correlation"].items() if r is not None}
    shown = list(known.items())[:4]
    more = f" (of {len(known)})" if len(known) > len(shown) else ""
    return (
        f"epoch {line['epoch']}/{line['epochs']} · validation {line['loss']:.4f} · {losses} · r "
        + ", ".join(f"{name} {r:.2f}" for name, r in shown)
        + more
    )


@contextlib.contextmanager
def _bar() -> Iterator[Callable[[Line], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    with Progress(
        BarColumn(),
        TextColumn("{task.description}"),
        TimeRemainingColumn(compact=True),
        TextColumn("left"),
        console=console,
        transient=True,
    ) as progress:
        bar = progress.add_task("the first steps", total=1.0)

        def hear(line: Line) -> None:
            if line["kind"] == "step":
                progress.update(bar, completed=line["progress"], description=describe_line(line, None))
            else:
                console.print(describe_line(line, None), highlight=False)

        yield hear


@contextlib.contextmanager
def _events(folder: TrainingFolder) -> Iterator[Callable[[Line], None]]:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise MissingExtraError(
            "--tensorboard needs tensorboard", "pip install 'comface-bench[train]'"
        ) from None
    writer: Any = None

    def hear(line: Line) -> None:
        nonlocal writer
        if writer is None:
            # Events of steps that are done again are dropped by the reader.
            writer = SummaryWriter(str(folder.root / "tensorboard"), purge_step=line["step"] + 1)
        place = "train" if line["kind"] == "step" else "validation"
        for name in ("loss", "inter", "intra", "spread", "learning_rate", "images_per_second"):
            if name in line:
                writer.add_scalar(f"{place}/{name}", line[name], line["step"])
        for name, r in line.get("correlation", {}).items():
            if r is not None:
                writer.add_scalar(f"correlation/{name}", r, line["step"])

    try:
        yield hear
    finally:
        if writer is not None:
            writer.close()
