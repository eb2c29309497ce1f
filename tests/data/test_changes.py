"""What is said of a data set that changed: counts of each kind, and nothing where nothing did."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from comface_bench.core.weights import cache_folder
from comface_bench.data.changes import DataTable, describe_changes, keep_table, read_table
from comface_bench.data.manifest import Manifest

IMAGES = ("a1.jpg", "a2.jpg", "b1.jpg", "b2.jpg")


def made(**changed: Any) -> Manifest:
    facts: dict[str, Any] = {
        "images": IMAGES,
        "subjects": ("a", "a", "b", "b"),
        "sessions": ("1",) * 4,
        "phases": (None,) * 4,
        "labels": {"age": np.array([1.0, 2, 3, np.nan])},
    } | changed
    facts.setdefault("contents", tuple(hashlib.sha256(name.encode()).hexdigest() for name in facts["images"]))
    return Manifest(name="d", root=Path("d"), **facts)


def less(manifest: Manifest, number: int) -> dict[str, Any]:
    """The facts of a manifest without one of its images."""
    left = [place for place in range(len(manifest)) if place != number]
    names = ("images", "subjects", "sessions", "phases", "contents")
    facts: dict[str, Any] = {name: tuple(getattr(manifest, name)[place] for place in left) for name in names}
    return {**facts, "labels": {"age": manifest.labels["age"][left]}}


def other(values: tuple[str, ...], number: int, value: str) -> tuple[str, ...]:
    return (*values[:number], value, *values[number + 1 :])


ONE = made()
CASES: dict[str, tuple[Manifest, str]] = {
    "nothing": (made(), ""),
    "order of labels": (made(labels={"age": np.array([1.0, 2, 3, np.nan])}), ""),
    "fewer images": (made(**less(ONE, 0)), "1 image removed"),
    "fewer people": (made(**less(made(**less(ONE, 3)), 2)), "1 person removed, 2 images removed"),
    "picture": (made(contents=other(ONE.contents, 1, "f" * 64)), "1 picture changed"),
    "name": (made(images=other(IMAGES, 3, "b3.jpg"), contents=ONE.contents), "1 image renamed"),
    "person": (made(subjects=("a", "a", "b", "a")), "1 image is of another person"),
    "person's name": (
        made(subjects=("a", "a", "c", "c")),
        "1 person added, 1 person removed, 2 images",
    ),
    "phase": (made(phases=(None, "pre", None, "post")), "2 images are of another session or phase"),
    "labels": (made(labels={"age": np.array([1.5, 2, np.nan, 4])}), "3 labels of age changed"),
    "new label": (made(labels={**ONE.labels, "kg": np.ones(4)}), "label kg is new"),
    "lost label": (made(labels={"kg": np.ones(4)}), "label kg is new, label age is gone"),
}


@pytest.mark.parametrize("case", CASES)
def test_each_change_is_told_by_its_kind_and_number(case: str) -> None:
    now, told = CASES[case]
    said = describe_changes(DataTable.of(ONE), DataTable.of(now))
    assert said.startswith(told)
    assert bool(said) is bool(told) is (now.digest != ONE.digest)


def test_what_is_removed_one_way_is_added_the_other() -> None:
    fewer = DataTable.of(CASES["fewer people"][0])
    assert describe_changes(fewer, DataTable.of(ONE)) == "1 person added, 2 images added"


def test_many_labels_are_counted() -> None:
    before = made(labels={f"au{number}": np.zeros(4) for number in range(12)})
    now = made(labels={f"au{number}": np.ones(4) for number in range(12)})
    told = describe_changes(DataTable.of(before), DataTable.of(now))
    assert told == "48 labels of 12 quantities changed"


def test_a_table_that_is_kept_comes_back_and_holds_no_name() -> None:
    keep_table(ONE)
    assert read_table(ONE.digest) == DataTable.of(ONE)
    (path,) = (cache_folder() / "tables").iterdir()
    text = gzip.decompress(path.read_bytes()).decode()
    assert not any(name in text for name in IMAGES)
    assert '"a"' not in text
    assert ONE.contents[0] not in text


def test_a_table_that_is_missing_or_damaged_is_none_and_one_that_cannot_be_kept_harms_nobody() -> None:
    assert read_table(ONE.digest) is None
    keep_table(ONE)
    (path,) = (cache_folder() / "tables").iterdir()
    for damaged in (b"", path.read_bytes()[:-9], gzip.compress(b"[]"), gzip.compress(b'{"images": [1]}')):
        path.write_bytes(damaged)
        assert read_table(ONE.digest) is None
    path.unlink()
    path.parent.rmdir()
    path.parent.write_text("a file in the place of the folder")
    keep_table(ONE)
    assert read_table(ONE.digest) is None
    assert dataclasses.replace(ONE).digest == ONE.digest
