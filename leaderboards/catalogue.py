"""The catalogue of methods: one page made from their cards.

python -m comface_bench.leaderboards.catalogue > docs/catalogue.md
"""

from __future__ import annotations

import sys

from comface_bench.core.card import CHIPS, LabelHead, MethodCard, Package, Preprocess
from comface_bench.core.registry import method_registry
from comface_bench.leaderboards.formatting import DASH
from comface_bench.leaderboards.markdown import escape, table
from comface_bench.leaderboards.paper import method_order

MARK = "<!-- Written by `python -m comface_bench.leaderboards.catalogue`; a test fails when it is stale. -->"


def catalogue_page() -> str:
    """Write the page of all methods that come with the package."""
    cards = sorted(
        (entry.card for entry in method_registry(plugins=False).declared()),
        key=lambda card: method_order(card.group, card.name),
    )
    lines = [MARK, "", "# Catalogue of methods", ""]
    lines += [
        "Every fact here stands in the method's card, is part of each record, and is shown by "
        "`comface-bench show NAME`. What goes wrong with these files elsewhere: [baselines](baselines.md); "
        "where files go and how they are checked: [weights](weights.md).",
        "",
        *table(
            ["Method", "Group", "Backbone", "Pre-training", "Taught", "Images", "Licence", "In the paper"],
            map(_training, cards),
        ),
        "",
    ]
    for card in cards:
        lines += [f"## {escape(card.name)}", "", *(f"- {escape(k)}: {v}" for k, v in _facts(card)), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _training(card: MethodCard) -> list[str]:
    cells = [
        card.name,
        card.group,
        card.backbone,
        ", ".join(card.trained_on),
        ", ".join(card.supervision),
        card.training_scale,
        card.licence,
        card.paper,
    ]
    return [escape(cell) or DASH for cell in cells]


def _facts(card: MethodCard) -> list[tuple[str, str]]:
    free = {"part": "NAME"}
    options = [f"{key}={'|'.join(values) or free.get(key, 'FILE')}" for key, values in card.options.items()]
    size = f", {card.feature_dim} numbers" if card.feature_dim else ""
    facts = [
        ("summary", card.summary),
        ("feature", card.feature + size),
        ("input", describe_input(card.preprocess)),
        # The default, dlib's, is said once, in docs/choices.md.
        ("chip of aligned faces", card.chip if card.chip != next(iter(CHIPS)) else ""),
        ("options", ", ".join([*options, "preprocess=native|imagenet"])),
        ("trained on", ", ".join(card.trained_on)),
        ("taught", ", ".join(card.supervision)),
        (
            "labels of",
            f"{', '.join(card.labels_of)}: refused where a task tests them" if card.labels_of else "",
        ),
        ("own head", _describe_head(card.label_head)),
        ("training source", card.training_source),
        ("source", card.source),
        ("paper", card.paper),
        ("licence", card.licence),
    ]
    if card.checkpoint is not None:
        published = [f"SHA-256 {card.checkpoint.sha256}…"] if card.checkpoint.sha256 else []
        published += [f"MD5 {card.checkpoint.md5}…"] if card.checkpoint.md5 else []
        facts += [
            ("file", card.checkpoint.file),
            ("published digest", ", ".join(published) or "none"),
            ("address", card.checkpoint.url),
            ("package", _describe_package(card.checkpoint.package)),
            ("keys of the backbone begin with", " or ".join(filter(None, card.checkpoint.prefixes))),
            ("keys left out begin with", ", ".join(card.dropped_keys)),
        ]
    return [(name, escape(value)) for name, value in facts if value]


def _describe_head(head: LabelHead | None) -> str:
    return f"{head.target}, which `weights suspicion` asks" if head is not None else ""


def _describe_package(package: Package | None) -> str:
    if package is None:
        return ""
    inside = " and ".join(package.members)
    return f"{package.client} {package.name} {package.version}, SHA-256 {package.sha256}: {inside}"


def describe_input(preprocess: Preprocess | None) -> str:
    """Describe in one line the input of a network."""
    if preprocess is None:
        return "as the library's own configuration says"
    span = "0 to 255" if preprocess.scale == 255 else f"0 to {preprocess.scale:g}"
    mean, std = (", ".join(f"{value:g}" for value in part) for part in (preprocess.mean, preprocess.std))
    size = f"; {preprocess.size} pixels only, others are resized" if preprocess.size else ""
    patch = f"; sides in multiples of {preprocess.multiple}" if preprocess.multiple > 1 else ""
    return f"{preprocess.channels}, {span}, mean {mean}, std {std}{size}{patch}"


if __name__ == "__main__":
    sys.stdout.write(catalogue_page())
