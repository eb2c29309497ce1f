"""The generator `stylegan3`: images, card, strict loading. `LatentGenerator` is tested with `stylegan`."""

from __future__ import annotations

import hashlib
import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from comface_bench.comface.synthesis.boundaries import STYLEGAN3_BOUNDARIES, find_boundaries
from comface_bench.comface.synthesis.generator import open_generator
from comface_bench.comface.synthesis.latent_generator import draw_latent
from comface_bench.comface.synthesis.stylegan3.generator import FAMILY, StyleGan3, check_filters, load_network
from comface_bench.core.errors import UsageError, WeightsFormatError, WeightsMissingError
from comface_bench.core.weights import weights_folder


@pytest.fixture(scope="module")
def checkpoint(small, tmp_path_factory):
    """Weights whose last user left the images turned."""
    path = tmp_path_factory.mktemp("checkpoint") / "small.safetensors"
    save_file(small.state_dict() | {"synthesis.input.transform": torch.rand(3, 3)}, path)
    return path


@pytest.fixture
def make(checkpoint):
    def make(**options):
        return StyleGan3(checkpoint=checkpoint, **{"size": 32, "device": "cpu", **options})

    return make


@pytest.mark.parametrize("order", ["truncate-edit", "edit-truncate"])
def test_images_equal_those_of_the_slow_reference(small, make, reference, order, arrays):
    generator = make(editing=replace(FAMILY.editing, order=order))
    (identity,) = generator.identities(0, 1, first=3)
    tensors, plans = arrays(small), reference.plans(small)
    w = reference.mapping(tensors, draw_latent("stylegan3", 0, 3)[None].astype(np.float64))[0]
    assert np.abs(identity.w - w).max() < 1e-5 * np.abs(w).max()
    mean = tensors["mapping.w_avg"]
    factor = 0.7 if order == "edit-truncate" else 1
    for attribute, alpha in (("Smiling", -4.5), ("Male", 2.0)):
        normal = find_boundaries(STYLEGAN3_BOUNDARIES)[attribute].unit
        # All codes are truncated and moved, the input's as well.
        code = mean + 0.7 * (w - mean) + factor * alpha * normal
        image = reference.synthesis(tensors, np.tile(code, (7, 1)), plans)
        expected = np.floor(np.clip((image + 1) * 127.5 + 0.5, 0, 255))
        (found,) = generator.render(identity, attribute, [alpha])
        difference = np.abs(found - expected)
        assert found.std() > 5
        assert difference.max() <= 1
        assert difference.mean() < 0.01


@pytest.mark.parametrize("batch", [1, 3])
def test_alpha_zero_is_the_base_image_whatever_else_is_asked_for(make, batch):
    generator = make(batch=batch)
    (identity,) = generator.identities(1, 1)
    base = generator.render(identity, "age", [0.0])[0]
    for attribute in generator.card.attributes:
        for alphas in ([0], [-5, 0, 5], [0.1, 0.2, 0.3, 5.0, -0.0]):
            images = generator.render(identity, attribute, alphas)
            for alpha, image in zip(alphas, images, strict=True):
                assert np.array_equal(generator.render(identity, attribute, [alpha])[0], image)
                if abs(alpha) in (0, 5):
                    assert (alpha == 0) == np.array_equal(image, base)


def test_identities_are_its_own_and_the_same_however_many_are_drawn(make):
    generator = make()
    six = generator.identities(3, 6)
    (again,) = generator.identities(3, 1, first=4)
    assert np.array_equal(again.w, six[4].w)
    assert again.w.shape == (512,)
    assert not any(np.allclose(a.w, b.w) for a in six for b in six if a is not b)


def test_the_card_says_what_decides_the_images(make, checkpoint):
    card = make().card
    assert (card.name, card.resolution) == ("stylegan3", 32)
    assert card.attributes == ("Male", "Smiling", "age", "pose")
    assert "research and evaluation only" in card.licence
    assert card.sources["small.safetensors"] == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert card.sources["age_boundary.npy"].startswith("b353180d")
    options = json.loads(json.dumps(card.options))
    assert options["boundaries"]["pose"] == {"layers": [0, 6], "norm": pytest.approx(1)}
    told = {key: options[key] for key in ("psi", "truncated", "order", "unit", "transform")}
    assert told == {
        "psi": 0.7,
        "truncated": 16,
        "order": "truncate-edit",
        "unit": True,
        "transform": "identity",
    }


def test_all_forty_attributes_are_taken_once_their_files_are_there(make, tmp_path):
    names = [spec.attribute for spec in STYLEGAN3_BOUNDARIES]
    assert len(names) == 42
    with pytest.raises(WeightsMissingError, match=r"Bald_boundary\.npy"):
        make(attributes=["Bald"])
    random = np.random.default_rng(0)
    for name in names:
        if name in ("Male", "Smiling", "age", "pose"):
            continue
        np.save(tmp_path / f"{name}_boundary.npy", random.standard_normal((1, 512)).astype(np.float32))
    generator = make(boundaries=tmp_path)
    assert generator.card.attributes == tuple(names)
    (identity,) = generator.identities(0, 1)
    images = [generator.render(identity, name, [5])[0] for name in ("Bald", "Young")]
    assert not np.array_equal(*images)


def test_an_instance_can_be_pickled_and_is_small(make):
    generator = make()
    (identity,) = generator.identities(0, 1)
    expected = generator.render(identity, "age", [1])
    data = pickle.dumps(generator)
    assert len(data) < 200_000
    assert np.array_equal(pickle.loads(data).render(identity, "age", [1]), expected)


def test_options_come_as_text(checkpoint):
    texts = {"checkpoint": str(checkpoint), "size": "16", "device": "cpu", "layers": "age:1-3", "psi": "0.5"}
    card = open_generator("stylegan3", texts).card
    assert card.options["boundaries"]["age"]["layers"] == [1, 3]
    assert (card.options["psi"], card.resolution) == (0.5, 16)
    with pytest.raises(UsageError, match="stylegan3 takes no 'transform'"):
        open_generator("stylegan3", texts | {"transform": "1"})


def test_missing_weights_are_reported_with_what_to_do():
    with pytest.raises(WeightsMissingError) as caught:
        StyleGan3()
    assert str(weights_folder() / "stylegan3" / "stylegan3-r-ffhq-1024x1024.pkl") in str(caught.value)
    assert "sg3-r-ffhq-1024.pt" in str(caught.value)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_makes_the_same_images_but_for_rounding(make):
    cpu, gpu = make(), make(device="cuda", batch=4)
    (identity,) = gpu.identities(0, 1)
    images = gpu.render(identity, "age", [-5, 0, 0.1, 1, 5])
    assert np.array_equal(gpu.render(identity, "age", [0])[0], images[1])
    difference = np.abs(images.astype(int) - cpu.render(identity, "age", [-5, 0, 0.1, 1, 5]))
    assert difference.max() <= 1


@pytest.mark.parametrize("which", ["small", "small_t"])
def test_a_state_dict_gives_the_network_back(which, request, tmp_path):
    network = request.getfixturevalue(which)
    loaded = load_network(network.state_dict(), tmp_path / "a.pkl")
    assert loaded.shape == network.shape
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    codes = torch.randn(1, network.layers, network.shape.latent)
    with torch.inference_mode():
        assert torch.equal(loaded.synthesis(codes), network.synthesis(codes))


@pytest.mark.parametrize("stored", [torch.full((3, 3), 0.3), torch.ones(8, 3, 3), None])
def test_the_stored_transform_is_not_taken_over(small, tmp_path, stored):
    turned = small.state_dict()
    turned.pop("synthesis.input.transform")
    if stored is not None:
        turned["synthesis.input.transform"] = stored
    loaded = load_network(turned, tmp_path / "a.pkl")
    assert torch.equal(loaded.synthesis.input.transform, torch.eye(3))


def test_stored_filters_are_the_ones_used(small, tmp_path):
    name = "synthesis.L1_36_8.down_filter"
    near = small.state_dict()[name] + 5e-6
    loaded = load_network(small.state_dict() | {name: near}, tmp_path / "a.pkl")
    assert torch.equal(loaded.state_dict()[name], near)
    check_filters(loaded)


STRANGE = {
    "synthesis.L1_36_8.down_filter": (1e-4, r"L1_36_8\.down_filter differs from the design .* 1\.0e-04"),
    "synthesis.L2_52_8.up_filter": (2e-5, r"L2_52_8\.up_filter differs"),
    "synthesis.L3_52_4.down_filter": (float("nan"), r"L3_52_4\.down_filter differs"),
}


@pytest.mark.parametrize("name", STRANGE)
def test_filters_of_another_design_are_refused(small, tmp_path, name):
    offset, said = STRANGE[name]
    changed = small.state_dict()[name].clone()
    changed[(3,) * changed.dim()] += offset
    with pytest.raises(WeightsFormatError, match=said):
        load_network(small.state_dict() | {name: changed}, tmp_path / "a.pkl")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"synthesis.L3_52_4.bias": None}, r"a\.pkl doesn't fit .* lacks 1: synthesis\.L3_52_4\.bias$"),
        ({"synthesis.input.freqs": None}, r"lacks 1: synthesis\.input\.freqs$"),
        ({"synthesis.L1_36_8.magnitude_ema": None}, r"lacks 1: synthesis\.L1_36_8\.magnitude_ema$"),
        ({"mapping.embed.weight": torch.ones(2)}, r"has unknown 1: mapping\.embed\.weight$"),
        ({"mapping.fc2.bias": torch.ones(2)}, r"has unknown 1: mapping\.fc2\.bias$"),
        ({"synthesis.L1_36_8.down_filter": torch.ones(12)}, r"L1_36_8\.down_filter \(12,\) instead of"),
        ({"synthesis.L4_32_4.weight": torch.ones(5, 4, 1, 1)}, r"lacks 7: synthesis\.L4_32_5\."),
        ({"mapping.w_avg": None}, "no StyleGAN3"),
    ],
)
def test_files_of_other_networks_are_refused(small, tmp_path, change, said):
    tensors = {name: tensor for name, tensor in (small.state_dict() | change).items() if tensor is not None}
    with pytest.raises(WeightsFormatError, match=said):
        load_network(tensors, tmp_path / "a.pkl")
