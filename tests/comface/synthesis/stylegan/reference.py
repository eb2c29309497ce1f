"""StyleGAN written once more, slowly, in float64 and numpy, as the definitions have it.

Nothing is fused, folded or done in place; images and kernels are walked tap by tap. It shares no code with
the package. Loaded by path, by the tests and by timings/stylegan.py.
"""

from __future__ import annotations

import numpy as np


def leaky_relu(x):
    return np.where(x < 0, 0.2 * x, x)


def dense(x, weight, bias, gain, rate):
    """x (N, in), weight (out, in): stored weights are divided by the learning rate's factor."""
    scale = gain / np.sqrt(weight.shape[1]) * rate
    return x @ (weight * scale).T + bias * rate


def mapping(tensors, z):
    x = z / np.sqrt((z**2).mean(axis=1, keepdims=True) + 1e-8)
    for i in range(8):
        weight, bias = tensors[f"mapping.dense{i}.linear.weight"], tensors[f"mapping.dense{i}.wscale.bias"]
        x = leaky_relu(dense(x, weight, bias, np.sqrt(2), 0.01))
    return x


def upsample(x):
    """Each pixel becomes 2 × 2."""
    return x.repeat(2, axis=2).repeat(2, axis=3)


def correlate(x, weight):
    """Cross-correlation with zeros around, x (N, in, H, W), weight (out, in, k, k), k odd; size stays."""
    n, _, h, w = x.shape
    size = weight.shape[2]
    edge = size // 2
    padded = np.pad(x, ((0, 0), (0, 0), (edge, edge), (edge, edge)))
    out = np.zeros((n, weight.shape[0], h, w))
    for i in range(size):
        for j in range(size):
            seen = padded[:, :, i : i + h, j : j + w].transpose(1, 0, 2, 3).reshape(x.shape[1], -1)
            out += (weight[:, :, i, j] @ seen).reshape(-1, n, h, w).transpose(1, 0, 2, 3)
    return out


def transposed(x, weight):
    """Transposed convolution of stride 2, one pixel cut off on each side; weight (in, out, 4, 4)."""
    n, _, h, w = x.shape
    out = np.zeros((n, weight.shape[1], 2 * h + 2, 2 * w + 2))
    for i in range(4):
        for j in range(4):
            part = (weight[:, :, i, j].T @ x.transpose(1, 0, 2, 3).reshape(x.shape[1], -1)).reshape(
                -1, n, h, w
            )
            out[:, :, i : i + 2 * h : 2, j : j + 2 * w : 2] += part.transpose(1, 0, 2, 3)
    return out[:, :, 1:-1, 1:-1]


def fused_kernel(weight):
    """Four shifted copies of weight (3, 3, in, out), summed: (in, out, 4, 4)."""
    padded = np.pad(weight, ((1, 1), (1, 1), (0, 0), (0, 0)))
    total = padded[1:, 1:] + padded[:-1, 1:] + padded[1:, :-1] + padded[:-1, :-1]
    return total.transpose(2, 3, 0, 1)


def blur(x):
    h, w = x.shape[2:]
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    out = np.zeros_like(x)
    for i, a in enumerate((1, 2, 1)):
        for j, b in enumerate((1, 2, 1)):
            out += a * b / 16 * padded[:, :, i : i + h, j : j + w]
    return out


def instance_norm(x):
    x = x - x.mean(axis=(2, 3), keepdims=True)
    return x / np.sqrt((x**2).mean(axis=(2, 3), keepdims=True) + 1e-8)


def epilogue(tensors, name, x, code):
    x = x + tensors[f"{name}.apply_noise.noise"] * tensors[f"{name}.apply_noise.weight"][None, :, None, None]
    x = leaky_relu(x + tensors[f"{name}.bias"][None, :, None, None])
    style = tensors[f"{name}.style_mod.dense.linear.weight"], tensors[f"{name}.style_mod.dense.wscale.bias"]
    s = dense(code, *style, 1.0, 1.0).reshape(len(x), 2, -1, 1, 1)
    return instance_norm(x) * (s[:, 0] + 1) + s[:, 1]


def synthesis(tensors, codes):
    """Images (N, 3, R, R) of codes (N, layers, latent)."""
    name = "synthesis.layer0"
    x = np.repeat(tensors[f"{name}.first_layer"], len(codes), axis=0)
    x = epilogue(tensors, f"{name}.epilogue", x, codes[:, 0])
    for i in range(1, codes.shape[1]):
        name = f"synthesis.layer{i}"
        fused = tensors.get(f"{name}.weight")
        gain = np.sqrt(2 / (9 * x.shape[1]))
        if fused is not None:
            x = transposed(x, fused_kernel(fused * gain))
        else:
            x = correlate(upsample(x) if i % 2 == 0 else x, tensors[f"{name}.conv.weight"] * gain)
        if i % 2 == 0:
            x = blur(x)
        x = epilogue(tensors, f"{name}.epilogue", x, codes[:, i])
    name = f"synthesis.output{codes.shape[1] // 2 - 1}"
    x = correlate(x, tensors[f"{name}.conv.weight"] / np.sqrt(x.shape[1]))
    return x + tensors[f"{name}.bias"][None, :, None, None]


def to_bytes(images):
    return np.floor(np.clip((images + 1) * 127.5 + 0.5, 0, 255)).astype(np.uint8)
