"""What somebody can change who corrects the record's own digest afterwards: exactly the facts listed here."""

import json
import re

import pytest

from comface_bench.results.recompute import recompute_record
from comface_bench.results.schema import Record, dump_json
from comface_bench.results.store import ResultStore
from comface_bench.results.validate import validate_record

UNPROVABLE = [
    r"environment\..*",
    r"provenance\.(kind|created|tool_version|command)",
    # Measured, or known only to the machine that ran it.
    r"units\.\d+\.(seconds|peak_memory_mb|details\..*)",
    r"units\.\d+\.validation_curve\.\d+",
    r"failures\.\d+\.(error|message|hint)",
    r"method\.(feature_dim|parameters)",
    # What a card offers besides what was chosen decides nothing.
    r"task\.card\.splits\.\d+",
    r"method\.card\.options\..*",
    # Held against the published split, which names subjects; the record has their numbers.
    r"task\.fold_subjects\.\d+\.(train|validation)",
    # Fold 1 has no result.
    r"task\.fold_subjects\.1\.test",
]
"""Facts that neither predictions nor keys bear out."""


@pytest.fixture(scope="module")
def sealed(tmp_path_factory, made):
    store = ResultStore(tmp_path_factory.mktemp("results"))
    with store.open(*made.header(folds=2)) as writer:
        writer.add(*made.run(0))
        writer.fail(made.failure(1))
    return store.record_path("age", "linear", "scratch")


def leaves(value, place=()):
    if isinstance(value, dict | list) and value:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for name, inner in items:
            yield from leaves(inner, (*place, name))
    else:
        yield place, value


def other(value):
    """Return another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        changed = {"pooled": "fold-mean", "ours": "submitted"}.get(value)
        # The last digit or letter becomes another: in digests, names, dates and lists of subjects.
        return changed or value[:-1] + ("9" if value[-1:] != "9" else "8")
    return {"none": 1} if value is None else [1]


def test_every_fact_but_these_is_borne_out(sealed):
    raw, whole = json.loads(sealed.read_text()), sealed.read_bytes()
    unnoticed, count = set(), 0
    for place, value in leaves(raw):
        forged = json.loads(whole)
        inner = forged
        for part in place[:-1]:
            inner = inner[part]
        inner[place[-1]] = other(value)
        name = ".".join(map(str, place))
        try:
            record = Record.model_validate_json(json.dumps(forged), strict=True)
        except ValueError:
            continue
        count += 1
        sealed.write_text(dump_json(record.seal()))
        if not validate_record(sealed) and not recompute_record(sealed) and name != "digest":
            unnoticed.add(name)
    sealed.write_bytes(whole)
    allowed = {name for name in unnoticed if any(re.fullmatch(pattern, name) for pattern in UNPROVABLE)}
    assert unnoticed == allowed
    assert count > 100
    idle = [pattern for pattern in UNPROVABLE if not any(re.fullmatch(pattern, name) for name in unnoticed)]
    assert idle == [], "these are noticed now, so they belong no longer in the list"
