"""A recogniser on a small corpus: it learns who is who, and blurred faces score lower."""

import dataclasses
import json
import shutil
from unittest import mock

import numpy as np
import pytest
import torch

from comface_bench.cli.main import main
from comface_bench.comface.corpus.check import check_corpus
from comface_bench.comface.corpus.generate import generate
from comface_bench.comface.corpus.layout import Description, Layout
from comface_bench.comface.corpus.plan import CorpusPlan
from comface_bench.comface.corpus.read import Corpus
from comface_bench.comface.pretrain.faces import FaceDataset
from comface_bench.comface.pretrain.settings import load_preset
from comface_bench.comface.quality.recogniser import (
    RecogniserTraining,
    build_network,
    load_images,
    prefetch,
    train_recogniser,
)
from comface_bench.comface.quality.score_store import (
    THRESHOLDS,
    draw_histogram,
    identity_scores,
    read_quality,
    write_quality,
)
from comface_bench.comface.quality.serfiq import estimate_quality
from comface_bench.comface.synthesis.generator import GeneratorCard
from comface_bench.core.errors import DataFormatError, DataMissingError, UsageError

SIDE = 32


class Patches:
    """Each identity is a pattern of coloured patches; α adds noise until nothing is left of it."""

    card = GeneratorCard("patches", SIDE, ("noise",), "CC0-1.0", {}, {})

    def identities(self, seed, count, first=0):
        return [(seed, first + number) for number in range(count)]

    def render(self, identity, attribute, alphas):
        own = np.random.default_rng(identity).uniform(0, 255, (3, 4, 4)).repeat(8, 1).repeat(8, 2)
        images = []
        for alpha in alphas:
            noise = np.random.default_rng([*identity, round(10 * alpha) + 50]).uniform(0, 255, own.shape)
            share = (alpha + 5) / 10
            images.append((1 - share) * own + share * noise)
        return np.stack(images).astype(np.uint8)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("quality") / "corpus"
    plan = CorpusPlan(0, ("noise",), 8, alphas=11)
    generate(root, Patches, Description.of(Patches.card, plan, suffix="png"))
    return root


@pytest.fixture(scope="module")
def trained(root):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with Corpus(root) as corpus:
        yield train_recogniser(corpus, RecogniserTraining(steps=40, batch=8, size=SIDE))[0]
    torch.set_num_threads(threads)


def test_a_face_lost_in_noise_scores_lower(root, trained):
    with Corpus(root) as corpus:
        robust = estimate_quality(corpus, trained, SIDE, passes=30)
    assert robust.shape == (8, 11)
    assert ((robust > 0) & (robust < 1)).all()
    assert robust[:, :3].mean() > robust[:, -3:].mean()


def test_a_record_can_be_estimated_alone(root, trained):
    with Corpus(root) as corpus:
        once, again = (estimate_quality(corpus, trained, SIDE, passes=5) for _ in range(2))
        images = load_images(corpus, [(3, index) for index in range(11)], SIDE)
        random = torch.Generator().manual_seed(3)
        alone = trained.repeat(trained.features(images), 5, random)
    assert np.array_equal(once, again)
    from comface_bench.comface.quality.serfiq import robustness

    assert np.allclose(robustness(alone).numpy(), once[3], atol=1e-6)


def test_dropout_is_that_of_the_network_in_training(trained):
    """Means and spreads of the repeated tail are those of the whole network run with dropout on."""
    images = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    tail = trained.repeat(trained.features(images), 3000, torch.Generator().manual_seed(1))
    torch.manual_seed(2)
    with torch.no_grad():
        features = trained.backbone(images)
        whole = torch.stack([trained.embed(torch.nn.functional.dropout(features, 0.5)) for _ in range(3000)])
    scale = whole.std(dim=0).mean()
    assert (tail.mean(dim=0) - whole.mean(dim=0)).abs().max() < 0.15 * scale
    assert (tail.std(dim=0) / whole.std(dim=0) - 1).abs().max() < 0.1


def test_scores_are_kept_beside_the_corpus(root, trained):
    with Corpus(root) as corpus:
        with pytest.raises(DataMissingError, match="synth quality"):
            read_quality(corpus, root)
        robust = estimate_quality(corpus, trained, SIDE, passes=5)
        report = write_quality(root, robust, {"passes": 5})
        scores = read_quality(corpus, root)
        assert np.array_equal(np.argsort(scores, axis=None), np.argsort(robust, axis=None))
        assert report["images"]["share_kept"]["0"] == 1.0
        assert report["images"]["share_kept"]["0.6"] == pytest.approx(np.mean(scores >= 0.6))
        assert sum(report["images"]["histogram"]["counts"]) == scores.size == report["images"]["count"]
        assert sum(report["identities"]["histogram"]["counts"]) == 8 == report["identities"]["count"]
        assert json.loads(Layout(root).quality_report.read_text())["passes"] == 5
        assert check_corpus(root) == []
        Layout(root).quality.unlink()
        Layout(root).quality_report.unlink()


def test_shares_of_identities_are_what_a_filter_keeps(tmp_path):
    """Several records of each identity; each threshold's share equals that of pretrain's people."""
    card = dataclasses.replace(Patches.card, attributes=("noise", "more"))
    root = tmp_path / "corpus"
    plan = CorpusPlan(0, card.attributes, 40, shared=True, alphas=4)
    generate(root, Patches, Description.of(card, plan, suffix="png"))
    random = np.random.default_rng(2)
    # People differ, and so do the images of each: shares of the two aren't the same.
    robust = random.normal(0.88, 0.01, (40, 1, 1)) + random.normal(0, 0.02, (40, 2, 4))
    report = write_quality(root, robust.reshape(80, 4).astype(np.float32), {})
    shares = report["identities"]["share_kept"]
    assert shares["0.6"] != report["images"]["share_kept"]["0.6"]
    settings = load_preset("laptop")
    for level in THRESHOLDS:
        chosen = dataclasses.replace(settings, min_quality=level, validation_share=0.5)
        assert FaceDataset([root], chosen).people == round(40 * shares[f"{level:g}"])
    with Corpus(root) as corpus:
        means, which = identity_scores(corpus, read_quality(corpus, root))
        assert np.array_equal(which, corpus.identities)
        scores = read_quality(corpus, root)
        assert means[5] == pytest.approx(np.concatenate([scores[10], scores[11]]).mean())


@pytest.fixture
def scored(tmp_path):
    root = tmp_path / "scored"
    generate(
        root, Patches, Description.of(Patches.card, CorpusPlan(0, ("noise",), 3, alphas=4), suffix="png")
    )
    write_quality(root, np.linspace(0.8, 0.9, 12, dtype=np.float32).reshape(3, 4), {})
    return root


def _changed(array):
    array[0, 0] = 7
    return array


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda at: at.quality.write_bytes(b"x"), "not the scores"),
        (lambda at: np.save(at.quality, np.zeros((3, 3), np.float32)), "not the scores"),
        (lambda at: np.save(at.quality, _changed(np.load(at.quality))), "not the scores"),
        (lambda at: at.quality_report.unlink(), "missing"),
        (lambda at: at.quality_report.write_text("{}"), "not a report"),
        (lambda at: at.quality_report.write_text("["), "Expecting"),
    ],
)
def test_scores_that_were_changed_are_found(scored, spoil, said):
    layout = Layout(scored)
    assert check_corpus(scored) == []
    spoil(layout)
    (fault,) = check_corpus(scored)
    assert said in fault.message and "synth quality" in fault.hint
    with Corpus(scored) as corpus, pytest.raises(DataFormatError, match="quality") as caught:
        read_quality(corpus, scored)
    assert said in caught.value.message


def test_scores_are_tied_to_their_corpus(scored, tmp_path):
    """Another corpus of the same shape doesn't take them."""
    other = tmp_path / "other"
    generate(
        other, Patches, Description.of(Patches.card, CorpusPlan(1, ("noise",), 3, alphas=4), suffix="png")
    )
    for name in ("quality", "quality_report"):
        shutil.copy(getattr(Layout(scored), name), getattr(Layout(other), name))
    (fault,) = check_corpus(other)
    assert "not of this corpus" in fault.message
    with Corpus(other) as corpus, pytest.raises(DataFormatError, match="not of this corpus"):
        read_quality(corpus, other)
    Layout(scored).quality.unlink()
    Layout(scored).quality_report.unlink()
    assert check_corpus(scored) == []


def test_read_ahead_keeps_the_order():
    assert list(prefetch(lambda n: n * n, range(9))) == [n * n for n in range(9)]
    assert list(prefetch(str, [])) == []


def test_a_record_of_many_images_is_scored_like_any_other(root, trained):
    """Groups of records don't change what each is given."""
    with Corpus(root) as corpus:
        together = estimate_quality(corpus, trained, SIDE, passes=5)
        with mock.patch("comface_bench.comface.quality.serfiq._BATCH_SIZE", 1):
            alone = estimate_quality(corpus, trained, SIDE, passes=5)
    assert np.allclose(together, alone, atol=1e-6)


def test_a_histogram_shows_identities_and_images(scored, tmp_path):
    pytest.importorskip("matplotlib")
    report = json.loads(Layout(scored).quality_report.read_text())
    draw_histogram(report, tmp_path / "quality.png")
    assert (tmp_path / "quality.png").stat().st_size > 1000


def test_a_recogniser_learns_who_is_who(tmp_path):
    class Clear(Patches):
        def render(self, identity, attribute, alphas):
            return super().render(identity, attribute, [alpha / 4 - 3.75 for alpha in alphas])

    plan = CorpusPlan(0, ("noise",), 6, alphas=4)
    generate(tmp_path / "clear", Clear, Description.of(Clear.card, plan, suffix="png"))
    torch.set_num_threads(1)
    with Corpus(tmp_path / "clear") as corpus:
        _, accuracy = train_recogniser(corpus, RecogniserTraining(steps=30, batch=6, size=SIDE))
    assert accuracy == 1.0


def test_one_identity_is_too_few(tmp_path):
    generate(tmp_path / "one", Patches, Description.of(Patches.card, CorpusPlan(0, ("noise",), 1, alphas=4)))
    with Corpus(tmp_path / "one") as corpus, pytest.raises(UsageError, match="two identities"):
        train_recogniser(corpus, RecogniserTraining(steps=1))


def test_a_network_is_its_seed():
    first, same, other = (build_network(3, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[key], same[key]) for key in first)
    assert not torch.equal(first["classes"], other["classes"])


def test_the_command_says_when_the_recogniser_knows_nobody(root, capsys):
    with pytest.raises(SystemExit) as end:
        main(["synth", "quality", str(root), "--steps", "1", "--size", "32", "--passes", "2"])
    assert not end.value.code
    out, err = capsys.readouterr()
    assert "identities named right on held-out images" in out
    assert "v >= 0: 100.0 % of the identities, 100.0 % of the images" in out
    assert "hardly knows anybody" in err
    words = ["synth", "quality", str(root), "--steps", "1", "--size", "32", "--passes", "2", "--json"]
    with pytest.raises(SystemExit) as end:
        main([*words, "--device", "cpu"])
    assert not end.value.code
    report = json.loads(capsys.readouterr().out)
    assert report["device"] == "cpu" and report["identities"]["count"] == 8
    with Corpus(root) as corpus:
        assert read_quality(corpus, root).shape == (8, 11)
    Layout(root).quality.unlink()
    Layout(root).quality_report.unlink()
