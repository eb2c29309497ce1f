"""DISFA: cameras, labels, and the command from videos to frames."""

import csv
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from comface_bench.core.errors import DataFormatError, DataMissingError, UsageError
from comface_bench.data.task import load_task
from comface_bench.prepare.disfa import find_videos, prepare_disfa
from comface_bench.prepare.disfa_labels import copy_labels, expected_frames, find_labels

ACTION_UNITS = (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)
GREYS = [20 + 16 * frame for frame in range(12)]
FACES = [1, 1, 0, 1, 1, 2, 1, 1, 1, 1, 1, 1]


@pytest.fixture(scope="module")
def originals(tmp_path_factory, make_video, draw_scene):
    """Both cameras with their own spellings, two subjects, labels in which each frame has its own value."""
    pytest.importorskip("dlib")
    root = tmp_path_factory.mktemp("originals")
    for subject in ("SN001", "SN010"):
        scenes = [draw_scene(faces, grey, subject) for faces, grey in zip(FACES, GREYS, strict=True)]
        make_video(root / "Video_RightCamera" / f"RightVideo{subject}_Comp.avi", scenes)
        make_video(root / "Videos_LeftCamera" / f"LeftVideo{subject}_comp.avi", scenes[::-1])
        for unit in ACTION_UNITS:
            path = root / "ActionUnit_Labels" / subject / f"{subject}_au{unit}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(f"{frame},{label(unit, frame)}\n" for frame in range(1, 13)))
    (root / "Video_RightCamera" / "._RightVideoSN001_Comp.avi").write_bytes(b"junk")
    return root


def label(unit: int, frame: int) -> int:
    return (unit + frame) % 6


def corner(path) -> float:
    """The grey behind the face, seen in the crop's corner."""
    with Image.open(path, formats=["JPEG", "PNG"]) as image:
        return float(np.asarray(image.convert("L"))[:8, :8].mean())


EVERY_FRAME = {"stride": 1, "margin": 0.8, "size": 64}


@pytest.fixture(scope="module")
def prepared(originals, tmp_path_factory):
    """Every frame of a camera, prepared with dlib's detector; returns the data root and the report."""

    @functools.cache
    def prepare(camera):
        data = tmp_path_factory.mktemp("prepared")
        return data, prepare_disfa(originals, data, camera=camera, **EVERY_FRAME)

    return prepare


@pytest.mark.parametrize(("camera", "order"), [("right", 1), ("left", -1)])
def test_frames_are_numbered_as_the_labels(prepared, camera, order):
    data, report = prepared(camera)
    folder = data / "DISFA" / "frames" / "SN001"
    greys, faces = GREYS[::order], FACES[::order]
    written = [frame for frame in range(1, 13) if faces[frame - 1] == 1]
    assert [path.name for path in sorted(folder.iterdir())] == [f"{frame:05d}.jpg" for frame in written]
    for frame in written:
        assert corner(folder / f"{frame:05d}.jpg") == pytest.approx(greys[frame - 1], abs=6)
    assert [(found.subject, found.decoded, found.expected, found.written) for found in report.subjects] == [
        ("SN001", 12, 12, 10),
        ("SN010", 12, 12, 10),
    ]
    assert len(report.missing) == 25
    assert "SN001" not in report.missing


def test_frames_without_one_face_are_listed(prepared):
    data, report = prepared("right")
    rows = list(csv.reader((data / "DISFA" / "faces.csv").open()))
    assert rows == [
        ["subject", "frame", "problem", "faces"],
        ["SN001", "3", "no face", "0"],
        ["SN001", "6", "several faces", "2"],
        ["SN010", "3", "no face", "0"],
        ["SN010", "6", "several faces", "2"],
    ]
    assert {(found.no_face, found.several_faces) for found in report.subjects} == {(1, 1)}


def test_crops_hold_the_entire_face(originals, tmp_path, draw_scene):
    prepare_disfa(originals, tmp_path, stride=5, size=128)
    with Image.open(tmp_path / "DISFA" / "frames" / "SN001" / "00001.jpg", formats=["JPEG", "PNG"]) as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (128, 128))
        found = np.asarray(image).astype(float)
    # The rendered image fills 128 pixels of the scene and holds the entire face; so must the crop.
    scene = draw_scene(1, GREYS[0], "SN001")[56:184, 96:224].astype(float)
    shifts = [
        np.corrcoef(np.roll(found, (y, x), (0, 1))[24:104, 24:104].ravel(), scene[24:104, 24:104].ravel())[
            0, 1
        ]
        for y in range(-16, 17, 4)
        for x in range(-16, 17, 4)
    ]
    assert max(shifts) > 0.7


def test_prepared_data_become_a_task(originals, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(originals, source)
    for subject in ("SN002", "SN003"):
        video = source / "Video_RightCamera" / "RightVideoSN001_Comp.avi"
        shutil.copy(video, str(video).replace("SN001", subject))
        for path in list((source / "ActionUnit_Labels" / "SN001").iterdir()):
            copy = source / "ActionUnit_Labels" / subject / path.name.replace("SN001", subject)
            copy.parent.mkdir(exist_ok=True)
            shutil.copy(path, copy)
    assert prepare_disfa(source, tmp_path, stride=2, size=32).has_labels
    task = load_task("disfa-au12+split=balanced-2+allow=equal-images", tmp_path)
    frames = [int(name[-9:-4]) for name in task.table.images]
    assert frames == 4 * [1, 5, 7, 9, 11]
    assert task.table.labels["au12"].tolist() == [label(12, frame) for frame in frames]


SHOWN = [frame for frame in range(240) if frame not in {60, 61, 62, 141}]
"""Places of the frames that a camera kept, from 0: four were dropped."""


@pytest.fixture
def film(tmp_path, make_video):
    """Film SN001, each frame with its own grey; returns the source, with as many labels as asked for."""

    def film(name="RightVideoSN001.avi", places=SHOWN, labels=None, **options):
        frames = [np.full((48, 48, 3), 10 + place % 60 * 4, np.uint8) for place in places]
        source = tmp_path / "source"
        if not (source / name).exists():
            make_video(source / name, frames, places, **options)
        for unit in ACTION_UNITS if labels else ():
            path = source / "ActionUnit_Labels" / "SN001" / f"SN001_au{unit}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(f"{frame},{label(unit, frame)}\n" for frame in range(1, labels + 1)))
        return source

    return film


def shifted_frames(root):
    """The frames of SN001 whose number isn't that of the picture, and how many there are in all."""
    paths = sorted((root / "DISFA" / "frames" / "SN001").iterdir())
    wrong = [path.name for path in paths if abs(corner(path) - 10 - (int(path.stem) - 1) % 60 * 4) > 1.9]
    return wrong, len(paths)


EACH = {"stride": 1, "margin": 0.0, "size": 16}


@pytest.mark.parametrize("options", [{}, {"b_frames": 2}, {"codec": "libx264", "b_frames": 3}])
def test_dropped_frames_shift_no_label(film, tmp_path, whole_image, options):
    source = film(labels=240, **options)
    report = prepare_disfa(source, tmp_path, detector=whole_image(), **EACH)
    assert shifted_frames(tmp_path) == ([], 236)
    (found,) = report.subjects
    assert (found.decoded, found.last, found.expected) == (236, 240, 240)
    (remark,) = found.remarks
    assert remark.endswith("4 frames dropped when it was filmed, so without an image: 61 to 63, 142")
    again = prepare_disfa(source, tmp_path, detector=whole_image(0), **EACH)
    assert again == report


def test_as_many_labels_as_frames_were_kept_is_a_contradiction(film, tmp_path, whole_image):
    """Somebody labelled the frames that a program gave out, or the video isn't the one that was labelled."""
    source = film(labels=236)
    with pytest.raises(DataFormatError, match="lacks 61 to 63, 142, but there are as many labels") as caught:
        prepare_disfa(source, tmp_path / "time", detector=whole_image(), **EACH)
    assert "--numbering count" in caught.value.hint
    assert not (tmp_path / "time" / "DISFA" / "frames").exists()
    report = prepare_disfa(source, tmp_path / "count", numbering="count", detector=whole_image(), **EACH)
    assert report.subjects[0].remarks == []
    numbers = [int(path.stem) for path in (tmp_path / "count" / "DISFA" / "frames" / "SN001").iterdir()]
    assert sorted(numbers) == list(range(1, 237))


@pytest.mark.parametrize("labels", [240, 230])
def test_a_video_of_another_length_than_its_labels_is_named(film, tmp_path, whole_image, labels):
    report = prepare_disfa(film(places=range(236), labels=labels), tmp_path, detector=whole_image(), **EACH)
    (remark,) = report.subjects[0].remarks
    assert f"the last frame is number 236, the last label's {labels}" in remark
    assert "owners' copy" in remark


def test_frames_without_usable_times_are_counted_if_there_are_as_many_as_labels(film, tmp_path, whole_image):
    uneven = {
        "name": "RightVideoSN001.mkv",
        "places": np.round(np.arange(240) * 50.5).astype(int),
        "time_base": Fraction(1, 1000),
    }
    report = prepare_disfa(film(labels=240, **uneven), tmp_path / "a", detector=whole_image(), **EACH)
    (remark,) = report.subjects[0].remarks
    assert "numbered by counting, since their times keep to no frame rate" in remark
    assert report.subjects[0].written == 240
    source = film(labels=241, **uneven)
    with pytest.raises(DataFormatError, match="can't be told") as caught:
        prepare_disfa(source, tmp_path / "b", detector=whole_image(), **EACH)
    assert "--numbering count" in caught.value.hint
    # Corrected or not: labels that no longer fit what was finished are refused, too.
    shutil.rmtree(tmp_path / "a" / "DISFA" / "ActionUnit_Labels")
    with pytest.raises(DataFormatError, match="can't be told"):
        prepare_disfa(source, tmp_path / "a", detector=whole_image(), **EACH)


def test_a_label_file_that_lacks_lines_still_says_how_many_frames_there_are(tmp_path):
    path = tmp_path / "labels" / "SN001" / "SN001_au1.txt"
    path.parent.mkdir(parents=True)
    path.write_text("1,0\n2,0\n5,0\n")
    assert expected_frames(tmp_path, "SN001") == 5


def test_another_video_of_the_same_size_is_refused(film, tmp_path, whole_image):
    source = film(places=range(12), labels=12)
    prepare_disfa(source, tmp_path, detector=whole_image(), **EACH)
    path = source / "RightVideoSN001.avi"
    data, before = bytearray(path.read_bytes()), path.stat()
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(UsageError, match="SN001 was made from"):
        prepare_disfa(source, tmp_path, detector=whole_image(), **EACH)


def test_labels_that_changed_in_the_source_are_named(film, tmp_path, whole_image):
    source = film(places=range(12), labels=12)
    first = prepare_disfa(source, tmp_path, detector=whole_image(), **EACH)
    assert first.differing_labels == []
    folder = source / "ActionUnit_Labels" / "SN001"
    (folder / "SN001_au4.txt").write_text("1,5\n")
    (folder / "SN001_au7.txt").write_text("1,5\n")
    second = prepare_disfa(source, tmp_path, detector=whole_image(), **EACH)
    assert second.differing_labels == ["SN001/SN001_au4.txt", "SN001/SN001_au7.txt"]


def test_a_folder_that_an_earlier_version_numbered_is_refused(film, tmp_path, whole_image):
    source = film(places=range(12), labels=12)
    prepare_disfa(source, tmp_path, detector=whole_image(), **EACH)
    path = tmp_path / "DISFA" / "prepare.json"
    content = json.loads(path.read_text())
    del content["version"], content["settings"]["numbering"]
    path.write_text(json.dumps(content))
    with pytest.raises(UsageError, match="another version of comface-bench") as caught:
        prepare_disfa(source, tmp_path, detector=whole_image(), **EACH)
    assert "to begin anew" in caught.value.hint


def test_detections_that_were_lost_are_made_again(film, tmp_path, digest_tree, whole_image):
    source = film(places=range(12), labels=12)
    report = prepare_disfa(source, tmp_path, detector=whole_image(), **EACH)
    before = digest_tree(tmp_path / "DISFA")
    (tmp_path / "DISFA" / "boxes.csv").unlink()
    assert prepare_disfa(source, tmp_path, detector=whole_image(), **EACH) == report
    assert digest_tree(tmp_path / "DISFA") == before


def test_two_at_once_into_one_folder(film, tmp_path, digest_tree, whole_image, disturbed):
    source, both, alone = film(places=range(12), labels=12), tmp_path / "both", tmp_path / "alone"
    second = whole_image()
    prepare_disfa(
        source, both, detector=disturbed(lambda: prepare_disfa(source, both, detector=second, **EACH)), **EACH
    )
    assert second.asked == 0
    prepare_disfa(source, alone, detector=whole_image(), **EACH)
    assert digest_tree(both) == digest_tree(alone)


def test_source_is_untouched(originals, tmp_path, digest_tree, whole_image):
    before = digest_tree(originals)
    prepare_disfa(originals, tmp_path, stride=6, detector=whole_image())
    assert digest_tree(originals) == before


def test_stopped_run_goes_on_to_the_same_bytes(originals, tmp_path, digest_tree, whole_image):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    settings = {"stride": 2, "size": 32}
    prepare_disfa(originals, whole, detector=whole_image(), **settings)
    first = whole_image(stop_at=8)
    with pytest.raises(KeyboardInterrupt):
        prepare_disfa(originals, broken, detector=first, **settings)
    second = whole_image()
    prepare_disfa(originals, broken, detector=second, **settings)
    assert first.asked + second.asked == 12
    assert digest_tree(broken) == digest_tree(whole)
    third = whole_image()
    prepare_disfa(originals, broken, detector=third, **settings)
    assert third.asked == 0


def test_half_written_line_of_a_killed_run_is_dropped(originals, tmp_path, digest_tree, whole_image):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for data in (whole, broken):
        prepare_disfa(originals, data, stride=4, size=32, detector=whole_image())
    journal, boxes = broken / "DISFA" / "prepare.json", broken / "DISFA" / "boxes.csv"
    content = json.loads(journal.read_text())
    content["done"] = {}
    journal.write_text(json.dumps(content))
    boxes.write_bytes(boxes.read_bytes()[:-9])
    (broken / "DISFA" / "frames" / "SN010" / "00009.jpg").unlink()
    prepare_disfa(originals, broken, stride=4, size=32, detector=whole_image())
    assert digest_tree(broken) == digest_tree(whole)


def test_killed_process_goes_on_to_the_same_bytes(originals, prepared, tmp_path, digest_tree):
    whole, _ = prepared("right")
    killed = tmp_path / "killed"
    code = (
        "import json, sys, time; from pathlib import Path\n"
        "from comface_bench.prepare.disfa import prepare_disfa\n"
        # The first video has 12 frames and is read twice: this stops among its crops.
        "def stop(done, total):\n"
        "    if done == 17: print(done, flush=True); time.sleep(60)\n"
        "prepare_disfa(Path(sys.argv[1]), Path(sys.argv[2]), progress=stop, **json.loads(sys.argv[3]))\n"
    )
    words = [sys.executable, "-c", code, str(originals), str(killed), json.dumps(EVERY_FRAME)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "17\n"
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    written = list((killed / "DISFA" / "frames" / "SN001").glob("0*.jpg"))
    assert 0 < len(written) < 10
    prepare_disfa(originals, killed, **EVERY_FRAME)
    assert digest_tree(killed) == digest_tree(whole)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"stride": 3}, "stride was 4, now 3"),
        ({"size": 64}, "size was 32, now 64"),
        ({"margin": 0.5}, "margin was 0.3, now 0.5"),
        ({"camera": "left"}, "camera was right, now left"),
    ],
)
def test_other_settings_in_the_same_folder_are_refused(
    originals, tmp_path, digest_tree, changed, said, whole_image
):
    settings = {"stride": 4, "size": 32}
    prepare_disfa(originals, tmp_path, detector=whole_image(), **settings)
    before = digest_tree(tmp_path)
    with pytest.raises(UsageError, match=said) as caught:
        prepare_disfa(originals, tmp_path, detector=whole_image(), **(settings | changed))
    assert "--data" in caught.value.hint
    assert digest_tree(tmp_path) == before


def test_other_source_in_the_same_folder_is_refused(originals, tmp_path, make_video, draw_scene, whole_image):
    prepare_disfa(originals, tmp_path / "data", stride=4, detector=whole_image())
    other = tmp_path / "other"
    make_video(other / "RightVideoSN001.avi", [draw_scene()])
    with pytest.raises(
        UsageError, match=r"SN001 was made from file Video_RightCamera/RightVideoSN001_Comp\.avi"
    ):
        prepare_disfa(other, tmp_path / "data", stride=4, detector=whole_image())


def test_subjects_may_come_one_after_the_other(originals, tmp_path, digest_tree, whole_image):
    settings = {"stride": 1, "size": 32, "detector": whole_image()}
    prepare_disfa(originals, tmp_path / "together", **settings)
    for subject in ("SN010", "SN001"):
        source = tmp_path / subject
        shutil.copytree(originals, source, ignore=shutil.ignore_patterns(f"*Video{subject}*"))
        prepare_disfa(source, tmp_path / "apart", **settings)
    together, apart = (digest_tree(tmp_path / name) for name in ("together", "apart"))
    assert apart == together


def test_labels_of_the_target_are_kept(originals, tmp_path, whole_image):
    mine = tmp_path / "DISFA" / "ActionUnit_Labels" / "SN001" / "SN001_au1.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("1,0\n2,0\n")
    report = prepare_disfa(originals, tmp_path, stride=6, detector=whole_image())
    assert mine.read_text() == "1,0\n2,0\n"
    assert not (mine.parents[1] / "SN010").exists()
    assert [found.expected for found in report.subjects] == [2, 4844]


def test_videos_alone_give_frames(make_video, draw_scene, tmp_path, whole_image):
    make_video(tmp_path / "source" / "rightvideosn032_COMP.AVI", [draw_scene()] * 2)
    report = prepare_disfa(tmp_path / "source", tmp_path / "data", detector=whole_image())
    assert not report.has_labels
    assert [(found.subject, found.decoded, found.expected) for found in report.subjects] == [
        ("SN032", 2, 4845)
    ]


def test_cut_off_video_is_reported_after_the_others_are_done(originals, tmp_path, digest_tree, whole_image):
    source = tmp_path / "source"
    shutil.copytree(originals, source)
    path = source / "Video_RightCamera" / "RightVideoSN001_Comp.avi"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataFormatError, match=r"RightVideoSN001_Comp\.avi: the video"):
        prepare_disfa(source, tmp_path / "data", stride=4, detector=whole_image())
    assert (tmp_path / "data" / "DISFA" / "frames" / "SN010" / "00009.jpg").exists()


@pytest.mark.parametrize("content", [b"", b"this is no video" * 100])
def test_file_that_is_no_video_is_reported(tmp_path, content, whole_image):
    pytest.importorskip("av")
    path = tmp_path / "source" / "RightVideoSN001_Comp.avi"
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(DataFormatError, match=r"SN001_Comp\.avi: the video can't be opened"):
        prepare_disfa(tmp_path / "source", tmp_path / "data", detector=whole_image())


@pytest.mark.parametrize(
    ("names", "error", "said"),
    [
        ([], DataMissingError, "no video of the right camera"),
        (["Videos_LeftCamera/LeftVideoSN001_comp.avi"], DataMissingError, "no video of the right camera"),
        (["Video_RightCamera/RightVideoSN033_Comp.avi"], DataFormatError, "no subject SN033"),
        (["Video_RightCamera/one.avi"], DataFormatError, "tells no subject"),
        (["SN001.avi"], DataFormatError, "left camera from the right"),
        (
            ["Video_RightCamera/RightVideoSN001_Comp.avi", "Videos_RightCamera/RightVideoSN001_comp.avi"],
            DataFormatError,
            "SN001 has a second video of the right camera",
        ),
    ],
)
def test_names_that_cant_be_taken(tmp_path, names, error, said, whole_image):
    source = tmp_path / "source"
    source.mkdir()
    for name in names:
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_bytes(b"")
    with pytest.raises(error, match=said) as caught:
        prepare_disfa(source, tmp_path / "data", detector=whole_image())
    assert caught.value.hint
    assert not (tmp_path / "data").exists()


def test_target_within_the_source_is_refused(originals, digest_tree, whole_image):
    before = digest_tree(originals)
    for data in (originals, originals / "data", originals.parent):
        link = originals.parent / "DISFA"
        if data == originals.parent:
            link.symlink_to(originals)
        with pytest.raises(UsageError, match="never written to"):
            prepare_disfa(originals, data, detector=whole_image())
    link.unlink()
    assert digest_tree(originals) == before


def test_target_with_other_frames_is_refused(originals, tmp_path, whole_image):
    (tmp_path / "DISFA" / "frames").mkdir(parents=True)
    with pytest.raises(UsageError, match="frames is there already"):
        prepare_disfa(originals, tmp_path, detector=whole_image())


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
def test_name_of_no_single_subject(lay_out, name):
    with pytest.raises(DataFormatError, match="tells no subject"):
        find_videos(lay_out(name), "right")


@pytest.mark.parametrize("name", ["ActionUnit_Labels", "ActionUnits", "actionunit", "LABELS"])
def test_labels_are_copied_under_the_usual_name(tmp_path, name):
    folder = tmp_path / "source" / name / "sn001"
    folder.mkdir(parents=True)
    (folder / "SN001_au1.txt").write_bytes(b"1,0\r\n2,5\r\n\r\n")
    (folder / "au2.txt").write_bytes(b"1,0\n")
    (folder / "._SN001_au1.txt").write_bytes(b"junk")
    (folder / "notes.doc").write_bytes(b"junk")
    (folder.parent / "readme.txt").write_bytes(b"junk")
    (tmp_path / "target").mkdir()
    assert copy_labels(tmp_path / "source", tmp_path / "target")
    copies = tmp_path / "target" / "ActionUnit_Labels"
    assert {path.relative_to(copies).as_posix(): path.read_bytes() for path in copies.rglob("*.*")} == {
        "SN001/SN001_au1.txt": b"1,0\r\n2,5\r\n\r\n",
        "SN001/au2.txt": b"1,0\n",
    }
    assert expected_frames(tmp_path / "target", "SN001") == 2


def test_copy_that_was_cut_off_is_made_anew(tmp_path):
    folder = tmp_path / "source" / "labels" / "SN001"
    folder.mkdir(parents=True)
    (folder / "SN001_au1.txt").write_text("1,0\n")
    cut = tmp_path / "target" / ".ActionUnit_Labels.part" / "SN002"
    cut.mkdir(parents=True)
    assert find_labels(tmp_path / "target") is None
    assert copy_labels(tmp_path / "source", tmp_path / "target")
    assert [path.name for path in (tmp_path / "target").iterdir()] == ["ActionUnit_Labels"]
    assert not (tmp_path / "target" / "ActionUnit_Labels" / "SN002").exists()


def test_labels_in_the_target_stay_alone(tmp_path):
    for root in ("source", "target"):
        (tmp_path / root / "labels" / "SN001").mkdir(parents=True)
    assert copy_labels(tmp_path / "source", tmp_path / "target")
    assert [path.name for path in (tmp_path / "target").iterdir()] == ["labels"]


def test_no_labels_at_all(tmp_path):
    (tmp_path / "target").mkdir()
    (tmp_path / "source" / "labels").mkdir(parents=True)
    assert not copy_labels(tmp_path / "source", tmp_path / "target")
    assert list((tmp_path / "target").iterdir()) == []


def test_published_counts_stand_in_for_labels(tmp_path):
    assert expected_frames(tmp_path, "SN001") == 4845
    assert expected_frames(tmp_path, "SN010") == 4844
