import dataclasses
import subprocess
import sys

import pytest

from comface_bench.core.augmentation import NO_AUGMENTATION, TABLE_B, TABLE_C, TABLE_D, TABLE_E, Augmentation
from comface_bench.core.digest import digest


def test_the_tables_hold_the_published_values():
    colours = {"jitter_prob": 0.8, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}
    crops = {TABLE_B: (0.2, 1.0), TABLE_C: (0.5, 1.0), TABLE_D: None, TABLE_E: (0.5, 1.0)}
    for table, crop in crops.items():
        expected = {"flip": 0.5, **colours, "grayscale_prob": 0.2, "crop_scale": crop}
        assert dataclasses.asdict(table) == {**expected, "crop_ratio": (3 / 4, 4 / 3)}
    assert dataclasses.asdict(NO_AUGMENTATION) == dataclasses.asdict(Augmentation())
    assert digest(TABLE_B) != digest(TABLE_C) == digest(TABLE_E)


@pytest.mark.parametrize(
    "fact",
    [
        {"flip": -0.1},
        {"jitter_prob": 1.1},
        {"grayscale_prob": float("nan")},
        {"brightness": float("inf")},
        {"contrast": -1},
        {"saturation": -1},
        {"hue": 0.6},
        {"crop_scale": (0.0, 1.0)},
        {"crop_scale": (0.8, 0.5)},
        {"crop_scale": (0.5, 1.1)},
        {"crop_ratio": (0.0, 1.0)},
        {"crop_ratio": (2.0, 1.0)},
    ],
)
def test_impossible_facts_are_refused(fact):
    with pytest.raises(ValueError, match=next(iter(fact))):
        Augmentation(**fact)


def test_importing_it_needs_no_torch():
    heavy = {"torch", "numpy", "pandas"}
    code = f"import sys, comface_bench.core.augmentation; sys.exit(bool({heavy} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True)
