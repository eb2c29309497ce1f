"""Plots: scales, ticks and marks, read back from what is drawn."""

import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from comface_bench.leaderboards.site.charts import (
    Scale,
    domain,
    scatter,
    size_bars,
    subject_dots,
    tick_texts,
    ticks,
)
from comface_bench.leaderboards.site.error_analysis import (
    SizeBin,
    SubjectError,
    error_by_size,
    error_by_subject,
    gather,
)
from comface_bench.leaderboards.site.strips import Strip, Strips
from comface_bench.stats.predictions import Columns

FINITE = st.floats(allow_nan=False, allow_infinity=False)


def parse(svg):
    return ET.fromstring(f'<g xmlns="http://www.w3.org/2000/svg">{svg}</g>'.replace("xmlns", "data-x"))


def of_class(root, mark):
    return [one for one in root.iter() if one.get("class", "").split()[:1] == [mark]]


def predictions(y, yhat, subject=None):
    return gather([Columns([""] * len(y), subject or [0] * len(y), list(y), list(yhat))])


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (-0.07, 0.11, ["-0.05", "0.00", "0.05", "0.10"]),
        (0, 47, ["0", "10", "20", "30", "40"]),
        (1, 12, ["5", "10"]),
        (0, 3e6, ["0", "1e+06", "2e+06", "3e+06"]),
    ],
)
def test_ticks_are_round(low, high, expected):
    assert tick_texts(ticks(low, high)) == expected


@settings(max_examples=200)
@given(FINITE, FINITE)
@example(-1.7e308, 1.7e308)
@example(0.0, 5e-324)
@example(1e12, 1e12 - 1)
def test_any_domain_has_few_ticks_inside(a, b):
    low, high = domain([a, b])
    assert low < high
    assert abs(a) > 1e12 or low <= a <= high
    found = ticks(low, high)
    assert 2 <= len(found) <= 13
    assert all(low - (high - low) * 1e-6 <= value <= high + (high - low) * 1e-6 for value in found)
    assert max(map(len, tick_texts(found))) <= 13


def test_scale_maps_ends_onto_ends():
    scale = Scale(-2, 6, 100, 20)
    assert (scale(-2), scale(6), scale(2)) == (100, 20, 60)


def test_scatter_draws_each_point_where_it_is():
    y, yhat = [-4.0, 0.0, 2.0, 4.0], [-1.0, 0.5, 2.0, 3.0]
    root = parse(scatter(predictions(y, yhat), "kg"))
    (path,) = of_class(root, "points")
    points = [tuple(map(int, one)) for one in re.findall(r"M(\d+) (\d+)h0", path.get("d"))]
    assert len(points) == 4
    (right,) = of_class(root, "right")
    x1, y1, x2, y2 = (float(right.get(key)) for key in ("x1", "y1", "x2", "y2"))
    for (x, down), truth, estimate in zip(points, y, yhat, strict=True):
        # On the line of right answers x and y tell the same part.
        along, up = (x - x1) / (x2 - x1), (down - y1) / (y2 - y1)
        assert along - up == pytest.approx((truth - estimate) / (8 * 1.08), abs=0.006)
    assert "4 points" in root.find(".//desc").text


def test_bars_are_as_high_as_their_errors():
    bins = [SizeBin(0, 1, 3, 0.5, 0.25), SizeBin(1, 2, 5, 1.0, 1.5)]
    root = parse(size_bars(bins, "kg"))
    heights = [float(one.get("height")) for one in of_class(root, "bar")]
    assert [height / heights[-1] for height in heights] == pytest.approx([1 / 3, 1 / 6, 2 / 3, 1], abs=0.002)
    titles = [one.find("title").text for one in of_class(root, "bar")]
    assert titles[0] == "0–1 kg, this method: 0.500 (3 predictions)"


def test_a_dot_for_each_subject():
    errors = [SubjectError(4, 2, 0.5, 1.0), SubjectError(1, 2, 0.75, 0.5)]
    root = parse(subject_dots(errors, "kg"))
    assert len(of_class(root, "dot")) == 4
    assert [one.find("title").text for one in of_class(root, "dot") if len(one)] == [
        "subject 4: 0.500",
        "subject 1: 0.750",
    ]


def test_strips_share_a_scale():
    strips = Strips(0, 10, line=5)
    root = parse(strips.row(Strip(2, 1, 4, "best", 9, "a: 2")))
    (dot,), (interval,), (paper,) = (of_class(root, mark) for mark in ("dot", "interval", "paper"))
    drawn = (interval.get("x1"), dot.get("cx"), interval.get("x2"), paper.get("cx"))
    at = [float(text.rstrip("%")) for text in drawn]
    assert [(place - 3) / 94 * 10 for place in at] == pytest.approx([1, 2, 4, 9], abs=0.01)
    assert len(of_class(root, "floor")) == 1
    far = parse(strips.row(Strip(99, None, None, "", None, "far")))
    assert of_class(far, "dot")[0].get("cx") == "98.5%"
    assert of_class(far, "interval") == []


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(FINITE, FINITE), min_size=1, max_size=12), st.text(max_size=5))
@example([(1.7e308, -1.7e308)] * 9, "<&\n")
@example([(0.0, 0.0)], "")
def test_any_finite_predictions_can_be_drawn(pairs, unit):
    y, yhat = zip(*pairs, strict=True)
    found = predictions(y, yhat, [i % 3 for i in range(len(y))])
    for svg in (
        scatter(found, unit),
        size_bars(error_by_size(found), unit),
        subject_dots(error_by_subject(found), unit),
    ):
        for one in parse(svg).iter():
            values = [value for key, value in one.attrib.items() if key != "class"]
            assert not [value for value in values if re.search("nan|inf", value)]
            assert max(map(len, values), default=0) < 400


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (1, 2, ["1", "2"]),
        (1, 3, ["1", "2", "3"]),
        (1, 3.4, ["1", "2", "3"]),
        (1, 12, ["2", "4", "6", "8", "10", "12"]),
    ],
)
def test_a_scale_of_ranks_has_whole_numbers_and_half_of_them_go_where_it_is_narrow(low, high, expected):
    root = parse(Strips(low, high, about=6, whole=True).axis("ranks"))
    labels = of_class(root, "tick")
    assert [label.text for label in labels] == expected
    assert [label.get("class").split()[-1] == "odd" for label in labels] == [
        bool(place % 2) for place in range(len(labels))
    ]
