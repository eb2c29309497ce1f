"""The note of a submission: what the method is and where it can be had, without anybody's name or address."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from typing import TYPE_CHECKING, Any

from comface_bench.submission.text import name_problem, text_problem, url_problem

if TYPE_CHECKING:
    from collections.abc import Iterator

_LONGEST = {"description": 300, "licence": 80}
_DATA_SETS = 30
_DATA_SET_LENGTH = 60


class NoteError(ValueError):
    """Text that is no note."""


@dataclasses.dataclass(frozen=True)
class SubmissionNote:
    """What is told beside the numbers of a submission; printable ASCII.

    Attributes:
        method: Name of the method, options included, as the records have it.
        description: What it is, in one or two sentences.
        code: https address of the code, or empty.
        weights: https address of the weights, or empty; one of the two is needed.
        licence: Of the weights, or of the code where there are none.
        training_data: Data sets seen in pre-training; `none` alone for a method that saw none.
    """

    method: str
    description: str
    code: str
    weights: str
    licence: str
    training_data: tuple[str, ...]


def write_note(note: SubmissionNote) -> str:
    """Write a note as TOML; one form for one note, comments have no place."""
    lines = ["schema = 1"]
    for item in dataclasses.fields(note):
        value = getattr(note, item.name)
        listed = f"[{', '.join(map(_quote, value))}]" if isinstance(value, tuple) else _quote(value)
        lines.append(f"{item.name} = {listed}")
    return "\n".join(lines) + "\n"


def read_note(text: str) -> SubmissionNote:
    """Read what `write_note` wrote.

    Raises:
        NoteError: It is anything else.
    """
    try:
        facts: dict[str, Any] = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise NoteError(f"no TOML: {error}") from None
    if facts.pop("schema", None) != 1:
        raise NoteError("schema isn't 1")
    names = {item.name for item in dataclasses.fields(SubmissionNote)}
    if strange := sorted(set(facts) ^ names):
        raise NoteError(f"{', '.join(strange)}: missing, or not a field of a note")
    listed = facts.pop("training_data")
    if not isinstance(listed, list) or not all(
        isinstance(value, str) for value in [*facts.values(), *listed]
    ):
        raise NoteError("training_data is a list of texts, all other fields are texts")
    note = SubmissionNote(training_data=tuple(listed), **facts)
    if write_note(note) != text:
        raise NoteError("not written as `comface-bench submission pack` writes it")
    return note


def check_note(note: SubmissionNote) -> Iterator[tuple[str, str]]:
    """Yield (field, what is wrong) of a note."""
    if problem := name_problem(note.method):
        yield "method", problem
    for field, longest in _LONGEST.items():
        text = getattr(note, field)
        if not text.strip():
            yield field, "is empty"
        elif len(text) > longest:
            yield field, f"{len(text)} characters; at most {longest} are taken"
        elif problem := text_problem(text):
            yield field, problem
    if not note.code and not note.weights:
        yield "code", "neither the code nor the weights have an address"
    for field in ("code", "weights"):
        url = getattr(note, field)
        if url and (problem := url_problem(url)):
            yield field, problem
    if not 1 <= len(note.training_data) <= _DATA_SETS:
        yield "training_data", f"between 1 and {_DATA_SETS} names are taken; `none` for no pre-training"
    for name in note.training_data:
        if problem := _data_set_problem(name):
            yield "training_data", problem
    if "none" in note.training_data and len(note.training_data) > 1:
        yield "training_data", "`none` stands alone"


def _data_set_problem(name: str) -> str | None:
    if not name.strip() or len(name) > _DATA_SET_LENGTH:
        return f"a name is empty or longer than {_DATA_SET_LENGTH} characters"
    return text_problem(name)


def _quote(text: str) -> str:
    # A JSON string in ASCII is a TOML string, too.
    return json.dumps(text)
