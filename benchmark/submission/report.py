"""What a check found, for people, programs and pull requests; no text of the package is obeyed in it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from comface_bench.core.findings import Finding
from comface_bench.submission.limits import FINDINGS
from comface_bench.submission.package import record_stems
from comface_bench.submission.text import as_markdown, plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from comface_bench.submission.note import SubmissionNote
    from comface_bench.submission.package import Place

LIMITS = (
    "Nobody has run the model: the check sees that the numbers follow from the predictions, not that the "
    "predictions follow from the images."
)


@dataclasses.dataclass(frozen=True)
class Report:
    """The outcome of a check.

    Attributes:
        findings: All that is wrong, in printable ASCII; the package is good if there is nothing.
        unchecked: What could not be looked at, one line each.
        sha256: Of the package.
        members: The bytes that were checked, by name; empty where they couldn't be taken apart.
        note: The note, once it was read.
    """

    findings: tuple[Finding, ...]
    unchecked: tuple[str, ...] = ()
    sha256: str = ""
    members: Mapping[str, bytes] = dataclasses.field(default_factory=dict)
    note: SubmissionNote | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    @property
    def records(self) -> list[str]:
        """`<task>/<protocol>/<method>` of each record in the package."""
        return record_stems(self.members)

    def facts(self) -> dict[str, Any]:
        """Return all of it for programs."""
        return {
            "ok": self.ok,
            "sha256": self.sha256,
            "records": [plain(stem) for stem in self.records],
            "note": dataclasses.asdict(self.note) if self.note and self.ok else None,
            "findings": [dataclasses.asdict(finding) for finding in self.findings],
            "unchecked": list(self.unchecked),
        }

    def lines(self) -> Iterator[str]:
        """Yield lines for a terminal."""
        for finding in self.findings:
            yield str(finding)
        for hint in dict.fromkeys(finding.hint for finding in self.findings if finding.hint):
            yield f"  {hint}"
        for text in self.unchecked:
            yield f"not checked: {text}"
        if self.ok:
            count = len(self.records)
            yield f"{count} record{'s' if count != 1 else ''}: nothing is wrong"
        else:
            yield f"refused: {len(self.findings)} thing{'s are' if len(self.findings) != 1 else ' is'} wrong"

    def markdown(self) -> str:
        """Return a summary for a pull request, in which no text of the package is read as Markdown."""
        verdict = "nothing is wrong" if self.ok else f"refused, {len(self.findings)} wrong"
        lines = [f"### Submission: {verdict}", "", f"SHA-256 of the package: {as_markdown(self.sha256)}", ""]
        if self.ok and self.note is not None:
            lines += ["| Note | |", "|---|---|"]
            for name, value in dataclasses.asdict(self.note).items():
                text = ", ".join(value) if isinstance(value, tuple) else value
                lines.append(f"| {name} | {as_markdown(text)} |")
            lines += ["", "| Record |", "|---|", *(f"| {as_markdown(stem)} |" for stem in self.records), ""]
        if self.findings:
            lines += ["| File | Place | What is wrong |", "|---|---|---|"]
            for finding in self.findings:
                cells = (finding.file, finding.place, finding.message)
                lines.append(f"| {' | '.join(as_markdown(cell) for cell in cells)} |")
            lines.append("")
        lines += [f"- Not checked: {as_markdown(text)}" for text in self.unchecked]
        return "\n".join([*lines, f"- {LIMITS}"]) + "\n"


def make_findings(places: Iterable[Place]) -> tuple[Finding, ...]:
    """Turn what was found into findings in printable ASCII, told once each and not without end."""
    found = list(dict.fromkeys(places))
    shown = [
        Finding(plain(item.file, 120), plain(item.place, 120), plain(item.message), plain(item.hint))
        for item in found[:FINDINGS]
    ]
    if len(found) > FINDINGS:
        shown.append(Finding("", "", f"{len(found) - FINDINGS} more things are wrong"))
    return tuple(shown)
