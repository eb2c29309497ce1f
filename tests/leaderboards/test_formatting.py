"""Numbers as text."""

from comface_bench.leaderboards.formatting import format_value, p_text, signed_text
from comface_bench.stats.metrics import MetricValue


def test_printed_numbers():
    assert format_value("mae", -0.0004) == "0.000"
    assert format_value("pearson", -0.0234) == "-0.023"
    assert format_value("acc", 0.886) == "88.6"
    assert format_value("acc", None) == "—"
    assert signed_text("mae", 0.5) == "+0.500"
    assert signed_text("mae", -0.5) == "-0.500"
    assert signed_text("mae", 0.0004) == "0.000"
    assert signed_text("acc", None) == "—"
    assert p_text(MetricValue(0.0002)) == "< 0.001"
    assert p_text(MetricValue(None, "not tested")) == "—"
