"""The Python API: lazy names, and `run` for one method on one task, or for lists of them."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import comface_bench as cb
from comface_bench.core.errors import DataMissingError, UnitError, UnknownNameError, UsageError
from comface_bench.version import __version__

TINY = """
import torch
from comface_bench.core.card import MethodCard, Preprocess


def card(name, **facts):
    return MethodCard(name=name, version=1, build=":build", backbone="tiny", preprocess=Preprocess(),
                      options={"mode": (name,)}, **facts)


CARDS = (card("tiny", drawn=True), card("flat"))


def build(options, weights, seed):
    torch.manual_seed(seed)
    convolution = torch.nn.Conv2d(3, 4, 3, stride=2)
    if options["mode"] == "flat":
        convolution.weight.data.zero_()
    pool = torch.nn.AdaptiveAvgPool2d(1)
    return torch.nn.Sequential(convolution, torch.nn.ReLU(), pool, torch.nn.Flatten())
"""


@pytest.fixture
def settings(tmp_path):
    folder = tmp_path / "data" / "FGNET" / "images"
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for subject in range(1, 9):
        for age in (2, 9, 31):
            pixels = random.integers(0, 50, (20, 20, 3)) + 3 * age
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{subject:03d}A{age:02d}.JPG")
    (tmp_path / "tiny.py").write_text(TINY)
    return {
        "data": tmp_path / "data",
        "results": tmp_path / "results",
        "plugins": [tmp_path / "tiny.py"],
        "folds": [0],
        "device": "cpu",
        "options": {"split": "balanced-4", "image_size": 16},
        "epochs": 1,
        "pairs_per_epoch": 16,
    }


def test_run_returns_the_record_of_its_settings(settings):
    events = []
    record = cb.run("tiny", "age", **settings, report=events.append)
    assert record.task.name == "age+split=balanced-4"
    assert record.protocol.values["epochs"] == 1
    assert record.protocol.values["image_size"] == 16
    assert record.summary.folds_done == [0]
    assert {"plan", "unit"} <= {event.kind for event in events}


def test_finished_run_is_not_repeated(settings):
    first = cb.run("tiny", "age", **settings)
    events = []
    assert cb.run("tiny", "age", **settings, report=events.append) == first
    assert "stage" not in {event.kind for event in events}


def test_models_are_loaded_of_a_record_that_run_returned(settings):
    record = cb.run("tiny", "age", **settings)
    chosen = {"find_faces": False, "plugins": settings["plugins"], "device": "cpu"}
    assert cb.load_model(record, results=settings["results"], **chosen).record == record
    with pytest.raises(DataMissingError, match="there is no record"):
        cb.load_model(record, results=settings["data"], **chosen)


def test_settings_that_cant_be_meant_are_refused(settings):
    twice = settings | {"options": {"precision": "float32"}, "precision": "bfloat16"}
    with pytest.raises(UsageError, match="precision is given twice"):
        cb.run("tiny", "age", **twice)
    with pytest.raises(UsageError, match="no device is called 'gpu0'"):
        cb.run("tiny", "age", **settings | {"device": "gpu0", "data": "nowhere"})


def test_failed_unit_raises_and_is_named(settings):
    with pytest.raises(UnitError, match=r"1 unit\(s\) failed: flat · age.* · fold 0 · seed 0") as raised:
        cb.run("flat", "age", **settings)
    assert str(raised.value).count("fold 0 · seed 0: ") == 1


@pytest.mark.parametrize(("method", "task"), [("tiny,flat", "age"), ("tiny", "a*")])
def test_run_takes_one_method_and_one_task(settings, method, task):
    with pytest.raises(UsageError, match="run takes one"):
        cb.run(method, task, **settings)


def test_a_pattern_is_answered_with_the_list_to_type(settings):
    with pytest.raises(UsageError, match=r'give a list: \["tiny", "fl\*"\]'):
        cb.run("tiny,fl*", "age", **settings)


def test_lists_give_the_results_of_all_combinations(settings):
    with pytest.warns(UserWarning, match="failed: flat · age"):
        found = cb.run(method=["t*", "flat"], task=["age"], **settings)
    # A failed unit is in its record, and the others are there.
    assert [(record.method.name, len(record.failures)) for record in found] == [("tiny", 0), ("flat", 1)]
    assert found.folder == settings["results"]
    assert "2 records, 2 methods, 1 task, 1 protocol, 1 unit failed" in repr(found)
    assert found[0] == cb.run("tiny", "age", **settings)
    assert len(cb.run("tiny", ["age"], **settings)) == 1
    assert len(cb.run(("tiny",), "age", **settings)) == 1


def test_what_only_a_pattern_matched_is_skipped_with_a_warning(settings):
    with pytest.warns(UserWarning, match="skipped: edema-a: .*doesn't exist"):
        found = cb.run("tiny", ["age", "edema-a*"], **settings)
    assert [record.task.name for record in found] == ["age+split=balanced-4"]


def test_progress_is_told_of_each_unit(settings):
    heard = []
    settings |= {"folds": [0, 1]}
    cb.run("tiny", "age", **settings, progress=lambda *count: heard.append(count))
    assert heard == [(0, 2), (1, 2), (2, 2)]


def test_setting_given_twice_is_refused(settings):
    with pytest.raises(UsageError, match="epochs is given twice"):
        cb.run("tiny", "age", **(settings | {"options": {"epochs": 2}}))


def test_unknown_names_are_errors(settings):
    with pytest.raises(UnknownNameError, match="Did you mean tiny"):
        cb.run("tinny", "age", **settings)


def test_lazy_names():
    from comface_bench.data.task import load_task
    from comface_bench.engine.encoder import load_method

    assert cb.load_task is load_task
    assert cb.load_method is load_method
    assert cb.__version__ == __version__
    loaders = {f"load_{name}" for name in ("images", "method", "model", "results", "task")}
    assert set(dir(cb)) == set(cb.__all__) == {"__version__", "run", "list_methods", "list_tasks", *loaders}
    assert all(callable(getattr(cb, name)) for name in loaders)
    with pytest.raises(AttributeError, match="nothing"):
        cb.nothing  # noqa: B018


def test_import_loads_nothing_heavy():
    code = (
        "import sys, comface_bench; cb = comface_bench; cb.run; cb.load_results; cb.list_methods();"
        "print(*sys.modules)"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "comface_bench.api.listing" in process.stdout.split()
    assert not set(process.stdout.split()) & {"torch", "pandas", "matplotlib", "numpy", "pydantic", "tqdm"}
