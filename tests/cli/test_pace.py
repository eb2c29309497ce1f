"""Rates and time left: from what runs, from what ran in this run, and from what ran before."""

from __future__ import annotations

from typing import Any

import pytest

from comface_bench.cli.pace import RunPace, format_seconds
from comface_bench.core.events import Event

NAMES = {"method": "m", "task": "t", "protocol": "finetune"}


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Told:
    """A pace that is told events, some seconds after each other."""

    def __init__(self, units: str = "", past: dict[str, float] | None = None) -> None:
        self.clock = Clock()
        self.pace = RunPace(list(units), past, self.clock)

    def tell(self, seconds: float, kind: Any, **facts: Any) -> float | None:
        """Let seconds pass, tell an event, and return the seconds that are left."""
        self.clock.now += seconds
        self.pace.note(Event(kind, **{"text": "encoding", **NAMES, **facts}))
        return self.pace.left()


def alone(key: str, epoch: int, epochs: int = 10) -> dict[str, Any]:
    """What events of a unit have that is trained alone."""
    return {"fold": 0, "seed": 0, "key": key, "units": 1, "epoch": epoch, "epochs": epochs}


def test_items_are_counted_within_a_stage_and_seconds_by_epochs() -> None:
    told = Told()
    told.tell(0, "stage", total=64, **alone("a", 1))
    for _ in range(4):
        told.tell(1, "progress", amount=16, total=64, **alone("a", 1))
    told.tell(1, "progress", text="validation", done=64, **alone("a", 1))
    assert told.pace.rate == "16 pairs/s"  # Validation doesn't slow the rate, but takes its time.
    assert told.pace.images_per_second == pytest.approx(32)
    assert told.tell(0, "epoch", **(alone("a", 1) | {"total": 10})) == pytest.approx(9 * 5)


def test_heads_of_all_folds_count_images() -> None:
    told = Told()
    told.tell(0, "stage", total=64)
    told.tell(2, "progress", amount=64, total=64)
    assert told.pace.rate == "32 images/s"
    assert told.pace.images_per_second == pytest.approx(32)


def test_a_resumed_unit_counts_its_own_epochs_only() -> None:
    told = Told()
    told.tell(7, "stage", total=64, **alone("a", 8))
    assert told.tell(3, "epoch", **(alone("a", 8) | {"total": 10})) == pytest.approx(2 * 3)


def test_time_left_is_known_within_the_first_epoch_of_the_first_unit() -> None:
    told = Told("abc")
    assert told.tell(9, "stage", text="reading 4 images", total=4) is None
    assert told.tell(5, "progress", text="reading", amount=4, total=4) is None
    assert told.tell(1, "stage", total=64, **alone("a", 1, epochs=2)) is None
    # An eighth of a unit takes 2 s; a second of building the network comes with each.
    left = told.tell(2, "progress", amount=16, total=64, **alone("a", 1, epochs=2))
    assert left == pytest.approx(14 + 2 * (1 + 2 + 14))


def test_what_waits_takes_as_long_as_units_of_this_run_took() -> None:
    told = Told("abcd")
    told.tell(0, "stage", total=64, **alone("a", 1, epochs=1))
    told.tell(6, "epoch", **(alone("a", 1, epochs=1) | {"total": 1}))
    assert told.tell(4, "unit", key="a") == pytest.approx(3 * 10)
    assert told.tell(2, "failure", key="b") == pytest.approx(2 * 10 - 2)
    told.tell(0, "stage", total=64, **alone("c", 1, epochs=1))
    assert told.tell(1, "progress", amount=16, total=64, **alone("c", 1, epochs=1)) == pytest.approx(3 + 10)


def test_records_tell_what_units_take_before_there_is_a_share() -> None:
    told = Told("abcd", {"a": 10.0, "b": 20.0, "c": 30.0})
    assert told.pace.left() == pytest.approx(60 + 20)  # As the mean of the others.
    assert told.tell(5, "stage", text="reading 4 images", total=4) == pytest.approx(75)
    assert told.tell(0, "stage", total=64, **alone("a", 1, epochs=2)) == pytest.approx(10 + 50 + 25)
    assert told.tell(4, "progress", text="validation", **alone("a", 1, epochs=2)) == pytest.approx(6 + 75)
    # From here on by its own share, an eighth in four seconds, and so is the one of which no record tells.
    left = told.tell(0, "progress", amount=16, total=64, **alone("a", 1, epochs=2))
    assert left == pytest.approx(7 * 4 + 50 + 8 * 4)


def test_units_that_share_features_are_one_call() -> None:
    told = Told("abcdef")
    call = {"units": 4, "protocol": "probe"}
    told.tell(0, "stage", total=100, **call)
    assert told.tell(3, "progress", amount=30, total=100, **call) == pytest.approx(7 + 2 * 10 / 4)
    told.tell(7, "progress", amount=70, total=100, **call)
    # Solving is told by no count: it comes at the end.
    assert told.tell(0, "stage", text="solving", total=4, **call) == pytest.approx(2 * 10 / 4)
    for key in "abc":
        told.tell(0, "unit", key=key, protocol="probe")
    assert told.tell(2, "unit", key="d", protocol="probe") == pytest.approx(2 * 12 / 4)


def test_epochs_of_heads_count_from_the_first_one_that_is_told() -> None:
    told = Told("ab")
    call = {"units": 2, "epochs": 5, "protocol": "linear"}
    told.tell(0, "stage", total=100, **call)
    told.tell(8, "progress", amount=100, total=100, **call)
    told.tell(0, "stage", text="views", epoch=1, total=100, **call)
    assert told.tell(1, "progress", text="views", epoch=1, amount=50, total=100, **call) == pytest.approx(9)
    assert told.tell(2, "epoch", epoch=1, **(call | {"total": 5})) == pytest.approx(12)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text
