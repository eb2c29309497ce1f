"""Lists of methods and tasks: cards by name, and a table."""

import pytest

import comface_bench as cb
from comface_bench.core.card import MethodCard, TaskCard
from comface_bench.core.errors import UnknownNameError

PLUGIN = """
from comface_bench.core.card import MethodCard

CARD = MethodCard(name="<b>mine</b>", version=1, build=":build", backbone="Tiny", trained_on=("Faces",))
"""


def test_methods_by_name_and_place():
    methods = cb.list_methods()
    assert len(methods) == len(methods.names) > 30
    assert isinstance(methods["comface"], MethodCard)
    assert methods[0] is methods[methods.names[0]]
    assert [card.name for card in methods[:2]] == list(methods.names[:2])
    assert [card.name for card in methods] == list(methods.names)
    with pytest.raises(UnknownNameError, match="Did you mean comface"):
        methods["comfase"]


def test_methods_as_a_table(monkeypatch, tmp_path):
    methods = cb.list_methods()
    frame = methods.to_frame().set_index("method")
    assert frame.loc["comface", ["backbone", "weights"]].tolist() == [
        "ResNet-18 (paper: ResNet-50)",
        "present",
    ]
    assert frame.loc["farl", "weights"] == "missing"
    assert frame.loc["scratch", "weights"] == "not needed"
    lines = repr(methods).splitlines()
    assert len(lines) == 1 + len(methods) + len(methods.others)
    assert lines[0].split() == ["method", "backbone", "learnt", "from", "taught", "weights"]
    assert any(line.startswith("timm/…") for line in methods.others)


def test_tasks_as_a_table(make_ages, tmp_path):
    make_ages(tmp_path)
    here = cb.list_tasks(tmp_path).to_frame().set_index("task")["here"]
    assert here[["age", "synth-age", "edema-a"]].tolist() == ["found", "ships", "missing"]
    assert isinstance(cb.list_tasks()["age"], TaskCard)


def test_names_of_plugins_are_text_in_a_notebook(tmp_path):
    plugin = tmp_path / "mine.py"
    plugin.write_text(PLUGIN)
    methods = cb.list_methods(plugins=[plugin])
    assert "<b>mine</b>" in repr(methods)
    for shown in (methods._repr_html_(), methods["<b>mine</b>"]._repr_html_()):
        assert "&lt;b&gt;mine&lt;/b&gt;" in shown
        assert "<b>" not in shown
    assert repr(methods["<b>mine</b>"]) == "<MethodCard <b>mine</b>: Tiny, learnt from Faces>"


@pytest.mark.parametrize("listed", [cb.list_methods, cb.list_tasks], ids=["methods", "tasks"])
def test_every_card_shows_itself_in_a_line(listed):
    for card in listed():
        assert "\n" not in repr(card)
        assert card.name in repr(card)
        assert len(repr(card)) < 200
        assert card.name in card._repr_html_()
