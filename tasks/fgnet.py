"""FG-NET: the change of age (supplement, Tables E and N)."""

from comface_bench.core.card import TaskCard

CARD = TaskCard(
    name="age",
    version=1,
    family="age",
    data="FGNET",
    read="comface_bench.tasks.formats.fgnet:read_fgnet",
    target="age",
    unit="years",
    label_range=(0, 120),
    metrics=("mae", "pearson", "rmse", "spearman", "ccc", "icc31"),
    splits=("fgnet-4fold", "leave-one-out"),
    overlaps=("FG-NET",),
    summary="Change of age in years between two photographs of one person.",
    licence="No licence file; given out for research only.",
    how_to_get="FG-NET must be laid out by hand; docs/datasets/fgnet.md shows the layout and the terms.",
    source="Panis et al., IET Biometrics 5(2), 2016.",
)
