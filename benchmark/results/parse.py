"""From a record's bytes to its model, by way of migration; all that is wrong is told, not just the first."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import pydantic

from comface_bench.core.errors import ResultError
from comface_bench.results.migrate import SCHEMA_VERSION, NewerVersionError, migrate
from comface_bench.results.predictions import SIZE_LIMIT
from comface_bench.results.schema import Record

if TYPE_CHECKING:
    from pathlib import Path

MEND = "Mend or remove the file, then run the command again."
UPDATE = "Update comface-bench: pip install -U comface-bench"


class NewerRecordError(ResultError):
    """A record that a later comface-bench wrote: whole, so it is neither read nor set aside."""


class Problem(NamedTuple):
    """Something wrong in a file: the field or line, what is wrong there, and what to do."""

    place: str
    message: str
    hint: str = ""


class MalformedError(ValueError):
    """Bytes that aren't a record; `problems` holds at least one."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(problems[0].message)
        self.problems = problems


class Parsed(NamedTuple):
    """A record, and the JSON and version that it was read from."""

    record: Record
    facts: dict[str, Any]
    version: int


def parse(data: str | bytes) -> Parsed:
    """Parse a record of any version.

    Raises:
        MalformedError: The bytes aren't a record of a known version.
    """
    try:
        facts = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise MalformedError([Problem("record", f"no JSON: {error}", MEND)]) from None
    if not isinstance(facts, dict):
        raise MalformedError([Problem("record", "a JSON document, but no object", MEND)])
    try:
        current = migrate(facts)
        if current.get("schema_version") != facts.get("schema_version"):
            data = json.dumps(current)
        record = Record.model_validate_json(data, strict=True)
    except NewerVersionError as error:
        raise MalformedError([Problem("schema_version", str(error), UPDATE)]) from None
    except pydantic.ValidationError as error:
        raise MalformedError([_fault(found) for found in error.errors(include_url=False)]) from None
    return Parsed(record, facts, facts.get("schema_version", SCHEMA_VERSION))


def read_bytes(path: Path) -> bytes:
    """Read a file that a stranger may have written.

    Raises:
        ResultError: It can't be read, or is too big.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(SIZE_LIMIT + 1)
    except OSError as error:
        raise ResultError(f"{path}: can't be read ({error.strerror})") from None
    if len(data) > SIZE_LIMIT:
        raise ResultError(f"{path}: bigger than {SIZE_LIMIT} bytes")
    return data


def record_from(data: str | bytes, path: Path) -> Record:
    """Parse a record of any version; `path` names it in errors.

    Raises:
        NewerRecordError: It is of a later version.
        ResultError: It isn't a record; the first problem, with file and field.
    """
    try:
        return parse(data).record
    except MalformedError as error:
        first = error.problems[0]
        kind = NewerRecordError if first.hint == UPDATE else ResultError
        raise kind(f"{path}: {first.place}: {first.message}", first.hint) from None


def _fault(error: Any) -> Problem:
    place = ".".join(str(part) for part in error["loc"]) or "record"
    return Problem(place, error["msg"], MEND)
