"""Edema-A and Edema-B: the change of body weight of dialysis patients (supplement, Table D).

Training takes all pairs within a patient, testing pre/post pairs only (A.2). Whether those may lie on two
days isn't published: here they may, unless `pairs=pre-post-same-day` is chosen.
"""

import dataclasses
from collections.abc import Mapping
from typing import cast

from comface_bench.core.card import PairRule, TaskCard

PATIENT_SPLITS = ("patient-days", "other-patients", "four-folds")
"""Of some of the patients, by models of their own or of others (B.2, Table 3)."""

_WITHIN = tuple(
    TaskCard(
        name=f"edema-{letter.lower()}",
        version=1,
        family="weight",
        data=f"Edema-{letter}",
        read="comface_bench.tasks.formats.edema:read_edema",
        target="weight_kg",
        unit="kg",
        label_range=(10, 400),
        metrics=("mae", "pearson", "acc", "rmse", "spearman", "ccc", "icc31"),
        train_pairs="all",
        test_pairs="pre-post",
        splits=("balanced-4", "leave-one-out", *PATIENT_SPLITS),
        options={"pairs": ("pre-post", "pre-post-same-day")},
        summary=f"Change of body weight in kg between two faces of one dialysis patient (Edema-{letter}).",
        licence="Private; the suite defines a format for those who hold such data.",
        how_to_get="The paper's Edema data are private; see docs/datasets/edema.md.",
        source="Akamatsu et al., IEEE JBHI 27(3), 2023 (Edema-A).",
    )
    for letter in "AB"
)

_ACROSS = dataclasses.replace(
    _WITHIN[0],
    name="edema-a2b",
    test_data="Edema-B",
    seeds_of="edema-a",
    aggregate="fold-mean",
    splits=_WITHIN[0].splits[:2],
    summary="Change of body weight in kg: the models of edema-a on all patients of Edema-B, their mean.",
    source="Supplement of ComFace, B.2 and Table M (Edema A→B).",
)

CARDS = (*_WITHIN, _ACROSS)


def configure(card: TaskCard, chosen: Mapping[str, str]) -> TaskCard:
    """Return the card under the rule for validation and test pairs that the option `pairs` names."""
    return dataclasses.replace(card, test_pairs=cast(PairRule, chosen["pairs"]))
