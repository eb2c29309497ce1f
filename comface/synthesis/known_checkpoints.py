"""The published checkpoints of generators: what they are called, where they come from, their licences."""

from __future__ import annotations

from typing import Final

from comface_bench.comface.synthesis.pickles import Published

STYLEGAN: Final = Published(
    "stylegan",
    ("karras2019stylegan-ffhq-1024x1024.pkl", "stylegan_ffhq.pth"),
    "https://drive.google.com/uc?id=1MEGjdvVpUsu1jB4zrXZN7Y4kBBOzizDQ",
    "CC BY-NC 4.0",
)

STYLEGAN3: Final = Published(
    "stylegan3",
    ("stylegan3-r-ffhq-1024x1024.pkl", "sg3-r-ffhq-1024.pt"),
    "https://api.ngc.nvidia.com/v2/models/nvidia/research/stylegan3/versions/1/files/"
    "stylegan3-r-ffhq-1024x1024.pkl",
    "NVIDIA Source Code License (research and evaluation only)",
)
