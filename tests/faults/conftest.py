"""Commands that are killed at random moments, and an account of what that cost.

A phase is a command of the suite and the folder that it fills. It is run once undisturbed; then it is killed
again and again, begun anew by the same words each time, and in the end compared with the undisturbed run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import TimeoutExpired

import numpy as np
import pytest
from PIL import Image

import comface_bench.tasks
from comface_bench.comface.corpus.generate import generate
from comface_bench.comface.corpus.layout import Description
from comface_bench.comface.corpus.plan import CorpusPlan
from comface_bench.comface.synthesis.generator import GeneratorCard
from comface_bench.core.files import UNFINISHED

PATIENCE_S = 120.0

# Before its first line a process is still starting, and couldn't answer a signal.
MAIN = """
import sys
import torch, torchvision
from torch import nn
from comface_bench.engine import checkpoint

def small(weights=None):  # as wide as ResNet-18; its depth proves nothing here
    layers = [nn.Conv2d(3, 8, 3, 4, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 512, 3, 4, 1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())

torch.set_num_threads(1)
checkpoint.SAVE_INTERVAL_S = 0.0  # each epoch, however short
torchvision.models.resnet18 = small
from comface_bench.cli.main import main
print("begun", flush=True)
sys.exit(main())
"""

TINY = """
import torch
from comface_bench.core.card import MethodCard, Preprocess


def card(name, **facts):
    return MethodCard(name=name, version=1, build=":build", backbone="tiny", preprocess=Preprocess(),
                      options={"mode": (name,)}, **facts)


CARDS = (card("tiny"), card("drawn", drawn=True))


def build(options, weights, seed):
    torch.manual_seed(seed)
    pool = torch.nn.AdaptiveAvgPool2d(1)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, stride=2), torch.nn.ReLU(), pool, torch.nn.Flatten())
"""


@dataclasses.dataclass(frozen=True)
class Phase:
    """A command that may be killed.

    Attributes:
        words: Its words; `{out}` stands for the folder that it fills.
        result: What must be the same in the end, of that folder.
        prepare: Puts what the command works on into that folder.
    """

    words: tuple[str, ...]
    result: Callable[[Path], dict[str, object]]
    prepare: Callable[[Path], object] = Path.mkdir


@dataclasses.dataclass
class Account:
    """What became of a phase that was killed.

    Attributes:
        kills: By signal.
        lost: Epochs that were run again after they had ended.
        unanswered: Outputs of processes that were asked to end and didn't say how to go on.
    """

    kills: Counter[str] = dataclasses.field(default_factory=Counter)
    lost: int = 0
    unanswered: list[str] = dataclasses.field(default_factory=list)


class Killer:
    """Runs phases, undisturbed or killed.

    Args:
        fork: Starts a process.
        base: Folder of all that is written.
        seed: Of the moments and signals.
    """

    def __init__(self, fork, base: Path, seed: int) -> None:
        self._fork, self._base, self._random = fork, base, random.Random(seed)
        self._whole: dict[tuple[str, ...], tuple[dict[str, object], float, int]] = {}
        self._number, self._seconds = 0, 0.0

    def check(self, phase: Phase, signals: Sequence[signal.Signals]) -> Account:
        """Kill a phase by one signal after the other, let it end, and compare it with an undisturbed run."""
        result, seconds, epochs = self.undisturbed(phase)
        folder, account = self.folder(phase), Account()
        outputs: list[str] = []
        left = list(signals)
        while left:
            moment = self._random.uniform(0, seconds)
            status, output = self._run(phase, folder, (left[0], moment))
            outputs.append(output)
            if status == 0:
                # It came to its end before. What is left falls on the next folder.
                self._compare(phase, folder, result, outputs, account, epochs)
                folder, outputs = self.folder(phase), []
                continue
            number = left.pop(0)
            account.kills[number.name] += 1
            if number != signal.SIGKILL and "same command" not in output:
                account.unanswered.append(f"{number.name}, status {status}: {output[-2000:]}")
        status, output = self._run(phase, folder)
        assert status == 0, output
        self._compare(phase, folder, result, [*outputs, output], account, epochs)
        return account

    def undisturbed(self, phase: Phase) -> tuple[dict[str, object], float, int]:
        """Run a phase once to its end: its result, the seconds that took, the epochs that it reported."""
        if phase.words not in self._whole:
            folder = self.folder(phase)
            status, output = self._run(phase, folder)
            assert status == 0, output
            self._whole[phase.words] = (phase.result(folder), self._seconds, len(events(output, "epoch")))
        return self._whole[phase.words]

    def folder(self, phase: Phase) -> Path:
        """Make a new folder for a phase."""
        self._number += 1
        folder = self._base / f"life-{self._number}"
        phase.prepare(folder)
        return folder

    def _compare(self, phase, folder, result, outputs, account, epochs) -> None:
        assert phase.result(folder) == result
        left = [path for path in folder.rglob("*") if UNFINISHED in path.name or path.name.endswith(".tmp")]
        assert left == []
        units = Counter(event["text"] for output in outputs for event in events(output, "unit"))
        assert [unit for unit, count in units.items() if count > 1] == [], "finished units were run again"
        # Of the epoch in progress at a kill nothing is heard.
        account.lost += sum(len(events(output, "epoch")) for output in outputs) - epochs

    def start(self, phase: Phase, folder: Path):
        """Start a phase's command; return the process as soon as it could answer a signal."""
        words = [word.format(out=folder) for word in phase.words]
        environment = {**os.environ, "COMFACE_CACHE": str(folder / "cache")}
        process = self._fork(["-c", MAIN, *words], environment)
        first = process.stdout.readline()
        assert first == "begun\n", first + process.stdout.read()
        return process

    def _run(self, phase: Phase, folder: Path, kill: tuple[signal.Signals, float] | None = None):
        process, began = self.start(phase, folder), time.perf_counter()
        if kill is not None:
            number, moment = kill
            with contextlib.suppress(TimeoutExpired):
                process.wait(moment)
            if process.poll() is None:
                os.kill(process.pid, number)
        output, _ = process.communicate(timeout=PATIENCE_S)
        process.stdout.close()
        self._seconds = time.perf_counter() - began
        return process.returncode, output


def events(output: str, kind: str) -> list[dict[str, object]]:
    """The events of `--json` of one kind; a line that a kill cut off is none."""
    found = []
    for line in output.splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and event.get("kind") == kind:
            found.append(event)
    return found


MEASURED = (
    "units_sharing_features",
    "seconds",
    "peak_memory_mb",
    "images_per_second",
    "date",
    "created",
    "digest",
    "commit",
)


def without_measured(value: object) -> object:
    """Facts of a record, or of another JSON file, without those that no two runs share."""
    if isinstance(value, dict):
        return {key: without_measured(part) for key, part in value.items() if key not in MEASURED}
    return [without_measured(part) for part in value] if isinstance(value, list) else value


def tree(folder: Path, measured: tuple[str, ...] = ()) -> dict[str, object]:
    """The files of a folder: their bytes, or their facts without what was measured.

    Args:
        folder: The folder.
        measured: Beginnings of the names of files that only have to be there.
    """
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() or name.startswith(measured):
            found[name] = path.is_dir()
        elif path.suffix == ".json":
            found[name] = without_measured(json.loads(path.read_text(encoding="utf-8")))
        else:
            found[name] = path.read_bytes()
    return found


class Plain:
    """Images of one colour: each person's own, brighter with α for `light`."""

    card = GeneratorCard("plain", 32, ("light", "none"), "CC0-1.0", {"plain": "1"}, {})

    def identities(self, seed, count, first=0):
        return list(range(first, first + count))

    def render(self, identity, attribute, alphas):
        tint = np.random.default_rng(identity).uniform(60, 190, (3, 1, 1))
        levels = [tint + (6 * alpha if attribute == "light" else 0) for alpha in alphas]
        noise = np.random.default_rng(identity).uniform(0, 5, (3, 32, 32))
        return np.stack([(level + noise).astype(np.uint8) for level in levels])


SMALL = ("-o", "split=balanced-4", "-o", "image_size=32", "--device", "cpu", "--no-plugins", "--json")
TRAINING = ("-o", "epochs=4", "-o", "pairs_per_epoch=32", "-o", "learning_rate=0.01")
PRETRAINING = """
backbone = "resnet18"
image_size = 32
batch_size = 8
epochs = 3
pairs_per_epoch = 32
validation_share = 0.25
validation_pairs = 24
precision = "float32"
"""


@pytest.fixture(scope="module")
def phases(tmp_path_factory, make_ages) -> dict[str, Phase]:
    """The phases by name."""
    base = tmp_path_factory.mktemp("phases")
    data = make_ages(base / "data")
    (base / "tiny.py").write_text(TINY)
    run = ("run", "--task", "age", "--data", str(data), "--plugin", str(base / "tiny.py"), *SMALL)
    run += ("--results", "{out}/results")

    def results(folder: Path) -> dict[str, object]:
        # Pages say how many images a second there were.
        return tree(folder, ("results/leaderboard/", "results/journal.jsonl"))

    def sweep_results(folder: Path) -> dict[str, object]:
        found = results(folder)
        # Locks of claims stay: another sweep may wait for one.
        return {name: fact for name, fact in found.items() if not name.startswith("results/.claims/")}

    made = {
        "linear": Phase((*run, "--method", "tiny,drawn", "--protocol", "linear", *TRAINING), results),
        "probe": Phase((*run, "--method", "tiny,drawn", "--protocol", "probe", "--seeds", "0,1"), results),
        "quick": Phase((*run, "--method", "drawn", "--protocol", "quick", *TRAINING), results),
    }
    sweep = ("sweep", "--task", "age", "--data", str(data), "--plugin", str(base / "tiny.py"), *SMALL)
    sweep += ("--results", "{out}/results", "--method", "tiny", "--protocol", "probe,quick", "--jobs", "2")
    made["sweep"] = Phase((*sweep, "--seeds", "0,1", *TRAINING), sweep_results)
    made["pages"] = _pages(base, data)
    made["pretrain"] = _pretraining(base)
    made["prepare"] = _preparation(base)
    return made


def _pretraining(base: Path) -> Phase:
    plan = CorpusPlan(5, Plain.card.attributes, 16, alphas=6)
    generate(base / "corpus", Plain, Description.of(Plain.card, plan, suffix="png", records_per_shard=10))
    (base / "small.toml").write_text(PRETRAINING)
    words = ("pretrain", "--config", str(base / "small.toml"), "--corpus", str(base / "corpus"))
    words += ("--out", "{out}/training", "--device", "cpu", "--json")
    return Phase(words, _training)


def _training(folder: Path) -> dict[str, object]:
    import torch

    root = folder / "training"
    found: dict[str, object] = dict.fromkeys(path.name for path in root.iterdir())
    best = torch.load(root / "best.pt", weights_only=True)["model"]
    found["best.pt"] = {name: tensor.numpy().tobytes() for name, tensor in best.items()}
    lines = map(json.loads, (root / "log.jsonl").read_text().splitlines())
    found["log.jsonl"] = [without_measured(line) for line in lines]
    return found


def _pages(base: Path, data: Path) -> Phase:
    from comface_bench.execute.plan import Request, make_plan
    from comface_bench.execute.run import run_plan

    small = {"split": "balanced-4", "image_size": "32", "epochs": "1", "pairs_per_epoch": "8"}
    for protocol in ("linear", "quick"):
        request = Request(
            ["tiny", "drawn"],
            ["age"],
            protocol,
            small,
            data,
            base / "records",
            plugin_files=[base / "tiny.py"],
            device="cpu",
        )
        run_plan(make_plan(request), request)

    def prepare(folder: Path) -> None:
        shutil.copytree(base / "records", folder / "results")

    return Phase(("leaderboard", "build", "--results", "{out}/results"), tree, prepare)


def _preparation(base: Path) -> Phase:
    faces = Path(comface_bench.tasks.__file__).parent / "synthfaces" / "DISFA" / "frames"
    rows = ["image,patient,day,phase,weight_kg"]
    (base / "originals").mkdir()
    for number in range(8):
        name, phase = f"{number}.png", ("pre", "post")[number % 2]
        scene = Image.new("RGB", (320, 240), (128, 128, 128))
        with Image.open(faces / "SN001" / f"{number + 1:05d}.jpg", formats=["JPEG"]) as face:
            scene.paste(face, (96, 56))
        scene.save(base / "originals" / name)
        rows.append(f"{name},P{number // 4},{number // 2 % 2},{phase},{60 + number}")
    (base / "originals" / "manifest.csv").write_text("\n".join(rows) + "\n")
    words = ("data", "prepare", "edema", "--source", str(base / "originals"), "--data", "{out}/data")
    return Phase(words, tree)


@pytest.fixture
def killer(fork, tmp_path) -> Killer:
    return Killer(fork, tmp_path, 18)
