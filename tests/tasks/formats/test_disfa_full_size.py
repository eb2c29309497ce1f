"""DISFA at its full size: 27 subjects, 12 action units, 130,814 frames."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from comface_bench.data.task import load_task
from comface_bench.tasks.formats.action_units import ACTION_UNITS
from comface_bench.tasks.formats.disfa_frames import LINES

LOAD = """
import json, sys
from collections import Counter
from pathlib import Path
from comface_bench.core.problems import Note
from comface_bench.data.task import load_task
from comface_bench.tasks.formats.disfa import read_disfa

table = load_task("disfa-au12", data=sys.argv[1]).table
# Not getrusage's, which a process inherits from the one that started it.
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
kilobytes = int(peak.split()[1])
last = {column: values[-1] for column, values in table.labels.items()}
notes = list(table.notes)
root = Path(sys.argv[1]) / "DISFA"
(root / "exclude.csv").unlink()
shipped = Counter(row["subject"] for row in read_disfa(root) if not isinstance(row, Note))
print(json.dumps([Counter(table.subjects), kilobytes, last, notes, shipped]))
"""


def lay_out(root: Path, lines: dict[str, int]) -> None:
    """Lay out DISFA with frames that are no pictures; intensity is (action unit + frame) mod 6."""
    for subject, count in lines.items():
        labels, frames = root / "ActionUnit_Labels" / subject, root / "frames" / subject
        for folder in (labels, frames):
            folder.mkdir(parents=True)
        for unit in ACTION_UNITS:
            text = "".join(f"{frame},{(unit + frame) % 6}\n" for frame in range(1, count + 1))
            (labels / f"{subject}_au{unit}.txt").write_text(text)
        for frame in range(1, count + 1):
            (frames / f"{frame:05d}.jpg").write_bytes(f"{subject} {frame}".encode())
    (root / "exclude.csv").write_text("subject,first,last,reason\n")


@pytest.mark.slow
def test_a_tree_of_full_size(tmp_path):
    lay_out(tmp_path / "DISFA", dict(LINES))
    run = subprocess.run(
        [sys.executable, "-c", LOAD, str(tmp_path)], capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr
    counts, kilobytes, last, notes, shipped = json.loads(run.stdout)
    assert sum(counts.values()) == 130_814
    assert counts == dict(LINES)
    assert last == {f"au{unit}": (unit + 4845) % 6 for unit in ACTION_UNITS}
    assert notes == []
    assert kilobytes < 1_000_000
    # The list that ships takes 207 frames of one subject.
    assert sum(shipped.values()) == 130_814 - 207
    assert {subject for subject in LINES if shipped[subject] != LINES[subject]} == {"SN029"}


def test_a_tree_of_all_subjects_in_small(tmp_path):
    lines = {subject: 3 if subject == "SN010" else 4 for subject in LINES}
    lay_out(tmp_path / "DISFA", lines)
    table = load_task("disfa-au12", data=tmp_path).table
    assert len(table) == 26 * 4 + 3
    assert Counter(table.subjects) == lines
    assert {column: values[-1] for column, values in table.labels.items()} == {
        f"au{unit}": (unit + 4) % 6 for unit in ACTION_UNITS
    }
