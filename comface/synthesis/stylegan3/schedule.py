"""Schedule of StyleGAN3's layers: the size, sampling rate and band of each."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from comface_bench.core.errors import WeightsFormatError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

TAPS: Final = 6
"""Length of a filter, in samples of the lower rate."""
CRITICAL: Final = 2
"""Layers before the colours that use the whole band up to half the resolution."""
_MARGIN: Final = 10
"""Samples around the image that layers carry along."""
_FIRST_CUTOFF: Final = 2.0
_FIRST_STOP: Final = 2**2.1
_LAST_STOP: Final = 2**0.3
"""Frequencies in periods per image; the last one in units of the last cutoff."""


@dataclass(frozen=True)
class FeatureSpec:
    """Sampling of the features after a layer.

    Attributes:
        channels: Number of channels.
        size: Height and width in samples, margins included.
        rate: Samples per width of the image.
        cutoff: End of the band that is kept, in periods per width of the image.
        half_width: Half of the transition from what is kept to what is stopped, likewise.
    """

    channels: int
    size: int
    rate: int
    cutoff: float
    half_width: float


@dataclass(frozen=True)
class LayerSpec:
    """A layer: convolution, up-sampling, leaky ReLU, down-sampling.

    Attributes:
        index: Number, from 0.
        before, after: The features that it takes and makes.
        kernel: Side of the convolution's kernel.
        critical: Its band has no room for a radial filter's transition.
        rgb: It makes colours: nothing but a convolution.
        radial: Its down filter is one for both axes at once.
    """

    index: int
    before: FeatureSpec
    after: FeatureSpec
    kernel: int
    critical: bool
    rgb: bool
    radial: bool

    @property
    def name(self) -> str:
        """The module's name in NVIDIA's files."""
        return f"L{self.index}_{self.after.size}_{self.after.channels}"

    @property
    def rate(self) -> int:
        """Rate at which the leaky ReLU is applied: twice what the band asks for."""
        return max(self.before.rate, self.after.rate) * (1 if self.rgb else 2)

    @property
    def up(self) -> int:
        """Factor of the up-sampling."""
        return self.rate // self.before.rate

    @property
    def down(self) -> int:
        """Factor of the down-sampling."""
        return self.rate // self.after.rate

    @property
    def up_taps(self) -> int:
        """Length of the up filter."""
        return 1 if self.rgb else TAPS * self.up

    @property
    def down_taps(self) -> int:
        """Length of the down filter along each axis."""
        return 1 if self.rgb else TAPS * self.down

    @property
    def inner_size(self) -> int:
        """Height and width after the convolution, which keeps all that a kernel touches."""
        return self.before.size + self.kernel - 1

    @property
    def pads(self) -> tuple[int, int]:
        """Zeros before and after the up-sampled samples along each axis; below 0 some are cut off."""
        wanted = (self.after.size - 1) * self.down + 1 + self.up_taps + self.down_taps - 2
        total = wanted - self.inner_size * self.up
        low = (total + self.up) // 2
        return low, total - low


@dataclass(frozen=True)
class StyleGan3Shape:
    """Sizes of a generator.

    Attributes:
        channels: After each layer; the last one's are the colours.
        resolution: Height and width of the images in pixels, a power of 2.
        kernel: Side of the convolutions' kernels.
        radial: Down filters are radial where there is room, which makes the network follow rotations.
        latent: Size of z and of w.
    """

    channels: tuple[int, ...]
    resolution: int = 1024
    kernel: int = 1
    radial: bool = True
    latent: int = 512

    @classmethod
    def config_r(cls, resolution: int = 1024, base: int = 65536, most: int = 1024, depth: int = 14) -> Self:
        """Return configuration R; by default the sizes of FFHQ at 1024 pixels, 15,093,151 parameters.

        Args:
            resolution: Height and width of the images in pixels.
            base: Channels are half of it over the cutoff.
            most: Channels at most.
            depth: Layers before the colours.
        """
        return cls(_channels(resolution, base, most, depth), resolution)

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> Self:
        """Read the sizes off a state dict.

        Raises:
            WeightsFormatError: It is no StyleGAN3's.
        """
        found: dict[int, tuple[int, Tensor]] = {}
        for name, tensor in tensors.items():
            match = re.fullmatch(r"synthesis\.L(\d{1,3})_(\d{1,5})_\d{1,5}\.weight", name)
            if match and tensor.dim() == 4:
                found[int(match[1])] = int(match[2]), tensor
        mean, count = tensors.get("mapping.w_avg"), len(found)
        if mean is None or mean.dim() != 1 or count < CRITICAL + 2 or set(found) != set(range(count)):
            raise WeightsFormatError(
                "the file holds no StyleGAN3: it lacks mapping.w_avg or synthesis.L0_…, L1_…, …",
                "docs/generators.md says which files do.",
            )
        resolution = found[count - 1][0]
        if resolution < 16 or resolution & (resolution - 1):
            raise WeightsFormatError(f"the file's images have {resolution} pixels, which is no power of 2")
        return cls(
            tuple(len(found[index][1]) for index in range(count)),
            resolution,
            found[0][1].shape[-1],
            any(name.endswith(".down_filter") and tensor.dim() == 2 for name, tensor in tensors.items()),
            len(mean),
        )

    def stages(self) -> list[FeatureSpec]:
        """Return the sampling of the features after each layer."""
        depth = len(self.channels) - 1
        cutoffs = _progress(depth, _FIRST_CUTOFF, self.resolution / 2)
        stops = _progress(depth, _FIRST_STOP, self.resolution / 2 * _LAST_STOP)
        found = []
        for index, (cutoff, stop) in enumerate(zip(cutoffs, stops, strict=True)):
            rate = 2 ** math.ceil(math.log2(min(2 * stop, self.resolution)))
            size = rate + 2 * _MARGIN if index < depth - 1 else self.resolution
            half_width = max(stop, rate / 2) - cutoff
            found.append(FeatureSpec(self.channels[index], size, rate, cutoff, half_width))
        return found

    def layers(self) -> list[LayerSpec]:
        """Return the layers; the first one's input has the band that its output has."""
        stages = self.stages()
        last = len(stages) - 1
        return [
            LayerSpec(
                index,
                stages[max(index - 1, 0)],
                after,
                kernel=1 if index == last else self.kernel,
                critical=(critical := index >= last - CRITICAL),
                rgb=index == last,
                radial=self.radial and not critical,
            )
            for index, after in enumerate(stages)
        ]


def _progress(depth: int, first: float, last: float) -> list[float]:
    """Return values that grow by one factor from layer 0 to the first critical layer, then stay."""
    parts = [min(index / (depth - CRITICAL), 1.0) for index in range(depth + 1)]
    return [first * (last / first) ** part for part in parts]


def _channels(resolution: int, base: int, most: int, depth: int) -> tuple[int, ...]:
    cutoffs = _progress(depth, _FIRST_CUTOFF, resolution / 2)
    return (*(round(min(base / 2 / cutoff, most)) for cutoff in cutoffs[:-1]), 3)
