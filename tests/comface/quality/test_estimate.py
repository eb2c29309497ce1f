"""A recogniser on a small corpus: it learns who is who, and blurred faces score lower."""

import json

import numpy as np
import pytest
import torch

from comface_bench.cli.main import main
from comface_bench.comface.corpus.check import check_corpus
from comface_bench.comface.corpus.generate import generate
from comface_bench.comface.corpus.layout import Description, Layout
from comface_bench.comface.corpus.plan import Plan
from comface_bench.comface.corpus.read import Corpus
from comface_bench.comface.quality.estimate import estimate_quality, read_quality, write_quality
from comface_bench.comface.quality.network import make_network
from comface_bench.comface.quality.train import Training, load_images, train_recogniser
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
    plan = Plan(0, ("noise",), 8, alphas=11)
    generate(root, Patches, Description.of(Patches.card, plan, suffix="png"))
    return root


@pytest.fixture(scope="module")
def trained(root):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with Corpus(root) as corpus:
        yield train_recogniser(corpus, Training(steps=40, batch=8, size=SIDE))[0]
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
        alone = trained.stochastic(images, 5, random)
    assert np.array_equal(once, again)
    from comface_bench.comface.quality.score import robustness

    assert np.allclose(robustness(alone).numpy(), once[3], atol=1e-6)


def test_dropout_is_that_of_the_network_in_training(trained):
    """Means and spreads of the repeated tail are those of the whole network run with dropout on."""
    images = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    tail = trained.stochastic(images, 3000, torch.Generator().manual_seed(1))
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
        assert report["share_kept"]["0"] == 1.0
        assert report["share_kept"]["0.6"] == pytest.approx(np.mean(scores >= 0.6))
        assert sum(report["histogram"]["counts"]) == scores.size
        assert json.loads(Layout(root).quality_report.read_text())["passes"] == 5
        assert check_corpus(root) == []
        Layout(root).quality.write_bytes(b"x")
        with pytest.raises(DataFormatError, match="quality"):
            read_quality(corpus, root)
        np.save(Layout(root).quality, np.zeros((3, 3), np.float32))
        with pytest.raises(DataFormatError, match="not of this corpus"):
            read_quality(corpus, root)
        Layout(root).quality.unlink()


def test_a_recogniser_learns_who_is_who(tmp_path):
    class Clear(Patches):
        def render(self, identity, attribute, alphas):
            return super().render(identity, attribute, [alpha / 4 - 3.75 for alpha in alphas])

    plan = Plan(0, ("noise",), 6, alphas=4)
    generate(tmp_path / "clear", Clear, Description.of(Clear.card, plan, suffix="png"))
    torch.set_num_threads(1)
    with Corpus(tmp_path / "clear") as corpus:
        _, accuracy = train_recogniser(corpus, Training(steps=30, batch=6, size=SIDE))
    assert accuracy == 1.0


def test_one_identity_is_too_few(tmp_path):
    generate(tmp_path / "one", Patches, Description.of(Patches.card, Plan(0, ("noise",), 1, alphas=4)))
    with Corpus(tmp_path / "one") as corpus, pytest.raises(UsageError, match="two identities"):
        train_recogniser(corpus, Training(steps=1))


def test_a_network_is_its_seed():
    first, same, other = (make_network(3, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[key], same[key]) for key in first)
    assert not torch.equal(first["classes"], other["classes"])


def test_the_command_says_when_the_recogniser_knows_nobody(root, capsys):
    with pytest.raises(SystemExit) as end:
        main(["synth", "quality", str(root), "--steps", "1", "--size", "32", "--passes", "2"])
    assert not end.value.code
    out, err = capsys.readouterr()
    assert "identities named right on held-out images" in out
    assert "v >= 0: 100.0 % of the images" in out
    assert "hardly knows anybody" in err
    Layout(root).quality.unlink()
    Layout(root).quality_report.unlink()
