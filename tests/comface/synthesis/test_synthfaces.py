from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import comface_bench.tasks
from comface_bench.comface.synthesis import synthfaces
from comface_bench.comface.synthesis.anny import head_model
from comface_bench.comface.synthesis.anny.labels import UNITS
from comface_bench.comface.synthesis.synthfaces import (
    SETS,
    VERSION,
    Counts,
    digest_tree,
    plan,
    render_image,
    render_synthfaces,
)
from comface_bench.comface.synthesis.synthfaces_plan import ImageSpec, disfa_subjects
from comface_bench.core.errors import MissingExtraError, UsageError

SHIPPED = Path(comface_bench.tasks.__file__).parent / "synthfaces"
SMALL = Counts(3, 4, 2, 2, 3, 5)
FULL = Counts(27, 20, 39, 5, 40, 10)


@pytest.fixture(scope="module")
def about() -> dict[str, Any]:
    return json.loads((SHIPPED / "synthfaces.json").read_text())


@pytest.fixture(scope="module")
def full_plan(about: dict[str, Any]) -> tuple[list[ImageSpec], dict[str, str]]:
    return plan(about["seed"], SETS, FULL)


def labels_of(folder: Path) -> np.ndarray:
    """Intensities (subjects, 12, frames)."""
    subjects = sorted(path.name for path in folder.iterdir())
    tables = [
        [np.loadtxt(folder / s / f"{s}_au{u}.txt", delimiter=",", dtype=int, ndmin=2) for u in UNITS]
        for s in subjects
    ]
    return np.array(tables)[..., 1]


def test_shipped_set_is_the_one_it_says(about: dict[str, Any]) -> None:
    assert about["version"] == VERSION
    assert about["counts"] == vars(FULL)
    assert about["digest"] == digest_tree(SHIPPED)


def test_shipped_pictures_fit(about: dict[str, Any]) -> None:
    images = [p for p in SHIPPED.rglob("*") if p.suffix.lower() == ".jpg"]
    assert len(images) == about["images"] == 27 * 20 + 39 * 5 * 2 + 40 * 10
    assert sum(p.stat().st_size for p in images) <= 12_000_000
    for path in images[::37]:
        with Image.open(path, formats=["JPEG", "PNG"]) as image:
            assert image.size == (about["size"], about["size"])


def test_shipped_disfa_tree_is_disfas() -> None:
    subjects = sorted(p.name for p in (SHIPPED / "DISFA/ActionUnit_Labels").iterdir())
    assert subjects == disfa_subjects(27) and len(subjects) == 27
    for subject in subjects:
        frames = sorted(p.name for p in (SHIPPED / "DISFA/frames" / subject).iterdir())
        assert frames == [f"{n:05d}.jpg" for n in range(1, 21)]
        for unit in UNITS:
            text = (SHIPPED / f"DISFA/ActionUnit_Labels/{subject}/{subject}_au{unit}.txt").read_text()
            rows = [line.split(",") for line in text.splitlines()]
            assert [int(row[0]) for row in rows] == list(range(1, 21))
            assert all(re.fullmatch("[0-5]", row[1]) for row in rows)


def test_shipped_units_vary() -> None:
    values = labels_of(SHIPPED / "DISFA/ActionUnit_Labels")
    for index in range(12):
        own = values[:, index].ravel()
        assert (own > 0).mean() > 0.25
        assert (np.bincount(own, minlength=6) >= 10).all()
    correlation = np.corrcoef(values.transpose(1, 0, 2).reshape(12, -1)) - np.eye(12)
    assert np.abs(correlation).max() < 0.5, "a unit that another one gives away is no task of its own"


def test_shipped_edema_tree_is_edemas() -> None:
    text = (SHIPPED / "Edema-A/manifest.csv").read_text()
    assert text.startswith("image,patient,day,phase,weight_kg\n")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == 390 and len({row["patient"] for row in rows}) == 39
    assert {row["image"] for row in rows} == {
        p.relative_to(SHIPPED / "Edema-A").as_posix() for p in (SHIPPED / "Edema-A/images").rglob("*.jpg")
    }
    weight = {(row["patient"], row["day"], row["phase"]): float(row["weight_kg"]) for row in rows}
    assert all(re.fullmatch(r"\d+\.\d\d", row["weight_kg"]) for row in rows)
    assert all(35 < value < 120 for value in weight.values())
    for patient, day, _ in list(weight):
        loss = weight[patient, day, "pre"] - weight[patient, day, "post"]
        assert 0.49 < loss < 4.01


def test_shipped_fgnet_tree_is_fgnets() -> None:
    names = [p.name for p in (SHIPPED / "FGNET/images").iterdir()]
    found = [re.fullmatch(r"(\d{3})A(\d{2})\.JPG", name) for name in names]
    assert all(found) and len(names) == 400
    ages = np.array([int(match[2]) for match in found if match])
    subjects = [match[1] for match in found if match]
    assert sorted(set(subjects)) == [f"{n:03d}" for n in range(1, 41)]
    assert all(subjects.count(name) == 10 for name in set(subjects))
    assert ages.max() <= 69 and ages.min() == 0
    assert 10 <= np.median(ages) <= 18 and (ages > 40).mean() > 0.06
    modes = []
    for name in names:
        with Image.open(SHIPPED / "FGNET/images" / name, formats=["JPEG", "PNG"]) as image:
            modes.append(image.mode)
    assert 0.08 < modes.count("L") / len(modes) < 0.25 and set(modes) == {"L", "RGB"}


def test_shipped_labels_are_the_plans(full_plan: tuple[list[ImageSpec], dict[str, str]]) -> None:
    shots, tables = full_plan
    assert all((SHIPPED / name).read_text() == text for name, text in tables.items())
    assert all((SHIPPED / shot.path).is_file() for shot in shots)


def test_larger_counts_add_and_change_nothing() -> None:
    small, _ = plan(3, SETS, SMALL)
    large = {shot.path: shot for shot in plan(3, SETS, Counts(30, 6, 4, 3, 5, 9))[0]}
    assert len({shot.path for shot in small}) == len(small) == 12 + 8 + 15
    assert all(large[shot.path] == shot for shot in small)
    assert "DISFA/frames/SN102/00006.jpg" in large


def test_views_change_within_a_subject_and_identity_stays() -> None:
    shots = [shot for shot in plan(1, ["disfa"], SMALL)[0] if "SN001" in shot.path]
    assert len({id(shot.person) for shot in shots}) == 1
    for field in ("yaw", "key_light", "distance", "background", "exposure", "seed"):
        assert len({getattr(shot.view, field) for shot in shots}) == len(shots)


def test_seed_changes_everything() -> None:
    one, two = plan(1, SETS, SMALL)[0], plan(2, SETS, SMALL)[0]
    assert all(a.person != b.person and a.view != b.view for a, b in zip(one, two, strict=False))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sets": ["bu3d"]}, "bu3d"),
        ({"disfa_frames": 0}, "counts"),
        ({"only": ["FGNET/images/1.JPG"]}, "1.JPG"),
    ],
)
def test_nonsense_is_refused_before_anything_is_written(tmp_path: Path, options: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        render_synthfaces(tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_images_of_another_set_are_not_mixed_with_it(tmp_path: Path) -> None:
    """Of another seed, subject 001 is somebody else."""
    other = tmp_path / "FGNET/images/001A70.JPG"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"")
    with pytest.raises(UsageError, match=r"001A70\.JPG isn't a file of this set"):
        render_synthfaces(tmp_path, sets=["fgnet"], fgnet_subjects=1, fgnet_ages=70)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [other]


def test_without_anny_the_hint_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # Not the head that another test built.
    monkeypatch.setattr(head_model, "load_head", head_model.load_head.__wrapped__)
    monkeypatch.setitem(sys.modules, "anny", None)
    with pytest.raises(MissingExtraError, match="synth"):
        render_synthfaces(
            tmp_path, sets=["fgnet"], only=["FGNET/images/001A00.JPG"], fgnet_subjects=1, fgnet_ages=70
        )


def test_importing_brings_neither_torch_nor_anny() -> None:
    code = (
        "import sys, comface_bench.comface.synthesis.synthfaces, comface_bench.comface.contact_sheet;"
        "print([m for m in ('torch', 'anny', 'warp', 'pandas', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_rendering_again_gives_the_shipped_pictures(
    about: dict[str, Any], full_plan: tuple[list[ImageSpec], dict[str, str]]
) -> None:
    pytest.importorskip("anny")
    shots, _ = full_plan
    for shot in (shots[0], shots[1], shots[600], shots[777], shots[-1]):
        first = render_image(shot, about["size"])
        assert first == render_image(shot, about["size"])
        with (
            Image.open(SHIPPED / shot.path, formats=["JPEG", "PNG"]) as image,
            Image.open(io.BytesIO(first), formats=["JPEG", "PNG"]) as again,
        ):
            assert image.mode == again.mode
            difference = np.abs(np.asarray(image, float) - np.asarray(again, float))
        # Other processors round otherwise; a sample at an edge may then see what is behind it.
        assert difference.mean() < 3


def test_writing_a_small_set(tmp_path: Path) -> None:
    pytest.importorskip("anny")
    seen: list[tuple[int, int]] = []
    counts = {"disfa_subjects": 1, "disfa_frames": 2, "edema_patients": 1, "edema_days": 1}
    render_synthfaces(
        tmp_path / "a",
        size=32,
        fgnet_subjects=1,
        fgnet_ages=2,
        **counts,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(n, 6) for n in range(1, 7)]
    about = json.loads((tmp_path / "a/synthfaces.json").read_text())
    assert about["digest"] == digest_tree(tmp_path / "a") and about["images"] == 6
    path = "Edema-A/images/P01/D1_post.jpg"
    render_synthfaces(tmp_path / "b", size=32, **counts, only=[path])
    assert [p.name for p in (tmp_path / "b").rglob("*") if p.is_file()] == ["D1_post.jpg"]
    assert (tmp_path / "b" / path).read_bytes() == (tmp_path / "a" / path).read_bytes()
    (tmp_path / "a" / path).write_bytes(b"other")
    assert about["digest"] != digest_tree(tmp_path / "a")


def test_contact_sheet_has_a_face_for_each_column(tmp_path: Path) -> None:
    pytest.importorskip("anny")
    from comface_bench.comface.contact_sheet import label_states, render_contact_sheet

    render_contact_sheet(tmp_path / "sheet.png", "weight", rows=1, size=24)
    with Image.open(tmp_path / "sheet.png", formats=["JPEG", "PNG"]) as image:
        assert image.size == (24 * len(label_states("weight")), 24)
        faces = np.split(np.asarray(image, float), len(label_states("weight")), axis=1)
    # One view a row: the corner of the background stays, the face swells.
    far = [np.abs(face - faces[0]).mean() for face in faces]
    assert (np.diff(far) > 0).all()


@pytest.mark.slow
def test_another_process_renders_the_same_bytes(tmp_path: Path) -> None:
    pytest.importorskip("anny")
    # So few images are one worker's: a second one would do the same again.
    options: dict[str, Any] = {"sets": ["edema", "fgnet"], "edema_patients": 1, "edema_days": 2}
    options |= {"fgnet_subjects": 1, "fgnet_ages": 4, "size": 64}
    render_synthfaces(tmp_path / "one", **options)
    render_synthfaces(tmp_path / "two", **options, workers=2)
    assert digest_tree(tmp_path / "one") == digest_tree(tmp_path / "two")


def test_workers_have_one_thread_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []

    class Pool(contextlib.nullcontext[None]):
        def __enter__(self) -> Pool:
            return self

        def map(self, _: Any, shots: list[Any], **__: Any) -> list[bytes]:
            threads.append(os.environ.get("OMP_NUM_THREADS"))
            return [b""] * len(shots)

    monkeypatch.setattr(synthfaces, "ProcessPoolExecutor", lambda *_, **__: Pool())
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    only = ["FGNET/images/001A00.JPG"]
    render_synthfaces(tmp_path, sets=["fgnet"], fgnet_subjects=1, fgnet_ages=70, only=only, workers=2)
    assert threads == ["1"] and os.environ["OMP_NUM_THREADS"] == "7"
