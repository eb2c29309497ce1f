"""A board's cells and rankings against slow loops that read the files anew and share nothing but draws."""

import gzip
import random
from itertools import combinations, product

import numpy as np
import pytest
from scipy import stats

from comface_bench.core.digest import digest
from comface_bench.leaderboards import statistics
from comface_bench.leaderboards.formatting import format_value
from comface_bench.leaderboards.pages import read_document
from comface_bench.results.predictions import Prediction
from comface_bench.stats.bootstrap import Resamples

METRICS = ["mae", "pearson", "acc"]
FEWER = 400
"""Resamples where every single one is computed again by a slow loop; boards have 2,000."""


def metric(name, y, yhat):
    """The metric by its textbook definition; NaN where it has none."""
    if not len(y):
        return np.nan
    if name == "mae":
        return np.abs(y - yhat).mean()
    if name == "acc":
        return (np.sign(y) == np.sign(yhat)).mean()
    a, b = y - y.mean(), yhat - yhat.mean()
    return (a @ b) / np.sqrt((a @ a) * (b @ b)) if np.ptp(yhat) > 0 and np.ptp(y) > 0 else np.nan


def read_columns(results, board, method):
    """Subject, fold, seed, y, ŷ of all rows, straight from the compressed file."""
    name = method.replace("/", "__")
    path = results / board.task / board.protocol / f"{name}.predictions.csv.gz"
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()[1:]
    columns = np.array([line.split(",")[1:] for line in lines], dtype=float).T
    return (*columns[:3].astype(int), *columns[3:])


def value_of(name, columns, times=None, *, by_fold=False, exchanged=None):
    """Mean of the metric over seeds, or folds and seeds, each person's rows repeated `times` often."""
    subject, fold, seed, y, yhat = columns
    yhat = yhat if exchanged is None else np.where(np.isin(subject, exchanged[0]), exchanged[1], yhat)
    often = np.ones(len(y), dtype=int) if times is None else times[subject]
    values = []
    for part in {(f if by_fold else 0, s) for f, s in zip(fold.tolist(), seed.tolist(), strict=True)}:
        mine = (seed == part[1]) & ((fold == part[0]) | (not by_fold))
        values.append(metric(name, np.repeat(y[mine], often[mine]), np.repeat(yhat[mine], often[mine])))
    return np.mean(values)


def check_interval(interval, draws):
    """Compare an interval with values on resamples."""
    valid = draws[~np.isnan(draws)]
    assert interval.without == len(draws) - len(valid)
    if interval.without > 0.05 * len(draws):
        assert interval.reason.startswith(f"no value in {interval.without} of {len(draws)} resamples")
        assert (interval.low, interval.high, interval.error) == (None, None, None)
    else:
        expected = (*np.quantile(valid, [0.025, 0.975]), np.std(valid, ddof=1))
        assert (interval.low, interval.high, interval.error) == pytest.approx(expected, abs=1e-9)


def add(made, results, method, noise, *, aggregate="pooled", split="two", people=6, seeds=(0, 1)):
    """Store a record of two folds and several seeds; pooled folds have other people, else the same."""
    rng = random.Random(repr((method, aggregate)))
    truth = np.random.default_rng(people).normal(0, 3, (people, 3))
    units = {}
    for fold, seed in product((0, 1), seeds):
        tested = range(people) if aggregate == "fold-mean" else range(fold, people, 2)
        units[fold, seed] = [
            Prediction(f"{s}-{k}", s, fold, seed, float(y), float(y + noise * rng.gauss(0, 1)))
            for s in tested
            for k, y in enumerate(truth[s])
        ]
    task = {"name": "task", "data": "people", "target": "y", "unit": "kg", "aggregate": aggregate}
    task |= {"split": split, "split_digest": digest(split)}
    made.store(results, task, {"name": method, "card": {"group": "Other"}}, "quick", units)


def read_with_fewer(results):
    """Read a document whose boards take fewer resamples, the first ones of the same draw."""
    draw = Resamples.draw
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Resamples, "draw", lambda subjects, data: draw(subjects, data, FEWER))
        return read_document(results)


def counts_of(subjects, data):
    return Resamples.draw(subjects, data, FEWER).counts.astype(int)


@pytest.fixture(scope="module")
def fewer(filled):
    return read_with_fewer(filled)


@pytest.fixture(scope="module")
def age(document):
    return document.boards[0]


@pytest.fixture(scope="module", params=["pooled", "fold-mean"])
def seeded(request, made, tmp_path_factory):
    """A board of two seeds."""
    folder = tmp_path_factory.mktemp(request.param)
    add(made, folder, "good", 1.0, aggregate=request.param)
    add(made, folder, "poor", 2.5, aggregate=request.param)
    return folder, read_with_fewer(folder).boards[0], request.param == "fold-mean"


def test_values_and_intervals(filled, fewer):
    for board in fewer.boards:
        columns = {row.entry.method: read_columns(filled, board, row.entry.method) for row in board.rows}
        subjects = np.unique(np.concatenate([own[0] for own in columns.values()]))
        counts = counts_of(subjects, "fgnet")
        assert subjects.tolist() == list(range(counts.shape[1]))
        for row in board.rows:
            own = columns[row.entry.method]
            for name, cell in row.cells.items():
                for value, interval, by_fold in (
                    (cell.value, cell.interval, False),
                    (cell.fold_mean, cell.fold_interval, True),
                ):
                    expected = value_of(name, own, by_fold=by_fold)
                    if np.isnan(expected):
                        assert interval.reason == value.reason == "constant prediction"
                        continue
                    assert value.value == pytest.approx(expected, abs=1e-12)
                    if name != "acc" or row.entry.method == "farl":
                        draws = [value_of(name, own, times, by_fold=by_fold) for times in counts]
                        check_interval(interval, np.array(draws))


def test_several_seeds_are_averaged_on_each_resample(seeded):
    results, board, by_fold = seeded
    counts = counts_of(range(6), "people")
    for row in board.rows:
        own = read_columns(results, board, row.entry.method)
        for name in ("mae", "pearson"):
            cell = row.cells[name]
            assert cell.value.value == pytest.approx(row.entry.metrics[name].value, abs=1e-13)
            assert cell.value.value == pytest.approx(value_of(name, own, by_fold=by_fold), abs=1e-12)
            assert cell.fold_mean.value == pytest.approx(value_of(name, own, by_fold=True), abs=1e-12)
            draws = [value_of(name, own, times, by_fold=by_fold) for times in counts]
            check_interval(cell.interval, np.array(draws))
        if by_fold:
            assert row.cells["mae"].fold_interval == row.cells["mae"].interval


def test_differences_to_the_best_and_to_comface(filled, fewer):
    age = fewer.boards[0]
    columns = {row.entry.method: read_columns(filled, age, row.entry.method) for row in age.rows}
    counts = counts_of(range(4), "fgnet")
    compared = 0
    for row in age.rows:
        for name, cell in row.cells.items():
            for reference, comparison in ((age.best[name], cell.to_best), ("comface", cell.to_comface)):
                if not row.entry.ranked or row.entry.method == reference:
                    assert comparison is None
                    continue
                compared += 1
                ours, theirs = columns[row.entry.method], columns[reference]
                assert comparison.reference == reference
                gap = value_of(name, ours) - value_of(name, theirs)
                assert comparison.difference.value == pytest.approx(gap, abs=1e-12)
                draws = [value_of(name, ours, times) - value_of(name, theirs, times) for times in counts]
                check_interval(comparison.difference.interval, np.array(draws))
            best = cell.to_best.difference.interval if cell.to_best else None
            assert cell.tied == (cell.rank == 1 or (best is not None and best.low <= 0 <= best.high))
    assert compared >= 12


def test_each_method_is_compared_with_each_other(filled, fewer):
    checked = 0
    for board in fewer.boards:
        name = board.metrics[0]
        ranked = [row.entry.method for row in board.rows if row.cells[name].rank is not None]
        assert list(board.pairs) == list(combinations(ranked, 2))
        for (first, second), found in board.pairs.items():
            both = [read_columns(filled, board, method) for method in (first, second)]
            ours, theirs = (value_of(name, columns) for columns in both)
            assert found.value == pytest.approx(ours - theirs, abs=1e-9)
            counts = counts_of(set(both[0][0].tolist()), board.entry.data)
            draws = [value_of(name, both[0], times) - value_of(name, both[1], times) for times in counts]
            check_interval(found.interval, np.array(draws))
            checked += 1
    assert checked > 5


def test_of_very_many_methods_the_best_are_compared(made, tmp_path, monkeypatch):
    monkeypatch.setattr(statistics, "MOST_COMPARED", 2)
    for method, noise in (("a", 3.0), ("b", 1.0), ("c", 9.0), ("d", 2.0)):
        made.add(tmp_path, method=method, noise=noise)
    (board,) = read_document(tmp_path).boards
    assert list(board.pairs) == [("b", "d")]


GROUPED = ("disfa-au1", "disfa-au4", "disfa-au6")


@pytest.fixture(scope="module")
def grouped(made, tmp_path_factory):
    """Three tasks of one quantity; `gap` misses one, `taught` stands apart, `c` is best on one."""
    results = tmp_path_factory.mktemp("grouped")
    facts = {"data": "DISFA", "card": {"family": "expression"}}
    for index, task in enumerate(GROUPED):
        for method, noise in (("a", 1.0), ("b", 2.5), ("c", 0.2 if index == 1 else 3.0)):
            made.add(results, task, "quick", method, noise=noise, facts=facts, draw=10 * index + ord(method))
        made.add(
            results, task, "quick", "taught", card={"supervision": ["expression"]}, facts=facts, noise=0.1
        )
        if index:
            made.add(results, task, "quick", "gap", noise=0.1, facts=facts)
    made.add(results, "age", "quick", "a", facts={"data": "DISFA", "card": {"family": "age"}})
    made.add(results, "disfa-au1", "linear", "a", facts=facts)
    return results, read_with_fewer(results)


def test_the_mean_of_several_tasks_is_resampled_as_one(grouped):
    results, document = grouped
    (group,) = document.groups
    assert (group.tasks, group.metric, group.protocol) == (GROUPED, "mae", "quick")
    assert set(group.cells) == {"a", "b", "c", "taught"}

    def means(method, times=None):
        return np.mean([value_of("mae", read_columns(results, one, method), times) for one in group.boards])

    counts = counts_of(range(4), "DISFA")
    draws = {method: np.array([means(method, times) for times in counts]) for method in group.cells}
    for method, cell in group.cells.items():
        assert cell.value.value == pytest.approx(means(method), abs=1e-9)
        check_interval(cell.interval, draws[method])
    assert [group.cells[method].rank for method in "abc"] == [1, 3, 2]
    assert group.cells["taught"].rank == 1
    for method in "bc":
        to_best = group.cells[method].to_best
        assert to_best.reference == "a"
        check_interval(to_best.difference.interval, draws[method] - draws["a"])
    assert group.cells["c"].tied == (group.cells["c"].to_best.difference.interval.low <= 0)


def test_tasks_of_other_versions_are_no_group(made, tmp_path):
    for index, task in enumerate(GROUPED):
        for method in "ab":
            made.add(tmp_path, task, "quick", method, split=f"split-{index == 2}")
    assert read_document(tmp_path).groups == ()


def test_tasks_of_other_people_are_no_group(made, tmp_path):
    for task in GROUPED:
        people, method = 3 if task == GROUPED[-1] else 4, {"name": "a", "card": {"group": "Other"}}
        rows = [Prediction(f"{s}-{k}", s, 0, 0, 1.0 + k, 2.0 * k) for s in range(people) for k in range(3)]
        made.store(tmp_path, {"name": task, "folds": 1}, method, "quick", {(0, 0): rows})
    document = read_document(tmp_path)
    assert all(board.rows[0].cells["mae"].rank == 1 for board in document.boards)
    assert document.groups == ()


def exact_p(name, ours, theirs, *, by_fold=False):
    """Exchange the predictions of all sets of subjects, one set at a time."""
    subjects = np.unique(ours[0])
    observed = abs(value_of(name, ours, by_fold=by_fold) - value_of(name, theirs, by_fold=by_fold))
    extreme = []
    for flips in product([False, True], repeat=len(subjects)):
        chosen = subjects[np.array(flips)]
        a = value_of(name, ours, by_fold=by_fold, exchanged=(chosen, theirs[4]))
        b = value_of(name, theirs, by_fold=by_fold, exchanged=(chosen, ours[4]))
        extreme.append(abs(a - b) >= observed - 1e-12)
    return np.mean(extreme)


def test_ps_are_of_all_exchanges_and_corrected_by_holm(filled, age):
    ranked = [row for row in age.rows if row.entry.ranked]
    columns = {row.entry.method: read_columns(filled, age, row.entry.method) for row in ranked}
    for name in age.metrics:
        for reference, field in ((age.best[name], "to_best"), ("comface", "to_comface")):
            others = [row for row in ranked if row.entry.method != reference]
            raw = {row.entry.method: exact_p(name, columns[row.entry.method], columns[reference]) for row in
                   others}  # fmt: skip
            # The k-th smallest times the number of those not yet done, never falling.
            largest, expected = 0.0, {}
            for index, method in enumerate(sorted(raw, key=raw.get)):
                largest = max(largest, min(1.0, raw[method] * (len(raw) - index)))
                expected[method] = largest
            found = {row.entry.method: getattr(row.cells[name], field).p.value for row in others}
            assert found == pytest.approx(expected, abs=1e-12)


def test_seeds_and_folds_are_exchanged_together(seeded):
    results, board, by_fold = seeded
    columns = [read_columns(results, board, method) for method in ("poor", "good")]
    poor = next(row for row in board.rows if row.entry.method == "poor")
    for name in METRICS:
        if board.best[name] == "good":
            assert poor.cells[name].to_best.p.value == exact_p(name, *columns, by_fold=by_fold)
    assert poor.cells["mae"].to_best.p.value < 0.2


def test_the_detectable_difference_is_the_median_pairs(filled, fewer):
    age = fewer.boards[0]
    ranked = [row.entry.method for row in age.rows if row.entry.ranked]
    columns = {method: read_columns(filled, age, method) for method in ranked}
    counts = counts_of(range(4), "fgnet")
    factor = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)
    for name in ("mae", "pearson"):
        drawn = {m: np.array([value_of(name, columns[m], times) for times in counts]) for m in ranked}
        errors = [np.std(drawn[a] - drawn[b], ddof=1) for i, a in enumerate(ranked) for b in ranked[i + 1 :]]
        assert age.detectable[name].value == pytest.approx(factor * np.median(errors), rel=1e-9)


def test_places_count_the_better_values_that_the_ranked_rows_print(document):
    for board in document.boards:
        for name in board.metrics:
            sign = -1 if name == "mae" else 1
            printed = {
                row.entry.method: sign * float(format_value(name, row.cells[name].value.value))
                for row in board.rows
                if row.entry.ranked and row.cells[name].value.value is not None
            }
            expected = {
                method: 1 + len({other for other in printed.values() if other > value})
                for method, value in printed.items()
            }
            places = {row.entry.method: row.cells[name].rank for row in board.rows}
            assert {method: place for method, place in places.items() if place is not None} == expected


def test_an_incomplete_row_has_an_interval_and_nothing_else(age):
    row = next(row for row in age.rows if row.entry.method == "timm/vit")
    values = [other.cells["mae"].value.value for other in age.rows]
    assert row.cells["mae"].value.value == min(values)
    assert age.best["mae"] == "comface"
    for cell in row.cells.values():
        assert (cell.rank, cell.to_best, cell.to_comface, cell.tied) == (None, None, None, False)
    # Two of four people: a resample in 16 has neither.
    interval = row.cells["mae"].interval
    assert 80 < interval.without < 170
    assert interval.reason.startswith(f"no value in {interval.without} of 2000 resamples")


def test_values_that_print_the_same_share_a_place(made, tmp_path):
    for method, noise in (("a", 1.0), ("b", 1.0 + 1e-9), ("c", 1.5), ("d", 0.5)):
        made.add(tmp_path, method=method, noise=noise)
    (board,) = read_document(tmp_path).boards
    assert {row.entry.method: row.cells["mae"].rank for row in board.rows} == {
        "a": 2,
        "b": 2,
        "c": 3,
        "d": 1,
    }
    made.add(tmp_path, method="e", noise=0.5 - 1e-9)
    (board,) = read_document(tmp_path).boards
    assert board.best["mae"] == "e"
    twin = next(row for row in board.rows if row.entry.method == "d").cells["mae"]
    assert (twin.rank, twin.tied, twin.to_best.reference) == (1, True, "e")


def test_rows_of_different_versions_are_neither_placed_nor_compared(made, tmp_path):
    add(made, tmp_path, "a", 1.0)
    (alone,) = read_document(tmp_path).boards
    add(made, tmp_path, "b", 1.0, split="other", people=40)
    (board,) = read_document(tmp_path).boards
    assert not board.comparable
    assert board.best == dict.fromkeys(METRICS)
    for row in board.rows:
        for cell in row.cells.values():
            assert (cell.rank, cell.to_best, cell.to_comface) == (None, None, None)
        assert row.cells["mae"].interval.low is not None
    # The people of one version have no part in the draws of the other.
    assert {n: c.interval for n, c in board.rows[0].cells.items()} == {
        n: c.interval for n, c in alone.rows[0].cells.items()
    }


def test_a_record_without_a_unit_has_reasons_only(made, tmp_path):
    made.add(tmp_path, method="a", folds=(), failed=(0, 1))
    (board,) = read_document(tmp_path).boards
    (row,) = board.rows
    for cell in row.cells.values():
        assert cell.value.value is None
        assert cell.interval.reason
        assert (cell.rank, cell.to_best) == (None, None)
    assert all(value.value is None and value.reason for value in board.detectable.values())


def test_what_is_not_resampled_is_placed_by_its_value_alone(made, tmp_path, monkeypatch):
    monkeypatch.setitem(made.add.__globals__, "METRICS", ["mae", "spearman"])
    for method, noise in (("poor", 9.0), ("good", 0.5)):
        made.add(tmp_path, method=method, noise=noise)
    (board,) = read_document(tmp_path).boards
    assert board.best["spearman"] == "good"
    assert board.detectable["spearman"].reason == "not resampled"
    for row in board.rows:
        cell = row.cells["spearman"]
        _, fold, _, y, yhat = read_columns(tmp_path, board, row.entry.method)
        assert cell.value.value == pytest.approx(stats.spearmanr(y, yhat).statistic, abs=1e-12)
        by_fold = [stats.spearmanr(y[fold == k], yhat[fold == k]).statistic for k in (0, 1)]
        assert cell.fold_mean.value == pytest.approx(np.mean(by_fold), abs=1e-12)
        assert cell.interval.reason == cell.fold_interval.reason == "not resampled"
    good, poor = (
        next(r for r in board.rows if r.entry.method == m).cells["spearman"] for m in ("good", "poor")
    )
    assert (good.rank, poor.rank, good.tied, poor.tied) == (1, 2, True, False)
    assert poor.to_best.difference.value == pytest.approx(poor.value.value - good.value.value)
    assert poor.to_best.difference.interval.reason == "not resampled"
    assert poor.to_best.p.reason == "not tested for this metric"


def test_a_task_whose_first_metric_is_not_resampled_is_no_part_of_a_ranking(made, tmp_path, monkeypatch):
    for task, metrics in (("age", ["spearman", "mae"]), ("age-b", ["mae"]), ("age-c", ["mae"])):
        monkeypatch.setitem(made.add.__globals__, "METRICS", metrics)
        for method in ("a", "b"):
            made.add(tmp_path, task, method=method)
    assert [ranking.tasks for ranking in read_document(tmp_path).rankings] == [("age-b", "age-c")] * 2


SIX = ["disfa-au1", "disfa-au2", "disfa-au4", "disfa-au6", "disfa-au9", "disfa-au12"]


def of(document, scope, protocol="quick"):
    return next((r for r in document.rankings if (r.scope, r.protocol) == (scope, protocol)), None)


@pytest.fixture(scope="module")
def six_tasks(made, tmp_path_factory):
    results = tmp_path_factory.mktemp("ranks")
    for index, task in enumerate(SIX):
        for method, noise in (("a", 1.0), ("b", 1.0 + (-1) ** index * 0.5), ("c", 4.0), ("gap", 0.1)):
            incomplete = {"folds": (0,), "failed": (1,)} if (method, index) == ("gap", 2) else {}
            if (method, index) != ("gap", 4):
                made.add(results, task, "quick", method, noise=noise, **incomplete)
    made.add(results, "age", "quick", "a", noise=1.0)
    made.add(results, "age", "quick", "c", noise=0.5)
    made.add(results, "edema-a", "linear", "a", noise=0.5)
    return read_document(results)


def test_a_family_has_a_ranking_only_with_more_than_one_task(six_tasks):
    assert [(r.scope, r.protocol, len(r.tasks)) for r in six_tasks.rankings] == [
        ("disfa", "quick", 6),
        ("overall", "quick", 7),
    ]
    assert of(six_tasks, "disfa").tasks == tuple(SIX)
    assert of(six_tasks, "overall").tasks == ("age", *SIX)


def test_who_misses_a_task_stays_out_and_is_told_which(six_tasks):
    family, overall = of(six_tasks, "disfa").standings, of(six_tasks, "overall").standings
    assert list(family)[-1] == "gap"
    assert family["gap"].missing == ("disfa-au4", "disfa-au9")
    assert (family["gap"].mean_rank, family["gap"].rank, dict(family["gap"].ranks)) == (None, None, {})
    assert overall["b"].missing == ("age",)
    assert overall["gap"].missing == ("age", "disfa-au4", "disfa-au9")
    assert [name for name, one in overall.items() if not one.missing] == ["a", "c"]


def test_ranks_are_those_of_the_boards_values(six_tasks):
    ranked = ["a", "b", "c"]
    values = {
        board.task: [
            next(row for row in board.rows if row.entry.method == name).cells["mae"].value.value
            for name in ranked
        ]
        for board in six_tasks.boards
        if board.task in SIX
    }
    table = np.array([stats.rankdata(values[task]) for task in SIX])
    standings = of(six_tasks, "disfa").standings
    for index, name in enumerate(ranked):
        assert list(standings[name].ranks.values()) == table[:, index].tolist()
        assert standings[name].mean_rank == pytest.approx(table[:, index].mean())
        assert standings[name].borda == sum(3 - rank for rank in table[:, index])
        interval = standings[name].mean_rank_interval
        assert interval.low <= standings[name].mean_rank <= interval.high
    # a and b take turns.
    assert standings["a"].rank == standings["b"].rank == 1.5
    assert standings["c"].rank == 3
    friedman = stats.friedmanchisquare(*table.T).pvalue
    assert of(six_tasks, "disfa").friedman.value == pytest.approx(friedman, rel=1e-10)
    # Demšar's q for three methods.
    assert of(six_tasks, "disfa").critical_difference.value == pytest.approx(
        2.343 * np.sqrt(3 * 4 / 36), rel=1e-3
    )


def test_two_methods_have_no_critical_difference(six_tasks):
    overall = of(six_tasks, "overall")
    assert overall.critical_difference.reason == "fewer than 3 methods have all tasks"


def test_ranks_of_one_data_set_vary_together(made, tmp_path):
    for task in ("age", "age-b", "age-c"):
        for method, noise in (("a", 1.0), ("b", 1.6)):
            made.add(tmp_path, task, method=method, noise=noise)
            # The same numbers under another data set's name are drawn by themselves.
            made.add(tmp_path, f"x{task}", method=method, noise=noise, facts={"data": task})
    document = read_document(tmp_path)
    together, apart = of(document, "age", "finetune"), of(document, "xage", "finetune")
    wide = together.standings["a"].mean_rank_interval.error
    assert apart.standings["a"].mean_rank_interval.error == pytest.approx(wide / np.sqrt(3), rel=0.15)


def test_a_task_that_nobody_completed_is_no_part_of_it(made, tmp_path):
    for task in ("age", "age-b", "age-c"):
        for method in ("a", "b"):
            incomplete = {"folds": (0,), "failed": (1,)} if task == "age-c" else {}
            made.add(tmp_path, task, method=method, **incomplete)
    assert of(read_document(tmp_path), "overall", "finetune").tasks == ("age", "age-b")


def test_rows_of_different_versions_keep_a_task_out(made, tmp_path):
    for task in ("age", "age-b", "age-c"):
        made.add(tmp_path, task, method="a")
        made.add(tmp_path, task, method="b", split="other" if task == "age-c" else "folds-2")
    assert of(read_document(tmp_path), "overall", "finetune").tasks == ("age", "age-b")
