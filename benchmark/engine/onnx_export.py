"""A model as one ONNX graph: two photographs in, the change out; checked with onnxruntime before it is kept.

The graph has everything that follows the preparation of photographs: the method's normalisation, the
backbone, and the mean of the heads. Its metadata say what it takes, since a graph's inputs can't.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from comface_bench.core.errors import MissingExtraError, ResultError
from comface_bench.core.files import replacing
from comface_bench.engine.heads import add_mirrored, join

if TYPE_CHECKING:
    from comface_bench.engine.encoder import Encoder
    from comface_bench.engine.pair_model import PairHeads

OPSET = 18
"""The first with antialiased resizing, which networks of one size need."""
CLOSE = 1e-4
"""Most that the graph's answers may differ from the model's, relative to the larger of 1 and the answer."""
INSTALL = "python -m pip install 'comface-bench[onnx]'"
_CHECKED = 4
"""Pairs that both are asked for."""


class _PairGraph(nn.Module):
    def __init__(self, encoder: Encoder, heads: PairHeads) -> None:
        super().__init__()
        self.encoder, self._head, self._mirror = encoder, heads.head, heads.mirror
        # Heads are linear: the mean of their answers is the answer of their mean.
        self.register_buffer("weight", heads.weights.mean(dim=0))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        # In double numbers as where pairs are scored: weights of a ridge are large, and features of one
        # person nearly equal.
        before, after = (self._encode(images).double() for images in (first, second))
        return (join(self._head, before, after) @ self.get_buffer("weight")).float()

    def _encode(self, images: Tensor) -> Tensor:
        # Without the encoder's own checks, by which the number of pairs would be fixed.
        features: Tensor = self.encoder.backbone(self.encoder.normalise(images))
        if self._mirror == "none":
            return features
        mirrored: Tensor = self.encoder.backbone(self.encoder.normalise(images.flip(3)))
        return add_mirrored(self._mirror, features.double(), mirrored.double())


def write_onnx(
    path: Path, encoder: Encoder, heads: PairHeads, image_size: int, metadata: Mapping[str, str]
) -> float:
    """Write a model as ONNX; it is there only if onnxruntime answers as the model does.

    Args:
        path: The file.
        encoder: In eval mode; moved to the CPU.
        heads: Whose mean is taken.
        image_size: Side of the photographs in pixels.
        metadata: What is written into the file besides opset, inputs and output.

    Returns:
        The largest difference between onnxruntime's answers and the model's.

    Raises:
        MissingExtraError: onnx, onnxscript or onnxruntime isn't installed.
        ResultError: The network can't be written as ONNX, or its graph answers otherwise.
    """
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401 - torch writes graphs by it
    except ImportError as error:
        raise MissingExtraError(f"writing ONNX needs {error.name}, which isn't installed", INSTALL) from error
    graph = _PairGraph(encoder.cpu().float(), heads).eval()
    generator = torch.Generator().manual_seed(0)
    shape = (_CHECKED, 3, image_size, image_size)
    pair = tuple(torch.rand(shape, generator=generator) for _ in range(2))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "graph.onnx"
        try:
            with warnings.catch_warnings(), torch.inference_mode(mode=False), torch.no_grad():
                warnings.simplefilter("ignore")
                _export(graph, pair, file)
        except Exception as error:  # Exporters raise whatever comes, classes of their own among it.
            reason = str(error).strip().splitlines()
            raise ResultError(
                f"{encoder.name}: torch can't write this network as ONNX: {reason[0] if reason else error!r}"
            ) from error
        model = onnx.load(str(file))
    facts = {
        **metadata,
        "opset": str(next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))),
        "inputs": json.dumps(
            {
                "first": "the earlier photograph",
                "second": "the later one",
                "type": "float32",
                "shape": ["pairs", 3, image_size, image_size],
                "channels": "red, green, blue",
                "range": [0, 1],
                "normalisation": "inside the graph",
            }
        ),
        "output": json.dumps({"change": "second less first", "shape": ["pairs"], "type": "float32"}),
    }
    for name, text in facts.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = name, text
    content = model.SerializeToString()
    apart = _compare(onnxruntime, content, graph, pair)
    if not apart <= CLOSE:
        raise ResultError(
            f"{encoder.name}: onnxruntime answers otherwise than the model, by {apart:.2g} of the answer;"
            f" at most {CLOSE:g} is taken"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as stream:
        stream.write(content)
    return apart


def _export(graph: nn.Module, pair: tuple[Tensor, ...], file: Path) -> None:
    pairs = torch.export.Dim("pairs", min=1, max=1 << 16)
    torch.onnx.export(
        graph,
        pair,
        str(file),
        input_names=["first", "second"],
        output_names=["change"],
        opset_version=OPSET,
        dynamo=True,
        dynamic_shapes=({0: pairs}, {0: pairs}),
        external_data=False,
        verbose=False,
    )


def _compare(onnxruntime: Any, content: bytes, graph: nn.Module, pair: tuple[Tensor, ...]) -> float:
    """Return the largest difference, relative to the larger of 1 and the answer; of one pair, too."""
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    largest = 0.0
    for count in (len(pair[0]), 1):
        some = [side[:count] for side in pair]
        with torch.inference_mode():
            expected = graph(*some).double()
        feed = {name: side.numpy() for name, side in zip(("first", "second"), some, strict=True)}
        (found,) = session.run(["change"], feed)
        apart = (torch.from_numpy(found).double() - expected).abs() / expected.abs().clamp(min=1)
        largest = max(largest, float(apart.max()))
    return largest
