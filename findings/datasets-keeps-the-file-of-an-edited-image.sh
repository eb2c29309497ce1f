#!/bin/sh
# Hugging Face datasets 5.2.0: an image that was opened by Pillow and then changed in place is stored as the file that
# it was opened from; the change is lost in silence.
#
# Output seen, for a grey image (level 200) that gets a black square in the middle, as one who hides a face would do:
#     from_dict, changed in place      in memory 0    in the data set 200
#     map, changed in place            in memory 0    in the data set 200
#     map, thumbnail() to 16 x 16                     in the data set 64 x 64
#     map, changed copy                in memory 0    in the data set 0
#     map, resize() to 16 x 16                        in the data set 16 x 16
#
# Guess before running: 0 and 16 x 16 everywhere. What is put in is an image, and a function given to map() returns what
# is to be stored; that it works for resize(), which makes a new image, supports it. To spare a compression, datasets
# stores the file instead of the pixels where the image has a file's name (`image.filename`), and Pillow keeps that name
# when pixels are set, drawn over or pasted, or after thumbnail().
#
# What follows: faces that were covered with ImageDraw, boxes drawn for a look, or crops by thumbnail() aren't in the
# data set, and a data set that is uploaded holds the originals. A copy (image.copy()) has no name and is stored as it is.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check datasets==5.2.0 numpy==2.4.6 pillow==13.0.0
cd "$folder"
HF_HOME="$folder/hf" HF_HUB_OFFLINE=1 HF_DATASETS_DISABLE_PROGRESS_BARS=1 "$folder/venv/bin/python" -W error::UserWarning - <<'PY'
import datasets
from PIL import Image, ImageDraw

MIDDLE = (32, 32)
Image.new("RGB", (64, 64), (200, 200, 200)).save("face.png")
in_memory = {}


def cover(image, name):
    """Cover the middle of an image with black, in place."""
    ImageDraw.Draw(image).rectangle((16, 16, 47, 47), fill=(0, 0, 0))
    in_memory[name] = image.getpixel(MIDDLE)[0]
    return image


def thumbnail(image):
    image.thumbnail((16, 16))
    assert image.size == (16, 16)
    return image


files = datasets.Dataset.from_dict({"image": ["face.png"]}).cast_column("image", datasets.Image())


def mapped(change):
    """Return the first image of a data set whose images went through a function."""
    return files.map(lambda row: {"image": change(row["image"])})[0]["image"]


opened = cover(Image.open("face.png"), "from_dict")
found = {
    "from_dict": datasets.Dataset.from_dict({"image": [opened]})[0]["image"],
    "map": mapped(lambda image: cover(image, "map")),
    "map, copy": mapped(lambda image: cover(image.copy(), "map, copy")),
}
levels = {name: (in_memory[name], image.getpixel(MIDDLE)[0]) for name, image in found.items()}
for name, (memory, stored) in levels.items():
    print(f"{name:10} in memory {memory:3} in the data set {stored:3}")
sizes = [mapped(thumbnail).size, mapped(lambda image: image.resize((16, 16))).size]
print("thumbnail:", sizes[0], "resize:", sizes[1])
assert levels == {"from_dict": (0, 200), "map": (0, 200), "map, copy": (0, 0)}, levels
assert sizes == [(64, 64), (16, 16)], sizes
PY
