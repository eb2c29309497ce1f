"""ONNX: the graph answers as the model does, and says what it takes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from comface_bench.core.card import Preprocess
from comface_bench.core.errors import ResultError
from comface_bench.engine import onnx_export
from comface_bench.engine.encoder import Encoder
from comface_bench.engine.heads import HeadKind, MirrorKind, add_mirrored, join
from comface_bench.engine.pair_model import PairHeads

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )


# One pass through torch's exporter takes seconds: together these see every branch.
@pytest.mark.parametrize(
    ("head", "mirror", "preprocess"),
    [
        ("difference", "beside", Preprocess(mean=(0.4, 0.5, 0.6), std=(0.2, 0.2, 0.3), channels="BGR")),
        ("concat", "mean", Preprocess(size=24, interpolation="bicubic")),
    ],
)
def test_the_graph_answers_as_the_model_does(
    head: HeadKind, mirror: MirrorKind, preprocess: Preprocess, tmp_path: Path
) -> None:
    encoder = Encoder("tiny", network(), preprocess).eval()
    width = 6 * (2 if mirror == "beside" else 1) * (2 if head == "concat" else 1)
    heads = PairHeads(100 * torch.randn(3, width, dtype=torch.float64), head, mirror)
    path = tmp_path / "model.onnx"
    apart = onnx_export.write_onnx(path, encoder, heads, 16, {"task": "age"})
    assert apart <= onnx_export.CLOSE
    first, second = torch.rand(7, 3, 16, 16), torch.rand(7, 3, 16, 16)
    with torch.no_grad():
        before, after = (
            add_mirrored(mirror, encoder(images).double(), encoder(images.flip(3)).double())
            for images in (first, second)
        )
        expected = (join(head, before, after) @ heads.weights.T).mean(dim=1)
    session = onnxruntime.InferenceSession(path)
    (found,) = session.run(None, {"first": first.numpy(), "second": second.numpy()})
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-4)
    said = session.get_modelmeta().custom_metadata_map
    assert said["task"] == "age" and said["opset"] == str(onnx_export.OPSET)
    assert json.loads(said["inputs"])["shape"] == ["pairs", 3, 16, 16]
    onnx.checker.check_model(str(path))


def test_a_graph_that_answers_otherwise_isnt_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = Encoder("tiny", network(), Preprocess()).eval()
    heads = PairHeads(torch.ones(1, 6, dtype=torch.float64), "difference", "none")
    export = onnx_export._export

    def other(graph: nn.Module, pair: tuple[torch.Tensor, ...], file: Path) -> None:
        weight = graph.get_buffer("weight")
        weight += 1
        export(graph, pair, file)
        weight -= 1

    monkeypatch.setattr(onnx_export, "_export", other)
    with pytest.raises(ResultError, match="answers otherwise"):
        onnx_export.write_onnx(tmp_path / "model.onnx", encoder, heads, 16, {})
    assert not list(tmp_path.iterdir())
