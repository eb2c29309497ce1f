"""Hand-made runs: a header whose digests and keys are right, and units with their rows."""

import dataclasses
import os
import random
from types import SimpleNamespace

import pytest

from comface_bench.core.card import MethodCard, TaskCard, card_digest, facts
from comface_bench.core.digest import digest
from comface_bench.core.protocol import resolve_protocol
from comface_bench.core.unit import ENGINE_EPOCH, Unit
from comface_bench.results.predictions import Prediction, digest_rows
from comface_bench.results.schema import (
    Failure,
    FoldSubjects,
    MethodInfo,
    ProtocolInfo,
    Provenance,
    TaskInfo,
    UnitResult,
)
from comface_bench.stats.metrics import compute_metrics, no_change_baseline

METRICS = ["mae", "pearson"]
TASK = TaskCard(
    name="age",
    version=1,
    family="age",
    data="FGNET",
    read=":read",
    target="age",
    unit="years",
    label_range=(0, 100),
    metrics=("mae", "pearson"),
    splits=("folds-4",),
)
METHOD = MethodCard(
    name="scratch",
    version=1,
    build=":build",
    backbone="ResNet-18",
    options={"backbone": ("resnet18",)},
    group="Scratch",
)
PROTOCOL = dataclasses.replace(resolve_protocol("linear", "age"), epochs=3)


def header(task="age", protocol="linear", method="scratch", folds=4, aggregate="pooled", values=None):
    task_card = dataclasses.replace(TASK, name=task, aggregate=aggregate)
    method_card = dataclasses.replace(METHOD, name=method)
    values = values or {**PROTOCOL.facts(), "name": protocol, "engine_epoch": ENGINE_EPOCH}
    return (
        TaskInfo(
            name=task,
            card=facts(task_card),
            card_digest=card_digest(task_card),
            data="FGNET",
            target="age",
            unit="years",
            metrics=METRICS,
            aggregate=aggregate,
            manifest_digest=digest("manifest"),
            split="folds-4",
            split_digest=digest("split"),
            folds=folds,
            fold_subjects=[
                FoldSubjects.of([1000, 1001], [1002], [10 * fold + i for i in range(3)])
                for fold in range(folds)
            ],
        ),
        MethodInfo(
            name=method,
            card=facts(method_card),
            card_digest=card_digest(method_card),
            options={"backbone": "resnet18"},
            checkpoint_digest=None,
            feature_dim=512,
            parameters=11_176_512,
        ),
        ProtocolInfo(name=protocol, values=values, digest=digest(values)),
        Provenance(kind="ours", created="2026-01-02", tool_version="0.1.0", command="comface-bench run"),
        {"versions": {"python": "3.11"}},
    )


def key_of(fold, seed):
    """The key that the engine gives a unit of the plain header."""
    return Unit(
        task=TASK,
        task_options={"split": "folds-4"},
        method=METHOD,
        method_options={"backbone": "resnet18"},
        protocol=PROTOCOL,
        manifest_digest=digest("manifest"),
        split_digest=digest("split"),
        fold=fold,
        seed=seed,
    ).key()


def rows_of(fold, seed, n=6, shift=0.0):
    """The rows of a unit: ŷ depends on the seed, pairs and y don't."""
    truth, estimate = random.Random(fold), random.Random(1000 * seed + fold)
    return [
        Prediction(
            f"{10 * fold + i % 3}-{i}-{i + 1}",
            10 * fold + i % 3,
            fold,
            seed,
            truth.gauss(0, 3),
            estimate.gauss(0, 3) + shift,
        )
        for i in range(n)
    ]


def unit_of(fold, seed, rows, key=None):
    y, yhat = [row.y for row in rows], [row.yhat for row in rows]
    return UnitResult(
        fold=fold,
        seed=seed,
        key=key or key_of(fold, seed),
        metrics=compute_metrics(y, yhat, METRICS),
        constant=no_change_baseline(y, METRICS),
        n_pairs=len(rows),
        n_subjects=len({row.subject for row in rows}),
        best_epoch=3,
        validation_curve=[2.5, 2.25, 2.0],
        seconds=1.5,
        peak_memory_mb=None,
        details={"precision": "fp32", "converged": True},
        predictions_digest=digest_rows(rows),
    )


def run(fold, seed=0, shift=0.0):
    rows = rows_of(fold, seed, shift=shift)
    return unit_of(fold, seed, rows), rows


def failure(fold, seed=0):
    return Failure(
        fold=fold, seed=seed, key=key_of(fold, seed), error="UnitError", message="loss isn't finite", hint=""
    )


@pytest.fixture(scope="module", autouse=True)
def without_fsync():
    """Nothing need reach the disk, as no test takes the power away; calls are still made and counted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture(scope="session")
def made():
    return SimpleNamespace(
        header=header,
        rows=rows_of,
        unit=unit_of,
        run=run,
        failure=failure,
        metrics=METRICS,
        task=TASK,
        method=METHOD,
        protocol=PROTOCOL,
    )
