"""Leaderboards, rebuilt from result files; importing this loads neither pandas nor torch."""

from __future__ import annotations

from comface_bench.leaderboards.pages import build, load

__all__ = ["build", "load"]
