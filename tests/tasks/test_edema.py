"""The tasks `edema-a` and `edema-b`: pairs, what is reported of a data set, and the faces that ship."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from comface_bench.core.card import facts
from comface_bench.core.errors import DataFormatError, DataMissingError, UsageError
from comface_bench.core.problems import DataProblemsError
from comface_bench.data.check import check_data
from comface_bench.data.task import load_task
from comface_bench.results.schema import stored_unit_key

CHOSEN = "synth-weight+pairs=pre-post-same-day"
PATIENTS = [f"P{number}" for number in range(8)]


@pytest.fixture
def root(tmp_path, make_edema):
    make_edema(tmp_path / "Edema-A", PATIENTS, days=("1", "2", "3"))
    return tmp_path


def append(root, *lines):
    path = root / "Edema-A" / "manifest.csv"
    path.write_text(path.read_text() + "".join(f"{line}\n" for line in lines))


def test_the_faces_that_ship_are_read_without_a_word():
    task = load_task("synth-weight")
    assert task.table.digest == "466f341a19752f70795d7f98a39a1aa23113e8450717e272da4888e12486c99f"
    assert task.table.notes == ()


def test_tests_are_pre_against_post_across_days_too(root):
    task = load_task("edema-a", data=root)
    phases, sessions = np.array(task.table.phases), np.array(task.table.sessions)
    tested = [task.pairs(fold) for fold in range(4)]
    for pairs in tested:
        assert set(zip(phases[pairs.x], phases[pairs.y], strict=True)) <= {("pre", "post"), ("post", "pre")}
        assert (sessions[pairs.x] != sessions[pairs.y]).any()
    # Three days: each of three images before with each of three after treatment.
    assert sum(map(len, tested)) == len(PATIENTS) * 3 * 3


@pytest.mark.parametrize("name", ["edema-a", "edema-b", "edema-a2b", "synth-weight"])
def test_pairs_of_one_day_can_be_asked_for(name, root, make_edema):
    make_edema(root / "Edema-B", PATIENTS, days=("1", "2"), seed=1000)
    usual, chosen = (load_task(name + option, data=root) for option in ("", "+pairs=pre-post-same-day"))
    assert chosen.name == f"{name}+pairs=pre-post-same-day"
    phases, sessions = np.array(chosen.table.phases), np.array(chosen.table.sessions)
    for fold in range(4):
        for part in ("validation", "test"):
            wider, pairs = usual.pairs(fold, part), chosen.pairs(fold, part)
            within = sessions[wider.x] == sessions[wider.y]
            assert 0 < len(pairs) == within.sum() < len(wider)
            assert (phases[pairs.x] != phases[pairs.y]).all()
            assert (sessions[pairs.x] == sessions[pairs.y]).all()
        # Training is the same: the same pairs, and the same draws of them.
        assert len(chosen.pairs(fold, "train")) == len(usual.pairs(fold, "train"))
        mine, theirs = chosen.draw(fold, 0, 1, 50), usual.draw(fold, 0, 1, 50)
        assert (mine.x.tolist(), mine.y.tolist()) == (theirs.x.tolist(), theirs.y.tolist())
    assert (chosen.table.digest, chosen.split.digest) == (usual.table.digest, usual.split.digest)


def test_the_default_rule_is_no_part_of_a_name(root):
    written, usual = load_task("edema-a+pairs=pre-post", data=root), load_task("edema-a", data=root)
    assert (written.name, dict(written.chosen)) == ("edema-a", dict(usual.chosen))
    assert written.card == usual.card


def test_other_rules_and_tasks_are_refused(root):
    with pytest.raises(UsageError, match="pairs=all isn't one of pre-post, pre-post-same-day"):
        load_task("edema-a+pairs=all", data=root)
    with pytest.raises(UsageError, match="task synth-age takes no option 'pairs'"):
        load_task("synth-age+pairs=pre-post")


@pytest.mark.parametrize(("name", "kept"), [("synth-weight", True), (CHOSEN, False)])
def test_records_from_before_the_option_keep_their_keys(name, kept):
    (path,) = (Path(__file__).parents[1] / "results/golden/v3/synth-weight").glob("*/*.json")
    stored = json.loads(path.read_text())
    assert stored["task"]["card"]["options"] == {}
    task = load_task(name)
    # The length of epochs came with the next engine's epoch.
    card = {name: fact for name, fact in facts(task.card).items() if name != "pairs_per_image"}
    today = {**stored["task"], "name": task.name, "card": card}
    for unit in stored["units"]:
        place = unit["fold"], unit["seed"]
        key = stored_unit_key(today, stored["method"], stored["protocol"], *place)
        assert (key == unit["key"]) is kept


def test_training_takes_all_pairs_within_a_patient(root):
    task = load_task("edema-a", data=root)
    assert len(task.pairs(0, "train")) == len(task.folds[0].train) * 6 * 5 // 2


def test_a_patient_of_one_phase_trains_and_is_not_tested(root, draw_image):
    for day in (1, 2):
        draw_image(root / "Edema-A" / f"new{day}.jpg", seed=90 + day)
    append(root, "new1.jpg,NEW,1,pre,70", "new2.jpg,NEW,2,pre,71")
    found = check_data("edema-a", root)
    assert found.problems == ()
    assert found.notes == ("patients of one phase, who are trained on and can't be tested: 1 (NEW pre)",)
    assert (found.per_subject["NEW"].train_pairs, found.per_subject["NEW"].test_pairs) == (1, 0)


def test_everything_that_is_wrong_is_reported_together(root):
    append(root, "a.jpg,P1,9,pre,60500", "b.jpg,P1,9,during,60", "nothing.jpg,P2,9,pre,55")
    (root / "Edema-A" / "images" / "P0_1_pre.jpg").write_bytes(b"no image")
    places = {
        problem.where.rpartition("/")[2]: problem.message for problem in check_data("edema-a", root).problems
    }
    assert list(places) == ["manifest.csv:50", "manifest.csv:51", "manifest.csv:52", "P0_1_pre.jpg"]
    with pytest.raises(DataProblemsError, match=r"manifest\.csv:50: weight_kg is 60500: grams"):
        load_task("edema-a", data=root)


def test_swapped_phases_are_seen_and_may_be_confirmed(root):
    path = root / "Edema-A" / "manifest.csv"
    swapped = path.read_text().replace("P1_1_pre.jpg,P1,1,pre", "P1_1_pre.jpg,P1,1,post")
    path.write_text(swapped.replace("P1_1_post.jpg,P1,1,post", "P1_1_post.jpg,P1,1,pre"))
    (problem,) = check_data("edema-a", root).problems
    assert problem.message == "P1, day 1: 51 kg before treatment and 52 kg after it, which is more"
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([f"{header},checked", *(f"{row},{'yes' * ('P1_1' in row)}" for row in rows)]))
    assert check_data("edema-a", root).problems == ()


def test_the_second_set_is_read_alike(root, make_edema):
    make_edema(root / "Edema-B", PATIENTS)
    task = load_task("edema-b", data=root)
    assert (task.table.name, len(task.table)) == ("Edema-B", 32)


def test_an_empty_table_has_no_images(root):
    (root / "Edema-A" / "manifest.csv").write_text("image,patient,day,phase,weight_kg\n")
    with pytest.raises(DataMissingError, match="Edema-A: no images"):
        load_task("edema-a", data=root)


def test_a_fold_without_a_testable_patient_is_named(tmp_path, make_edema):
    path = make_edema(tmp_path / "Edema-A", PATIENTS) / "manifest.csv"
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *(row for row in rows if ",pre," in row or ",P0," in row)]))
    task = load_task("edema-a", data=tmp_path)
    untestable = next(number for number, fold in enumerate(task.folds) if "P0" not in fold.test)
    with pytest.raises(
        DataFormatError, match=f"edema-a, fold {untestable}, test: .* no pair of rule 'pre-post'"
    ):
        task.pairs(untestable)
