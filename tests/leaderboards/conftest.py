"""Hand-made results: records of several methods, complete or not, on several tasks."""

import random
from types import SimpleNamespace

import pytest

from comface_bench.core.digest import digest
from comface_bench.core.names import parse_name
from comface_bench.leaderboards.pages import read_document
from comface_bench.results.predictions import Prediction, digest_rows, unit_text
from comface_bench.results.record import Content, Header
from comface_bench.results.schema import (
    Failure,
    MethodInfo,
    ProtocolInfo,
    Provenance,
    TaskInfo,
    UnitResult,
)
from comface_bench.results.store import RecordFiles, ResultStore
from comface_bench.stats.metrics import compute_metrics, no_change_baseline

METRICS = ["mae", "pearson", "acc"]
ABOUT = {
    "scratch": {"licence": "none needed"},
    "imagenet": {
        "licence": "Apache-2.0 (timm's code); none stated for the weights",
        "training_scale": "1.28M",
    },
    "farl": {"licence": "MIT (code); none stated for the file", "training_scale": "20M"},
    "comface": {
        "licence": "Apache-2.0 (this project's implementation and weights)",
        "training_scale": "112k (paper: 35M)",
    },
}
"""Prose that records of these methods hold."""
BACKBONES = {"comface": "ResNet-18 (paper: ResNet-50)", "farl": "ViT-B/16 (CLIP's)", "timm/vit": "vit"}


WAYS = ("found", "second_pass", "fixed_box")


def add(
    results,
    task="age",
    protocol="finetune",
    method="scratch",
    *,
    group="Scratch",
    noise=1.0,
    folds=(0, 1),
    failed=(),
    constant=False,
    facts=None,
    split="folds-2",
    trained_on=(),
    kind="ours",
    speed=None,
    faces=(),
    best_epochs=None,
    head_start=None,
    card=None,
    values=None,
    draw=5,
):
    """Store a record whose error grows with `noise`; `facts` replaces fields of the task.

    `card` adds facts to the method's, `values` to the protocol's; errors are drawn by `draw`. `speed` is what
    its units measured, in images per second; `best_epochs` are each fold's, of three; `faces` are how many
    were found, by the second pass, and by a fixed box.
    """
    name, options = parse_name(method)
    rng, errors = random.Random(5), random.Random(draw)
    units = {}
    for fold in range(2):
        drawn = [(rng.gauss(0, 9), rng.gauss(0, 1)) for _ in range(8)]
        if draw != 5:
            drawn = [(y, errors.gauss(0, 1)) for y, _ in drawn]
        units[fold, 0] = [
            Prediction(f"{fold}-{i}", 2 * fold + i // 4, fold, 0, y, 0.5 if constant else y + noise * e)
            for i, (y, e) in enumerate(drawn)
        ]
    return store(
        results,
        {"name": task, "split": split, "split_digest": digest(split), "metrics": METRICS} | (facts or {}),
        {
            "name": method,
            "card": {
                "group": group,
                "trained_on": trained_on,
                "backbone": BACKBONES.get(name, "ResNet-50"),
            }
            | (card or {}),
            "options": {"backbone": "resnet18"} | options if name == "comface" else options,
            "about": ABOUT.get(name, {}),
        },
        protocol,
        {place: rows for place, rows in units.items() if place[0] in folds},
        failed=failed,
        kind=kind,
        speed=speed,
        best_epochs=best_epochs,
        head_start=head_start,
        faces=faces,
        values=values,
    )


def store(
    results,
    task,
    method,
    protocol,
    units,
    *,
    failed=(),
    kind="ours",
    speed=None,
    faces=(),
    best_epochs=None,
    head_start=None,
    values=None,
):
    """Write a record of two folds and its predictions, without the care for crashes of the store itself.

    `task` and `method` replace facts; `units` are predictions by fold and seed, `failed` are folds.
    """
    name = task.get("name", "age")
    about = {
        "name": name,
        "card": {},
        "card_digest": digest(name),
        "data": "fgnet",
        "target": "age",
        "unit": "years",
        "metrics": METRICS,
        "aggregate": "pooled",
        "manifest_digest": digest("manifest"),
        "split": "folds-2",
        "split_digest": digest("folds-2"),
        "folds": 2,
    }
    backbone = {
        "card_digest": digest(method["name"]),
        "options": {},
        "checkpoint_digest": None,
        "feature_dim": 8,
        "parameters": 10,
    }
    header = Header(
        TaskInfo(**about | task),
        MethodInfo(**backbone | method),
        ProtocolInfo(
            name=protocol,
            values=({"head_start": head_start} if head_start else {}) | (values or {}),
            digest=digest(protocol),
        ),
        Provenance(kind=kind, created="2026-01-02", tool_version="0.1.0", command=None),
        {},
    )
    content = Content(header)
    for (fold, seed), rows in units.items():
        details = {} if speed is None else {"images_per_second": speed * (1 + fold)}
        details |= {f"faces_{way}": count for way, count in zip(WAYS, faces, strict=False)}
        best = 2 if best_epochs is None else best_epochs[fold]
        content.add(unit_of(fold, seed, rows, header.task.metrics, details, best), unit_text(rows))
    for fold in failed:
        content.fail(Failure(fold=fold, seed=0, key="k", error="UnitError", message="m", hint=""))
    path = ResultStore(results).record_path(header.task.name, protocol, header.method.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    predictions, record = content.files()
    RecordFiles(path).predictions.write_bytes(predictions)
    path.write_bytes(record)
    return content.record()


def unit_of(fold, seed, rows, metrics, details, best_epoch=2):
    y, yhat = [row.y for row in rows], [row.yhat for row in rows]
    return UnitResult(
        fold=fold,
        seed=seed,
        key="k",
        metrics=compute_metrics(y, yhat, metrics),
        constant=no_change_baseline(y, metrics),
        n_pairs=len(rows),
        n_subjects=len({row.subject for row in rows}),
        best_epoch=best_epoch,
        # A protocol without epochs has no curve, and 0 for the best one.
        validation_curve=[1.0 if epoch == best_epoch else 2.0 for epoch in (1, 2, 3)] if best_epoch else [],
        seconds=1.0,
        peak_memory_mb=None,
        details=details,
        predictions_digest=digest_rows(rows),
    )


def fill(results):
    facial = "Facial Representation Learning"
    add(results, method="comface", group=facial, noise=0.5)
    add(results, method="farl", group=facial, noise=1.0)
    add(results, method="imagenet", group="General Pre-training", noise=2.0)
    add(results, method="scratch+backbone=resnet18", noise=8.0)
    add(results, method="timm/vit", group="Other", noise=0.1, folds=(0,), failed=(1,))
    add(results, "synth-age", "quick", method="scratch", noise=3.0)
    add(results, "synth-age", "quick", method="timm/vit", group="Other", constant=True)
    add(results, "disfa-au12", "quick", method="scratch", noise=3.0)


def fill_golden(results):
    """The results of the committed pages: those of `fill`, a submission and a family with a ranking."""
    fill(results)
    people = {"card": {"overlaps": ["DISFA"]}, "unit": "intensity", "target": "au"}
    add(results, "disfa-au6", "quick", method="scratch", noise=6.0)
    for task in ("disfa-au6", "disfa-au12"):
        more = {"kind": "submitted", "trained_on": ["DISFA", "Others"], "speed": 240.0, "facts": people}
        add(results, task, "quick", method="timm/vit", group="Other", noise=1.0, **more)


@pytest.fixture
def results(tmp_path):
    return tmp_path / "results"


@pytest.fixture(scope="session")
def made():
    return SimpleNamespace(add=add, store=store, fill=fill, fill_golden=fill_golden)


@pytest.fixture(scope="session")
def filled(tmp_path_factory):
    """Results that no test may change."""
    folder = tmp_path_factory.mktemp("filled") / "results"
    fill(folder)
    return folder


@pytest.fixture(scope="session")
def document(filled):
    """The document of `filled`."""
    return read_document(filled)


@pytest.fixture(scope="session")
def golden_results(tmp_path_factory):
    """The results of the committed pages, which no test may change."""
    folder = tmp_path_factory.mktemp("golden") / "results"
    fill_golden(folder)
    return folder


@pytest.fixture(scope="session")
def golden(golden_results):
    """The document of the committed pages."""
    return read_document(golden_results)
