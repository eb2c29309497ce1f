"""UNBC-McMaster: the change of pain in the face, a protocol of ours in the manner of the action units."""

from comface_bench.core.card import TaskCard

CARD = TaskCard(
    name="unbc-pain",
    version=1,
    family="expression",
    data="UNBC",
    read="comface_bench.tasks.formats.unbc:read_unbc",
    target="pspi",
    unit="PSPI",
    label_range=(0, 16),
    metrics=("pearson", "mae", "rmse", "spearman", "ccc", "icc31"),
    # As for DISFA: sequences of hundreds of frames have far more pairs than an evaluation needs.
    test_pairs_per_subject=1000,
    splits=("balanced-4", "leave-one-out"),
    overlaps=("UNBC-McMaster",),
    summary="Change of the pain score PSPI (0 to 16) between two frames of one person.",
    licence="Signed agreement with the authors of the archive.",
    how_to_get="Its authors give the archive out on a signed agreement; see docs/datasets/unbc.md.",
    source=(
        "Lucey et al., IEEE Automatic Face and Gesture Recognition, 2011. Not checked against a copy:"
        " the number of subjects (25), the terms, and whether every frame has a label."
    ),
)
