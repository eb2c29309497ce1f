"""Two runs at once on one results folder: both end well, with what one alone gives."""

from __future__ import annotations


def test_two_runs_at_once_leave_the_record_of_one(killer, phases):
    phase = phases["quick"]
    result, _, _ = killer.undisturbed(phase)
    folder = killer.folder(phase)
    both = [killer.start(phase, folder) for _ in range(2)]
    for process in both:
        output, _ = process.communicate(timeout=120)
        process.stdout.close()
        assert process.returncode == 0, output
        assert "warning" not in output
    assert phase.result(folder) == result
