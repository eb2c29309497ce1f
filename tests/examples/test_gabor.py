"""The example plugin, installed as a user would, under the product's own contract and against formulas."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from comface_bench.core.registry import method_registry
from comface_bench.engine.encoder import load_method

SOURCE = Path(__file__).parents[2] / "examples" / "gabor"
PLUGIN = SOURCE / "comface_gabor.py"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the plugin, built from a copy so that nothing is left beside its source."""
    copy = tmp_path_factory.mktemp("copy")
    for name in ("pyproject.toml", "comface_gabor.py"):
        (copy / name).write_bytes((SOURCE / name).read_bytes())
    target = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--no-index", "--target", str(target), str(copy)], check=True)
    return target


def bench(installed: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(installed), *sys.path])}
    command = [sys.executable, "-m", "comface_bench", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_plugin_is_one_file_of_at_most_seventy_lines() -> None:
    assert len(PLUGIN.read_text().splitlines()) <= 70


def test_an_installed_plugin_is_listed_with_its_origin_and_keeps_the_contract(installed: Path) -> None:
    listed = json.loads(bench(installed, "list", "methods", "--json"))
    assert "comface-bench-gabor" in json.dumps(listed)
    assert "24 Gabor filters" in bench(installed, "show", "gabor")
    bench(installed, "test", "method", "gabor")


def test_an_installed_plugin_runs(installed: Path, tmp_path: Path) -> None:
    quick = ["--protocol", "linear", "-o", "image_size=32", "-o", "epochs=1", "-o", "pairs_per_epoch=16"]
    arguments = ["--method", "gabor+pool=mean", "--task", "synth-age", "--folds", "0", "--device", "cpu"]
    bench(installed, "run", *arguments, *quick, "--results", str(tmp_path / "results"))
    (path,) = tmp_path.rglob("gabor+pool=mean.json")
    assert json.loads(path.read_text())["method"]["feature_dim"] == 384


@pytest.mark.parametrize("pool", ["spread", "mean"])
def test_energies_are_those_of_the_formula(pool: str) -> None:
    """One field of one filter, by a loop in float64."""
    images = torch.rand((1, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = load_method("gabor", registry=method_registry([PLUGIN], plugins=False), pool=pool)(images)[0]
    length, direction, number = 8.0, math.pi * 2 / 6, 2 * 6 + 2
    half, grey = 8, np.pad((2 * images[0].double().numpy() - 1).mean(0), 8)
    places = [(dy, dx) for dy in range(-half, half + 1) for dx in range(-half, half + 1)]
    window = {(dy, dx): math.exp(-(dx**2 + dy**2) / (2 * (0.56 * length) ** 2)) for dy, dx in places}
    total = sum(window.values())
    waves = {
        p: 2 * math.pi * (p[1] * math.cos(direction) + p[0] * math.sin(direction)) / length for p in places
    }
    bias = sum(window[p] * math.cos(waves[p]) for p in places) / total
    energies = []
    for row in range(8, 16):  # The second field from above, the third from the left.
        for column in range(16, 24):
            patch = {(dy, dx): grey[row + half + dy, column + half + dx] for dy, dx in places}
            even = sum(window[p] * (math.cos(waves[p]) - bias) * patch[p] for p in places) / total
            odd = sum(window[p] * math.sin(waves[p]) * patch[p] for p in places) / total
            energies.append(math.hypot(even, odd))
    expected = np.mean(energies) if pool == "mean" else np.std(energies)
    assert float(found[number * 16 + 1 * 4 + 2]) == pytest.approx(expected, rel=1e-3)


def test_an_even_picture_has_no_energy_inside() -> None:
    """Filters answer to change alone; at the borders, where zeros are filled in, there is some."""
    picture = torch.full((1, 3, 96, 96), 0.8, requires_grad=True)
    energy = load_method("gabor", registry=method_registry([PLUGIN], plugins=False), pool="mean")(
        picture
    ).unflatten(1, (24, 4, 4))
    assert energy[0, :, 1:3, 1:3].max() < 2e-3
    energy.sum().backward()
    assert picture.grad is not None
    assert bool(picture.grad.isfinite().all())
