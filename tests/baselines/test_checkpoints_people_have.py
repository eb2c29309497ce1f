"""Checkpoints as training programs write them: each loads right or is refused; none is loaded by half."""

from __future__ import annotations

import itertools
from pathlib import Path

import open_clip
import pytest
import timm
import torch
from safetensors.torch import save_file

from comface_bench.baselines.pcl import build_pcl
from comface_bench.core.errors import WeightsFormatError
from comface_bench.engine.encoder import load_method

TOWER = "comface-test-people"
CONFIG = {
    "embed_dim": 12,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "patch_size": 16, "head_width": 16},
    "text_cfg": {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, TOWER, CONFIG)


def draw(family: str, seed: int) -> dict[str, torch.Tensor]:
    """The tensors of a small network, whole, that stand for trained ones."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = (
            open_clip.create_model(TOWER)
            if family == "open_clip"
            else timm.create_model(f"test_{family}", pretrained=False)
        )
        return {
            name: tensor + 0.1 * torch.rand_like(tensor) if tensor.is_floating_point() else tensor
            for name, tensor in model.state_dict().items()
        }


def method_of(family: str) -> str:
    return f"open_clip/{TOWER}" if family == "open_clip" else f"timm/test_{family}"


def start(*prefixes: str):
    return lambda state: {"".join(prefixes) + name: tensor for name, tensor in state.items()}


def sharded(state):
    """FSDP and activation checkpointing put their words before every child."""
    return {
        "_fsdp_wrapped_module." + name.replace(".", "._checkpoint_wrapped_module.", 1): tensor
        for name, tensor in state.items()
    }


CLASSIFIERS = ("fc.", "head.weight", "head.bias", "head.fc.", "classifier.")


def without_classifier(state):
    return {name: tensor for name, tensor in state.items() if not name.startswith(CLASSIFIERS)}


def other_classifier(state):
    return {
        name: tensor[:3].clone() if name.startswith(CLASSIFIERS) else tensor for name, tensor in state.items()
    }


WRAPPERS = {
    "plain": start(),
    "module": start("module."),
    "compiled": start("_orig_mod."),
    "both": start("module.", "_orig_mod."),
    "lightning": start("model."),
    "many": start("model.", "net.", "module.", "backbone."),
    "encoder": start("module.", "encoder."),
    "sharded": sharded,
    "no classifier": without_classifier,
    "other classifier": other_classifier,
    "beside a head": lambda state: start("backbone.")(state) | {"neck.0.weight": torch.ones(2, 2)},
}

CONTAINERS = {
    "bare": lambda state: state,
    "state_dict": lambda state: {"state_dict": state, "epoch": 3, "optimizer": {"state": {0: {"step": 1}}}},
    "DeepSpeed": lambda state: {"module": state, "buffer_names": ["a"], "ds_version": "0.14"},
    "insightface": lambda state: {
        "epoch": 1,
        "state_dict_backbone": state,
        "state_dict_softmax_fc": {"weight": torch.ones(5, 4)},
    },
}

FAMILIES = ("resnet", "vit", "convnext", "open_clip")
FORMS = ("torch", "legacy", "safetensors", "torch called .safetensors", "safetensors called .pth")


def save(content, path: Path, form: str) -> Path:
    ending = ".safetensors" if form in ("safetensors", "torch called .safetensors") else ".pth"
    path = path.with_suffix(ending)
    if form.startswith("safetensors"):
        save_file(content, path)
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form != "legacy")
    return path


def cases():
    """Every wrapper with every family, the containers and forms in turn: each pair of them comes up."""
    turn = itertools.count()
    for family, wrapper in itertools.product(FAMILIES, WRAPPERS):
        if family == "open_clip" and "classifier" in wrapper:
            continue
        for _ in range(3):
            number = next(turn)
            form = FORMS[number % len(FORMS)]
            container = "bare" if form.startswith("safetensors") else [*CONTAINERS][number % len(CONTAINERS)]
            yield family, wrapper, container, form


@pytest.fixture(scope="module")
def trained():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(open_clip.factory._MODEL_CONFIGS, TOWER, CONFIG)
        return {family: draw(family, 1) for family in FAMILIES}


def inner(family: str, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What a backbone has of the tensors of a whole network."""
    if family == "open_clip":
        return {k.removeprefix("visual."): v for k, v in state.items() if k.startswith("visual.")}
    return without_classifier(state)


def assert_loaded(encoder, family, state):
    loaded, expected = encoder.backbone.state_dict(), inner(family, state)
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in expected.items())


CASES = list(cases())


def test_there_are_a_hundred():
    assert len(set(CASES)) >= 100


@pytest.mark.parametrize(("family", "wrapper", "container", "form"), CASES)
def test_wrappers_and_containers_load_right(tmp_path, trained, family, wrapper, container, form):
    content = CONTAINERS[container](WRAPPERS[wrapper](trained[family]))
    path = save(content, tmp_path / "mine", form)
    assert_loaded(load_method(method_of(family), checkpoint=path), family, trained[family])


TWINS = {
    "average": lambda one, other: {"state_dict": one, "state_dict_ema": other},
    "student": lambda one, other: {
        "student": start("module.backbone.")(one),
        "teacher": start("backbone.")(other),
    },
    "flat": lambda one, other: start("student.")(one) | start("teacher.")(other),
    "momentum": lambda one, other: {"model": start("encoder_q.")(one) | start("encoder_k.")(other)},
    "beside plain": lambda one, other: one | start("ema.")(other),
}
SECOND = {
    "average": "state_dict_ema",
    "student": "teacher",
    "flat": "teacher",
    "momentum": "encoder_k",
    "beside plain": "ema",
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", TWINS)
def test_one_of_two_that_fit_is_named(tmp_path, trained, family, kind):
    one, other = trained[family], draw(family, 2)
    path = tmp_path / "mine.pth"
    torch.save(TWINS[kind](one, other), path)
    with pytest.raises(WeightsFormatError, match="holds 2 networks that fit") as caught:
        load_method(method_of(family), checkpoint=path)
    assert SECOND[kind] in caught.value.message
    assert "-o part=" in caught.value.hint
    encoder = load_method(method_of(family), checkpoint=path, part=SECOND[kind])
    assert_loaded(encoder, family, other)
    assert SECOND[kind] in encoder.weights_part
    # Twice the same network is no question.
    torch.save(TWINS[kind](one, {name: tensor.clone() for name, tensor in one.items()}), path)
    assert_loaded(load_method(method_of(family), checkpoint=path), family, one)


FAULTS = {
    "a missing tensor": lambda state: dict([*state.items()][1:]),
    "another depth": lambda state: (
        state | {("visual." if "visual.proj" in state else "") + "blocks.99.norm.weight": torch.ones(2)}
    ),
    "half of it wrapped": lambda state: {
        (f"module.{name}" if number % 2 else name): tensor
        for number, (name, tensor) in enumerate(state.items())
    },
    "whole numbers": lambda state: {name: tensor.to(torch.int8) for name, tensor in state.items()},
    "another width": lambda state: {
        name: tensor[: max(1, len(tensor) // 2)].clone() if tensor.ndim else tensor
        for name, tensor in state.items()
    },
    "flat shards": lambda state: {"_fsdp_wrapped_module._flat_param": torch.ones(100)},
    "no numbers": lambda state: {name: torch.ones(0) for name in state},
    "a classifier only": lambda state: {"weight": torch.ones(3, 4)},
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("fault", FAULTS)
def test_what_does_not_fit_whole_is_refused(tmp_path, trained, family, fault):
    state = (
        {"visual." + k: v for k, v in inner(family, trained[family]).items()}
        if family == "open_clip"
        else trained[family]
    )
    path = tmp_path / "mine.pth"
    torch.save({"state_dict": FAULTS[fault](state)}, path)
    with pytest.raises(WeightsFormatError, match=r"^mine\.pth (doesn't fit|holds)") as caught:
        load_method(method_of(family), checkpoint=path)
    assert "get it again" not in str(caught.value).lower()


@pytest.mark.parametrize("side", [8, 12])
def test_positions_of_another_square_are_taken_as_they_are(tmp_path, trained, side):
    state = dict(trained["vit"])
    count = state["pos_embed"].shape[1] - 100
    state["pos_embed"] = torch.randn(1, count + side * side, state["pos_embed"].shape[2])
    torch.save(state, tmp_path / "mine.pth")
    encoder = load_method("timm/test_vit", checkpoint=tmp_path / "mine.pth")
    assert torch.equal(encoder.backbone.pos_embed, state["pos_embed"])
    assert encoder(torch.rand(1, 3, 64, 64)).shape == (1, 64)


def test_positions_of_no_square_are_refused(tmp_path, trained):
    state = dict(trained["vit"])
    state["pos_embed"] = state["pos_embed"][:, :-1].clone()
    torch.save(state, tmp_path / "mine.pth")
    with pytest.raises(WeightsFormatError, match="positions of 99 patches, which form no square"):
        load_method("timm/test_vit", checkpoint=tmp_path / "mine.pth")


@pytest.fixture(scope="module")
def pcl():
    """The authors' layout of a built-in method, `module.encoder.`, with numbers of two networks."""
    torch.manual_seed(3)
    shapes = {name: tensor.shape for name, tensor in build_pcl().state_dict().items()}
    return [
        {f"module.encoder.{name}": torch.randn(shape) for name, shape in shapes.items()}
        | {"module.exp_fc.weight": torch.ones(2)}
        for _ in range(2)
    ]


BUILT_IN = {
    "as published": lambda one, other: one,
    "Lightning around it": lambda one, other: {"state_dict": start("model.")(one), "epoch": 1},
    "compiled": lambda one, other: {"state_dict": start("_orig_mod.")(one)},
    "insightface's container": lambda one, other: {
        "state_dict_backbone": one,
        "state_dict_softmax_fc": {"weight": torch.ones(5, 4)},
    },
    "DeepSpeed": lambda one, other: {"module": one, "ds_config": {}},
}


@pytest.mark.parametrize("kind", BUILT_IN)
def test_what_stands_around_the_authors_layout_is_taken_off(tmp_path, pcl, kind):
    torch.save(BUILT_IN[kind](*pcl), tmp_path / "mine.pth")
    trunk = load_method("pcl", checkpoint=tmp_path / "mine.pth").backbone[0]
    expected = pcl[0]
    assert all(torch.equal(v, expected[f"module.encoder.{k}"]) for k, v in trunk.state_dict().items())


def test_an_average_beside_a_built_in_methods_network_is_named(tmp_path, pcl):
    one, other = pcl
    torch.save({"model": one, "model_ema": other}, tmp_path / "mine.pth")
    with pytest.raises(WeightsFormatError, match="holds 2 networks that fit: model, model_ema") as caught:
        load_method("pcl", checkpoint=tmp_path / "mine.pth")
    assert caught.value.hint.endswith("-o part=model_ema")
    encoder = load_method("pcl", checkpoint=tmp_path / "mine.pth", part="model_ema")
    assert encoder.weights_part == "model_ema"
    trunk = encoder.backbone[0]
    assert all(torch.equal(v, other[f"module.encoder.{k}"]) for k, v in trunk.state_dict().items())
    with pytest.raises(WeightsFormatError, match="no part teacher that could be it; it holds model"):
        load_method("pcl", checkpoint=tmp_path / "mine.pth", part="teacher")


def test_a_network_of_ones_own_under_a_built_in_methods_name_is_refused(tmp_path, pcl):
    """The authors' layout is what tells their files from others of the same network."""
    state = {name.removeprefix("module.encoder."): tensor for name, tensor in pcl[0].items()}
    torch.save(start("student.")(state), tmp_path / "mine.pth")
    with pytest.raises(WeightsFormatError, match=r"^mine\.pth"):
        load_method("pcl", checkpoint=tmp_path / "mine.pth")


def test_a_part_without_a_file_is_refused():
    for method in ("timm/test_vit", f"open_clip/{TOWER}"):
        with pytest.raises(Exception, match="no file is named"):
            load_method(method, part="teacher")
