"""Models of single patients: a network that others pre-trained, and a ridge solution on each one's own days.

The network learns from the fold's training patients by `engine/contrast.py`. Then it is frozen, and for each
day of each tested patient a pair head is solved on all pairs of some of that patient's other days: a vector w
with ŷ(x, y) = w·(f(y) − f(x)), which is a linear model of weight whose constant cancels. Validation patients
choose the epoch and the ridge's strength, by models of their own days; nothing of a tested patient chooses
anything.

Epochs are chosen by models of all other days, so that 1, 2 and 3 days share one network: its features are
kept (`engine/pretrained_features.py`) and serve each of these settings.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from comface_bench.core.digest import digest
from comface_bench.core.errors import UnitError
from comface_bench.core.events import Event
from comface_bench.core.unit import ENGINE_EPOCH, seed_for
from comface_bench.data.pairs import PairGroup, PairList
from comface_bench.data.patient_days import DayModel, draw_day_models, paired_days
from comface_bench.engine.checkpoint import TrainingCheckpoint, seeded, train_epochs
from comface_bench.engine.contrast import Condition, MomentumContrast
from comface_bench.engine.encoder import Encoder, ImageSource, encode, encoder_digest, state_digest
from comface_bench.engine.jobs import NOT_FINITE, Job, Outcome, RunContext, check_finite
from comface_bench.engine.precision import Throughput, peak_memory_mb, reset_peak_memory
from comface_bench.engine.pretrained_features import Pretrained, PretrainedFeatures
from comface_bench.engine.protocols.patient_specific import PatientSpecific
from comface_bench.engine.protocols.training import OPTIMIZERS
from comface_bench.engine.ridge import compress, pair_moments, solve_ridge

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Rows = NDArray[np.int64]

STRENGTHS: tuple[float, ...] = tuple(10.0 ** (exponent / 2) for exponent in range(-8, 7))
"""λ as a fraction of the largest eigenvalue of a model's moment matrix: 1e-4 to 1e3, half decades. One pair
of images tells little, so that much stronger shrinkage than a training part of many people needs is
offered."""
TIED = 1e-6
"""Strengths whose validation errors differ by no more than this share count as equal."""


def run(jobs: Sequence[Job], context: RunContext) -> list[Outcome | UnitError]:
    """Pre-train, then make and test the models of all days of a unit; the function of the protocol's card.

    Raises:
        UnitError: The loss left the finite numbers, or no validation patient has two days.
        DataFormatError: A tested patient has too few days.
    """
    (job,), protocol = jobs, context.protocol
    assert isinstance(protocol, PatientSpecific)
    started = time.perf_counter()
    machine = context.images.machine
    reset_peak_memory(machine)
    patients = Patients.of(job, protocol.days)
    source = context.images.with_views(
        protocol.augmentation, seed_for("augment", job.task.card.data, job.fold, job.seed)
    )
    about = {
        "data": job.task.table.name,
        "method": context.encoder.name,
        "view": f"plain, pre-trained by patients, seed {job.seed}",
        "image_size": protocol.image_size,
        "precision": machine.precision,
    }
    kept = PretrainedFeatures(
        _identify(job, context.encoder, protocol, source, patients), about, context.report
    )
    with kept.alone():
        pretrained = kept.load(patients.rows)
        reused = pretrained is not None
        if pretrained is None:
            pretrained = _pretrain(job, patients, context, source)
            kept.save(pretrained)
    context.report(Event("stage", "models of patients' days", total=len(patients.tested)))
    predicted, strength, error = _test(job, patients, pretrained)
    details: dict[str, str | int | float | bool | None] = {
        "days": protocol.days,
        "models": len(patients.tested),
        # By number, as elsewhere in a record: subject, its tested day, and the days that trained.
        "days_trained": patients.describe(),
        "images_pretrained": len(patients.pretraining),
        "ridge_strength": strength,
        "validation_error": error,
        "pretrained_earlier": reused,
        "pretraining_seconds": pretrained.seconds,
        "images_per_second": pretrained.images_per_second,
    }
    seconds = time.perf_counter() - started + (0.0 if reused else pretrained.seconds_before)
    curve = list(pretrained.curve)
    memory = peak_memory_mb(machine)
    return [Outcome(predicted, pretrained.best_epoch, curve, seconds, memory, details)]


@dataclass(frozen=True, eq=False)
class Patients:
    """Who does what in a unit.

    Attributes:
        job: The unit.
        pretraining: Rows of the images that pre-train: those of the training patients, before or after
            treatment.
        epochs: Models of validation patients' days by all of their other days, which choose the epoch.
        strengths: The same by as many days as the tested ones', or as there are, which choose the strength.
        tested: Models of the tested patients' days.
    """

    job: Job
    pretraining: Rows
    epochs: list[DayModel]
    strengths: list[DayModel]
    tested: list[DayModel]

    @classmethod
    def of(cls, job: Job, days: int) -> Patients:
        """Draw the days of a unit's models.

        Raises:
            DataFormatError: A tested patient has too few days.
            UnitError: No validation patient has two days.
        """
        task, fold = job.task, job.task.folds[job.fold]
        table, labels = task.table, task.labels
        able = [subject for subject in fold.validation if len(paired_days(table, labels)[subject]) > 1]
        if not able:
            raise UnitError(
                f"{job.label}: no validation patient has two days with images of both phases",
                "Add such days, or name other validation patients by a split file: -o split=FILE.json",
            )
        teachers = set(fold.train)
        rows = [
            row
            for row, subject in enumerate(table.subjects)
            if subject in teachers and table.phases[row] in ("pre", "post") and not np.isnan(labels[row])
        ]
        seed = seed_for("pairs", f"{task.card.data}/days", job.fold, job.seed)
        return cls(
            job,
            np.array(rows, dtype=np.int64),
            draw_day_models(table, labels, able, None, seed),
            draw_day_models(table, labels, able, days, seed, fewer=True),
            draw_day_models(table, labels, fold.test, days, seed),
        )

    @property
    def rows(self) -> Rows:
        """Rows of all images of validated and tested days, ascending."""
        parts = [model.test_rows for model in (*self.epochs, *self.tested)]
        return np.unique(np.concatenate(parts))

    def describe(self) -> str:
        """Return `subject:day<days` for each tested model, all of them ordinal numbers, blanks between."""
        numbers = {subject: place for place, subject in enumerate(self.job.task.table.subject_names)}
        days = paired_days(self.job.task.table, self.job.task.labels)
        texts = []
        for model in self.tested:
            place = {day: number for number, day in enumerate(days[model.subject])}
            trained = ",".join(str(place[day]) for day in model.trained)
            texts.append(f"{numbers[model.subject]}:{place[model.tested]}<{trained}")
        return " ".join(texts)


def _identify(
    job: Job, encoder: Encoder, protocol: PatientSpecific, source: ImageSource, patients: Patients
) -> str:
    """Return the digest of all that decides the features after pre-training; empty if that can't be told."""
    try:
        network = encoder_digest(encoder, state_digest(encoder))
    except Exception:  # Modules may hold anything.
        return ""
    table, labels = job.task.table, job.task.labels
    machine = [source.machine.precision, source.machine.device.type]
    shown = [source.store.key, source.size, source.seed, [int(key) for key in source.keys]]
    taught = [[int(row), table.phases[row], float(labels[row])] for row in patients.pretraining]
    chosen = [
        [model.subject, model.tested, [int(row) for row in (*model.train_rows, *model.test_rows)]]
        for model in patients.epochs
    ]
    weighed = [float(labels[row]) for model in patients.epochs for row in model.test_rows]
    pairs = job.task.pairs(job.fold, "validation")
    judged = [[int(row) for row in rows] for rows in (pairs.x, pairs.y)]
    place = [job.task.card.data, job.task.seed_name, job.fold, job.seed, ENGINE_EPOCH]
    values = protocol.pretraining_facts()
    return digest([network, values, machine, shown, taught, chosen, weighed, judged, place])


def _pretrain(job: Job, patients: Patients, context: RunContext, source: ImageSource) -> Pretrained:
    """Pre-train a network, going on from its last saved epoch if there is one.

    Raises:
        UnitError: The loss left the finite numbers.
    """
    started = time.perf_counter()
    protocol = context.protocol
    assert isinstance(protocol, PatientSpecific)
    training = _Pretraining(job, patients, context.encoder, protocol, source, context)
    saved = TrainingCheckpoint(context.checkpoint, context.key)
    train_epochs(training, protocol.epochs, saved, context.report, label=job.label, started=started)
    return training.finish(time.perf_counter() - started)


class _Pretraining:
    """A network in pre-training; arguments as for `_pretrain`.

    Attributes:
        done: Epochs that are done.
    """

    def __init__(
        self,
        job: Job,
        patients: Patients,
        encoder: Encoder,
        protocol: PatientSpecific,
        source: ImageSource,
        context: RunContext,
    ) -> None:
        self._job, self._patients, self._protocol = job, patients, protocol
        self._encoder, self._source, self._report = encoder, source, context.report
        encoder.to(source.machine.device).requires_grad_()
        width = encoder.measure(protocol.image_size)
        seed = seed_for("head", job.task.seed_name, job.fold, job.seed)
        self._contrast = MomentumContrast(
            encoder, width, protocol.projection_dim, protocol.momentum, protocol.queue, seed
        )
        self._optimizer = torch.optim.Adam(
            self._contrast.trained(), lr=protocol.learning_rate, fused=True, **OPTIMIZERS["adam"]
        )
        self._speed = Throughput()
        self._curve: list[float] = []
        self._best, self._best_epoch = self._snapshot(), 0
        self._validated = np.unique(np.concatenate([model.test_rows for model in patients.epochs]))
        self._pairs = job.task.pairs(job.fold, "validation")
        self.done, self._spent = 0, 0.0

    def _snapshot(self) -> dict[str, torch.Tensor]:
        return {name: tensor.detach().clone() for name, tensor in self._encoder.state_dict().items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state that `state` gave."""
        self._encoder.load_state_dict(state["model"])
        self._contrast.restore(state["contrast"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.done, self._spent, self._curve = state["epoch"], state["seconds"], state["curve"]
        self._best, self._best_epoch = state["best"], state["best_epoch"]
        self._speed = Throughput(state["images"], state["training_seconds"])

    def state(self, seconds: float) -> dict[str, Any]:
        """Return everything that the next epoch depends on.

        Args:
            seconds: Since this process began.
        """
        return {
            "epoch": self.done,
            "model": self._encoder.state_dict(),
            "contrast": self._contrast.state(),
            "optimizer": self._optimizer.state_dict(),
            "best": self._best,
            "best_epoch": self._best_epoch,
            "curve": self._curve,
            "seconds": self._spent + seconds,
            "images": self._speed.images,
            "training_seconds": self._speed.seconds,
        }

    def train(self, epoch: int) -> None:
        """Show each image of the patients who pre-train once, in two views.

        Raises:
            UnitError: The loss left the finite numbers.
        """
        job, rows = self._job, self._patients.pretraining
        seed = seed_for("pairs", f"{job.task.card.data}/pre-training epoch {epoch}", job.fold, job.seed)
        order = np.random.default_rng(seed).permutation(rows)
        stage, size = f"pre-training, epoch {epoch}", self._protocol.batch_size
        self._report(Event("stage", stage, fold=job.fold, seed=job.seed, epoch=epoch, total=len(order)))
        self._contrast.train()
        dropout = seed_for("dropout", f"{job.task.seed_name}/epoch {epoch}", job.fold, job.seed)
        with (
            self._speed.measure(len(order)),
            seeded(dropout, self._source.machine.device),
        ):
            for start in range(0, len(order), size):
                batch = order[start : start + size]
                # Batch normalisation needs two images at least; a lone last one waits for another epoch.
                loss = self._step(batch, epoch, start) if len(batch) > 1 else 0.0
                check_finite(loss, job.label, epoch)
                self._report(
                    Event("progress", stage, epoch=epoch, amount=len(batch), total=len(order), value=loss)
                )
        self.done = epoch

    def _step(self, batch: Rows, epoch: int, start: int) -> float:
        protocol, source, table = self._protocol, self._source, self._job.task.table
        # No two views of a run share a number.
        views = (np.int64(epoch) << 32) + 2 * np.arange(start, start + len(batch), dtype=np.int64)
        device = source.machine.device
        condition = Condition(
            torch.tensor([table.phases[row] == "post" for row in batch], device=device),
            torch.tensor(self._job.task.labels[batch], dtype=torch.float32, device=device),
        )
        bandwidth = protocol.weight_bandwidth
        loss = self._contrast.loss(
            source.augmented(batch, views),
            source.augmented(batch, views + 1),
            condition,
            None if bandwidth == "none" else bandwidth,
            protocol.temperature,
            source.machine.autocast(),
        )
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        return float(loss.detach())

    def validate(self, epoch: int) -> float:
        """Return the error of validation patients' models, and keep the network if none before was as good.

        Raises:
            UnitError: The network gives all images the same features, or none that are finite.
        """
        features = self._encode(self._validated, "validation", epoch)
        estimates = estimate_days(
            self._patients.epochs, features, self._validated, self._job.task.labels, self._job.label
        )
        error = float(pair_errors(estimates, self._pairs).min())
        check_finite(error, self._job.label, epoch)
        if error < min(self._curve, default=float("inf")):
            self._best, self._best_epoch = self._snapshot(), epoch
        self._curve.append(error)
        return error

    def _encode(self, rows: Rows, part: str, epoch: int) -> Floats:
        done = 0

        def tick(count: int) -> None:
            nonlocal done
            done += count
            self._report(Event("progress", part, epoch=epoch, done=done))

        self._encoder.eval()
        return encode(self._encoder, self._source.plain, rows, self._source.machine, tick).double().numpy()

    def finish(self, seconds: float) -> Pretrained:
        """Return the best network's features of the images of validated and tested days.

        Args:
            seconds: Since this process began to pre-train.
        """
        self._encoder.load_state_dict(self._best)
        rows = self._patients.rows
        features = self._encode(rows, "test", self._protocol.epochs).astype(np.float32)
        return Pretrained(
            rows,
            features,
            tuple(self._curve),
            self._best_epoch,
            self._spent + seconds,
            self._speed.per_second,
            seconds_before=self._spent,
        )


def estimate_days(
    models: Iterable[DayModel], features: Floats, rows: Rows, labels: Floats, label: str
) -> Floats:
    """Solve the model of each day, and estimate the images of that day.

    Args:
        models: Of distinct days.
        features: Of the images `rows`, (n, D).
        rows: Manifest rows, ascending, (n,).
        labels: Label of each image of the manifest, (number of images,).
        label: Names the unit in messages.

    Returns:
        w·f of each image under each of `STRENGTHS`, (number of images, strengths); NaN where no model tests
        an image. A pair's estimate is a difference of two.

    Raises:
        UnitError: A patient's training images have the same features, or some features aren't finite.
    """
    if not np.isfinite(features).all():
        raise UnitError(f"{label}: {NOT_FINITE}", "Check the backbone's weights.")
    estimates = np.full((len(labels), len(STRENGTHS)), np.nan)
    for model in models:
        own = np.concatenate([model.train_rows, model.test_rows])
        # In the span of the patient's own images: exact, and much smaller.
        values, _ = compress(features[np.searchsorted(rows, own)])
        count = len(model.train_rows)
        known = labels[model.train_rows][:, None]
        try:
            moments = pair_moments(values[:count], known, [PairGroup(np.arange(count, dtype=np.int64))])
            weights = solve_ridge(moments, STRENGTHS)[:, :, 0]
        except (ValueError, np.linalg.LinAlgError) as error:
            raise UnitError(
                f"{label}: no model of a patient's days can be solved: {error}",
                "The network gives that patient's faces the same features: check its weights, or pre-train"
                " less: -o learning_rate=…",
            ) from error
        estimates[model.test_rows] = values[count:] @ weights.T
    return estimates


def pair_errors(estimates: Floats, pairs: PairList) -> Floats:
    """Return the mean absolute error of each strength's estimates over the pairs that have some."""
    predicted = estimates[pairs.y] - estimates[pairs.x]
    errors = np.abs(predicted - pairs.target[:, None])
    return np.asarray(errors[~np.isnan(predicted).any(axis=1)].mean(axis=0))


def _test(job: Job, patients: Patients, pretrained: Pretrained) -> tuple[Floats, float, float]:
    """Return predictions of the test pairs, the strength that was chosen, and its validation error."""
    features, labels = pretrained.features.astype(np.float64), job.task.labels
    estimates = estimate_days(patients.strengths, features, pretrained.rows, labels, job.label)
    errors = pair_errors(estimates, job.task.pairs(job.fold, "validation"))
    # Of strengths that differ by rounding alone, the largest, so that every processor takes the same.
    best = int(np.flatnonzero(errors <= errors.min() * (1 + TIED))[-1])
    tested = estimate_days(patients.tested, features, pretrained.rows, labels, job.label)[:, best]
    pairs = job.task.pairs(job.fold, "test")
    return np.asarray(tested[pairs.y] - tested[pairs.x]), STRENGTHS[best], float(errors[best])
