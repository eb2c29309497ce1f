"""Linear evaluation with shared features against one run per unit, in one process.

    python timings/linear.py

Both ways give the same predictions (tests/engine/test_linear.py); this prints how much faster the shared
one is for the 12 action units of synthfaces, 3 folds each, with a small untrained backbone.
"""

import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from comface_bench.core.card import AUGMENTATIONS
from comface_bench.core.events import ignore
from comface_bench.core.protocol import resolve_protocol
from comface_bench.core.registry import task_registry
from comface_bench.data.augment import image_key
from comface_bench.data.image_store import open_image_store
from comface_bench.data.task import load_task
from comface_bench.engine.encoder import ImageSource, load_method
from comface_bench.engine.feature_store import FeatureStore
from comface_bench.engine.jobs import Job
from comface_bench.engine.linear import run_linear
from comface_bench.engine.precision import choose_machine


def main() -> None:
    names = [name for name in task_registry(plugins=False).names() if name.startswith("synth-au")]
    tasks = [load_task(name) for name in names]
    protocol = resolve_protocol("linear", "expression", {"image_size": "32", "epochs": "2"})
    encoder = load_method("scratch+backbone=resnet18")
    table = tasks[0].table
    with tempfile.TemporaryDirectory() as cache:
        store = open_image_store(table, 37, cache=Path(cache))
        keys = np.array([image_key(name) for name in store.names], dtype=np.uint64)
        augmentation = AUGMENTATIONS[protocol.augmentation]
        source = ImageSource(store, keys, 32, augmentation, 1, choose_machine("cpu", "float32"))
        jobs = [Job(task, fold, 0, "") for task in tasks for fold in range(len(task.folds))]
        run_linear(jobs[:1], FeatureStore(encoder, source), protocol, ignore)  # warm up
        together = _seconds(lambda: run_linear(jobs, FeatureStore(encoder, source), protocol, ignore))
        some = jobs[:: len(jobs) // 4]
        alone = _seconds(
            lambda: [run_linear([job], FeatureStore(encoder, source), protocol, ignore) for job in some]
        )
    ratio = alone / len(some) * len(jobs) / together
    print(f"{len(jobs)} units: shared features are {ratio:.1f} times as fast as one run per unit")


def _seconds(work) -> float:  # type: ignore[no-untyped-def]
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
