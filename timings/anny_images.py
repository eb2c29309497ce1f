"""Images of anny a second, and how they grow with processes and with the length of a record.

Each record is one identity and one attribute, with a view of its own for each image, JPEG included.

Run: python timings/anny_images.py [seconds [cpu|cuda|cuda:N|auto]]
"""

from __future__ import annotations

import io
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from comface_bench.comface.synthesis.anny.person import State, draw_person, stream
from comface_bench.comface.synthesis.anny.scene import draw_view

SIDE = 128


def record(number: int, alphas: int, device: str) -> int:
    """Render and encode a record on a device; return its bytes."""
    from PIL import Image

    from comface_bench.comface.synthesis.anny.head_model import load_head
    from comface_bench.comface.synthesis.anny.renderer import render_record
    from comface_bench.comface.synthesis.anny.warp_runtime import find_device

    person = draw_person("benchmark", number)
    paths = (
        lambda alpha: (person, State(units={12: 2.5 + alpha / 2, 6: 2.5 + alpha / 2})),
        lambda alpha: (person, State(years=35.5 + 6.5 * alpha)),
        lambda alpha: (person, State(fluid=0.6 * alpha)),
    )
    values = [-5 + 10 * index / max(alphas - 1, 1) for index in range(alphas)]
    views = [draw_view(stream("benchmark", number, index)) for index in range(alphas)]
    total = 0
    for image in render_record(load_head(), paths[number % 3], values, views, SIDE, find_device(device)):
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=93)
        total += len(file.getvalue())
    return total


def work(first: int, alphas: int, seconds: float, device: str) -> tuple[int, float, float]:
    """Render records for so long; return images, seconds, and seconds of processor time."""
    import torch

    torch.set_num_threads(1)
    record(first, 2, device)
    start, used, images = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - start < seconds:
        first += 1
        record(first, alphas, device)
        images += alphas
    return images, time.perf_counter() - start, time.process_time() - used


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 30.0
    device = sys.argv[2] if len(sys.argv) > 2 else "cpu"
    os.environ["OMP_NUM_THREADS"] = "1"
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        rates = {}
        for alphas in (10, 20, 100):
            images, wall, used = pool.submit(work, 100 * alphas, alphas, seconds, device).result()
            rates[alphas] = images / wall
            print(
                f"{alphas} images a record: {images / wall:.1f} images/s, "
                f"{used / images * 1e3:.1f} ms of processor each"
            )
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        jobs = [pool.submit(work, 5000 * (1 + k), 20, seconds, device) for k in range(2)]
        both = sum(job.result()[0] / job.result()[1] for job in jobs)
    print(f"2 processes: {both:.1f} images/s, {both / rates[20]:.2f} × one")
    print(f"records of 100 against records of 10: {rates[100] / rates[10]:.2f} ×")
    print(f"100,000 images in records of 20 with 2 processes: {100_000 / both / 60:.0f} minutes")


if __name__ == "__main__":
    main()
