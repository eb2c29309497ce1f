import pytest

from comface_bench.core.errors import DataFormatError
from comface_bench.prepare.video import count_frames, read_frames, read_timeline


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
    import numpy as np

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
