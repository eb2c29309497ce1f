"""The generator `stylegan`: NVIDIA's StyleGAN of 2019 (FFHQ at 1024 pixels), and loading its weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from comface_bench.comface.synthesis.boundaries import STYLEGAN_BOUNDARIES
from comface_bench.comface.synthesis.checkpoints import STYLEGAN_CHECKPOINT
from comface_bench.comface.synthesis.editing import Editing
from comface_bench.comface.synthesis.latent_generator import GeneratorFamily, LatentGenerator
from comface_bench.comface.synthesis.stylegan.layers import blur_kernel
from comface_bench.comface.synthesis.stylegan.network import (
    DEPTH,
    StyleGanNetwork,
    StyleGanShape,
    check_constants,
)
from comface_bench.core.errors import WeightsFormatError
from comface_bench.weights.strict import load_strictly

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from torch import Tensor

LayoutChange = Callable[["Tensor"], "Tensor"]
"""Turns a tensor of TensorFlow's layout into one of torch's."""


def load_network(tensors: Mapping[str, Tensor], path: Path) -> StyleGanNetwork:
    """Build a generator of the sizes that its tensors have, and load them.

    Args:
        tensors: As `read_checkpoint` gives them, of InterFaceGAN's state dict or of NVIDIA's pickle.
        path: The file that they come from, for messages.

    Raises:
        WeightsFormatError: They are not those of a StyleGAN, or not all.
    """
    if any("/" in name for name in tensors):
        tensors = from_tensorflow(tensors)
    network = StyleGanNetwork(StyleGanShape.of(tensors))
    # The strengths of truncation, by layer, stand in some files; they are an option here.
    load_strictly(network, tensors, path, dropped=["truncation.truncation"])
    check_constants(network)
    return network.prepare()


def from_tensorflow(variables: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename and turn StyleGAN's variables.

    Args:
        variables: Those of the whole generator (`dlatent_avg`), of `mapping/…` and of `synthesis/…`.

    Returns:
        The state dict of `StyleGanNetwork`. Unknown variables keep their names, so that loading
        reports them.

    Raises:
        WeightsFormatError: They are no StyleGAN's; or one has another number of axes than it should.
    """
    blocks = sum(name.startswith("synthesis/ToRGB_lod") and name.endswith("/weight") for name in variables)
    rest = dict(variables)
    found: dict[str, Tensor] = {}
    rest.pop("lod", None)  # The generator's own copy; that of the synthesis counts.
    for key, name, change in _table(blocks):
        if name in rest:
            try:
                found[key] = change(rest.pop(name)).contiguous()
            except RuntimeError as error:
                raise WeightsFormatError(f"{name} has the wrong number of axes: {error}") from error
    for index in range(1, blocks):
        key = f"synthesis.layer{2 * index}.epilogue.bias"
        if key in found:
            found[f"synthesis.layer{2 * index}.blur.kernel"] = blur_kernel(len(found[key]))
    return found | rest


def _table(blocks: int) -> Iterator[tuple[str, str, LayoutChange]]:
    """Yield (key, variable, change of its layout)."""
    yield "truncation.w_avg", "dlatent_avg", _as_is
    yield "synthesis.lod", "synthesis/lod", _number
    yield "synthesis.layer0.first_layer", "synthesis/4x4/Const/const", _as_is
    for index in range(DEPTH):
        yield f"mapping.dense{index}.linear.weight", f"mapping/Dense{index}/weight", _transpose
        yield f"mapping.dense{index}.wscale.bias", f"mapping/Dense{index}/bias", _as_is
    for index in range(2 * blocks):
        size = 4 << index // 2
        kind = ("Const", "Conv")[index] if index < 2 else ("Conv0_up", "Conv1")[index % 2]
        theirs, ours = f"synthesis/{size}x{size}/{kind}", f"synthesis.layer{index}"
        if kind == "Conv0_up" and size >= StyleGanShape.fused_from:
            yield f"{ours}.weight", f"{theirs}/weight", _as_is
        elif index:
            yield f"{ours}.conv.weight", f"{theirs}/weight", _outputs_first
        yield f"{ours}.epilogue.apply_noise.weight", f"{theirs}/Noise/weight", _as_is
        yield f"{ours}.epilogue.apply_noise.noise", f"synthesis/noise{index}", _as_is
        yield f"{ours}.epilogue.bias", f"{theirs}/bias", _as_is
        dense = f"{ours}.epilogue.style_mod.dense"
        yield f"{dense}.linear.weight", f"{theirs}/StyleMod/weight", _transpose
        yield f"{dense}.wscale.bias", f"{theirs}/StyleMod/bias", _as_is
    for index in range(blocks):
        ours, theirs = f"synthesis.output{index}", f"synthesis/ToRGB_lod{blocks - 1 - index}"
        yield f"{ours}.conv.weight", f"{theirs}/weight", _outputs_first
        yield f"{ours}.bias", f"{theirs}/bias", _as_is


def _as_is(tensor: Tensor) -> Tensor:
    return tensor


def _number(tensor: Tensor) -> Tensor:
    return tensor.reshape(())


def _transpose(tensor: Tensor) -> Tensor:
    return tensor.permute(1, 0)


def _outputs_first(tensor: Tensor) -> Tensor:
    return tensor.permute(3, 2, 0, 1)


FAMILY: Final = GeneratorFamily(
    published=STYLEGAN_CHECKPOINT,
    licence="CC BY-NC 4.0 (images of NVIDIA's FFHQ weights); other weights: as their authors say",
    boundaries=STYLEGAN_BOUNDARIES,
    # Weight moves the first 8 layers only, as in the work that its direction comes from.
    editing=Editing(psi=0.7, truncated=8, layers={"weight": (0, 7), "weight-chubby": (0, 7)}),
    load=load_network,
    facts={"noise": "const"},
)
"""Truncation by 0.7 in the first 8 layers, which all sources of the directions use; noise as stored."""


class StyleGan(LatentGenerator):
    """NVIDIA's StyleGAN; see `LatentGenerator` for its options."""

    family = FAMILY


def make(options: Mapping[str, str]) -> StyleGan:
    """Make the generator from options as the command line has them; see `LatentGenerator.of`."""
    return StyleGan.of(options)
