"""After one change of the images or of their store, a run gives the right result of the data as they are."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from comface_bench.core.events import Event
from comface_bench.core.problems import DataProblemsError
from comface_bench.core.weights import cache_folder
from comface_bench.execute.plan import PlannedRecord, Request, describe_data_change, make_plan
from comface_bench.execute.run import run_plan
from comface_bench.execute.sweep import explain
from comface_bench.results.record import load_record
from comface_bench.results.store import ResultStore


def draw_faces(folder: Path, subjects: int, seed: int) -> list[Path]:
    """Write bitmaps, which have no checksum, under the names of FG-NET; the older, the brighter."""
    random = np.random.default_rng(seed)
    paths = []
    for subject in range(1, subjects + 1):
        for age in sorted(random.choice(60, 3, replace=False)):
            path = folder / "FGNET" / "images" / f"{subject:03d}A{age:02d}.JPG"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = random.integers(0, 60, (9, 9, 3)) + 3 * age
            Image.fromarray(pixels.astype(np.uint8)).save(path, "BMP")
            paths.append(path)
    return paths


def run(request: Request) -> tuple[list[float], str, list[str]]:
    """Run a request; return its predictions, the digest of its data, and its notices."""
    events: list[Event] = []
    (record,) = run_plan(make_plan(request), request, events.append).records
    predictions = [row.yhat for row in ResultStore(request.results).load_predictions(record)]
    return (
        predictions,
        record.task.manifest_digest,
        [event.text for event in events if event.kind == "notice"],
    )


@settings(
    max_examples=8,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_a_run_after_one_change_is_that_of_the_data_as_they_are(
    data: st.DataObject, make_request: Callable[..., Request], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("change")
    images = draw_faces(
        folder, data.draw(st.integers(4, 6), "subjects"), data.draw(st.integers(0, 99), "seed")
    )

    def request(name: str) -> Request:
        options = {"split": "balanced-2", "epochs": "1"}
        return make_request(data=folder, results=folder / name, options=options, folds=[0])

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMFACE_CACHE", str(folder / "cache"))
        patch.setenv("COMFACE_FEATURES_GB", "0")  # With features kept, nobody looks at pixels again.
        _, before, _ = run(request("before"))
        (store,) = (cache_folder() / "images").glob("*.pixels")
        path = data.draw(st.sampled_from([store, *images[:4]]), "changed")
        content, facts = bytearray(path.read_bytes()), path.stat()
        place = data.draw(
            st.integers(0 if path == store else 54, len(content) - 1), "byte"
        )  # behind the header
        content[place] ^= data.draw(st.sampled_from([1, 64, 255]), "flipped")
        path.write_bytes(content)
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
        # The same results folder for images: what it holds is of other data. Another one for the store.
        found, digest, notices = run(request("after" if path == store else "before"))
        patch.setenv("COMFACE_CACHE", str(folder / "fresh"))
        expected, expected_digest, _ = run(request("fresh"))
    assert found == expected
    assert digest == expected_digest
    if path == store:
        assert digest == before
        assert any("damaged and is built again" in text for text in notices)
    else:
        assert digest != before


def change_since_record(cell: PlannedRecord) -> str:
    return describe_data_change(cell, load_record(cell.record_path))


def test_what_changed_in_the_data_is_said_where_their_record_is_set_aside(
    make_request: Callable[..., Request], tmp_path: Path
) -> None:
    images = draw_faces(tmp_path / "faces", 8, 1)
    options = {"split": "balanced-2", "epochs": "1"}
    request = make_request(data=tmp_path / "faces", options=options, folds=[0])
    assert run(request)[2] == []
    images[0].rename(images[0].with_name("001A61.JPG"))
    images[-1].unlink()
    images[4].write_bytes(images[4].read_bytes()[:-3] + b"new")
    (cell,) = make_plan(request).cells
    said = "1 image removed, 1 image renamed, 1 picture changed"
    assert change_since_record(cell) == said
    assert set(explain(cell).values()) == {f"the data changed ({said})"}
    (notice,) = run(request)[2]
    assert f"the data changed since its record ({said}); that is kept as tiny@" in notice
    assert change_since_record(make_plan(request).cells[0]) == ""


def test_without_the_former_table_a_record_tells_how_many_people_there_were(
    make_request: Callable[..., Request], tmp_path: Path
) -> None:
    images = draw_faces(tmp_path / "faces", 8, 1)
    request = make_request(data=tmp_path / "faces", options={"split": "balanced-2", "epochs": "1"}, folds=[0])
    run(request)
    for path in (cache_folder() / "tables").iterdir():
        path.unlink()
    images[0].write_bytes(images[0].read_bytes()[:-3] + b"new")
    (cell,) = make_plan(request).cells
    assert change_since_record(cell).startswith("what changed isn't known: this machine's cache")
    for path in images[:3]:
        path.unlink()
    (cell,) = make_plan(request).cells
    assert change_since_record(cell).startswith("people in its folds 8 → 7; what else changed isn't known")


@pytest.mark.parametrize(("of", "what"), [("003A05.JPG", "of 003"), ("001A60.JPG", "but its age is 60")])
def test_a_picture_saved_anew_for_another_person_or_label_stops_a_run(
    make_request: Callable[..., Request], tmp_path: Path, of: str, what: str
) -> None:
    images = draw_faces(tmp_path / "faces", 8, 1)
    with Image.open(images[0], formats=["BMP"]) as image:
        image.save(images[0].with_name(of), "PNG")
    request = make_request(data=tmp_path / "faces")
    with pytest.raises(DataProblemsError, match=what):
        run_plan(make_plan(request), request)
    assert not list((tmp_path / "results").rglob("*.json"))
    meant = make_request(
        data=tmp_path / "faces", results=tmp_path / "meant", options={"allow": "equal-images"}
    )
    finished = run_plan(make_plan(meant), meant)
    assert not finished.failed
    assert finished.records[0].task.name == "age+allow=equal-images+split=balanced-4"
