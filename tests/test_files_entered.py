"""The way of a run through the package stays short."""

import importlib.util
from pathlib import Path

import pytest

from comface_bench.core.registry import method_registry

SCRIPT = Path(__file__).parents[1] / "timings" / "files_entered.py"
MOST = 58
"""Files of ours in which a run may enter a function."""


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("files_entered", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_run_enters_few_files(script, tmp_path):
    # What declares cards calls functions while it is imported; whether it was before is chance.
    method_registry().names()
    with script.trace_files() as entered:
        script.run(tmp_path / "results", ["-o", "image_size=16", "-o", "pairs_per_epoch=16"])
    names = {path.relative_to(script.ROOT).as_posix() for path in entered}
    # Each stage of the way is seen, so that the number says something.
    assert {"benchmark/cli/run.py", "benchmark/engine/linear.py", "leaderboards/pages.py"} <= names
    assert len(names) <= MOST, sorted(names)


def test_rooms_are_measured(script, tmp_path):
    bodies = {
        "room.a": "from room.b import f\nimport room.c",
        "room.b": "def f():\n    from room import c",
        "room.c": "import typing\nif typing.TYPE_CHECKING:\n    import other.d",
        "other.d": "",
    }
    modules = {}
    for name, body in bodies.items():
        modules[name] = tmp_path / f"{name}.py"
        modules[name].write_text(body)
    graph = {name: script.imports_of(path, modules) for name, path in modules.items()}
    assert graph == {
        "room.a": {"room.b", "room.c"},
        "room.b": {"room.c"},
        "room.c": {"other.d"},
        "other.d": set(),
    }
    assert script.chain(graph, "room.a") == 4
