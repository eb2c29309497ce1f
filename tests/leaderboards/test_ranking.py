"""Rankings over tasks against ranks taken by hand from the boards."""

import numpy as np
import pytest
from scipy import stats

from comface_bench.leaderboards.compose import compose

SIX = ["disfa-au1", "disfa-au2", "disfa-au4", "disfa-au6", "disfa-au9", "disfa-au12"]


def of(document, scope, protocol="quick"):
    return next((r for r in document.rankings if (r.scope, r.protocol) == (scope, protocol)), None)


@pytest.fixture(scope="module")
def document(made, tmp_path_factory):
    results = tmp_path_factory.mktemp("ranks")
    for index, task in enumerate(SIX):
        for method, noise in (("a", 1.0), ("b", 1.0 + (-1) ** index * 0.5), ("c", 4.0), ("gap", 0.1)):
            incomplete = {"folds": (0,), "failed": (1,)} if (method, index) == ("gap", 2) else {}
            if (method, index) != ("gap", 4):
                made.add(results, task, "quick", method, noise=noise, **incomplete)
    made.add(results, "age", "quick", "a", noise=1.0)
    made.add(results, "age", "quick", "c", noise=0.5)
    made.add(results, "edema-a", "linear", "a", noise=0.5)
    return compose(results)


def test_a_family_has_a_ranking_only_with_more_than_one_task(document):
    assert [(r.scope, r.protocol, len(r.tasks)) for r in document.rankings] == [
        ("disfa", "quick", 6),
        ("overall", "quick", 7),
    ]
    assert of(document, "disfa").tasks == tuple(SIX)
    assert of(document, "overall").tasks == ("age", *SIX)


def test_who_misses_a_task_stays_out_and_is_told_which(document):
    family, overall = of(document, "disfa").standings, of(document, "overall").standings
    assert list(family)[-1] == "gap"
    assert family["gap"].missing == ("disfa-au4", "disfa-au9")
    assert (family["gap"].mean_rank, family["gap"].place, dict(family["gap"].ranks)) == (None, None, {})
    assert overall["b"].missing == ("age",)
    assert overall["gap"].missing == ("age", "disfa-au4", "disfa-au9")
    assert [name for name, one in overall.items() if not one.missing] == ["a", "c"]


def test_ranks_are_those_of_the_boards_values(document):
    ranked = ["a", "b", "c"]
    values = {
        board.task: [
            next(row for row in board.rows if row.entry.method == name).cells["mae"].value.value
            for name in ranked
        ]
        for board in document.boards
        if board.task in SIX
    }
    table = np.array([stats.rankdata(values[task]) for task in SIX])
    standings = of(document, "disfa").standings
    for index, name in enumerate(ranked):
        assert list(standings[name].ranks.values()) == table[:, index].tolist()
        assert standings[name].mean_rank == pytest.approx(table[:, index].mean())
        assert standings[name].borda == sum(3 - rank for rank in table[:, index])
        interval = standings[name].mean_rank_interval
        assert interval.low <= standings[name].mean_rank <= interval.high
    # a and b take turns.
    assert standings["a"].place == standings["b"].place == 1.5
    assert standings["c"].place == 3
    friedman = stats.friedmanchisquare(*table.T).pvalue
    assert of(document, "disfa").friedman.value == pytest.approx(friedman, rel=1e-10)
    # Demšar's q for three methods.
    assert of(document, "disfa").critical_difference.value == pytest.approx(
        2.343 * np.sqrt(3 * 4 / 36), rel=1e-3
    )


def test_two_methods_have_no_critical_difference(document):
    overall = of(document, "overall")
    assert overall.critical_difference.reason == "fewer than 3 methods have all tasks"


def test_ranks_of_one_data_set_vary_together(made, tmp_path):
    for task in ("age", "age-b", "age-c"):
        for method, noise in (("a", 1.0), ("b", 1.6)):
            made.add(tmp_path, task, method=method, noise=noise)
            # The same numbers under another data set's name are drawn by themselves.
            made.add(tmp_path, f"x{task}", method=method, noise=noise, facts={"data": task})
    document = compose(tmp_path)
    together, apart = of(document, "age", "finetune"), of(document, "xage", "finetune")
    wide = together.standings["a"].mean_rank_interval.error
    assert apart.standings["a"].mean_rank_interval.error == pytest.approx(wide / np.sqrt(3), rel=0.15)


def test_a_task_that_nobody_completed_is_no_part_of_it(made, tmp_path):
    for task in ("age", "age-b", "age-c"):
        for method in ("a", "b"):
            incomplete = {"folds": (0,), "failed": (1,)} if task == "age-c" else {}
            made.add(tmp_path, task, method=method, **incomplete)
    assert of(compose(tmp_path), "overall", "finetune").tasks == ("age", "age-b")


def test_rows_of_different_versions_keep_a_task_out(made, tmp_path):
    for task in ("age", "age-b", "age-c"):
        made.add(tmp_path, task, method="a")
        made.add(tmp_path, task, method="b", split="other" if task == "age-c" else "folds-2")
    assert of(compose(tmp_path), "overall", "finetune").tasks == ("age", "age-b")
