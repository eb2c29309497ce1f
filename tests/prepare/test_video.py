import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comface_bench.core.errors import DataFormatError, MissingExtraError
from comface_bench.prepare.video import _place_frames, count_frames, read_frames, read_timeline


def test_frames_come_in_order_from_the_first(make_video, draw_scene, tmp_path):
    greys = [10, 60, 110, 160, 210, 30, 80]
    path = make_video(tmp_path / "a.avi", [draw_scene(0, grey) for grey in greys])
    frames = list(read_frames(path, lambda position: position % 2 == 0))
    assert [position for position, _ in frames] == list(range(7))
    assert [rgb is None for _, rgb in frames] == [False, True] * 3 + [False]
    for position, rgb in frames[::2]:
        assert rgb.shape == (240, 320, 3)
        assert rgb.mean() == pytest.approx(greys[position], abs=3)
    assert count_frames(path) == 7


def test_colours_are_red_green_blue(make_video, draw_scene, tmp_path):
    scene = draw_scene(0)
    scene[:] = (200, 100, 20)
    ((_, rgb),) = read_frames(make_video(tmp_path / "a.avi", [scene]), lambda _: True)
    assert rgb.mean((0, 1)) == pytest.approx([200, 100, 20], abs=5)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_cut_off_file_is_reported(make_video, draw_scene, tmp_path, share):
    path = make_video(tmp_path / "a.avi", [draw_scene(1, 10 * grey) for grey in range(20)])
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(DataFormatError, match=r"a\.avi: the video") as caught:
        read_timeline(path)
    assert "again" in caught.value.hint


def test_file_without_a_video_is_reported(tmp_path):
    av = pytest.importorskip("av")
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        sound.rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    with pytest.raises(DataFormatError, match="no video in this file"):
        list(read_frames(path, lambda _: False))
    assert count_frames(path) == 0


SIDE = 64
DROPPED = {20, 21, 22, 23, 24, 40}
KEPT = [frame for frame in range(60) if frame not in DROPPED]
CODECS = [("mpeg4", 0), ("mpeg4", 2), ("libx264", 0), ("libx264", 3)]


def greys(frames):
    """Pictures of one grey each, which tells the number of the frame."""
    return [np.full((SIDE, SIDE, 3), 10 + 4 * frame, np.uint8) for frame in frames]


def seen(path):
    """The numbers of a video's frames, read from their greys."""
    return [round((float(rgb.mean()) - 10) / 4) for _, rgb in read_frames(path, lambda _: True)]


@pytest.mark.parametrize(("codec", "b_frames"), CODECS)
@pytest.mark.parametrize("ending", ["avi", "mp4", "mkv"])
@pytest.mark.parametrize("rate", [20, Fraction(30000, 1001)])
def test_frames_keep_their_places_behind_dropped_ones(make_video, tmp_path, codec, b_frames, ending, rate):
    path = tmp_path / f"a.{ending}"
    make_video(path, greys(KEPT), KEPT, rate=rate, codec=codec, b_frames=b_frames)
    timeline = read_timeline(path)
    assert timeline.places == seen(path) == KEPT
    assert (timeline.count, timeline.length, timeline.doubt) == (54, 60, "")
    assert [tuple(gap) for gap in timeline.gaps] == [(20, 24), (40, 40)]


@pytest.mark.parametrize(("codec", "b_frames"), CODECS)
@pytest.mark.parametrize("ending", ["avi", "mp4", "mkv"])
def test_a_whole_video_has_no_gap(make_video, tmp_path, codec, b_frames, ending):
    path = make_video(tmp_path / f"a.{ending}", greys(range(30)), codec=codec, b_frames=b_frames)
    timeline = read_timeline(path)
    assert (timeline.places, timeline.gaps, timeline.doubt) == (list(range(30)), [], "")


@pytest.mark.parametrize(
    ("b_frames", "empty", "gaps"),
    [
        (0, {0: 3}, [(0, 2)]),
        (0, {20: 5, 40: 1}, [(20, 24), (45, 45)]),
        (0, {0: 3, 20: 5}, [(0, 2), (23, 27)]),
        (0, {60: 1}, []),
        (2, {0: 3}, [(0, 2)]),
        (2, {60: 1}, []),
    ],
)
def test_chunks_without_bytes_are_frames(make_video, write_chunks, tmp_path, b_frames, empty, gaps):
    """A container that no part of PyAV wrote; dropped frames stand before, amid and behind the others."""
    av = pytest.importorskip("av")
    whole = make_video(tmp_path / "whole.avi", greys(range(60)), b_frames=b_frames)
    with av.open(str(whole)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    chunks = []
    for number in range(61):
        chunks += [b""] * empty.get(number, 0) + packets[number : number + 1]
    path = write_chunks(tmp_path / "a.avi", chunks, SIDE)
    timeline = read_timeline(path)
    assert seen(path) == list(range(60))
    assert timeline.doubt == ""
    assert [tuple(gap) for gap in timeline.gaps] == gaps


def test_many_dropped_frames_are_no_cut_off_file(make_video, tmp_path):
    kept = [*range(10), *range(30, 60)]
    path = make_video(tmp_path / "a.avi", greys(kept), kept)
    assert count_frames(path) == 60
    assert read_timeline(path).places == kept


UNEVEN = {
    # A telephone's: each frame as long as its exposure.
    "telephone.mp4": (np.cumsum(np.random.default_rng(0).integers(2700, 3300, 300)), Fraction(1, 90000), 30),
    # A clock that runs a hundredth slower than the header says.
    "slow.mkv": (np.round(np.arange(300) * 50.5), Fraction(1, 1000), 20),
}


@pytest.mark.parametrize("name", UNEVEN)
def test_times_that_keep_to_no_rate_are_doubted(make_video, tmp_path, name):
    times, time_base, rate = UNEVEN[name]
    frames = [np.zeros((16, 16, 3), np.uint8)] * len(times)
    path = make_video(tmp_path / name, frames, times, rate=rate, time_base=time_base, codec="libx264")
    timeline = read_timeline(path)
    assert timeline.doubt
    assert (timeline.count, timeline.length, timeline.gaps) == (300, 300, ())


@settings(max_examples=40, deadline=None)
@given(
    st.sets(st.integers(1, 4999), max_size=200),
    st.sampled_from([20, 25, 30, Fraction(30000, 1001), Fraction(24000, 1001), Fraction(60000, 1001)]),
    st.sampled_from([Fraction(1, 1000), Fraction(1, 600), Fraction(1, 90000)]),
)
def test_rounded_times_give_the_places(dropped, rate, time_base):
    places = [place for place in range(5000) if place not in dropped]
    beat = float(time_base * rate)
    times = [round(place / rate / time_base) * beat for place in places]
    assert _place_frames(times, beat, 0, ends_open=False).places == places


@pytest.mark.parametrize(
    ("times", "said"),
    [
        ([0, 1, None, 3], "no times"),
        ([0, 1, 2, None], "no times"),
        ([None] * 4, "no times"),
        ([0, 2, 1, 3], "don't ascend"),
        ([0, 1, 1, 2], "don't ascend"),
        ([0, 1, 2.4, 3], "no frame rate"),
        ([0, 3, 6, 9], "no frame rate"),
    ],
)
def test_times_that_cant_be_trusted(times, said):
    found = _place_frames(times, 1, 0, ends_open=False)
    assert said in found.doubt and found.places == [0, 1, 2, 3]


def test_a_video_without_a_rate_is_doubted():
    assert "frame rate" in _place_frames([0, 0, 0], 0, 0, ends_open=False).doubt


def test_missing_package_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "av", None)
    for read in (lambda path: list(read_frames(path, lambda _: True)), count_frames):
        with pytest.raises(MissingExtraError, match="PyAV") as caught:
            read(tmp_path / "a.avi")
        assert "comface-bench[prepare]" in caught.value.hint
