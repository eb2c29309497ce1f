"""How alike people look: distances, shares and areas against SciPy, and the command."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.distance import pdist
from scipy.stats import mannwhitneyu

from comface_bench.cli import identity_report
from comface_bench.comface.corpus.read import Corpus
from comface_bench.comface.quality.identity import (
    choose_records,
    compare_ends,
    compare_people,
    embed_faces,
    nearer_share,
)
from comface_bench.core.errors import UsageError


@pytest.fixture
def people():
    """Embeddings of 12 people, 5 each, their numbers and ages."""
    random = np.random.default_rng(3)
    who = np.repeat(np.arange(12), 5)
    years = random.integers(0, 70, 60).astype(float)
    return random.normal(0, 0.05, (60, 8))[who] * 3 + random.normal(0, 0.06, (60, 8)), who, years


def pairs(who, years):
    first, second = np.triu_indices(len(who), 1)
    return (
        who[first] == who[second],
        np.abs(years[first] - years[second]),
        np.minimum(years[first], years[second]),
    )


def test_shares_and_areas_are_scipys(people):
    embeddings, who, years = people
    found = compare_people(embeddings, who, years)
    distance, (same, gap, younger) = pdist(embeddings), pairs(who, years)
    assert found["images"] == 60 and found["people"] == 12
    assert found["different"]["pairs"] == 60 * 59 // 2 - 12 * 10
    for name, which in (("same", same), ("different", ~same), ("adults", ~same & (younger >= 18))):
        assert found[name]["mean"] == pytest.approx(distance[which].mean(), abs=1e-12)
        assert found[name]["below"] == (distance[which] < 0.6).mean()
    assert 0 < found["different"]["below"] < 1
    assert list(found["by_gap"]) == ["0-10", "10-20", "20-40", "40+"]
    for name, (low, high) in zip(found["by_gap"], ((0, 10), (10, 20), (20, 40), (40, 99)), strict=True):
        of = (gap >= low) & (gap < high)
        near, far = distance[of & same], distance[of & ~same]
        area = mannwhitneyu(far, near).statistic / (len(near) * len(far))
        assert found["by_gap"][name]["auc"] == pytest.approx(area, abs=1e-12)
        assert found["by_gap"][name]["same"]["pairs"] == len(near)


def test_ties_count_half_and_nothing_has_no_area():
    assert nearer_share(np.array([1.0, 2.0]), np.array([2.0, 3.0])) == (4 - 0.5) / 4
    assert nearer_share(np.array([1.0]), np.array([])) is None
    assert nearer_share(np.array([]), np.array([1.0])) is None


def test_without_ages_there_are_no_gaps_and_one_person_is_refused(people):
    embeddings, who, _ = people
    assert "by_gap" not in compare_people(embeddings, who)
    with pytest.raises(UsageError, match="two people"):
        compare_people(embeddings[:5], who[:5])


def test_an_attribute_that_moves_people_past_each_other_is_seen():
    random = np.random.default_rng(0)
    base = random.normal(0, 1, (10, 16))
    small, large = random.normal(0, 0.05, (2, 10, 16)), random.normal(0, 3, (2, 10, 16))
    ends = np.concatenate([np.stack([base + a, base + b], axis=1) for a, b in (small, large)])
    found = compare_ends(ends, np.tile(np.arange(10), 2), np.repeat([4, 7], 10))
    assert found[4]["auc"] == 1 and found[4]["mean"] < 0.1 * found[4]["others"]
    assert found[7]["auc"] < 0.8 and found[7]["mean"] > 10 * found[4]["mean"]
    apart = [np.linalg.norm(ends[i, 0] - ends[j, 1]) for i in range(10) for j in range(10) if i != j]
    assert found[4]["others"] == pytest.approx(np.mean(apart), abs=1e-12)
    alone = compare_ends(ends[:1], np.zeros(1), np.zeros(1))
    assert alone[0]["auc"] is None and alone[0]["others"] is None


class Middle:
    """Stands for the aligner: the image itself."""

    def align(self, image, size):
        return image.resize((size, size)), int(np.asarray(image).mean() > 200) * 2


def level(chips):
    """Stands for the network: mean colours, which are in [0, 1]."""
    assert chips.dtype == torch.float32 and chips.min() >= 0 and chips.max() <= 1
    return chips.mean((2, 3))


def test_faces_are_cut_out_and_keep_their_order():
    images = [Image.new("RGB", (9, 9), (n, 2 * n, 250)) for n in range(70)] + [
        Image.new("RGB", (9, 9), "white")
    ]
    rows, how = embed_faces(images, Middle(), level, size=8)
    assert rows.shape == (71, 3) and how.tolist() == [0] * 70 + [2]
    assert np.allclose(rows[:70, 0] * 255, range(70)) and np.allclose(rows[:70, 1] * 255, range(0, 140, 2))


def test_records_are_chosen_of_each_attribute(root):
    with Corpus(root) as corpus:
        assert choose_records(corpus, 3).tolist() == [0, 4, 7]
        assert choose_records(corpus, 99).tolist() == list(range(8))


@pytest.fixture
def network(monkeypatch):
    class Encoder:
        def to(self, _):
            return self

        encode_checked = staticmethod(level)

    monkeypatch.setattr("comface_bench.engine.encoder.load_method", lambda name: Encoder())
    monkeypatch.setattr("comface_bench.data.alignment.open_aligner", lambda chip: Middle())


def test_the_command_looks_at_a_corpus(call, network, root):
    status, out, _ = call("synth", "quality", root, "--identity", "dlib-face", "--json")
    (report,) = json.loads(out)
    assert status == 0 and report["people"] == 8 and report["images"] == 16
    assert report["network"] == "dlib-face+feature=embedding"
    assert list(report["attributes"]) == ["noise"] and report["attributes"]["noise"]["mean"] > 0
    status, out, _ = call("synth", "quality", root, "--identity", "dlib-face", "--records", "2")
    assert status == 0 and "2, in 4 images" in out and "different people" in out and "noise" in out


def test_the_command_looks_at_tasks(call, network):
    status, out, _ = call("synth", "quality", "--identity", "dlib-face", "--task", "synth-age", "--json")
    (report,) = json.loads(out)
    assert status == 0 and (report["people"], report["images"]) == (40, 400)
    assert report["by_gap"]["0-10"]["same"]["pairs"] > 100
    identity_report.print_people(report)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--identity", "dlib-face"], "a corpus or at tasks"),
        (["DIR", "--identity", "dlib-face", "--task", "synth-age"], "a corpus or at tasks"),
        (["DIR", "--identity", "scratch"], "dlib-face"),
        (["DIR", "--identity", "dlib-face+feature=pooled"], "threshold"),
        (["DIR", "--task", "synth-age"], "--identity"),
        ([], "folder"),
        (["DIR", "--identity", "dlib-face", "--histogram", "q.png"], "--histogram has no effect with"),
        (["DIR", "--records", "2"], "--records has no effect without"),
    ],
)
def test_what_it_cannot_look_at_is_said(call, words, said):
    status, _, err = call("synth", "quality", *words)
    assert status == 2 and said in err
