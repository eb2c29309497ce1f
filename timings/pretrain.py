"""A step of pre-training against the backbone's bare forward and backward on tensors in memory.

A step reads and decodes JPEGs, augments, contrasts, measures and optimises; the bare one does none of it.
Both take turns of a few steps in one process, so that a busy machine slows them alike; the median of the
turns' ratios is what one may believe. The parts of a step are measured on their own: what it waits for
images, what making views of them takes, and the optimiser.

Run: python timings/pretrain.py CORPUS [image size, 112] [pairs, 64] [seconds, 60] [device, auto] [KEY=VALUE]
Settings, such as distill=1, are compared with a step without them. As in `pretrain` freed memory is kept on a
processor; with MALLOC=default in the environment it isn't.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from comface_bench.baselines.networks import build_backbone, feature_width
from comface_bench.comface.pretrain import train
from comface_bench.comface.pretrain.distributed import ProcessGroup
from comface_bench.comface.pretrain.faces import FaceDataset, ImagePairs
from comface_bench.comface.pretrain.folder import TrainingFolder
from comface_bench.comface.pretrain.loader import load_batches
from comface_bench.comface.pretrain.settings import Settings, override_settings
from comface_bench.comface.pretrain.train import Trainer, split_batches
from comface_bench.engine.precision import Machine, choose_machine, keep_freed_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TURN = 3
"""Steps of a kind in a row."""


def bare(backbone: torch.nn.Module, images: torch.Tensor, machine: Machine) -> None:
    """Forward and backward, nothing else."""
    with machine.autocast():
        features = backbone(images)
    features.float().square().mean().backward()
    backbone.zero_grad(set_to_none=True)


class Spent(NamedTuple):
    """Seconds: by the clock, of the processor in all threads, and of these in the kernel."""

    wall: float
    cpu: float
    system: float

    @classmethod
    def now(cls) -> Spent:
        times = os.times()
        return cls(time.perf_counter(), times.user + times.system, times.system)

    def __sub__(self, other: Spent) -> Spent:
        return Spent(*(a - b for a, b in zip(self, other, strict=True)))


class Clock:
    """Seconds spent in parts of a step."""

    def __init__(self, machine: Machine) -> None:
        self.spent: dict[str, float] = {}
        self._machine = machine

    def timed(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function whose time counts under a name."""

        def wrapped(*arguments: Any, **named: Any) -> Any:
            start = time.perf_counter()
            found = call(*arguments, **named)
            wait(self._machine)
            self.spent[name] = self.spent.get(name, 0.0) + time.perf_counter() - start
            return found

        return wrapped


def main() -> None:
    corpus = Path(sys.argv[1])
    plain = [word for word in sys.argv[2:] if "=" not in word]
    changed = dict(word.split("=", 1) for word in sys.argv[2:] if "=" in word)
    size, pairs, seconds = (int(word) for word in (plain + ["112", "64", "60"][len(plain) :])[:3])
    machine = choose_machine(plain[3] if len(plain) > 3 else "auto")
    if machine.device.type == "cpu" and os.environ.get("MALLOC") != "default":
        keep_freed_memory()
    settings = dataclasses.replace(
        Settings(), backbone="resnet18", image_size=size, batch_size=pairs, augmentation="table-b"
    )
    faces = FaceDataset([corpus], settings)
    alone = build_backbone("resnet18").to(machine.device).to(memory_format=torch.channels_last).train()
    images = torch.randn(2 * pairs, 3, size, size, device=machine.device)
    images = images.contiguous(memory_format=torch.channels_last)
    clock = Clock(machine)
    steps = draw(faces, settings)
    with tempfile.TemporaryDirectory() as folder:

        def make(chosen: Settings) -> Trainer:
            backbone, width = build_backbone("resnet18"), feature_width("resnet18")
            return Trainer(
                faces, chosen, TrainingFolder(Path(folder)), backbone, width, machine, ProcessGroup()
            )

        trainer, other = make(settings), make(override_settings(settings, changed)) if changed else None
        optimizer: Any = trainer._optimizer
        optimizer.step = clock.timed("optimiser", optimizer.step)
        make_views = train.augmented_images  # type: ignore[attr-defined]
        views = clock.timed("views", make_views)

        def whole() -> None:
            train.augmented_images = views  # type: ignore[attr-defined]
            take_turn(trainer, clock.timed("waiting", next))
            train.augmented_images = make_views  # type: ignore[attr-defined]

        def take_turn(one: Trainer, take: Callable[..., Any]) -> None:
            # Images of this turn alone: those of the next would be decoded at the cost of the other kind.
            drawn = list(itertools.islice(steps, TURN))
            loading = iter(load_batches(faces, drawn, threads=2))
            for pairs_of_step in drawn:
                one._take(take(loading), pairs_of_step, 1, size, 1e-4)

        def alone_turn() -> None:
            for _ in range(TURN):
                bare(alone, images, machine)

        kinds: dict[str, Callable[[], None]] = {"whole": whole, "bare": alone_turn}
        if other is not None:
            kinds["changed"] = lambda: take_turn(other, next)
        turns: list[dict[str, Spent]] = []
        began = time.perf_counter()
        while time.perf_counter() - began < seconds or len(turns) < 3:
            turn = {}
            for kind, run_turn in kinds.items():
                start = Spent.now()
                run_turn()
                wait(machine)
                turn[kind] = Spent.now() - start
            turns.append(turn)
            if len(turns) == 1:  # it has chosen kernels
                clock.spent.clear()
    report(turns[1:], clock, f"{size} pixels, {pairs} pairs, {machine.device}, {machine.precision}", pairs)
    if changed:
        for name, part in PARTS.items():
            more = [getattr(turn["changed"], part) / getattr(turn["whole"], part) for turn in turns[1:]]
            words = " ".join(f"{key}={value}" for key, value in changed.items())
            print(f"{name}: a step with {words} takes {statistics.median(more):.3f} of one without")


def draw(faces: FaceDataset, settings: Settings) -> Iterator[ImagePairs]:
    """Yield the pairs of each step, of one epoch after the other."""
    for epoch in itertools.count(1):
        yield from split_batches(faces.draw(settings, epoch, settings.curriculum[0]), settings.batch_size)


PARTS = {"by the clock": "wall", "of the processor": "cpu"}


def report(turns: list[dict[str, Spent]], clock: Clock, what: str, pairs: int) -> None:
    images = 2 * pairs * TURN * len(turns)
    print(f"ResNet-18, {what}, {torch.get_num_threads()} threads, {TURN * len(turns)} steps of each kind")
    for name, part in PARTS.items():
        whole, alone = (sum(getattr(turn[kind], part) for turn in turns) for kind in ("whole", "bare"))
        ratios = [getattr(turn["bare"], part) / getattr(turn["whole"], part) for turn in turns]
        print(
            f"{name}: bare {images / alone:.1f} images/s, whole {images / whole:.1f} images/s,"
            f" {alone / whole:.3f} × bare; median of {len(turns)} turns {statistics.median(ratios):.3f}"
        )
    for kind in ("whole", "bare"):
        share = sum(turn[kind].system for turn in turns) / sum(turn[kind].cpu for turn in turns)
        print(f"{kind}: {100 * share:.0f} % of the processor's time in the kernel")
    total = sum(turn["whole"].wall for turn in turns)
    parts = ", ".join(f"{name} {100 * value / total:.1f} %" for name, value in clock.spent.items())
    print(f"of a whole step by the clock: {parts}")


def wait(machine: Machine) -> None:
    if machine.device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
