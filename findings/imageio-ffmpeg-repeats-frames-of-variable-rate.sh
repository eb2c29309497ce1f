#!/bin/sh
# imageio 2.38.2 with imageio-ffmpeg 0.8.1: of a video whose frame rate changes, more frames are read than it has.
#
# Output seen, for 20 frames, each brighter than the one before: ten at 30 a second, six at 10, four at 30, as telephones
# record when it gets darker (numbers of the frames that were read):
#     count_frames()      20
#     imread(plugin=pyav) 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19
#     imread(), MP4       0 1 2 3 4 5 6 7 8 9 9 9 10 10 10 11 11 11 12 12 12 13 13 13 14 14 14 15 15 15 16 17 18 19
#     imread(), Matroska  0 1 2 3 4 5 6 7 8 9 9 10 10 10 11 11 11 12 12 12 13 13 13 14 14 14 15 15 15 16 16 17 18 19
#     20 frames at one rate: 20
#
# Guess before running: 20 frames. A reader of frames decodes what is stored, and the package's own count is 20. The default
# plugin for videos reads from the program ffmpeg, which fills up to a constant rate by repeating frames, as if for
# a file that can't say when a frame is shown. (Which of the repeats is one earlier depends on the container's clock.)
#
# What follows: labels by frame number (DISFA's are) land on other frames after the first change of rate, and repeated frames
# look like ones in which nothing changed: 14 of 33 differences between neighbours are 0 here. The plugin "pyav" reads
# the stored frames.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  numpy==2.4.6 pillow==13.0.0 av==18.1.0 imageio==2.38.2 imageio-ffmpeg==0.8.1
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
from fractions import Fraction

import av
import imageio.v2
import imageio.v3
import numpy as np

TICK = Fraction(1, 30)
CHANGING = [*range(10), *range(12, 30, 3), *range(30, 34)]
assert len(CHANGING) == 20


def write(path, times):
    """Write one frame for each time, in thirtieths of a second; its level tells its number."""
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        stream.codec_context.time_base = TICK
        stream.codec_context.max_b_frames = 0
        for number, time in enumerate(times):
            pixels = np.full((64, 64, 3), 10 + 10 * number, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = time, TICK
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def numbers(frames):
    return ((frames.mean(axis=(1, 2, 3)) - 10) / 10).round().astype(int).tolist()


def stored_times(path):
    with av.open(path) as container:
        return [round(float(frame.time) * 30) for frame in container.decode(video=0)]


for path in ("changing.mp4", "changing.mkv"):
    write(path, CHANGING)
    assert stored_times(path) == CHANGING
    with imageio.v2.get_reader(path, "FFMPEG") as reader:
        assert reader.count_frames() == 20
    assert numbers(imageio.v3.imread(path, plugin="pyav")) == list(range(20))
    read = numbers(imageio.v3.imread(path))
    print(path, len(read), *read)
    assert read == numbers(imageio.v3.imread(path, plugin="FFMPEG"))
    assert len(read) == 34 and set(read) == set(range(20)) and read == sorted(read), read
write("steady.mp4", range(20))
assert numbers(imageio.v3.imread("steady.mp4")) == list(range(20))
PY
