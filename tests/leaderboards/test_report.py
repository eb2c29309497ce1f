"""The report: its numbers, its one file, what is chosen, and its pages on A4."""

from __future__ import annotations

import json
import re
import shutil
import sys
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pytest

from comface_bench.core.errors import MissingExtraError, UnknownNameError, UsageError
from comface_bench.core.protocol import resolve_protocol
from comface_bench.leaderboards import report as room
from comface_bench.leaderboards import report_figure
from comface_bench.leaderboards.export import leaderboard_json
from comface_bench.leaderboards.pages import read_document
from comface_bench.leaderboards.paper import LINEAR_EPOCHS, SETTINGS, published_settings
from comface_bench.leaderboards.report import make_report, report_html, report_pdf
from comface_bench.stats.metrics import METRICS

LINE = "comface-bench report --out FILE"
VOID = {"meta", "br", "img"}


class Reader(HTMLParser):
    """Elements, words, and tables as (heading, class, rows); each cell is (text, small print)."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.stack, self.elements, self.words, self.tables = [], [], [], []
        self.heading = ""
        self.feed(page.decode())
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)
        if tag == "table":
            self.tables.append((self.heading, dict(attrs).get("class", ""), []))
        if tag == "tr":
            self.tables[-1][2].append([])
        if tag in ("td", "th"):
            self.tables[-1][2][-1].append(["", ""])
        if tag in ("h2", "h3"):
            self.heading = ""

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if "style" in self.stack:
            return
        self.words.append(data)
        if {"h2", "h3"} & set(self.stack):
            self.heading += data
        if {"td", "th"} & set(self.stack):
            self.tables[-1][2][-1][-1]["small" in self.stack] += data

    @property
    def text(self):
        return " ".join("".join(self.words).split())

    def rows(self, heading, kind):
        """Rows of the table of that class under a heading, by their first cell without marks."""
        (found,) = [rows for name, names, rows in self.tables if name == heading and kind in names.split()]
        return {row[0][0].split()[0]: row[1:] for row in found if len(row) > 1}


def page_of(results, **facts):
    return report_html(make_report(results, LINE, **{"figures": False} | facts))


def printed(name, value, sign=""):
    """A number of `leaderboard.json` as a reader expects it, by another way than the pages'."""
    if value is None:
        return "—"
    metric = METRICS[name]
    text = f"{value * (100 if metric.percent else 1):{sign}.{metric.digits}f}"
    return re.sub(r"^[+-](?=[0.]*$)", "", text)


def ends(name, interval, sign=""):
    return "" if interval is None else f"[{', '.join(printed(name, end, sign) for end in interval)}]"


def test_every_number_is_that_of_the_board(golden_results, golden):
    read = Reader(page_of(golden_results))
    compared = 0
    for board in json.loads(leaderboard_json(golden))["boards"]:
        heading = f"{board['task']}, {board['protocol']}"
        heading += " (rendered faces)" if heading in read.text and f"{heading} (rendered" in read.text else ""
        metrics, differences = read.rows(heading, "metrics"), read.rows(heading, "differences")
        assert len(metrics) == len(board["rows"]) + 2  # heading and no change; groups have one cell
        headline = [text for text, _ in differences["Method"]][:-3:2]
        for row in board["rows"]:
            shown = dict(zip(board["metrics"], metrics[row["method"]], strict=True))
            for name, (text, small) in shown.items():
                cell = row["cells"].get(name, {"value": None, "interval": None, "tied": False, "place": None})
                tied = cell["tied"] and cell["place"] != 1
                assert text == printed(name, cell["value"]) + (" ≈" if tied else "")
                assert small == ends(name, cell["interval"])
                compared += cell["value"] is not None
            pairs = differences[row["method"]]
            for place, title in enumerate(headline):
                (name,) = [one for one in board["metrics"] if METRICS[one].title == title]
                found = row["cells"].get(name, {}).get("to_best")
                (text, small), (p, _) = pairs[2 * place : 2 * place + 2]
                if found is None or found["value"] is None:
                    best = row["cells"].get(name, {}).get("place") == 1
                    assert (text, small, p) == ("the best" if best else "—", "", "—")
                else:
                    assert text == printed(name, found["value"], "+")
                    assert small == ends(name, found["interval"], "+")
                    value = found["p"]["value"]
                    assert p == ("—" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}")
                    compared += 1
    assert compared > 40


def test_mean_ranks_are_those_of_the_board(results, made):
    ranked = {"disfa-au1": (1.0, 2.0, 4.0), "disfa-au2": (1.0, 2.0, 3.0), "disfa-au4": (3.0, 2.0, 6.0)}
    for task, noises in ranked.items():
        for method, noise in zip(("farl", "imagenet", "scratch"), noises, strict=True):
            made.add(results, task, method=method, noise=noise)
    read = Reader(page_of(results))
    document = json.loads(leaderboard_json(read_document(results)))
    ranking = next(one for one in document["rankings"] if one["scope"] == "disfa")
    rows = read.rows("Mean ranks over 3 tasks, finetune (disfa)", "ranks")
    means = {one["method"]: one["mean_rank"] for one in ranking["standings"]}
    assert means == pytest.approx({"farl": 4 / 3, "imagenet": 5 / 3, "scratch": 3})
    assert {name: cells[0][0] for name, cells in rows.items() if name != "Method"} == {
        name: f"{mean:.2f}" for name, mean in means.items()
    }
    for one in ranking["standings"]:
        low, high = one["mean_rank_interval"]
        assert rows[one["method"]][0][1] == f"[{low:.2f}, {high:.2f}]"
    assert "Mean ranks" not in Reader(page_of(results, tasks=["disfa-au1"])).text


def test_one_file_that_asks_for_no_other(filled):
    pytest.importorskip("matplotlib")
    page = page_of(filled, figures=True)
    read = Reader(page)
    assert {tag for tag, _ in read.elements}.isdisjoint(
        {"script", "link", "iframe", "object", "base", "form"}
    )
    named = [attrs[key] for _, attrs in read.elements for key in ("src", "href") if key in attrs]
    assert named and all(one.startswith(("data:image/svg+xml;base64,", "#")) for one in named)
    assert not [key for _, attrs in read.elements for key in attrs if key.startswith("on") or key == "style"]
    policy = next(attrs["content"] for _, attrs in read.elements if "http-equiv" in attrs)
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    style = page.decode().partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style and "@import" not in style
    ids = [attrs["id"] for _, attrs in read.elements if "id" in attrs]
    assert len(set(ids)) == len(ids)
    linked = {one[1:] for one in named if one.startswith("#")}
    linked |= {attrs["aria-labelledby"] for _, attrs in read.elements if "aria-labelledby" in attrs}
    assert linked <= set(ids)


def test_the_same_results_give_the_same_bytes(filled, tmp_path):
    pytest.importorskip("matplotlib")
    first = page_of(filled, figures=True)
    # Another folder, whose files were made in another order.
    moved = tmp_path / "elsewhere"
    for path in sorted(filled.rglob("*"), reverse=True):
        if path.is_file():
            target = moved / path.relative_to(filled)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    assert page_of(moved, figures=True) == first
    assert str(tmp_path).encode() not in first


HOSTILE = [
    "<script>alert(1)</script>",
    '"onmouseover="alert(1)',
    "'><img src=x onerror=alert(1)>",
    "\u202eevil\u2066",
    "two\nlines",
    "{{ 7 * 7 }}{% if %}",
    "</style></pre><b>",
    "$x_{\\frac{1}{2}$",
]


def test_hostile_names_are_text(results, made, tmp_path):
    pytest.importorskip("matplotlib")
    words = "".join(HOSTILE)
    about = dict.fromkeys(("summary", "licence", "source", "paper", "training_scale"), words)
    facts = {"target": words, "unit": words, "data": words, "about": {"summary": words, "licence": words}}
    made.store(
        results,
        {"name": "age", "card": {"overlaps": [words], words: words}} | facts,
        {"name": "scratch", "card": {"group": words, "backbone": words}, "about": about},
        "finetune",
        {},
        failed=(0, 1),
        values={words: {words: words}},
    )
    made.add(
        results, method="farl", card={"group": words, "supervision": [words]}, trained_on=[words], facts=facts
    )
    page = report_html(make_report(results, words, title=words))
    read = Reader(page)
    allowed = {
        *(
            "html",
            "head",
            "meta",
            "title",
            "style",
            "body",
            "h1",
            "h2",
            "h3",
            "h4",
            "p",
            "pre",
            "code",
            "nav",
        ),
        *(
            "ol",
            "ul",
            "li",
            "a",
            "section",
            "div",
            "table",
            "thead",
            "tbody",
            "tr",
            "th",
            "td",
            "small",
            "em",
        ),
        *("strong", "u", "span", "figure", "figcaption", "img", "br"),
    }
    assert {tag for tag, _ in read.elements} <= allowed
    assert not [key for _, attrs in read.elements for key in attrs if key.startswith("on")]
    text = "".join(read.words)
    for one in HOSTILE:
        seen = one.replace("\u202e", "\\u202e").replace("\u2066", "\\u2066").replace("\n", "\\u000a")
        assert text.count(seen) >= 10, one
    assert "\u202e" not in text


def test_chosen_rows_keep_their_place_among_all(filled):
    whole, part = Reader(page_of(filled)), Reader(page_of(filled, methods=["farl"], tasks=["age"]))
    for kind in ("metrics", "differences"):
        assert part.rows("age, finetune", kind)["farl"] == whole.rows("age, finetune", kind)["farl"]
    assert set(part.rows("age, finetune", "metrics")) == {"Method", "no", "farl"}
    assert "Shown are 1 of the board's 5 methods" in part.text
    assert "MAE: against comface" in part.text
    assert "Shown are" not in whole.text
    assert "synth-age" not in part.text


def test_names_and_patterns_choose(filled):
    report = make_report(filled, LINE, tasks=["disfa-*", "age"], protocols=["quick"], figures=False)
    assert [(part.board.task, part.board.protocol) for part in report.parts] == [("disfa-au12", "quick")]
    assert [record.task.name for record in report.records] == ["disfa-au12"]
    with pytest.raises(UnknownNameError, match=r"no method called 'comfase'\. Did you mean comface\?"):
        make_report(filled, LINE, methods=["comfase"], figures=False)
    with pytest.raises(UsageError, match=r"no record in .* is of the task, the protocol and the method"):
        make_report(filled, LINE, methods=["comface"], protocols=["quick"], figures=False)


def test_no_results_is_an_error(tmp_path):
    with pytest.raises(UsageError, match="no results in") as raised:
        make_report(tmp_path, LINE, figures=False)
    assert "comface-bench run" in raised.value.hint


def test_published_values_stand_under_the_table(results, made):
    made.add(results, method="scratch", card={"backbone": "ResNet-50"})
    made.add(results, method="farl", card={"backbone": "ResNet-50"})
    read = Reader(page_of(results))
    assert "The supplement's Table N has MAE 8.980 for scratch, on folds" in read.text
    assert "for farl, on folds" not in read.text  # Published with another backbone.


def test_a_record_that_comes_in_meanwhile_is_not_shown(results, made, monkeypatch):
    made.add(results, method="farl")

    def read_later(folder):
        made.add(folder, method="scratch", noise=0.1)
        return read_document(folder)

    monkeypatch.setattr(room, "read_document", read_later)
    (part,) = make_report(results, LINE, figures=False).parts
    assert ([row.entry.method for row in part.rows], part.left_out) == (["farl"], 1)


def test_failures_and_missing_folds_are_told(filled, results, made):
    read = Reader(page_of(filled))
    assert "timm/vit on age, finetune: fold 1 of 2 (counted from 0) missing for some seed" in read.text
    assert "Fold 1, seed 0 failed: UnitError: m" in read.text
    made.add(results)
    assert "None: every fold of every record that is shown is there." in Reader(page_of(results)).text


def test_records_that_differ_are_named(results, made):
    made.add(results, method="farl", values={"a": 1, "deep": {"b": None}})
    made.add(results, method="scratch", values={"a": 2, "deep": {"b": None}})
    made.add(results, "synth-age", method="scratch", values={"a": 2, "deep": {"b": None}, "c": True})
    report = make_report(results, LINE, figures=False)
    facts = {
        one.name: [(value.text, value.holders) for value in one.values]
        for one in room.agree(report.records, room._protocol_facts)
    }
    assert facts["a"] == [("2", "scratch"), ("1", "farl")]
    assert facts["deep · b"] == [("none", "")]
    assert facts["c"] == [("yes", "synth-age")]
    # Nothing but two of its names tells this record from all others.
    made.add(results, "synth-age", method="farl", values={"a": 1})
    report = make_report(results, LINE, figures=False)
    own = [record for record in report.records if record.task.name == "age" and record.method.name == "farl"]
    assert room._holders(own, report.records) == "age, farl"


@pytest.mark.parametrize("quantity", SETTINGS)
def test_published_settings_are_what_the_protocols_have(quantity):
    published = dict(room.flatten(published_settings(quantity)))
    for protocol in ("linear", "finetune"):
        facts = json.loads(json.dumps(resolve_protocol(protocol, quantity).facts()))
        own = dict(room.flatten(facts))
        expected = published | ({"epochs": str(LINEAR_EPOCHS)} if protocol == "linear" else {})
        assert {name: own[name] for name in expected} == expected
    assert published_settings("custom") == {}


def origins(made, results, protocol, quantity, **changed):
    facts = {"card": {"family": quantity}}
    values = resolve_protocol(protocol, quantity).facts() | changed
    made.add(results, method="farl", protocol=protocol, values=json.loads(json.dumps(values)), facts=facts)
    (record,) = make_report(results, LINE, protocols=[protocol], figures=False).records
    return {name: origin for name, _, origin in room._protocol_facts(record)}


def test_values_say_whether_the_paper_has_them(results, made):
    found = origins(made, results, "finetune", "age", image_size=112)
    assert found["learning rate"] == found["augmentation · crop scale"] == found["batch size"] == "Table E"
    assert found["image size"] == "changed; Table E has 224"
    assert found["optimizer · betas"] == found["pairs per epoch"] == found["loss"] == "our choice"
    assert found["head start"] == "our choice: setting (c) of the supplement"
    assert found["name"] == found["trains"] == found["digest of all values"] == ""


def test_linear_is_the_papers_for_expression_only(results, made):
    assert origins(made, results, "linear", "expression")["epochs"] == "Table C"
    shutil.rmtree(results)
    found = origins(made, results, "linear", "weight")
    assert found["learning rate"] == "our choice, as in Table D"
    assert found["epochs"] == "our choice, as in Table C"


def test_protocols_of_ours_are_ours(results, made):
    found = origins(made, results, "quick", "age")
    assert set(found.values()) == {"", "our choice"}


def test_pairs_tell_how_many_images_there_are(results, made):
    from comface_bench.results.predictions import Prediction

    rows = [
        Prediction(f"{person}-{a}-{b}", person, 0, 0, 1.0, 0.5)
        for person in (0, 1)
        for a, b in ((0, 1), (1, 2))
    ]
    more = [Prediction("2-0-1", 2, 1, 0, 1.0, 0.5), Prediction("3-0-1", 3, 1, 0, 2.0, 0.5)]
    made.store(
        results, {"name": "age"}, {"name": "farl", "card": {}}, "finetune", {(0, 0): rows, (1, 0): more}
    )
    assert make_report(results, LINE, figures=False).images == {"age": 10}
    made.add(results, "disfa-au1")  # Whose pairs have other names.
    assert set(make_report(results, LINE, figures=False).images) == {"age"}


# Figures.


def texts(svg):
    return {
        "".join(one.itertext())
        for one in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
    }


def test_a_figure_is_grey_and_names_all_rows(document):
    pytest.importorskip("matplotlib")
    board = next(board for board in document.boards if board.task == "age")
    svg = report_figure.draw_board(board, board.rows)
    assert {row.entry.method for row in board.rows} <= texts(svg)
    assert "MAE, years ↓" in texts(svg)
    colours = set(re.findall(rb"#([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})", svg))
    assert len(colours) >= 3 and all(red == green == blue for red, green, blue in colours)
    assert svg == report_figure.draw_board(board, board.rows)
    assert svg != report_figure.draw_board(board, board.rows[1:])


def test_far_errors_stand_at_the_edge(document, monkeypatch):
    pytest.importorskip("matplotlib")
    drawn = []
    monkeypatch.setattr(
        report_figure, "_draw_point", lambda axes, place, point, edge: drawn.append((point, edge))
    )
    board = next(board for board in document.boards if board.task == "age")
    report_figure.draw_board(board, board.rows)
    values = {point.label: point.value for point, _ in drawn}
    assert values == {row.entry.method: row.number("mae") for row in board.rows}
    assert {edge for _, edge in drawn} == {2 * board.baseline("mae")}
    assert {point.label: point.shape for point, _ in drawn}["timm/vit"] == "unranked"


def test_without_matplotlib_it_says_so(filled, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match="need matplotlib") as raised:
        make_report(filled, LINE)
    assert "--no-figures" in raised.value.hint


# PDF.


def test_without_weasyprint_it_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    with pytest.raises(MissingExtraError, match="needs WeasyPrint") as raised:
        report_pdf(b"")
    assert "comface-bench[pdf]" in raised.value.hint

    def lacking(name):
        raise OSError("cannot load library 'libpango-1.0-0'\nmore")

    monkeypatch.setattr(room.importlib, "import_module", lacking)
    with pytest.raises(MissingExtraError, match="can't be loaded: cannot load library") as raised:
        report_pdf(b"")
    assert "apt-get install" in raised.value.hint


@pytest.fixture(scope="module")
def pdf(filled):
    pytest.importorskip("matplotlib")
    pytest.importorskip("pypdfium2")
    try:
        room.require_weasyprint()
    except MissingExtraError as error:
        pytest.skip(error.message)
    page = page_of(filled, figures=True, tasks=["age", "disfa-au12"], methods=["s*", "timm/vit"])
    return page, report_pdf(page)


def test_pdf_is_a4_and_whole(pdf):
    import pypdfium2

    page, data = pdf
    printed_pages = pypdfium2.PdfDocument(data)
    words = ""
    for sheet in printed_pages:
        width, height = sheet.get_size()
        assert (round(width), round(height)) == (595, 842)
        text = sheet.get_textpage()
        words += text.get_text_bounded()
        boxes = [text.get_charbox(place) for place in range(text.count_chars())]
        # 15 mm of margin at the sides, 17 and 18 above and below; the page's number stands in the last.
        assert min(box[0] for box in boxes) > 40 and max(box[2] for box in boxes) < width - 40
        assert max(box[3] for box in boxes) < height - 45 and min(box[1] for box in boxes) > 15
    squeezed = re.sub(r"\s", "", words)
    read = Reader(page)
    values = {
        cell
        for _, names, rows in read.tables
        if "facts" not in names
        for row in rows
        for pair in row
        for cell in pair
    }
    assert len(values) > 60
    assert [one for one in values if re.sub(r"\s", "", one) not in squeezed] == []


def test_pdf_is_stable(pdf):
    page, data = pdf
    assert report_pdf(page) == data


def test_pdf_fetches_nothing(pdf, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "urllib.request.OpenerDirector.open", lambda self, request, **facts: asked.append(request.full_url)
    )
    report_pdf(b'<img src="file:///etc/hostname"><img src="http://localhost/a"><img src="data:text/plain,a">')
    assert asked == ["data:text/plain,a"]
