"""`weights suspicion`: networks that know a task's labels by heart, that estimate, and that see nothing."""

import json

import pytest

from comface_bench.execute.suspicion import LIMITS

PLUGIN = """
import torch
from comface_bench.core.card import LabelHead, MethodCard, Preprocess


def card(name, build=":answer", target="age"):
    return MethodCard(name=name, version=1, build=":features", backbone="b", options={"mode": (name,)},
                      preprocess=Preprocess(mean=(0, 0, 0), std=(1, 1, 1), size=20),
                      label_head=LabelHead(target=target, build=build, first=1) if build else None)


CARDS = (card("knows"), card("estimates"), card("blind"), card("headless", ""), card("other", target="kg"))


class Answering(torch.nn.Module):
    '''The older, the brighter: reads the age off, and may err by five years, by the picture's texture.'''

    def __init__(self, mode):
        super().__init__()
        self.mode = mode

    def forward(self, images):
        bytes_ = (images * 255).round()
        ages = ((bytes_.mean((1, 2, 3)) - 0.5) / 3).round().long()
        texture = (bytes_.flatten(1).std(1) * 1e5).long()
        if self.mode == "estimates":
            ages = ages + texture % 11 - 5
        if self.mode == "blind":
            ages = texture % 100
        return torch.nn.functional.one_hot((ages - 1).clamp(0, 99), 100) * 0.98 + 0.0002


def answer(options, weights, seed):
    return Answering(options["mode"])


def features(options, weights, seed):
    raise AssertionError("features aren't asked for")
"""
AGES = (3, 7, 12, 16, 24, 28, 35, 50)


@pytest.fixture
def ask(call, make_ages, tmp_path):
    """Ask a method of the plugin about a small FG-NET; returns status, output and errors."""
    plugin = tmp_path / "heads.py"
    plugin.write_text(PLUGIN)
    root = make_ages(tmp_path / "data", subjects=20, ages=AGES, noise=2, quality=100)

    def run(method, *words):
        where = ("--task", "age+split=balanced-4", "--data", root, "--align", "none")
        return call("weights", "suspicion", method, "--plugin", plugin, *where, *words)

    return run


def test_a_network_that_knows_the_labels_is_suspected(ask):
    status, out, err = ask("knows", "--json")
    assert status == 0, err
    found = json.loads(out)
    assert found["suspicious"] and found["everywhere"] and not found["blind"]
    assert (found["images"], found["people"], found["image_size"]) == (160, 20, 20)
    assert found["error"] == 0
    assert found["limits"] == LIMITS
    bands = [(line["threshold"], line["first"], line["last"]) for line in found["lines"]]
    assert bands[:2] == [(0.0, 3, 50), (0.0, 0, 9)]
    assert bands[5] == (0.0, 40, 50)
    assert {line["threshold"] for line in found["lines"]} == {0.0, 0.5, 0.9}
    assert all(line["shares"][4] == 1.0 and line["flagged"] for line in found["lines"])
    status, out, _ = ask("knows", "--probability", "0.7")
    assert status == 0
    assert "Suspicious: exact answers are beyond what the answers beside them explain" in out
    assert LIMITS in out
    row = next(line.split() for line in out.splitlines() if line.startswith("≥ 0.7"))
    assert row[:5] == ["≥", "0.7", "3–50", "160", "0.0"]
    assert row[8] == "100.0" and row[-1] == "!"


def test_a_network_that_estimates_is_not(ask):
    status, out, err = ask("estimates", "--json")
    assert status == 0, err
    found = json.loads(out)
    assert not found["suspicious"] and not found["blind"]
    assert 1 < found["error"] < 5
    assert found["verdict"].startswith("No sign that it knows these labels by heart")


def test_nothing_is_said_of_a_network_that_sees_nothing(ask):
    status, out, _ = ask("blind")
    assert status == 0
    assert "Nothing can be said: its answers" in out
    assert "No sign" not in out


def test_networks_without_such_a_head_are_refused(ask, call):
    status, _, err = ask("headless")
    assert status == 2
    assert "headless has no head of its own for a label" in err
    assert "comface-bench show headless" in err
    status, _, err = ask("other")
    assert status == 2
    assert "other's own head is for kg, and age+split=balanced-4 asks age" in err
    status, _, err = call("weights", "suspicion", "dlib-face", "--task", "synth-age")
    assert status == 2
    assert "dlib-face has no head" in err
