from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest

from comface_bench.comface.corpus.read import Corpus
from comface_bench.comface.pretrain.faces import FaceDataset, corpus_people_key
from comface_bench.comface.pretrain.settings import CurriculumStage
from comface_bench.core.errors import UsageError

ALL = CurriculumStage()


@pytest.fixture
def faces(corpus, settings):
    return FaceDataset([corpus], settings)


def test_an_epoch_shows_each_image_once(faces, settings):
    pairs = faces.draw(settings, 1, ALL)
    shown = list(zip(pairs.record, pairs.x, strict=True)) + list(zip(pairs.record, pairs.y, strict=True))
    assert len(shown) == len(set(shown)) == 8 * (~faces.held).sum()


def test_pairs_are_what_the_corpus_says(faces, settings, corpus):
    pairs = faces.draw(settings, 2, ALL)
    opened = Corpus(corpus)
    for row in range(0, len(pairs), 7):
        record = opened.record(int(pairs.record[row]))
        assert pairs.change[row] == record.alphas[pairs.y[row]] - record.alphas[pairs.x[row]]
        assert faces.attributes[pairs.attribute[row]] == record.attribute


def test_epochs_differ_and_repeat(faces, settings):
    one, again, other = (faces.draw(settings, epoch, ALL) for epoch in (1, 1, 2))
    assert np.array_equal(one.x, again.x)
    assert np.array_equal(one.record, again.record)
    assert not np.array_equal(one.record, other.record)


def test_no_identity_is_on_both_sides(faces, settings):
    learnt, held = faces.draw(settings, 1, ALL), faces.validation(settings)
    assert not set(learnt.identity) & set(held.identity)
    assert len(held) == min(60, 4 * faces.held.sum())
    assert len(set(held.attribute)) == 2


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_as_many_are_held_out_as_declared(corpus, settings, share):
    chosen = [dataclasses.replace(settings, validation_share=share, seed=seed) for seed in range(3, 33)]
    held = [FaceDataset([corpus], one).held.mean() for one in chosen]
    assert np.mean(held) == pytest.approx(share, abs=0.03)


def test_a_person_is_held_out_whichever_corpora_are_learnt_from(corpus, settings, tmp_path):
    twice = FaceDataset([corpus, corpus], settings)
    once = FaceDataset([corpus], settings)
    assert np.array_equal(twice.held, np.tile(once.held, 2))
    # The same person in two corpora is one person: no negative of himself.
    assert twice.people == once.people


def test_people_of_another_checkpoint_are_others(corpus, settings, tmp_path, relabel):
    a = relabel(tmp_path / "a", sources={"people": "aa", "a.pkl": "1"})
    # The same weights under another name, with another direction and newer packages: the same people.
    same = relabel(tmp_path / "same", sources={"people": "aa", "b.pth": "2", "torch": "9", "d.npy": "3"})
    other = relabel(tmp_path / "other", sources={"people": "bb", "a.pkl": "4"})
    once = FaceDataset([a], settings)
    assert FaceDataset([a, same], settings).people == once.people
    assert np.array_equal(FaceDataset([same], settings).held, once.held)
    both = FaceDataset([a, other], settings)
    assert both.people == 2 * once.people
    assert not np.array_equal(FaceDataset([other], settings).held, once.held)
    # Without a checkpoint, people are named as ever: those held out stay so.
    assert corpus_people_key(Corpus(corpus).description) == "discs/5"
    assert corpus_people_key(Corpus(a).description) == "discs/aa/5"


def test_two_versions_of_a_generator_do_not_share_people(corpus, settings, tmp_path, relabel):
    newer = relabel(tmp_path / "newer", options={"version": 2})
    with pytest.raises(UsageError, match="version 2 of discs draws other people than version None") as caught:
        FaceDataset([corpus, newer], settings)
    assert "--first" in caught.value.hint
    assert FaceDataset([newer, relabel(tmp_path / "again", options={"version": 2})], settings).people


def test_a_stage_limits_the_change(faces, settings):
    pairs = faces.draw(settings, 1, CurriculumStage(1, 3.0, 6.0))
    assert len(pairs) > 0
    assert np.abs(pairs.change).min() >= 3 - 1e-5
    assert np.abs(pairs.change).max() <= 6 + 1e-5


def test_a_stage_that_leaves_nothing_is_an_error(faces, settings):
    with pytest.raises(UsageError, match=r"no pair changes by 0.01 to 0.02"):
        faces.draw(settings, 3, CurriculumStage(1, 0.01, 0.02))


def test_fewer_pairs_are_spread_over_the_records(faces, settings):
    count = int((~faces.held).sum())
    pairs = faces.draw(dataclasses.replace(settings, pairs_per_epoch=count), 1, ALL)
    assert sorted(pairs.record) == sorted(np.flatnonzero(~faces.held))


def test_attributes_can_be_chosen(corpus, settings):
    faces = FaceDataset([corpus], dataclasses.replace(settings, attributes=("shade",)))
    assert faces.attributes == ("shade",)
    assert len(faces) == 24
    with pytest.raises(UsageError, match="no corpus has weight"):
        FaceDataset([corpus], dataclasses.replace(settings, attributes=("weight",)))


def test_no_corpus_is_an_error(settings):
    with pytest.raises(UsageError, match="needs a corpus") as caught:
        FaceDataset([], settings)
    assert "synth corpus --out" in caught.value.hint


def test_nobody_to_hold_out_is_an_error(corpus, settings):
    with pytest.raises(UsageError, match="fewer than two identities are held out"):
        FaceDataset([corpus], dataclasses.replace(settings, validation_share=1e-9))


def test_low_quality_identities_are_left_out(corpus, settings, tmp_path):
    from comface_bench.comface.corpus.score_store import write_quality

    copy = tmp_path / "corpus"
    shutil.copytree(corpus, copy)
    robust = np.random.default_rng(0).uniform(0.4, 0.9, (48, 8)).astype(np.float32)
    write_quality(copy, robust, {})
    scores = np.load(copy / "quality.npy").mean(axis=1)
    least = float(np.median(scores))
    kept = FaceDataset([copy], dataclasses.replace(settings, min_quality=least))
    # Each identity of this corpus has one record, so records are kept by their own mean.
    assert len(kept) == (scores >= least).sum()
    numbers = [kept._number[row] for row in range(len(kept))]
    assert numbers == np.flatnonzero(scores >= least).tolist()
