"""What looks like age, untied from it: which fields change, that age tells nothing of them, the options."""

from __future__ import annotations

import numpy as np
import pytest

from comface_bench.comface.synthesis.anny.ageless import AGELESS, untie
from comface_bench.comface.synthesis.anny.attributes import move
from comface_bench.comface.synthesis.anny.generator import AnnyGenerator, make
from comface_bench.comface.synthesis.anny.hair_roots import hairline_recession
from comface_bench.comface.synthesis.anny.person import HAIRSTYLES, State, draw_person
from comface_bench.comface.synthesis.anny.strand_set import grey_hair_share
from comface_bench.core.errors import UsageError

pytest.importorskip("anny")

FIELDS = {
    "hair-colour": {"grey_onset", "hair"},
    "hair-loss": {"baldness", "hairline"},
    "hairstyle": {"hairstyle", "length", "volume", "fringe", "parting"},
    "beard": {"beard", "moustache", "stubble"},
    "skin": {"noise_offset", "mottle", "oil", "blush", "eye_shadows", "freckles", "makeup"},
    "glasses": {"glasses"},
    "clothes": set(),
}
PEOPLE = [draw_person("test", number) for number in range(150)]
AGES = np.random.default_rng(0).uniform(3, 68, len(PEOPLE))


def changed(before: object, after: object) -> set[str]:
    facts = [vars(one) for one in (before, after)]
    return {name for name in facts[0] if facts[0][name] != facts[1][name]}


@pytest.mark.parametrize("name", AGELESS)
def test_a_name_changes_its_own_fields_alone(name: str) -> None:
    found: set[str] = set()
    for number, (person, years) in enumerate(zip(PEOPLE, AGES, strict=True)):
        state = State(years=float(years))
        other, moved = untie(person, state, (name,), number)
        found |= changed(person, other)
        assert changed(state, moved) <= ({"cloth", "neckline"} if name == "clothes" else set())
        assert untie(person, state, (name,), number) == (other, moved), "a function of the key"
        both = untie(person, state, ("beard", name), number)[0]
        assert all(getattr(both, field) == getattr(other, field) for field in FIELDS[name])
    assert found == FIELDS[name]


def test_age_tells_nothing_of_what_is_untied() -> None:
    names = tuple(AGELESS)
    untied = [
        untie(person, State(years=float(years)), names, number)[0]
        for number, (person, years) in enumerate(zip(PEOPLE, AGES, strict=True))
    ]
    grey = np.array([grey_hair_share(one, float(age)) for one, age in zip(untied, AGES, strict=True)])
    tied = np.array([grey_hair_share(one, float(age)) for one, age in zip(PEOPLE, AGES, strict=True)])
    assert np.corrcoef(tied, AGES)[0, 1] > 0.7 and abs(np.corrcoef(grey, AGES)[0, 1]) < 0.2
    assert 0.3 < np.mean(grey == 0) < 0.7 and grey.max() > 0.8
    adults = AGES > 15
    assert max(hairline_recession(one, float(age)) for one, age in zip(PEOPLE, AGES, strict=True)) > 2
    assert not any(
        hairline_recession(one, float(age))
        for one, age in zip(np.array(untied)[adults], AGES[adults], strict=True)
    )
    assert {one.hairstyle for one in untied} <= set(HAIRSTYLES)
    assert not any(one.beard or one.moustache or one.stubble or one.glasses or one.makeup for one in untied)


def test_only_records_of_age_change_and_only_of_some_people() -> None:
    plain, all_of_it = AnnyGenerator(32), make({"ageless": "beard,hair-colour"})
    half = make({"ageless": "hair-colour", "ageless_share": "0.5"})
    people = plain.identities(3, 60)
    untied = 0
    for identity in people:
        for attribute in ("smile", "beard", "grey-hair"):
            assert all_of_it._at(identity, attribute, 2.0) == move(
                identity.person, identity.state, attribute, 2.0
            )
        as_drawn = move(identity.person, identity.state, "age", 2.0)
        assert plain._at(identity, "age", 2.0) == as_drawn
        person, state = all_of_it._at(identity, "age", 2.0)
        assert state == as_drawn[1] and person.beard == 0 and person.hair != identity.person.hair
        later = all_of_it._at(identity, "age", 2.1)[0]
        assert later.hair != person.hair, "drawn for each image"
        untied += half._at(identity, "age", 2.0) != as_drawn
        # All images of a person, or none.
        assert (half._at(identity, "age", -4.0)[0].hair != identity.person.hair) == (
            half._at(identity, "age", 2.0)[0].hair != identity.person.hair
        )
    assert 20 < untied < 40


def test_the_card_names_what_is_untied_and_is_unchanged_without_it() -> None:
    assert set(make({}).card.options) == {"version", "size", "nuisance"}
    one, two = (make({"ageless": names}).card.options for names in ("skin,beard", "beard,skin"))
    assert one == two and one["ageless"] == ["beard", "skin"] and one["ageless_share"] == 1.0
    for options, message in (
        ({"ageless": "beards"}, "beards"),
        ({"ageless": "beard", "ageless_share": "0"}, "share"),
        ({"ageless": "beard", "ageless_share": "1.5"}, "share"),
        ({"ageless": "beard", "ageless_share": "half"}, "ageless_share=half"),
        ({"ageless_share": "0.5"}, "ageless_share=0.5 is a share of nothing"),
    ):
        with pytest.raises(UsageError, match=message):
            make(options)


def test_untied_images_differ_and_are_functions_of_their_arguments() -> None:
    generator = make({"size": "32", "ageless": "hair-colour,hairstyle,clothes"})
    (identity,) = generator.identities(3, 1)
    two = generator.render(identity, "age", [-2.0, 4.0])
    assert np.array_equal(generator.render(identity, "age", [4.0])[0], two[1])
    assert np.array_equal(
        generator.render(identity, "smile", [4.0]), AnnyGenerator(32).render(identity, "smile", [4.0])
    )
    assert not np.array_equal(two, AnnyGenerator(32).render(identity, "age", [-2.0, 4.0]))
