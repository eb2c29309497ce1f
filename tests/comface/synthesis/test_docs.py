from __future__ import annotations

from pathlib import Path

import pytest

from comface_bench.comface.synthesis.anny import labels

PAGE = Path(__file__).parents[3] / "docs" / "synthfaces.md"
TEXT = PAGE.read_text(encoding="utf-8").replace("−", "-")


@pytest.mark.parametrize("unit", labels.UNITS)
def test_page_gives_each_units_actions(unit: int) -> None:
    row = next(line for line in TEXT.splitlines() if line.startswith(f"| {unit} |"))
    for name, value in labels.ACTIONS_OF_UNIT[unit].items():
        if name.endswith("Left"):
            assert f"`{name.removesuffix('Left')}` left and right {value:g}" in row
        elif not name.endswith("Right"):
            assert f"`{name}` {value:g}" in row


@pytest.mark.parametrize("name", labels.FLUID_PER_KG)
def test_page_gives_each_kilograms_changes(name: str) -> None:
    row = next(
        line for line in TEXT.splitlines() if f"| `{name.removeprefix('l-').removeprefix('r-')}`" in line
    )
    assert f"{labels.FLUID_PER_KG[name]:+g} × {labels.EXAGGERATION:g} |" in row
    if name in labels.FAT_PER_KG:
        assert row.endswith(f"{labels.FAT_PER_KG[name]:+g} × {labels.EXAGGERATION:g} |")


@pytest.mark.parametrize("name", labels.SAG)
def test_page_gives_each_change_of_sagging(name: str) -> None:
    side = " left and right" if name[:2] in ("l-", "r-") else ""
    bare = name[2:] if side else name
    assert f"`{bare}`{side} {labels.SAG[name]:+g}," in TEXT


def test_pictures_of_the_page_exist_and_are_small() -> None:
    pictures = sorted((PAGE.parent / "images").glob("synthfaces-*.jpg"))
    assert all(f"images/{path.name}" in TEXT for path in pictures)
    assert len(pictures) == TEXT.count("](images/synthfaces-")
    assert sum(path.stat().st_size for path in pictures) < 600_000
