"""Whatever happens to a good package, the check neither fails nor lets it pass."""

import json
import time
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from comface_bench.submission.check import check_bytes
from comface_bench.submission.package import write_archive

RECORD = "synth-age/linear/my-net.json"
TABLE = "synth-age/linear/my-net.predictions.csv.gz"
few = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


def refused(data):
    report = check_bytes(data, "it.zip")
    text = "\n".join(map(str, report.findings)) + report.markdown() + json.dumps(report.facts())
    assert text.isascii()
    assert "could not be checked" not in text
    return not report.ok


@given(st.binary(max_size=400))
@settings(deadline=None)
def test_any_bytes(data):
    assert refused(data)
    assert refused(b"PK\x03\x04" + data)


@given(st.data())
@few
def test_any_byte_of_a_package(made, data):
    place = data.draw(st.integers(0, len(made.package) - 1))
    changed = bytearray(made.package)
    changed[place] ^= data.draw(st.integers(1, 255))
    assert refused(bytes(changed))


@given(st.data())
@few
def test_any_piece_cut_out_or_put_in(made, data):
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(made.package))] * 2)))
    piece = data.draw(st.binary(max_size=40))
    changed = made.package[:start] + piece + made.package[end:]
    if changed != made.package:
        assert refused(changed)


@given(st.data())
@few
@pytest.mark.parametrize("name", [RECORD, TABLE])
def test_any_byte_of_a_file_that_is_packed_again(made, name, data):
    """The archive is in order, so that what is inside is looked at."""
    content = bytearray(made.members[name])
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    assert refused(write_archive({**made.members, name: bytes(content)}))


VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.lists(st.integers(), max_size=2)
    | st.dictionaries(st.text(max_size=3), st.integers(), max_size=2)
)


def places(value, place=()):
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*place, key)
        yield from places(inner, (*place, key))


@given(st.data())
@settings(few, max_examples=60)
def test_any_value_of_a_record_that_is_sealed_again(made, data):
    """The text's digest fits; only measured facts that nothing depends on may differ and pass."""
    original = json.loads(made.members[RECORD])
    kinds = {}
    for here in places(original):
        kinds.setdefault(tuple(part for part in here if isinstance(part, str)), []).append(here)
    # By kind first: most places are in long lists.
    place = data.draw(st.sampled_from(data.draw(st.sampled_from(list(kinds.values())))))
    value = data.draw(VALUES)

    def change(record):
        for part in place[:-1]:
            record = record[part]
        record[place[-1]] = value

    members = made.forge(made.members, change)
    if members[RECORD] == made.members[RECORD] or _is_free(place):
        return
    assert refused(write_archive(members)), (place, value)


def _is_free(place):
    """Facts that only the submitter knows, and those that no result depends on."""
    words = [part for part in place if isinstance(part, str)]
    return (
        words[0] == "environment"
        or words[2:3] in (["splits"], ["options"])  # what a card merely offers, in any number
        or words[-1] in ("created", "tool_version", "parameters", "feature_dim")
        or (words[0] == "units" and bool(set(words) & {"seconds", "peak_memory_mb", "details"}))
        or (words[0] == "units" and bool(set(words) & {"validation_curve", "best_epoch"}))
    )


def test_the_biggest_package_takes_little_memory(made):
    """A table at the cap of its unpacked size, of lines that are well-formed."""
    import gzip
    import io

    line = "1-2-3,1,0,0,1.5,0.5\n"
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0, compresslevel=9) as stream:
        stream.write(b"pair_id,subject,fold,seed,y,yhat\n" + line.encode() * (17 * 2**20 // len(line)))
    tracemalloc.start()
    start = time.perf_counter()
    report = check_bytes(write_archive({**made.members, TABLE: buffer.getvalue()}), "it.zip")
    seconds, peak = time.perf_counter() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "unpacks to more than" in str(report.findings)
    assert seconds < 5
    assert peak < 100 * 2**20
