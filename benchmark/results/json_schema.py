"""The JSON Schema of records, one file for each version; that of the newest is generated from the models."""

from __future__ import annotations

import json
import re
from importlib import resources

from comface_bench.core.errors import UsageError


def generate_schema() -> str:
    """Return the JSON Schema (draft 2020-12) of records of the newest version, as its file holds it."""
    from comface_bench.results.schema import Record

    facts = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Record.model_json_schema()}
    return json.dumps(facts, indent=1, ensure_ascii=False) + "\n"


def read_schema(version: int | None = None) -> str:
    """Return the JSON Schema of a version of records; the newest by default.

    Raises:
        UsageError: There is no such version.
    """
    folder = resources.files(__package__) / "schemas"
    found = {
        int(match[1]): file
        for file in folder.iterdir()
        if (match := re.fullmatch(r"record-v(\d+)\.json", file.name))
    }
    chosen = max(found) if version is None else version
    if chosen not in found:
        raise UsageError(
            f"records have no version {chosen}", f"Versions: {', '.join(map(str, sorted(found)))}"
        )
    return found[chosen].read_text(encoding="utf-8")
