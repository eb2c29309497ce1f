"""The training loop: epochs of steps, a validation after each, a saved state to resume from."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from comface_bench.comface.model import ComFace
from comface_bench.comface.pretrain.loader import PATIENCE_S, augmented_images, load_batches
from comface_bench.comface.pretrain.retention import FeaturePull, WeightPull, choose_frozen
from comface_bench.comface.pretrain.settings import learning_rate, stage_at
from comface_bench.comface.pretrain.step import accumulate_gradients, split_chunks
from comface_bench.comface.pretrain.validate import ValidationResult, validate
from comface_bench.core.card import IMAGENET
from comface_bench.core.digest import digest
from comface_bench.core.errors import DataFormatError, UnitError, UsageError
from comface_bench.engine.checkpoint import TrainingCheckpoint, write_tensors

if TYPE_CHECKING:
    from comface_bench.comface.pretrain.distributed import ProcessGroup
    from comface_bench.comface.pretrain.faces import FaceDataset, ImagePairs
    from comface_bench.comface.pretrain.folder import TrainingFolder
    from comface_bench.comface.pretrain.loader import Batch
    from comface_bench.comface.pretrain.settings import Settings
    from comface_bench.core.card import Preprocess
    from comface_bench.engine.precision import Machine

LOG_STEPS = 20
"""Steps from one line of the log to the next."""
SAVE_S = 120.0
"""Seconds from one saved state to the next: what a kill can cost."""
_FLAT_SPREAD = 1e-4
"""Spread of features at or below which they count as equal."""

Report = Callable[[dict[str, Any]], None]
"""Receives each line of the log as it is written."""


class Trainer:
    """Trains one network in one folder, from its last saved state if there is one.

    Args:
        faces: Images and pairs.
        settings: Of the training.
        folder: Begun by `TrainingFolder.begin`.
        backbone: From normalised images to features (N, feature_dim); trained in place.
        feature_dim: D.
        machine: Device and precision.
        processes: Of the training.
        threads: That decode images, in each process.
        save_seconds: From one saved state to the next.
        patience: Seconds to wait for a batch.
        preprocess: The images that the backbone takes.

    Raises:
        UsageError: Batch size and number of processes, or image size and backbone, don't go together, or the
            backbone has no such part to freeze.
    """

    def __init__(
        self,
        faces: FaceDataset,
        settings: Settings,
        folder: TrainingFolder,
        backbone: nn.Module,
        feature_dim: int,
        machine: Machine,
        processes: ProcessGroup,
        threads: int = 2,
        save_seconds: float = SAVE_S,
        patience: float = PATIENCE_S,
        preprocess: Preprocess = IMAGENET,
    ) -> None:
        if settings.batch_size % processes.size or settings.batch_size // processes.size < 2:
            raise UsageError(
                f"a batch of {settings.batch_size} pairs can't be divided among {processes.size} processes",
                "Give -o batch_size= a multiple of their number.",
            )
        _check_sizes(settings, preprocess)
        self.faces, self.settings, self.folder = faces, settings, folder
        self.machine, self.processes = machine, processes
        self._threads, self._patience, self._preprocess = threads, patience, preprocess
        own = faces.attributes if settings.heads == "attribute" else ()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            network = ComFace(
                backbone,
                feature_dim,
                settings.projection_dim,
                own,
                settings.inter_weight > 0,
                choose_frozen(backbone, settings.freeze),
            )
        self.network = network.to(machine.device).to(memory_format=torch.channels_last).train()
        # Here the backbone is still the start; a saved state comes later.
        self._weights = WeightPull(backbone, settings.l2_start) if settings.l2_start else None
        self._features = FeaturePull(backbone, settings.distill) if settings.distill else None
        groups = _rate_groups(self.network, settings.head_rate)
        self._factors = tuple(groups)
        self._optimizer = torch.optim.Adam(
            [{"params": parameters} for parameters in groups.values()], lr=settings.learning_rate, fused=True
        )
        self._wrapped: nn.Module = self.network
        if processes.size > 1:
            ids = [machine.device] if machine.device.type == "cuda" else None
            self._wrapped = nn.parallel.DistributedDataParallel(self.network, ids)
        self._saved = TrainingCheckpoint(folder.state, settings.digest(), save_seconds)
        # `_place`: steps of the epoch that are done.
        self._step, self._epoch, self._place, self._seconds = 0, 1, 0, 0.0
        self._curve: list[float] = []

    def run(self, report: Report) -> list[float]:
        """Train to the end and return the validation losses of all epochs.

        Args:
            report: Receives each line of the log as it is written, and lines of kind `resumed`, `finished`
                and `unsaved`.

        Raises:
            UnitError: A loss isn't finite, the network has collapsed, or no images come.
            DataFormatError: The saved state can't be read.
        """
        started = time.perf_counter()
        self._resume(report)
        before = self._seconds
        validation = self.faces.validation(self.settings)
        for epoch in range(self._epoch, self.settings.epochs + 1):
            self._train_epoch(epoch, report, lambda: before + time.perf_counter() - started)
            self._finish_epoch(epoch, validation, report)
        return self._curve

    def _resume(self, report: Report) -> None:
        if (state := self._saved.load()) is not None:
            self._restore(state)
        elif self.folder.state.exists():
            # Beginning anew would overwrite what days of training have left.
            raise DataFormatError(
                f"{self.folder.state} can't be read, or is another training's",
                "Move it away to begin anew, or name another folder: --out DIR",
            )
        self.processes.check_equal([self._step, self._epoch, self._place], "where to go on")
        if self.processes.first:
            self.folder.rewind(self._step if state is not None else -1)
            if state is not None:
                kind = "resumed" if self._epoch <= self.settings.epochs else "finished"
                report({"kind": kind, "step": self._step, "epoch": self._epoch})

    def _train_epoch(self, epoch: int, report: Report, clock: Callable[[], float]) -> None:
        settings, stage = self.settings, stage_at(self.settings.curriculum, epoch)
        self._epoch = epoch
        pairs = self.faces.draw(settings, epoch, stage)
        batches = split_batches(pairs, settings.batch_size)
        size = stage.image_size or settings.image_size
        share = settings.batch_size // self.processes.size
        mine = [
            batch.take(slice(self.processes.rank * share, (self.processes.rank + 1) * share))
            for batch in batches
        ]
        loading = load_batches(self.faces, mine[self._place :], self._threads, self._patience)
        since, first = time.perf_counter(), self._step
        for batch, whole in zip(loading, batches[self._place :], strict=True):
            rate = learning_rate(settings, self._step, epoch - 1 + self._place / len(batches))
            losses = self._take(batch, whole, epoch, size, rate)
            self._step += 1
            self._place += 1
            self._seconds = clock()
            last = self._place == len(batches)
            if self._step % LOG_STEPS == 0 or last:
                line = self._step_line(losses, epoch, rate, self._place / len(batches))
                line["images_per_second"] = round(
                    2 * settings.batch_size * (self._step - first) / (time.perf_counter() - since), 1
                )
                if self.processes.first:
                    self.folder.append_line(line)
                    report(line)
            if self.processes.first and not last and self._saved.due:
                self._save(report)

    def _take(
        self, batch: Batch, whole: ImagePairs, epoch: int, size: int, rate: float
    ) -> dict[str, Tensor | None]:
        """Take one step on this process's part of a batch; return its losses by their names in the log."""
        settings, device = self.settings, self.machine.device
        images = augmented_images(batch, settings, epoch, size, self.machine, self._preprocess)
        own = torch.from_numpy(batch.pairs.attribute).to(device)
        parts = split_chunks(images, own, settings.chunk_size)
        for group, factor in zip(self._optimizer.param_groups, self._factors, strict=True):
            group["lr"] = rate * factor
        self._optimizer.zero_grad(set_to_none=True)
        losses = accumulate_gradients(
            self._wrapped,
            parts,
            torch.from_numpy(whole.identity).to(device),
            torch.from_numpy(whole.change).to(device),
            settings,
            self.processes,
            self.machine,
            self._features,
            # Dropout, which some starts have, is a function of the step like all else.
            int(digest(["dropout", settings.seed, self.processes.rank, self._step])[:15], 16),
        )
        found: dict[str, Tensor | None] = losses._asdict()
        if self._weights is not None:
            # The same in each process, so after their gradients were averaged.
            found["l2_start"] = self._weights.add_gradient()
        self._optimizer.step()
        return found

    def _step_line(
        self, losses: dict[str, Tensor | None], epoch: int, rate: float, share: float
    ) -> dict[str, Any]:
        values = {name: float(loss) for name, loss in losses.items() if loss is not None}
        if not all(math.isfinite(value) for value in values.values()):
            raise self._not_finite()
        spread = values["spread"]
        if spread <= _FLAT_SPREAD:
            raise UnitError(
                f"the network has collapsed: features of all images are equal at step {self._step}",
                "Lower learning_rate, give warmup_steps, or raise batch_size, in a new folder.",
            )
        return {
            "kind": "step",
            "step": self._step,
            "epoch": epoch,
            "progress": round((epoch - 1 + share) / self.settings.epochs, 5),
            "inter": round(values["inter"], 5) if "inter" in values else None,
            "intra": round(values["intra"], 5),
            **{name: round(values[name], 7) for name in ("distill", "l2_start") if name in values},
            "spread": round(spread, 5),
            "learning_rate": rate,
            "seconds": round(self._seconds, 1),
        }

    def _not_finite(self) -> UnitError:
        return UnitError(
            f"the loss or the weights aren't finite at step {self._step}",
            "Lower learning_rate, give warmup_steps, or set precision=float32, in a new folder.",
        )

    def _finish_epoch(self, epoch: int, pairs: ImagePairs, report: Report) -> None:
        # Every process measures the same network on the same pairs, so that all stop together if they must.
        self.processes.agree(list(self.network.buffers()))
        batches = split_batches(pairs, self.settings.batch_size, whole=False)
        loading = load_batches(self.faces, batches, self._threads, self._patience)
        found = validate(
            self.network, loading, self.faces.attributes, self.settings, self.machine, self._preprocess
        )
        better = found.loss < min(self._curve, default=math.inf)
        self._curve.append(found.loss)
        self._epoch, self._place = epoch + 1, 0
        if self.processes.first:
            line = self._epoch_line(found, epoch)
            if better:
                write_tensors(self.folder.best, {"line": line, "model": self.network.state_dict()})
            self.folder.append_line(line)
            report(line)
            self._save(report)

    def _epoch_line(self, found: ValidationResult, epoch: int) -> dict[str, Any]:
        return {
            "kind": "epoch",
            "step": self._step,
            "epoch": epoch,
            "epochs": self.settings.epochs,
            **found._asdict(),
            "seconds": round(self._seconds, 1),
        }

    def _save(self, report: Report) -> None:
        if not all(bool(parameter.isfinite().all()) for parameter in self.network.parameters()):
            raise self._not_finite()
        if not self._saved.save(self._state(), at_once=True):
            report(
                {"kind": "unsaved", "step": self._step, "epoch": self._epoch, "path": str(self.folder.state)}
            )

    def _state(self) -> dict[str, Any]:
        return {
            "step": self._step,
            "epoch": self._epoch,
            "place": self._place,
            "model": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "curve": self._curve,
            "seconds": self._seconds,
        }

    def _restore(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._step, self._epoch, self._place = state["step"], state["epoch"], state["place"]
        self._curve, self._seconds = state["curve"], state["seconds"]


def _rate_groups(network: ComFace, head_rate: float) -> dict[float, list[nn.Parameter]]:
    """Divide what learns by the factor of its rate: a single group where all have the same."""
    own = {id(parameter) for parameter in network.backbone.parameters()}
    groups: dict[float, list[nn.Parameter]] = {}
    for parameter in network.parameters():
        if parameter.requires_grad:
            groups.setdefault(1.0 if id(parameter) in own else head_rate, []).append(parameter)
    return groups


def _check_sizes(settings: Settings, preprocess: Preprocess) -> None:
    """Refuse sizes that the backbone doesn't take; an encoder would resize images that were rendered at them.

    Raises:
        UsageError: There is one.
    """
    size, multiple = preprocess.size, preprocess.multiple
    sizes = {settings.image_size, *(stage.image_size for stage in settings.curriculum)} - {0}
    if size is not None and (other := sorted(sizes - {size})):
        raise UsageError(
            f"{settings.backbone} takes images of {size} pixels only, not of {other[0]}",
            f"Give {size} for image_size, in settings and in each stage of a curriculum.",
        )
    if odd := sorted(side for side in sizes if side % multiple):
        raise UsageError(
            f"{settings.backbone} takes sides in multiples of {multiple} pixels, not {odd[0]}",
            f"Give {-(-odd[0] // multiple) * multiple} for image_size, in settings or curriculum.",
        )


def split_batches(pairs: ImagePairs, batch_size: int, whole: bool = True) -> list[ImagePairs]:
    """Divide pairs into batches; a last smaller one is left out, or kept if not all must be whole."""
    stop = len(pairs) - len(pairs) % batch_size if whole else len(pairs)
    starts = range(0, stop, batch_size)
    return [pairs.take(slice(start, min(start + batch_size, stop))) for start in starts]
