"""Names of weights of the PyTorch EfficientNets that follow TensorFlow's, turned into timm's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from comface_bench.core.errors import WeightsFormatError

if TYPE_CHECKING:
    from torch import Tensor

MARK = "_conv_stem.weight"
"""A key that only files of this layout have."""

_OUTER = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_INNER = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_se_reduce": "se.conv_reduce",
    "_se_expand": "se.conv_expand",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
# A block that doesn't expand has one convolution less, and timm counts from its first.
_UNEXPANDED = _INNER | {"_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}


def rename_efficientnet(
    tensors: Mapping[str, Tensor], stages: Iterable[int], path: Path
) -> dict[str, Tensor]:
    """Rename the weights of an EfficientNet.

    Args:
        tensors: Name in the file → tensor; blocks are numbered through all stages.
        stages: Number of blocks of each of timm's stages.
        path: The file, for messages.

    Raises:
        WeightsFormatError: A key has another layout, or there are more blocks than timm's network has.
    """
    places = [f"blocks.{stage}.{block}" for stage, count in enumerate(stages) for block in range(count)]
    expanded = {name.split(".")[1] for name in tensors if "._expand_conv." in name}
    renamed = {}
    for name, tensor in tensors.items():
        layer, _, leaf = name.rpartition(".")
        block = re.fullmatch(r"_blocks\.(\d+)\.(\w+)", layer)
        if block is None:
            new = _OUTER.get(layer)
        else:
            new = (_INNER if block[1] in expanded else _UNEXPANDED).get(block[2])
            number = int(block[1])
            new = f"{places[number]}.{new}" if new and number < len(places) else None
        if new is None:
            raise WeightsFormatError(f"{path.name}: nobody knows its key {name}")
        renamed[f"{new}.{leaf}"] = tensor
    return renamed
