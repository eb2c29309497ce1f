"""The contract of methods: what keeps it, and what each breach is called."""

import pytest
import torch

from comface_bench.contract.method import check_method_contract, draw_images, fingerprint
from comface_bench.core.registry import method_registry
from comface_bench.engine.encoder import load_method
from comface_bench.scaffold import write_plugin

RULES = (
    "features are numbers of the card's size",
    "features differ between images",
    "the same images give the same features",
    "the batch size doesn't matter",
    "encoding leaves the backbone as it is",
    "gradients reach every trainable parameter",
    "grey images are taken",
    "images that aren't square are taken",
    "weights follow the seed as the card says",
    "fingerprint",
)


@pytest.fixture
def findings(tmp_path):
    """Check the template with some of its text replaced; returns rule → how it is broken."""

    def check(*replaced):
        path = write_plugin("method", "toy", tmp_path)
        text = path.read_text()
        for old, new in replaced:
            assert old in text
            text = text.replace(old, new)
        path.write_text(text)
        found = check_method_contract("toy", method_registry([path], plugins=False), image_size=64)
        return {finding.rule: finding.broken for finding in found}

    return check


def test_the_template_keeps_the_contract(findings):
    found = findings()
    assert tuple(found) == RULES
    assert not any(found.values())


@pytest.mark.parametrize("name", ["scratch+backbone=resnet18", "timm/resnet10t"])
def test_what_ships_keeps_the_contract(name):
    found = check_method_contract(name, method_registry(plugins=False), image_size=64)
    assert [(finding.rule, finding.broken) for finding in found if not finding.holds] == []


BODY = "    # With checkpoint="


def appended(expression):
    """Let the template's network end in a module whose forward is that lambda."""
    return f"    network.append(type('N', (nn.Module,), {{'forward': {expression}}})())\n{BODY}"


@pytest.mark.parametrize(
    ("old", "new", "rule", "said"),
    [
        ("feature_dim=64", "feature_dim=65", RULES[0], "the card says 65, but there are 64"),
        (
            "nn.Flatten(),\n",
            "nn.Flatten(),\n            nn.Threshold(1e9, 0.5),\n",
            RULES[1],
            "all images give",
        ),
        (
            BODY,
            appended("lambda self, x: x + torch.rand_like(x)"),
            RULES[2],
            "they differ",
        ),
        (
            BODY,
            appended("lambda self, x: x - x.mean(0)"),
            RULES[3],
            "features differ by",
        ),
        (
            BODY,
            "    class Counts(nn.Module):\n"
            "        def __init__(self):\n"
            "            super().__init__()\n"
            "            self.register_buffer('calls', torch.zeros(1))\n"
            "        def forward(self, x):\n"
            "            self.calls += 1\n"
            "            return x\n"
            "    network.append(Counts())\n" + BODY,
            RULES[4],
            "calls even in eval mode",
        ),
        (
            BODY,
            "    network.register_module('unused', nn.Linear(2, 2)); network.forward = network[:8].forward\n"
            + BODY,
            RULES[5],
            "2 get none",
        ),
        (
            "            nn.AdaptiveAvgPool2d(1),\n            nn.Flatten(),\n",
            "            nn.AvgPool2d(4),\n            nn.Flatten(),\n",
            RULES[7],
            "RuntimeError",
        ),
        ("    drawn=True,", "    drawn=False,", RULES[8], "set drawn=True"),
        ("torch.manual_seed(seed)", "torch.manual_seed(0)", RULES[8], "the card says drawn"),
        ("        torch.manual_seed(seed)\n", "        torch.seed()\n", RULES[8], "building it twice"),
    ],
    ids=[
        "size",
        "collapse",
        "random",
        "batch",
        "state",
        "unused",
        "fixed size",
        "fixed",
        "drawn",
        "unseeded",
    ],
)
def test_each_breach_is_reported(findings, old, new, rule, said):
    broken = findings((old, new))[rule]
    assert said in broken


def test_images_are_in_range_and_unlike_each_other():
    images = draw_images(32)
    assert images.shape == (3, 3, 32, 32)
    assert images.min() >= 0
    assert images.max() <= 1
    assert (images[0] - images[1]).abs().mean() > 0.1
    assert (images[0] - images[2]).abs().mean() > 0.1


def test_a_fingerprint_distinguishes_networks():
    first, again, other = (load_method("scratch+backbone=resnet18", seed=seed) for seed in (0, 0, 1))
    assert fingerprint(first) == fingerprint(again) != fingerprint(other)
    with torch.no_grad():
        next(first.parameters()).mul_(1.01)
    assert fingerprint(first) != fingerprint(again)
