"""Documents for developers are held to the code: paths that they name, and the example that they print."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PATH = re.compile(
    r"`((?:benchmark|baselines|tasks|comface|leaderboards|timings|tests|docs|findings|examples|\.ci)/[^`\s]*)`"
)


@pytest.mark.parametrize("name", ["docs/architecture.md", "CONTRIBUTING.md", "README.md"])
def test_paths_that_a_document_names_exist(name):
    named = PATH.findall((ROOT / name).read_text())
    assert named
    assert [path for path in named if "NAME" not in path and not (ROOT / path).exists()] == []


def test_the_architecture_names_every_layer():
    text = (ROOT / "docs" / "architecture.md").read_text()
    layers = [path.parent for path in (ROOT / "benchmark").glob("*/__init__.py")]
    assert len(layers) > 5
    assert [layer.name for layer in layers if f"`benchmark/{layer.name}/`" not in text] == []


def test_the_example_of_a_method_runs(tmp_path, call):
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
    plugin = tmp_path / "my_method.py"
    plugin.write_text(example)
    small = ["image_size=32", "epochs=1", "pairs_per_epoch=16"]
    status, out, err = call(
        *["run", "--plugin", plugin, "--method", "my-method", "--task", "synth-age", "--protocol", "quick"],
        *[word for value in small for word in ("-o", value)],
        *["--folds", "0", "--results", tmp_path / "results", "--no-leaderboard"],
    )
    assert status == 0, err
    assert "my-method" in out
    status, out, err = call("test", "method", "my-method", "--plugin", plugin)
    assert status == 0, out + err


def test_the_tour_of_python_runs(tmp_path, monkeypatch):
    snippets = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.DOTALL)
    assert len(snippets) > 5
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    names: dict[str, object] = {}
    for snippet in snippets:
        exec(snippet, names)
    assert (tmp_path / "synth-age.png").stat().st_size > 1000
    assert names["features"].shape == (2, 512)
    assert len(names["results"]) == 2
    assert "years" in str(names["estimate"])
    assert names["image"].equal(names["images"][0])
