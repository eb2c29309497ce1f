"""The curriculum: which changes of α a pair may have in which epoch, and how large its images are.

The paper restricts |α_y − α_x| by epoch and doesn't publish the table (supplement, A.1, footnote 2), so ours
is an option. Large changes come first: they are seen in a few hundred steps where small ones are noise.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING, Any

from comface_bench.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclasses.dataclass(frozen=True)
class Stage:
    """What holds from an epoch on, until the next stage's.

    Attributes:
        epoch: First epoch of the stage, from 1.
        smallest: Smallest |α_y − α_x| of a pair, 0 to 10.
        largest: Largest |α_y − α_x| of a pair, `smallest` to 10.
        image_size: Height and width in pixels that images are rendered at; 0 for that of the settings.
            Small images first make the early epochs cheap.

    Raises:
        UsageError: A value is out of range.
    """

    epoch: int = 1
    smallest: float = 0.0
    largest: float = 10.0
    image_size: int = 0

    def __post_init__(self) -> None:
        if self.epoch < 1:
            raise UsageError(f"curriculum: epoch {self.epoch}; epochs count from 1")
        if not 0 <= self.smallest <= self.largest <= 10 or self.largest == 0:
            raise UsageError(
                f"curriculum, epoch {self.epoch}: changes from {self.smallest} to {self.largest}",
                "α lies in −5 to 5, so changes rise within 0 to 10.",
            )
        if self.image_size and self.image_size < 16:
            raise UsageError(f"curriculum, epoch {self.epoch}: image_size {self.image_size} is below 16")


def read_stages(rows: Iterable[Mapping[str, Any]]) -> tuple[Stage, ...]:
    """Read the table's rows, as a configuration file has them.

    Raises:
        UsageError: A key is unknown, a value is out of range, or the epochs don't rise from 1.
    """
    known = {field.name for field in dataclasses.fields(Stage)}
    stages = []
    for row in rows:
        if unknown := set(row) - known:
            raise UsageError(
                f"curriculum: unknown {', '.join(sorted(unknown))}",
                f"A stage has {', '.join(sorted(known))}.",
            )
        for name, value in row.items():
            whole = name in ("epoch", "image_size")
            if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
                word = "a whole number" if whole else "a number"
                raise UsageError(f"curriculum: {name} = {value!r}: not {word}")
        # 4 and 4.0 are one setting.
        values: dict[str, Any] = {
            name: value if name in ("epoch", "image_size") else float(value) for name, value in row.items()
        }
        stages.append(Stage(**values))
    starts = [stage.epoch for stage in stages]
    if not stages or starts[0] != 1 or any(a >= b for a, b in itertools.pairwise(starts)):
        raise UsageError(f"curriculum: epochs {starts}; the first is 1, and they rise")
    return tuple(stages)


def stage_of(stages: tuple[Stage, ...], epoch: int) -> Stage:
    """Return the stage that an epoch, from 1, belongs to."""
    return next(stage for stage in reversed(stages) if stage.epoch <= epoch)
