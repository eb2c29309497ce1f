"""Pages: what they print of each row, each ranking and each task, and the notes under them."""

import dataclasses
import json
import re
import shutil

import pytest

from comface_bench.leaderboards import build
from comface_bench.leaderboards.document import OVERALL, Comparison, Ranking
from comface_bench.leaderboards.markdown import (
    board_page,
    detectable_text,
    difference_text,
    family_page,
    index_page,
    matrix,
    overall_page,
    ranking_notes,
    ranking_table,
    value_text,
)
from comface_bench.leaderboards.pages import read_document, render
from comface_bench.leaderboards.readme import board_section
from comface_bench.stats.bootstrap import Interval
from comface_bench.stats.metrics import MetricValue
from comface_bench.stats.ranks import Standing, unranked
from comface_bench.stats.significance import PairedDifference


def tables(page):
    """Return a page's tables, each a list of rows by heading, values without what stands beneath."""
    blocks = re.findall(r"(?:^\|.*\n)+", page, flags=re.MULTILINE)
    split = [[line[2:-2].split(" | ") for line in block.splitlines()] for block in blocks]
    return [[dict(zip(rows[0], row, strict=False)) for row in rows[2:]] for rows in split]


def cells(page, method, table=0):
    """Return the cells of a method's row, without intervals, by heading."""
    (row,) = [row for row in tables(page)[table] if row["Method"] == method]
    return {heading: cell.partition("<br>")[0] for heading, cell in row.items()}


def only_board(results):
    (board,) = read_document(results).boards
    return board


def test_values_are_the_records(results, made):
    record = made.add(results, method="farl", group="Facial Representation Learning")
    page = board_page(only_board(results))
    row = cells(page, "farl")
    assert row["MAE ↓"] == f"**{record.summary.pooled['mae'].value:.3f}**"
    assert row["Acc. (%) ↑"] == f"**{100 * record.summary.pooled['acc'].value:.1f}**"
    assert (row["MAE, paper"], row["Corr., paper"], row["From"]) == ("5.249", "0.851", "ours")
    about = cells(page, "farl", table=-1)
    counts = [about[name] for name in ("Folds", "Seeds", "Pairs", "Subjects", "Failed")]
    assert counts == ["2/2", "0", "16", "4", "0"]
    assert cells(page, "farl", table=-2)["Parameters"] == "10"
    floor = cells(page, r"*no change*")
    assert floor["MAE ↓"] == f"{record.summary.constant['mae'].value:.3f}"
    assert (floor["Corr. ↑"], floor["Acc. (%) ↑"], floor["MAE, paper"]) == ("—", "0.0", "")


def test_intervals_differences_and_fold_means_are_the_documents(results, made):
    made.add(results, method="farl", noise=1.0)
    made.add(results, method="imagenet", noise=4.0)
    board = only_board(results)
    page, row = board_page(board), next(row for row in board.rows if row.entry.method == "imagenet")
    mae = row.cells["mae"]
    assert f"| {mae.value.value:.3f}" in page.replace("<ins>", "").replace("</ins>", "")
    assert f"<sub>[{mae.interval.low:.3f}, {mae.interval.high:.3f}]</sub>" in page
    found = mae.to_best.difference
    ends = f"[+{found.interval.low:.3f}, +{found.interval.high:.3f}]"
    assert f"+{found.value:.3f}<br><sub>{ends}, p {mae.to_best.p.value:.3f}</sub>" in page
    assert "The best: MAE farl, Corr. farl" in page
    assert cells(page, "imagenet", table=2)["MAE ↓"] == f"{mae.fold_mean.value:.3f}"
    assert f"MAE {board.detectable['mae'].value:.3f} years" in page


def test_an_incomplete_record_is_marked_and_never_best(filled, tmp_path):
    build(filled, tmp_path, html=False)
    page = (tmp_path / "age/finetune.md").read_text()
    row = cells(page, "timm/vit †")
    assert row["MAE ↓"] == "0.090"
    about = cells(page, "timm/vit †", table=-1)
    assert (about["Folds"], about["Failed"]) == ("1/2", "1")
    assert cells(page, "comface")["MAE ↓"].startswith("**")
    assert cells(page, "farl")["MAE ↓"].startswith("<ins>")
    assert "† Folds are missing" in page
    assert "0.090 / 1.000 / 100.0 †" in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize(
    ("task", "protocol", "note"),
    [
        ("age", "linear", True),
        ("age", "quick", False),
        ("age", "finetune+image_size=112", False),
        ("disfa-au15", "linear", True),
        ("synth-age", "linear", False),
    ],
)
def test_no_paper_column_where_the_paper_has_none(results, made, task, protocol, note):
    made.add(results, task, protocol=protocol, method="farl")
    page = board_page(only_board(results))
    assert ", paper" not in page
    assert ("Not published in the supplement" in page) is note


def test_a_dash_where_the_paper_has_others_but_not_this_method(results, made):
    made.add(results, method="dinov2", group="Other")
    page = board_page(only_board(results))
    assert cells(page, "dinov2")["MAE, paper"] == "—"
    assert "Not published in the supplement" in page


def test_the_command_repeats_an_overridden_protocol(results, made):
    made.add(results, protocol="finetune+image_size=112+epochs=2")
    assert (
        "    comface-bench run --method METHOD --task age --protocol finetune -o image_size=112 -o epochs=2\n"
        in board_page(only_board(results))
    )


def test_other_data_is_not_compared(results, made):
    made.add(results, method="a", noise=1.0)
    made.add(results, method="b", noise=2.0, split="leave-one-out")
    page = board_page(only_board(results))
    assert "different versions of data, split or engine" in page
    assert "**" not in page
    assert "Fewer than two rows are ranked." in page


def test_marks_of_best_second_and_tied(document):
    board = next(board for board in document.boards if board.task == "age")
    cell = board.rows[0].cells["mae"]
    for place, tied, text in [
        (1, True, "**1.000**"),
        (2, True, "<ins>1.000</ins> ≈"),
        (2, False, "<ins>1.000</ins>"),
        (3, True, "1.000 ≈"),
        (None, False, "1.000"),
    ]:
        interval = Interval(-1.0 if tied else 0.5, 2.0, 0.1, None)
        compared = Comparison("best", PairedDifference(1.0, interval), MetricValue(0.5))
        made_up = dataclasses.replace(
            cell, value=MetricValue(1.0), rank=place, to_best=None if place in (1, None) else compared
        )
        assert value_text("mae", made_up) == text
    assert value_text("mae", None) == "—"


def test_groups_and_order(results, made, tmp_path):
    for method, group in [
        ("zebra", "Other"),
        ("comface", "Facial Representation Learning"),
        ("a", "Facial Representation Learning"),
        ("bulat", "Facial Representation Learning"),
        ("mocov2", "Visual Representation Learning"),
        ("simclr", "Visual Representation Learning"),
        ("vggface2", "General Pre-training"),
        ("imagenet", "General Pre-training"),
        ("scratch", "Scratch"),
    ]:
        made.add(results, method=method, group=group)
    build(results, tmp_path, html=False)
    for page in (tmp_path / "age/finetune.md", tmp_path / "README.md", tmp_path / "age.md"):
        firsts = [row["Method"] for row in tables(page.read_text())[0]]
        assert firsts == [
            "*no change*",
            "*Scratch*", "scratch",
            "*General Pre-training*", "imagenet", "vggface2",
            "*Visual Representation Learning*", "simclr", "mocov2",
            "*Facial Representation Learning*", "bulat", "comface", "a",
            "*Other*", "zebra",
        ]  # fmt: skip


def test_a_metric_that_only_newer_records_have(results, made):
    made.add(results, method="a")
    made.add(results, method="b")
    board = only_board(results)
    old, new = board.rows
    old = dataclasses.replace(
        old,
        entry=dataclasses.replace(old.entry, baseline={"mae": old.entry.baseline["mae"]}),
        cells={"mae": old.cells["mae"]},
    )
    page = board_page(dataclasses.replace(board, rows=(old, new)))
    assert cells(page, "a")["Corr. ↑"] == "—"
    assert cells(page, "b")["Corr. ↑"] == "**0.993**"


def test_a_row_no_better_than_no_change_is_marked(results, made):
    made.add(results, method="scratch", noise=1.0)
    made.add(results, method="farl", noise=60.0)
    page = board_page(only_board(results))
    assert "| farl ‡ |" in page
    assert "| scratch |" in page
    assert "nothing was learned that helps" in page


def test_a_method_pre_trained_on_people_of_the_data_is_marked(results, made):
    facts = {"card": {"overlaps": ["FG-NET", "Others"]}}
    made.add(results, method="leaky", trained_on=["ImageNet", "FG-NET"], facts=facts)
    made.add(results, method="clean", trained_on=["ImageNet"], facts=facts)
    page = board_page(only_board(results))
    assert {"leaky §", "clean"} <= {row["Method"] for row in tables(page)[0]}
    assert "- § leaky was pre-trained on FG-NET, which holds people of this data set." in page
    assert cells(page, "leaky §", table=-2)["Pre-training"] == "ImageNet, FG-NET"


def all_pages(results):
    """Return every Markdown page of results by file, and the README's section."""
    document = read_document(results)
    texts = {name: data.decode() for name, data in render(document).items() if name.endswith(".md")}
    return texts | {"section": board_section(document)}


@pytest.mark.parametrize(
    ("sign", "facts"),
    [
        ("‡", {"noise": 60.0}),
        ("§", {"trained_on": ["People"], "facts": {"card": {"overlaps": ["People"]}}}),
        ("‖", {"trained_on": ["synthetic faces"], "facts": {"data": "synthfaces/FGNET"}}),
        ("¶", {"best_epochs": (3, 1)}),
        ("◊", {"kind": "submitted"}),
        ("▢", {"faces": (8, 0, 2)}),
        ("≠", {"split": "another"}),
    ],
)
@pytest.mark.parametrize("everywhere", [False, True])
def test_every_page_has_every_mark(results, made, sign, facts, everywhere):
    """Of a method's records on age and two action units, an action unit's or all carry the mark."""
    for task in ("synth-age", "synth-au1", "synth-au2"):
        made.add(results, task, "quick", method="scratch")
        marked = facts if everywhere or task == "synth-au1" else {}
        made.add(results, task, "quick", method="farl", **{"noise": 2.0} | marked)
    pages = all_pages(results)
    if sign == "≠" and everywhere:
        assert "No ranking" in pages.pop("overall.md"), "nothing is compared"
    for name, page in pages.items():
        if not everywhere and name.startswith(("synth-age/", "synth-au2/")):
            assert sign not in page, name
            continue
        assert f"- {sign} " in page, name
        rows = [line for line in page.splitlines() if line.startswith("| farl")]
        assert rows, name
        assert any(f" {sign}" in row for row in rows), name
    (row,) = [line for line in pages["section"].splitlines() if line.startswith("| farl")]
    assert row.startswith(f"| farl {sign} |") is everywhere
    assert (f" {sign} 1/2 |" in row) is not everywhere
    expected = f"| farl {sign} |" if everywhere else f"| farl {sign} 1/3 |"
    ranks = [line for line in pages.get("overall.md", expected).splitlines() if line.startswith("| farl")]
    assert [line.startswith(expected) for line in ranks] == [True]


@pytest.mark.parametrize(
    ("best", "marked"),
    [((3, 3), True), ((3, 2), True), ((1, 2), False), ((0, 0), False), ((0, 3), True), ((0, 2), False)],
)
def test_a_row_is_undertrained_where_half_its_heads_are_best_at_the_last_epoch(results, made, best, marked):
    """Of three epochs; 0 is a unit without a validation curve, which doesn't count."""
    assert made.add(results, best_epochs=best).undertrained is marked
    page = board_page(only_board(results))
    assert ("| scratch ¶ |" in page) is marked
    assert ("¶ Still improving at the last epoch" in page) is marked


def test_a_board_of_aligned_faces_says_how_they_were_come_by(results, made):
    for method in ("scratch", "farl"):
        made.add(results, protocol="quick", method=method, faces=(10, 3, 0))
    page = board_page(only_board(results))
    assert page.count("- Faces, aligned by five points: found 10, second pass 3, fixed box 0.") == 1
    assert "▢" not in page  # All were found.
    made.add(results, protocol="quick", method="farl", faces=(10, 1, 20))
    page = board_page(only_board(results))
    assert "| farl ▢ |" in page
    assert "| scratch |" in page
    assert "second pass 1, fixed box 20." in page


def test_head_starts_stand_beside_each_other(results, made):
    """Settings (a) and (b), measured on two boards, on the page of each; then (b) of the paper alone."""
    name = "comface+backbone=resnet50"
    made.add(results, "disfa-au6", "linear", method=name, noise=2.0, head_start="scratch")
    made.add(results, "disfa-au6", "linear", method="scratch", noise=3.0, head_start="scratch")
    again = "linear+head_start=pretrained"
    record = made.add(results, "disfa-au6", again, method=name, head_start="pretrained")
    for page in ("disfa-au6/linear.md", f"disfa-au6/{again}.md"):
        text = render(read_document(results))[page].decode()
        head = text.split("## Head starts")[1].split("##")[0]
        (rows,) = tables(head)
        assert [row["Head start"] for row in rows] == ["(a) scratch", "(b) pretrained"]
        assert [(row["MAE, paper"], row["Corr., paper"]) for row in rows] == [
            ("0.639", "0.648"),
            ("0.704", "0.565"),
        ]
        assert rows[1]["MAE ↓"].startswith(f"{record.summary.pooled['mae'].value:.3f}")
    shutil.rmtree(results / "disfa-au6" / again)
    rows = tables(board_page(only_board(results), read_document(results).head_starts(only_board(results))))[1]
    assert [row["MAE ↓"] == "—" for row in rows] == [False, True]


def test_a_submission_shows_and_so_do_licence_scale_and_speed(results, made):
    """Licence and scale are the record's, whatever the installed package says of the method."""
    made.add(results, method="farl", kind="submitted", speed=100.0)
    made.add(results, method="vggface2")
    page = board_page(only_board(results))
    assert cells(page, "farl ◊")["From"] == "*submitted*"
    assert "◊ Submitted: someone else's run" in page
    assert cells(page, "farl ◊", table=-1)["Images/s"] == "150", "mean of 100 and 200"
    about = cells(page, "farl ◊", table=-2)
    assert about["Images"] == "20M"
    assert about["Licence of the weights"].startswith("MIT")
    assert cells(page, "vggface2", table=-1)["Images/s"] == "—"
    about = cells(page, "vggface2", table=-2)
    assert (about["Images"], about["Pre-training"], about["Licence of the weights"]) == ("—", "—", "—")


def test_further_metrics_have_a_table_of_their_own(results, made):
    metrics = ["mae", "pearson", "acc", "rmse", "ccc"]
    board_of = {"facts": {"metrics": metrics}}
    made.add(results, **board_of)
    page = board_page(only_board(results))
    assert "## Further metrics" in page
    assert set(tables(page)[0][0]) >= {"MAE ↓", "Corr. ↑", "Acc. (%) ↑"}
    assert cells(page, "scratch")["Backbone"] == "ResNet-50, 10"
    assert set(tables(page)[1][0]) == {"Method", "RMSE ↓", "CCC ↑"}
    assert cells(page, "scratch", table=1)["CCC ↑"].startswith("**0.9")


def test_a_metric_that_a_record_lacks_is_computed_from_its_predictions(results, made):
    made.add(results, method="farl", facts={"metrics": ["mae"]}, noise=2.0)
    before = (results / "age" / "finetune" / "farl.json").read_bytes()
    made.add(results)
    board = only_board(results)
    assert board.metrics == ("mae", "pearson", "acc")
    lacking = {row.entry.method: row for row in board.rows}["farl"]
    shutil.rmtree(results)
    made.add(results, method="farl", noise=2.0)
    made.add(results)
    whole = {row.entry.method: row for row in only_board(results).rows}["farl"]
    assert lacking == whole
    assert json.loads(before)["task"]["metrics"] == ["mae"], "the record itself is left as it was"


def test_fold_means_are_not_told_twice(results, made):
    made.add(results, facts={"aggregate": "fold-mean"})
    assert "## Folds" not in board_page(only_board(results))


def test_why_no_difference_can_be_named(results, made):
    made.add(results)
    assert detectable_text(only_board(results)) == (
        "No smallest difference for MAE, Corr., Acc. (%): fewer than 2 methods."
    )


def addresses(document):
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
    assert ranking_table(ranking(), {})[2:] == [
        "| first | — | **1**<br><sub>1 to 2</sub> | 1.50<br><sub>[1.25, 2.00]</sub> | 3 | 2/2 |",
        "| second | — | <ins>2</ins><br><sub>1 to 3</sub> | 2.00<br><sub>[1.25, 2.00]</sub> | 0.5 | 2/2 |",
        "| absent | — | — | — | — | 1/2 |",
    ]


def test_what_is_said_of_a_ranking():
    notes = "\n".join(ranking_notes(ranking()))
    assert "2 tasks: age, synth-age." in notes
    assert "equally good: p &lt; 0.001." in notes
    assert "mean ranks closer than 1.23 may be equal" in notes
    assert "- Without a complete, comparable record on age, not ranked: absent." in notes
    none = MetricValue(None, "fewer than 6 tasks")
    notes = "\n".join(ranking_notes(ranking(friedman=none, critical_difference=none)))
    assert "- No Friedman test: fewer than 6 tasks." in notes
    assert "- No critical difference: fewer than 6 tasks." in notes
    assert "p 0.040" in "\n".join(ranking_notes(ranking(friedman=MetricValue(0.04))))


def test_six_tasks_and_three_methods_have_a_critical_difference(results, made):
    for task in range(6):
        for noise, method in enumerate(("scratch", "imagenet", "farl"), start=1):
            made.add(results, f"synth-au{task}", "quick", method=method, noise=noise + task)
    document = read_document(results)
    page = family_page(document, "synth", addresses(document))
    # Demšar's table: q is 2.343 for three methods at 5 %; all tasks rank alike, which has p = exp(-6).
    assert f"closer than {2.343 * (3 * 4 / 36) ** 0.5:.2f} may be equal" in page
    assert "equally good: p 0.002." in page
    assert "| scratch | ResNet-50, 10 | **1**<br><sub>1 to " in page
    assert "<br><sub>" in page.split("| farl |")[1]


def test_a_missing_cell_is_a_dash_and_its_method_is_left_out(results, made):
    made.fill_golden(results)
    made.add(results, "disfa-au6", "quick", method="imagenet", group="General Pre-training")
    document = read_document(results)
    (quick,) = [section for section in document.sections() if section.protocol == "quick"]
    (row,) = [line for line in matrix(quick, addresses(document)) if line.startswith("| imagenet |")]
    assert row.count("| —") == 2
    page = overall_page(document)
    assert "| imagenet | ResNet-50, 10 | — | — | — | 1/3 |" in page
    assert "- Without a complete, comparable record on disfa-au12, synth-age, not ranked: imagenet." in page


def test_each_family_has_its_tasks_only(golden):
    page = family_page(golden, "disfa", addresses(golden))
    assert "(disfa-au6.md)" in page
    assert "(synth-age.md)" not in page
    assert "2 tasks: disfa-au6, disfa-au12." in page
    assert "finetune" not in page


def test_one_task_has_no_ranking(document):
    page = overall_page(document)
    assert (
        page.split("## finetune")[1].split("##")[0].strip().startswith("No ranking: fewer than two methods")
    )


def test_a_method_is_listed_once_though_its_groups_differ(results, made):
    made.add(results, "age", "quick", method="x", group="Other")
    made.add(results, "synth-age", "quick", method="x", group="General Pre-training")
    document = read_document(results)
    lines = matrix(document.sections()[0], addresses(document))
    assert sum(line.startswith("| x |") for line in lines) == 1
    assert lines[3].startswith("| *General Pre-training* |")


def test_the_front_page_names_the_papers_methods_that_nobody_ran(document):
    page = index_page(document, addresses(document), [("overall ranking", "overall.md")])
    (line,) = [line for line in page.splitlines() if line.startswith("- No record yet")]
    assert "simclr" in line
    assert "comface" not in line
    assert "scratch" not in line, "a record with options counts"
    assert "[overall ranking](overall.md)" in page


def test_a_difference_in_words():
    alone = Comparison(
        "a", PairedDifference(1.0, Interval(None, None, None, "one subject")), MetricValue(None, "-")
    )
    assert difference_text("mae", alone) == "+1.000"
    tested = dataclasses.replace(alone, p=MetricValue(0.0002))
    assert difference_text("mae", tested) == "+1.000<br><sub>p &lt; 0.001</sub>"
