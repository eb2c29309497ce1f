"""Pages over several tasks: rankings, tests, who is left out, and the table of methods and tasks."""

import dataclasses

from comface_bench.leaderboards.compose import compose
from comface_bench.leaderboards.document import OVERALL, Ranking
from comface_bench.leaderboards.family import family_page, overall_page
from comface_bench.leaderboards.index import index_page
from comface_bench.leaderboards.matrix import matrix
from comface_bench.leaderboards.standings import standings_notes, standings_table
from comface_bench.stats.bootstrap import Interval
from comface_bench.stats.metrics import MetricValue
from comface_bench.stats.ranks import Standing, unranked


def places(document):
    return {(board.task, board.protocol): f"{board.task}.md" for board in document.boards}


def ranking(**changes):
    interval = Interval(1.25, 2.0, 0.2, None)
    tasks = ("age", "synth-age")
    standings = {
        "first": Standing({"age": 1.0, "synth-age": 1.0}, 1.5, interval, 1.0, 1, 2, 3.0),
        "second": Standing({"age": 2.0, "synth-age": 2.0}, 2.0, interval, 2.0, 1, 3, 0.5),
        "absent": unranked(("age",)),
    }
    made = Ranking(OVERALL, "quick", tasks, standings, MetricValue(0.0002), MetricValue(1.234))
    return dataclasses.replace(made, **changes)


def test_a_ranking_as_a_table():
    assert standings_table(ranking())[2:] == [
        "| first | **1**<br><sub>1 to 2</sub> | 1.50<br><sub>[1.25, 2.00]</sub> | 3 | 2/2 |",
        "| second | <ins>2</ins><br><sub>1 to 3</sub> | 2.00<br><sub>[1.25, 2.00]</sub> | 0.5 | 2/2 |",
        "| absent | — | — | — | 1/2 |",
    ]


def test_what_is_said_of_a_ranking():
    notes = "\n".join(standings_notes(ranking()))
    assert "2 tasks: age, synth-age." in notes
    assert "equally good: p &lt; 0.001." in notes
    assert "mean ranks closer than 1.23 may be equal" in notes
    assert "- Without a complete, comparable record on age, not ranked: absent." in notes
    none = MetricValue(None, "fewer than 6 tasks")
    notes = "\n".join(standings_notes(ranking(friedman=none, critical_difference=none)))
    assert "- No Friedman test: fewer than 6 tasks." in notes
    assert "- No critical difference: fewer than 6 tasks." in notes
    assert "p 0.040" in "\n".join(standings_notes(ranking(friedman=MetricValue(0.04))))


def test_six_tasks_and_three_methods_have_a_critical_difference(results, made):
    for task in range(6):
        for noise, method in enumerate(("scratch", "imagenet", "farl"), start=1):
            made.add(results, f"synth-au{task}", "quick", method=method, noise=noise + task)
    page = family_page(compose(results), "synth", places(compose(results)))
    # Demšar's table: q is 2.343 for three methods at 5 %; all tasks rank alike, which has p = exp(-6).
    assert f"closer than {2.343 * (3 * 4 / 36) ** 0.5:.2f} may be equal" in page
    assert "equally good: p 0.002." in page
    assert "| scratch | **1**<br><sub>1 to " in page
    assert "<br><sub>" in page.split("| farl |")[1]


def test_a_missing_cell_is_a_dash_and_its_method_is_left_out(results, made):
    made.fill_golden(results)
    made.add(results, "disfa-au6", "quick", method="imagenet", group="General Pre-training")
    document = compose(results)
    boards = [board for board in document.boards if board.protocol == "quick"]
    (row,) = [line for line in matrix(boards, places(document)) if line.startswith("| imagenet |")]
    assert row.count("| —") == 2
    page = overall_page(document)
    assert "| imagenet | — | — | — | 1/3 |" in page
    assert "- Without a complete, comparable record on disfa-au12, synth-age, not ranked: imagenet." in page


def test_each_family_has_its_tasks_only(results, made):
    made.fill_golden(results)
    document = compose(results)
    page = family_page(document, "disfa", places(document))
    assert "(disfa-au6.md)" in page
    assert "(synth-age.md)" not in page
    assert "2 tasks: disfa-au6, disfa-au12." in page
    assert "finetune" not in page


def test_one_task_has_no_ranking(results, made):
    made.fill(results)
    page = overall_page(compose(results))
    assert page.split("## finetune")[1].split("##")[0].strip().startswith("No ranking: fewer than two tasks")


def test_a_method_is_listed_once_though_its_groups_differ(results, made):
    made.add(results, "age", "quick", method="x", group="Other")
    made.add(results, "synth-age", "quick", method="x", group="General Pre-training")
    document = compose(results)
    lines = matrix(document.boards, places(document))
    assert sum(line.startswith("| x |") for line in lines) == 1
    assert lines[3].startswith("| *General Pre-training* |")


def test_the_front_page_names_the_papers_methods_that_nobody_ran(results, made):
    made.fill(results)
    document = compose(results)
    page = index_page(document, places(document), [("overall ranking", "overall.md")])
    (line,) = [line for line in page.splitlines() if line.startswith("- No record yet")]
    assert "simclr" in line
    assert "comface" not in line
    assert "scratch" not in line, "a record with options counts"
    assert "[overall ranking](overall.md)" in page
