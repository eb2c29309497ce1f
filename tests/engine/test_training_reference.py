"""`linear` and `finetune` against the obvious program, and that program against planted faults.

The reference lists evaluation pairs by hand, encodes every image of every pair anew, takes optimisers and
schedules from torch as they come, and keeps what each epoch would have answered.
"""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from comface_bench.core.card import TABLE_D, Augmentation, Preprocess
from comface_bench.core.events import ignore
from comface_bench.core.protocol import resolve_protocol
from comface_bench.core.unit import seed_for
from comface_bench.data.pairs import PairList
from comface_bench.data.task import Task, load_task
from comface_bench.engine import finetune, linear
from comface_bench.engine.encoder import Encoder, ImageSource
from comface_bench.engine.feature_store import FeatureStore
from comface_bench.engine.heads import draw_head
from comface_bench.engine.jobs import Job, Outcome
from comface_bench.engine.protocols.training import Training

SIZE = 16
OWN_HEAD = torch.linspace(-1, 1, 4)


class SmallNet(nn.Module):
    """One convolution with batch norm, 4 features."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            self.layers = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU())

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.layers(images).mean((2, 3))
        return features


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Patients of two or three days: the heavier, the brighter, and the more so the later the day."""
    root = tmp_path_factory.mktemp("data")
    (root / "Edema-A" / "images").mkdir(parents=True)
    random, rows = np.random.default_rng(5), ["image,patient,day,phase,weight_kg"]
    for patient in range(9):
        for day in range(2 + patient % 2):
            for phase in ("pre", "post"):
                weight = 60 + patient + 1.5 * day + (2.0 if phase == "pre" else 0.0)
                level = 25 * (weight - 60 - patient) + 10 * patient
                pixels = np.clip(random.normal(level, 25, (SIZE, SIZE, 3)), 0, 255).astype(np.uint8)
                name = f"images/P{patient}_{day}_{phase}.png"
                Image.fromarray(pixels).save(root / "Edema-A" / name)
                rows.append(f"{name},P{patient},{day},{phase},{weight}")
    (root / "Edema-A" / "manifest.csv").write_text("\n".join(rows) + "\n")
    return root


@pytest.fixture
def task(root: Path) -> Task:
    return load_task("edema-a", root)


@pytest.fixture
def augmentation() -> Augmentation:
    return TABLE_D


def make_encoder() -> Encoder:
    encoder = Encoder("small", SmallNet(), Preprocess())
    encoder.head_weight = OWN_HEAD
    return encoder


def make_protocol(name: str, **overrides: object) -> Training:
    values = {"image_size": SIZE, "epochs": 6, "batch_size": 5, "learning_rate": 0.3, **overrides}
    texts = {key: str(value) for key, value in values.items()}
    protocol = resolve_protocol(name, "weight", texts, pretrained_head=True)
    assert isinstance(protocol, Training)
    return protocol


@dataclass
class Reference:
    """What the obvious program found: validation loss, and answers to the test pairs, after each epoch."""

    curve: list[float]
    answers: list[np.ndarray]


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": lambda weights, rate: torch.optim.Adam(weights, rate),
    "adamw": lambda weights, rate: torch.optim.AdamW(weights, rate),
    "sgd": lambda weights, rate: torch.optim.SGD(weights, rate, momentum=0.9),
}


def train_plainly(task: Task, fold: int, protocol: Training, source: ImageSource) -> Reference:
    encoder, frozen = make_encoder(), protocol.trains == "head"
    layer = nn.Linear(4, 1, bias=False)
    with torch.no_grad():
        drawn = draw_head("difference", 4, seed_for("head", "edema-a", fold, 0))
        layer.weight.copy_((OWN_HEAD if protocol.head_start == "pretrained" else drawn)[None])
    weights = [*layer.parameters()] if frozen else [*encoder.parameters(), *layer.parameters()]
    optimizer = OPTIMIZERS[protocol.optimizer](weights, protocol.learning_rate)
    schedule = {
        "none": lambda: torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0),
        "cosine": lambda: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, protocol.epochs),
        "halved": lambda: torch.optim.lr_scheduler.MultiStepLR(
            optimizer, [math.ceil(protocol.epochs / 2)], 0.5
        ),
    }[protocol.schedule]()
    length = protocol.pairs_per_epoch
    if length == "auto":
        length = round(0.5 * sum(person in task.folds[fold].train for person in task.table.subjects))

    found, seen = Reference([], []), set()
    for epoch in range(1, protocol.epochs + 1):
        encoder.train(not frozen)
        pairs = task.draw(fold, 0, epoch, length)
        seen |= check_drawn(task, fold, pairs)
        for start in range(0, length, protocol.batch_size):
            batch = slice(start, min(start + protocol.batch_size, length))
            places = np.arange(batch.start, batch.stop)
            views = (epoch << 32) + 2 * places if protocol.views == "pair" else np.full(len(places), epoch)
            images = [
                source.augmented(pairs.x[batch], views),
                source.augmented(pairs.y[batch], views + (protocol.views == "pair")),
            ]
            with torch.set_grad_enabled(not frozen):
                first, second = encoder(torch.cat(images)).chunk(2)
            loss = (layer(second - first)[:, 0] - torch.from_numpy(pairs.target[batch]).float()).abs().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
        encoder.eval()
        with torch.no_grad():
            predicted, target = answer(encoder, layer, source, listed(task, fold, "validation"))
            found.curve.append(float(np.abs(predicted - target).mean()))
            found.answers.append(answer(encoder, layer, source, listed(task, fold, "test"))[0])
    assert seen == {("pre", "pre"), ("pre", "post"), ("post", "pre"), ("post", "post")}
    return found


def answer(
    encoder: Encoder, layer: nn.Linear, source: ImageSource, pairs: PairList
) -> tuple[np.ndarray, np.ndarray]:
    change = encoder(source.plain(pairs.y)) - encoder(source.plain(pairs.x))
    return layer(change)[:, 0].double().numpy(), pairs.target


def check_drawn(task: Task, fold: int, pairs: PairList) -> set[tuple[str, str]]:
    """Check that pairs are of one person of the training part; return the phases that they join."""
    table = task.table
    for x, y, target in zip(pairs.x, pairs.y, pairs.target, strict=True):
        assert table.subjects[x] == table.subjects[y]
        assert table.subjects[x] in task.folds[fold].train
        assert target == task.labels[y] - task.labels[x]
        assert x != y
    return {(table.phases[x], table.phases[y]) for x, y in zip(pairs.x, pairs.y, strict=True)}


def listed(task: Task, fold: int, part: str) -> PairList:
    """Return the product's list of evaluation pairs, if it is the one made by hand."""
    people = getattr(task.folds[fold], part)
    table = task.table
    by_hand = {
        frozenset({pre, post})
        for pre in range(len(table))
        for post in range(len(table))
        if table.subjects[pre] == table.subjects[post]
        and table.subjects[pre] in people
        and (table.phases[pre], table.phases[post]) == ("pre", "post")
    }
    pairs = task.pairs(fold, part)  # type: ignore[arg-type]
    assert {frozenset(pair) for pair in zip(pairs.x.tolist(), pairs.y.tolist(), strict=True)} == by_hand
    assert len(pairs) == len(by_hand)
    return pairs


def train(task: Task, folds: list[int], protocol: Training, source: ImageSource, file: Path) -> list[Outcome]:
    jobs = [Job(task, fold, 0, f"fold {fold}") for fold in folds]
    if protocol.trains == "head":
        found = linear.run_linear(jobs, FeatureStore(make_encoder(), source), protocol, ignore)
    else:
        found = [
            finetune.run_finetune(job, make_encoder(), protocol, source, ignore, file, f"{job.fold}")
            for job in jobs
        ]
    assert all(isinstance(outcome, Outcome) for outcome in found)
    return found  # type: ignore[return-value]


def compare(task: Task, folds: list[int], protocol: Training, source: ImageSource, file: Path) -> list[int]:
    """Check that the engine finds what the obvious program finds; return the best epochs."""
    best = []
    for fold, outcome in zip(folds, train(task, folds, protocol, source, file), strict=True):
        reference = train_plainly(task, fold, protocol, source)
        assert outcome.validation_curve == pytest.approx(reference.curve, rel=1e-3)
        assert outcome.best_epoch == 1 + int(np.argmin(reference.curve))
        assert np.allclose(
            outcome.predictions, reference.answers[outcome.best_epoch - 1], rtol=2e-3, atol=2e-3
        )
        best.append(outcome.best_epoch)
    return best


RATES = {"linear": 0.12, "finetune": 0.03}
FOLDS = {"linear": [1, 2, 3], "finetune": [2, 3]}
"""Each of them has its best epoch between the first and the last."""


@pytest.fixture
def agree(task: Task, source: ImageSource, tmp_path: Path) -> Callable[..., list[int]]:
    def check(name: str, folds: list[int] | None = None, **overrides: object) -> list[int]:
        protocol = make_protocol(name, **{"learning_rate": RATES[name], **overrides})
        return compare(task, folds or FOLDS[name], protocol, source, tmp_path / "states" / "unit.pt")

    return check


@pytest.mark.parametrize("name", ["linear", "finetune"])
def test_the_best_epoch_is_tested_where_it_is_neither_first_nor_last(
    name: str, agree: Callable[..., list[int]]
) -> None:
    # Folds have different numbers of training images, so epochs of different lengths.
    assert all(1 < epoch < 6 for epoch in agree(name))


@pytest.mark.parametrize("name", ["linear", "finetune"])
@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "adamw", "schedule": "cosine"},
        {"optimizer": "sgd", "schedule": "halved", "learning_rate": 0.02},
        {"schedule": "halved", "epochs": 5},
        {"head_start": "scratch", "pairs_per_epoch": 7},
        {"head_start": "pretrained"},
    ],
    ids=lambda settings: "+".join(settings),
)
def test_settings_mean_what_torch_means_by_them(
    name: str, settings: dict[str, object], agree: Callable[..., list[int]]
) -> None:
    agree(name, [3], **settings)


def plant(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plant a fault in the engine or in the data that it trains and tests on."""
    if name == "optimizer":
        build = Training.build_optimizer
        monkeypatch.setattr(
            Training, "build_optimizer", lambda own, w: build(dataclasses.replace(own, optimizer="sgd"), w)
        )
    elif name == "schedule":
        monkeypatch.setattr(Training, "rate", lambda own, epoch: own.learning_rate)
    elif name == "head start":
        for engine in (linear, finetune):
            monkeypatch.setattr(engine, "start_head", lambda kind, start, own, *rest: draw_head(kind, *rest))
    elif name == "rule of training pairs":
        draw = Task.draw

        def draw_treatments(own: Task, *place: int) -> PairList:
            card = dataclasses.replace(own.card, train_pairs=own.card.test_pairs)
            return draw(dataclasses.replace(own, card=card), *place)

        monkeypatch.setattr(Task, "draw", draw_treatments)
    elif name == "rule of evaluation pairs":
        list_pairs = Task._list_pairs

        def list_all(own: Task, *place: Any) -> PairList:
            card = dataclasses.replace(own.card, test_pairs="all")
            return list_pairs(dataclasses.replace(own, card=card), *place)

        monkeypatch.setattr(Task, "_list_pairs", list_all)
    elif name == "training part":

        def draw_tested(own: Task, fold: int, seed: int, epoch: int, count: int) -> PairList:
            return own.sampler.draw(own.folds[fold].test, own.card.train_pairs, count, epoch)

        monkeypatch.setattr(Task, "draw", draw_tested)
    elif name == "validation part":
        pairs = Task.pairs
        monkeypatch.setattr(Task, "pairs", lambda own, fold, part="test": pairs(own, fold, "test"))
    else:
        # An epoch is kept if its loss is below `min` of those before.
        best_before = {"last epoch": math.inf, "first epoch": -math.inf}[name]

        def lowest(*values: Any, **default: float) -> Any:
            return (best_before if values[0] else math.inf) if default else min(*values)

        for engine in (linear, finetune):
            monkeypatch.setattr(engine, "min", lowest, raising=False)


FAULTS = {
    "optimizer": {},
    "schedule": {"schedule": "cosine"},
    "head start": {"head_start": "pretrained"},
    "rule of training pairs": {},
    "rule of evaluation pairs": {},
    "training part": {},
    "validation part": {},
    "last epoch": {},
    "first epoch": {},
}


@pytest.mark.parametrize("name", ["linear", "finetune"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_seen(
    name: str, fault: str, agree: Callable[..., list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(fault, monkeypatch)
    with pytest.raises(AssertionError):
        agree(name, [3], **FAULTS[fault])
