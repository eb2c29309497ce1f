"""Devices: batches equal single images, processors keep their bytes, GPUs differ by rounding."""

from __future__ import annotations

import dataclasses
import importlib
import pickle
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from comface_bench.comface.synthesis.anny.generator import VERSION, AnnyGenerator, make
from comface_bench.comface.synthesis.anny.person import GLASSES, State, draw_person, stream
from comface_bench.comface.synthesis.anny.renderer import render_record
from comface_bench.comface.synthesis.anny.scene import draw_view
from comface_bench.comface.synthesis.anny.warp_runtime import CPU, Device, find_device, load_warp
from comface_bench.core.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from comface_bench.comface.synthesis.anny.head_model import HeadModel


pytest.importorskip("anny")

SIZE = 40
ALPHAS = [-5.0, -1.0, 0.0, 2.0, 5.0]
VIEWS = [draw_view(stream("device", index)) for index in range(len(ALPHAS))]


def older(alpha: float) -> Any:
    """Hair that goes and glasses that come with the years: other numbers of strands in each image."""
    person = dataclasses.replace(draw_person("device", 1), glasses=GLASSES[2], baldness=4.0, beard=1.0)
    return person, State(years=35 + 6.5 * alpha)


def curlier(alpha: float) -> Any:
    """Hair that grows anew for each image."""
    person = draw_person("device", 2)
    return dataclasses.replace(person, hairstyle="side", curl=0.4 + 0.05 * alpha), State(units={12: 2.0})


def bald(alpha: float) -> Any:
    """No hair that could shade."""
    person = dataclasses.replace(draw_person("device", 3), hairstyle="shaved", beard=0.0, moustache=0.0)
    return person, State(fluid=0.5 * alpha)


@pytest.mark.parametrize("at", [older, curlier, bald])
@pytest.mark.parametrize("shares", [True, False])
def test_a_batch_is_the_same_as_its_images(head: HeadModel, at: Any, shares: bool) -> None:
    single = render_record(head, at, ALPHAS, VIEWS, SIZE)
    # All that a GPU does but for where: arrays copied there, three images at once, then two.
    device = Device("cpu", shares_memory=shares, batch_pixels=3 * SIZE**2)
    assert (CPU.batch(SIZE), device.batch(SIZE)) == (1, 3)
    np.testing.assert_array_equal(render_record(head, at, ALPHAS, VIEWS, SIZE, device), single)


def test_what_is_the_same_for_all_is_there_once() -> None:
    part = np.arange(12, dtype=np.float32).reshape(4, 3)
    for device in (CPU, Device("cpu", shares_memory=False)):
        stacked = device.stack([part] * 5, "vec3")
        assert stacked.shape == (5, 4) and stacked.strides[0] == 0
        other = device.stack([part, part[:2]], "vec3")
        np.testing.assert_array_equal(other.numpy(), [part, np.concatenate([part[:2], part[:2] * 0])])


def test_batches_on_a_gpu_hold_a_number_of_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_warp(), "get_cuda_devices", lambda: [SimpleNamespace(alias="cuda:0")])
    device = find_device("cuda")
    assert [device.batch(size) for size in (64, 128, 256, 1024)] == [128, 32, 8, 1]


def test_devices_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    there: list[Any] = []
    monkeypatch.setattr(load_warp(), "get_cuda_devices", lambda: there)
    assert find_device("auto") == find_device("cpu") == CPU
    with pytest.raises(UsageError, match="device=cuda isn't there") as caught:
        make({"device": "cuda"})
    assert "There is cpu." in str(caught.value)
    there += [SimpleNamespace(alias="cuda:0"), SimpleNamespace(alias="cuda:1")]
    assert find_device("auto").name == find_device("cuda").name == "cuda:0"
    assert find_device("cuda:1").name == "cuda:1"
    for wrong in ("cuda:2", "tpu", ""):
        with pytest.raises(UsageError) as caught:
            make({"device": wrong})
        assert "cpu, cuda:0, cuda:1" in str(caught.value)


def test_card_names_a_gpu_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_warp(), "get_cuda_devices", lambda: [SimpleNamespace(alias="cuda:0")])
    plain = AnnyGenerator(SIZE).card
    assert plain == make({"size": str(SIZE), "device": "cpu"}).card
    assert plain.options == {"version": VERSION, "size": SIZE, "nuisance": "off"}, "no device among them"
    generator = make({"size": str(SIZE), "device": "auto"})
    assert generator.card.options == {**plain.options, "device": "cuda"}
    assert pickle.loads(pickle.dumps(generator)).card == generator.card


@pytest.mark.skipif(sys.platform == "darwin", reason="warp has no compiler for CUDA there")
@pytest.mark.parametrize("module", ["raster", "ambient_visibility", "camera_response", "shading"])
def test_kernels_compile_for_a_gpu(module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No GPU is needed for that, and it's no proof that they run."""
    source = importlib.import_module(f"comface_bench.comface.synthesis.anny.{module}")
    made = source.shade_kernel() if module == "shading" else source._kernels()
    warp = load_warp()
    everything = [made] if module == "shading" else getattr(made, "__dict__", made).values()
    kernels = [one for one in everything if isinstance(one, warp.Kernel)]
    for kernel in kernels:
        # The optimiser would take two thirds of the time.
        monkeypatch.setitem(kernel.module.options, "mode", "debug")
        warp.compile_aot_module(kernel.module, arch=80, module_dir=str(tmp_path), use_ptx=True)
    assert len(list(tmp_path.glob("*.ptx"))) == len(kernels) > 0


@pytest.mark.gpu
@pytest.mark.skipif(not load_warp().is_cuda_available(), reason="needs CUDA")
@pytest.mark.parametrize("at", [older, curlier, bald])
def test_a_gpu_renders_the_same_images_but_for_rounding(head: HeadModel, at: Any) -> None:
    gpu = find_device("cuda")
    found = render_record(head, at, ALPHAS, VIEWS, SIZE, gpu)
    np.testing.assert_array_equal(found, render_record(head, at, ALPHAS, VIEWS, SIZE, gpu), "each time")
    few = dataclasses.replace(gpu, batch_pixels=2 * SIZE**2)
    np.testing.assert_array_equal(found, render_record(head, at, ALPHAS, VIEWS, SIZE, few), "any batch")
    difference = np.abs(found.astype(float) - render_record(head, at, ALPHAS, VIEWS, SIZE))
    # A sample on an edge may go to the other side, so single pixels differ by more.
    assert difference.mean() < 1 and (difference > 8).mean() < 0.02
