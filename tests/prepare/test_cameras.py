import pytest

from comface_bench.core.errors import DataFormatError
from comface_bench.prepare.cameras import find_videos


@pytest.fixture
def lay_out(tmp_path):
    """Make empty files under a folder called `DISFA`, and return it."""

    def make(*names):
        for name in names:
            path = tmp_path / "DISFA" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path / "DISFA"

    return make


@pytest.mark.parametrize(
    ("camera", "name"),
    [
        ("left", "Videos_LeftCamera/LeftVideoSN032_comp.avi"),
        ("left", "Video_LeftCamera/LeftVideoSN032_Comp.avi"),
        ("right", "Video_RightCamera/RightVideoSN032_Comp.avi"),
        ("right", "videos_rightcamera/rightvideosn032_comp.AVI"),
        ("right", "RightVideoSN032.mp4"),
        ("left", "LEFT/SN032.mkv"),
        ("right", "Video_RightCamera/SN032.mov"),
    ],
)
def test_spellings(lay_out, camera, name):
    root = lay_out(
        name,
        "Stimulus/clip.avi",
        "Video_RightCamera/._RightVideoSN001_Comp.avi",
        "Video_RightCamera/readme.txt",
    )
    assert [tuple(video) for video in find_videos(root, camera)] == [("SN032", root / name)]


def test_folder_of_one_camera(lay_out):
    root = lay_out("Video_RightCamera/SN002.avi", "Video_RightCamera/SN001.avi") / "Video_RightCamera"
    assert [video.subject for video in find_videos(root, "right")] == ["SN001", "SN002"]


def test_cameras_dont_mix(lay_out):
    subjects = [f"SN{number:03d}" for number in (*range(1, 14), 16, 17, 18, 21, *range(23, 33))]
    root = lay_out(
        *(f"Video_RightCamera/RightVideo{subject}_Comp.avi" for subject in reversed(subjects)),
        *(f"Videos_LeftCamera/LeftVideo{subject}_comp.avi" for subject in subjects),
    )
    for camera, folder in (("right", "Video_RightCamera"), ("left", "Videos_LeftCamera")):
        videos = find_videos(root, camera)
        assert [video.subject for video in videos] == subjects
        assert {video.path.parent.name for video in videos} == {folder}


@pytest.mark.parametrize(
    "name", ["Video_RightCamera/RightVideoSN0010.avi", "Video_RightCamera/SN001_SN002.avi"]
)
def test_name_that_tells_no_single_subject(lay_out, name):
    with pytest.raises(DataFormatError, match="tells no subject"):
        find_videos(lay_out(name), "right")
