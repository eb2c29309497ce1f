from __future__ import annotations

import pytest
import torch

from comface_bench.baselines.comface import LITE0, OF_WEIGHTS, RESNET
from comface_bench.comface.facts import first_start, read_facts
from comface_bench.comface.weights import shipped_weights
from comface_bench.core.errors import WeightsMissingError
from comface_bench.engine.encoder import load_method


@pytest.mark.parametrize(
    ("name", "backbone", "width"),
    [("comface", "resnet18", 512), ("comface-lite0", "efficientnet-lite0", 1280)],
)
def test_weights_ship_and_load_out_of_the_box(draw_images, name, backbone, width):
    path = shipped_weights(backbone)
    assert path is not None
    assert path.stat().st_size <= 25e6
    assert path.with_suffix(".md").is_file()
    encoder = load_method(name)
    with torch.no_grad():
        features = encoder(draw_images(64))
    assert features.shape == (2, width)
    assert torch.isfinite(features).all()
    for target in ("age", "weight_kg", "au12", "pspi"):
        assert encoder.own_head(target).shape == (width,)


def test_the_card_says_what_the_weights_say_of_their_start():
    path = shipped_weights("efficientnet-lite0")
    facts = read_facts(path)
    told = first_start(facts, path.name).passed_on(RESNET)
    for name in OF_WEIGHTS:
        if name != "options":  # There is no other file and no other backbone to choose.
            assert getattr(LITE0, name) == getattr(told, name), name
    images = sum(corpus["images"] for corpus in facts["corpora"].values())
    assert LITE0.training_scale == f"{images // 1000}k after 1.28M of efficientnet-lite0"
    assert facts["start_share"] == 0.5 and [one["seed"] for one in facts["mean_of"]] == [0, 1]


def test_a_backbone_without_weights_is_said_plainly():
    with pytest.raises(WeightsMissingError, match="not for resnet50") as caught:
        load_method("comface+backbone=resnet50")
    assert "-o checkpoint=FILE" in caught.value.hint
    assert "--method scratch" in caught.value.hint
