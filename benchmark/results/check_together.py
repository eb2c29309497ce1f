"""Checks across records: all methods of a task are tested on the same pairs."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from comface_bench.core.errors import ResultError
from comface_bench.results.finding import Finding
from comface_bench.results.record_files import RecordFiles

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_HINT = "One of the two wasn't made by comface-bench run; make it again."


def check_together(paths: Iterable[Path]) -> list[Finding]:
    """Check that records of one task, data and split have the same pairs and true changes in each fold.

    The first record of each task is what the others are held against. Records that can't be read are
    passed over: `validate_record` tells of them.

    Args:
        paths: Records' JSON files.
    """
    from comface_bench.results.content import load_record
    from comface_bench.results.predictions import read_texts

    known: dict[tuple[str, str, str, int], tuple[str, Path]] = {}
    found = []
    for path in paths:
        try:
            task = load_record(path).task
            texts = read_texts(RecordFiles(path).predictions)
        except ResultError:
            continue
        folds = {fold: text for (fold, _), text in sorted(texts.items(), reverse=True)}
        for fold, text in sorted(folds.items()):
            digest = _digest_pairs(text)
            expected, other = known.setdefault(
                (task.name, task.manifest_digest, task.split_digest, fold), (digest, path)
            )
            if digest != expected:
                message = f"other pairs or true changes than in {other}"
                found.append(Finding(str(path), f"fold {fold}", message, _HINT))
    return found


def _digest_pairs(text: str) -> str:
    """Digest pair, subject and true change of each line, whatever their order."""
    facts = sorted(
        f"{fields[0]},{fields[1]},{fields[4]}" for fields in (line.split(",") for line in text.splitlines())
    )
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()
