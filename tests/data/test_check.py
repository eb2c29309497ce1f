"""Checking data: every count against a plain count over the files."""

import itertools

import numpy as np
import pytest
from PIL import Image

from comface_bench.data.check import check_data
from comface_bench.data.task import load_task

NAMES = [
    f"{subject:03d}A{age:02d}{letter}.JPG"
    for subject in range(1, 9)
    for age, letter in [(2, "a"), (2, "b"), (9, ""), (31 + subject, ""), (60, "")][: 3 + subject % 3]
]


TASK = "age+split=balanced-4"


@pytest.fixture
def root(tmp_path, make_fgnet):
    make_fgnet(tmp_path / "FGNET", NAMES)
    return tmp_path


def by_subject():
    ages = {}
    for name in NAMES:
        ages.setdefault(name[:3], []).append(int(name[4:6]))
    return ages


def test_counts_equal_a_plain_count(root):
    found = check_data(TASK, root)
    ages = by_subject()
    changes = [y - x for images in ages.values() for x, y in itertools.combinations(images, 2)]
    assert found.images == found.labelled == len(NAMES)
    assert found.problems == found.notes == ()
    assert {subject: count.images for subject, count in found.per_subject.items()} == {
        subject: len(images) for subject, images in ages.items()
    }
    for subject, count in found.per_subject.items():
        pairs = len(ages[subject]) * (len(ages[subject]) - 1) // 2
        assert (count.labelled, count.train_pairs, count.test_pairs) == (len(ages[subject]), pairs, pairs)
    assert found.pairs == len(changes)
    assert found.zero_change_pairs == changes.count(0)
    assert found.constant_mae == pytest.approx(np.abs(changes).mean())
    assert found.labels.range == (2, 60)
    assert found.modes == {"RGB": (len(NAMES) + 1) // 2, "L": len(NAMES) // 2}
    assert found.grey_images == len(NAMES) // 2
    assert found.image_sizes == ((12, 10), (12, 10))
    assert found.labels.first == (f"images/{min(NAMES)}", 2)
    assert found.labels.last[0] == f"images/{max(NAMES)}"


def test_folds_count_their_subjects_and_pairs(root):
    found = check_data(TASK, root)
    assert sum(fold.test_pairs for fold in found.folds) == found.pairs
    for fold, counted in zip(load_task(TASK, root).folds, found.folds, strict=True):
        assert (counted.train, counted.validation, counted.test) == tuple(
            len(part) for part in (fold.train, fold.validation, fold.test)
        )
        assert counted.train + counted.validation + counted.test == 8
    task = load_task(TASK, root)
    assert (found.split, found.split_digest) == (task.split.name, task.split.digest)
    assert found.manifest_digest == task.table.digest


def test_histogram_holds_every_label_once(root):
    found = check_data(TASK, root)
    ages = [age for images in by_subject().values() for age in images]
    assert sum(part.count for part in found.labels.histogram) == len(ages)
    for part in found.labels.histogram:
        if part.low == part.high:
            assert part.count == ages.count(part.low)


def test_histogram_of_many_values_has_ten_bins(tmp_path, make_fgnet):
    names = [f"{subject:03d}A{5 * subject + age:02d}.JPG" for subject in range(1, 9) for age in (0, 1, 3)]
    make_fgnet(tmp_path / "FGNET", names)
    histogram = check_data(TASK, tmp_path).labels.histogram
    assert len(histogram) == 10
    assert histogram[0].low == 5
    assert histogram[-1].high == 43
    assert sum(part.count for part in histogram) == len(names)


def test_progress_counts_images(root):
    seen = []
    check_data(TASK, root, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(number, len(NAMES)) for number in range(1, len(NAMES) + 1)]


def test_every_image_that_can_not_be_decoded_is_a_problem(root):
    damaged = [root / "FGNET" / "images" / name for name in (NAMES[3], NAMES[5])]
    damaged[0].write_bytes(b"no image")
    damaged[1].write_bytes(damaged[1].read_bytes()[:-40])
    found = check_data(TASK, root)
    assert sorted(problem.where for problem in found.problems) == sorted(map(str, damaged))
    assert [problem.message.partition(" after")[0] for problem in found.problems] == [
        "is text, not a picture: 'no image'",
        "is a JPEG that is cut off",
    ]
    assert all(problem.remedy for problem in found.problems)
    assert (found.folds, found.split, found.constant_mae) == ((), "", None)
    assert found.images == len(NAMES)


def test_images_with_equal_pixels_are_found_whatever_their_format(root):
    images = root / "FGNET" / "images"
    with Image.open(images / NAMES[0], formats=["JPEG"]) as image:
        image.save(images / NAMES[4], "PNG")
    # A grey JPEG, as grey and as RGB; and a file behind which another programme left its mark.
    with Image.open(images / NAMES[1], formats=["JPEG"]) as image:
        grey = image.copy()
    assert grey.mode == "L"
    grey.save(images / NAMES[5], "PNG")
    grey.convert("RGB").save(images / NAMES[6], "BMP")
    (images / NAMES[9]).write_bytes((images / NAMES[8]).read_bytes() + b"mark")
    found = check_data(TASK, root)
    assert [set(group) for group in found.equal_images] == [
        {f"images/{name}" for name in group}
        for group in [(NAMES[0], NAMES[4]), (NAMES[1], NAMES[5], NAMES[6]), (NAMES[8], NAMES[9])]
    ]
    (problem,) = (one for one in found.problems if one.where == f"images/{NAMES[4]}")
    assert f"is the same picture as images/{NAMES[0]}" in problem.message
    assert check_data(f"{TASK}+allow=equal-images", root).problems == ()


def test_images_that_are_alike_at_an_eighth_of_their_size_are_told_apart(root):
    # Two patterns within each block of 8 × 8, of one mean.
    stripes = np.tile(np.array([40, 210], np.uint8), (64, 32))
    for name, values in ((NAMES[0], stripes), (NAMES[1], stripes[:, ::-1]), (NAMES[2], stripes)):
        values = values.copy()
        values[:8, :8] = 200
        Image.fromarray(values).save(root / "FGNET" / "images" / name, "JPEG", quality=100)
    assert check_data(TASK, root).equal_images == ((f"images/{NAMES[0]}", f"images/{NAMES[2]}"),)


def test_many_equal_images_are_all_listed(tmp_path, make_fgnet, draw_image):
    make_fgnet(tmp_path / "FGNET", NAMES)
    paths = [tmp_path / "FGNET" / "images" / name for name in NAMES]
    for number, path in enumerate(paths[:24]):
        draw_image(path, seed=number // 2)
    found = check_data(TASK, tmp_path)
    assert len(found.equal_images) == 12
    assert found.problems


def test_image_sizes_are_those_after_turning(root):
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in NAMES:
        path = root / "FGNET" / "images" / name
        with Image.open(path, formats=["JPEG"]) as image:
            image.load()
        image.save(path, "JPEG", exif=exif)
    assert check_data(TASK, root).image_sizes == ((10, 12), (10, 12))


def test_labels_outside_their_range_are_all_reported(tmp_path, draw_image):
    from comface_bench.core.registry import task_registry

    plugin = tmp_path / "plugin.py"
    plugin.write_text(
        "from comface_bench.core.card import TaskCard\n"
        "CARD = TaskCard(name='toy', version=1, family='age', data='toy', read=':read', target='age',"
        " unit='years', label_range=(0, 120), metrics=('mae',), splits=('balanced-2',))\n"
        "def read(root):\n"
        "    for number, path in enumerate(sorted(root.iterdir())):\n"
        "        yield {'image': path.name, 'subject': number // 4, 'age': 30 * number - 60,"
        " 'where': f'list:{number + 1}'}\n"
    )
    (tmp_path / "toy").mkdir()
    for number in range(8):
        draw_image(tmp_path / "toy" / f"{number}.jpg", seed=number)
    found = check_data("toy", tmp_path, task_registry([plugin]))
    assert [(problem.where, problem.message) for problem in found.problems] == [
        ("list:1", "age is -60, not within 0 to 120"),
        ("list:2", "age is -30, not within 0 to 120"),
        ("list:8", "age is 150, not within 0 to 120"),
    ]
    assert found.labels.range == (-60, 150)


def test_a_split_that_does_not_fit_is_a_problem(root):
    (problem,) = check_data("age", root).problems
    assert "lacks" in problem.message
    assert problem.remedy.endswith("-o split=balanced-4")


def test_needs_no_torch(root, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "torch", None)  # An import of torch would now fail.
    monkeypatch.delitem(sys.modules, "comface_bench.data.check")
    from comface_bench.data.check import check_data as fresh

    assert fresh(TASK, root).images == len(NAMES)
