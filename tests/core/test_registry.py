from __future__ import annotations

import subprocess
import sys

import pytest

from comface_bench.core.errors import PluginError, UnknownNameError, UsageError
from comface_bench.core.registry import method_registry, task_registry

ACTION_UNITS = (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)
PAPER_TASKS = [*(f"disfa-au{unit}" for unit in ACTION_UNITS), "edema-a", "edema-b", "age"]
SYNTH_TASKS = [*(f"synth-au{unit}" for unit in ACTION_UNITS), "synth-weight", "synth-age"]


@pytest.fixture(scope="module")
def methods():
    return method_registry(plugins=False)


@pytest.fixture(scope="module")
def tasks():
    return task_registry(plugins=False)


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
