from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from comface_bench.core.card import data_root
from comface_bench.core.errors import (
    DataFormatError,
    DataMissingError,
    SplitError,
    UnknownNameError,
    UsageError,
)
from comface_bench.core.registry import task_registry
from comface_bench.data.task import load_task, open_task

DISFA = [f"SN{number:03d}" for number in (*range(1, 14), 16, 17, 18, 21, *range(23, 33))]
UNITS = (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)


@pytest.fixture(scope="module")
def root(tmp_path_factory, make_disfa, make_edema, make_fgnet):
    root = tmp_path_factory.mktemp("data")
    make_disfa(root / "DISFA", DISFA, frames=(1, 2, 3))
    make_edema(root / "Edema-A", [f"P{number}" for number in range(8)])
    make_fgnet(
        root / "FGNET", [f"{subject:03d}A{age:02d}.JPG" for subject in range(1, 83) for age in (1, 20, 40)]
    )
    return root


@pytest.mark.parametrize(
    ("name", "images", "folds", "test_pairs"),
    [("disfa-au12", 81, 3, 81), ("edema-a", 32, 4, 32), ("age", 246, 4, 246)],
)
def test_a_task_has_images_folds_and_pairs(root, name, images, folds, test_pairs):
    task = load_task(name, data=root)
    assert task.name == name
    assert len(task.manifest) == len(task.table) == images
    assert len(task.folds) == folds
    assert sum(len(task.pairs(fold)) for fold in range(folds)) == test_pairs
    for number, fold in enumerate(task.folds):
        for part in ("train", "validation", "test"):
            pairs = task.pairs(number, part)
            seen = {task.table.subjects[row] for row in (*pairs.x, *pairs.y)}
            assert seen <= set(fold.subjects(part))
            assert [task.table.subjects[row] for row in pairs.x] == [
                task.table.subjects[row] for row in pairs.y
            ]
            assert pairs.target.tolist() == (task.labels[pairs.y] - task.labels[pairs.x]).tolist()


def test_edema_trains_on_all_pairs_and_tests_on_pre_and_post(root):
    task = load_task("edema-a", data=root)
    phases = np.array(task.table.phases)
    for part in ("validation", "test"):
        pairs = task.pairs(0, part)
        assert (phases[pairs.x] != phases[pairs.y]).all()
    drawn = task.draw(0, 0, 1, 200)
    assert (phases[drawn.x] == phases[drawn.y]).any()
    assert (phases[drawn.x] != phases[drawn.y]).any()


def test_draws_come_from_the_training_subjects_and_change_with_fold_repetition_and_epoch(root):
    task = load_task("age", data=root)
    draws = {key: task.draw(*key, 100) for key in [(0, 0, 1), (1, 0, 1), (0, 1, 1), (0, 0, 2)]}
    assert len({tuple(pairs.x.tolist()) for pairs in draws.values()}) == 4
    for (fold, *_), pairs in draws.items():
        assert {task.table.subjects[row] for row in pairs.x} <= set(task.folds[fold].train)
    assert task.draw(0, 0, 1, 100).y.tolist() == draws[0, 0, 1].y.tolist()


def test_the_pairs_of_a_subject_are_the_same_in_every_part(root):
    task = load_task("age", data=root)
    seen: dict[int, set[tuple[int, int]]] = {}
    for fold in range(4):
        for part in ("train", "validation", "test"):
            pairs = task.pairs(fold, part)
            for number in np.unique(pairs.subject):
                mine = pairs.subject == number
                found = set(zip(pairs.x[mine].tolist(), pairs.y[mine].tolist(), strict=True))
                assert seen.setdefault(int(number), found) == found
    assert len(seen) == 82


def test_the_cap_of_the_card_is_kept(root):
    registry = task_registry(plugins=False)
    entry = registry.get("disfa-au1")
    capped = dataclasses.replace(entry, card=dataclasses.replace(entry.card, test_pairs_per_subject=2))
    task = open_task(capped, {}, root)
    assert len(task.pairs(0)) == 2 * len(task.folds[0].test)


def test_the_split_is_an_option_and_part_of_the_name(root):
    task = load_task("disfa-au12+split=disfa-jaa", data=root)
    assert task.name == "disfa-au12+split=disfa-jaa"
    assert "SN003" in task.folds[0].test
    assert "SN003" not in load_task("disfa-au12", data=root).folds[0].test
    assert len(load_task("disfa-au12+split=leave-one-out", data=root).folds) == 27
    assert len(load_task("disfa-au12+split=balanced-5", data=root).folds) == 5


def test_the_default_split_is_no_part_of_the_name(root):
    named = load_task("age+split=fgnet-4fold", data=root)
    plain = load_task("age", data=root)
    assert named.name == plain.name == "age"
    assert named.chosen == plain.chosen == {"split": "fgnet-4fold"}
    assert named.split.digest == plain.split.digest


def test_a_part_of_the_training_people_is_an_option_and_part_of_name_and_digest(root):
    whole, part = load_task("age", data=root), load_task("age+train_fraction=0.10", data=root)
    assert part.name == "age+train_fraction=0.1"
    assert part.chosen["train_fraction"] == "0.1"
    assert part.split.digest != whole.split.digest
    for few, all_ in zip(part.folds, whole.folds, strict=True):
        assert len(few.train) == -(-len(all_.train) // 10)
    drawn = part.draw(0, 0, 1, 50)
    names = part.table.subject_names
    assert {names[number] for number in drawn.subject} <= set(part.folds[0].train)
    assert list(part.pairs(0).target) == list(whole.pairs(0).target)
    assert list(part.pairs(0, "validation").target) == list(whole.pairs(0, "validation").target)
    assert part.epoch_length(0) < whole.epoch_length(0)


@pytest.mark.parametrize("all_of_them", ["1", "1.0", "1e0"])
def test_all_training_people_are_the_task_itself(root, all_of_them):
    whole = load_task(f"age+train_fraction={all_of_them}", data=root)
    assert whole.name == "age"
    assert whole.chosen == load_task("age", data=root).chosen


@pytest.mark.parametrize("part", ["0", "-0.5", "1.1", "nan", "a quarter"])
def test_what_is_no_part_of_the_training_people_is_refused(root, part):
    with pytest.raises(UsageError, match="not a number above 0, 1 at most"):
        load_task(f"age+train_fraction={part}", data=root)


def test_training_people_without_a_pair_are_refused(tmp_path, make_fgnet):
    names = [f"{subject:03d}A{age:02d}.JPG" for subject in (1, 2) for age in (1, 9)]
    make_fgnet(tmp_path / "FGNET", [*names, *(f"{subject:03d}A05.JPG" for subject in range(3, 41))])
    with pytest.raises(
        SplitError, match=r"age, fold 0: .*0\.02 of the training people are 0\d\d, who have no pair"
    ):
        load_task("age+split=balanced-2+train_fraction=0.02", data=tmp_path)


@pytest.mark.parametrize("split", ["nothing", "disfa-heatmap", "../splits/fgnet-4fold"])
def test_splits_that_the_task_does_not_offer_are_refused(root, split):
    with pytest.raises(SplitError, match="no split is called"):
        load_task(f"age+split={split}", data=root)


def test_other_options_are_refused(root):
    with pytest.raises(
        UsageError, match="task age takes no option 'size'; it takes: allow, split, train_fraction"
    ):
        load_task("age+size=3", data=root)


def test_unknown_tasks_are_refused(root):
    with pytest.raises(UnknownNameError, match="no task is called 'agee'"):
        load_task("agee", data=root)


@pytest.mark.parametrize("name", ["disfa-au1", "edema-a", "edema-b", "age"])
def test_missing_data_say_what_is_needed_where_and_how(tmp_path, name):
    with pytest.raises(DataMissingError) as caught:
        load_task(name, data=tmp_path)
    assert f"task {name} needs {tmp_path}" in caught.value.message
    assert "docs/datasets/" in caught.value.hint


def test_a_data_set_of_other_people_needs_another_split(root, tmp_path):
    shutil.copytree(root / "FGNET", tmp_path / "FGNET")
    for path in (tmp_path / "FGNET" / "images").glob("005*"):
        path.unlink()
    with pytest.raises(SplitError, match="FGNET lacks subject 005 of split fgnet-4fold") as caught:
        load_task("age", data=tmp_path)
    assert caught.value.hint.endswith("-o split=balanced-4")
    task = load_task("age+split=balanced-4", data=tmp_path)
    assert sorted(subject for fold in task.folds for subject in fold.test) == list(task.table.subject_names)


def test_an_unknown_subject_is_named(root, tmp_path, draw_image):
    shutil.copytree(root / "DISFA", tmp_path / "DISFA")
    for kind in ("frames", "ActionUnit_Labels"):
        shutil.copytree(tmp_path / "DISFA" / kind / "SN032", tmp_path / "DISFA" / kind / "SN033")
    for path in (tmp_path / "DISFA" / "ActionUnit_Labels" / "SN033").iterdir():
        path.rename(path.with_name(path.name.replace("SN032", "SN033")))
    with pytest.raises(DataFormatError, match="SN033: DISFA has no subject SN033"):
        load_task("disfa-au1", data=tmp_path)


def test_a_subject_that_the_split_does_not_know_is_named(root):
    entry = task_registry(plugins=False).get("age")
    other = dataclasses.replace(entry, card=dataclasses.replace(entry.card, splits=("synth-age-4fold",)))
    with pytest.raises(SplitError, match="split synth-age-4fold doesn't know subjects 041, 042"):
        open_task(other, {}, root)


def test_labels_out_of_range_are_refused_when_they_are_used(root):
    entry = task_registry(plugins=False).get("age")
    narrow = dataclasses.replace(entry, card=dataclasses.replace(entry.card, label_range=(0, 30)))
    with pytest.raises(DataFormatError, match=r"001A40\.JPG: age is 40, not within 0 to 30\nand 81 more"):
        open_task(narrow, {}, root).pairs(0)


def test_tasks_of_one_data_set_share_its_table(root):
    registry = task_registry(plugins=False)
    shared = {}
    tables = [
        open_task(registry.get(name), {}, root, shared).table for name in ("disfa-au1", "disfa-au2", "age")
    ]
    assert tables[0] is tables[1]
    assert tables[0] is not tables[2]


LOADER = """
from comface_bench.core.card import TaskCard

CARD = TaskCard("NAME", 1, "custom", "FGNET", ":read", "q", "q", (0, 1e6), ("mae",))


def read(root):
    for place, path in enumerate(sorted((root / "images").iterdir())):
        yield {"image": f"images/{path.name}", "subject": path.name[:3], "q": TIMES * place}
"""


def test_loaders_of_one_name_in_two_plugins_read_two_tables(root, tmp_path):
    files = []
    for name, times in {"once": "1", "thrice": "3"}.items():
        files.append(tmp_path / f"{name}.py")
        files[-1].write_text(LOADER.replace("NAME", name).replace("TIMES", times))
    registry, shared = task_registry(files, plugins=False), {}
    once, thrice = (open_task(registry.get(name), {}, root, shared) for name in ("once", "thrice"))
    assert np.array_equal(3 * once.labels, thrice.labels)
    assert once.table.digest != thrice.table.digest
    files[0].write_text(files[0].read_text().replace("1 * place", "2 * place"))
    twice = open_task(task_registry(files, plugins=False).get("once"), {}, root, shared)
    assert np.array_equal(2 * once.labels, twice.labels)
    assert open_task(registry.get("thrice"), {}, root, shared).table is thrice.table


def test_the_data_root(monkeypatch, root):
    assert data_root(Path("x")) == Path("x")
    monkeypatch.setenv("COMFACE_DATA", str(root))
    assert data_root(None) == root
    assert len(load_task("age").table) == 246
    monkeypatch.delenv("COMFACE_DATA")
    assert data_root(None) == Path("data")


@pytest.mark.parametrize(
    ("names", "subjects", "folds"),
    [
        ([f"synth-au{unit}" for unit in UNITS], 27, 3),
        (["synth-weight"], 39, 4),
        (["synth-age"], 40, 4),
    ],
    ids=["au", "weight", "age"],
)
def test_the_faces_that_ship(names, subjects, folds):
    registry = task_registry(plugins=False)
    shared = {}
    for name in names:
        task = open_task(registry.get(name), {}, None, shared)
        assert len(task.table.subject_names) == subjects
        assert len(task.folds) == folds
        tested = [subject for fold in task.folds for subject in fold.test]
        assert sorted(tested) == list(task.table.subject_names)
        targets = np.concatenate([task.pairs(fold).target for fold in range(folds)])
        assert np.isfinite(targets).all()
        # Something to estimate, and no side that is always larger.
        assert targets.std() > 0.2
        assert 0.4 < (targets[targets != 0] > 0).mean() < 0.6


def test_pairs_of_a_fold_or_part_that_is_not_there_are_refused():
    task = load_task("synth-age")
    with pytest.raises(UsageError, match="no fold 4"):
        task.pairs(4)
    with pytest.raises(UsageError, match="train, validation, test"):
        task.pairs(0, "tst")


def test_tasks_and_their_parts_show_themselves_in_a_line():
    task = load_task("synth-age")
    assert repr(task) == "<Task synth-age: change of age in years, 400 images of 40 people, 4 folds>"
    assert repr(task.table) == "<Manifest synthfaces/FGNET: 400 images of 40 people>"
    assert repr(task.folds[0]) == "<Fold: 22 people train, 8 validate, 10 test>"
    assert len(repr(task.split)) < 150
    assert "400 images of 40 people" in task._repr_html_()
