#!/bin/sh
# Pillow 13.0.0: a JPEG's thumbnail has other pixels if one pixel of the image was read before.
#
# Output seen, for 512 × 512 pixels and thumbnail((100, 100)): sizes alike, and the largest difference of a
# channel between a thumbnail that is made at once and one that is made after getpixel((0, 0)):
#     JPEG                      10
#     JPEG, reducing_gap=None   0
#     PNG                       0
#
# Guess before running: 0 everywhere. Reading a pixel changes nothing in the image, and opening is documented
# as lazy, which suggests that only the time of decoding differs. But a file that isn't decoded yet is asked to
# decode itself at a fraction of its size, which only JPEG can; a decoded image is scaled by averaging
# instead. So whatever looks at the pixels in between (a check, a log, np.asarray) changes the result, and
# two programs that make thumbnails of the same files by the same call may not agree. Pass
# reducing_gap=None, or always load() the image first, to get the same pixels in both cases.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check pillow==13.0.0
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import io
import random

from PIL import Image, ImageChops

SIDE = 512
original = Image.frombytes("RGB", (SIDE, SIDE), random.Random(0).randbytes(3 * SIDE * SIDE))


def thumbnail(content, look_first, **options):
    image = Image.open(io.BytesIO(content))
    if look_first:
        image.getpixel((0, 0))
    image.thumbnail((100, 100), **options)
    return image


def largest_difference(kind, **options):
    stream = io.BytesIO()
    original.save(stream, kind)
    one, other = (thumbnail(stream.getvalue(), look_first, **options) for look_first in (False, True))
    assert one.size == other.size == (100, 100)
    return max(high for _, high in ImageChops.difference(one, other).getextrema())


found = {
    "JPEG": largest_difference("JPEG"),
    "JPEG, reducing_gap=None": largest_difference("JPEG", reducing_gap=None),
    "PNG": largest_difference("PNG"),
}
for name, value in found.items():
    print(f"{name:25} {value}")
assert found["JPEG"] > 2
assert found["JPEG, reducing_gap=None"] == found["PNG"] == 0
PY
echo "the behaviour is still there"
