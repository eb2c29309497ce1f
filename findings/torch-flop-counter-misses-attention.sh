#!/bin/sh
# torch 2.13.0 (CPU): FlopCounterMode counts 0 for attention in inference, and too much for grouped convolutions in training.
#
# Output seen, operations counted:
#     TransformerEncoder of two layers    train() 15667200    eval() 13107200    eval(), no_grad() 0
#     MultiheadAttention                  train()  4556800    eval()  4556800    eval(), no_grad() 0
#     scaled_dot_product_attention        0                 (by its two matrix products: 1280000)
#     LSTM 0    GRU 4915200    RNN 1638400
#     Conv2d(16, 32, 3, groups=4)         forward 2359296, forward and backward 14155776 instead of 7077888
#
# Guess before running: an encoder costs the same in eval() as in train(), attention is counted on any device, LSTM as GRU. The
# counter adds up by name of the operation. In inference the layers run as one fused operation whose name it doesn't
# know, scaled_dot_product_attention has a name of its own on the CPU, and LSTM as well; a convolution's backward pass is
# counted by a formula that forgets a group's share of the channels for one of its two parts.
#
# What follows: one measures the cost of a frozen backbone in just this way: eval(), no_grad(), CPU. A vision transformer that
# is built of these layers then costs nothing beside its patch embedding, and a comparison of methods by cost is empty.
# Check the count of one layer by hand, or count with gradients enabled, which still misses the attention itself.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
venv/bin/python -W ignore - <<'PY'
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode


def count(function):
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


def three_ways(module, *inputs):
    counts = [count(lambda: module.train()(*inputs)), count(lambda: module.eval()(*inputs))]
    with torch.no_grad():
        return [*counts, count(lambda: module(*inputs))]


torch.manual_seed(0)
width, heads, tokens, images = 64, 4, 50, 2
x = torch.randn(images, tokens, width)
layer = nn.TransformerEncoderLayer(width, heads, 128, batch_first=True)
found = {
    "encoder": three_ways(nn.TransformerEncoder(layer, 2), x),
    "attention layer": three_ways(nn.MultiheadAttention(width, heads, batch_first=True), x, x, x),
}
q = torch.randn(images, heads, tokens, width // heads)
found["attention"] = count(lambda: F.scaled_dot_product_attention(q, q, q))
found["its products"] = count(lambda: (q @ q.mT).softmax(-1) @ q)
for kind in (nn.LSTM, nn.GRU, nn.RNN):
    found[kind.__name__] = count(lambda kind=kind: kind(width, width, batch_first=True)(x))
convolution = nn.Conv2d(16, 32, 3, padding=1, groups=4)
picture = torch.randn(1, 16, 32, 32, requires_grad=True)
found["convolution"] = count(lambda: convolution(picture))
found["convolution and backward"] = count(lambda: convolution(picture).sum().backward())
for name, counts in found.items():
    print(f"{name:26}", counts)

by_hand = 2 * (16 // 4) * 9 * 32 * 32 * 32
assert found == {
    "encoder": [15667200, 13107200, 0],
    "attention layer": [4556800, 4556800, 0],
    "attention": 0,
    "its products": 2 * 2 * images * tokens * tokens * width,
    "LSTM": 0,
    "GRU": 4915200,
    "RNN": 1638400,
    "convolution": by_hand,
    "convolution and backward": 6 * by_hand,
}, found
PY
