"""A data root, a plugin of tiny methods, and ways to call the command line."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TINY = """
import os, pathlib, time

import torch
from comface_bench.core.card import MethodCard, Preprocess


def card(name, **facts):
    return MethodCard(name=name, version=1, build=":build", backbone="tiny", preprocess=Preprocess(),
                      options={"mode": (name,)}, summary=f"The method {name}.", **facts)


CARDS = (card("tiny", drawn=True), card("flat"), card("waiting"))


class Waiting(torch.nn.Module):  # as long as the folder that TINY_WAITS names holds a record of it
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, images):
        folder = os.environ.get("TINY_WAITS")
        while folder and any(pathlib.Path(folder).rglob("waiting.json")):
            time.sleep(0.01)
        return self.network(images)


def build(options, weights, seed):
    torch.manual_seed(seed)
    pool = torch.nn.AdaptiveAvgPool2d(1)
    layers = [torch.nn.Conv2d(3, 4, 3, stride=2), torch.nn.ReLU(), pool, torch.nn.Flatten()]
    if options["mode"] == "flat":
        layers[0].weight.data.zero_()
        layers[0].requires_grad_(False)
    network = torch.nn.Sequential(*layers)
    return Waiting(network) if options["mode"] == "waiting" else network
"""


SMALL = [
    *("-o", "split=balanced-4", "-o", "image_size=16", "-o", "epochs=2"),
    *("-o", "pairs_per_epoch=16", "-o", "learning_rate=0.01", "--device", "cpu", "--no-plugins"),
]


@pytest.fixture(scope="module")
def made():
    """What makes records by hand: the module of the leaderboards' tests."""
    path = Path(__file__).parents[1] / "leaderboards" / "conftest.py"
    spec = importlib.util.spec_from_file_location("leaderboard_results", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def data(make_ages, tmp_path):
    return make_ages(tmp_path / "data")


@pytest.fixture
def plugin(tmp_path):
    path = tmp_path / "tiny_methods.py"
    path.write_text(TINY)
    return path


@pytest.fixture
def run_words(data, plugin, tmp_path):
    """The words of a small run; further words follow."""

    def words(method="tiny", *more):
        return [
            *("run", "--method", method, "--task", "age", "--data", str(data), "--plugin", str(plugin)),
            *("--results", str(tmp_path / "results"), *SMALL, *more),
        ]

    return words


@pytest.fixture
def spawn(tmp_path):
    """Start the command line in a process of its own, in another folder."""

    def start(*words):
        command = [sys.executable, "-m", "comface_bench", *words]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, cwd=tmp_path, env=dict(os.environ), **pipes)

    return start


@pytest.fixture
def imported(tmp_path):
    """Run the command line in a process of its own; returns the process and the modules that it imported."""
    probe = (
        "import atexit, pathlib, sys; from comface_bench.cli.main import main;"
        "atexit.register(lambda: pathlib.Path('modules').write_text('\\n'.join(sys.modules)));"
        "sys.exit(main())"
    )

    def run(*words):
        command = [sys.executable, "-c", probe, *words]
        process = subprocess.run(command, cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True)
        return process, set((tmp_path / "modules").read_text().split())

    return run


@pytest.fixture
def on_terminal(call, monkeypatch):
    """Call the command line on a terminal of some columns; returns the lines of stdout, without colours."""

    def run(columns, *words):
        with monkeypatch.context() as patch:
            patch.setenv("COLUMNS", str(columns))
            patch.setattr(sys.stdout, "isatty", lambda: True)
            out = call(*words)[1]
        return [re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip() for line in out.splitlines()]

    return run


@pytest.fixture
def events():
    """Parse one JSON object a line."""
    return lambda text: [json.loads(line) for line in text.splitlines()]
