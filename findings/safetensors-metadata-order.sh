#!/bin/sh
# safetensors 0.8.0: the same tensors with the same metadata are written as other bytes each time.
#
# Output seen (headers of two calls of save() with one dictionary of six entries):
#     {"__metadata__":{"a":"a","f":"f","b":"b","c":"c","d":"d","e":"e"},"x":{"dtype":"F64",...
#     {"__metadata__":{"c":"c","d":"d","b":"b","e":"e","f":"f","a":"a"},"x":{"dtype":"F64",...
#     20 calls, 20 different files; without metadata, or with one entry, 20 calls give one
#
# Guess before running: equal bytes. The format is often named with content digests (a file's SHA-256 in a
# model card, a cache or a lock file), tensors are written in a fixed order whatever the dictionary's was, and
# JSON writers keep the order of a dictionary. The metadata pass through a hash map of Rust whose order is drawn
# anew for each map. One entry, such as a JSON text with sorted keys, gives one file.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 safetensors==0.8.0
"$folder/venv/bin/python" - <<'PY'
import numpy as np
from safetensors.numpy import save

tensors = {"x": np.zeros(2), "w": np.ones(3, np.float32)}
six = {name: name for name in "abcdef"}


def files(metadata):
    return len({save(tensors, metadata) for _ in range(20)})


for _ in range(2):
    print(save(tensors, six)[8:110].decode())
found = [files(None), files({"facts": "{}"}), files(six)]
print("files of 20 calls: without metadata, one entry, six entries:", found)
assert found[:2] == [1, 1] and found[2] > 1, found
assert len({save(dict(order), None) for order in (tensors.items(), reversed(tensors.items()))}) == 1
PY
