"""pyproject.toml against the source."""

import ast
import itertools
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FOLDERS = ("benchmark", "baselines", "comface", "leaderboards", "tasks")

IMPORT_NAMES = {
    "open-clip-torch": "open_clip",
    "pillow": "PIL",
    "huggingface-hub": "huggingface_hub",
    "dlib-bin": "dlib",
}
COMES_WITH = {"warp": "anny"}
"""Import name → the dependency that brings it along, on purpose."""


def declared() -> dict[str, str]:
    """Import name → requirement, of all dependencies and extras."""
    project = PROJECT["project"]
    extras = project["optional-dependencies"].values()
    requirements = [*project["dependencies"], *itertools.chain.from_iterable(extras)]
    found = {}
    for requirement in requirements:
        match = re.match(r"[A-Za-z0-9_-]+", requirement)
        assert match is not None
        found[IMPORT_NAMES.get(match[0], match[0]).replace("-", "_")] = requirement
    return found


def test_every_folder_of_code_is_packaged() -> None:
    mapping = PROJECT["tool"]["setuptools"]["package-dir"]
    names = set()
    for package, folder in mapping.items():
        for path in (ROOT / folder).rglob("__init__.py"):
            inner = path.parent.relative_to(ROOT / folder).parts
            names.add(".".join([package, *inner]))
    assert names == set(PROJECT["tool"]["setuptools"]["packages"])


def test_every_import_is_declared() -> None:
    known = declared()
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    names = [node.module or ""]
                else:
                    continue
                for name in {name.partition(".")[0] for name in names}:
                    if name not in sys.stdlib_module_names and name != "comface_bench":
                        assert COMES_WITH.get(name, name) in known, f"{path} imports {name}"


def test_every_lower_bound_has_a_reason_beside_it() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    runtime = text[text.index("dependencies = [") : text.index("[project.optional-dependencies]")]
    bounds = [line for line in runtime.splitlines() if line.strip().startswith('"')]
    assert len(bounds) == len(PROJECT["project"]["dependencies"])
    for line in bounds:
        assert re.search(r">=.*#\s+\S{3,}", line), line


def test_the_readme_has_two_set_up_commands() -> None:
    text = (ROOT / "README.md").read_text()
    commands = re.findall(r"<!-- (main|test) command -->\n```sh\n(.+)\n```\n<!-- end -->", text)
    assert [kind for kind, _ in commands] == ["main", "test"]
    assert all("python3 -m venv .venv" in command and "\n" not in command for _, command in commands)
