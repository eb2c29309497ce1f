#!/bin/sh
# av 18.1.0 (PyAV, with its FFmpeg inside): the times of decoded frames depend on the container.
#
# The same twelve frames, each brighter than the one before, are encoded with B-frames at 20 frames a
# second, and decoded again. The frames come back complete and in order from every container. Their times
# (frame.pts, here in frames from the start) don't:
#
#     MPEG-4 in MP4 and Matroska  0 1 2 3 4 5 6 7 8 9 10 11
#     MPEG-4 in AVI               1 2 3 4 5 6 7 8 9 10 11 12     one frame late; stream.start_time is 0
#     H.264 in MP4 and Matroska   0 1 2 3 4 5 6 7 8 9 10 11
#     H.264 in AVI                1 3 4 2 6 7 5 9 10 8 12 11     not in order, none is 0
#     MPEG-4 without B-frames     0 1 2 3 4 5 6 7 8 9 10 11      in AVI, too
#
# Guess before running: 0 to 11 everywhere. frame.pts is the time at which a frame is presented, decode() yields
# frames in the order of presentation, and nothing warns that AVI stores no such times.
#
# What follows: frame.pts of an AVI file numbers no frames: labels that are joined by it (as in data sets that are
# given out as AVI files) shift by one, or are shuffled, and a search by time lands on a neighbour. Counting the
# decoded frames is right until a recorder dropped some, which AVI stores as chunks without bytes. frame.dts less
# that of the first frame is right in all of these AVI files (it is missing for the last frames).
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check av==18.1.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import av
import numpy as np

COUNT, RATE = 12, 20


def write(path, codec, b_frames):
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        stream.codec_context.max_b_frames = b_frames
        for number in range(COUNT):
            pixels = np.full((64, 64, 3), 10 + 20 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())


def read(path):
    """Return the frames' times in frames from the start; check that the frames themselves are in order."""
    with av.open(path) as container:
        stream = container.streams.video[0]
        assert stream.start_time == 0
        frames = list(container.decode(stream))
        times = [float(frame.pts * stream.time_base * RATE) for frame in frames]
        if path.endswith(".avi"):
            places = [frame.dts - frames[0].dts for frame in frames if frame.dts is not None]
            assert len(places) >= COUNT - 2 and places == list(range(len(places))), places
    levels = [frame.to_ndarray(format="rgb24").mean() for frame in frames]
    assert len(levels) == COUNT
    assert np.allclose(levels, [10 + 20 * number for number in range(COUNT)], atol=5)
    return times


LATE = list(range(1, COUNT + 1))
RIGHT = list(range(COUNT))
for codec, b_frames, ending, expected in (
    ("mpeg4", 2, "mp4", RIGHT),
    ("mpeg4", 2, "mkv", RIGHT),
    ("mpeg4", 2, "avi", LATE),
    ("mpeg4", 0, "avi", RIGHT),
    ("libx264", 2, "mp4", RIGHT),
    ("libx264", 2, "mkv", RIGHT),
    ("libx264", 2, "avi", None),
):
    path = f"{codec}-{b_frames}.{ending}"
    write(path, codec, b_frames)
    times = read(path)
    print(path, *(f"{time:g}" for time in times))
    if expected is not None:
        assert np.allclose(times, expected), times
    else:
        assert sorted(times) == LATE, times
        assert times != sorted(times), times
PY
echo "the behaviour is still there"
