"""gabor: energies of Gabor filters, which nobody trained: what faces' texture alone tells.

Filters of several wavelengths and directions, and how their responses vary within fields of the image, were
the usual features for ages before networks were trained. They need no weights, so this is a whole plugin.
"""

import math

from comface_bench.core.card import MethodCard, Preprocess

WAVELENGTHS = (4.0, 5.7, 8.0, 11.3)
"""In pixels of the image as the network sees it."""
DIRECTIONS, FIELDS, SIDE = 6, 4, 17

CARD = MethodCard(
    name="gabor",
    version=1,
    build=":build",
    backbone="24 Gabor filters",
    feature="energy of each filter in 4 x 4 fields of the image: its spread, or its mean",
    feature_dim=len(WAVELENGTHS) * DIRECTIONS * FIELDS**2,
    preprocess=Preprocess(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
    options={"pool": ("spread", "mean")},
    summary="Hand-made features of texture, without any training.",
    licence="Apache-2.0",
    source="examples/gabor of comface-bench",
)


def build(options, weights, seed):
    """Build the module: normalised images (N, 3, H, W) to features (N, 384)."""
    import torch
    from torch import nn
    from torch.nn import functional

    y, x = torch.meshgrid(*[torch.arange(SIDE) - SIDE // 2.0] * 2, indexing="ij")

    def make(wavelength, direction):
        along = x * math.cos(direction) + y * math.sin(direction)
        window = torch.exp(-(x**2 + y**2) / (2 * (0.56 * wavelength) ** 2))
        waves = [window * wave(2 * math.pi * along / wavelength) for wave in (torch.cos, torch.sin)]
        return [(wave - window * wave.sum() / window.sum()) / window.sum() for wave in waves]

    class Gabor(nn.Module):
        def __init__(self):
            super().__init__()
            angles = [math.pi * n / DIRECTIONS for n in range(DIRECTIONS)]
            filters = [wave for length in WAVELENGTHS for angle in angles for wave in make(length, angle)]
            self.convolution = nn.Conv2d(1, len(filters), SIDE, padding=SIDE // 2, bias=False)
            self.convolution.weight.data = torch.stack(filters)[:, None]

        def forward(self, images):
            even, odd = self.convolution(images.mean(1, keepdim=True)).unflatten(1, (-1, 2)).unbind(2)
            energy = (even**2 + odd**2 + 1e-8).sqrt()  # Differentiable where there is none.
            mean = functional.adaptive_avg_pool2d(energy, FIELDS)
            if options["pool"] == "mean":
                return mean.flatten(1)
            square = functional.adaptive_avg_pool2d(energy**2, FIELDS)
            return (square - mean**2).clamp(min=1e-8).sqrt().flatten(1)

    return Gabor()
