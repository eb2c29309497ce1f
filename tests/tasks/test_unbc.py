from __future__ import annotations

from comface_bench.tasks.unbc import CARD


def test_the_task_of_pain():
    assert (CARD.name, CARD.family, CARD.target) == ("unbc-pain", "expression", "pspi")
    assert CARD.label_range == (0, 16)
    assert CARD.test_pairs_per_subject == 1000
    assert "Not checked" in CARD.source
