"""Grids: files that declare studies, and the requests that they mean."""

from pathlib import Path
from typing import Any

import pytest

from comface_bench.core.errors import UnknownNameError, UsageError
from comface_bench.execute.grid import Grid, make_requests, read_grids


def write(folder: Path, text: str) -> Path:
    path = folder / "study.toml"
    path.write_text(text)
    return path


def test_a_file_has_every_key_of_the_command_line(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        'method = ["farl", "scratch"]\ntask = "synth-*"\nprotocol = "linear"\nseeds = [0, 2]\nfolds = 1\n'
        'data = "d"\nresults = "r"\ndevice = "cpu"\nplugin = "p.py"\nno-plugins = true\n'
        "[options]\nlearning_rate = [0.01, 1e-3]\nimage_size = 64\nhead = 'concat'\n",
    )
    assert read_grids(path, {}) == [
        Grid(
            method=["farl", "scratch"],
            task=["synth-*"],
            protocol=["linear"],
            options={"learning_rate": ["0.01", "0.001"], "image_size": ["64"], "head": ["concat"]},
            folds=[1],
            seeds=[0, 2],
            data=Path("d"),
            results=Path("r"),
            device="cpu",
            plugin=[Path("p.py")],
            no_plugins=True,
        )
    ]


def test_runs_override_the_top_and_the_command_line_overrides_both(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        'method = "farl"\ntask = "age"\nseeds = 1\noptions = {head = "concat", image_size = 64}\n'
        '[[run]]\nprotocol = "probe"\nseeds = 2\noptions = {image_size = 32}\n[[run]]\nmethod = "scratch"\n',
    )
    given = {"task": ["synth-age"], "options": {"head": ["difference"]}}
    first, second = read_grids(path, given)
    assert (first.method, first.task, first.protocol, first.seeds) == (
        ["farl"],
        ["synth-age"],
        ["probe"],
        [2],
    )
    assert first.options == {"head": ["difference"], "image_size": ["32"]}
    assert (second.method, second.protocol, second.seeds) == (["scratch"], ("linear",), [1])
    assert second.options == {"head": ["difference"], "image_size": ["64"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("metod = 'farl'", "no key is called 'metod'. Did you mean method"),
        ("[[run]]\n[[run]]\nsed = 1", r"\[\[run\]\] 2: no key is called 'sed'. Did you mean seeds"),
        ("method = 'farl'\ntask = 'a' 'b'", r"study.toml: .*line 2"),
        ("method = 3", "method isn't a text or a list of texts: 3"),
        ("seeds = [0, -1]", "seeds isn't a whole number from 0"),
        ("seeds = true", "seeds isn't a whole number from 0"),
        ("folds = []", "folds isn't a whole number from 0"),
        ("no-plugins = 'yes'", "no-plugins isn't true or false"),
        ("options = 'epochs=3'", "options isn't a table"),
        ("options = {epochs = [[1]]}", "options isn't a table of options"),
        ("[run]\nmethod = 'farl'", "run isn't a table"),
        ("[[run]]\nresults = 'r'", r"\[\[run\]\] 1 has results, which is one for the whole file"),
    ],
)
def test_what_a_file_has_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as wrong:
        read_grids(write(tmp_path, text), {})
    assert "study.toml" in wrong.value.message
    assert wrong.value.hint


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"study\.toml can't be read: No such file"):
        read_grids(tmp_path / "study.toml", {})
    (tmp_path / "study.toml").write_bytes(b"method = '\xff'")
    with pytest.raises(UsageError, match="isn't UTF-8"):
        read_grids(tmp_path / "study.toml", {})


def settings(*grids: Grid) -> list[tuple[str, dict[str, Any]]]:
    return [(request.protocol, dict(request.options)) for request in make_requests(grids)]


def test_values_of_options_are_multiplied_and_go_to_the_protocols_that_take_them() -> None:
    grid = Grid(
        protocol=["probe,linear"],
        options={"epochs": ["2", "3"], "image_size": ["32", "64"], "backbone": ["resnet18"]},
    )
    common = [{"image_size": size, "backbone": "resnet18"} for size in ("32", "64")]
    assert settings(grid) == [("probe", options) for options in common] + [
        ("linear", {"epochs": epochs, **options}) for epochs in ("2", "3") for options in common
    ]


def test_an_option_goes_to_the_protocols_of_other_runs_too() -> None:
    grids = [Grid(protocol=[name], options={"epochs": ["2"]}) for name in ("probe", "linear")]
    assert settings(*grids) == [("probe", {}), ("linear", {"epochs": "2"})]


def test_protocols_may_be_patterns_with_overrides() -> None:
    assert [name for name, _ in settings(Grid(protocol=["*ine*+epochs=3"]))] == [
        "finetune+epochs=3",
        "linear+epochs=3",
    ]
    assert {"probe", "linear", "finetune", "quick"} <= {name for name, _ in settings(Grid(protocol=["*"]))}
    with pytest.raises(UnknownNameError, match="no protocol matches 'x\\*'"):
        settings(Grid(protocol=["x*"]))
    with pytest.raises(UsageError, match="no protocol is named"):
        settings(Grid(protocol=[" "]))
