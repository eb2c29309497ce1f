"""The generator `stylegan`: identities, images, options, card, and loading of either kind of file."""

from __future__ import annotations

import hashlib
import json
import pickle

import numpy as np
import PIL
import pytest
import torch
from safetensors.torch import save_file
from scipy import stats

from comface_bench.comface.synthesis.boundaries import STYLEGAN_BOUNDARIES, find_boundaries
from comface_bench.comface.synthesis.editing import Editing
from comface_bench.comface.synthesis.generator import open_generator, people_key
from comface_bench.comface.synthesis.latent_generator import downsample, draw_latent
from comface_bench.comface.synthesis.stylegan.generator import FAMILY, StyleGan, from_tensorflow, load_network
from comface_bench.comface.synthesis.stylegan.network import StyleGanNetwork, StyleGanShape, draw_weights
from comface_bench.core.errors import UsageError, WeightsFormatError, WeightsMissingError
from comface_bench.core.weights import weights_folder


@pytest.fixture(scope="session")
def checkpoint(small, tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "small.safetensors"
    save_file(small.state_dict(), path)
    return path


@pytest.fixture
def make(checkpoint):
    def make(**options):
        return StyleGan(**{"checkpoint": checkpoint, "size": 32, "device": "cpu", **options})

    return make


@pytest.fixture
def generator(make):
    return make()


def test_an_identity_is_the_same_whatever_is_drawn_with_it(generator):
    eight = generator.identities(3, 8)
    for part in (generator.identities(3, 2, first=5), generator.identities(3, 1, first=7)):
        for identity in part:
            again = eight[identity.number]
            assert (again.seed, again.number) == (3, identity.number)
            assert np.array_equal(again.w, identity.w)
    other = generator.identities(4, 8)
    assert not any(np.allclose(a.w, b.w) for a in eight for b in (*other, *eight) if a is not b)
    assert eight[0].w.shape == (512,)
    assert eight[0].w.dtype == np.float32
    pickled = pickle.loads(pickle.dumps(eight[1]))
    assert np.array_equal(pickled.w, eight[1].w)


def test_codes_are_normal_and_independent_of_each_other():
    codes = np.stack([draw_latent("stylegan", 0, number) for number in range(200)])
    assert stats.kstest(codes.ravel(), "norm").pvalue > 1e-3
    correlations = np.corrcoef(codes)[np.triu_indices(200, 1)]
    assert stats.kstest(correlations * np.sqrt(512), "norm").pvalue > 1e-3
    assert not np.array_equal(draw_latent("stylegan", 0, 1), draw_latent("stylegan3", 0, 1))
    assert np.array_equal(draw_latent("stylegan", 0, 10**15), draw_latent("stylegan", 0, 10**15))


@pytest.mark.parametrize("order", ["truncate-edit", "edit-truncate"])
def test_images_equal_those_of_the_slow_reference(small, make, reference, order, arrays):
    editing = Editing(0.7, 8, order, layers=FAMILY.editing.layers)
    generator = make(editing=editing)
    (identity,) = generator.identities(0, 1, first=2)
    tensors = arrays(small)
    w = reference.mapping(tensors, draw_latent("stylegan", 0, 2)[None].astype(np.float64))[0]
    assert np.abs(identity.w - w).max() < 1e-5 * np.abs(w).max()
    mean = tensors["truncation.w_avg"]
    for attribute in ("age", "weight-chubby"):
        normal = find_boundaries(STYLEGAN_BOUNDARIES)[attribute].unit
        # The network has 8 layers, all of which are truncated and, for weight, moved.
        factor = 0.7 if order == "edit-truncate" else 1
        code = mean + 0.7 * (w - mean) + factor * -4.5 * normal
        image = reference.synthesis(tensors, np.tile(code, (1, 8, 1)))
        found = generator.render(identity, attribute, [-4.5])
        assert found.shape == (1, 3, 32, 32)
        assert found.dtype == np.uint8
        difference = np.abs(found.astype(int) - reference.to_bytes(image))
        assert difference.max() <= 1
        assert difference.mean() < 0.01


@pytest.mark.parametrize("batch", [1, 3])
def test_alpha_zero_is_the_base_image_whatever_else_is_asked_for(make, batch):
    generator = make(batch=batch)
    (identity,) = generator.identities(1, 1)
    base = generator.render(identity, "age", [0.0])[0]
    for attribute in generator.card.attributes:
        for alphas in ([0], [-5, 0, 5], [0.1, 0.2, 0.3, 0.4, -0.0]):
            images = generator.render(identity, attribute, alphas)
            assert images.shape == (len(alphas), 3, 32, 32)
            assert np.array_equal(images[[abs(alpha) == 0 for alpha in alphas]][0], base)
            for alpha, image in zip(alphas, images, strict=True):
                assert np.array_equal(generator.render(identity, attribute, [alpha])[0], image)
                assert (alpha == 0) == np.array_equal(image, base)
    assert generator.render(identity, "age", []).shape == (0, 3, 32, 32)


def test_nothing_random_is_left(generator, make):
    (identity,) = generator.identities(1, 1)
    torch.manual_seed(0)
    first = generator.render(identity, "smile", [2.0])
    torch.manual_seed(1)
    assert np.array_equal(make().render(identity, "smile", [2.0]), first)


def test_psi_draws_images_together(make):
    a, b = make().identities(0, 2)

    def distance(psi):
        generator = make(editing=Editing(psi, 8))
        one, two = (generator.render(identity, "age", [0]).astype(float) for identity in (a, b))
        return np.abs(one - two).mean()

    assert distance(0.0) == 0
    assert 0 < distance(0.4) < distance(1.0)


def test_layers_of_an_attribute_limit_its_edit(make):
    free = make(editing=Editing(0.7, 8))
    limited = make(editing=Editing(0.7, 8, layers={"age": (0, 3)}))
    (identity,) = free.identities(0, 1)
    assert np.array_equal(free.render(identity, "age", [0]), limited.render(identity, "age", [0]))
    assert not np.array_equal(free.render(identity, "age", [3]), limited.render(identity, "age", [3]))
    assert np.array_equal(free.render(identity, "smile", [3]), limited.render(identity, "smile", [3]))
    with pytest.raises(UsageError, match="they go from 0 to 7"):
        make(editing=Editing(layers={"age": (0, 8)}))


@pytest.mark.parametrize(("crop", "size"), [(32, 32), (32, 8), (24, 8), (24, 24), (16, 4)])
def test_stored_images_are_means_of_whole_blocks_of_the_middle(small, make, crop, size):
    generator = make(crop=crop, size=size)
    (identity,) = generator.identities(0, 1)
    w = torch.from_numpy(identity.w)
    with torch.inference_mode():
        image = small.synthesis((small.mean + 0.7 * (w - small.mean)).expand(1, 8, 512))[0]
    image = np.clip(image.double().numpy(), -1, 1)
    (found,) = generator.render(identity, "age", [0])
    edge, block = (32 - crop) // 2, crop // size
    for y in range(size):
        for x in range(size):
            rows = slice(edge + y * block, edge + (y + 1) * block)
            columns = slice(edge + x * block, edge + (x + 1) * block)
            mean = image[:, rows, columns].mean(axis=(1, 2))
            expected = np.floor((mean + 1) * 127.5 + 0.5).clip(0, 255)
            assert np.abs(found[:, y, x] - expected).max() <= 1
    assert found.std() > 10
    assert generator.card.resolution == size


def test_rounding_is_to_the_nearest_and_clips():
    values = torch.tensor([-9.0, -1.0, -1 + 0.9 / 255, -1 + 1.1 / 255, 0.0, 1 - 1.1 / 255, 1.0, 9.0])
    found = downsample(values[:, None, None, None].expand(8, 3, 1, 1), 1, 1)[:, 0, 0, 0]
    assert found.tolist() == [0, 0, 0, 1, 128, 254, 255, 255]


def test_people_are_their_checkpoint_s_whatever_its_file_is_called(make, small, tmp_path):
    def people(**options):
        card = make(**options).card
        return people_key(card.name, card.sources, 3)

    torch.save(small.state_dict(), tmp_path / "copy.pth")
    assert people(checkpoint=tmp_path / "copy.pth", attributes=["age"], size=16) == people()
    other = StyleGanNetwork(small.shape)
    draw_weights(other, 1)
    save_file(other.state_dict(), tmp_path / "other.safetensors")
    assert people(checkpoint=tmp_path / "other.safetensors") != people()
    assert people().startswith("stylegan/") and people().endswith("/3")


def test_the_card_says_what_decides_the_images(make, checkpoint, tmp_path):
    card = make().card
    assert (card.name, card.resolution, card.attributes) == (
        "stylegan",
        32,
        ("age", "smile", "weight-chubby"),
    )
    assert "CC BY-NC 4.0" in card.licence
    assert card.sources["small.safetensors"] == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert card.sources["stylegan_ffhq_age_w_boundary.npy"].startswith("f92c72c6")
    assert {"torch", "numpy", "boundary_Chubby.npy", "boundary_Gender.npy"} <= set(card.sources)
    assert card.sources["pillow"] == PIL.__version__
    options = json.loads(json.dumps(card.options))
    assert options["boundaries"]["weight-chubby"]["layers"] == [0, 7]
    assert options["boundaries"]["weight-chubby"]["note"].startswith("stand-in for weight")
    assert options["boundaries"]["age"] == {"layers": [0, 7], "norm": pytest.approx(1)}
    assert {
        key: options[key] for key in ("psi", "truncated", "order", "unit", "noise", "batch", "device")
    } == {
        "psi": 0.7,
        "truncated": 8,
        "order": "truncate-edit",
        "unit": True,
        "noise": "const",
        "batch": 1,
        "device": "cpu",
    }
    np.save(tmp_path / "weight_orth_mouth.npy", np.full((1, 512), 0.5))
    card = make(boundaries=tmp_path).card
    assert card.attributes == ("weight", "age", "smile", "weight-chubby")
    assert card.options["boundaries"]["weight"]["norm"] == pytest.approx(np.sqrt(128))


def test_an_instance_can_be_pickled_and_is_small(generator, tmp_path, small):
    (identity,) = generator.identities(0, 1)
    data = pickle.dumps(generator)
    assert len(data) < 200_000
    again = pickle.loads(data)
    assert again.card == generator.card
    assert np.array_equal(again.render(identity, "age", [1]), generator.render(identity, "age", [1]))
    path = tmp_path / "other.safetensors"
    save_file(small.state_dict(), path)
    data = pickle.dumps(StyleGan(checkpoint=path, size=32, device="cpu"))
    other = StyleGanNetwork(small.shape)
    draw_weights(other, 9)
    save_file(other.state_dict(), path)
    with pytest.raises(WeightsFormatError, match="has changed since"):
        pickle.loads(data).render(identity, "age", [1])


def test_options_come_as_text(checkpoint, tmp_path):
    np.save(tmp_path / "weight_orth_mouth.npy", np.ones(512))
    texts = {
        "checkpoint": str(checkpoint),
        "boundaries": str(tmp_path),
        "attributes": "weight,age",
        "size": "8",
        "crop": "24",
        "batch": "2",
        "device": "cpu",
        "psi": "0.5",
        "truncated": "4",
        "order": "edit-truncate",
        "unit": "no",
        "layers": "age:2-5",
    }
    card = open_generator("stylegan", texts).card
    assert card.attributes == ("weight", "age")
    assert card.options["boundaries"]["age"]["layers"] == [2, 5]
    assert card.options["boundaries"]["weight"]["layers"] == [0, 7]
    told = {key: card.options[key] for key in ("size", "crop", "batch", "psi", "truncated", "order", "unit")}
    assert told == {
        "size": 8,
        "crop": 24,
        "batch": 2,
        "psi": 0.5,
        "truncated": 4,
        "order": "edit-truncate",
        "unit": False,
    }


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"size": "7"}, "can't be"),
        ({"size": "64"}, "can't be"),
        ({"size": "0"}, "can't be"),
        ({"crop": "40", "size": "8"}, "can't be"),
        ({"crop": "-8", "size": "8"}, "can't be"),
        ({"batch": "0"}, "can't be"),
        ({"size": "big"}, "isn't a whole number"),
        ({"noise": "random"}, "takes no 'noise'"),
        ({"device": "abacus"}, "device=abacus isn't there"),
        ({"psi": "x"}, "isn't understood"),
        ({"layers": "agee:0-3"}, "layers of 'agee': .* Did you mean age"),
        ({"boundaries": "/nowhere"}, "is no folder"),
    ],
)
def test_options_that_cant_be_taken_are_reported(checkpoint, option, said):
    texts = {"checkpoint": str(checkpoint), "size": "32", "device": "cpu", **option}
    with pytest.raises(UsageError, match=said):
        open_generator("stylegan", texts)


def test_arguments_that_cant_be_rendered_are_reported(generator):
    (identity,) = generator.identities(0, 1)
    with pytest.raises(UsageError, match="no attribute 'weight'"):
        generator.render(identity, "weight", [0])
    for alpha in (5.1, -6, float("nan")):
        with pytest.raises(UsageError, match="α is -5 to 5"):
            generator.render(identity, "age", [0, alpha])


def test_missing_files_are_reported_with_what_to_do(checkpoint):
    with pytest.raises(WeightsMissingError) as caught:
        StyleGan()
    assert str(weights_folder() / "stylegan" / "karras2019stylegan-ffhq-1024x1024.pkl") in str(caught.value)
    assert "drive.google.com" in str(caught.value)
    with pytest.raises(WeightsMissingError, match=r"weight_orth_mouth\.npy"):
        StyleGan(checkpoint=checkpoint, attributes=["weight"])


def test_a_network_with_other_codes_is_refused(tmp_path):
    other = StyleGanNetwork(StyleGanShape((4, 4), latent=16))
    draw_weights(other, 0)
    save_file(other.state_dict(), tmp_path / "a.safetensors")
    with pytest.raises(WeightsFormatError, match="codes of 16 numbers"):
        StyleGan(checkpoint=tmp_path / "a.safetensors")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_makes_the_same_images_but_for_rounding(make):
    cpu, gpu = make(), make(device="cuda", batch=4)
    (identity,) = gpu.identities(0, 1)
    assert np.abs(identity.w - cpu.identities(0, 1)[0].w).max() < 1e-4
    images = gpu.render(identity, "age", [-5, 0, 0.1, 1, 5])
    assert np.array_equal(gpu.render(identity, "age", [0])[0], images[1])
    difference = np.abs(images.astype(int) - cpu.render(identity, "age", [-5, 0, 0.1, 1, 5]))
    assert difference.max() <= 1
    assert gpu.card.options["device"] == "cuda"


def test_a_corpus_goes_on_with_a_copy_of_its_files_and_not_with_others(small, checkpoint, call, tmp_path):
    boundaries = tmp_path / "boundaries"
    boundaries.mkdir()
    direction = np.random.default_rng(0).normal(size=(1, 512))
    np.save(boundaries / "weight_orth_mouth.npy", direction)
    out, places = tmp_path / "out", ("-o", f"checkpoint={checkpoint}", "-o", f"boundaries={boundaries}")
    more = ("--generator", "stylegan", "--attributes", "weight", "--identities", "2", "--alphas", "2")
    line = ("synth", "corpus", "--out", out)
    assert call(*line, *more, *places, "-o", "size=8", "-o", "device=cpu")[0] == 0
    tar = out / "shards" / "00000.tar"
    before = tar.read_bytes()
    tar.unlink()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "renamed.safetensors").write_bytes(checkpoint.read_bytes())
    np.save(elsewhere / "weight_orth_mouth.npy", -direction)
    moved = ("-o", f"checkpoint={elsewhere / 'renamed.safetensors'}", "-o", f"boundaries={elsewhere}")
    status, _, stderr = call(*line, *moved)
    assert status == 2 and "other generator (weight_orth_mouth.npy: " in stderr
    assert not tar.exists()
    np.save(elsewhere / "weight_orth_mouth.npy", direction)
    assert call(*line, *moved)[0] == 0
    assert tar.read_bytes() == before
    status, _, stderr = call(*line, "-o", f"checkpoint={elsewhere / 'none'}")
    assert status == 2 and "Say where it is: -o checkpoint=FILE" in stderr


@pytest.fixture(scope="module")
def network():
    """128 pixels, so that the published resolutions of both kinds of up-layers are there."""
    network = StyleGanNetwork(StyleGanShape((6, 5, 5, 4, 3, 2), latent=8))
    draw_weights(network, 0)
    return network


def to_tensorflow(state):
    """Write a state dict as TensorFlow has it, by the table of the facts."""
    blocks, found = 6, {}
    found["dlatent_avg"] = state["truncation.w_avg"]
    found["synthesis/lod"] = state["synthesis.lod"]
    found["synthesis/4x4/Const/const"] = state["synthesis.layer0.first_layer"]
    for i in range(8):
        found[f"mapping/Dense{i}/weight"] = state[f"mapping.dense{i}.linear.weight"].T
        found[f"mapping/Dense{i}/bias"] = state[f"mapping.dense{i}.wscale.bias"]
    names = ["4x4/Const", "4x4/Conv"]
    for size in (8, 16, 32, 64, 128):
        names += [f"{size}x{size}/Conv0_up", f"{size}x{size}/Conv1"]
    for i, name in enumerate(names):
        layer, name = f"synthesis.layer{i}", f"synthesis/{name}"
        if i == 10:
            found[f"{name}/weight"] = state[f"{layer}.weight"]
        elif i:
            # (out, in, 3, 3) → (3, 3, in, out)
            found[f"{name}/weight"] = torch.from_numpy(
                np.moveaxis(state[f"{layer}.conv.weight"].numpy(), (0, 1), (3, 2)).copy()
            )
        found[f"{name}/Noise/weight"] = state[f"{layer}.epilogue.apply_noise.weight"]
        found[f"synthesis/noise{i}"] = state[f"{layer}.epilogue.apply_noise.noise"]
        found[f"{name}/bias"] = state[f"{layer}.epilogue.bias"]
        found[f"{name}/StyleMod/weight"] = state[f"{layer}.epilogue.style_mod.dense.linear.weight"].T
        found[f"{name}/StyleMod/bias"] = state[f"{layer}.epilogue.style_mod.dense.wscale.bias"]
    for i in range(blocks):
        theirs = f"synthesis/ToRGB_lod{5 - i}"
        found[f"{theirs}/weight"] = torch.from_numpy(
            np.moveaxis(state[f"synthesis.output{i}.conv.weight"].numpy(), (0, 1), (3, 2)).copy()
        )
        found[f"{theirs}/bias"] = state[f"synthesis.output{i}.bias"]
    return found


def test_every_variable_finds_its_place(network):
    state = network.state_dict()
    variables = to_tensorflow(state) | {"lod": torch.tensor(0.0)}
    assert variables["synthesis/16x16/Conv0_up/weight"].shape == (3, 3, 5, 5)
    assert variables["synthesis/ToRGB_lod0/weight"].shape == (1, 1, 2, 3)
    found = from_tensorflow(variables)
    assert found.keys() == state.keys()
    for name, tensor in state.items():
        assert torch.equal(found[name], tensor), name
        assert found[name].is_contiguous()


def test_both_kinds_of_files_give_the_same_images(network, tmp_path):
    state = network.state_dict()
    codes = torch.randn(1, network.layers, 8)
    with torch.inference_mode():
        expected = network.synthesis(codes)
        for tensors in (state, to_tensorflow(state), state | {"truncation.truncation": torch.ones(1, 12, 1)}):
            loaded = load_network(tensors, tmp_path / "a.pkl")
            assert loaded.shape == network.shape
            assert torch.equal(loaded.synthesis(codes), expected)
            assert not any(parameter.requires_grad for parameter in loaded.parameters())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"synthesis/8x8/Conv1/bias": None}, "lacks 1: synthesis.layer3.epilogue.bias"),
        ({"synthesis/noise4": None}, "lacks 1: synthesis.layer4.epilogue.apply_noise.noise"),
        ({"synthesis/256x256/Conv1/bias": torch.ones(2)}, "has unknown 1: synthesis/256x256/Conv1/bias"),
        ({"synthesis/8x8/Conv1/weight": torch.ones(3)}, "synthesis/8x8/Conv1/weight has the wrong number"),
        ({"synthesis/8x8/Conv1/bias": torch.ones(4)}, "has the wrong shape of 1"),
        ({"dlatent_avg": None}, "no StyleGAN"),
        ({"synthesis/lod": torch.tensor(2.0)}, "level of detail is 2.0"),
    ],
)
def test_files_of_other_networks_are_refused(network, tmp_path, change, said):
    variables = to_tensorflow(network.state_dict()) | change
    variables = {name: tensor for name, tensor in variables.items() if tensor is not None}
    with pytest.raises(WeightsFormatError, match=said):
        load_network(variables, tmp_path / "a.pkl")
