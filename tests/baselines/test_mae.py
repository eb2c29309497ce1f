"""FSFM, FMAE and MAE-Face: files as their training code saves them, features as their networks give them."""

from __future__ import annotations

import argparse

import pytest
import torch

from comface_bench.core.errors import WeightsFormatError
from comface_bench.core.registry import method_registry
from comface_bench.engine.encoder import load_method

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
STATISTICS = {
    "fsfm": ((0.5482, 0.4234, 0.3655), (0.2789, 0.2439, 0.2349)),
    "fmae": IMAGENET,
    "maeface": IMAGENET,
}
LEFT_OUT = {
    "fsfm": [
        "mask_token",
        "rep_decoder_embed.weight",
        "rep_decoder_pos_embed",
        "rep_decoder_blocks.0.norm1.weight",
        "rep_decoder_norm.bias",
        "decoder_pred.bias",
        "projector.projection_head.0.weight",
        "predictor.projection_head.3.bias",
    ],
    "fmae": ["mask_token", "decoder_embed.weight", "decoder_pos_embed", "decoder_blocks.0.mlp.fc1.weight"],
    "maeface": ["mask_token", "decoder_norm.weight", "decoder_pred.weight"],
}
METHODS = list(STATISTICS)


@pytest.fixture(autouse=True)
def small_network(small):
    """All tests here run two narrow blocks."""


@pytest.fixture(scope="module")
def encoder_weights(draw, vit_shapes):
    return draw(vit_shapes())


@pytest.fixture(params=METHODS)
def method(request):
    return request.param


@pytest.fixture
def save_training(save, tmp_path, method, encoder_weights):
    """Write the authors' container: model with decoder, optimizer, and the script's options."""

    def write(changes=(), legacy=False):
        others = {name: torch.ones(2, 2) for name in LEFT_OUT[method]}
        model = {**encoder_weights, **others, **dict(changes)}
        model = {name: tensor for name, tensor in model.items() if tensor is not None}
        content = {
            "model": model,
            "optimizer": {"state": {}, "param_groups": [{"lr": 1e-3, "params": [0]}]},
            "epoch": 399,
            "scaler": {"scale": 65536.0},
            "args": argparse.Namespace(model="mae_vit_base_patch16", mask_ratio=0.75),
        }
        return save(content, tmp_path / "file.pth", "legacy" if legacy else "zip")

    return write


def by_hand(transform, embed, tensors, images, feature="cls"):
    patches = embed(tensors, images)
    token = tensors["cls_token"].double().expand(len(images), 1, -1)
    tokens = torch.cat([token, patches], dim=1) + tensors["pos_embed"].double()
    if feature == "cls":
        return transform(tensors, tokens)[:, 0]
    mean = transform(tensors, tokens, last=False)[:, 1:].mean(1)
    return torch.nn.functional.layer_norm(mean, mean.shape[-1:], eps=1e-6)


@pytest.mark.parametrize("feature", ["cls", "mean"])
def test_features_are_those_of_the_authors_network(
    method,
    save_training,
    encoder_weights,
    draw_images,
    transform,
    embed,
    normalise,
    assert_same,
    assert_other,
    feature,
):
    images = draw_images()
    normalised = normalise(images, *STATISTICS[method])
    expected = by_hand(transform, embed, encoder_weights, normalised, feature)
    with torch.no_grad():
        found = load_method(method, checkpoint=save_training(legacy=feature == "mean"), feature=feature)(
            images
        )
    assert found.shape == (2, 192)
    assert_same(found, expected)
    other = "mean" if feature == "cls" else "cls"
    assert_other(by_hand(transform, embed, encoder_weights, normalised, other), expected)


def test_other_statistics_give_other_features(
    method, save_training, encoder_weights, draw_images, transform, embed, normalise, assert_other
):
    images = draw_images(count=1)
    expected = by_hand(transform, embed, encoder_weights, normalise(images, *STATISTICS[method]))
    half = by_hand(transform, embed, encoder_weights, normalise(images, (0.5,) * 3, (0.5,) * 3))
    assert_other(half, expected)


def test_the_class_token_is_the_default(method):
    assert method_registry(plugins=False).get(method).card.options["feature"][0] == "cls"


@pytest.mark.parametrize("name", ["head.weight", "fc_norm.weight", "AU_head.weight", "ID_head.bias"])
def test_a_fine_tuned_file_is_refused(method, save_training, name):
    """Such as FMAE's files for DISFA, whose labels they have seen."""
    with pytest.raises(WeightsFormatError, match=rf"was fine-tuned for a task: it has {name}") as caught:
        load_method(method, checkpoint=save_training({name: torch.zeros(8, 768)}))
    assert "DISFA" in caught.value.hint


def test_a_file_of_opengraphau_is_refused(method, tmp_path):
    """It was trained on DISFA's labels; its keys are another network's."""
    path = tmp_path / "OpenGprahAU-ResNet50_first_stage.pth"
    keys = ("module.global_linear.fc.weight", "module.head.main_class_linears.0.weight")
    torch.save({"state_dict": {key: torch.zeros(2, 2) for key in keys}}, path)
    with pytest.raises(WeightsFormatError):
        load_method(method, checkpoint=path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"blocks.1.mlp.fc2.weight": None}, "lacks 1: blocks.1.mlp.fc2.weight"),
        ({"norm.weight": None, "norm.bias": None}, "lacks 2: norm"),
        ({"blocks.2.norm1.weight": torch.zeros(192)}, "unknown 1: blocks.2.norm1.weight"),
        ({"blocks.0.mlp.fc1.weight": torch.zeros(192, 768)}, "wrong shape of 1: blocks.0.mlp.fc1.weight"),
        ({"pos_embed": torch.zeros(1, 257, 192)}, "wrong shape of 1: pos_embed"),
        ({"cls_token": torch.full((1, 1, 192), float("nan"))}, "cls_token holds values that aren't finite"),
    ],
    ids=["a missing weight", "no last norm", "a third block", "transposed", "another grid", "NaN"],
)
def test_mutations_are_refused(method, save_training, changes, said):
    with pytest.raises(WeightsFormatError, match=said):
        load_method(method, checkpoint=save_training(changes))


def test_only_the_decoder_is_refused(method, save_training, encoder_weights):
    with pytest.raises(WeightsFormatError, match=r"no backbone|lacks"):
        load_method(method, checkpoint=save_training(dict.fromkeys(encoder_weights)))
