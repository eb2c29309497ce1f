"""The table of faults is held to the tests: each line names some, and those exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_each_fault_of_the_table_has_a_test():
    section = (ROOT / "docs" / "records.md").read_text().split("\n## Faults\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")][1:]
    assert len(lines) > 10
    files = (ROOT / "tests").rglob("test_*.py")
    tests = {name for file in files for name in re.findall(r"^def (test_\w+)\(", file.read_text(), re.M)}
    for line in lines:
        named = re.findall(r"`(test_\w+)`", line.split(" | ")[-1])
        assert named, line
        assert set(named) <= tests, line
