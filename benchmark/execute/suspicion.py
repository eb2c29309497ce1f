"""Whether a network knows a task's labels by heart: its own head answers for every image of the task."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from comface_bench.core.card import LabelHead, MethodCard
from comface_bench.core.errors import UsageError
from comface_bench.core.registry import Entry
from comface_bench.core.weights import find_weights
from comface_bench.stats.memory import FEWEST, MARGIN, THRESHOLDS, ExactAnswers, find_exact_answers

if TYPE_CHECKING:
    from comface_bench.data.task import Task

Align = Literal["five-points", "none"]
USUAL_SIZE = 224
"""Pixels shown to a network that takes any size."""
LIMITS = (
    "What this can't show: nothing is proved by it. A network may have seen the images without these labels, "
    "or with smoothed ones, or have no head for them; a few people's images, seen, sink in the mean of all; "
    "and images shown otherwise than in training hide what is known by heart. Without a sign, it may have "
    "seen them all the same."
)
"""Said with every result."""


@dataclasses.dataclass(frozen=True)
class Suspicion:
    """Answers of a network's own head on a task's images.

    Attributes:
        method, task, target: Names.
        images, people: How many were answered for.
        align: `five-points`, or `none` for whole images.
        faces: Where faces were aligned, how they were come by; else empty.
        image_size: Side of the images that the network was given, in pixels.
        error: Mean absolute error of the most likely label.
        floor: The same of the median label, given for every image.
        lines: One for each probability and band of labels, the band of all labels first.
    """

    method: str
    task: str
    target: str
    images: int
    people: int
    align: str
    faces: str
    image_size: int
    error: float
    floor: float
    lines: tuple[ExactAnswers, ...]

    @property
    def blind(self) -> bool:
        """True if the head answers no better than one label for all, so that nothing can be concluded."""
        return self.error >= self.floor

    @property
    def suspicious(self) -> bool:
        """True if exact answers over all images exceed what is expected, at some probability."""
        return any(line.flagged for line in self._overall)

    @property
    def everywhere(self) -> bool:
        """True if they do so in each band that has enough images, at one of those probabilities."""
        bands = {
            top.threshold: [
                line.flagged
                for line in self.lines
                if line.threshold == top.threshold and line not in self._overall and line.pictures >= FEWEST
            ]
            for top in self._overall
            if top.flagged
        }
        return any(flags and all(flags) for flags in bands.values())

    @property
    def verdict(self) -> str:
        """What follows, in a sentence or two."""
        if self.blind:
            return (
                f"Nothing can be said: its answers ({self.error:.1f} off on average) are no better than one "
                f"for all ({self.floor:.1f}), so these images aren't shown as it was taught to see them."
            )
        share = f"beyond what the answers beside them explain, by more than {100 * MARGIN:.0f} % of images"
        if not self.suspicious:
            return f"No sign that it knows these labels by heart: exact answers aren't {share}."
        where = "in every band with enough images" if self.everywhere else "over all images"
        return f"Suspicious: exact answers are {share}, {where}. It has most likely been taught these labels."

    @property
    def _overall(self) -> list[ExactAnswers]:
        return list({line.threshold: line for line in reversed(self.lines)}.values())


def find_label_head(card: MethodCard, task: Task) -> LabelHead:
    """Return a method's head for the label of a task.

    Raises:
        UsageError: It has none.
    """
    head, target = card.label_head, task.card.target
    if head is None:
        raise UsageError(
            f"{card.name} has no head of its own for a label, so it can't be asked for exact answers",
            f"See what it was trained on: comface-bench show {card.name}",
        )
    if head.target != target:
        raise UsageError(
            f"{card.name}'s own head is for {head.target}, and {task.name} asks {target}",
            f"Name a task whose images have the label {head.target}, such as --task age",
        )
    return head


def measure_suspicion(
    entry: Entry[MethodCard],
    options: Mapping[str, str],
    task: Task,
    *,
    cache: Path,
    align: Align = "five-points",
    image_size: int | None = None,
    device: str = "auto",
    thresholds: Sequence[float] = THRESHOLDS,
    tick: Callable[[int], None] | None = None,
) -> Suspicion:
    """Ask a network's own head for the label of every image of a task.

    Args:
        entry: The method.
        options: All of its options, defaults included.
        task: With labels in whole numbers.
        cache: Folder of image stores.
        align: `five-points` shows the chip that the method expects, `none` whole images.
        image_size: Side of the images in pixels; by default the size that the network takes, or 224.
        device: As for a run.
        thresholds: Probabilities that an answer must reach to count.
        tick: Called with the number of images of each batch.

    Raises:
        UsageError: The method has no head for the task's label, or labels are no whole numbers.
        WeightsMissingError: Its weights aren't there, or the five-point predictor isn't.
    """
    from comface_bench.data import augment
    from comface_bench.data.alignment import count_faces, open_aligner, tell_faces
    from comface_bench.data.image_store import open_image_store
    from comface_bench.engine.encoder import build_encoder, encode
    from comface_bench.engine.precision import choose_machine

    card, head = entry.card, find_label_head(entry.card, task)
    labelled = np.flatnonzero(~np.isnan(task.labels))
    labels = task.labels[labelled]
    if np.any(labels != np.round(labels)):
        raise UsageError(f"labels of {task.name} are no whole numbers, so no answer is exact")
    answering = dataclasses.replace(entry, card=dataclasses.replace(card, build=head.build))
    encoder = build_encoder(answering, options, find_weights(entry, options), 0).eval()
    machine = choose_machine(device, "float32", trains=False)
    encoder.to(machine.device)
    size = image_size or encoder.preprocess.size or USUAL_SIZE
    store = open_image_store(
        task.table,
        # No larger than shown, unlike a run's: nothing is cropped, and a chip is resampled once.
        size,
        cache=cache / "images",
        aligner=open_aligner(card.chip) if align != "none" else None,
    )
    answers = encode(
        encoder,
        lambda rows: augment.resize(store.gather(rows).to(machine.device), size),
        labelled,
        machine,
        tick,
    )
    probabilities = answers.double().numpy()
    _, people = np.unique(np.array(task.table.subjects)[labelled], return_inverse=True)
    likeliest = probabilities.argmax(axis=1) + head.first
    return Suspicion(
        method=card.name,
        task=task.name,
        target=head.target,
        images=len(labels),
        people=int(people.max()) + 1,
        align=align,
        faces="" if store.how is None else tell_faces(count_faces(store.how)),
        image_size=size,
        error=float(np.abs(likeliest - labels).mean()),
        floor=float(np.abs(np.median(labels) - labels).mean()),
        lines=tuple(
            find_exact_answers(
                probabilities, labels, people.tolist(), head.first, task.table.name, thresholds
            )
        ),
    )
