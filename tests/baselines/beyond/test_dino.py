"""DINOv2 and DINOv3 from the authors' own files: keys, positions, registers and the class token."""

from __future__ import annotations

import math

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from comface_bench.core.errors import WeightsFormatError, WeightsMissingError
from comface_bench.engine.encoder import load_method

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
WIDTH, HEAD = 192, 64


@pytest.fixture(autouse=True)
def small_network(small, tmp_path, monkeypatch):
    """All tests here run two narrow blocks, with an empty hub cache."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture(scope="module")
def dinov2_weights(draw, vit_shapes):
    registers = {"register_tokens": (1, 4, WIDTH), "mask_token": (1, WIDTH)}
    return draw(vit_shapes(patch=14, tokens=1 + 37 * 37, scale=True) | registers, 4)


@pytest.fixture(scope="module")
def dinov3_weights(draw, vit_shapes):
    extra = {"storage_tokens": (1, 4, WIDTH), "mask_token": (1, WIDTH)}
    shapes = vit_shapes(scale=True) | extra
    del shapes["pos_embed"]
    weights = draw(shapes, 5)
    for number in range(2):
        # Biases of q and v came out zero; k's is masked, whatever stands there.
        name = f"blocks.{number}.attn.qkv.bias"
        weights[name] = torch.cat([torch.zeros(WIDTH), torch.ones(WIDTH), torch.zeros(WIDTH)])
        weights[f"{name}_mask"] = 1 - weights[name]
    return weights | {"rope_embed.periods": periods().float()}


def periods():
    return 100.0 ** (torch.arange(HEAD // 4, dtype=torch.float64) / (HEAD // 4))


def dinov2_tokens(weights, images, transform, embed):
    patches = embed(weights, images)
    side = math.isqrt(patches.shape[1])
    position = weights["pos_embed"].double()
    grid = position[:, 1:].mT.unflatten(2, (37, 37))
    grid = functional.interpolate(grid, (side, side), mode="bicubic", antialias=True).flatten(2).mT
    first = (weights["cls_token"].double() + position[:, :1]).expand(len(images), -1, -1)
    registers = weights["register_tokens"].double().expand(len(images), -1, -1)
    return transform(weights, torch.cat([first, registers, patches + grid], dim=1))


def dinov3_tokens(weights, images, transform, embed):
    patches = embed(weights, images)
    side = math.isqrt(patches.shape[1])
    centres = 2 * (torch.arange(side, dtype=torch.float64) + 0.5) / side - 1
    places = torch.stack(torch.meshgrid(centres, centres, indexing="ij"), dim=-1).reshape(-1, 2, 1)
    angles = (2 * math.pi * places / periods()).flatten(1).tile(2)

    def turn(heads):
        fixed, moved = heads[:, :, :5], heads[:, :, 5:]
        half = HEAD // 2
        rotated = torch.cat([-moved[..., half:], moved[..., :half]], dim=-1)
        return torch.cat([fixed, moved * angles.cos() + rotated * angles.sin()], dim=2)

    tokens = [weights[name].double().expand(len(images), -1, -1) for name in ("cls_token", "storage_tokens")]
    unbiased = {name: tensor for name, tensor in weights.items() if not name.endswith("qkv.bias")}
    return transform(unbiased, torch.cat([*tokens, patches], dim=1), 1e-5, turn)


@pytest.mark.parametrize(("method", "tokens"), [("dinov2", dinov2_tokens), ("dinov3", dinov3_tokens)])
@pytest.mark.parametrize("size", [112, 224])
def test_features_are_the_class_token_of_the_authors_network(
    request, tmp_path, faces, transform, embed, normalise, apart, method, tokens, size
):
    weights = request.getfixturevalue(f"{method}_weights")
    torch.save(weights, tmp_path / "theirs.pth")
    images = faces(size)
    expected = tokens(weights, normalise(images, *IMAGENET), transform, embed)
    with torch.no_grad():
        found = load_method(method, checkpoint=tmp_path / "theirs.pth")(images)
    assert found.shape == (2, WIDTH)
    assert apart(found, expected[:, 0]) < 1e-4
    assert apart(expected[:, 5:].mean(1), expected[:, 0]) > 1e-2  # What pooling the patches would give.


@pytest.mark.parametrize("method", ["dinov2", "dinov3"])
def test_images_are_resized_to_whole_patches(request, tmp_path, faces, method):
    torch.save(request.getfixturevalue(f"{method}_weights"), tmp_path / "theirs.pth")
    encoder = load_method(method, checkpoint=tmp_path / "theirs.pth")
    whole = 98 if method == "dinov2" else 96  # Seven patches of 14 pixels, six of 16.
    fitted = functional.interpolate(faces(100), (whole, whole), mode="bicubic", antialias=True).clamp(0, 1)
    with torch.no_grad():
        assert (encoder(faces(100)) - encoder(fitted)).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("method", "file"),
    [
        ("dinov2", "dinov2_vitb14_reg4_pretrain.pth"),
        ("dinov3", "dinov3_vitb16_pretrain_lvd1689m-73cec8be.pth"),
    ],
)
@pytest.mark.parametrize("folder", ["", "own"])
def test_the_authors_file_is_found_in_the_weights_folder(request, own_folders, method, file, folder):
    place = own_folders / "weights" / (method if folder else "")
    place.mkdir(exist_ok=True)
    torch.save(request.getfixturevalue(f"{method}_weights"), place / file)
    assert load_method(method).backbone.num_features == WIDTH


@pytest.mark.parametrize("method", ["dinov2", "dinov3"])
def test_timms_own_file_gives_the_same_features(request, own_folders, tmp_path, faces, method):
    torch.save(request.getfixturevalue(f"{method}_weights"), tmp_path / "theirs.pth")
    theirs = load_method(method, checkpoint=tmp_path / "theirs.pth")
    name = {"dinov2": "vit_base_patch14_reg4_dinov2.lvd142m", "dinov3": "vit_base_patch16_dinov3.lvd1689m"}
    (own_folders / "weights" / "timm").mkdir()
    tensors = {key: tensor.contiguous() for key, tensor in theirs.backbone.state_dict().items()}
    save_file(tensors, own_folders / "weights" / "timm" / f"{name[method]}.safetensors")
    with torch.no_grad():
        assert torch.equal(load_method(method)(faces(112)), theirs(faces(112)))


@pytest.mark.parametrize("method", ["dinov2", "dinov3"])
@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("blocks.1.attn.proj.weight", None),
        ("blocks.0.ls1.gamma", lambda tensor: tensor[:-1].clone()),
        ("blocks.0.mlp.fc1.weight", lambda tensor: tensor.T.contiguous()),
        ("blocks.2.norm1.weight", lambda tensor: torch.ones(WIDTH)),
        ("norm.weight", lambda tensor: torch.full_like(tensor, float("nan"))),
    ],
    ids=["missing", "narrower", "transposed", "deeper", "NaN"],
)
def test_mutations_are_refused(request, tmp_path, method, name, change):
    weights = dict(request.getfixturevalue(f"{method}_weights"))
    old = weights.pop(name, None)
    if change:
        weights[name] = change(old)
    torch.save(weights, tmp_path / "theirs.pth")
    with pytest.raises(WeightsFormatError):
        load_method(method, checkpoint=tmp_path / "theirs.pth")


def test_a_bias_that_timm_would_drop_unseen_is_refused(tmp_path, dinov3_weights):
    changed = dinov3_weights | {"blocks.1.attn.qkv.bias": torch.ones(3 * WIDTH)}
    torch.save(changed, tmp_path / "theirs.pth")
    with pytest.raises(WeightsFormatError, match=r"blocks\.1\.attn\.qkv\.bias isn't zero"):
        load_method("dinov3", checkpoint=tmp_path / "theirs.pth")


def test_loading_prints_nothing(tmp_path, dinov3_weights, capsys):
    torch.save(dinov3_weights, tmp_path / "theirs.pth")
    load_method("dinov3", checkpoint=tmp_path / "theirs.pth")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("method", ["dinov2", "dinov3"])
def test_missing_weights_say_how_to_get_them(method):
    with pytest.raises(WeightsMissingError) as caught:
        load_method(method)
    assert f"weights fetch {method}" in caught.value.hint
    assert "hf download timm/vit_base_patch1" in caught.value.hint
