"""Killed at random moments, every phase ends as an undisturbed one does, and loses an epoch at most."""

from __future__ import annotations

import os
import random
import signal

import pytest

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
KILLS = {"linear": 20, "probe": 16, "quick": 16, "sweep": 8, "pages": 12, "pretrain": 16, "prepare": 12}
IN_A_ROW = 4


def check(killer, phase, signals):
    account = killer.check(phase, signals)
    assert account.unanswered == []
    assert account.lost <= len(signals)
    return account


@pytest.mark.parametrize("name", KILLS)
def test_killed_once_it_ends_as_if_undisturbed(killer, phases, name):
    number = list(KILLS).index(name)
    check(killer, phases[name], [SIGNALS[number % 3]])


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("COMFACE_TEST_KILLS"), reason="COMFACE_TEST_KILLS isn't set: minutes")
@pytest.mark.parametrize("name", KILLS)
def test_killed_at_a_hundred_moments_it_ends_as_if_undisturbed(killer, phases, name):
    """A hundred of all phases together: two and a half minutes on two cores."""
    draw, left = random.Random(name), KILLS[name]
    while left:
        signals = draw.choices(SIGNALS, k=min(IN_A_ROW, left))
        check(killer, phases[name], signals)
        left -= len(signals)
