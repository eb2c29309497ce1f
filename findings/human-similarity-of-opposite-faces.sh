#!/bin/sh
# @vladmandic/human 3.3.6 (npm), match.similarity: opposite unit vectors have the similarity 1, and an option that is given
# with its default's value changes the result.
#
# Output seen:
#     v and -v, of length 1, 5 and 10                           1, 0.5, 0
#     two vectors, no options                                   0.58
#         {order: 2}                                            0.59
#         {order: 2, multiplier: 25}                            0.55
#         {order: 2, multiplier: 25, min: 0.2, max: 0.8}        0.58
#
# Guess before running: 0 for opposite vectors, as the result is documented as "normalized to 0..1 range where 0 is no
# similarity", and equal numbers in the other four: 2 and 0.2...0.8 are documented as defaults. The result is a straight line
# in the plain distance, which reaches 1 at a distance of 4 and 0 at 16: that suits long descriptors, and none of length 1,
# whose distances are 2 at most. The defaults stand in one object that a caller's options replace as a whole; what is
# missing then counts as multiplier 20, min 0 and max 1.
#
# What follows: descriptors that were normalised, as those of most face networks are, or ones made elsewhere, all match.
# Numbers from a page that passes {order: 2} can't be compared with those from one that passes nothing. Compute
# distances of one's own where faces are compared over time.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund @vladmandic/human@3.3.6
cat > check.mjs <<'JS'
import assert from "node:assert";

// The build for browsers holds everything in one file; it asks Node for nothing if it doesn't see Node.
Object.defineProperty(process, "versions", { value: { ...process.versions, node: undefined } });
const { match } = await import("./node_modules/@vladmandic/human/dist/human.esm.js");

const raw = Array.from({ length: 1024 }, (_, i) => Math.sin(i * i + 1));
const ofLength = (size) => raw.map((x) => (x / Math.hypot(...raw)) * size);
const opposite = [1, 5, 10].map((size) => match.similarity(ofLength(size), ofLength(size).map((x) => -x)));
console.log("opposite vectors of length 1, 5, 10:", opposite);
assert.deepEqual(opposite, [1, 0.5, 0]);

const one = ofLength(10);
const other = one.map((x, i) => x + 0.4 * Math.cos(3 * i * i));
const choices = [
  undefined,
  { order: 2 },
  { order: 2, multiplier: 25 },
  { order: 2, multiplier: 25, min: 0.2, max: 0.8 },
];
const found = choices.map((options) => match.similarity(one, other, options));
choices.forEach((options, i) => console.log(options ?? "no options", found[i]));
assert.deepEqual(found, [0.58, 0.59, 0.55, 0.58]);
JS
node check.mjs
