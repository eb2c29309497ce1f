from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from types import SimpleNamespace

import pytest

from comface_bench.core import plugins
from comface_bench.core.errors import DuplicateNameError, PluginError, UnknownNameError
from comface_bench.core.registry import method_registry, task_registry

METHOD = """
from comface_bench.core.card import MethodCard

CARD = MethodCard(name={name!r}, version=1, build=":build", backbone={backbone!r})


def build(options, weights, seed):
    return {backbone!r}
"""
MARK = "MARK = 'ran'\n"


class FakeEntryPoint(EntryPoint):
    """An entry point that knows its distribution."""

    dist = SimpleNamespace(name="fake-package")


@pytest.fixture
def plugin_file(tmp_path):
    def write(name="mine", file="mine.py", backbone="net", text=METHOD):
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.format(name=name, backbone=backbone))
        return path

    return write


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Offer modules as entry points of an installed package: `install(name, module, text)`."""
    monkeypatch.syspath_prepend(tmp_path)
    offered = []

    def add(name, module, text, group=plugins.METHODS_GROUP, value=None):
        (tmp_path / f"{module}.py").write_text(text)
        monkeypatch.delitem(sys.modules, module, raising=False)
        offered.append(FakeEntryPoint(name=name, value=value or module, group=group))

    monkeypatch.setattr(
        plugins, "entry_points", lambda group: [point for point in offered if point.group == group]
    )
    yield add
    for point in offered:
        sys.modules.pop(point.module, None)


def test_a_file_adds_its_method(plugin_file):
    path = plugin_file()
    registry = method_registry([path], plugins=False)
    assert registry.names()["mine"] == str(path)
    entry = registry.get("mine")
    assert (entry.card.name, entry.origin) == ("mine", str(path))
    assert entry.resolve(entry.card.build)({}, None, 0) == "net"


def test_a_file_of_methods_adds_no_task(plugin_file):
    registry = task_registry([plugin_file()], plugins=False)
    assert "mine" not in registry.names()


def test_two_files_of_one_name_in_two_folders_stay_apart(plugin_file):
    files = [plugin_file("one", "a/same.py", "first"), plugin_file("two", "b/same.py", "second")]
    registry = method_registry(files, plugins=False)
    built = [registry.get(name).resolve(":build")({}, None, 0) for name in ("one", "two")]
    assert built == ["first", "second"]


def test_a_file_is_run_once(plugin_file, tmp_path):
    path = plugin_file(text=METHOD + f"open({str(tmp_path / 'runs')!r}, 'a').write('x')\n")
    for _ in range(2):
        assert method_registry([path], plugins=False).get("mine").card.backbone == "net"
    assert (tmp_path / "runs").read_text() == "x"


def test_a_file_that_repeats_a_built_in_name_is_refused_with_both_origins(plugin_file):
    path = plugin_file("scratch")
    with pytest.raises(DuplicateNameError) as caught:
        method_registry([path], plugins=False).names()
    assert "'scratch'" in caught.value.message
    assert "comface-bench" in caught.value.message
    assert str(path) in caught.value.message


def test_two_files_of_one_method_are_refused_with_both_origins(plugin_file):
    files = [plugin_file(file="a.py"), plugin_file(file="b.py")]
    with pytest.raises(DuplicateNameError) as caught:
        method_registry(files, plugins=False).get("scratch")
    assert all(str(path) in caught.value.message for path in files)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(PluginError, match=r"nothing\.py is no file"):
        method_registry([tmp_path / "nothing.py"], plugins=False).names()


@pytest.mark.parametrize(
    ("text", "told"),
    [("1 / 0", "ZeroDivisionError"), ("def", "SyntaxError"), ("import nothing_at_all", "nothing_at_all")],
)
def test_files_that_fail_say_how_and_leave_nothing_behind(plugin_file, text, told):
    path = plugin_file(text=text)
    before = set(sys.modules)
    with pytest.raises(PluginError) as caught:
        plugins.load_plugin_file(path)
    assert told in caught.value.message
    assert str(path) in caught.value.message
    assert not [name for name in set(sys.modules) - before if "mine" in name]


def test_files_that_are_not_python_are_refused(plugin_file):
    with pytest.raises(PluginError, match="no Python file"):
        plugins.load_plugin_file(plugin_file(file="mine.txt"))


def test_listing_an_entry_point_loads_nothing_and_getting_it_does(install):
    install("theirs", "theirs_module", METHOD.format(name="theirs", backbone="net"))
    registry = method_registry()
    assert registry.names()["theirs"] == "fake-package (theirs_module)"
    assert registry.expand(["their*", "scratch"]) == ["theirs", "scratch"]
    assert "theirs_module" not in sys.modules
    entry = registry.get("theirs")
    assert "theirs_module" in sys.modules
    assert entry.resolve(entry.card.build)({}, None, 0) == "net"


def test_an_entry_point_may_be_left_unasked(install):
    install("theirs", "theirs_module", METHOD.format(name="theirs", backbone="net"))
    with pytest.raises(UnknownNameError):
        method_registry(plugins=False).get("theirs")


def test_a_broken_entry_point_harms_only_who_asks_for_it(install):
    install("broken", "broken_module", "1 / 0")
    registry = method_registry()
    assert "broken" in registry.names()
    assert registry.get("scratch").card.name == "scratch"
    with pytest.raises(PluginError, match="ZeroDivisionError") as caught:
        registry.get("broken")
    assert "fake-package" in caught.value.message
    assert caught.value.hint.endswith("pip uninstall fake-package")


def test_an_entry_point_must_declare_the_name_it_offers(install):
    install("theirs", "theirs_module", METHOD.format(name="other", backbone="net"))
    with pytest.raises(PluginError, match="offers 'theirs' but declares no such card"):
        method_registry().get("theirs")


def test_an_entry_point_must_name_a_module(install):
    install(
        "theirs", "theirs_module", METHOD.format(name="theirs", backbone="net"), value="theirs_module:CARD"
    )
    with pytest.raises(PluginError, match="is no module"):
        method_registry().get("theirs")


@pytest.mark.parametrize("ask", ["names", "get"])
def test_an_entry_point_never_replaces_a_built_in(install, ask):
    install("scratch", "theirs_module", METHOD.format(name="scratch", backbone="net"))
    registry = method_registry()
    with pytest.raises(DuplicateNameError) as caught:
        registry.names() if ask == "names" else registry.get("scratch")
    assert "comface-bench" in caught.value.message
    assert "fake-package (theirs_module)" in caught.value.message
    assert "theirs_module" not in sys.modules


def test_two_entry_points_of_one_name_are_refused_with_both_origins(install):
    for module in ("one_module", "two_module"):
        install("theirs", module, METHOD.format(name="theirs", backbone="net"))
    with pytest.raises(DuplicateNameError, match=r"fake-package \(one_module\).*fake-package \(two_module\)"):
        method_registry().names()


def test_groups_are_kept_apart(install):
    install("theirs", "theirs_module", "", group=plugins.TASKS_GROUP)
    assert "theirs" in task_registry().names()
    assert "theirs" not in method_registry().names()
