"""Hand-made runs: a header, and units with their rows."""

import random
from types import SimpleNamespace

import pytest

from comface_bench.core.digest import digest
from comface_bench.results.predictions import Row, digest_rows
from comface_bench.results.schema import (
    Failure,
    MethodInfo,
    ProtocolInfo,
    Provenance,
    TaskInfo,
    UnitResult,
)
from comface_bench.stats.metrics import compute_metrics, constant_answer

METRICS = ["mae", "pearson"]


def header(task="age", protocol="linear", method="scratch", folds=4, aggregate="pooled", values=None):
    values = values or {"epochs": 20, "lr": 1e-5}
    card = {"title": task}
    return (
        TaskInfo(
            name=task,
            card=card,
            card_digest=digest(card),
            data="fgnet",
            target="age",
            unit="years",
            metrics=METRICS,
            aggregate=aggregate,
            manifest_digest=digest("manifest"),
            split="folds-4",
            split_digest=digest("split"),
            folds=folds,
        ),
        MethodInfo(
            name=method,
            card={"group": "scratch"},
            card_digest=digest(method),
            options={"backbone": "resnet18"},
            checkpoint_digest=None,
            feature_dim=512,
            parameters=11_176_512,
        ),
        ProtocolInfo(name=protocol, values=values, digest=digest(values)),
        Provenance(kind="ours", created="2026-01-02", tool_version="0.1.0", command="comface-bench run"),
        {"versions": {"python": "3.11"}},
    )


def rows_of(fold, seed, n=6, shift=0.0):
    rng = random.Random(1000 * seed + fold)
    return [
        Row(f"{fold}-{i}", 10 * fold + i % 3, fold, seed, rng.gauss(0, 3), rng.gauss(0, 3) + shift)
        for i in range(n)
    ]


def unit_of(fold, seed, rows, key=None):
    y, yhat = [row.y for row in rows], [row.yhat for row in rows]
    return UnitResult(
        fold=fold,
        seed=seed,
        key=key or digest([fold, seed]),
        metrics=compute_metrics(y, yhat, METRICS),
        constant=constant_answer(y, METRICS),
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
    return Failure(fold=fold, seed=seed, key="k", error="UnitError", message="loss isn't finite", hint="")


@pytest.fixture(scope="session")
def made():
    return SimpleNamespace(
        header=header, rows=rows_of, unit=unit_of, run=run, failure=failure, metrics=METRICS
    )
