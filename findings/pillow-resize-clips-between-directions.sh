#!/bin/sh
# Pillow 13.0.0: resizing 8-bit pixels clips them between the horizontal and the vertical pass.
#
# Output seen, for 90 × 100 random pixels that are black or white, resized to 48 × 64: largest difference in grey
# levels between resizing mode L, and resizing the same pixels in mode F, rounded and clipped at the end:
#     BOX        1
#     BILINEAR   1
#     BICUBIC   16
#     LANCZOS   32
#
# Guess before the first run (which was of torch's F.interpolate on uint8, with antialias): at most 1 everywhere.
# The documentation describes one filter for all modes, so only the rounding should differ.
# But an 8-bit image is stored as 8 bits after the first of the two passes, and filters with negative weights
# overshoot there at every edge; what was clipped is missing in the second pass. Resizing in two calls, one for each
# direction, gives the same pixels as one. So features of a network differ between images that were resized as bytes
# and as floats by "the same" filter. Resize floats, or bytes, but not now one and then the other.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check pillow==13.0.0
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import random

from PIL import Image

WIDTH, HEIGHT, SMALL = 90, 100, (48, 64)
random.seed(0)
pixels = bytes(random.choice((0, 255)) for _ in range(WIDTH * HEIGHT))
image = Image.frombytes("L", (WIDTH, HEIGHT), pixels)


def compare(resample):
    as_bytes = image.resize(SMALL, resample)
    one_by_one = image.resize((SMALL[0], HEIGHT), resample).resize(SMALL, resample)
    assert one_by_one.tobytes() == as_bytes.tobytes()
    as_floats = image.convert("F").resize(SMALL, resample)
    places = [(x, y) for x in range(SMALL[0]) for y in range(SMALL[1])]
    return max(
        abs(as_bytes.getpixel(place) - min(255, max(0, round(as_floats.getpixel(place))))) for place in places
    )


found = {name: compare(Image.Resampling[name]) for name in ("BOX", "BILINEAR", "BICUBIC", "LANCZOS")}
for name, value in found.items():
    print(f"{name:10} {value}")
assert found["BOX"] <= 1 and found["BILINEAR"] <= 1
assert found["BICUBIC"] > 4 and found["LANCZOS"] > 8
PY
echo "the behaviour is still there"
