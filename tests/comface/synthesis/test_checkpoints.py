"""Published checkpoints: NVIDIA's pickles read without running what is in them; missing files."""

from __future__ import annotations

import builtins
import collections
import hashlib
import io
import json
import os
import pickle
import subprocess
import sys
import tracemalloc
import types

import numpy as np
import pytest
import torch

from comface_bench.comface.synthesis.checkpoints import PublishedCheckpoint, find_checkpoint, read_checkpoint
from comface_bench.core.errors import WeightsFormatError, WeightsMissingError
from comface_bench.core.weights import weights_folder
from comface_bench.weights.convert import convert_weights
from comface_bench.weights.read import BlockedGlobalError, read_tensors

PROTOCOLS = pytest.mark.parametrize("protocol", [2, 3, 4])


@pytest.fixture
def nvidia(tmp_path, monkeypatch):
    """Modules named as NVIDIA's, whose classes write files as theirs do; reading one back leaves a mark."""
    mark = tmp_path / "ran"

    def module(name, **content):
        made = types.ModuleType(name)
        for key, value in content.items():
            if isinstance(value, type | types.FunctionType):
                value.__module__, value.__qualname__ = name, key
            setattr(made, key, value)
        monkeypatch.setitem(sys.modules, name, made)
        return made

    class EasyDict(dict):
        pass

    class Network:
        def __init__(self, name, variables, **components):
            self.name, self.variables, self.components = name, variables, components

        def __getstate__(self):
            return {
                "version": 3,
                "name": self.name,
                "static_kwargs": EasyDict(func_name="training.networks_stylegan.G_style", layers=8),
                "components": EasyDict(self.components),
                "build_module_src": f"open({str(mark)!r}, 'w').close()",
                "build_func_name": "G_style",
                "variables": list(self.variables.items()),
            }

        def __setstate__(self, state):
            exec(state["build_module_src"])
            self.__dict__.update(state)

    def _reconstruct_persistent_obj(meta):
        exec(meta["module_src"])
        return EasyDict(meta)

    class Persistent(torch.nn.Module):
        def __init__(self, inside=(), **tensors):
            super().__init__()
            self.init_args, self._init_kwargs = (), EasyDict(w_dim=512, channel_base=65536)
            self.in_size, self.cutoff = np.broadcast_to(np.asarray(36), [2]), np.float64(2.5)
            for name, tensor in tensors.items():
                self.register_buffer(name, tensor)
            for name, inner in inside:
                self.add_module(name, inner)

        def __reduce__(self):
            source = f"open({str(mark)!r}, 'w').close()"
            facts = {"type": "class", "version": 6, "module_src": source, "class_name": "Generator"}
            return _reconstruct_persistent_obj, (EasyDict(facts, state=self.__dict__),)

        __reduce_ex__ = lambda self, protocol: self.__reduce__()  # noqa: E731

    module("dnnlib")
    module("dnnlib.util", EasyDict=EasyDict)
    module("dnnlib.tflib")
    network = module("dnnlib.tflib.network", Network=Network)
    module("torch_utils")
    module("torch_utils.persistence", _reconstruct_persistent_obj=_reconstruct_persistent_obj)
    return types.SimpleNamespace(Network=network.Network, Persistent=Persistent, EasyDict=EasyDict, mark=mark)


def random(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def three_networks(nvidia):
    mapping = nvidia.Network("mapping", {"Dense0/weight": random(3, 3), "Dense0/bias": random(3)})
    synthesis = nvidia.Network(
        "synthesis",
        {"lod": np.float32(0), "4x4/Const/const": random(1, 3, 4, 4), "noise0": random(1, 1, 4, 4)},
    )
    lods = {"lod": np.float32(2), "dlatent_avg": random(3)}
    other = nvidia.Network("D", {"x": random(2)})
    return (
        nvidia.Network("G", {"lod": np.float32(1)}, mapping=other),
        other,
        nvidia.Network("Gs", lods, mapping=mapping, synthesis=synthesis),
    )


@PROTOCOLS
def test_stylegans_pickle_gives_the_variables_of_the_averaged_generator(tmp_path, nvidia, protocol):
    path = tmp_path / "karras2019stylegan-ffhq-1024x1024.pkl"
    path.write_bytes(pickle.dumps(three_networks(nvidia), protocol))
    loaded = read_checkpoint(path)
    assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    found = {name: tensor.numpy() for name, tensor in loaded.tensors.items()}
    assert list(found) == [
        "lod",
        "dlatent_avg",
        "mapping/Dense0/weight",
        "mapping/Dense0/bias",
        "synthesis/lod",
        "synthesis/4x4/Const/const",
        "synthesis/noise0",
    ]
    assert np.array_equal(found["mapping/Dense0/weight"], random(3, 3))
    assert np.array_equal(found["synthesis/noise0"], random(1, 1, 4, 4))
    assert (found["lod"], found["lod"].shape, found["lod"].dtype) == (2, (), np.float32)
    assert not nvidia.mark.exists()
    # The imitation is one: its own reader runs what is in it.
    pickle.loads(path.read_bytes())
    assert nvidia.mark.exists()


def persistent_networks(nvidia):
    shared = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    layer = nvidia.Persistent(up_filter=torch.arange(12.0), magnitude_ema=torch.tensor(0.5), nothing=None)
    layer.weight = torch.nn.Parameter(shared.t())  # A view with strides of its own.
    layer.register_parameter("bias", None)
    inner = nvidia.Persistent([("L0_36_1024", layer)], short=torch.ones(2).half())
    generator = nvidia.Persistent([("synthesis", inner)], w_avg=shared[1:3, 0])
    discriminator = nvidia.Persistent(resample_filter=torch.ones(4, 4))
    content = {
        "G": discriminator,
        "D": discriminator,
        "G_ema": generator,
        "training_set_kwargs": nvidia.EasyDict(path="ffhq.zip", xflip=True),
        "augment_pipe": None,
    }
    return content, generator


@PROTOCOLS
def test_stylegan3s_pickle_gives_the_state_dict_of_the_averaged_generator(tmp_path, nvidia, protocol):
    content, generator = persistent_networks(nvidia)
    path = tmp_path / "stylegan3-r-ffhq-1024x1024.pkl"
    path.write_bytes(pickle.dumps(content, protocol))
    found = read_tensors(path)
    expected = generator.state_dict()
    assert (
        set(found)
        == set(expected)
        == {
            "w_avg",
            "synthesis.short",
            "synthesis.L0_36_1024.up_filter",
            "synthesis.L0_36_1024.magnitude_ema",
            "synthesis.L0_36_1024.weight",
        }
    )
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor)
        assert (found[name].dtype, type(found[name])) == (tensor.dtype, torch.Tensor)
        assert found[name].is_contiguous()
    assert not nvidia.mark.exists()
    pickle.loads(path.read_bytes())
    assert nvidia.mark.exists()


@pytest.mark.parametrize("kind", ["stylegan", "stylegan3"])
def test_conversion_keeps_all_and_says_whose_it_is(tmp_path, nvidia, kind):
    name, licence = {
        "stylegan": ("karras2019stylegan-ffhq-1024x1024.pkl", "CC BY-NC 4.0"),
        "stylegan3": (
            "stylegan3-r-ffhq-1024x1024.pkl",
            "NVIDIA Source Code License (research and evaluation only)",
        ),
    }[kind]
    source = tmp_path / name
    content = three_networks(nvidia) if kind == "stylegan" else persistent_networks(nvidia)[0]
    source.write_bytes(pickle.dumps(content, 4))
    converted = convert_weights(source)
    found, expected = read_tensors(converted.path), read_tensors(source)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], tensor) for key, tensor in expected.items())
    assert converted.discarded == ()
    told = json.loads(converted.path.with_suffix(".json").read_text())
    assert told["licence"] == licence
    assert told["source_sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert told["tensors"] == {
        key: {"shape": list(tensor.shape), "dtype": str(tensor.dtype)[6:]} for key, tensor in expected.items()
    }


class Call:
    """Pickled as a call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def hostile(mark):
    text = f"__import__('pathlib').Path({str(mark)!r}).touch()"
    return {
        "posix.system": Call(os.system, f"touch {mark}"),
        "builtins.eval": Call(builtins.eval, text),
        "builtins.exec": Call(builtins.exec, text),
        "subprocess.check_call": Call(subprocess.check_call, ["touch", str(mark)]),
        "numpy.load": Call(np.load, os.devnull),
        "torch.serialization.load": Call(torch.load, os.devnull),
        "builtins.getattr": Call(getattr, "a", "title"),
        "_codecs.decode": Call(__import__("codecs").decode, b"", "utf-8"),
    }


@PROTOCOLS
@pytest.mark.parametrize("name", hostile("x"))
@pytest.mark.parametrize("place", ["beside", "state", "variable", "memory", "source", "component"])
def test_a_foreign_name_is_refused_by_name_before_anything_runs(tmp_path, nvidia, protocol, name, place):
    mark, path = tmp_path / "harmed", tmp_path / "evil.pkl"
    call = hostile(mark)[name]
    content, generator = persistent_networks(nvidia)
    if place == "beside":
        content["augment_pipe"] = call
    elif place == "state":
        generator.extra = call
    elif place == "memory":
        content["G_ema"] = {"a": Call(torch._utils._rebuild_tensor_v2, call, 0, (1,), (1,), False, {})}
    elif place == "source":
        content["G"] = Call(sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, call)
    else:
        networks = three_networks(nvidia)
        (networks[2].variables if place == "variable" else networks[2].components)["evil"] = call
        content = networks
    path.write_bytes(pickle.dumps(content, protocol))
    with pytest.raises(BlockedGlobalError) as caught:
        read_tensors(path)
    # Protocol 2 writes some names as Python 2 had them.
    said = caught.value.name.replace("__builtin__.", "builtins.").replace("commands.", "subprocess.")
    assert said == name
    assert name.rpartition(".")[2] in str(caught.value)
    assert not mark.exists()
    assert not nvidia.mark.exists()
    if name.partition(".")[0] in ("posix", "builtins", "subprocess"):
        with pytest.raises(BlockedGlobalError):
            convert_weights(path)
        assert not mark.exists()


def test_code_inside_a_tensors_memory_never_runs(tmp_path, nvidia):
    mark, path = tmp_path / "harmed", tmp_path / "evil.pkl"
    memory = tmp_path / "memory"
    torch.save(hostile(mark)["posix.system"], memory, _use_new_zipfile_serialization=False)
    storage = Call(torch.storage._load_from_bytes, memory.read_bytes())
    content, _ = persistent_networks(nvidia)
    tensor = Call(torch._utils._rebuild_tensor_v2, storage, 0, (1,), (1,), False, collections.OrderedDict())

    class Holder(nvidia.Persistent):
        def __reduce__(self):
            function, (meta,) = super().__reduce__()
            meta["state"] = {"_buffers": {"a": tensor}}
            return function, (meta,)

    content["G_ema"] = Holder()
    path.write_bytes(pickle.dumps(content, 4))
    with pytest.raises(WeightsFormatError, match=r"evil\.pkl: a: a tensor's memory can't be read") as caught:
        read_tensors(path)
    assert "weights_only" not in str(caught.value)
    assert not mark.exists()


def memory(count, archive=False):
    storage = torch.storage.TypedStorage(
        wrap_storage=torch.arange(float(count)).untyped_storage(), dtype=torch.float32, _internal=True
    )

    stream = io.BytesIO()
    torch.save(storage, stream, _use_new_zipfile_serialization=archive)
    return Call(torch.storage._load_from_bytes, stream.getvalue())


@pytest.mark.parametrize(
    ("arguments", "right"),
    [
        ((memory(6), 0, (2, 3), (3, 1)), True),
        ((memory(6), 2, (2, 2), (1, 2)), True),
        ((memory(6), 0, (0,), (1,)), True),
        ((memory(6), 1, (2, 3), (3, 1)), False),
        ((memory(6), 0, (2, 3), (4, 1)), False),
        ((memory(6), 0, (7,), (0,)), False),
        ((memory(6), 0, (10**9, 10**9), (0, 0)), False),
        ((memory(6), -1, (2,), (1,)), False),
        ((memory(6), 0, (2,), (-1,)), False),
        ((memory(6), 0, (2, 3), (1,)), False),
        ((memory(6), 0, [2], (1,)), False),
        ((memory(6), True, (2,), (1,)), False),
        ((memory(6), 0, (2.0,), (1,)), False),
        (([1.0, 2.0], 0, (2,), (1,)), False),
        ((memory(0), 0, (1,), (1,)), False),
        ((memory(6, archive=True), 0, (2, 3), (3, 1)), False),
    ],
)
def test_tensors_that_claim_more_than_their_memory_are_refused(tmp_path, nvidia, arguments, right):
    tensor = Call(torch._utils._rebuild_tensor_v2, *arguments, False, collections.OrderedDict())
    meta = {"state": {"_buffers": {"a": tensor}}}
    path = tmp_path / "a.pkl"
    rebuild = sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj
    path.write_bytes(pickle.dumps({"G_ema": Call(rebuild, meta)}, 2))
    tracemalloc.start()
    try:
        if right:
            storage = torch.arange(6.0)
            _, offset, shape, strides = arguments
            assert torch.equal(read_tensors(path)["a"], storage.as_strided(shape, strides, offset))
        else:
            with pytest.raises(WeightsFormatError, match=r"^a\.pkl"):
                read_tensors(path)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_networks_that_hold_themselves_or_one_another_twice_are_refused(tmp_path, nvidia):
    path = tmp_path / "a.pkl"
    ring = nvidia.Network("Gs", {"a": random(1)})
    ring.components["again"] = ring
    chain = nvidia.Network("Gs", {"a": random(1)})
    for _ in range(60):  # Each holds the one before twice: 2⁶⁰ names.
        chain = nvidia.Network("Gs", {"a": random(1)}, left=chain, right=chain)
    deep = nvidia.Network("Gs", {"a": random(1)})
    for _ in range(400):
        deep = nvidia.Network("Gs", {"a": random(1)}, further=deep)
    for network in (ring, chain, deep):
        sys.setrecursionlimit(10_000)
        try:
            path.write_bytes(pickle.dumps((None, None, network), 4))
        finally:
            sys.setrecursionlimit(1000)
        with pytest.raises(WeightsFormatError, match="is no network, or stands there twice"):
            read_tensors(path)


@pytest.mark.parametrize(
    "state",
    [
        None,
        [],
        {},
        {"variables": {}},
        {"variables": [1]},
        {"variables": [("a",)]},
        {"variables": [(1, 2)]},
        {"variables": [], "components": []},
        {"variables": [], "components": {"a": {}}},
    ],
    ids=repr,
)
def test_malformed_networks_are_refused(tmp_path, nvidia, state):
    nvidia.Network.__getstate__ = lambda self: state
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps((None, None, nvidia.Network("a", {})), 2))
    with pytest.raises(WeightsFormatError, match=r"^a\.pkl"):
        read_tensors(path)


PUBLISHED = PublishedCheckpoint(
    "somegan", ("big.pkl", "big.pth"), "https://example.org/big.pkl", "CC BY-NC 4.0"
)


def test_a_missing_checkpoint_is_named_with_where_to_get_it_and_where_it_goes(tmp_path):
    with pytest.raises(WeightsMissingError) as caught:
        find_checkpoint(PUBLISHED)
    assert str(weights_folder() / "somegan" / "big.pkl") in caught.value.message
    assert "big.pth" in caught.value.message
    assert "https://example.org/big.pkl" in caught.value.hint
    assert "CC BY-NC 4.0" in caught.value.hint
    assert "-o checkpoint=FILE" in caught.value.hint
    with pytest.raises(WeightsMissingError, match=r"absent\.pth doesn't exist"):
        find_checkpoint(PUBLISHED, tmp_path / "absent.pth")


def test_the_converted_file_goes_before_the_published_one_and_the_own_folder_first(tmp_path):
    folder = weights_folder()
    (folder / "somegan").mkdir()
    for path in (
        folder / "big.pth",
        folder / "big.safetensors",
        folder / "somegan" / "big.pkl",
        folder / "somegan" / "big.safetensors",
    ):
        path.touch()
        assert find_checkpoint(PUBLISHED) == path
    chosen = tmp_path / "mine.pt"
    chosen.touch()
    assert find_checkpoint(PUBLISHED, chosen) == chosen


@PROTOCOLS
@pytest.mark.parametrize("kind", ["stylegan", "stylegan3"])
def test_damaged_pickles_give_tensors_or_an_error_and_run_nothing(tmp_path, nvidia, protocol, kind):
    content = three_networks(nvidia) if kind == "stylegan" else persistent_networks(nvidia)[0]
    whole, path = pickle.dumps(content, protocol), tmp_path / "a.pkl"
    names = [b"posix\nsystem\n", b"dnnlib.util\nEasyDict\n", b"builtins\nset\n", b"builtins\neval\n"]
    draw = np.random.default_rng(protocol)
    refused = 0
    for _ in range(120):
        data = bytearray(whole)
        for _ in range(draw.integers(1, 4)):
            at = int(draw.integers(len(data)))
            change = draw.integers(4)
            if change == 0:
                data[at] = draw.integers(256)
            elif change == 1:
                del data[at : at + int(draw.integers(1, 20))]
            elif change == 2:
                data[at:at] = draw.bytes(int(draw.integers(1, 8)))
            else:
                data[at:at] = b"c" + names[draw.integers(len(names))] + b"(S'exit'\ntR"
        path.write_bytes(data)
        try:
            found = read_tensors(path)
        except WeightsFormatError as error:
            refused += 1
            assert "a.pkl" in error.message
        else:
            assert all(type(tensor) is torch.Tensor for tensor in found.values())
    assert refused > 30
    assert not nvidia.mark.exists()
