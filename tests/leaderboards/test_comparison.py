"""Two methods side by side: the numbers of the pages, and why there are none."""

import dataclasses
import itertools
import json
import shutil
from pathlib import Path

import pytest

from comface_bench.core.errors import UnknownNameError, UsageError
from comface_bench.leaderboards.comparison import compare_methods, compare_on_board
from comface_bench.leaderboards.export import leaderboard_json
from comface_bench.leaderboards.pages import read_rows
from comface_bench.results.store import ResultStore
from comface_bench.stats.bootstrap import Interval
from comface_bench.stats.significance import PairedDifference, Swaps, swap_test

BOARD = Path(__file__).parents[2] / "leaderboards" / "results"


def rounded(value):
    """Round as `leaderboard.json` does."""
    return None if value is None else float(f"{value:.10g}")


def check_board(board, compare):
    """Hold every comparison of a board of `leaderboard.json` to `compare(a, b, metric)`; returns how many."""
    seen = 0
    for row in board["rows"]:
        for metric, cell in row["cells"].items():
            for stated in filter(None, (cell["to_best"], cell["to_comface"])):
                found = compare(row["method"], stated["reference"], metric)
                assert rounded(found.difference.value) == stated["value"]
                interval = found.difference.interval
                ends = None if interval.low is None else [rounded(interval.low), rounded(interval.high)]
                assert ends == stated["interval"]
                # Pages test the first metric and those of the paper alone.
                if stated["p"]["value"] is not None:
                    assert rounded(found.corrected.value) == stated["p"]["value"]
                seen += 1
    return seen


def test_numbers_are_those_of_the_pages(filled, document):
    boards = json.loads(leaderboard_json(document))["boards"]
    seen = 0
    for board in boards:
        place = {"task": board["task"], "protocol": board["protocol"]}
        seen += check_board(
            board, lambda a, b, metric, place=place: compare_methods(filled, a, b, **place, metric=metric)[0]
        )
    assert seen > 10


def test_numbers_are_those_of_the_committed_board():
    """Real networks on real faces: the page of fine-tuning at 112 pixels."""
    boards = json.loads((BOARD / "leaderboard" / "leaderboard.json").read_text())["boards"]
    name = ("age", "finetune+image_size=112")
    (board,) = (one for one in boards if (one["task"], one["protocol"]) == name)
    paths = sorted((BOARD / "age" / name[1]).glob("*.json"))
    entries, arranged = read_rows(ResultStore(BOARD), paths, by_fold=False)
    metrics = ("mae", "pearson")
    for row in board["rows"]:
        row["cells"] = {metric: row["cells"][metric] for metric in metrics}
    seen = check_board(board, lambda a, b, metric: compare_on_board(entries, arranged, a, b, metric))
    assert seen == len(metrics) * (2 * (len(board["rows"]) - 1))


def test_p_of_one_comparison_is_the_swap_test_of_the_two(filled):
    (found,) = compare_methods(filled, "farl", "imagenet", task="age")
    paths = [path for path in ResultStore(filled).paths() if path.parent.parent.name == "age"]
    _, arranged = read_rows(ResultStore(filled), paths)
    ours, theirs = (arranged[name].counted for name in ("farl", "imagenet"))
    p = swap_test(ours, theirs, ["mae"], Swaps.draw(theirs.subjects, "fgnet"))["mae"]
    assert found.p == p
    assert found.family == 3, "the incomplete record isn't ranked"
    assert found.corrected.value >= found.p.value


def test_order_changes_the_sign_and_nothing_else(filled):
    (one,) = compare_methods(filled, "comface", "imagenet", task="age")
    (other,) = compare_methods(filled, "imagenet", "comface", task="age")
    assert one.difference.value == -other.difference.value
    assert one.difference.interval.low == pytest.approx(-other.difference.interval.high, abs=1e-12)
    assert one.p == other.p
    assert one.better == other.better == "comface"


def test_sentences(made, results):
    made.add(results, method="good", noise=0.1)
    made.add(results, method="bad", noise=5.0, draw=6)
    made.add(results, method="bad2", noise=5.0, draw=8)
    (found,) = compare_methods(results, "good", "bad")
    assert found.sentence.startswith("good is better than bad on age under finetune: its MAE is ")
    assert " years lower, 95 % interval " in found.sentence
    assert found.better == "good"
    made.add(results, method="bad3", noise=5.0, draw=7)
    (doubtful,) = compare_methods(results, "bad", "bad3")
    assert doubtful.better is not None
    assert doubtful.p.value >= 0.05
    assert doubtful.sentence.endswith(": it may be chance")
    (percent,) = compare_methods(results, "bad", "good", metric="pearson")
    assert percent.sentence.startswith("good is better than bad on age under finetune: its Corr. is ")
    assert " higher, " in percent.sentence
    (tied,) = compare_methods(results, "bad", "bad2")
    assert tied.better is None
    assert tied.sentence.startswith("bad and bad2 can't be told apart on age under finetune: bad's MAE is ")
    assert tied.sentence.endswith("holds 0")
    low, high = tied.difference.interval.low, tied.difference.interval.high
    assert low < 0 < high


def test_names_keep_their_letters_where_there_is_no_interval(filled):
    (found,) = compare_methods(filled, "comface", "imagenet", task="age")
    nothing = PairedDifference(1.5, Interval(None, None, None, "too few people"))
    named = dataclasses.replace(found, task="csv:MyTable.csv", difference=nothing)
    assert named.sentence == (
        "On csv:MyTable.csv under finetune comface's MAE is 1.500 years higher than imagenet's; there is no"
        " interval: too few people"
    )


def test_a_metric_that_a_board_lacks_is_said_with_those_that_it_has(filled):
    with pytest.raises(UnknownNameError, match="age under finetune has no metric 'icc31'") as raised:
        compare_methods(filled, "comface", "imagenet", task="age", metric="icc31")
    assert raised.value.hint.startswith("It has mae")


def test_other_pairs_are_named(filled):
    (found,) = compare_methods(filled, "comface", "timm/vit", task="age")
    assert found.difference.value is None
    assert (
        "scored on other pairs: 16 pairs of 2/2 folds of comface, 8 pairs of 1/2 folds of timm/vit"
        in found.sentence
    )
    assert found.facts["reason"].startswith("scored on other pairs")
    assert found.cells["difference"] == "—"
    assert found.better is None
    assert any(note.startswith("timm/vit: Folds are missing") for note in found.notes)


def test_equal_parts_of_a_split_are_compared_but_not_ranked(made, results):
    for method, noise in (("a", 1.0), ("b", 3.0)):
        made.add(results, method=method, noise=noise, folds=(0,))
    (found,) = compare_methods(results, "a", "b")
    assert found.difference.value < 0
    assert found.p.value is not None
    assert found.corrected.reason == "a and b aren't ranked: folds are missing, or failed"


def test_other_versions_are_named(made, results):
    made.add(results, method="a")
    made.add(results, method="b", split="folds-other")
    (found,) = compare_methods(results, "a", "b")
    assert found.difference.reason == "measured on different versions of split"


def test_records_without_a_unit_are_named(made, results):
    made.add(results, method="a")
    made.add(results, method="b", folds=(), failed=(0, 1))
    (found,) = compare_methods(results, "a", "b")
    assert found.difference.reason == "no finished unit of b"


def test_methods_that_stand_apart_are_compared_without_a_correction(made, results):
    taught = {"card": {"supervision": ["age"]}, "facts": {"card": {"family": "age"}}}
    made.add(results, method="a", facts={"card": {"family": "age"}})
    made.add(results, method="b", noise=3.0, **taught)
    (found,) = compare_methods(results, "a", "b")
    assert found.p.value is not None
    assert found.corrected.reason == "b was taught what is asked, and is placed apart"


def test_boards_come_in_order_and_are_chosen_by_patterns(made, results):
    for task, method in itertools.product(("synth-au12", "synth-au2", "age"), ("a", "b")):
        made.add(results, task, "quick", method=method)
        made.add(results, task, "probe", method=method)
    places = [(one.task, one.protocol) for one in compare_methods(results, "a", "b")]
    assert places == list(itertools.product(("age", "synth-au2", "synth-au12"), ("probe", "quick")))
    chosen = compare_methods(results, "a", "b", task="synth-*,age", protocol="quick")
    assert [one.task for one in chosen] == ["age", "synth-au2", "synth-au12"]


@pytest.mark.parametrize(
    ("words", "kind", "said"),
    [
        ({"a": "comfase"}, UnknownNameError, "Did you mean comface"),
        ({"task": "agee"}, UnknownNameError, r"no task called 'agee'\. Did you mean age"),
        ({"protocol": "finetun"}, UnknownNameError, "Did you mean finetune"),
        ({"metric": "maee"}, UnknownNameError, "Did you mean mae"),
        ({"b": "comface"}, UsageError, "compared with itself"),
        (
            {"a": "farl", "b": "timm/vit", "protocol": "quick"},
            UsageError,
            "no such task and protocol in common",
        ),
    ],
)
def test_unknown_names(filled, words, kind, said):
    with pytest.raises(kind, match=said):
        compare_methods(filled, **{"a": "comface", "b": "farl"} | words)


def test_only_records_that_count_are_compared(filled):
    records = [record for record in ResultStore(filled).records() if record.method.name != "farl"]
    with pytest.raises(UnknownNameError, match="'farl'"):
        compare_methods(filled, "comface", "farl", records=records)


def test_changed_predictions_are_refused(filled, tmp_path):
    results = tmp_path / "copy"
    shutil.copytree(filled, results)
    (path,) = results.glob("age/finetune/farl.predictions.csv.gz")
    shutil.copy(path.with_name("imagenet.predictions.csv.gz"), path)
    with pytest.raises(Exception, match="isn't the record's"):
        compare_methods(results, "comface", "imagenet")
