"""Outcomes of the rules that a contract suite checks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RuleOutcome:
    """Outcome of one rule.

    Attributes:
        rule: What must hold, in a few words.
        broken: How it is broken; empty if it holds.
        detail: What was measured, or a figure to compare with.
    """

    rule: str
    broken: str = ""
    detail: str = ""

    @property
    def holds(self) -> bool:
        """True if the rule holds."""
        return not self.broken
