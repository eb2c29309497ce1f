"""Pictures of pairs: of the shipped faces, the right ones, and of no other data set."""

import random

import numpy as np
import pytest

from comface_bench.data.task import load_task
from comface_bench.leaderboards.pages import read_document
from comface_bench.leaderboards.site import render_site
from comface_bench.leaderboards.site.pictures import Pictures
from comface_bench.results.predictions import Prediction
from comface_bench.results.store import ResultStore

METHOD = {"name": "a", "card": {"group": "Other"}}


@pytest.fixture(scope="module")
def age():
    return load_task("synth-age")


def predictions(task, seed=0):
    """Test pairs of two folds, with drawn errors, and the images that they are of."""
    rng, units, images = random.Random(seed), {}, {}
    for fold in (0, 1):
        pairs = task.pairs(fold)
        names = task.sampler.identifiers(pairs)
        rows = zip(names, pairs.subject.tolist(), pairs.target.tolist(), strict=True)
        units[fold, 0] = [Prediction(n, s, fold, 0, y, y + rng.gauss(0, 9)) for n, s, y in rows]
        images |= {n: (x, y) for n, x, y in zip(names, pairs.x.tolist(), pairs.y.tolist(), strict=True)}
    return units, images


def facts(task, **changes):
    shipped = {"data": task.card.data, "manifest_digest": task.table.digest}
    return {"name": "synth-age", "metrics": ["mae"]} | shipped | changes


@pytest.fixture(scope="module")
def shown(age, made, tmp_path_factory):
    results = tmp_path_factory.mktemp("shown") / "results"
    units, images = predictions(age)
    made.store(results, facts(age), METHOD, "probe", units)
    return results, units, images


def choose(results, task="synth-age"):
    store, pictures = ResultStore(results), Pictures()
    record = store.load(task, "probe", "a")
    return pictures.choose(record, list(store.load_columns(record).values()), typical=True), pictures


def test_smallest_median_and_largest_error_of_the_larger_changes(shown, age):
    results, units, images = shown
    gallery, pictures = choose(results)
    rows = [row for fold in units for row in sorted(units[fold], key=lambda row: row.subject) if row.y]
    least = np.median([abs(row.y) for row in rows])
    large = sorted((row for row in rows if abs(row.y) >= least), key=lambda row: abs(row.y - row.yhat))
    for pair, row in (
        (gallery.best, large[0]),
        (gallery.typical, large[(len(large) - 1) // 2]),
        (gallery.worst, large[-1]),
    ):
        assert (pair.y, pair.yhat, pair.subject) == (row.y, row.yhat, row.subject)
        for path, image in zip((pair.first, pair.second), images[row.pair_id], strict=True):
            assert pictures.files[path] == (age.table.root / age.table.images[image]).read_bytes()
    assert len(pictures.files) <= 6
    store, fewer = ResultStore(results), Pictures()
    record = store.load("synth-age", "probe", "a")
    assert fewer.choose(record, list(store.load_columns(record).values())).typical is None
    assert set(fewer.files) < set(pictures.files)


def test_pages_hold_the_pictures_and_refer_to_them(shown, read):
    results, *_ = shown
    document = read_document(results)
    pages = render_site(document, results)
    files = {name for name in pages if name.startswith("html/pictures/")}
    used = set()
    for name in ("index", "task/synth-age/probe", "task/synth-age/probe/a"):
        page = read(pages[f"html/{name}.html"])
        sources = page.attributes("src")[1:]
        assert sources, name
        assert {"alt", "width", "height"} <= set(next(attrs for tag, attrs in page.elements if tag == "img"))
        used |= {f"html/{source.replace('../', '')}" for source in sources}
    assert used == files
    assert all(pages[name].startswith(b"\xff\xd8") for name in files)
    gallery, _ = choose(results)
    assert f"{gallery.worst.yhat:+.1f} years" in page.text
    assert pages == render_site(document, results)


@pytest.mark.parametrize(
    "changes",
    [
        {"data": "FGNET"},
        {"manifest_digest": "0" * 64},
        {"name": "age"},
        {"name": "synth-weight"},
    ],
)
def test_other_data_stays_numbers(age, made, tmp_path, read, changes):
    units, _ = predictions(age)
    made.store(tmp_path, facts(age, **changes), METHOD, "probe", units)
    gallery, pictures = choose(tmp_path, changes.get("name", "synth-age"))
    assert (gallery, pictures.files) == (None, {})
    pages = render_site(read_document(tmp_path), tmp_path)
    assert not [name for name in pages if name.endswith(".jpg")]
    for name, data in pages.items():
        assert not name.endswith(".html") or "img" not in [tag for tag, _ in read(data).elements]


@pytest.mark.parametrize("pair", ["999-0-1", "0-0-999", "0-1", "a-b-c", "0-0-0"])
def test_a_pair_that_is_not_of_the_data_has_no_picture(age, made, tmp_path, pair):
    units = {(0, 0): [Prediction(pair, 0, 0, 0, 7.0, 6.0), Prediction("x", 1, 0, 0, 1.0, 0.5)]}
    made.store(tmp_path, facts(age), METHOD, "probe", units)
    assert choose(tmp_path)[0] is None


def test_no_change_at_all_has_no_picture(age, made, tmp_path):
    made.store(tmp_path, facts(age), METHOD, "probe", {(0, 0): [Prediction("0-0-0", 0, 0, 0, 0.0, 1.0)]})
    assert choose(tmp_path)[0] is None
