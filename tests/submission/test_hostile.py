"""Texts that would be obeyed somewhere, in records and notes; a summary of their refusal obeys none."""

import re

import pytest

from comface_bench.submission.package import name_problem, write_note

NOTE = "submission.toml"


HOSTILE = {
    "<script>alert(1)</script>": "U+003C",
    "a|b": "U+007C",
    "a`b": "U+0060",
    "a\u202eb": "U+202E",
    "a\u2066b": "U+2066",
    "a\u200bb": "U+200B",
    "=cmd()": "formula",
    "@sum": "U+0040",
    "-1+1": "formula",
    "+1": "formula",
    "a\x1b[31mb": "U+001B",
    "a\rb": "U+000D",
    "\\input{x}": "U+005C",
    "$x$": "U+0024",
    "a_{b}": "U+007B",
    "[a](https://b.c)": "U+005B",
    "![a](b)": "U+0021",
    "#1": "U+0023",
    "sсratch": "U+0441",
    "ｃomface": "U+FF43",
    "\ud800": "U+D800",
    "/etc/passwd": "path",
    "a, ~/x": "U+007E",
    "../x": "path",
    "of home/alice/x": "path",
    "C:/x": "path",
    "file:x": "path",
    "a" * 500: "500 characters",
}


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_hostile_texts_in_records(made, text):
    place = ("method.name", "task.unit", "method.card.backbone", "environment.cpu", "units.0.details.device")[
        len(text) % 5
    ]
    report = made.check(made.forge(made.members, made.put(place, text)))
    assert any(place in finding.place and HOSTILE[text] in finding.message for finding in report.findings)
    assert_harmless(report.markdown(), text)
    made.told(report)


def test_hostile_keys_in_records(made):
    found = made.told(made.check(made.forge(made.members, made.put("method.card.<img src=x>", 1))))
    assert "U+003C" in found


@pytest.mark.parametrize("text", [*HOSTILE, "a b", "a//b", "a/", ".a", "", "a" * 121], ids=ascii)
def test_hostile_names(made, text):
    """Were they to get by the rule on texts, they are no names either."""
    assert name_problem(text)


def assert_harmless(page, text):
    """Nothing in a summary is Markdown or HTML but what the summary itself is made of."""
    assert page.isascii()
    cells = re.findall(r"<code>(.*?)</code>", page)
    assert cells
    for cell in cells:
        assert re.fullmatch(r"(?:[A-Za-z0-9 -]|&#\d{2,3};)*", cell)
    rest = re.sub(r"<code>.*?</code>", "", page)
    assert not re.search(r"<[^u]|`|\[|\]|@|http|\\", rest)
    if len(text) > 3:
        assert text not in page


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"description": ""}, "description"),
        ({"description": "a" * 301}, "description"),
        ({"description": "see <b>"}, "description"),
        ({"description": "mail me: a@b.org"}, "description"),
        ({"licence": "=1+1"}, "licence"),
        ({"code": "http://example.org/x"}, "code"),
        ({"code": "javascript:alert(1)"}, "code"),
        ({"code": "https://user:word@example.org/x"}, "code"),
        ({"code": "https://example.org:99/x"}, "code"),
        ({"code": "https://127.0.0.1/x"}, "code"),
        ({"code": "https://localhost/x"}, "code"),
        ({"code": "https://xn--e1afmkfd.com/x"}, "code"),
        ({"code": "https://exаmple.org/"}, "code"),
        ({"code": "https://example.org/x?y=<z>"}, "code"),
        ({"code": "https://example.org/a b"}, "code"),
        ({"code": "https://example.org/" + "a" * 300}, "code"),
        ({"weights": "ftp://example.org"}, "weights"),
        ({"code": ""}, "code"),
        ({"training_data": ()}, "training_data"),
        ({"training_data": ("none", "VGGFace2")}, "training_data"),
        ({"training_data": ("a|b", "VGGFace2")}, "training_data"),
        ({"training_data": ("x" * 61, "VGGFace2")}, "training_data"),
        ({"method": "other-net"}, "method.name"),
        ({"training_data": ("none",)}, "method.card.trained_on"),
    ],
)
def test_notes(made, changes, field):
    report = made.check({**made.members, NOTE: write_note(made.note(**changes)).encode()})
    assert field in {finding.place for finding in report.findings}
    made.told(report)
    assert_harmless(report.markdown(), str(changes))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda text: text.replace("schema = 1", "schema = 2"), "schema"),
        (lambda text: text + "# from alice\n", "not written as"),
        (lambda text: text + 'contact = "a@b.org"\n', "contact"),
        (lambda text: text.replace('licence = "Apache-2.0"\n', ""), "licence"),
        (lambda text: text.replace('"Apache-2.0"', "1"), "texts"),
        (lambda text: "x = " + "[" * 3000, "no TOML"),
        (lambda text: text + "#" * 9000, "bytes; at most"),
        (lambda text: "", "schema"),
    ],
)
def test_notes_of_another_form(made, change, reason):
    text = change(made.members[NOTE].decode())
    assert reason in made.told(made.check({**made.members, NOTE: text.encode()}))
