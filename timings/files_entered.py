"""Files of this package in which a run enters a function, and the size of each of its rooms.

    python timings/files_entered.py [--files]

Traces, in this process, `run --method timm/resnet18 --task synth-age --protocol linear` with one fold, one
epoch and images of 64 pixels until its Markdown page is written, and prints the number of files and lines
by room. A room's size is the number of its modules, of the imports among them (typing-only ones and those
inside functions included) and of the modules in its longest chain of imports. --files names the files.
"""

from __future__ import annotations

import argparse
import ast
import collections
import contextlib
import inspect
import io
import os
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import CodeType, FrameType

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {
    "comface_bench.baselines": "baselines",
    "comface_bench.comface": "comface",
    "comface_bench.leaderboards": "leaderboards",
    "comface_bench.tasks": "tasks",
    "comface_bench": "benchmark",
}
"""Package → its folder; the rest of the package lies in the last."""
COMMAND = (
    *("run", "--method", "timm/resnet18", "--task", "synth-age", "--protocol", "linear", "--folds", "0"),
    *("-o", "epochs=1", "--device", "cpu"),
)
OPTIONS = ("-o", "image_size=64")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", action="store_true", help="name the files that were entered")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        # No images that an earlier run has decoded.
        os.environ["COMFACE_CACHE"] = f"{folder}/cache"
        with trace_files() as entered:
            run(Path(folder) / "results")
    print_entered(entered, wanted.files)
    print()
    print_rooms(sources())


def run(results: Path, options: Iterable[str] = OPTIONS) -> None:
    """Run the command and check that it leaves a Markdown page."""
    from comface_bench.cli.main import main as command

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            status = command([*COMMAND, *options, "--results", str(results)])
        except SystemExit as end:
            status = int(end.code or 0)
    assert status == 0 and any((results / "leaderboard").rglob("linear*.md")), f"the run failed: {status}"


@contextlib.contextmanager
def trace_files() -> Iterator[set[Path]]:
    """Collect the files of the package in which a function is entered, in any thread.

    Bodies of modules and classes, comprehensions and lambdas don't count as functions.
    """
    codes: set[CodeType] = set()
    found: set[Path] = set()
    before = sys.gettrace()

    def note(frame: FrameType, *_: object) -> None:
        codes.add(frame.f_code)

    threading.settrace(note)
    sys.settrace(note)
    try:
        yield found
    finally:
        sys.settrace(before)
        threading.settrace(None)  # type: ignore[arg-type]
        installed = {_installed(module, path): path for module, path in sources().items()}
        files = {Path(code.co_filename) for code in codes if is_function(code)}
        found |= {installed[file] for file in files if file in installed}


def is_function(code: CodeType) -> bool:
    return bool(code.co_flags & inspect.CO_OPTIMIZED) and not code.co_name.startswith("<")


def sources() -> dict[str, Path]:
    """Return the modules of the package and their files."""
    found = {}
    for package, folder in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            found[".".join([package, *parts]).removesuffix(".__init__")] = path
    return found


def _installed(module: str, path: Path) -> Path:
    """Return where a module is run from: its file here, or its copy where the package is installed."""
    import comface_bench

    home = Path(comface_bench.__file__).parent
    if home == ROOT / FOLDERS["comface_bench"]:
        return path
    parts = module.split(".")[1:]
    return (
        home.joinpath(*parts, "__init__.py")
        if path.name == "__init__.py"
        else home.joinpath(*parts).with_suffix(".py")
    )


def room_of(module: str) -> str:
    """Return the package below `comface_bench` that a module belongs to."""
    return module.removeprefix("comface_bench").removeprefix(".").partition(".")[0] or "the package"


def print_entered(entered: set[Path], files: bool) -> None:
    lines = {path: path.read_text().count("\n") for path in entered}
    print(f"{len(entered)} files entered, {sum(lines.values()):,} lines")
    rooms = collections.defaultdict[str, list[Path]](list)
    for module, path in sources().items():
        if path in entered:
            rooms[room_of(module)].append(path)
    for room, paths in sorted(rooms.items(), key=lambda item: -len(item[1])):
        print(f"  {room} {len(paths)} files, {sum(lines[path] for path in paths):,} lines")
        for path in paths if files else ():
            print(f"    {path.relative_to(ROOT)} {lines[path]}")


def print_rooms(modules: Mapping[str, Path]) -> None:
    graph = {module: imports_of(path, modules) - {module} for module, path in modules.items()}
    rooms = collections.defaultdict[str, set[str]](set)
    for module, path in modules.items():
        if path.name != "__init__.py":
            rooms[module.rpartition(".")[0]].add(module)
    print("room: modules / imports inside / modules in the longest chain of imports")
    for room, members in sorted(rooms.items()):
        inside = {module: graph[module] & members for module in members}
        imports = sum(len(targets) for targets in inside.values())
        print(f"  {room}: {len(members)} / {imports} / {max(chain(inside, one) for one in members)}")


def imports_of(path: Path, modules: Mapping[str, Path]) -> set[str]:
    """Return the modules of the package that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in modules else node.module for name in names}
    return found & set(modules)


def chain(inside: Mapping[str, set[str]], module: str, before: tuple[str, ...] = ()) -> int:
    """Return the number of modules in the longest chain of imports that begins at a module."""
    path = (*before, module)
    return 1 + max(
        (chain(inside, target, path) for target in inside[module] if target not in path), default=0
    )


if __name__ == "__main__":
    main()
