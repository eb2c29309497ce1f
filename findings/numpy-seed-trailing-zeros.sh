#!/bin/sh
# NumPy 2.4.6: a seed sequence with zeros at its end is the sequence without them.
#
#     default_rng(7), default_rng([7]), default_rng([7, 0]), default_rng([7, 0, 0, 0])   one and the same stream
#     default_rng([7, 0, 0, 0, 0])                                                       another one
#
# Output seen:
#     7               -> 944904955
#     [7, 0]          -> 944904955
#     [7, 0, 0, 0]    -> 944904955
#     [7, 0, 0, 0, 0] -> 305369112
#     SeedSequence(7).spawn(1)[0] -> another stream: spawning keeps children apart
#
# Guess before running: four different streams. `default_rng([seed, record])` is the common way to give each
# record a stream of its own, and a hash of a sequence normally depends on its length. Here the sequence is
# written into a pool of four 32-bit words that is filled up with zeros, so record 0's stream is that of the
# bare seed (which the same program often uses for something else), and [seed, epoch 0] that of
# [seed, epoch 0, record 0]. A non-zero last word, or SeedSequence.spawn, keeps them apart.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6
"$folder/venv/bin/python" - <<'PY'
from numpy.random import SeedSequence, default_rng


def first(seed):
    return int(default_rng(seed).integers(10**9))


seeds = [7, [7], [7, 0], [7, 0, 0], [7, 0, 0, 0], [7, 0, 0, 0, 0], [7, 0, 1]]
for seed in seeds:
    print(f"{seed!s:16}-> {first(seed)}")
equal = [first(seed) == first(7) for seed in seeds]
assert equal == [True, True, True, True, True, False, False], equal
assert first(SeedSequence(7).spawn(1)[0]) != first(7)
PY
