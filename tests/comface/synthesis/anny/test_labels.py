"""Labels: the maps from labels to shapes, and the page that documents them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from comface_bench.comface.synthesis.anny import labels

PAGE = Path(__file__).parents[4] / "docs" / "synthfaces.md"
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


def test_actions_are_linear_in_the_intensity() -> None:
    for unit in labels.UNITS:
        full = labels.actions_of({unit: 5})
        for intensity in range(6):
            part = labels.actions_of({unit: intensity})
            for name, value in full.items():
                assert part.get(name, 0.0) == pytest.approx(value * intensity / 5)


@pytest.mark.parametrize("units", [{3: 1}, {12: 6}, {12: -1}])
def test_actions_refuse_what_is_no_label(units: dict[int, int]) -> None:
    with pytest.raises(ValueError, match="AU"):
        labels.actions_of(units)


def test_age_map_runs_through_annys_anchors_and_never_turns_back() -> None:
    assert labels.age_phenotype(1) == pytest.approx(0)
    assert labels.age_phenotype(10) == pytest.approx(1 / 3)
    assert labels.age_phenotype(25) == pytest.approx(2 / 3)
    assert labels.age_phenotype(90) == pytest.approx(1)
    years = np.arange(0, 91)
    assert (np.diff([labels.age_phenotype(y) for y in years]) > 0).all()
    assert (np.diff([labels.sagging(y) for y in years]) >= 0).all()
    assert labels.sagging(20) == 0 and labels.greyness(20, 40) == 0 and labels.greyness(75, 40) == 1
