"""CSV, JSON and LaTeX read back: numbers are numbers, and no text is a formula, a tag or a command."""

import csv
import dataclasses
import io
import json
import re
from pathlib import Path

import pytest

from comface_bench.core.errors import UsageError
from comface_bench.leaderboards.document import Document
from comface_bench.leaderboards.export import (
    csv_header,
    leaderboard_csv,
    leaderboard_json,
    number_cell,
    records_csv,
    records_latex,
    text_cell,
)
from comface_bench.leaderboards.pages import read_document, read_entries


def read(document):
    return list(csv.DictReader(io.StringIO(leaderboard_csv(document))))


def test_one_line_for_each_record_and_metric(golden):
    rows = read(golden)
    expected = [
        (board.task, board.protocol, row.entry.method, name)
        for board in golden.boards
        for row in board.rows
        for name in board.metrics
    ]
    assert [(row["task"], row["protocol"], row["method"], row["metric"]) for row in rows] == expected
    assert all(list(row) == csv_header() for row in rows), "no row has more cells than the heading"


def test_numbers_are_the_documents(golden):
    rows = {(row["task"], row["method"], row["metric"]): row for row in read(golden)}
    board = next(board for board in golden.boards if board.task == "age")
    farl = next(row for row in board.rows if row.entry.method == "farl")
    cell, found = farl.cells["mae"], rows["age", "farl", "mae"]
    for heading, value in [
        ("value", cell.value.value),
        ("low", cell.interval.low),
        ("high", cell.interval.high),
        ("fold_mean", cell.fold_mean.value),
        ("constant", farl.entry.baseline["mae"].value),
        ("best_difference", cell.to_best.difference.value),
        ("best_low", cell.to_best.difference.interval.low),
        ("best_high", cell.to_best.difference.interval.high),
        ("best_p", cell.to_best.p.value),
        ("comface_difference", cell.to_comface.difference.value),
        ("comface_p", cell.to_comface.p.value),
        ("paper", 5.249),
    ]:
        assert float(found[heading]) == pytest.approx(value, rel=1e-9), heading
    assert (found["place"], found["tied"], found["best"], found["paper_table"]) == (
        "2",
        "false",
        "comface",
        "N",
    )
    best = rows["age", "comface", "mae"]
    assert (best["place"], best["tied"], best["best_difference"]) == ("1", "true", "")
    incomplete = rows["age", "timm/vit", "mae"]
    assert (incomplete["place"], incomplete["complete"], incomplete["failures"]) == ("", "false", "1")
    submitted = rows["disfa-au6", "timm/vit", "mae"]
    assert (submitted["kind"], submitted["images_per_second"]) == ("submitted", "360")
    assert (submitted["overlap"], submitted["trained_on"]) == ("DISFA", "DISFA, Others")
    assert rows["synth-age", "timm/vit", "pearson"]["value"] == ""


HOSTILE = [
    "=cmd()",
    "+cmd",
    "-1+1",
    "@SUM(A1)",
    "\t=1",
    "  =1",
    "\r\n=1",
    "\uff1d1+1",
    'a"b,c\nd',
    "'quoted'",
    "<script>",
    "abc\u202edef",
    "\x00",
    "|",
    "`x`",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_stays_in_its_cell_and_is_no_formula(name, document):
    board = document.boards[0]
    row = board.rows[0]
    texts = dict.fromkeys(["task", "protocol", "method", "group", "target", "unit", "data", "split"], name)
    entry = dataclasses.replace(row.entry, **texts, trained_on=(name,), licence=name)
    row = dataclasses.replace(row, entry=entry)
    board = dataclasses.replace(board, rows=(row,), best={"mae": name})
    found = read(Document((board,), ()))
    assert len(found) == 3
    for line in found:
        assert list(line) == csv_header()
        shown = {line[heading] for heading in [*texts, "trained_on", "licence"]}
        assert len(shown) == 1
        (cell,) = shown
        assert cell.isprintable()
        assert cell.lstrip()[0] not in "=+-@\t\r\uff1d"
        assert float(line["value"]) > 0


def test_every_column_is_explained():
    page = (Path(__file__).parents[2] / "docs" / "leaderboards.md").read_text(encoding="utf-8")
    assert [column for column in csv_header() if f"`{column}`" not in page] == []


def test_plain_text_and_numbers_are_left_alone():
    for name in ("timm/vit_base", "scratch+backbone=resnet18", "größe 顔", "a-b", "csv:FILE"):
        assert text_cell(name) == name
    assert text_cell("-1") == "'-1"
    assert [number_cell(value) for value in (-0.25, None, 1.0, -0.0, 1 / 3)] == [
        "-0.25",
        "",
        "1",
        "0",
        "0.3333333333",
    ]


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_of_records_has_a_line_for_each_with_all_digits(filled):
    entries = read_entries(filled)
    rows = rows_of(records_csv(entries))
    assert len(rows) == len(entries) == 8
    for row, entry in zip(rows, entries, strict=True):
        assert (row["task"], row["protocol"], row["method"]) == (entry.task, entry.protocol, entry.method)
        assert float(row["mae"]) == entry.metrics["mae"].value
        assert row["complete"] == str(entry.complete).lower()
        assert row["constant_pearson"] == "", "no answer, no number"
    assert [row["failures"] for row in rows if row["method"] == "timm/vit"] == ["1", "0"]


@pytest.mark.parametrize("name", ["=cmd()", "+1", "-2", "@SUM(A1)", "\t=1+1", ' "=1"', "a,b\nc", "\u202e=x"])
def test_csv_of_records_holds_no_formula_and_no_hidden_character(filled, name):
    entry = dataclasses.replace(read_entries(filled)[0], group=name)
    (row,) = rows_of(records_csv([entry]))
    assert not row["group"].lstrip(" \t").startswith(("=", "+", "-", "@"))
    assert row["group"].isprintable()
    assert len(records_csv([entry]).splitlines()) == 2


def test_the_whole_document_is_there(golden):
    text = leaderboard_json(golden)
    found = json.loads(text)
    assert found["version"] == 2
    assert [(b["task"], b["protocol"]) for b in found["boards"]] == [
        (board.task, board.protocol) for board in golden.boards
    ]
    for board, read in zip(golden.boards, found["boards"], strict=True):
        assert read["best"] == board.best
        assert read["detectable"]["mae"].get("value") == pytest.approx(board.detectable["mae"].value)
        for row, line in zip(board.rows, read["rows"], strict=True):
            assert line["method"] == row.entry.method
            assert line["ranked"] == row.entry.complete
            assert set(line["cells"]) == set(row.cells)
            for name, cell in row.cells.items():
                told = line["cells"][name]
                assert told["value"] == pytest.approx(cell.value.value)
                assert told.get("reason") == cell.value.reason
                assert (told["place"], told["tied"]) == (cell.rank, cell.tied)
                if cell.interval.low is not None:
                    assert told["interval"] == pytest.approx([cell.interval.low, cell.interval.high])
                if cell.to_best is not None:
                    assert told["to_best"]["reference"] == cell.to_best.reference
                    assert told["to_best"]["p"].get("value") == pytest.approx(cell.to_best.p.value)
    for ranking, read in zip(golden.rankings, found["rankings"], strict=True):
        assert (read["scope"], tuple(read["tasks"])) == (ranking.scope, ranking.tasks)
        assert [one["method"] for one in read["standings"]] == list(ranking.standings)
        for one in read["standings"]:
            standing = ranking.standings[one["method"]]
            assert one["mean_rank"] == pytest.approx(standing.mean_rank)
            assert one["missing"] == list(standing.missing)
        assert read["friedman_p"] == {"value": None, "reason": ranking.friedman.reason}
    assert len(text.splitlines()) < 60, "one line a row"


def test_marks_and_backbone_are_fields(results, made):
    made.add(results, "synth-age", "linear", method="comface", trained_on=["synthetic faces"],
             facts={"data": "synthfaces/FGNET"}, best_epochs=(3, 2), head_start="scratch")  # fmt: skip
    made.add(results, "synth-age", "linear", method="scratch", split="another", faces=(9,))
    document = read_document(results)
    rows = {row["method"]: row for row in json.loads(leaderboard_json(document))["boards"][0]["rows"]}
    lines = {row["method"]: row for row in read(document)}
    fields = ["undertrained", "same_generator", "mixed_versions", "backbone", "head_start", "faces"]
    assert [rows["comface"][name] for name in fields] == [True, True, True, "ResNet-18", "scratch", ""]
    assert [rows["scratch"][name] for name in fields] == [False, False, True, "ResNet-50", "", "found 9"]
    assert [lines["comface"][name] for name in fields] == ["true", "true", "true", "ResNet-18", "scratch", ""]
    assert lines["scratch"]["faces"] == "found 9"


@pytest.mark.parametrize("name", ["</script>", '"quoted"\\', "a\nb", "abc\u202edef", "\x00", "\U000e0041"])
def test_hostile_text_comes_back_as_it_was(name, document):
    board = document.boards[0]
    entry = dataclasses.replace(board.rows[0].entry, method=name, group=name, trained_on=(name,))
    board = dataclasses.replace(board, task=name, rows=(dataclasses.replace(board.rows[0], entry=entry),))
    text = leaderboard_json(Document((board,), ()))
    assert text.isascii()
    row = json.loads(text)["boards"][0]["rows"][0]
    assert (row["method"], row["group"], row["trained_on"]) == (name, name, [name])


def test_an_empty_document():
    found = json.loads(leaderboard_json(Document((), ())))
    assert found == {"version": 2, "boards": [], "rankings": [], "settings": [], "agreements": []}


def cells(line):
    return [cell.strip() for cell in re.split(r"(?<!\\)&", line.removesuffix(r" \\"))]


def test_latex_has_the_layout_of_table_n(filled):
    lines = records_latex(read_entries(filled), ["age"], "finetune").splitlines()
    assert lines[:4] == [
        r"\begin{tabular}{lrrr}",
        r"\toprule",
        r"Method & MAE$\downarrow$ & Corr.$\uparrow$ & Acc.$\uparrow$ \\",
        r"\midrule",
    ]
    assert lines[-2:] == [r"\bottomrule", r"\end{tabular}"]
    body = lines[4:-2]
    shape = [line if line.startswith(r"\multi") else cells(line)[0] for line in body]
    assert shape == [
        "scratch+backbone=resnet18",
        r"\multicolumn{4}{l}{\textit{General Pre-training:}} \\",
        "imagenet",
        r"\multicolumn{4}{l}{\textit{Facial Representation Learning:}} \\",
        "farl",
        "comface",
        r"\multicolumn{4}{l}{\textit{Other:}} \\",
        r"timm/vit$^\dagger$",
    ]
    bold = [line for line in body if r"\textbf" in line]
    assert [cells(line)[0] for line in bold] == ["comface"], "the incomplete one is better, and isn't ranked"
    entry = next(entry for entry in read_entries(filled) if entry.method == "comface")
    assert cells(bold[0])[1:3] == [
        rf"\textbf{{{entry.metrics['mae'].value:.3f}}}",
        rf"\textbf{{{entry.metrics['pearson'].value:.3f}}}",
    ]
    assert all(len(cells(line)) == 4 for line in body if not line.startswith(r"\multi"))


def test_latex_of_several_tasks_spans_their_metrics(filled):
    text = records_latex(read_entries(filled), ["synth-age", "disfa-au12"], "quick")
    head, rules, metrics = text.splitlines()[2:5]
    assert head == r"Method & \multicolumn{3}{c}{synth-age} & \multicolumn{3}{c}{disfa-au12} \\"
    assert rules == r"\cmidrule(lr){2-4}\cmidrule(lr){5-7}"
    assert len(cells(metrics)) == 7
    (vit,) = [line for line in text.splitlines() if line.startswith("timm/vit")]
    assert cells(vit)[2] == "---", "a constant prediction has no correlation"
    assert cells(vit)[4:] == ["---", "---", "---"], "a task without a record"


def test_equal_values_are_both_in_bold_and_other_data_keep_all_from_it(results, made):
    made.add(results, method="a", noise=1.0)
    made.add(results, method="b", noise=1.0)
    assert records_latex(read_entries(results), ["age"], "finetune").count(r"\textbf") == 6
    made.add(results, method="c", noise=2.0, split="others")
    assert r"\textbf" not in records_latex(read_entries(results), ["age"], "finetune")


def test_latex_refuses_a_task_without_records(filled):
    with pytest.raises(UsageError, match="no record of synth-age under finetune") as caught:
        records_latex(read_entries(filled), ["age", "synth-age"], "finetune")
    assert "comface-bench run" in caught.value.hint


@pytest.mark.parametrize(
    "name",
    [
        r"\input{/etc/passwd}",
        "100%",
        "a&b",
        "$x$",
        "#1",
        "x_y^z~",
        "{",
        "}",
        "[3pt]",
        "*",
        "--",
        '"',
        "\u202e",
        "\n",
    ],
)
def test_latex_shows_any_name_as_text(filled, name):
    entry = dataclasses.replace(read_entries(filled)[0], group=name)
    text = records_latex([entry], ["age"], "finetune")
    (line,) = [line for line in text.splitlines() if r"\textit" in line]
    inner = line.removeprefix(r"\multicolumn{4}{l}{\textit{").removesuffix(r":}} \\")
    assert shown(inner) == (name if name.isprintable() else f"\\u{ord(name):04x}")
    assert "--" not in inner, "no ligature"


def shown(latex):
    """Read escaped text as LaTeX would: known commands and escapes only, braces balanced."""
    commands = {
        r"\textbackslash": "\\",
        r"\textasciitilde": "~",
        r"\textasciicircum": "^",
        r"\texttt{\char34}": '"',
    }
    pattern = "|".join([*map(re.escape, commands), r"\\[&%$#_{}]", r"\{[\[\]*]?\}", r"[^\\{}&%$#_~^]"])
    found = re.findall(pattern, latex)
    assert "".join(found) == latex
    plain = [commands.get(token) or (token[1:2] if len(token) > 1 else token) for token in found]
    return "".join("" if token == "{}" else text for token, text in zip(found, plain, strict=True))
