"""DISFA+: the change of an action unit's intensity, on other images of people of DISFA."""

import dataclasses

from comface_bench.tasks import disfa

CARDS = tuple(
    dataclasses.replace(
        card,
        name=card.name.replace("disfa", "disfaplus"),
        version=1,
        data="DISFAPlus",
        read="comface_bench.tasks.formats.disfa_plus:read_disfa_plus",
        # Nine subjects, as far as is known: three of them are tested in each fold.
        splits=("balanced-3", "leave-one-out"),
        summary=card.summary.replace("frames", "images"),
        licence="Signed agreement with the authors of DISFA+.",
        how_to_get="Its authors give DISFA+ out on a signed agreement; see docs/datasets/disfaplus.md.",
        source=(
            "Mavadati, Sanger and Mahoor, CVPR Workshops, 2016. Its people are people of DISFA:"
            " a model trained on one of the two sets has seen the subjects of the other."
        ),
    )
    for card in disfa.CARDS
)
