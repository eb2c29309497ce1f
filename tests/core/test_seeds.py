from __future__ import annotations

import inspect
from typing import get_args

import pytest

from comface_bench.core.seeds import Purpose, seed_for

# Written down once: a change of any of these changes every published result.
PINNED = {
    ("split", "FGNET", None, None): 2399328709111557036,
    ("pairs", "age", 0, 0): 3598756043759254022,
    ("augment", "age", 3, 1): 8833317827687283442,
    ("backbone", "all tasks", None, 0): 4094102137843706812,
    ("head", "age", 0, 0): 1634003183031361564,
    ("dropout", "age", 0, 0): 7425291690900811504,
}


@pytest.mark.parametrize("arguments", PINNED, ids=lambda arguments: arguments[0])
def test_values_are_the_same_everywhere_and_always(arguments):
    assert seed_for(*arguments) == PINNED[arguments]


def test_every_purpose_is_pinned():
    assert {purpose for purpose, *_ in PINNED} == set(get_args(Purpose))


def test_no_two_uses_share_a_seed():
    uses = [
        (purpose, task, fold, repetition)
        for purpose in get_args(Purpose)
        for task in ("age", "age1", "edema-a")
        for fold in (None, 0, 1, 11)
        for repetition in (None, 0, 1, 11)
    ]
    assert len({seed_for(*use) for use in uses}) == len(uses)


def test_seeds_fit_a_signed_64_bit_integer():
    seeds = [seed_for("pairs", "age", fold, 0) for fold in range(200)]
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert max(seeds) > 2**60


def test_the_method_is_no_axis():
    assert list(inspect.signature(seed_for).parameters) == ["purpose", "task", "fold", "repetition"]


def test_unknown_purposes_are_refused():
    with pytest.raises(ValueError, match="unknown seed purpose 'luck'"):
        seed_for("luck", "age")
