"""Events of a run, for a terminal, a log or another program."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["plan", "stage", "progress", "epoch", "unit", "skip", "failure", "record", "notice"]


@dataclass(frozen=True)
class Event:
    """Something that happened.

    Attributes:
        kind: `plan` states how many units there are and how many are done already; `stage` names the
            work that begins; `progress` counts within it; `epoch`, `unit`, `skip`, `failure` and
            `record` end something; `notice` is for people.
        text: One line for people.
        method, task, protocol: Names, where they apply.
        fold, seed, epoch: Numbers, where they apply.
        key: Of the unit, where the event is about a single one.
        done, total: Count within the stage.
        amount: What was processed since the last event, for rates (pairs or images).
        value: The number that the event reports, such as a validation loss.
        units: How many units the work is of that a stage, an epoch or progress is about; 0 where it is of
            none, such as the reading of images.
        epochs: How many epochs that work has; 0 where it has none.
        note: A warning about what the event reports, such as a record that is still improving at its last
            epoch; empty where there is none.
    """

    kind: Kind
    text: str = ""
    method: str | None = None
    task: str | None = None
    protocol: str | None = None
    fold: int | None = None
    seed: int | None = None
    epoch: int | None = None
    key: str | None = None
    done: int = 0
    total: int = 0
    amount: int = 0
    value: float | None = None
    units: int = 0
    epochs: int = 0
    note: str = ""


Report = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Take no notice of an event."""
