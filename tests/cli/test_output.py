"""Tables: the lines without a terminal are those that rich draws."""

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from comface_bench.cli.output import (
    _align_table,
    _draw_table,
    _has_plain_width,
    fit_widths,
    print_lines,
    print_table,
    table_width,
)

SIGNS = [chr(code) for code in range(32, 0x2700) if _has_plain_width(chr(code))] + [" "]
CELLS = st.text(st.sampled_from(SIGNS), max_size=8).map(str.rstrip)


@st.composite
def tables(draw):
    columns = draw(st.integers(1, 4))
    row = st.lists(CELLS, min_size=columns, max_size=columns)
    right = st.lists(st.booleans(), min_size=columns, max_size=columns)
    return draw(row), draw(st.lists(row, max_size=4)), draw(right)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on a busy machine
@given(tables())
@example((["name", "n"], [["µ·α − β…", "1,000"], ["", "█"]], [False, True]))
@example((["name", "n"], [], [False, True]))
def test_plain_tables_are_those_of_rich(table):
    headings, rows, right = table
    assert all(_has_plain_width(cell) for row in (headings, *rows) for cell in row)
    drawn = [line.rstrip() for line in _draw_table(headings, rows, right)]
    assert [line.rstrip() for line in _align_table(headings, rows, right)] == drawn


@pytest.mark.parametrize("cell", ["日本", "e\u0301", "a\nb", "a\tb", "\u200b", "👩\u200d🔬", "x" * 500, "a "])
def test_other_widths_are_left_to_rich(cell):
    assert not _has_plain_width(cell)


def test_cells_of_several_lines_need_no_rich(capsys):
    rows = [["a", "b\n\nc"], ["d\ne", ""]]
    assert list(_align_table(["x", "y"], rows, [False, True])) == _draw_table(["x", "y"], rows, [False, True])
    print_table(["x", "y"], rows)
    assert capsys.readouterr().out == "x  y\na  b\n\n   c\nd\ne\n"


def test_wide_characters_take_two_cells(capsys):
    print_table(["a", "b"], [["日本", "1"], ["xyz", "10"]], numbers=["b"])
    assert capsys.readouterr().out == "a      b\n日本   1\nxyz   10\n"


@pytest.mark.parametrize(
    ("room", "widths"),
    [
        (44, [9, 20, 11]),  # All of it.
        (43, [9, 19, 11]),
        (36, [9, 12, 11]),
        (30, [9, 9, 8]),
        (29, [9, 8, 8]),
        (28, [9, 17]),  # No eight characters are left for the last.
        (19, [9, 8]),
        (18, [9]),
        (3, [9]),  # A name is never cut: it is there to be typed.
    ],
)
def test_columns_are_cut_the_widest_first_and_left_out_from_the_last_on(room, widths):
    rows = [["name", "what", "where"], ["x" * 9, "y" * 20, "z" * 11]]
    assert fit_widths(rows, room) == widths
    assert table_width(*rows[:1], rows[1:]) == 44


def test_lines_of_wide_characters_are_cut_by_cells(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "14")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    print_lines(["a", "b"], [["日本", "一二三四五六七八"], ["xyz", "plain"]])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert "日本  一二三" in lines[1]
    assert "…" in lines[1]
