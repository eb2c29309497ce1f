"""Committed pages of studies, read back: numbers of Markdown and LaTeX are those of the JSON beside them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from comface_bench.leaderboards.document import MARKS
from comface_bench.leaderboards.paper import PaperValue
from comface_bench.leaderboards.study import (
    StudyCell,
    StudyColumn,
    StudyRow,
    StudyTable,
    study_json,
    study_latex,
    study_markdown,
)
from comface_bench.stats.metrics import METRICS

STUDIES = Path(__file__).parents[2] / "leaderboards" / "studies"
SIGNS = "".join(mark.sign for mark in MARKS.values())
CELL = re.compile(rf"(?P<value>[^ \[]+)(?P<marks>(?: [{SIGNS}])*)(?P<ends>\[.*\])?")


def printed(metric, value):
    """A number of the JSON file as a reader expects it, by another way than the pages'."""
    if value is None:
        return "—"
    text = f"{value * (100 if METRICS[metric].percent else 1):.{METRICS[metric].digits}f}"
    return re.sub(r"^-(?=[0.]*$)", "", text)


def ends_of(cell):
    both = (cell["low"], cell["high"])
    return "" if None in both else f"[{', '.join(printed(cell['metric'], end) for end in both)}]"


def published(rows):
    """For each column, whether it has one of the paper beside it."""
    return [any("paper" in row["cells"][place] for row in rows) for place in range(len(rows[0]["cells"]))]


def expected_width(rows):
    return len(rows[0]["cells"]) + sum(published(rows))


def read_markdown(page):
    """Cells of the page's first table as CommonMark reads them, without groups' headings."""
    html = MarkdownIt("commonmark").enable("table").render(page)
    first = html.partition("<table>")[2].partition("</table>")[0]
    cells = [re.findall(r"<t[hd](?: [^>]*)?>(.*?)</t[hd]>", line, re.S) for line in first.split("</tr>")]
    texts = [[re.sub(r"<[^>]+>", "", cell).strip() for cell in line] for line in cells if line]
    return [line for line in texts[1:] if any(line[1:])]


def check_markdown(facts, page):
    rows, paper = facts["rows"], published(facts["rows"])
    lines = read_markdown(page)
    assert len(lines) == len(rows)
    reasons = list(dict.fromkeys(
        (cell["missing"], cell["hint"]) for row in rows for cell in row["cells"] if "missing" in cell
    ))  # fmt: skip
    for row, (_, _, *cells, time) in zip(rows, lines, strict=True):
        assert len(cells) == expected_width(rows)
        left = iter(cells)
        for place, cell in enumerate(row["cells"]):
            text = next(left)
            if "missing" in cell:
                number = reasons.index((cell["missing"], cell["hint"])) + 1
                assert text == f"— {number}"
            else:
                found = CELL.fullmatch(text)
                assert found, text
                assert found["value"] == printed(cell["metric"], cell["value"])
                assert (found["ends"] or "") == ends_of(cell)
                assert cell["complete"] or "†" in found["marks"]
            if paper[place]:
                assert next(left) == printed(cell["metric"], cell.get("paper"))
        number, _, unit = time.partition(" ")
        seconds = row["seconds"]
        assert time == "—" if not seconds else float(number) == round(seconds / {"s": 1, "min": 60}[unit])


def check_latex(facts, text):
    rows, paper = facts["rows"], published(facts["rows"])
    lines = [line.removesuffix(r" \\").split(" & ") for line in text.splitlines() if " & " in line][1:]
    assert len(lines) == len(rows)
    for row, (_, *cells) in zip(rows, lines, strict=True):
        assert len(cells) == expected_width(rows)
        plain = [re.sub(r"\\text(?:bf|it)\{(.*)\}", r"\1", cell).replace("$-$", "-") for cell in cells]
        left = iter(plain)
        for place, cell in enumerate(row["cells"]):
            value = cell.get("value")
            dagger = "" if value is None or cell["complete"] else r"$^\dagger$"
            assert next(left) == printed(cell["metric"], value).replace("—", "---") + dagger
            if paper[place]:
                assert next(left) == printed(cell["metric"], cell.get("paper")).replace("—", "---")


def check(path):
    """Read back the files beside a study's JSON."""
    facts = json.loads(path.read_text(encoding="utf-8"))
    page = path.with_suffix(".md").read_text(encoding="utf-8")
    latex = path.with_suffix(".tex").read_text(encoding="utf-8")
    check_markdown(facts, page)
    check_latex(facts, latex)
    assert page.startswith(f"<!-- Written by `{facts['command']}`. -->\n")
    assert latex.startswith(f"% {facts['command']}\n")
    figures = re.findall(r"^!\[.*\]\((.+)\)$", page, re.M)
    assert all((path.parent / figure).is_file() for figure in figures)
    return facts


def test_committed_pages_are_their_files_numbers():
    found = {path: check(path) for path in sorted(STUDIES.rglob("*.json"))}
    for kind in ("md", "tex", "svg"):
        alone = [path for path in STUDIES.rglob(f"*.{kind}") if path.with_suffix(".json") not in found]
        assert alone in ([], [STUDIES / "README.md"])


@pytest.fixture
def files(tmp_path):
    columns = (StudyColumn("age", "mae", "years", False), StudyColumn("edema-a", "acc", "kg", False))
    mae, acc = PaperValue(8.98, "N"), PaperValue(0.886, "M")
    cells = [
        (
            StudyCell(8.1234, 7.5, 8.75, True, " ‡ ¶", "d1", mae),
            StudyCell(0.8125, 0.75, 0.875, True, "", "d1", acc),
        ),
        (StudyCell(7.25, None, None, False, " †", "d2"), StudyCell(missing="no data: Edema-A", hint="ask")),
        (StudyCell(-9.0, -9.5, 0.5, True, "", "d3"), StudyCell(0.9, None, None, True, "", "d3")),
    ]
    rows = tuple(
        StudyRow(f"row {n}", f"m{n}", ("Scratch", "Other", "Other")[n], "ResNet-18", "", "", seconds, own)
        for n, (own, seconds) in enumerate(zip(cells, (12.0, 0.0, 600.0), strict=True))
    )
    made = StudyTable("own", "Own", "", "", "", (), "comface-bench study own", columns, rows, ())
    path = tmp_path / "own.json"
    path.write_text(study_json(made), encoding="utf-8")
    path.with_suffix(".md").write_text(study_markdown(made, "own.svg"), encoding="utf-8")
    path.with_suffix(".tex").write_text(study_latex(made), encoding="utf-8")
    path.with_suffix(".svg").write_text("<svg/>")
    return path


def test_what_was_written_is_read_back(files):
    assert check(files)["study"] == "own"


@pytest.mark.parametrize("kind", ["md", "tex"])
def test_any_changed_number_is_seen(files, kind):
    page = files.with_suffix(f".{kind}")
    text = page.read_text(encoding="utf-8")
    lines = text.splitlines(keepends=True)
    changed = 0
    for number, line in enumerate(lines):
        separator = "|" if kind == "md" else "&"
        if not re.match(r"\|? ?row \d", line):
            continue
        begin = line.index(separator, line.index(separator, 1) + 1) if kind == "md" else line.index(separator)
        for digit in re.finditer(r"\d", line[begin:]):
            place = begin + digit.start()
            other = f"{line[:place]}{(int(digit[0]) + 1) % 10}{line[place + 1 :]}"
            page.write_text("".join([*lines[:number], other, *lines[number + 1 :]]), encoding="utf-8")
            with pytest.raises(AssertionError):
                check(files)
            changed += 1
    assert changed > (45 if kind == "md" else 20)
