"""Processor time of `run` on photographs over that of decoding them and of bare forward passes.

    python timings/photographs.py FOLDER [--method faceres-deep] [--size 224]

FOLDER holds FG-NET as `comface-bench data prepare` wants it. Both encode each photograph once, on one core:
the reference decodes, scales and runs the backbone in batches of 64, and nothing else; `run --task age
--protocol probe` is the whole command in an empty cache, its start (imports, weights) included.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

BATCH = 64


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--method", default="faceres-deep")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--bare", action="store_true", help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.bare:
        encode_bare(wanted.folder, wanted.method, wanted.size)
        return
    given = [str(wanted.folder.resolve()), "--method", wanted.method]
    bare = seconds([sys.executable, __file__, *given, "--size", str(wanted.size), "--bare"])
    run = ["run", "--data", *given, "--task", "age", "--protocol", "probe", "-o", f"image_size={wanted.size}"]
    whole = seconds([sys.executable, "-m", "comface_bench", *run])
    print(f"bare {bare:.1f} s, run {whole:.1f} s of processor time, ratio {whole / bare:.3f}")


def seconds(command: list[str]) -> float:
    """Return the processor time of a command in a folder of its own, without any cache."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "COMFACE_CACHE": f"{folder}/cache"}
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, env=environment, cwd=folder, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def encode_bare(folder: Path, method: str, size: int) -> None:
    import numpy as np
    import torch
    from PIL import Image

    import comface_bench as cb
    from comface_bench.data.image_file import read_image

    encoder = cb.load_method(method).eval()
    files = sorted((folder / "FGNET" / "images").iterdir())
    with torch.inference_mode():
        for start in range(0, len(files), BATCH):
            stored = [
                read_image(file).resize((256, 256), Image.Resampling.BILINEAR)
                for file in files[start : start + BATCH]
            ]
            images = torch.stack([torch.tensor(np.asarray(image)).permute(2, 0, 1) for image in stored])
            scaled = torch.nn.functional.interpolate(
                images.float() / 255, (size, size), mode="bilinear", antialias=True
            )
            encoder(scaled)


if __name__ == "__main__":
    main()
