"""Registries, plugins of packages and files, and duplicate names."""

from __future__ import annotations

import hashlib
import os
import py_compile
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace

import pytest

from comface_bench.core import registry as registry_module
from comface_bench.core.digest import digest
from comface_bench.core.errors import DuplicateNameError, PluginError, UnknownNameError, UsageError
from comface_bench.core.protocol import PROTOCOLS_GROUP, protocol_names, resolve_protocol
from comface_bench.core.registry import MOST_OF_FAMILY, method_registry, task_registry
from comface_bench.stats.metrics import METRICS, METRICS_GROUP, compute_metrics, metric_registry

ACTION_UNITS = (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)
PAPER_TASKS = [*(f"disfa-au{unit}" for unit in ACTION_UNITS), "edema-a", "edema-b", "age"]
SYNTH_TASKS = [*(f"synth-au{unit}" for unit in ACTION_UNITS), "synth-weight", "synth-age"]


@pytest.fixture(scope="module")
def methods():
    return method_registry(plugins=False)


@pytest.fixture(scope="module")
def tasks():
    return task_registry(plugins=False)


def test_a_file_that_is_named_as_a_task_is_one_of_csv(tasks, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my-data").mkdir()
    (tmp_path / "my-data" / "faces.csv").write_text("image,subject,age\n")
    for ask in (tasks.get, lambda name: tasks.expand([name])):
        with pytest.raises(UnknownNameError, match=r"Did you mean csv:my-data/faces\.csv\?"):
            ask("my-data/faces.csv")
        with pytest.raises(UnknownNameError) as raised:
            ask("my-data/other.csv")
        assert "my-data/other.csv?" not in str(raised.value)


def test_a_plugin_file_of_an_unknown_name_is_offered(methods, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownNameError) as raised:
        methods.get("my-net")
    assert "--plugin" not in raised.value.hint
    (tmp_path / "my_net.py").write_text("")
    with pytest.raises(UnknownNameError) as raised:
        methods.get("my-net")
    assert raised.value.hint.startswith("If my_net.py declares it: --plugin my_net.py\n")


def test_built_in_methods(methods):
    assert {"scratch", "imagenet", "comface"} <= set(methods.names())
    assert set(methods.names().values()) == {"comface-bench"}


def test_built_in_tasks(tasks):
    assert set(PAPER_TASKS + SYNTH_TASKS) <= set(tasks.names())
    assert list(tasks.names()) == sorted(tasks.names())


def test_every_declared_reference_resolves(methods, tasks):
    for entry in methods.declared():
        assert callable(entry.resolve(entry.card.build)), entry.card.name
    for entry in tasks.declared():
        assert callable(entry.resolve(entry.card.read)), entry.card.name


def test_every_card_says_what_a_list_shows(methods, tasks):
    for entry in [*methods.declared(), *tasks.declared()]:
        assert entry.card.summary, entry.card.name
        assert entry.card.licence, entry.card.name


def test_declared_entries_are_sorted_and_have_the_names_of_the_list(methods):
    assert [entry.card.name for entry in methods.declared()] == list(methods.names())


def test_families(methods):
    assert {family.prefix for family in methods.families()} >= {"timm/", "open_clip/"}
    for family in methods.families():
        assert methods.get(family.example).card.name == family.example


@pytest.mark.parametrize(
    ("name", "backbone", "drawn"),
    [
        ("timm/resnet18", "resnet18", True),
        ("timm/resnet18.a1_in1k", "resnet18", False),
        ("open_clip/ViT-B-16/openai", "ViT-B-16", False),
        ("open_clip/ViT-B-16", "ViT-B-16", True),
    ],
)
def test_names_of_a_family_have_cards_of_their_own(methods, name, backbone, drawn):
    card = methods.get(name).card
    assert (card.name, card.backbone, card.drawn) == (name, backbone, drawn)


@pytest.mark.parametrize("prefix", ["timm/", "open_clip/"])
def test_a_family_needs_more_than_its_prefix(methods, prefix):
    with pytest.raises(UsageError, match="needs a"):
        methods.get(prefix)


def test_unknown_names_offer_near_ones(methods, tasks):
    with pytest.raises(UnknownNameError, match=r"no method is called 'imagnet'.*imagenet"):
        methods.get("imagnet")
    with pytest.raises(UnknownNameError, match=r"no task is called 'synth-agee'.*synth-age"):
        tasks.get("synth-agee")


def test_patterns_expand_in_order_and_keep_options(tasks):
    assert tasks.expand(["synth-w*", "age", "synth-*t"]) == ["synth-weight", "age"]
    assert tasks.expand(["edema-?+split=leave-one-out"]) == [
        "edema-a+split=leave-one-out",
        "edema-b+split=leave-one-out",
    ]
    assert len(tasks.expand(["disfa-*"])) == 12


def test_names_of_a_family_expand_to_themselves(methods):
    assert methods.expand(["timm/resnet10t", "scratch+backbone=resnet18"]) == [
        "timm/resnet10t",
        "scratch+backbone=resnet18",
    ]


@pytest.mark.parametrize("pattern", ["nothing-*", "nothing"])
def test_expanding_what_nobody_knows_is_an_error(tasks, pattern):
    with pytest.raises(UnknownNameError):
        tasks.expand([pattern])


def test_a_pattern_of_a_family_means_its_names(methods):
    assert methods.expand(["timm/resnet1[08][dt]", "timm/resnet18+preprocess=imagenet"]) == [
        "timm/resnet10t",
        "timm/resnet18d",
        "timm/resnet18+preprocess=imagenet",
    ]
    with pytest.raises(UnknownNameError, match=r"no method matches 'timm/nothing\*'"):
        methods.expand(["timm/nothing*"])


def test_a_pattern_that_means_many_networks_starts_none(methods):
    count = len(methods.match("timm/*"))
    assert count > MOST_OF_FAMILY
    with pytest.raises(UsageError, match=rf"'timm/\*' means {count:,} methods, .* 20 at most") as caught:
        methods.expand(["scratch", "timm/*+preprocess=imagenet"])
    assert "comface-bench list methods 'timm/*'" in caught.value.hint
    assert "--method timm/resnet18" in caught.value.hint


def test_a_pattern_of_fixed_names_is_of_any_number(methods, tasks):
    assert "timm/resnet18" not in methods.expand(["*"])
    assert len(tasks.expand(["*"])) > MOST_OF_FAMILY


def test_a_pattern_of_a_family_without_a_list_says_what_to_type(tasks):
    with pytest.raises(UsageError, match=r"'csv:\*' is a pattern") as caught:
        tasks.expand(["csv:*"])
    assert "--task csv:FILE" in caught.value.hint


def test_references_that_lead_nowhere_are_plugin_errors(methods):
    entry = methods.get("scratch")
    with pytest.raises(PluginError, match="has no function 'nothing'"):
        entry.resolve(":nothing")
    with pytest.raises(PluginError, match="can't import comface_bench_nothing"):
        entry.resolve("comface_bench_nothing:build")


def test_hooks_are_optional(methods):
    assert methods.get("scratch").hook("find_weights") is None
    assert callable(methods.get("timm/resnet18").hook("find_weights"))


def test_listing_imports_neither_torch_nor_pandas():
    code = (
        "import sys\n"
        "from comface_bench.core.registry import method_registry, task_registry\n"
        "names = [*method_registry().names(), *task_registry().names()]\n"
        "assert 'scratch' in names\n"
        "heavy = {'torch', 'pandas', 'timm', 'open_clip', 'torchvision', 'numpy'}\n"
        "print(*sorted(heavy & set(sys.modules)))\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []


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

    def add(name, module, text, group=registry_module.METHODS_GROUP, value=None):
        (tmp_path / f"{module}.py").write_text(text)
        monkeypatch.delitem(sys.modules, module, raising=False)
        offered.append(FakeEntryPoint(name=name, value=value or module, group=group))

    monkeypatch.setattr(
        registry_module, "entry_points", lambda group: [point for point in offered if point.group == group]
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


def test_a_file_that_changed_is_run_anew_and_has_another_source(plugin_file):
    """Also at an equal size and time, by which Python tells whether its bytecode is of a text."""
    path = plugin_file(backbone="one")
    first = method_registry([path], plugins=False).get("mine")
    times = path.stat().st_mtime_ns
    plugin_file(backbone="two")
    os.utime(path, ns=(times, times))
    second = method_registry([path], plugins=False).get("mine")
    assert (first.card.backbone, second.card.backbone) == ("one", "two")
    assert second.resolve(second.card.build)({}, None, 0) == "two"
    assert len(first.source) == len(second.source) == 16
    assert first.source != second.source
    plugin_file(backbone="one")
    assert method_registry([path], plugins=False).get("mine").source == first.source


def test_bytecode_of_an_earlier_text_is_not_run(plugin_file, monkeypatch):
    """As an earlier process may have left it beside the file."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path = plugin_file(backbone="one")
    times = path.stat().st_mtime_ns
    py_compile.compile(str(path))
    plugin_file(backbone="two")
    os.utime(path, ns=(times, times))
    assert method_registry([path], plugins=False).get("mine").card.backbone == "two"


def test_what_comes_with_comface_bench_has_no_source(methods):
    assert methods.get("scratch").source is None


def test_the_source_of_an_installed_plugin_is_that_of_its_package(install, tmp_path):
    package = tmp_path / "theirs_package"
    (package / "deep").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "layers.py").write_text("WIDTH = 1\n")
    (package / "deep" / "__init__.py").write_text("")
    text = METHOD.format(name="theirs", backbone="net")
    (package / "deep" / "method.py").write_text(text)
    install("theirs", "unused_module", "", value="theirs_package.deep.method")
    found = []
    for layers in ("WIDTH = 1\n", "WIDTH = 2\n", "WIDTH = 1\n"):
        (package / "layers.py").write_text(layers)
        registry_module._package_source.cache_clear()  # As in another process.
        found.append(method_registry().get("theirs").source)
    assert found[0] == found[2] != found[1]
    alone = tmp_path / "alone_module.py"
    install("alone", "alone_module", METHOD.format(name="alone", backbone="net"))
    expected = hashlib.sha256(alone.read_bytes()).hexdigest()
    assert method_registry().get("alone").source == digest([["alone_module.py", expected]])[:16]


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
        registry_module.load_plugin_file(path)
    assert told in caught.value.message
    assert str(path) in caught.value.message
    assert not [name for name in set(sys.modules) - before if "mine" in name]


def test_what_a_file_was_told_keeps_its_hint(plugin_file):
    text = "from comface_bench.core.errors import UsageError\n\nraise UsageError('no {name}', 'Do this.')\n"
    with pytest.raises(PluginError, match=r"mine\.py:3 fails: no mine\nDo this") as caught:
        registry_module.load_plugin_file(plugin_file(text=text))
    assert caught.value.hint == "Do this."


def test_a_file_that_was_interrupted_is_run_anew(plugin_file, tmp_path):
    later = str(tmp_path / "later")
    text = f"import os\nif not os.path.exists({later!r}):\n    raise KeyboardInterrupt\n"
    path = plugin_file(text=text + METHOD)
    with pytest.raises(KeyboardInterrupt):
        method_registry([path], plugins=False).get("mine")
    (tmp_path / "later").touch()
    assert method_registry([path], plugins=False).get("mine").card.name == "mine"


def test_a_file_that_is_named_in_two_ways_is_one(plugin_file, tmp_path, monkeypatch):
    path = plugin_file()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link.py").symlink_to(path)
    files = [Path("mine.py"), Path("./mine.py"), tmp_path / "a" / ".." / "mine.py", Path("link.py"), path]
    registry = method_registry(files, plugins=False)
    assert registry.names()["mine"] == "mine.py"
    assert registry.get("mine").card.backbone == "net"


def test_files_that_are_not_python_are_refused(plugin_file):
    with pytest.raises(PluginError, match="no Python file"):
        registry_module.load_plugin_file(plugin_file(file="mine.txt"))


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


@pytest.mark.parametrize(
    ("registry_of", "group", "name"),
    [
        (method_registry, registry_module.METHODS_GROUP, "timm/theirs"),
        (task_registry, registry_module.TASKS_GROUP, "csv:theirs.csv"),
    ],
)
def test_an_entry_point_never_hides_behind_a_family(install, registry_of, group, name):
    install(name, "theirs_module", METHOD.format(name=name, backbone="net"), group=group)
    with pytest.raises(DuplicateNameError, match=r"comface-bench, one of fake-package") as caught:
        registry_of().get(name)
    assert repr(name) in caught.value.message
    assert "theirs_module" not in sys.modules


@pytest.mark.parametrize("text", [METHOD, 'FAMILY = {name!r}\nEXAMPLE = "timm/resnet18"\n'])
def test_a_file_never_takes_a_name_of_a_family(plugin_file, text):
    path = plugin_file("timm/resnet", text=text)
    told = f"two methods are called 'timm/resnet': one of comface-bench, one of {path}"
    with pytest.raises(DuplicateNameError, match=told):
        method_registry([path], plugins=False).get("timm/resnet18")


def test_two_entry_points_of_one_name_are_refused_with_both_origins(install):
    for module in ("one_module", "two_module"):
        install("theirs", module, METHOD.format(name="theirs", backbone="net"))
    with pytest.raises(DuplicateNameError, match=r"fake-package \(one_module\).*fake-package \(two_module\)"):
        method_registry().names()


def test_groups_are_kept_apart(install):
    install("theirs", "theirs_module", "", group=registry_module.TASKS_GROUP)
    assert "theirs" in task_registry().names()
    assert "theirs" not in method_registry().names()


PROTOCOL = """
import dataclasses
from comface_bench.engine.protocols.training import LINEAR
CARD = dataclasses.replace(LINEAR, name={name!r}, order=1)
"""
METRIC = """
from comface_bench.stats.metrics import MetricCard
CARD = MetricCard.mean_of({name!r}, "Mean", lambda y, yhat: yhat)
"""


def test_a_protocol_of_an_installed_package_is_resolved_by_its_name(install):
    install("theirs", "their_protocol", PROTOCOL.format(name="theirs"), group=PROTOCOLS_GROUP)
    assert protocol_names() == ["probe", "linear", "finetune", "quick", "patient-specific", "theirs"]
    assert "their_protocol" not in sys.modules
    protocol = resolve_protocol("theirs", "age", {"epochs": "3"})
    assert (protocol.name, protocol.trains) == ("theirs+epochs=3", "head")
    install("quick", "other_protocol", PROTOCOL.format(name="quick"), group=PROTOCOLS_GROUP)
    with pytest.raises(DuplicateNameError, match=r"two protocols are called 'quick'.*comface-bench.*fake"):
        resolve_protocol("linear", "age")


def test_a_metric_of_an_installed_package_is_found_by_its_name(install):
    install("mean", "their_metric", METRIC.format(name="mean"), group=METRICS_GROUP)
    assert "mean" in METRICS
    assert list(METRICS)[-1] == "mean"
    assert "their_metric" not in sys.modules
    assert compute_metrics([1.0, 2.0], [3.0, 4.0], ["mean", "mae"])["mean"].value == 3.5
    assert "mean" not in metric_registry(plugins=False).names()
    install("mae", "other_metric", METRIC.format(name="mae"), group=METRICS_GROUP)
    with pytest.raises(DuplicateNameError, match=r"two metrics are called 'mae'.*comface-bench.*fake"):
        metric_registry().get("pearson")
