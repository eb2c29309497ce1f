"""Edema: from images and videos of sessions to crops and the table that the tasks read."""

import csv

import numpy as np
import pytest
from PIL import Image

from comface_bench.core.errors import DataFormatError, DataMissingError, UsageError
from comface_bench.prepare.edema import prepare_edema, read_sessions
from comface_bench.tasks.formats.edema import read_edema

HEADER = "image,patient,day,phase,weight_kg\n"


@pytest.fixture
def source(tmp_path, draw_scene):
    """Images of two patients; one without a face and one with two."""
    root = tmp_path / "source"
    (root / "photos").mkdir(parents=True)
    rows = [
        (1, "one.png", "P/1", "2020-01-02", "pre", "61.5"),
        (1, "two.png", "P/1", "2020-01-02", "post", "60"),
        (0, "none.png", "P/1", "2020-01-03", "pre", "61"),
        (1, "three.png", "..", "1", "pre", "70.25"),
        (1, "four.png", "..", "1", "pre", "70.25"),
        (2, "both.png", "..", "1", "POST", "69"),
    ]
    lines = []
    for faces, name, *facts in rows:
        Image.fromarray(draw_scene(faces, subject=f"SN{len(lines) + 1:03d}")).save(root / "photos" / name)
        lines.append(",".join([f"photos/{name}", *facts]))
    (root / "manifest.csv").write_text(HEADER + "\n".join(lines) + "\n")
    return root


def test_images_become_a_data_set(source, tmp_path):
    pytest.importorskip("dlib")
    report = prepare_edema(source, tmp_path / "data", size=48)
    root = tmp_path / "data" / "Edema-A"
    rows = [row for row in read_edema(root) if isinstance(row, dict)]
    facts = [(row["image"], row["subject"], row["session"], row["phase"], row["weight_kg"]) for row in rows]
    assert facts == [
        ("images/P%2F1/2020-01-02-pre/01.jpg", "P/1", "2020-01-02", "pre", 61.5),
        ("images/P%2F1/2020-01-02-post/01.jpg", "P/1", "2020-01-02", "post", 60.0),
        ("images/%2E%2E/1-pre/01.jpg", "..", "1", "pre", 70.25),
        ("images/%2E%2E/1-pre/02.jpg", "..", "1", "pre", 70.25),
    ]
    for row in rows:
        with Image.open(root / row["image"], formats=["JPEG", "PNG"]) as image:
            assert image.size == (48, 48)
    assert list(csv.reader((root / "faces.csv").open())) == [
        ["source", "frame", "problem", "faces"],
        ["photos/none.png", "0", "no face", "0"],
        ["photos/both.png", "0", "several faces", "2"],
    ]
    assert (report.patients, report.sessions, report.files, report.written) == (2, 5, 6, 4)
    assert report.sessions_without_image == ["P/1 2020-01-03 pre", ".. 1 post"]


def test_crop_is_the_centre_of_the_face(source, tmp_path, draw_scene):
    pytest.importorskip("dlib")
    prepare_edema(source, tmp_path / "data", size=128)
    with Image.open(
        tmp_path / "data" / "Edema-A" / "images" / "P%2F1" / "2020-01-02-pre" / "01.jpg",
        formats=["JPEG", "PNG"],
    ) as image:
        found = np.asarray(image.convert("L")).astype(float)
    # No pixel of the grey around the rendered face is left, so the crop lies within it.
    face = np.asarray(Image.fromarray(draw_scene(1, subject="SN001")[56:184, 96:224]).convert("L"))
    inner = np.asarray(Image.fromarray(face[30:110, 24:104]).resize((128, 128))).astype(float)
    assert np.corrcoef(found[8:-8, 8:-8].ravel(), inner[8:-8, 8:-8].ravel())[0, 1] > 0.4


def test_videos_give_evenly_spaced_frames(tmp_path, make_video, draw_scene, whole_image):
    greys = [20 + 10 * number for number in range(20)]
    make_video(tmp_path / "source" / "a.avi", [draw_scene(1, grey) for grey in greys])
    make_video(tmp_path / "source" / "b.avi", [draw_scene(1, 100)] * 3)
    (tmp_path / "source" / "manifest.csv").write_text(
        "video,weight_kg,phase,day,patient\na.avi,60,pre,1,P\nb.avi,58,post,1,P\n"
    )
    prepare_edema(
        tmp_path / "source", tmp_path, name="Edema-B", frames=5, margin=0.8, detector=whole_image(), size=64
    )
    folder = tmp_path / "Edema-B" / "images" / "P"
    # Five parts of four frames each: the third of each part, counted from 1.
    assert [path.name for path in sorted((folder / "1-pre").iterdir())] == [
        f"01-{frame:05d}.jpg" for frame in (3, 7, 11, 15, 19)
    ]
    assert [path.name for path in sorted((folder / "1-post").iterdir())] == [
        f"01-{frame:05d}.jpg" for frame in (1, 2, 3)
    ]
    for frame in (3, 7, 11, 15, 19):
        with Image.open(folder / "1-pre" / f"01-{frame:05d}.jpg", formats=["JPEG", "PNG"]) as image:
            assert np.asarray(image.convert("L"))[:6, :6].mean() == pytest.approx(greys[frame - 1], abs=6)
    assert len(list(read_edema(tmp_path / "Edema-B"))) >= 8


def test_stopped_run_goes_on_to_the_same_bytes(
    source, tmp_path, make_video, draw_scene, digest_tree, whole_image
):
    make_video(source / "v.avi", [draw_scene(1, 20 * number) for number in range(9)])
    table = source / "manifest.csv"
    rows = table.read_text().replace("image,", "image,video,").replace(".png,", ".png,,").splitlines()
    table.write_text("\n".join([rows[0], ",v.avi,Q,1,pre,50", *rows[1:]]) + "\n")
    before = digest_tree(source)
    for stop_at in (0, 3, 10):
        whole, broken = tmp_path / f"whole{stop_at}", tmp_path / f"broken{stop_at}"
        prepare_edema(source, whole, size=32, detector=whole_image())
        first, second, third = whole_image(stop_at), whole_image(), whole_image()
        with pytest.raises(KeyboardInterrupt):
            prepare_edema(source, broken, size=32, detector=first)
        prepare_edema(source, broken, size=32, detector=second)
        assert first.asked + second.asked == 8 + 6
        assert digest_tree(broken) == digest_tree(whole)
        prepare_edema(source, broken, size=32, detector=third)
        assert third.asked == 0
    assert digest_tree(source) == before


def test_two_at_once_into_one_folder(source, tmp_path, digest_tree, whole_image, disturbed):
    both, alone, second = tmp_path / "both", tmp_path / "alone", whole_image()
    prepare_edema(
        source,
        both,
        size=32,
        detector=disturbed(lambda: prepare_edema(source, both, size=32, detector=second)),
    )
    assert second.asked == 0
    prepare_edema(source, both, size=32, name="Edema-B", detector=whole_image())
    prepare_edema(source, alone, size=32, detector=whole_image())
    assert digest_tree(both / "Edema-A") == digest_tree(alone / "Edema-A")


def test_names_are_safe_and_distinguish_patients(tmp_path, draw_image):
    names = ["a/b", "a%2Fb", "a b", "a_b", "ä", "..", ".", "~", "a.b", "-", "a\\b", "A/B", "CON:", "a\tb"]
    root = tmp_path / "source"
    lines = []
    for number, name in enumerate(names):
        draw_image(root / f"{number}.png", seed=number)
        lines.append(f"{number}.png,{name},{name},pre,60")
    (root / "manifest.csv").write_text(HEADER + "\n".join(lines) + "\n", encoding="utf-8")
    images = [take.image(0) for take in read_sessions(root)]
    assert len(set(images)) == len(names)
    for image in images:
        assert image.isascii()
        assert len(image.split("/")) == 4
        assert not {".", "..", ""} & set(image.split("/"))
        assert not set("\\:~ \t") & set(image)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("", "no column patient"),
        (HEADER, "no line below the header"),
        ("patient,day,phase,weight_kg\nP,1,pre,60\n", "no column image or video"),
        (HEADER + "photos/one.png,P,1,during,60\n", r"csv:2: phase is 'during'"),
        (HEADER + "photos/one.png,P,1,pre,heavy\n", r"csv:2: weight_kg is 'heavy'"),
        (HEADER + "photos/one.png,,1,pre,60\n", r"csv:2: patient is empty"),
        (HEADER + "photos/one.png,P,1,pre\n", r"csv:2: 4 cells, but the header has 5"),
        (HEADER + "photos/gone.png,P,1,pre,60\n", r"csv:2: .*gone\.png doesn't exist"),
        (HEADER + "../outside.png,P,1,pre,60\n", r"csv:2: \.\./outside\.png lies outside"),
        (HEADER + 2 * "photos/one.png,P,1,pre,60\n", r"csv:3: photos/one\.png stands in .*csv:2 already"),
        (
            HEADER.replace("image", "image,video") + "photos/one.png,v.avi,P,1,pre,60\n",
            "csv:2: both an image",
        ),
        (HEADER + ",P,1,pre,60\n", "csv:2: neither an image"),
    ],
)
def test_tables_that_cant_be_taken(source, tmp_path, table, said, whole_image):
    (tmp_path / "outside.png").write_bytes(b"")
    (source / "manifest.csv").write_text(table)
    with pytest.raises(DataFormatError, match=said) as caught:
        prepare_edema(source, tmp_path / "data", detector=whole_image())
    assert caught.value.hint
    assert not (tmp_path / "data").exists()


def test_link_that_leaves_the_source_is_refused(source, tmp_path, draw_image, whole_image):
    draw_image(tmp_path / "outside.png")
    (source / "link.png").symlink_to(tmp_path / "outside.png")
    (source / "manifest.csv").write_text(HEADER + "link.png,P,1,pre,60\n")
    with pytest.raises(DataFormatError, match="lies outside"):
        prepare_edema(source, tmp_path / "data", detector=whole_image())


def test_no_table(tmp_path, whole_image):
    with pytest.raises(DataMissingError, match=r"manifest\.csv doesn't exist"):
        prepare_edema(tmp_path, tmp_path.parent / "data", detector=whole_image())


def test_broken_image_is_named(source, tmp_path, whole_image):
    path = source / "photos" / "two.png"
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(DataFormatError, match=r"two\.png is "):
        prepare_edema(source, tmp_path / "data", detector=whole_image())
    assert not (tmp_path / "data" / "Edema-A" / "manifest.csv").exists()


def test_other_settings_or_a_table_of_others_are_refused(source, tmp_path, whole_image):
    data = tmp_path / "data"
    prepare_edema(source, data, size=32, detector=whole_image())
    with pytest.raises(UsageError, match="frames was 8, now 4"):
        prepare_edema(source, data, size=32, frames=4, detector=whole_image())
    table = source / "manifest.csv"
    table.write_text(table.read_text().replace("P/1", "P2"))
    with pytest.raises(UsageError, match="was made from"):
        prepare_edema(source, data, size=32, detector=whole_image())


def test_another_image_of_the_same_size_is_refused(source, tmp_path, draw_scene, whole_image):
    path = source / "photos" / "one.bmp"
    Image.fromarray(draw_scene(1)).save(path)
    (source / "manifest.csv").write_text(HEADER + "photos/one.bmp,P,1,pre,60\n")
    prepare_edema(source, tmp_path / "data", size=32, detector=whole_image())
    size = path.stat().st_size
    Image.fromarray(draw_scene(1, subject="SN002")).save(path)
    assert path.stat().st_size == size
    with pytest.raises(UsageError, match=r"one\.bmp was made from"):
        prepare_edema(source, tmp_path / "data", size=32, detector=whole_image())


def test_crops_that_were_lost_are_made_again(
    source, tmp_path, make_video, draw_scene, digest_tree, whole_image
):
    make_video(source / "v.avi", [draw_scene(1, 20 * number) for number in range(9)])
    (source / "manifest.csv").write_text(
        "image,video,patient,day,phase,weight_kg\nphotos/one.png,,P,1,pre,60\n,v.avi,P,1,post,59\n"
    )
    data = tmp_path / "data"
    report = prepare_edema(source, data, size=32, detector=whole_image())
    folder = data / "Edema-A"
    before = digest_tree(folder / "images")
    for name in ("1-pre/01.jpg", "1-post/01-00003.jpg"):
        (folder / "images" / "P" / name).unlink()
    assert prepare_edema(source, data, size=32, detector=whole_image()) == report
    assert digest_tree(folder / "images") == before


def test_target_with_another_table_is_refused(source, tmp_path, make_edema, whole_image):
    make_edema(tmp_path / "data" / "Edema-A")
    with pytest.raises(UsageError, match="is there already"):
        prepare_edema(source, tmp_path / "data", detector=whole_image())
