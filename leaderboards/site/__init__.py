"""The leaderboards as a static site: pages, plots, one style sheet and one script."""

from __future__ import annotations

from comface_bench.leaderboards.site.pages import render_site

__all__ = ["render_site"]
