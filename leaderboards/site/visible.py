"""Any text as it can be seen: what a page would hide or reorder is shown as an escape."""

from __future__ import annotations

from comface_bench.leaderboards import markdown


def visible(text: str) -> str:
    r"""Replace characters that can't be seen (line breaks, controls, direction marks) by `\u` escapes.

    The text may still hold HTML or Markdown: it isn't escaped for either.
    """
    # Printable is what is neither a control, a format character nor a separator, plain spaces aside.
    return text if text.isprintable() else "".join(map(markdown.visible, text))
