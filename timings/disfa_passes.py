"""Forward passes of `linear` at DISFA's size against a literal loop over units, epochs and pairs.

    python timings/disfa_passes.py

Twelve action units, three folds, twenty epochs. The literal loop trains each unit by itself and encodes two
images for each pair: of an epoch, of the validation part after each epoch, and of the test part once. Ours
encodes each distinct image of a view once, and each distinct evaluation image once. Pairs are drawn and
listed by the tasks themselves, on a table of DISFA's frame counts. tests/engine/test_passes.py counts both
ways with a hook on a backbone in a small tree, and compares with what is computed here.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from comface_bench.core.card import AUGMENTATIONS, NO_AUGMENTATION
from comface_bench.core.protocol import resolve_protocol
from comface_bench.core.registry import task_registry
from comface_bench.data.manifest import Manifest
from comface_bench.data.task import Task, find_split
from comface_bench.engine.jobs import Job
from comface_bench.engine.protocols.training import Training
from comface_bench.tasks.formats.action_units import ACTION_UNITS
from comface_bench.tasks.formats.disfa import LABEL_LINES

BARS = {
    ("1600", "epoch"): 45,
    ("auto", "epoch"): 20,
    ("1600", "4"): None,
    ("auto", "4"): 100,
}
"""Pairs an epoch, and views → literal / ours, at least."""


def main() -> None:
    jobs = [Job(task, fold, 0, "") for task in make_tasks() for fold in range(len(task.folds))]
    for (pairs, views), bar in BARS.items():
        options = {"pairs_per_epoch": pairs, "views": views}
        protocol = resolve_protocol("linear", "expression", options)
        assert isinstance(protocol, Training)
        literal, ours = count_literal(jobs, protocol), count_shared(jobs, protocol)
        print(
            f"pairs_per_epoch={pairs}, views={views}: {literal:,} / {ours:,} = {literal / ours:.1f}"
            + (f" (bar {bar}{'' if literal / ours >= bar else ', NOT REACHED'})" if bar else "")
        )


def make_tasks() -> list[Task]:
    """Make the twelve tasks on a table of DISFA's subjects and frames, with drawn labels and no images."""
    frames = [
        (f"frames/{subject}/{frame:05d}.jpg", subject)
        for subject, count in LABEL_LINES.items()
        for frame in range(1, count + 1)
    ]
    images, subjects = zip(*frames, strict=True)
    labels = np.random.default_rng(0).integers(0, 6, (len(ACTION_UNITS), len(images))).astype(np.float64)
    table = Manifest(
        name="DISFA",
        root=Path(),
        images=images,
        subjects=subjects,
        sessions=(None,) * len(images),
        phases=(None,) * len(images),
        labels={f"au{unit}": row for unit, row in zip(ACTION_UNITS, labels, strict=True)},
        contents=images,
        video=True,
    )
    registry = task_registry(plugins=False)
    cards = [registry.get(f"disfa-au{unit}").card for unit in ACTION_UNITS]
    return [
        Task(card, {"split": card.splits[0]}, table, find_split(card.splits[0], card, table))
        for card in cards
    ]


def count_literal(jobs: Sequence[Job], protocol: Training) -> int:
    """Count the forward passes of units that run by themselves, image by image of each pair."""
    return 2 * sum(
        protocol.epochs * (_length(job, protocol) + len(job.task.pairs(job.fold, "validation")))
        + len(job.task.pairs(job.fold, "test"))
        for job in jobs
    )


def count_shared(jobs: Sequence[Job], protocol: Training) -> int:
    """Count the forward passes of `linear`: the distinct images of each view."""
    images = len(jobs[0].task.table)
    evaluated = np.zeros(images, dtype=bool)
    for job in jobs:
        for part in ("validation", "test"):
            pairs = job.task.pairs(job.fold, part)  # type: ignore[arg-type]
            evaluated[pairs.x] = evaluated[pairs.y] = True
    seen: dict[int | str, NDArray[np.bool_]] = {"plain": evaluated}
    plain = AUGMENTATIONS[protocol.augmentation] == NO_AUGMENTATION
    for epoch in range(1, protocol.epochs + 1):
        view = "plain" if plain else protocol.shared_view(epoch)
        here = seen.setdefault(view, np.zeros(images, dtype=bool))
        for job in jobs:
            pairs = job.task.draw(job.fold, job.seed, epoch, _length(job, protocol))
            here[pairs.x] = here[pairs.y] = True
    return sum(int(shown.sum()) for shown in seen.values())


def _length(job: Job, protocol: Training) -> int:
    return protocol.count_pairs(job.task.epoch_length(job.fold))


if __name__ == "__main__":
    main()
