"""Fixtures for all tests: no test reads the user's folders, and small trees are drawn on the fly.

Processes start at once, forked from a server that has imported torch.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import sys
from pathlib import Path
from subprocess import TimeoutExpired

import numpy as np
import pytest
import torch
import typer
from hypothesis import HealthCheck, settings
from PIL import Image

import comface_bench.tasks
from comface_bench.cli.main import main
from comface_bench.core.card import MEAN_FACE

# Read when huggingface_hub is imported, hence here: no test may reach the network.
os.environ["HF_HUB_OFFLINE"] = "1"
# Likewise for torch: on a virtual machine, matrix tiles (AMX) were seen to lose their contents when several
# processes used them, and losses became NaN. Results in bfloat16 are the same without them.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16")

# A busy machine is no fault of what is tested.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

FACES = Path(comface_bench.tasks.__file__).parent / "synthfaces" / "DISFA" / "frames"
ACTION_UNITS = (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)


@pytest.fixture(autouse=True)
def own_folders(tmp_path_factory, monkeypatch):
    """Point every folder that the suite reads by default to an empty one."""
    base = tmp_path_factory.mktemp("own")
    for name in ("CACHE", "WEIGHTS", "DATA"):
        (base / name.lower()).mkdir()
        monkeypatch.setenv(f"COMFACE_{name}", str(base / name.lower()))
    return base


@pytest.fixture(autouse=True)
def own_threads():
    """Leave as many threads as there were: sums of a training are rounded by how many there are."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session", autouse=True)
def commands_built_once():
    """Build each command's parser once a process: typer takes longer for that than most commands do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.main, "get_command", functools.cache(typer.main.get_command))
        yield


@pytest.fixture(scope="session")
def draw_image():
    """Write a small picture that depends on a seed; returns its path."""

    def draw(path: Path, seed: int = 0, size: tuple[int, int] = (12, 10), mode: str = "RGB") -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(noise).convert(mode).save(path)
        return path

    return draw


@pytest.fixture(scope="session")
def make_disfa(draw_image):
    """Lay out a DISFA tree: `make_disfa(root, subjects, frames)`; intensity is a function of all three."""

    def make(root: Path, subjects=("SN001", "SN002"), frames=(1, 2, 3), lines: int = 6) -> Path:
        for number, subject in enumerate(subjects):
            for frame in frames:
                draw_image(root / "frames" / subject / f"{frame:05d}.jpg", seed=100 * number + frame)
            for unit in ACTION_UNITS:
                path = root / "ActionUnit_Labels" / subject / f"{subject}_au{unit}.txt"
                path.parent.mkdir(parents=True, exist_ok=True)
                rows = [f"{frame},{intensity(number, unit, frame)}\n" for frame in range(1, lines + 1)]
                path.write_text("".join(rows))
        return root

    return make


def intensity(subject: int, unit: int, frame: int) -> int:
    """The intensity that `make_disfa` writes."""
    return (subject + unit + frame) % 6


@pytest.fixture(scope="session")
def make_edema(draw_image):
    """Lay out an Edema tree; weights are 50 + patient + day, and a kilogram less after treatment.

    Trees of one seed hold the same pictures.
    """

    def make(root: Path, patients=("P1", "P2"), days=("1", "2"), seed: int = 0) -> Path:
        rows = ["image,patient,day,phase,weight_kg"]
        for number, patient in enumerate(patients):
            for day in days:
                for phase in ("pre", "post"):
                    name = f"images/{patient}_{day}_{phase}.jpg"
                    draw_image(root / name, seed=seed + len(rows))
                    weight = 50 + number + int(day) - (phase == "post")
                    rows.append(f"{name},{patient},{day},{phase},{weight}")
        (root / "manifest.csv").write_text("\n".join(rows) + "\n")
        return root

    return make


@pytest.fixture(scope="session")
def make_fgnet(draw_image):
    """Lay out an FG-NET tree from file names; trees of one seed hold the same pictures."""

    def make(
        root: Path, names=("001A02.JPG", "001A08.JPG", "002A43a.JPG", "002A43b.JPG"), seed: int = 0
    ) -> Path:
        (root / "images").mkdir(parents=True, exist_ok=True)
        for number, name in enumerate(names, seed):
            draw_image(root / "images" / name, seed=number, mode="L" if number % 2 else "RGB")
        return root

    return make


@pytest.fixture(scope="session")
def make_ages():
    """Lay out an FG-NET tree from which age can be learned: the older, the brighter. Returns its root."""

    def make(root: Path, subjects: int = 8, ages=(2, 9, 31, 60), noise: int = 50, quality: int = 75) -> Path:
        folder = root / "FGNET" / "images"
        folder.mkdir(parents=True)
        random = np.random.default_rng(0)
        for subject in range(1, subjects + 1):
            for age in ages:
                pixels = random.integers(0, noise, (20, 20, 3)) + 3 * age
                image = Image.fromarray(pixels.astype(np.uint8))
                image.save(folder / f"{subject:03d}A{age:02d}.JPG", quality=quality)
        return root

    return make


@pytest.fixture
def call(capsys):
    """Call the command line in this process; returns (exit status, stdout, stderr)."""

    def run(*words):
        try:
            status = main([str(word) for word in words])
        except SystemExit as leaving:
            status = leaving.code or 0
        out, err = capsys.readouterr()
        return status, out, err

    return run


PRELOADED = [
    "pytest",
    "torch",
    "torchvision",
    "torch._dynamo",  # imported by the first optimiser of a process, which takes seconds
    "comface_bench.comface.pretrain.faces",
    "comface_bench.comface.pretrain.train",
    "comface_bench.cli.run",
    "comface_bench.data.image_store",
    "comface_bench.engine.finetune",
    "comface_bench.engine.linear",
    "comface_bench.engine.probe",
    "comface_bench.execute.run",
    "comface_bench.leaderboards.pages",
    "comface_bench.leaderboards.site",
    "comface_bench.results.record",
]

_MAIN = """
import os, runpy, sys

os.environ.clear()
os.environ.update(environment)
os.dup2(output.fileno(), 1)
os.dup2(1, 2)
output.close()
if start_new_session:
    os.setsid()
sys.path[:] = path
if arguments[0] == "-c":
    sys.argv = ["-c", *arguments[2:]]
    exec(compile(arguments[1], "-c", "exec"), {"__name__": "__main__"})
elif arguments[0] == "-m":
    sys.argv = arguments[1:]
    runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
else:
    sys.argv = arguments
    runpy.run_path(arguments[0], run_name="__main__")
"""


class ForkedProcess:
    """Stands for `subprocess.Popen([sys.executable, *arguments], stdout=PIPE, stderr=STDOUT, text=True)`.

    The child has an environment, arguments and an output of its own, and shares only the modules that the
    server had imported.
    """

    def __init__(self, context, arguments, env, start_new_session):
        reader, writer = context.Pipe(duplex=False)
        facts = {
            "arguments": [str(argument) for argument in arguments],
            "environment": dict(os.environ if env is None else env),
            "output": writer,
            "path": sys.path,
            "start_new_session": start_new_session,
        }
        self._process = context.Process(target=exec, args=(_MAIN, facts))
        self._process.start()
        writer.close()
        self.stdout = os.fdopen(os.dup(reader.fileno()), encoding="utf-8")
        reader.close()

    @property
    def pid(self):
        return self._process.pid

    @property
    def returncode(self):
        return self._process.exitcode

    def poll(self):
        return self._process.exitcode

    def kill(self):
        self._process.kill()

    def wait(self, timeout=None):
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise TimeoutExpired("a forked process", timeout)
        return self._process.exitcode

    def communicate(self, timeout=None):
        output = self.stdout.read()
        self.wait(timeout)
        return output, None


@pytest.fixture(scope="session")
def fork():
    """Start `python ARGUMENTS` (a file, or -m, or -c) as a process that needn't import torch first."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)

    def start(arguments, env=None, start_new_session=False):
        return ForkedProcess(context, arguments, env, start_new_session)

    return start


@pytest.fixture(scope="session")
def write_dlib():
    """Write a network as dlib does: `write(path, layers)`, a layer being its kind and its tensors."""

    def whole(value):
        size = max((abs(value).bit_length() + 7) // 8, 1)
        return bytes([size | (0x80 if value < 0 else 0)]) + abs(value).to_bytes(size, "little")

    def wholes(*values):
        return b"".join(map(whole, values))

    def text(value):
        return whole(len(value)) + value.encode()

    def array(*tensors):
        count = sum(tensor.numel() for tensor in tensors)
        sides = (count, 1, 1, 1) if count else (0, 0, 0, 0)
        return wholes(2, *sides) + b"".join(tensor.numpy().astype("<f4").tobytes() for tensor in tensors)

    def view(*sides):
        return wholes(1, *sides)

    fraction = wholes(1, 0)  # Mantissa and exponent of 1.

    def content(kind, *tensors):
        if kind == "con":
            filters, biases = tensors
            settings = (len(filters), *filters.shape[2:], 1, 1, 0, 0)
            ends = view(*filters.shape) + view(1, len(biases), 1, 1) + 4 * fraction
            return text("con_4") + array(filters, biases) + wholes(*settings) + ends
        if kind == "affine":
            side = view(1, len(tensors[0]), 1, 1)
            return text("affine_") + array(*tensors) + side + side + whole(0)
        if kind == "fc":
            given, made = tensors[0].shape
            ends = view(given, made, 1, 1) + view(0, 0, 0, 0) + whole(1) + 4 * fraction
            return text("fc_2") + wholes(made, given) + array(*tensors) + ends
        if kind.endswith("pool"):
            return text(f"{kind}_2") + wholes(2, 2, 2, 2, 0, 0)
        return text(f"{kind}_")

    def write(path: Path, layers) -> Path:
        outer = whole(1) + text("loss_metric_2") + 2 * fraction
        versions = b"".join(wholes(1, 2) if kind == "add_prev" else whole(2) for kind, *_ in layers[1:])
        inner = text("input_rgb_image_sized") + 3 * fraction + wholes(150, 150)
        parts = [content(*layer) + b"110" + 3 * array() for layer in layers]
        parts[0] += whole(1)
        path.write_bytes(outer + versions + whole(3) + inner + b"".join(parts))
        return path

    return write


@pytest.fixture(scope="session")
def write_onnx():
    """Write an ONNX model that has tensors and one operation: `write(path, tensors)`."""

    def whole(value):
        low, high = value & 0x7F, value >> 7
        return bytes([low | 0x80]) + whole(high) if high else bytes([low])

    def part(number, content):
        return whole(number << 3 | 2) + whole(len(content)) + content

    def write(path: Path, tensors) -> Path:
        graph = part(1, part(4, b"Relu"))
        for name, tensor in tensors.items():
            dims = b"".join(whole(1 << 3) + whole(side) for side in tensor.shape)
            kind = {"torch.float32": 1, "torch.int32": 6, "torch.int64": 7}[str(tensor.dtype)]
            raw = tensor.contiguous().numpy().tobytes()
            graph += part(5, dims + whole(2 << 3) + whole(kind) + part(8, name.encode()) + part(9, raw))
        head = whole(1 << 3) + whole(10) + part(2, b"writer")
        path.write_bytes(head + part(7, graph) + part(8, b"\x10\x12"))
        return path

    return write


@pytest.fixture(scope="session")
def draw_scene():
    """Draw a scene as RGB pixels: so many rendered faces side by side before a grey of that level."""

    def draw(faces: int = 1, grey: int = 128, subject: str = "SN001", frame: int = 1) -> np.ndarray:
        canvas = Image.new("RGB", (320, 240), (grey, grey, grey))
        with Image.open(FACES / subject / f"{frame:05d}.jpg", formats=["JPEG", "PNG"]) as face:
            for left in {0: [], 1: [96], 2: [16, 176]}[faces]:
                canvas.paste(face, (left, 56))
        return np.array(canvas)

    return draw


@pytest.fixture(scope="session")
def small_predictor(tmp_path_factory, draw_scene):
    """Train dlib a small predictor of five points, of the mean face of a box; returns its file."""
    dlib = pytest.importorskip("dlib")
    scenes = [draw_scene(1, grey) for grey in (90, 128, 160)]
    labelled = []
    for box in (dlib.get_frontal_face_detector()(scene, 0)[0] for scene in scenes):
        points = [
            dlib.point(round(box.left() + x * box.width()), round(box.top() + y * box.width()))
            for x, y in MEAN_FACE
        ]
        labelled.append([dlib.full_object_detection(box, points)])
    options = dlib.shape_predictor_training_options()
    options.cascade_depth, options.tree_depth, options.num_trees_per_cascade_level = 2, 2, 5
    options.oversampling_amount, options.num_test_splits, options.feature_pool_size = 2, 3, 20
    path = tmp_path_factory.mktemp("predictor") / "five_points.dat"
    dlib.train_shape_predictor(scenes, labelled, options).save(str(path))
    return path
