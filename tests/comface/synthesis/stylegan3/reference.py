"""StyleGAN3 written once more, slowly, as the paper defines it.

Two forms, neither of which shares code with the package. In numpy and scipy, float64: everything, tap by tap
or by scipy's own resampling; for small networks. In torch, `direct_synthesis`: zeros stuffed in, padded or
cut, filtered at the full rate, every d-th sample kept; for timings at full size. Loaded by path, by the tests
and by timings/stylegan3.py.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy import signal


def mapping(tensors, z):
    x = z / np.sqrt((z**2).mean(axis=1, keepdims=True) + 1e-8)
    for i in range(2):
        weight, bias = tensors[f"mapping.fc{i}.weight"], tensors[f"mapping.fc{i}.bias"]
        x = x @ weight.T * 0.01 / np.sqrt(weight.shape[1]) + bias * 0.01
        x = np.where(x < 0, 0.2 * x, x) * np.sqrt(2)
    return x


def affine(tensors, name, code):
    weight, bias = tensors[f"{name}.affine.weight"], tensors[f"{name}.affine.bias"]
    return weight @ code / np.sqrt(weight.shape[1]) + bias


def start(tensors, code, rate, band, size, user=None):
    """Waves (C, size, size) of one code, sample by sample.

    Each wave is sin 2π(f·(R T U p) + phase) at the place p = (x, y, 1) of a sample.
    """
    user = tensors["synthesis.input.transform"] if user is None else user
    told = affine(tensors, "synthesis.input", code)
    c, s, tx, ty = told / np.hypot(told[0], told[1])
    freqs, phases = tensors["synthesis.input.freqs"], tensors["synthesis.input.phases"]
    matrix = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array([[1, 0, -tx], [0, 1, -ty], [0, 0, 1]])
    matrix = matrix @ user
    seen = np.array([np.hypot(*(matrix[:2, :2].T @ f)) for f in freqs])
    amplitudes = np.clip(1 - (seen - band) / (rate / 2 - band), 0, 1)
    weight = tensors["synthesis.input.weight"]
    out = np.empty((len(freqs), size, size))
    for i in range(size):
        for j in range(size):
            place = matrix @ [(j + 0.5 - size / 2) / rate, (i + 0.5 - size / 2) / rate, 1]
            waves = np.sin(2 * np.pi * (freqs @ place[:2] + phases)) * amplitudes
            out[:, i, j] = weight @ waves / np.sqrt(len(freqs))
    return out


def kernels(tensors, name, code, colours):
    """The convolution of one code, (out, in, k, k)."""
    weight, style = tensors[f"{name}.weight"], affine(tensors, name, code)
    if colours:
        modulated = weight * (style / np.sqrt(weight[0].size))[None, :, None, None]
    else:
        weight = weight / np.sqrt((weight**2).mean(axis=(1, 2, 3), keepdims=True))
        style = style / np.sqrt((style**2).mean())
        modulated = weight * style[None, :, None, None]
        modulated = modulated / np.sqrt((modulated**2).sum(axis=(1, 2, 3), keepdims=True) + 1e-8)
    return modulated / np.sqrt(tensors[f"{name}.magnitude_ema"])


def convolution(x, weight):
    """Cross-correlation of (C, H, W), with k − 1 zeros around."""
    edge = weight.shape[2] - 1
    x = np.pad(x, ((0, 0), (edge, edge), (edge, edge)))
    h, w = x.shape[1] - edge, x.shape[2] - edge
    out = np.zeros((len(weight), h, w))
    for i in range(edge + 1):
        for j in range(edge + 1):
            out += np.tensordot(weight[:, :, i, j], x[:, i : i + h, j : j + w], 1)
    return out


def filtered_leaky_relu(x, up, down, pads, up_filter, down_filter):
    """(C, H, W) → (C, size, size); scipy's upfirdn along each axis, convolve2d for a filter of two axes."""
    low, high = pads
    taps = len(up_filter)
    for axis in (1, 2):
        # The full convolution of the stuffed samples, with the last sample's zeros behind it.
        full = signal.upfirdn(up_filter * up, x, up=up, axis=axis)
        missing = x.shape[axis] * up + taps - 1 - full.shape[axis]
        full = np.moveaxis(np.pad(np.moveaxis(full, axis, 0), ((0, missing), (0, 0), (0, 0))), 0, axis)
        # Without padding a filter loses taps − 1 samples; padding gives low and high back.
        keep = np.arange(taps - 1 - low, full.shape[axis] - (taps - 1 - high))
        x = np.take(full, keep, axis=axis)
    x = np.clip(np.where(x < 0, 0.2 * x, x) * np.sqrt(2), -256, 256)
    if down_filter.ndim == 2:
        return np.stack([signal.convolve2d(c, down_filter, mode="valid")[::down, ::down] for c in x])
    for axis in (1, 2):
        taps = len(down_filter)
        full = signal.upfirdn(down_filter, x, axis=axis)
        x = np.take(full, np.arange(taps - 1, full.shape[axis] - (taps - 1), down), axis=axis)
    return x


def synthesis(tensors, codes, layers, user=None):
    """One image (3, R, R) of codes (L, latent).

    Args:
        layers: Name, up, down and pads of each layer; and rate, band and size of the input before them.
    """
    first, *rest = layers
    x = start(tensors, codes[0], *first, user)
    for code, (name, up, down, pads) in zip(codes[1:], rest, strict=True):
        name, colours = f"synthesis.{name}", name == rest[-1][0]
        x = convolution(x, kernels(tensors, name, code, colours))
        x = x + tensors[f"{name}.bias"][:, None, None]
        if colours:
            x = np.clip(x, -256, 256)
        else:
            filters = tensors[f"{name}.up_filter"], tensors[f"{name}.down_filter"]
            x = filtered_leaky_relu(x, up, down, pads, *filters)
    return x * 0.25


def plans(network):
    """The facts of a network's layers that `synthesis` takes."""
    found = network.shape.layers()
    first = found[0].before
    return [
        (first.rate, first.cutoff, first.size),
        *((plan.name, plan.up, plan.down, plan.pads) for plan in found),
    ]


def direct_convolution(x, kernel):
    """True convolution of each channel with a filter of one axis along both, or with one of two axes."""
    channels = x.shape[1]
    kernel = kernel.flip(tuple(range(kernel.dim()))).to(x)
    if kernel.dim() == 2:
        return F.conv2d(x, kernel.expand(channels, 1, -1, -1), groups=channels)
    x = F.conv2d(x, kernel[:, None].expand(channels, 1, -1, -1), groups=channels)
    return F.conv2d(x, kernel[None, :].expand(channels, 1, -1, -1), groups=channels)


def direct_filtered_leaky_relu(x, up, down, pads, up_filter, down_filter):
    n, c, size, _ = x.shape
    stuffed = x.new_zeros(n, c, size, up, size, up)
    stuffed[:, :, :, 0, :, 0] = x
    padded = F.pad(stuffed.view(n, c, size * up, size * up), (*pads, *pads))
    raised = direct_convolution(padded, up_filter * up)
    bent = (F.leaky_relu(raised, 0.2) * 2**0.5).clamp(-256, 256)
    return direct_convolution(bent, down_filter)[:, :, ::down, ::down]


def direct_synthesis(network, codes):
    """Images (N, 3, R, R) of codes (N, L, latent): the network's own start and kernels, the rest direct."""
    x = network.synthesis.input(codes[:, 0])
    layers = plans(network)[1:]
    for code, (name, up, down, pads) in zip(codes.unbind(1)[1:], layers, strict=True):
        layer = network.synthesis.get_submodule(name)
        kernels = layer.modulate(code)
        edge = kernels.shape[-1] - 1
        x = torch.cat([F.conv2d(a[None], k, padding=edge) for a, k in zip(x, kernels, strict=True)])
        x = x + layer.bias[:, None, None]
        if name == layers[-1][0]:
            x = x.clamp(-256, 256)
        else:
            x = direct_filtered_leaky_relu(x, up, down, pads, layer.up_filter, layer.down_filter)
    return x * 0.25
