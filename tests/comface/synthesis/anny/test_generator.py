"""anny as a generator: reproducible identities, one attribute at a time, nothing else unless asked for."""

from __future__ import annotations

import functools
import pickle

import numpy as np
import pytest

from comface_bench.comface.synthesis.anny.attributes import ATTRIBUTES
from comface_bench.comface.synthesis.anny.generator import AnnyGenerator, make
from comface_bench.comface.synthesis.generator import open_generator
from comface_bench.comface.synthesis.synthfaces_plan import (
    disfa_images,
    disfa_subjects,
    edema_images,
    fgnet_images,
)
from comface_bench.core.errors import UnknownNameError, UsageError

pytest.importorskip("anny")


def test_identities_are_their_numbers() -> None:
    generator = AnnyGenerator(32)
    many = generator.identities(3, 5)
    assert generator.identities(3, 2, first=3) == many[3:]
    assert generator.identities(4, 1)[0] != many[0]
    assert len({identity.person.noise_offset for identity in many}) == 5
    assert pickle.loads(pickle.dumps(many[1])) == many[1]


@functools.cache
def people_of_synthfaces(seed: int) -> set[tuple[float, float, float]]:
    people = {next(disfa_images(seed, subject, 1)).person.noise_offset for subject in disfa_subjects(27)}
    people |= {next(edema_images(seed, f"P{n:02d}", 1))[1].person.noise_offset for n in range(1, 40)}
    people |= {next(fgnet_images(seed, f"{n:03d}", 1)).person.noise_offset for n in range(1, 41)}
    assert len(people) == 27 + 39 + 40
    return people


@pytest.mark.parametrize("seed", [0, 1, 2, 7])
def test_no_identity_of_a_corpus_is_in_synthfaces(seed: int) -> None:
    """Neither of the same seed nor of another; the set that ships has seed 1."""
    people = {identity.person.noise_offset for identity in AnnyGenerator(32).identities(seed, 60)}
    assert len(people) == 60
    assert all(people.isdisjoint(people_of_synthfaces(other)) for other in (0, 1, 2, 7))


def test_images_are_a_function_of_their_arguments() -> None:
    generator = AnnyGenerator(32)
    (identity,) = generator.identities(3, 1)
    three = generator.render(identity, "smile", [-5.0, 0.0, 5.0])
    assert three.shape == (3, 3, 32, 32) and three.dtype == np.uint8
    again = AnnyGenerator(32).render(identity, "smile", [5.0])
    assert np.array_equal(again[0], three[2]), "whatever else is rendered, in whatever order"
    assert not np.array_equal(three[0], three[2])


def test_only_nuisance_changes_the_scene() -> None:
    calm, wild = AnnyGenerator(32), AnnyGenerator(32, nuisance=True)
    (identity,) = calm.identities(3, 1)
    border = np.s_[:, :3, :6]
    still, moving = (g.render(identity, "au1", [-1.0, 1.0]).astype(int) for g in (calm, wild))
    assert np.abs(still[0][border] - still[1][border]).mean() < 8
    assert np.abs(moving[0][border] - moving[1][border]).mean() > 8
    assert calm.card.options["nuisance"] == "off" and wild.card.options["nuisance"] == "on"


def test_options_as_typed() -> None:
    generator = open_generator("anny", {"size": "64", "nuisance": "on"})
    assert generator.card.resolution == 64 and generator.card.attributes == tuple(ATTRIBUTES)
    for wrong in ({"size": "8"}, {"size": "big"}, {"nuisance": "yes"}, {"colour": "red"}):
        with pytest.raises(UsageError):
            make(wrong)
    with pytest.raises(UnknownNameError, match="anny"):
        open_generator("any", {})


def test_what_is_refused() -> None:
    generator = AnnyGenerator(32)
    (identity,) = generator.identities(3, 1)
    with pytest.raises(UsageError, match="no attribute 'beauty'"):
        generator.render(identity, "beauty", [0.0])
    with pytest.raises(UsageError, match="−5 to 5"):
        generator.render(identity, "age", [5.1])
