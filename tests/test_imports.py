"""Imports: layers that point one way, no circles, and commands that stay light."""

import ast
import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {
    "": "benchmark",
    "baselines": "baselines",
    "comface": "comface",
    "leaderboards": "leaderboards",
    "tasks": "tasks",
}
"""Sub-package → folder of the repository; the rest of the package lies in `benchmark`."""

ALLOWED = {
    "core": set(),
    "data": {"core"},
    "engine": {"core", "data"},
    "execute": {"core", "data", "engine", "results", "stats"},
    "cli": {
        "baselines",
        "core",
        "data",
        "engine",
        "execute",
        "results",
        "stats",
        "submission",
        "leaderboards",
        "comface",
        "contract",
        "prepare",
        "scaffold",
        "studies",
        "weights",
    },
    "contract": {"core", "data", "engine", "stats"},
    "prepare": {"core", "data.faces", "data.image_file", "tasks.formats"},
    "scaffold": {"core"},
    "results": {"core", "stats"},
    "stats": {"core"},
    "studies": {"core", "execute", "leaderboards", "results", "stats"},
    "submission": {"core", "data", "results"},
    "leaderboards": {"core", "results", "stats"},
    "tasks": {"core"},
    "baselines": {"core", "comface", "weights"},
    "weights": {"core"},
    "comface": {
        "core.card",
        "core.digest",
        "core.errors",
        "core.files",
        "core.names",
        "core.processes",
        "core.weights",
        "data",
        "engine.checkpoint",
        "engine.precision",
        "weights",
    },
    "api": {"core", "data.task", "execute", "leaderboards", "results", "stats"},
    "__main__": {"cli"},
    "": {"api", "data", "engine"},
}
"""Layer → layers or modules that it may import besides itself; `version` is free to all."""

EXCEPTIONS = {
    # Offered here for those who look for it beside the baselines; by name, when it is asked for.
    ("baselines", "engine.encoder"),
}
LIGHT = {
    "core",
    "tasks",
    "baselines",
    "results",
    "stats",
    "submission",
    "leaderboards",
    "cli",
    "execute",
    "prepare",
    "scaffold",
    "studies",
    "weights",
    "api",
    "__main__",
    "",
    "engine.protocols",
}
"""Layers, or parts of one, that import none of HEAVY at the top of a module."""
HEAVY = {"torch", "torchvision", "timm", "open_clip", "pandas", "anny", "warp", "matplotlib"}


def layer_of(module: str) -> str:
    """Return the layer of a module, given without the package's name."""
    return module.partition(".")[0]


def modules(root: Path):
    """Yield (dotted name without the package, path) of all source files."""
    for package, folder in FOLDERS.items():
        for path in sorted((root / folder).rglob("*.py")):
            parts = [*([package] if package else []), *path.relative_to(root / folder).with_suffix("").parts]
            if parts[-1] == "__init__":
                parts.pop()
            yield ".".join(parts), path


@functools.cache
def imports_in(path: Path) -> list[tuple[str, bool, int]]:
    """List (module, whether it runs when the file is imported, line) of each import of a file."""
    return list(imports_of(ast.parse(path.read_text())))


def imports_of(tree: ast.Module):
    """Yield the same of a syntax tree."""

    def visit(node: ast.AST, runs: bool):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, runs, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            for alias in node.names:
                # `from package import module` names a module only together.
                yield f"{node.module}.{alias.name}", runs, node.lineno
        elif isinstance(node, ast.Call) and _names_module(node):
            yield node.args[0].value, False, node.lineno
        for child in ast.iter_child_nodes(node):
            inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            typing = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
            yield from visit(child, runs and not inside and not (typing and child in node.body))

    yield from visit(tree, True)


def _names_module(call: ast.Call) -> bool:
    return (
        ast.unparse(call.func).endswith("import_module")
        and bool(call.args)
        and isinstance(call.args[0], ast.Constant)
    )


def violations(root: Path) -> list[str]:
    """Return every import under a repository that breaks a rule."""
    found = []
    for module, path in modules(root):
        layer = layer_of(module)
        for target, runs, line in imports_in(path):
            where = f"{path.relative_to(root)}:{line}"
            top, _, rest = target.partition(".")
            if top == "comface_bench":
                if not may_import(layer, rest):
                    found.append(f"{where}: {layer or 'the package'} imports {rest}")
            elif is_light(module) and runs and top in HEAVY:
                found.append(f"{where}: {layer or 'the package'} imports {top} at the top")
    return found


def graph_of(root: Path) -> dict[str, set[str]]:
    """Return module → modules of the package that it imports, inside functions and for types included."""
    known = dict(modules(root))
    graph = {}
    for module, path in known.items():
        names = (target.partition(".") for target, _, _ in imports_in(path))
        found = {module_of(rest, known) for top, _, rest in names if top == "comface_bench"}
        graph[module] = found - {module, ""}
    return graph


def module_of(name: str, known) -> str:
    """Return the module that a dotted name is, or is a name of."""
    while name and name not in known:
        name = name.rpartition(".")[0]
    return name


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return paths that lead back to their beginning, each the shortest among the modules that are left."""
    found = []
    while graph := without_ends(graph):
        found.append(min((path for start in graph if (path := way_back(graph, start))), key=len))
        graph = {module: others for module, others in graph.items() if module not in found[-1]}
    return found


def without_ends(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """Leave out modules that import none or that none imports, again and again: circles are what is left."""
    while True:
        imported = set().union(*graph.values())
        inner = {module: others & graph.keys() for module, others in graph.items() if module in imported}
        inner = {module: others for module, others in inner.items() if others}
        if inner == graph:
            return graph
        graph = inner


def way_back(graph: dict[str, set[str]], start: str) -> list[str] | None:
    """Return the shortest path from a module to itself, or None."""
    paths, waiting = {start: [start]}, [start]
    while waiting:
        module = waiting.pop(0)
        if start in graph[module]:
            return [*paths[module], start]
        for other in sorted(graph[module] - paths.keys()):
            paths[other] = [*paths[module], other]
            waiting.append(other)
    return None


def is_light(module: str) -> bool:
    """Return whether a module imports none of HEAVY at its top."""
    return layer_of(module) in LIGHT or ".".join(module.split(".")[:2]) in LIGHT


def may_import(layer: str, target: str) -> bool:
    """Tell whether a layer may import a module or a name of it."""
    if layer_of(target) in (layer, "version"):
        return True
    allowed = ALLOWED[layer]
    if any(target == name or target.startswith(f"{name}.") for name in allowed):
        return True
    return any(layer == known and target.startswith(name) for known, name in EXCEPTIONS)


def test_dependencies_point_one_way():
    assert violations(ROOT) == []


def rule() -> str:
    """The rule as docs/architecture.md prints it, a layer a row."""
    rows = ["| Layer | May import |", "|---|---|"]
    for layer, allowed in ALLOWED.items():
        allowed = allowed | {module for known, module in EXCEPTIONS if known == layer}
        name = f"`{layer}`" if layer else "`comface_bench` itself"
        rows.append(f"| {name} | {', '.join(f'`{other}`' for other in sorted(allowed)) or 'nothing'} |")
    return "\n".join(rows)


def test_the_document_shows_the_same_rule():
    text = (ROOT / "docs" / "architecture.md").read_text()
    _, _, rest = text.partition("<!-- rule -->\n")
    assert rest.partition("\n<!-- end of rule -->")[0] == rule()


def test_no_module_imports_itself_by_way_of_others():
    graph = graph_of(ROOT)
    assert circles(graph) == []
    # The graph is no empty one: what the longest chain is made of is in it.
    assert "core.errors" in graph["core.registry"]
    assert "execute.plan" in graph["cli.run"]


@pytest.mark.parametrize(
    "back",
    [
        "from comface_bench.data.a import A",
        "from comface_bench.data import a",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from comface_bench.data.a import A",
        "def f():\n    import comface_bench.data.a",
        'import importlib\nimportlib.import_module("comface_bench.data.a")',
    ],
)
@pytest.mark.parametrize("longer", [False, True])
def test_planted_circle_is_found(tmp_path, back, longer):
    folder = tmp_path / "benchmark" / "data"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "a.py").write_text("from comface_bench.data.b import B\n")
    (folder / "d.py").write_text("from comface_bench.data.a import A\nfrom comface_bench.data.b import B\n")
    (folder / "b.py").write_text(f"from comface_bench.data.c import C\n{'' if longer else back}\n")
    (folder / "c.py").write_text(f"{back if longer else ''}\n")
    (path,) = circles(graph_of(tmp_path))
    assert path == ["data.a", "data.b", *(["data.c"] if longer else []), "data.a"]


def test_two_planted_circles_are_found():
    graph = {"a": {"b"}, "b": {"a", "c"}, "c": {"d"}, "d": {"e"}, "e": {"c", "f"}, "f": set()}
    assert circles(graph) == [["a", "b", "a"], ["c", "d", "e", "c"]]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_every_source_file_is_seen():
    seen = {path for _, path in modules(ROOT)}
    assert {layer_of(module) for module, _ in modules(ROOT)} - {"version"} == set(ALLOWED)
    assert ROOT / "benchmark" / "core" / "errors.py" in seen
    assert ROOT / "tasks" / "formats" / "fgnet.py" in seen


@pytest.mark.parametrize(
    ("path", "text", "said"),
    [
        ("benchmark/core/card.py", "from comface_bench.data.task import Task", "core imports data"),
        ("benchmark/core/card.py", "import comface_bench.engine.heads", "core imports engine"),
        ("benchmark/core/card.py", "from comface_bench import engine", "core imports engine"),
        (
            "benchmark/results/store.py",
            "def f():\n    import comface_bench.engine.heads",
            "results imports engine",
        ),
        ("benchmark/stats/m.py", "from comface_bench.results.schema import Record", "stats imports results"),
        ("tasks/age.py", "from comface_bench.data.manifest import Manifest", "tasks imports data"),
        (
            "comface/model.py",
            "from comface_bench.core.registry import Entry",
            "comface imports core.registry",
        ),
        ("benchmark/engine/x.py", "from comface_bench.execute.plan import Plan", "engine imports execute"),
        (
            "benchmark/core/t.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import comface_bench.data.task",
            "core imports data",
        ),
        ("baselines/x.py", "import torch", "baselines imports torch at the top"),
        ("benchmark/engine/protocols/x.py", "import torch", "engine imports torch at the top"),
        ("leaderboards/x.py", "from pandas import DataFrame", "leaderboards imports pandas at the top"),
        ("benchmark/cli/x.py", "class A:\n    import torch.nn", "cli imports torch at the top"),
        (
            "benchmark/execute/x.py",
            "try:\n    import timm\nexcept ImportError:\n    pass",
            "execute imports timm",
        ),
        (
            "tasks/y.py",
            'import importlib\nimportlib.import_module("comface_bench.cli.main")',
            "tasks imports cli",
        ),
    ],
)
def test_planted_violation_is_found(tmp_path, path, text, said):
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_text(text + "\n")
    (found,) = violations(tmp_path)
    assert found.startswith(f"{path}:")
    assert said in found


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("baselines/x.py", "def build():\n    import torch"),
        ("leaderboards/x.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pandas"),
        ("benchmark/engine/protocols/x.py", "def run(jobs, context):\n    import torch"),
        ("benchmark/engine/x.py", "import torch\nfrom comface_bench.data.task import Task"),
        ("benchmark/execute/x.py", "from comface_bench.results.store import ResultStore"),
        ("comface/x.py", "import torch\nfrom comface_bench.core.errors import UsageError"),
        ("benchmark/core/x.py", "from comface_bench.version import __version__"),
    ],
)
def test_what_is_allowed_is_not_reported(tmp_path, path, text):
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_text(text + "\n")
    assert violations(tmp_path) == []


@pytest.mark.parametrize(
    "words",
    [
        ["-c", "import comface_bench"],
        ["-c", "import comface_bench.leaderboards"],
        ["-m", "comface_bench", "--help"],
        ["-m", "comface_bench", "list", "methods", "--json"],
        ["-m", "comface_bench", "list", "tasks"],
        ["-m", "comface_bench", "list", "tasks", "--data", "elsewhere", "--no-plugins"],
        ["-m", "comface_bench", "list", "protocols"],
        ["-m", "comface_bench", "show", "age"],
        ["-m", "comface_bench", "show", "farl"],
        ["-m", "comface_bench", "show", "linear"],
    ],
    ids=" ".join,
)
def test_light_commands_import_neither_torch_nor_pandas_nor_numpy(words, tmp_path):
    command = [sys.executable, "-X", "importtime", *words]
    process = subprocess.run(command, cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    imported = {line.rpartition("|")[2].strip() for line in process.stderr.splitlines()}
    assert "comface_bench.version" in imported
    assert not {name.partition(".")[0] for name in imported} & (HEAVY | {"scipy"})
    if "-m" in words:
        assert not {"numpy", "pydantic", "rich"} & imported
