"""Manifests of TensorFlow.js: what is read, against numbers computed by hand, and what is refused."""

from __future__ import annotations

import base64
import json
import struct

import pytest
import torch

from comface_bench.core.errors import WeightsFormatError
from comface_bench.weights.convert import convert_weights
from comface_bench.weights.read import read_tensors
from comface_bench.weights.tfjs import is_tfjs, read_tfjs, unpack_modules

WHOLE = [
    {"name": "plain", "shape": [2, 2], "dtype": "float32"},
    {
        "name": "bytes",
        "shape": [3],
        "dtype": "float32",
        "quantization": {"dtype": "uint8", "scale": 0.5, "min": -1},
    },
    {
        "name": "whole",
        "shape": [2],
        "dtype": "float32",
        "quantization": {"dtype": "uint8", "scale": 2, "min": 300},
    },
    {
        "name": "words",
        "shape": [1],
        "dtype": "float32",
        "quantization": {"dtype": "uint16", "scale": 0.25, "min": 0},
    },
    {"name": "half", "shape": [2], "dtype": "float32", "quantization": {"dtype": "float16"}},
    {"name": "counts", "shape": [2], "dtype": "int32"},
    {
        "name": "rounded",
        "shape": [2],
        "dtype": "int32",
        "quantization": {"dtype": "uint8", "scale": 0.5, "min": -2},
    },
    {"name": "switch", "shape": [], "dtype": "bool"},
    {"name": "none", "shape": [0, 4], "dtype": "float32"},
]
BYTES = (
    struct.pack("<4f", 1.5, -2.0, 0.0, 3.25)
    + bytes([0, 1, 255])
    + bytes([0, 200])
    + struct.pack("<H", 1000)
    + struct.pack("<2e", 0.5, -6.0)
    + struct.pack("<2i", -7, 8)
    + bytes([1, 255])
    + bytes([1])
)
VALUES = {
    "plain": [[1.5, -2.0], [0.0, 3.25]],
    "bytes": [-1.0, -0.5, 126.5],
    "whole": [300.0, 700.0],
    "words": [250.0],
    "half": [0.5, -6.0],
    "counts": [-7, 8],
    "rounded": [-1, 126],
    "switch": True,
    "none": [],
}


@pytest.fixture
def write(tmp_path):
    """Write a model: `write(weights, content)`; shards of 7 bytes each, so that tensors lie across them."""

    def run(weights, content, name="model.json", bare=False, size=7, **facts):
        shards = [content[start : start + size] for start in range(0, len(content), size)]
        for number, shard in enumerate(shards):
            (tmp_path / f"shard{number}.bin").write_bytes(shard)
        paths = [f"shard{number}.bin" for number in range(len(shards))]
        groups = [{"paths": paths, "weights": weights} | facts]
        path = tmp_path / name
        path.write_text(json.dumps(groups if bare else {"modelTopology": {}, "weightsManifest": groups}))
        return path

    return run


@pytest.mark.parametrize("bare", [False, True])
def test_every_kind_of_number_is_read(write, bare):
    path = write(WHOLE, BYTES, bare=bare)
    assert is_tfjs(path)
    found = read_tfjs(path)
    assert {name: tensor.tolist() for name, tensor in found.items()} == VALUES
    kinds = {"counts": torch.int32, "rounded": torch.int32, "switch": torch.bool}
    assert {name: tensor.dtype for name, tensor in found.items()} == {
        name: kinds.get(name, torch.float32) for name in VALUES
    }
    assert found["none"].shape == (0, 4)


def test_a_conversion_holds_the_same_and_a_manifest_is_no_checkpoint(write):
    path = write(WHOLE, BYTES)
    with pytest.raises(WeightsFormatError, match=r"numbers lie beside it\n.*weights convert .*model\.json"):
        read_tensors(path)
    converted = convert_weights(path)
    assert converted.path.name == "model.tfjs.safetensors"
    found = read_tensors(converted.path)
    assert {name: tensor.tolist() for name, tensor in found.items()} == VALUES


ONE = [{"name": "w", "shape": [4], "dtype": "float32"}]
FAULTS = {
    "cut off": (ONE, bytes(15), {}, "describes 16 bytes of tensors, but shard0.bin, .* hold 15"),
    "more than described": (ONE, bytes(17), {}, "describes 16 bytes .* hold 17"),
    "too large a shape": (
        [{"name": "w", "shape": [1 << 40, 1 << 40], "dtype": "float32"}],
        bytes(16),
        {},
        "hold 16",
    ),
    "negative": (
        [{"name": "w", "shape": [-4], "dtype": "float32"}],
        bytes(16),
        {},
        r"w has the shape \[-4\]",
    ),
    "no whole shape": ([{"name": "w", "shape": [4.0], "dtype": "float32"}], bytes(16), {}, "w has the shape"),
    "true as a side": ([{"name": "w", "shape": [True], "dtype": "float32"}], bytes(4), {}, "w has the shape"),
    "no shape": ([{"name": "w", "dtype": "float32"}], bytes(16), {}, "w has the shape None"),
    "texts": ([{"name": "w", "shape": [4], "dtype": "string"}], bytes(16), {}, "w is of 'string'"),
    "complex": ([{"name": "w", "shape": [2], "dtype": "complex64"}], bytes(16), {}, "w is of 'complex64'"),
    "no name": ([{"shape": [4], "dtype": "float32"}], bytes(16), {}, "tensor 0 has no name"),
    "no object": (["w"], bytes(16), {}, "tensor 0 has no name"),
    "a name twice": (ONE + ONE, bytes(32), {}, "names the tensor w twice"),
    "quantised otherwise": (
        [ONE[0] | {"quantization": {"dtype": "uint4", "scale": 1, "min": 0}}],
        bytes(16),
        {},
        "w is stored as 'uint4'",
    ),
    "no scale": (
        [ONE[0] | {"quantization": {"dtype": "uint8", "min": 0}}],
        bytes(4),
        {},
        "quantised by None",
    ),
    "a text as scale": (
        [ONE[0] | {"quantization": {"dtype": "uint8", "scale": "1", "min": 0}}],
        bytes(4),
        {},
        "quantised by '1'",
    ),
    "not a number": (
        ONE,
        struct.pack("<4f", 1, 2, float("nan"), 3),
        {},
        "byte 0: w holds values that aren't finite",
    ),
    "infinite": (ONE, struct.pack("<4f", 1, 2, 3, float("inf")), {}, "aren't finite"),
    "a shard elsewhere": (
        ONE,
        bytes(16),
        {"paths": ["../shard0.bin"]},
        "outside its folder: '../shard0.bin'",
    ),
    "an absolute shard": (ONE, bytes(16), {"paths": ["/etc/hostname"]}, "outside its folder"),
    "a shard on Windows": (ONE, bytes(16), {"paths": ["..\\shard0.bin"]}, "outside its folder"),
    "the folder": (ONE, bytes(16), {"paths": [".."]}, "outside its folder"),
    "a missing shard": (ONE, bytes(16), {"paths": ["other.bin"]}, "needs other.bin, which isn't beside it"),
    "a shard twice": (
        ONE,
        bytes(14),
        {"paths": ["shard0.bin", "shard0.bin"]},
        "names the shard shard0.bin twice",
    ),
    "no shards": (ONE, bytes(16), {"paths": []}, "has no paths"),
    "no tensors": (None, bytes(16), {}, "has no weights"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_contradictions_are_refused(write, fault):
    weights, content, facts, told = FAULTS[fault]
    path = write(weights, content, **facts)
    with pytest.raises(WeightsFormatError, match=rf"^model\.json: group 0.*{told}"):
        read_tfjs(path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "is no JSON"),
        ('[{"paths": ["a"], "weights": [NaN]}]', "it holds NaN"),
        ("[" * 100_000, "is no JSON"),
        ("{}", "has no weightsManifest"),
        ('{"weightsManifest": []}', "has no weightsManifest"),
        ('{"weightsManifest": [3]}', "has no weightsManifest"),
        ("3", "has no weightsManifest"),
    ],
)
def test_other_json_is_refused(tmp_path, text, told):
    path = tmp_path / "model.json"
    path.write_text(text)
    with pytest.raises(WeightsFormatError, match=rf"^model\.json {told}|^model\.json.*{told}"):
        read_tfjs(path)


def test_what_isnt_a_manifest_isnt_taken_for_one(tmp_path):
    path = tmp_path / "model.json"
    for content in (b"", b"PK\x03\x04", b'{"source": "x"}', b"paths weights"):
        path.write_bytes(content)
        assert not is_tfjs(path)


BUNDLE = (
    '!function(e){if("object"==typeof exports)module.exports=e();else{self.model=e()}}(%s,{}]},{},[1])(1)});'
)
"""What a bundler writes around a value."""


def bundle(value):
    return BUNDLE % f"function(){{return 1}}({{1:[function(e,t,n){{t.exports={value}}}"


def as_javascript(value):
    """Write JSON as a minifier does: bare keys, no zeros before points, short words."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{as_javascript(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(as_javascript, value)) + "]"
    if isinstance(value, bool) or value is None:
        return {True: "!0", False: "!1", None: "null"}[value]
    return json.dumps(value).replace("0.", ".") if isinstance(value, float) else json.dumps(value)


@pytest.fixture
def modules(tmp_path):
    """Write a model and its two shards as modules."""
    manifest = [{"paths": ["one", "two"], "weights": WHOLE}]
    model = {
        "format": "layers",
        "trainable": False,
        "rate": -0.25,
        "none": None,
        "tiny": 1.5e-07,
        "x": [True],
    }
    folder = tmp_path / "modules"
    folder.mkdir()
    values = {
        "model.min.js": as_javascript(model | {"weightsManifest": manifest}),
        "one.min.js": json.dumps(base64.b64encode(BYTES[:20]).decode()),
        "two.min.js": json.dumps(base64.b64encode(BYTES[20:]).decode()),
    }
    for name, value in values.items():
        (folder / name).write_text(bundle(value))
    return model, [folder / name for name in values]


def test_modules_hold_the_same_model(modules, tmp_path):
    model, paths = modules
    path = unpack_modules(paths, tmp_path)
    assert path == tmp_path / "model.json"
    content = json.loads(path.read_text())
    assert content.pop("weightsManifest")[0]["weights"] == WHOLE
    assert content == model
    found = read_tfjs(path)
    assert {name: found[name].tolist() for name in VALUES} == VALUES


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("model.min.js", "t.exports={a:1+1}", r"model\.min\.js holds more than a value, at character 14"),
        ("model.min.js", "t.exports={a:fetch(1)}", "more than a value"),
        ("model.min.js", "t.exports={a:1,a:NaN}", "no value that can be read"),
        ("model.min.js", "t.exports=e()", "exports 0 values"),
        ("model.min.js", "t.exports={};n.exports={}", "exports 2 values"),
        ("model.min.js", 't.exports={a:"', "more than a value"),
        ("model.min.js", "t.exports=" + "{a:" * 100_000, "no value that can be read|more than a value"),
        ("two.min.js", 't.exports="????"', r"two\.min\.js holds text that isn't base 64"),
    ],
)
def test_modules_that_are_more_than_values_are_refused(name, content, told, modules, tmp_path):
    paths = modules[1]
    next(path for path in paths if path.name == name).write_text(content)
    with pytest.raises(WeightsFormatError, match=told):
        unpack_modules(paths, tmp_path)
