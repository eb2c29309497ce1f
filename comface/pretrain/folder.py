"""The folder of a pre-training: settings, log, saved state, best network."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from comface_bench.core.errors import DataFormatError, DataMissingError, UsageError
from comface_bench.core.files import UNFINISHED, append_line, file_lock, replace_file, require_empty

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

VERSION = 1


class TrainingFolder:
    """Paths and contents of a pre-training's files.

    pretraining.json  its facts: settings, corpora, versions
    log.jsonl         one line for every few steps and for each epoch
    state.pt          the state that a resumed training starts from
    best.pt           the network of the lowest validation loss, with its line of the log
    lock              held while a process trains

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.facts = root / "pretraining.json"
        self.log = root / "log.jsonl"
        self.state = root / "state.pt"
        self.best = root / "best.pt"

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for this process, and remove files that a killed one left unfinished.

        Raises:
            UsageError: Another process trains here.
        """
        with file_lock(
            self.root / "lock",
            f"another process trains in {self.root}",
            "Wait for it, or name another folder: --out DIR",
            timeout=0,
        ):
            for left in self.root.glob(f"*{UNFINISHED}"):
                left.unlink(missing_ok=True)
            yield

    def begin(self, facts: dict[str, Any]) -> None:
        """Start a folder, or check that the one that is there is this training's.

        Args:
            facts: `settings`, `corpora` and `start` decide; other entries are recorded and may differ.

        Raises:
            UsageError: Another training's files are there, or files that are none's.
        """
        facts = {"version": VERSION, **json.loads(json.dumps(facts))}
        if self.facts.exists():
            found = self.read()
            other = [
                f"{key}.{name}"
                for key in ("settings", "corpora", "start")
                for name in sorted(set(facts.get(key, {})) | set(found.get(key, {})))
                if facts.get(key, {}).get(name) != found.get(key, {}).get(name)
            ]
            if other:
                raise UsageError(
                    f"{self.root} holds a pre-training of other {', '.join(other)}",
                    "Give the same settings, corpora and start to go on with it, or name another: --out DIR",
                )
            return
        require_empty(self.root)
        self.root.mkdir(parents=True, exist_ok=True)
        replace_file(self.facts, (json.dumps(facts, indent=1) + "\n").encode())

    def read(self) -> dict[str, Any]:
        """Read `pretraining.json`.

        Raises:
            DataMissingError: There is none.
            DataFormatError: The file isn't one of this version.
        """
        try:
            facts = json.loads(self.facts.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise DataMissingError(
                f"{self.root} holds no pre-training", f"comface-bench pretrain --out {self.root}"
            ) from None
        except ValueError as error:
            raise DataFormatError(f"{self.facts}: {error}") from None
        if not isinstance(facts, dict) or facts.get("version") != VERSION:
            raise DataFormatError(f"{self.facts}: not version {VERSION}", "Update comface-bench.")
        return facts

    def lines(self) -> list[dict[str, Any]]:
        """Read the log; a line that a kill left half-written is skipped."""
        if not self.log.exists():
            return []
        found = []
        for line in self.log.read_text(encoding="utf-8").splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
        return found

    def rewind(self, step: int) -> None:
        """Remove lines of steps after `step` from the log: they will be written again."""
        kept = [line for line in self.lines() if line["step"] <= step]
        if self.log.exists():
            replace_file(self.log, "".join(json.dumps(line) + "\n" for line in kept).encode())

    def append_line(self, line: dict[str, Any]) -> None:
        """Add a line to the log."""
        append_line(self.log, json.dumps(line))
