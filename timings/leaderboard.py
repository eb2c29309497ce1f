"""Build of the pages of 5,000 records: seconds and memory, against only reading the files.

14 tasks × 357 methods, each 4 folds of 5 subjects with 3 pairs. Processor seconds are given too, as other
programs on the same cores lengthen the others. Run: python timings/leaderboard.py
"""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from comface_bench.core.digest import digest
from comface_bench.leaderboards.pages import build, read_document
from comface_bench.results.predictions import Prediction, digest_text, unit_text
from comface_bench.results.record import Content, Header
from comface_bench.results.schema import MethodInfo, ProtocolInfo, Provenance, TaskInfo, UnitResult
from comface_bench.results.store import RecordFiles, ResultStore
from comface_bench.stats.metrics import compute_metrics, no_change_baseline

TASKS, METHODS, FOLDS, SUBJECTS, PAIRS = 14, 357, 4, 5, 3
METRICS = ["mae", "pearson", "acc", "rmse", "spearman", "ccc", "icc31"]


def write_records(root: Path) -> int:
    store, rng = ResultStore(root), np.random.default_rng(0)
    for task in range(TASKS):
        truth = rng.normal(0, 5, (FOLDS, SUBJECTS, PAIRS))
        for method in range(METHODS):
            content = Content(header(f"task-{task}", f"method-{method}"))
            for fold in range(FOLDS):
                noise = rng.normal(0, 1 + method / METHODS, (SUBJECTS, PAIRS))
                rows = [
                    Prediction(
                        f"{s}-{p}",
                        SUBJECTS * fold + s,
                        fold,
                        0,
                        truth[fold, s, p],
                        truth[fold, s, p] + noise[s, p],
                    )
                    for s in range(SUBJECTS)
                    for p in range(PAIRS)
                ]
                text = unit_text(rows)
                content.add(unit(fold, rows, text), text)
            path = store.record_path(f"task-{task}", "quick", f"method-{method}")
            path.parent.mkdir(parents=True, exist_ok=True)
            predictions, record = content.files()
            RecordFiles(path).predictions.write_bytes(predictions)
            path.write_bytes(record)
    return TASKS * METHODS


def header(task: str, method: str) -> Header:
    return Header(
        TaskInfo(
            name=task,
            card={},
            card_digest=digest(task),
            data="data",
            target="y",
            unit="kg",
            metrics=METRICS,
            aggregate="pooled",
            manifest_digest=digest(task),
            split="folds",
            split_digest=digest(task),
            folds=FOLDS,
        ),
        MethodInfo(
            name=method,
            card={"group": "Other"},
            card_digest=digest(method),
            options={},
            checkpoint_digest=None,
            feature_dim=8,
            parameters=10,
        ),
        ProtocolInfo(name="quick", values={}, digest=digest({})),
        Provenance(kind="ours", created="2026-01-02", tool_version="0", command=None),
        {},
    )


def unit(fold: int, rows: list[Prediction], text: str) -> UnitResult:
    y, yhat = [row.y for row in rows], [row.yhat for row in rows]
    return UnitResult(
        fold=fold,
        seed=0,
        key="k",
        metrics=compute_metrics(y, yhat, METRICS),
        constant=no_change_baseline(y, METRICS),
        n_pairs=len(rows),
        n_subjects=SUBJECTS,
        best_epoch=1,
        validation_curve=[1.0],
        seconds=1.0,
        peak_memory_mb=None,
        predictions_digest=digest_text(text),
    )


def measure(what: str, work: Callable[[], object]) -> tuple[float, float]:
    """Run and print wall-clock and processor seconds, those of ended processes included."""
    wall, spent = time.perf_counter(), processor_seconds()
    work()
    found = time.perf_counter() - wall, processor_seconds() - spent
    print(f"{what:28} {found[0]:6.1f} s   processor {found[1]:6.1f} s")
    return found


def processor_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def read(root: Path) -> None:
    store = ResultStore(root)
    for path in store.paths():
        store.load_columns(store.load_at(path))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "results"
        print(f"{write_records(root)} records")
        reading = measure("reading", lambda: read(root))
        composing = measure("reading and statistics", lambda: read_document(root))
        building = measure(
            "build, Markdown, CSV, JSON", lambda: build(root, Path(folder) / "pages", html=False)
        )
        own, child = (
            resource.getrusage(who).ru_maxrss / 1024
            for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        )
        print(f"peak memory {own:.0f} MB, and {child:.0f} MB in each further process")
        print(f"statistics: {composing[1] / reading[1]:.1f} times the processor's work of reading")
        print(f"build: {building[1] / reading[1]:.1f} times")


if __name__ == "__main__":
    main()
