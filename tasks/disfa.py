"""DISFA: the change of an action unit's intensity (supplement, Tables C and J)."""

from comface_bench.core.card import TaskCard
from comface_bench.tasks.formats.action_units import ACTION_UNITS

CARDS = tuple(
    TaskCard(
        name=f"disfa-au{unit}",
        version=1,
        family="expression",
        data="DISFA",
        read="comface_bench.tasks.formats.disfa:read_disfa",
        target=f"au{unit}",
        unit="intensity",
        label_range=(0, 5),
        metrics=("pearson", "mae", "rmse", "spearman", "ccc", "icc31"),
        # Up to 11.7 million pairs a subject: a thousand each fix r to about ±0.01.
        test_pairs_per_subject=1000,
        splits=("disfa-heatmap", "disfa-jaa", "leave-one-out"),
        overlaps=("DISFA", "DISFA+"),
        summary=f"Change of the intensity of AU{unit} (0 to 5) between two frames of one person.",
        licence="Signed agreement with the authors of DISFA.",
        how_to_get="Its authors give DISFA out on a signed agreement; see docs/datasets/disfa.md.",
        source="Mavadati et al., IEEE Transactions on Affective Computing 4(2), 2013.",
    )
    for unit in ACTION_UNITS
)
