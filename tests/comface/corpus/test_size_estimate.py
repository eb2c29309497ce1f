"""Counts and bytes of a corpus, begun or not."""

import dataclasses

import pytest

from comface_bench.comface.corpus.generate import generate
from comface_bench.comface.corpus.layout import Layout
from comface_bench.comface.corpus.size_estimate import corpus_status, estimate_size, measure_progress


def test_a_shard_that_lost_a_file_is_not_done(tmp_path, generator, describe):
    """It is generated again, so it counts as `generate` counts it."""
    layout, description = Layout(tmp_path / "corpus"), describe()
    generate(layout.root, lambda: generator, description)
    whole = measure_progress(layout, description)
    assert (whole.shards, whole.images) == (3, 60)
    for path in (*layout.files(0)[1:3], *layout.files(2)):
        data = path.read_bytes()
        path.unlink()
        found = measure_progress(layout, description)
        assert (found.shards, found.images) == (2, 50 if path.name.startswith("00002") else 35), path
        path.write_bytes(data)
    assert measure_progress(layout, description) == whole
    assert whole.bytes == sum(layout.tar(shard).stat().st_size for shard in range(3))


def test_status_and_estimate_have_the_same_counts(tmp_path, generator, describe):
    layout, description = Layout(tmp_path / "corpus"), describe(alphas=5)
    before = estimate_size(layout, description, None)
    generate(layout.root, lambda: generator, description)
    status, estimate = (
        corpus_status(layout, description),
        dataclasses.asdict(estimate_size(layout, description, None)),
    )
    shared = ("generator", "attributes", "records", "images", "pairs", "shards", "images_done")
    assert [status[key] for key in shared] == [estimate[key] for key in shared]
    assert (status["records"], status["images"], status["pairs"], status["shards"]) == (12, 60, 24, 3)
    assert estimate["bytes_left"] == 0 and before.bytes_left == before.bytes > 0
    assert estimate["bytes"] == pytest.approx(status["bytes"], rel=0.1)
    assert before.measured_on.startswith("a figure") and estimate["measured_on"] == "the shards that are done"
