#!/bin/sh
# Hugging Face datasets 5.2.0 reading a tar of WebDataset: a member whose name doesn't occur among the first
# five samples is dropped, in silence; webdataset 1.0.2 yields it.
#
# Output seen, for eight samples of which the first five have `m50.png` and `p50.png` and the others `m50.png`
# and `p30.png`, each of them valid in WebDataset's convention:
#     webdataset: sample 7 has m50.png, p30.png
#     datasets:   columns m50.png, p50.png; sample 7 has m50.png (p50.png is None); p30.png is nowhere
#     where the first five differ among themselves instead: ValueError: ... don't share the same prefix or the
#     same types
#
# Guess before running: as the reader refuses samples that differ among the first five, it refuses them later
# too, or makes a column of every name. Instead the columns are those of the first five samples, later samples
# get None for what they lack, and what they have besides is left out without an error or a warning. Samples
# whose members depend on the sample (here: one image for each of several values drawn) lose images that way;
# name members by place (0.png, 1.png), and write what they are into the sample's JSON.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  datasets==5.2.0 webdataset==1.0.2 numpy==2.4.6 pillow==13.0.0
cd "$folder"
HF_HOME="$folder/hf" HF_HUB_OFFLINE=1 HF_DATASETS_DISABLE_PROGRESS_BARS=1 "$folder/venv/bin/python" -W error::UserWarning - <<'PY'
import io
import logging
import tarfile

import datasets
import webdataset
from PIL import Image

logged = []


class Listener(logging.Handler):
    def emit(self, record):
        logged.append(record.getMessage())


def png(level):
    stream = io.BytesIO()
    Image.new("RGB", (4, 4), (level, level, level)).save(stream, "PNG")
    return stream.getvalue()


def write(name, samples):
    with tarfile.open(name, "w") as tar:
        for key, members in enumerate(samples):
            for member in members:
                about = tarfile.TarInfo(f"{key:04d}.{member}")
                data = png(key)
                about.size = len(data)
                tar.addfile(about, io.BytesIO(data))


def load(name):
    return datasets.load_dataset("webdataset", data_files=name, split="train")


early, late = ["m50.png", "p50.png"], ["m50.png", "p30.png"]
write("later.tar", [early] * 5 + [late] * 3)
write("sooner.tar", [early] * 2 + [late] * 6)

seen = [
    sorted(name for name in sample if name.endswith(".png"))
    for sample in webdataset.WebDataset("later.tar", shardshuffle=False)
]
print("webdataset: sample 7 has", ", ".join(seen[7]))
assert seen == [early] * 5 + [sorted(late)] * 3, seen

datasets.logging.get_logger().addHandler(Listener(logging.WARNING))
read = load("later.tar")
columns = [name for name in read.column_names if name.endswith(".png")]
has = [name for name in columns if read[7][name] is not None]
print(f"datasets:   columns {', '.join(columns)}; sample 7 has {', '.join(has)}; warnings: {logged}")
assert (len(read), columns, has, logged) == (8, early, ["m50.png"], []), (len(read), columns, has, logged)

try:
    load("sooner.tar")
except ValueError as error:
    print("datasets:   sooner.tar:", str(error)[-60:])
else:
    raise SystemExit("samples that differ among the first five were read")
PY
