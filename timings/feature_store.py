"""A second run of `linear` with another learning rate against the first, which encodes.

    python timings/feature_store.py [METHOD]

Twelve units, one fold of the action units of synthfaces, at 64 pixels with 1,600 pairs an epoch; METHOD is
`comface` (ResNet-18) by default. Prints processor time, which other programs on the machine hardly change,
and time by the clock. Features are kept in a new folder.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

from comface_bench.core.events import Event
from comface_bench.core.weights import weights_folder
from comface_bench.execute.plan import Request, make_plan
from comface_bench.execute.run import run_plan

BAR = 1 / 20


def main() -> None:
    method = sys.argv[1] if len(sys.argv) > 1 else "comface"
    with tempfile.TemporaryDirectory() as folder:
        # Weights stay where they are; features and images are kept anew.
        os.environ["COMFACE_WEIGHTS"] = str(weights_folder().absolute())
        os.environ["COMFACE_CACHE"] = f"{folder}/cache"
        first, images = _run(method, "0.001", Path(folder))
        second, again = _run(method, "0.0005", Path(folder))
    print(f"first:  {first[0]:.1f} s of processor time, {first[1]:.1f} s; {images} images encoded")
    print(f"second: {second[0]:.1f} s of processor time, {second[1]:.1f} s; {again} images encoded")
    for name, one, other in zip(("processor time", "time"), first, second, strict=True):
        print(f"ratio of {name}: 1/{one / other:.1f} (bar: 1/{1 / BAR:.0f})")


def _run(method: str, rate: str, folder: Path) -> tuple[tuple[float, float], int]:
    """Return the seconds of processor and clock, and how many images were encoded."""
    images = 0

    def count(event: Event) -> None:
        nonlocal images
        if event.kind == "progress" and event.text.startswith("encoding"):
            images += event.amount

    options = {"image_size": "64", "pairs_per_epoch": "1600", "learning_rate": rate}
    request = Request([method], ["synth-au*"], "linear", options, results=folder / "results", folds=[0])
    processor, clock = time.process_time(), time.perf_counter()
    finished = run_plan(make_plan(request), request, count)
    seconds = time.process_time() - processor, time.perf_counter() - clock
    assert not finished.failed
    return seconds, images


if __name__ == "__main__":
    main()
