"""A recogniser on a small corpus: it learns the identities, and its dropout is that of training."""

import json

import pytest
import torch

from comface_bench.cli.main import main
from comface_bench.comface.corpus.layout import Layout
from comface_bench.comface.corpus.read import Corpus
from comface_bench.comface.corpus.score_store import read_quality
from comface_bench.comface.quality import recogniser
from comface_bench.comface.quality.recogniser import (
    RecogniserTraining,
    build_network,
    prefetch,
    train_recogniser,
)
from comface_bench.core.errors import UsageError

SIDE = 32


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


def test_read_ahead_keeps_the_order():
    assert list(prefetch(lambda n: n * n, range(9))) == [n * n for n in range(9)]
    assert list(prefetch(str, [])) == []


def test_a_recogniser_learns_who_is_who(tmp_path, patches, make_patches, small_network, monkeypatch):
    class Clear(patches):
        def render(self, identity, attribute, alphas):
            return super().render(identity, attribute, [alpha / 4 - 3.75 for alpha in alphas])

    monkeypatch.setattr(recogniser, "build_network", small_network)
    root = make_patches(tmp_path / "clear", 0, ("noise",), 6, alphas=4, generator=Clear)
    with Corpus(root) as corpus:
        _, accuracy = train_recogniser(corpus, RecogniserTraining(steps=30, batch=6, size=SIDE))
    assert accuracy == 1.0


def test_one_identity_is_too_few(tmp_path, make_patches):
    root = make_patches(tmp_path / "one", 0, ("noise",), 1, alphas=4)
    with Corpus(root) as corpus, pytest.raises(UsageError, match="two identities"):
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
