"""Files that aren't what they are taken for: each is refused, says why, and leaves the network as it was."""

from __future__ import annotations

import math
import re

import pytest
from torch import nn

from comface_bench.baselines import resnet50
from comface_bench.baselines.resnet50 import key_order
from comface_bench.core.errors import WeightsFormatError
from comface_bench.core.registry import method_registry
from comface_bench.engine.encoder import load_method

CLASSES = {"imagenet": 1000, "vggface2": 8631, "simclr": 1000}
PREFIXES = {"mocov2": "module.encoder_q.", "swav": "module.", "bulat": "module.base_net."}
METHODS = ("imagenet", "vggface2", "simclr", "mocov2", "swav", "barlowtwins", "bulat")
LAYOUTS = (*METHODS, "mocov2, one process", "swav, training", "barlowtwins, training")


@pytest.fixture(scope="module")
def contents(hollow_resnet, lay_out):
    """What each method's file holds, by layout."""
    return {layout: lay_out(layout, hollow_resnet(classes=CLASSES.get(layout))) for layout in LAYOUTS}


@pytest.fixture(scope="module")
def network():
    """The network that all are loaded into."""
    return resnet50.build_backbone("resnet50")


@pytest.fixture
def untouched(network, monkeypatch):
    """Return a check that nobody has written to the network's tensors since."""
    monkeypatch.setattr(resnet50, "build_backbone", lambda name, seed: network)

    def state():
        network.fc = nn.Identity()
        return {name: (tensor.data_ptr(), tensor._version) for name, tensor in network.state_dict().items()}

    before = state()
    return lambda: state() == before


def keys_of(content):
    """The state dict inside the authors' container."""
    return content.get("state_dict") or content.get("model") or content


def with_keys(content, keys):
    """The same container around another state dict."""
    inside = next((name for name in ("state_dict", "model") if name in content), None)
    return content | {inside: keys} if inside else keys


def without_block(keys, prefix):
    return {name: value for name, value in keys.items() if not name.startswith(f"{prefix}layer3.2.")}


def transposed(keys, prefix):
    name = f"{prefix}layer1.0.conv3.weight"
    return keys | {name: keys[name].reshape(64, 256, 1, 1)}


def renamed(keys, prefix):
    return {f"net.{name}": value for name, value in keys.items()}


def renamed_in_part(keys, prefix):
    return {name.replace(f"{prefix}layer4", "net.layer4"): value for name, value in keys.items()}


def only_the_head(keys, prefix):
    backbone = tuple(prefix + name for name in ("conv1", "bn1", "layer"))
    return {name: value for name, value in keys.items() if not name.startswith(backbone)}


def with_one_more(keys, prefix):
    return keys | {f"{prefix}layer5.weight": keys[f"{prefix}bn1.bias"]}


def spoiled(number):
    def spoil(keys, prefix):
        name = f"{prefix}layer2.3.bn2.running_var"
        changed = keys[name] * 1
        changed[5] = number
        return keys | {name: changed}

    return spoil


FAULTS = {
    "a missing block": (without_block, r"lacks 15: layer3\.2\.conv1\.weight"),
    "a transposed weight": (
        transposed,
        r"wrong shape of 1: layer1\.0\.conv3\.weight \(64, 256, 1, 1\) instead of \(256, 64, 1, 1\)",
    ),
    "a renamed prefix": (renamed, r"lacks \d+: conv1\.weight.* unknown \d+: net\.|no backbone.*: net\."),
    "a prefix renamed in part": (
        renamed_in_part,
        r"lacks \d+: layer4.* unknown \d+: net\.layer4|outside .* nobody knows: net\.layer4",
    ),
    "only the head": (only_the_head, r"lacks \d+: conv1\.weight|holds no backbone|holds no state dict"),
    "a key more": (with_one_more, r"unknown 1: layer5\.weight"),
    "a NaN": (spoiled(math.nan), r"layer2\.3\.bn2\.running_var holds values that aren't finite"),
    "an infinity": (spoiled(math.inf), r"layer2\.3\.bn2\.running_var holds values that aren't finite"),
}


def refusal(method, path):
    """The message with which a file is refused, without its hint."""
    with pytest.raises(WeightsFormatError) as caught:
        load_method(method, checkpoint=path)
    assert path.name in caught.value.message
    return caught.value.message


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("method", METHODS)
def test_faulty_files_are_refused(method, fault, contents, save, tmp_path, untouched):
    change, told = FAULTS[fault]
    content = contents[method]
    keys = change(keys_of(content), PREFIXES.get(method, ""))
    path = save(with_keys(content, keys), tmp_path / "faulty.pth", form_of(method))
    assert re.search(told, refusal(method, path))
    assert untouched()


@pytest.mark.parametrize("method", METHODS)
def test_files_of_another_width_are_refused(method, hollow_resnet, lay_out, save, tmp_path, untouched):
    wide = hollow_resnet("wide_resnet50_2", CLASSES.get(method))
    path = save(lay_out(method, wide), tmp_path / "wide.pth", form_of(method))
    assert re.search(
        r"wrong shape of \d+: layer1\.0\.conv1\.weight \(128, 64, 1, 1\) instead of \(64, 64, 1, 1\)",
        refusal(method, path),
    )
    assert untouched()


@pytest.mark.parametrize("kept", [0, 10, 0.9])
@pytest.mark.parametrize("method", METHODS)
def test_truncated_files_are_refused(method, kept, contents, save, tmp_path, untouched):
    path = save(contents[method], tmp_path / "cut.pth", form_of(method))
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data)) if kept < 1 else kept])
    assert "can't be read as plain tensors" in refusal(method, path)
    assert untouched()


@pytest.fixture(scope="module")
def files(contents, save, tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    return {
        layout: save(content, folder / f"{layout}.pth", form_of(layout))
        for layout, content in contents.items()
    }


@pytest.mark.parametrize("method", METHODS)
def test_every_other_methods_file_is_refused(method, files, untouched):
    for layout, path in files.items():
        if layout.partition(",")[0] != method:
            message = refusal(method, path)
            assert re.search(r"lacks \d|unknown \d|wrong shape|no backbone|nobody knows|order", message), (
                layout
            )
            assert untouched(), layout


@pytest.mark.parametrize("layout", LAYOUTS)
def test_its_own_file_is_taken(layout, files, network, untouched):
    load_method(layout.partition(",")[0], checkpoint=files[layout])
    assert not untouched()
    assert not any(parameter.any() for parameter in network.parameters())  # The file's are all zeros.


def test_a_first_versions_head_gives_a_moco_file_away(contents, save, tmp_path):
    keys = dict(contents["mocov2"]["state_dict"])
    for encoder in ("encoder_q", "encoder_k"):
        del keys[f"module.{encoder}.fc.0.weight"], keys[f"module.{encoder}.fc.0.bias"]
        for part in ("weight", "bias"):
            keys[f"module.{encoder}.fc.{part}"] = keys.pop(f"module.{encoder}.fc.2.{part}")
    path = save({"state_dict": keys}, tmp_path / "moco_v1.pth.tar")
    assert "unknown 2: fc.weight, fc.bias" in refusal("mocov2", path)


def test_several_prototypes_give_a_deepcluster_file_away(contents, save, tmp_path):
    keys = dict(contents["swav"])
    keys["module.prototypes.prototypes0.weight"] = keys.pop("module.prototypes.weight")
    path = save(keys, tmp_path / "deepcluster.pth.tar")
    assert "unknown 1: prototypes.prototypes0.weight" in refusal("swav", path)


def test_orders():
    names = ["layer1.0.conv1.weight", "layer1.0.bn1.weight", "layer1.0.downsample.0.weight"]
    assert key_order(names) == "torchvision's"
    assert key_order([names[2], *names[:2]]) == "simclr-converter's"
    assert key_order(sorted(names)) == "no network's"
    assert key_order(names[:2]) == "no network's"


@pytest.mark.parametrize("method", METHODS)
def test_cards_state_the_papers_facts(method):
    card = method_registry(plugins=False).get(method).card
    assert card.feature_dim == 2048
    assert card.licence and card.source and card.training_scale and card.training_source
    assert set(card.options) == ({"pool", "checkpoint"} if method == "simclr" else {"checkpoint"})


def form_of(layout):
    return "python2" if layout == "vggface2" else "zip"
