"""Checking data: every count against a plain count over the files."""

import itertools
import statistics

import numpy as np
import pytest

from comface_bench.core.errors import DataFormatError
from comface_bench.data.check import check_data
from comface_bench.data.task import load_task

NAMES = [
    f"{subject:03d}A{age:02d}{letter}.JPG"
    for subject in range(1, 9)
    for age, letter in [(2, "a"), (2, "b"), (9, ""), (31 + subject, ""), (60, "")][: 3 + subject % 3]
]


@pytest.fixture
def task(tmp_path, make_fgnet):
    make_fgnet(tmp_path / "FGNET", NAMES)
    return load_task("age+split=balanced-4", tmp_path)


def by_subject():
    ages = {}
    for name in NAMES:
        ages.setdefault(name[:3], []).append(int(name[4:6]))
    return ages


def test_counts_equal_a_plain_count(task):
    found = check_data(task)
    ages = by_subject()
    changes = [y - x for images in ages.values() for x, y in itertools.combinations(images, 2)]
    sizes = [len(images) for images in ages.values()]
    assert found.images == found.labelled == len(NAMES)
    assert found.subjects == 8
    assert found.images_per_subject == (min(sizes), statistics.median(sizes), max(sizes))
    assert found.pairs == len(changes)
    assert found.zero_change_pairs == changes.count(0)
    assert found.constant_mae == pytest.approx(np.abs(changes).mean())
    assert found.label_range == (2, 60)
    assert found.modes == {"RGB": (len(NAMES) + 1) // 2, "L": len(NAMES) // 2}
    assert found.grey_images == len(NAMES) // 2
    assert found.image_sizes == ((12, 10), (12, 10))
    assert found.first == (f"images/{min(NAMES)}", 2)
    assert found.last[0] == f"images/{max(NAMES)}"


def test_folds_count_their_subjects_and_pairs(task):
    found = check_data(task)
    assert sum(fold.test_pairs for fold in found.folds) == found.pairs
    for fold, counted in zip(task.folds, found.folds, strict=True):
        assert (counted.train, counted.validation, counted.test) == tuple(
            len(part) for part in (fold.train, fold.validation, fold.test)
        )
        assert counted.train + counted.validation + counted.test == 8
    assert (found.split, found.split_digest) == (task.split.name, task.split.digest)
    assert found.manifest_digest == task.table.digest


def test_histogram_holds_every_label_once(task):
    found = check_data(task)
    ages = [age for images in by_subject().values() for age in images]
    assert sum(part.count for part in found.histogram) == len(ages)
    for part in found.histogram:
        if part.low == part.high:
            assert part.count == ages.count(part.low)


def test_histogram_of_many_values_has_ten_bins(tmp_path, make_fgnet):
    names = [f"{subject:03d}A{5 * subject + age:02d}.JPG" for subject in range(1, 9) for age in (0, 1, 3)]
    make_fgnet(tmp_path / "FGNET", names)
    histogram = check_data(load_task("age+split=balanced-4", tmp_path)).histogram
    assert len(histogram) == 10
    assert histogram[0].low == 5
    assert histogram[-1].high == 43
    assert sum(part.count for part in histogram) == len(names)


def test_progress_counts_images(task):
    seen = []
    check_data(task, lambda done, total: seen.append((done, total)))
    assert seen == [(number, len(NAMES)) for number in range(1, len(NAMES) + 1)]


def test_image_that_can_not_be_opened_is_named(task):
    (task.table.root / task.table.images[3]).write_bytes(b"no image")
    with pytest.raises(DataFormatError, match=task.table.images[3]):
        check_data(task)


def test_needs_no_torch(task, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "torch", None)  # An import of torch would now fail.
    monkeypatch.delitem(sys.modules, "comface_bench.data.check")
    from comface_bench.data.check import check_data as fresh

    assert fresh(task).images == len(NAMES)
