"""Facts of the cards against the paper's supplement and the promises of the design."""

from __future__ import annotations

import pytest

from comface_bench.core.card import facts
from comface_bench.core.registry import task_registry

CARDS = {entry.card.name: entry.card for entry in task_registry(plugins=False).declared()}
UNITS = (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)


@pytest.mark.parametrize("unit", UNITS)
def test_disfa(unit):
    card = CARDS[f"disfa-au{unit}"]
    assert (card.data, card.target, card.unit) == ("DISFA", f"au{unit}", "intensity")
    assert card.family == "expression"
    assert card.label_range == (0, 5)
    assert card.splits[:2] == ("disfa-heatmap", "disfa-jaa")


@pytest.mark.parametrize(("name", "data"), [("edema-a", "Edema-A"), ("edema-b", "Edema-B")])
def test_edema_trains_on_all_pairs_and_tests_pre_against_post(name, data):
    card = CARDS[name]
    assert (card.data, card.target, card.unit, card.family) == (data, "weight_kg", "kg", "weight")
    assert (card.train_pairs, card.test_pairs) == ("all", "pre-post")
    assert "acc" in card.metrics


def test_age():
    card = CARDS["age"]
    assert (card.data, card.target, card.unit, card.family) == ("FGNET", "age", "years", "age")
    assert card.splits[0] == "fgnet-4fold"
    assert (card.train_pairs, card.test_pairs, card.test_pairs_per_subject) == ("all", "all", None)


@pytest.mark.parametrize("card", CARDS.values(), ids=lambda card: card.name)
def test_every_task_reports_what_the_paper_does_and_the_metrics_beyond(card):
    assert set(card.metrics[:2]) == {"mae", "pearson"}
    assert {"rmse", "spearman", "ccc", "icc31"} <= set(card.metrics)
    assert ("acc" in card.metrics) == (card.family == "weight")


TWINS = {
    **{f"synth-au{unit}": f"disfa-au{unit}" for unit in UNITS},
    "synth-weight": "edema-a",
    "synth-age": "age",
}


@pytest.mark.parametrize("name", TWINS)
def test_synthetic_tasks_are_read_and_scored_like_their_real_twins(name):
    card, twin = CARDS[name], CARDS[TWINS[name]]
    for fact in ("family", "read", "target", "unit", "label_range", "metrics", "train_pairs", "test_pairs"):
        assert getattr(card, fact) == getattr(twin, fact), fact
    assert card.data == f"synthfaces/{twin.data}"
    assert card.ships
    assert not twin.ships


def test_pain():
    card = CARDS["unbc-pain"]
    assert (card.name, card.family, card.target) == ("unbc-pain", "expression", "pspi")
    assert card.label_range == (0, 16)
    assert card.test_pairs_per_subject == 1000
    assert "Not checked" in card.source


DISFA_PLUS = [card for card in CARDS.values() if card.data == "DISFAPlus"]


@pytest.mark.parametrize("card", DISFA_PLUS, ids=lambda card: card.name)
def test_a_task_of_disfa_plus_is_declared_like_its_twin_of_disfa(card):
    twin = {twin.target: twin for twin in CARDS.values() if twin.data == "DISFA"}[card.target]
    assert card.name == twin.name.replace("disfa", "disfaplus")
    differing = {name for name, value in facts(card).items() if value != facts(twin)[name]}
    assert differing == {"name", "data", "splits"}
    assert card.splits == ("balanced-3", "leave-one-out")
    assert card.test_pairs_per_subject == 1000


def test_disfa_plus_has_one_task_an_action_unit():
    assert len({card.target for card in DISFA_PLUS}) == 12


def test_shared_identities_of_disfa_and_disfa_plus_are_said():
    assert all("people of DISFA" in card.source for card in DISFA_PLUS)
