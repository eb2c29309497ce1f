"""Directions: the files that ship, checks of the user's own, the stand-in, and what moves how far."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from comface_bench.comface.synthesis import boundaries
from comface_bench.comface.synthesis.boundaries import (
    CELEBA_ATTRIBUTES,
    STYLEGAN3_BOUNDARIES,
    STYLEGAN_BOUNDARIES,
    Boundary,
    find_boundaries,
    project_out,
    read_direction,
)
from comface_bench.comface.synthesis.editing import Editing
from comface_bench.core.errors import UsageError, WeightsFormatError, WeightsMissingError

SHIPPED = Path(boundaries.__file__).parent / "boundary_files"


def specs():
    for spec in (*STYLEGAN_BOUNDARIES, *STYLEGAN3_BOUNDARIES):
        for file in (spec.main, *spec.orthogonal_to):
            if file.folder:
                yield file


def test_files_that_ship_are_the_published_ones_under_their_licences():
    files = {SHIPPED / file.folder / file.file: file for file in specs()}
    assert set(SHIPPED.rglob("*.npy")) == set(files)
    for path, file in files.items():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == file.sha256
        licence = (path.parent / "LICENSE.txt").read_text()
        assert "MIT License" in licence or "Permission is hereby granted, free of charge" in licence
        assert abs(np.linalg.norm(read_direction(path)) - 1) < 1e-7
    assert sum(path.stat().st_size for path in SHIPPED.rglob("*") if path.is_file()) < 60_000


def test_cosines_are_those_that_were_measured_elsewhere():
    def cosine(a, b):
        a, b = (read_direction(next(SHIPPED.rglob(name))) for name in (a, b))
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    smile = "stylegan_ffhq_smile_w_boundary.npy"
    assert cosine("stylegan_ffhq_age_w_boundary.npy", smile) == pytest.approx(0.033, abs=5e-4)
    assert cosine("boundary_Young.npy", "stylegan_ffhq_age_w_boundary.npy") == pytest.approx(-0.301, abs=5e-4)
    assert cosine("boundary_Mouth_Slightly_Open.npy", smile) == pytest.approx(0.548, abs=5e-4)
    assert cosine("Male_boundary.npy", "Smiling_boundary.npy") == pytest.approx(-0.159, abs=5e-4)
    assert cosine("boundary_Chubby.npy", "boundary_Young.npy") == pytest.approx(-0.455, abs=5e-4)


def test_what_is_there_without_any_file_of_the_users():
    assert list(find_boundaries(STYLEGAN_BOUNDARIES)) == ["age", "smile", "weight-chubby"]
    assert list(find_boundaries(STYLEGAN3_BOUNDARIES)) == ["Male", "Smiling", "age", "pose"]
    assert len(set(CELEBA_ATTRIBUTES)) == 40
    assert [spec.attribute for spec in STYLEGAN3_BOUNDARIES] == [*CELEBA_ATTRIBUTES, "age", "pose"]
    assert [spec.attribute for spec in STYLEGAN_BOUNDARIES] == ["weight", "age", "smile", "weight-chubby"]


def test_the_stand_in_is_orthogonal_to_four_others_and_says_what_it_is():
    found = find_boundaries(STYLEGAN_BOUNDARIES)["weight-chubby"]
    folder = SHIPPED / "interfacegan-plus-plus"
    chubby = read_direction(folder / "boundary_Chubby.npy")
    others = [
        read_direction(folder / f"boundary_{name}.npy")
        for name in ("Smiling", "Mouth_Slightly_Open", "Young", "Gender")
    ]
    # By least squares, whose residual is what is left of it.
    weights, *_ = np.linalg.lstsq(np.stack(others, 1), chubby, rcond=None)
    rest = chubby - np.stack(others, 1) @ weights
    assert np.allclose(found.direction, rest / np.linalg.norm(rest), atol=1e-12)
    assert np.abs(np.stack(others) @ found.direction).max() < 1e-12
    assert chubby @ found.direction > 0.5
    assert found.note.startswith("stand-in for weight")
    assert len(found.sources) == 5


@given(st.integers(1, 6), st.integers(0, 2**32))
def test_projection_leaves_nothing_along_the_others(count, seed):
    random = np.random.default_rng(seed)
    direction, others = random.standard_normal(512), random.standard_normal((count, 512))
    found = project_out(direction, others)
    assert np.linalg.norm(found) == pytest.approx(1)
    assert np.abs(others @ found).max() < 1e-12
    # What was taken away lies in the space of the others.
    length = direction @ found
    rest = np.linalg.lstsq(others.T, direction - length * found, rcond=None)[1]
    assert rest.max(initial=0) < 1e-20


def save(path, array):
    np.save(path, array)
    return path


def test_an_own_weight_is_found_first_and_its_length_is_reported(tmp_path):
    array = np.random.default_rng(0).standard_normal((1, 512)).astype(np.float32)
    path = save(tmp_path / "weight_orth_mouth.npy", array)
    found = find_boundaries(STYLEGAN_BOUNDARIES, [tmp_path])["weight"]
    assert np.array_equal(found.direction, array[0].astype(np.float64))
    assert found.norm == pytest.approx(np.linalg.norm(array), rel=1e-6)
    assert np.linalg.norm(found.unit) == pytest.approx(1)
    assert found.sources == {"weight_orth_mouth.npy": hashlib.sha256(path.read_bytes()).hexdigest()}
    assert found.note == ""


def test_a_file_that_differs_from_the_published_one_is_reported(tmp_path):
    save(tmp_path / "stylegan_ffhq_age_w_boundary.npy", np.ones(512))
    with pytest.warns(UserWarning, match="isn't the published file"):
        found = find_boundaries(STYLEGAN_BOUNDARIES, [tmp_path])
    assert "stylegan_ffhq_age_w_boundary.npy isn't the published file" in found["age"].note
    assert found["smile"].note == ""


def test_a_wanted_direction_that_is_missing_is_reported_with_its_source(tmp_path):
    with pytest.raises(WeightsMissingError) as caught:
        find_boundaries(STYLEGAN_BOUNDARIES, [tmp_path], ["weight"])
    assert "weight_orth_mouth.npy" in caught.value.message
    assert str(tmp_path) in caught.value.message
    assert "StyleGAN-Facial-Weight" in caught.value.hint
    with pytest.raises(WeightsMissingError) as caught:
        find_boundaries(STYLEGAN3_BOUNDARIES, [tmp_path], ["Bald", "Male", "Young"])
    assert caught.value.message.startswith("2 attributes need 2 files")
    assert "Bald_boundary.npy, Young_boundary.npy" in caught.value.message
    assert caught.value.hint.count("stylegan3-editing") == 1
    with pytest.raises(UsageError, match="nobody knows a direction of 'nose'"):
        find_boundaries(STYLEGAN_BOUNDARIES, [], ["nose"])
    assert list(find_boundaries(STYLEGAN_BOUNDARIES, [], ["smile", "age"])) == ["smile", "age"]


@pytest.mark.parametrize(
    "array",
    [
        np.ones((512, 1)),
        np.ones((2, 512)),
        np.ones(511),
        np.ones((1, 512), np.int64),
        np.ones((1, 512), complex),
        np.array(["a"] * 512),
        np.array([None] * 512, dtype=object),
        np.zeros((1, 512)),
        np.r_[np.ones(511), np.nan],
        np.r_[np.ones(511), np.inf],
        np.float64(1),
    ],
    ids=lambda array: f"{array.dtype} {array.shape}",
)
def test_other_arrays_are_refused(tmp_path, array):
    with pytest.raises(WeightsFormatError, match=re.escape(str(tmp_path / "a.npy"))):
        read_direction(save(tmp_path / "a.npy", array))


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "a.npy"
    for data in (
        b"",
        b"no array",
        b"\x93NUMPY",
        # It says that it has more numbers than there are bytes.
        save(tmp_path / "b.npy", np.ones(512)).read_bytes()[:-8],
        save(tmp_path / "b.npy", np.ones(512)).read_bytes().replace(b"(512,), ", b"(9e9,), "),
    ):
        path.write_bytes(data)
        with pytest.raises(WeightsFormatError):
            read_direction(path)
    np.savez(tmp_path / "c.npz", np.ones(512))
    with pytest.raises(WeightsFormatError, match="an archive"):
        read_direction(tmp_path / "c.npz")


LAYERS = 6
RANDOM = np.random.default_rng(5)
W, MEAN, NORMAL = (torch.from_numpy(RANDOM.standard_normal(512)).float() for _ in range(3))
BOUNDARY = Boundary("age", 3 * NORMAL.double().numpy(), float(3 * NORMAL.double().norm()), {})


def moved(alpha, layer, *, psi=0.7, truncated=2, first=0, last=5, order="truncate-edit", unit=True):
    """The code of one layer, by the formula: w' = w + α·n, and w'' = mean + ψ·(w' − mean)."""
    w, mean, normal = (tensor.double().numpy() for tensor in (W, MEAN, NORMAL))
    normal = normal / np.linalg.norm(normal) if unit else 3 * normal
    edit = alpha * normal if first <= layer <= last else 0
    psi = psi if layer < truncated else 1
    if order == "truncate-edit":
        return mean + psi * (w - mean) + edit
    return mean + psi * (w + edit - mean)


@pytest.mark.parametrize("order", ["truncate-edit", "edit-truncate"])
@pytest.mark.parametrize("unit", [True, False])
@pytest.mark.parametrize("layers", [None, (0, 5), (1, 3), (2, 2)])
def test_codes_follow_the_formula(order, unit, layers):
    editing = Editing(0.7, 2, order, unit, {} if layers is None else {"age": layers, "other": (5, 5)})
    alphas = (-5.0, -0.1, 0.0, 3.3)
    found = editing.codes(W, MEAN, BOUNDARY, alphas, LAYERS)
    assert found.shape == (4, LAYERS, 512)
    first, last = layers or (0, 5)
    for k, alpha in enumerate(alphas):
        for layer in range(LAYERS):
            expected = moved(alpha, layer, first=first, last=last, order=order, unit=unit)
            assert np.abs(found[k, layer].numpy() - expected).max() < 2e-5
    assert torch.equal(found[2], editing.base(W, MEAN, LAYERS))
    # A plain offset: nothing is moved to a set distance from the boundary.
    middle = (found[3] - found[2]) @ torch.from_numpy(BOUNDARY.unit).float()
    step = 3.3 * (1 if unit else BOUNDARY.norm)
    for layer in range(LAYERS):
        psi = 0.7 if layer < 2 and order == "edit-truncate" else 1
        assert float(middle[layer]) == pytest.approx(
            step * psi * (first <= layer <= last), rel=1e-4, abs=1e-4
        )


def test_options_are_read_and_refused():
    editing = Editing(layers={"weight": (0, 7)})
    assert editing.changed({}) == editing
    texts = {"psi": "0.5", "truncated": "18", "order": "edit-truncate", "unit": "no"}
    assert editing.changed(texts) == Editing(0.5, 18, "edit-truncate", False, {"weight": (0, 7)})
    assert editing.changed({"layers": "age:2-9,smile:4"}).layers == {
        "weight": (0, 7),
        "age": (2, 9),
        "smile": (4, 4),
    }
    for texts in (
        {"psi": "much"},
        {"psi": "3"},
        {"psi": "nan"},
        {"unit": "maybe"},
        {"order": "never"},
        {"truncated": "-1"},
        {"layers": "0-7"},
        {"layers": "age:"},
        {"layers": "age:a-b"},
    ):
        with pytest.raises(UsageError):
            editing.changed(texts)
    editing.check_layers(8)
    for layers in ((0, 8), (-1, 3), (4, 3)):
        with pytest.raises(UsageError, match="they go from 0 to 7"):
            Editing(layers={"age": layers}).check_layers(8)
