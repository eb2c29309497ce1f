"""The model card of exported weights: what it learnt from, how, and what it came to."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def write_card(
    name: str,
    data: bytes,
    said: Mapping[str, Any],
    facts: Mapping[str, Any],
    log: Iterable[Mapping[str, Any]],
) -> str:
    """Write a model card as Markdown.

    Args:
        name: Name of the weights' file.
        data: Its bytes.
        said: The facts in the file.
        facts: The training's.
        log: Its lines.
    """
    epochs = [line for line in log if line["kind"] == "epoch"]
    chosen = next(line for line in epochs if line["epoch"] == said["epoch"])
    settings = said["settings"]
    lines = [
        f"# {name}",
        "",
        f"ComFace on {settings['backbone']}, pre-trained on synthetic faces; nobody's photograph was used.",
        "",
        f"- SHA-256 `{hashlib.sha256(data).hexdigest()}`, {len(data) / 1e6:.1f} MB, float16",
        f"- Trained for {epochs[-1]['epoch']} of {settings['epochs']} epochs, "
        f"{epochs[-1]['step']} steps of {settings['batch_size']} pairs, in {_hours(epochs[-1]['seconds'])} "
        f"on {facts['machine']['device']} ({facts['machine']['precision']}); "
        f"the network is that of epoch {said['epoch']}, whose validation loss is the lowest",
        f"- Versions: {', '.join(f'{key} {value}' for key, value in facts['versions'].items())}",
        "",
        "## Data",
        "",
        *_table(
            ["generator", "images", "licence", "SHA-256 of the corpus"],
            [
                [c["generator"], f"{c['images']:,}", c["licence"], f"`{c['sha256']}`"]
                for c in facts["corpora"].values()
            ],
        ),
        "",
        f"{facts['identities']:,} identities, {100 * settings['validation_share']:g} % of them held out.",
        "",
        "## Which head a task starts from",
        "",
        *_table(
            ["target", "head", "of the target in α = 1"],
            [[target, s["head"], f"{s['per_alpha']:g}"] for target, s in said["starts"].items()],
        ),
        "",
        "Any other target starts from the head that all attributes share, in α.",
        "",
        "## Curve",
        "",
        *_table(
            ["epoch", "validation loss", "identities", "changes"],
            [[str(e["epoch"]), *(f"{e[key]:.4f}" for key in ("loss", "inter", "intra"))] for e in epochs],
        ),
        "",
        f"## Held-out identities, epoch {said['epoch']}",
        "",
        "Pearson's r of predicted and true change of α.",
        "",
        *_table(
            ["attribute", "r"],
            [[key, "—" if r is None else f"{r:.3f}"] for key, r in chosen["correlation"].items()],
        ),
        "",
        "## Settings",
        "",
        *_table(["setting", "value"], [[key, f"`{_shown(value)}`"] for key, value in settings.items()]),
    ]
    return "\n".join(lines) + "\n"


def _table(header: list[str], rows: list[list[str]]) -> list[str]:
    return [
        f"| {' | '.join(header)} |",
        f"|{'---|' * len(header)}",
        *(f"| {' | '.join(_plain(cell) for cell in row)} |" for row in rows),
    ]


def _plain(text: str) -> str:
    return text.replace("|", "\\|")


def _shown(value: object) -> str:
    if isinstance(value, list):
        return "; ".join(_shown(one) for one in value) or "all"
    if isinstance(value, dict):
        return ", ".join(f"{key} {part:g}" for key, part in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.0f} min"
