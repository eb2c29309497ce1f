from __future__ import annotations

import pytest

from comface_bench.core.card import facts
from comface_bench.tasks import disfa, disfa_plus

OWN = {"name", "data", "splits"}


@pytest.mark.parametrize("card", disfa_plus.CARDS, ids=lambda card: card.name)
def test_a_task_is_declared_like_its_twin_of_disfa(card):
    twin = {twin.target: twin for twin in disfa.CARDS}[card.target]
    assert card.name == twin.name.replace("disfa", "disfaplus")
    differing = {name for name, value in facts(card).items() if value != facts(twin)[name]}
    assert differing == OWN
    assert card.data == "DISFAPlus"
    assert card.splits == ("balanced-3", "leave-one-out")
    assert card.test_pairs_per_subject == 1000


def test_there_is_one_an_action_unit():
    assert len({card.target for card in disfa_plus.CARDS}) == 12


def test_shared_identities_are_said():
    assert all("people of DISFA" in card.source for card in disfa_plus.CARDS)
