"""Loading a DISFA tree of full size against reading the bytes of its label files.

    python timings/disfa.py

Lays out 27 subjects with 324 label files and 130,814 frames of a few bytes, and prints how long a task
takes to load (labels, joining, and the content digest of each frame), alone and as a ratio.
"""

import random
import tempfile
import time
from pathlib import Path

from comface_bench.data.task import load_task
from comface_bench.tasks.formats.action_units import ACTION_UNITS
from comface_bench.tasks.formats.disfa import LABEL_LINES


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _lay_out(root / "DISFA")
        labels = sorted((root / "DISFA" / "ActionUnit_Labels").rglob("*.txt"))
        for _ in range(2):  # the second time all files are in memory
            bytes_only = _seconds(lambda: [path.read_bytes() for path in labels])
            loaded = _seconds(lambda: load_task("disfa-au12", data=root))
    print(f"{loaded:.1f} s to load, {loaded / bytes_only:.0f} times as long as reading all label files")


def _lay_out(root: Path) -> None:
    draw = random.Random(0)
    for subject, count in LABEL_LINES.items():
        labels, frames = root / "ActionUnit_Labels" / subject, root / "frames" / subject
        for folder in (labels, frames):
            folder.mkdir(parents=True)
        for unit in ACTION_UNITS:
            text = "".join(f"{frame},{draw.randrange(6)}\n" for frame in range(1, count + 1))
            (labels / f"{subject}_au{unit}.txt").write_text(text)
        for frame in range(1, count + 1):
            (frames / f"{frame:05d}.jpg").write_bytes(f"{subject} {frame}".encode())


def _seconds(work) -> float:  # type: ignore[no-untyped-def]
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
