"""Where models are."""

from dataclasses import dataclass
from pathlib import Path

from comface_bench.results.models import ModelFiles


@dataclass(frozen=True)
class Unit:
    key: str
    predictions_digest: str


ONE, AGAIN, OTHER = Unit("a" * 64, "1" * 64), Unit("a" * 64, "2" * 64), Unit("b" * 64, "1" * 64)


def test_units_and_their_repetitions_have_files_of_their_own(tmp_path: Path) -> None:
    files = ModelFiles(tmp_path / "timm__resnet18+a=1.5.json")
    assert files.folder == tmp_path / "timm__resnet18+a=1.5.models"
    paths = {files.path(place, unit) for place in ((0, 0), (0, 1)) for unit in (ONE, AGAIN, OTHER)}
    assert len(paths) == 6
    assert files.path((3, 1), ONE).name == f"3-1-{'a' * 12}-{'1' * 12}.safetensors"


def test_a_record_that_was_set_aside_shares_the_folder(tmp_path: Path) -> None:
    aside = ModelFiles(tmp_path / "comface@0123abcd.json")
    assert aside.path((0, 0), ONE) == ModelFiles(tmp_path / "comface.json").path((0, 0), ONE)


def test_only_earlier_models_of_the_same_unit_are_removed(tmp_path: Path) -> None:
    files = ModelFiles(tmp_path / "m.json")
    files.folder.mkdir()
    places = {(0, 0): (ONE, AGAIN, OTHER), (0, 1): (ONE,), (10, 0): (ONE,)}
    for place, units in places.items():
        for unit in units:
            files.path(place, unit).touch()
    assert files.missing([((0, 0), ONE), ((1, 0), OTHER)]) == {OTHER.key}
    files.remove_earlier((0, 0), AGAIN)
    left = {path.name for path in files.folder.iterdir()}
    kept = [((0, 0), AGAIN), ((0, 0), OTHER), ((0, 1), ONE), ((10, 0), ONE)]
    assert left == {files.path(place, unit).name for place, unit in kept}
