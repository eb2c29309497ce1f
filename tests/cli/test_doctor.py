"""`doctor`: what is reported, and what counts as broken."""

import json
import os
import tomllib
from pathlib import Path

import pytest

GROUPS = ("methods", "tasks", "protocols", "metrics")


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a package beside the others; whatever of it is run leaves the file `ran`."""
    monkeypatch.syspath_prepend(tmp_path)

    def add(package, points, modules=("__init__", "card", "deep/__init__", "deep/card")):
        for module in modules:
            path = tmp_path / package / f"{module}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write(__name__)\n")
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        groups = "".join(f"[comface_bench.{group}]\n{lines}\n" for group, lines in points.items())
        (info / "entry_points.txt").write_text(groups)
        return tmp_path / "ran"

    return add


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("module", ["theirs", "theirs.card", "theirs.deep.card", "theirs.card:CARD"])
def test_no_plugin_is_run(call, install, group, module):
    ran = install("theirs", {group: f"new = {module}"})
    status, out, _ = call("doctor")
    (line,) = [line for line in out.splitlines() if line.split()[:1] == ["new"]]
    assert f"a {group[:-1]} of theirs ({module}), not loaded; see it: comface-bench show new" in line
    assert (status, out.endswith("nothing is broken\n")) == (0, True)
    assert not ran.exists()


@pytest.mark.parametrize(
    "module", ["gone", "gone.card", "theirs.gone", "theirs.card.gone", "theirs.deep.gone"]
)
def test_a_plugin_without_its_module_is_broken(call, install, module):
    ran = install("theirs", {"methods": f"new = {module}"})
    status, out, _ = call("doctor")
    assert status == 1
    assert f"BROKEN: a method of theirs ({module}), whose module isn't there" in out
    assert out.endswith("broken: new\n")
    assert not ran.exists()


def test_two_plugins_of_one_name_are_broken(call, install):
    install("ours", {"tasks": "new = ours.card"})
    ran = install("theirs", {"tasks": "new = theirs.card\nage = theirs.card"})
    status, out, _ = call("doctor")
    assert status == 1
    assert "BROKEN: two tasks are called 'age': one of comface-bench, one of theirs (theirs.card)" in out
    assert not ran.exists()


def test_doctor_finds_nothing_broken(call, data):
    status, out, _ = call("doctor", "--data", data)
    assert status == 0, out
    for said in ("torch", "precision", "threads", "synthfaces/FGNET", "scratch", "nothing is broken"):
        assert said in out
    (line,) = [line for line in out.splitlines() if line.split()[:1] == ["FGNET"]]
    assert line.split()[1] == "found"


def test_doctor_in_json_has_the_same_facts(call, install, events):
    install("theirs", {"methods": "new = gone"})
    status, out, err = call("doctor", "--json")
    found = json.loads(out)
    assert (status, err, found["broken"]) == (1, "", ["new"])
    (line,) = [line for line in found["plugins"] if line["name"] == "new"]
    assert (line["broken"], "whose module isn't there" in line["text"]) == (True, True)
    text = call("doctor")[1]
    for title, lines in found.items():
        assert title == "broken" or title in text.splitlines()
        for line in lines if title not in ("broken", "folders") else []:
            assert line["text"] in text
            assert line.keys() == {"name", "text", "broken"}


def test_doctor_exits_1_if_results_can_not_be_written(call, tmp_path):
    (tmp_path / "file").write_text("no folder")
    status, out, _ = call("doctor", "--results", tmp_path / "file" / "results")
    assert status == 1
    assert "broken: results" in out
    assert os.environ["COMFACE_CACHE"] in out


def test_every_extra_that_a_command_uses_is_looked_for(call):
    declared = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    extras = declared["project"]["optional-dependencies"].keys() - {"dev", "docs"}
    assert {one["name"] for one in json.loads(call("doctor", "--json")[1])["extras"]} == extras
