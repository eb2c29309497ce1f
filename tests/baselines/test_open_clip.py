from __future__ import annotations

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from torchvision.transforms import Normalize

from comface_bench.baselines.open_clip import list_names, make_card
from comface_bench.core.errors import UnknownNameError, UsageError, WeightsFormatError, WeightsMissingError
from comface_bench.engine.encoder import load_method

ARCH = "comface-test-tiny"
CONFIG = {
    "embed_dim": 12,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "patch_size": 16, "head_width": 16},
    "text_cfg": {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1},
}
RESNET = "comface-test-resnet"
RESNET_CONFIG = CONFIG | {"vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8}}
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """Architectures of open_clip's that are small enough for tests."""
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, ARCH, CONFIG)
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, RESNET, RESNET_CONFIG)


@pytest.fixture
def images(draw_images):
    """Two images of the size that the tiny tower takes."""
    return draw_images(32)


@pytest.fixture
def expected(images):
    """Compute the embeddings that a model of open_clip's own gives."""

    def compute(model, mean=MEAN, std=STD):
        with torch.no_grad():
            return model.encode_image(Normalize(mean, std)(images))

    return compute


def put(own_folders, tensors, tag="mine", ending=".safetensors"):
    path = own_folders / "weights" / "open_clip" / ARCH / f"{tag}{ending}"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path) if ending == ".safetensors" else torch.save(tensors, path)
    return path


def trained(**settings):
    torch.manual_seed(5)
    return open_clip.create_model(ARCH, **settings).eval()


def test_untrained_towers_are_drawn_from_the_seed(images):
    with torch.no_grad():
        outputs = [load_method(f"open_clip/{ARCH}", seed=seed)(images) for seed in (0, 0, 1)]
    assert outputs[0].shape == (2, 12)
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])


@pytest.mark.parametrize("ending", [".safetensors", ".bin", ".pt"])
def test_features_of_a_tag_are_the_models_image_embedding(own_folders, ending, images, expected):
    model = trained()
    put(own_folders, model.state_dict(), ending=ending)
    with torch.no_grad():
        found = load_method(f"open_clip/{ARCH}/mine")(images)
    assert expected(model).std() > 0.01
    assert (found - expected(model)).abs().max() < 1e-5


def test_the_tags_own_mean_std_and_activation_are_used(own_folders, monkeypatch, images, expected):
    config = {
        "hf_hub": "nobody/nothing/",
        "quick_gelu": True,
        "mean": (0.5, 0.5, 0.5),
        "std": (0.25, 0.25, 0.25),
    }
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda arch, tag: config)
    model = trained(force_quick_gelu=True)
    put(own_folders, model.state_dict())
    with torch.no_grad():
        found = load_method(f"open_clip/{ARCH}/mine")(images)
    wanted = expected(model, config["mean"], config["std"])
    assert (found - wanted).abs().max() < 1e-5
    assert (found - expected(model)).abs().max() > 1e-3


def test_towers_get_the_one_size_that_they_take(draw_images):
    encoder = load_method(f"open_clip/{ARCH}")
    assert encoder.preprocess.size == 32
    shrunk = torch.nn.functional.interpolate(draw_images(64), (32, 32), mode="bicubic", antialias=True)
    with torch.no_grad():
        assert (encoder(draw_images(64)) - encoder(shrunk.clamp(0, 1))).abs().max() < 1e-6


def test_the_pooled_feature_is_what_the_embedding_is_projected_from(own_folders, images, expected):
    model = trained()
    put(own_folders, model.state_dict())
    with torch.no_grad():
        pooled = load_method(f"open_clip/{ARCH}/mine", feature="pooled")(images)
    assert pooled.shape == (2, 32)
    with torch.no_grad():
        assert (pooled @ model.visual.proj - expected(model)).abs().max() < 1e-5


def test_a_tower_that_pools_and_projects_at_once_has_no_pooled_feature():
    with pytest.raises(UsageError, match="it has only feature=embedding"):
        load_method(f"open_clip/{RESNET}", feature="pooled")


@pytest.mark.parametrize("resample", ["bilinear", "bicubic"])
def test_the_tags_own_interpolation_is_used(own_folders, monkeypatch, resample):
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda arch, tag: {"interpolation": resample})
    put(own_folders, trained().state_dict())
    assert load_method(f"open_clip/{ARCH}/mine").preprocess.interpolation == resample


def test_a_file_may_be_named_for_a_tag(tmp_path, images, expected):
    model = trained(force_quick_gelu=True)
    save_file(model.state_dict(), tmp_path / "mine.safetensors")
    # The architecture is the test's own, so this tag of it is unknown: a named file needs no known tag.
    with torch.no_grad():
        found = load_method(f"open_clip/{ARCH}", checkpoint=tmp_path / "mine.safetensors")(images)
    assert (found - expected(model)).abs().max() > 1e-3  # Nothing says QuickGELU but a tag.
    assert (found - expected(loaded_plainly(model))).abs().max() < 1e-5


def loaded_plainly(model):
    plain = trained()
    plain.load_state_dict(model.state_dict())
    return plain


@pytest.mark.parametrize("fault", ["part", "other", "extra"])
def test_weights_that_do_not_fit_are_refused(own_folders, fault):
    tensors = dict(trained().state_dict())
    if fault == "part":
        del tensors["visual.proj"]
    elif fault == "other":
        tensors = {"nonsense": torch.zeros(2)}
    else:
        tensors["nonsense"] = torch.zeros(2)
    put(own_folders, tensors)
    with pytest.raises(WeightsFormatError, match=f"doesn't fit open_clip's {ARCH}"):
        load_method(f"open_clip/{ARCH}/mine")


def test_weights_with_code_are_refused(own_folders):
    put(own_folders, {"a": print}, ending=".bin")
    with pytest.raises(WeightsFormatError, match=r"mine\.bin can't be read as plain tensors"):
        load_method(f"open_clip/{ARCH}/mine")


def test_missing_weights_of_a_known_tag_say_where_and_how(own_folders):
    with pytest.raises(WeightsMissingError) as caught:
        load_method("open_clip/ViT-B-16/laion2b_s34b_b88k")
    told = str(caught.value)
    assert str(own_folders / "weights" / "open_clip") in told
    assert "hf download laion/CLIP-ViT-B-16-laion2B-s34B-b88K" in told


def test_unknown_tags_and_architectures_offer_near_ones():
    with pytest.raises(UnknownNameError, match="open_clip/ViT-B-16/openai"):
        load_method("open_clip/ViT-B-16/openaii")
    with pytest.raises(UnknownNameError, match="open_clip/ViT-B-16"):
        load_method("open_clip/ViT-B-166")


def test_patterns_list_towers_and_with_a_second_slash_tags():
    towers = set(open_clip.list_models()) - {ARCH, RESNET}
    assert set(list_names("open_clip/*")) == {f"open_clip/{tower}" for tower in towers}
    assert set(list_names("open_clip/ViT-B-16/*")) == {
        f"open_clip/ViT-B-16/{tag}" for tag in open_clip.list_pretrained_tags_by_model("ViT-B-16")
    }


def test_unknown_architectures_have_no_card():
    with pytest.raises(UnknownNameError, match="'open_clip/nope'"):
        make_card("open_clip/nope/openai")


@pytest.mark.parametrize("address", ["hf-hub:laion/CLIP-ViT-B-16", "local-dir:/somewhere"])
def test_an_address_says_what_to_type_instead(address):
    with pytest.raises(UsageError, match="not by an address") as caught:
        make_card(f"open_clip/{address}")
    assert "--method open_clip/ViT-B-16/openai" in caught.value.hint


def test_openais_way_to_write_a_name_is_corrected():
    with pytest.raises(UsageError, match="ViT-B-16 with a hyphen") as caught:
        make_card("open_clip/ViT-B/16/openai")
    assert caught.value.hint == "--method open_clip/ViT-B-16/openai"


def test_the_pooled_part_of_a_captioners_tower_is_its_feature(monkeypatch, images):
    """CoCa's tower answers with two tensors, the pooled one and those of all patches, for its captions."""
    vision = CONFIG["vision_cfg"] | {
        "attentional_pool": True,
        "attn_pooler_queries": 4,
        "attn_pooler_heads": 2,
    }
    captioner = {
        "embed_dim": 12,
        "vision_cfg": vision | {"output_tokens": True},
        "text_cfg": CONFIG["text_cfg"] | {"embed_cls": True, "output_tokens": True},
        "multimodal_cfg": {"context_length": 8, "vocab_size": 64, "width": 12, "heads": 2, "layers": 1},
        "custom_text": True,
    }
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "coca_test", captioner)
    with torch.no_grad():
        assert load_method("open_clip/coca_test")(images).shape == (2, 12)


def test_a_tower_of_several_outputs_is_refused_when_it_is_built(monkeypatch):
    forward = open_clip.transformer.VisionTransformer.forward
    monkeypatch.setattr(open_clip.transformer.VisionTransformer, "forward", lambda *a: (forward(*a), None))
    with pytest.raises(UsageError, match="doesn't give one feature"):
        load_method(f"open_clip/{ARCH}")


def test_building_warns_of_nothing(caplog):
    load_method(f"open_clip/{ARCH}")
    assert not caplog.records


def test_nothing_is_fetched_for_a_text_tower():
    with pytest.raises(UsageError, match="would be fetched from the network"):
        load_method("open_clip/roberta-ViT-B-32")


def test_a_real_architecture(draw_images):
    encoder = load_method("open_clip/ViT-S-32")
    with torch.no_grad():
        assert encoder(draw_images(224)).shape == (2, 384)
    assert (encoder.preprocess.mean, encoder.preprocess.std) == (MEAN, STD)
