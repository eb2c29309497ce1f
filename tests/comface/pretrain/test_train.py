"""Training on the CPU: it learns, it can be killed at any step, it stops when it is lost."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from comface_bench.comface.pretrain.faces import Faces
from comface_bench.comface.pretrain.folder import RunFolder
from comface_bench.comface.pretrain.ranks import Ranks, join_ranks, leave_ranks
from comface_bench.comface.pretrain.settings import Settings
from comface_bench.comface.pretrain.train import Trainer
from comface_bench.core.errors import UnitError, UsageError
from comface_bench.engine.precision import Machine

FAST = Settings(
    image_size=32,
    batch_size=16,
    epochs=3,
    learning_rate=5e-3,
    augmentation="none",
    projection_dim=8,
    validation_share=0.25,
    validation_pairs=60,
)


class Net(nn.Module):
    """A small backbone with batch norm, 16 features."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, 2, 1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
        )

    def forward(self, images):
        return self.layers(images).mean(dim=(2, 3))


def prepare(corpus, root, settings, ranks=None, backbone=None, **options):
    ranks = ranks or Ranks()
    faces, folder = Faces([corpus], settings), RunFolder(root)
    if ranks.first:
        folder.begin({"settings": settings.as_json(), "corpora": {}, "attributes": list(faces.attributes)})
    machine = Machine(torch.device("cpu"), "float32")
    return Trainer(faces, settings, folder, backbone or Net(), 16, machine, ranks, **options)


def weights(trainer):
    return {name: tensor.clone() for name, tensor in trainer.network.state_dict().items()}


def same(one, other):
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


@pytest.fixture(scope="module")
def unbroken(corpus, tmp_path_factory):
    root = tmp_path_factory.mktemp("unbroken") / "run"
    trainer = prepare(corpus, root, FAST)
    curve = trainer.run(lambda line: None)
    return weights(trainer), curve, root


def test_changes_of_people_never_seen_are_learnt(corpus, tmp_path):
    lines = []
    curve = prepare(corpus, tmp_path / "run", dataclasses.replace(FAST, epochs=12)).run(lines.append)
    assert lines[-1]["kind"] == "epoch"
    assert curve[-1] < curve[0]
    assert min(lines[-1]["correlation"].values()) > 0.9


def test_two_trainings_are_equal(corpus, tmp_path, unbroken):
    trainer = prepare(corpus, tmp_path / "run", FAST, threads=3)
    assert trainer.run(lambda line: None) == unbroken[1]
    same(weights(trainer), unbroken[0])


def test_a_stopped_training_goes_on_to_the_same_weights(corpus, tmp_path, unbroken):
    class StopError(Exception):
        pass

    for steps in (1, 7, 13):
        left = [steps]

        def count(*arguments, left=left):
            left[0] -= 1
            if left[0] < 0:
                raise StopError
            return Trainer._take(*arguments)

        trainer = prepare(corpus, tmp_path / "run", FAST, save_seconds=0.0)
        trainer._take = lambda *arguments, trainer=trainer: count(trainer, *arguments)
        with pytest.raises(StopError):
            trainer.run(lambda line: None)
    lines = []
    trainer = prepare(corpus, tmp_path / "run", FAST)
    assert trainer.run(lines.append) == unbroken[1]
    assert lines[0]["kind"] == "resumed"
    same(weights(trainer), unbroken[0])
    kept = [(line["kind"], line["step"]) for line in RunFolder(tmp_path / "run").lines()]
    assert kept == [(line["kind"], line["step"]) for line in RunFolder(unbroken[2]).lines()]


@pytest.mark.slow
def test_a_killed_training_goes_on_to_the_same_weights(corpus, tmp_path, unbroken):
    root = tmp_path / "run"
    for delay in (0.3, 0.9, 0.5):
        job = subprocess.Popen([sys.executable, __file__, str(corpus), str(root)], start_new_session=True)
        begun = time.monotonic()
        while not (root / "state.pt").exists() and time.monotonic() - begun < 60 and job.poll() is None:
            time.sleep(0.05)
        time.sleep(delay)
        os.killpg(job.pid, signal.SIGKILL)
        job.wait(30)
    subprocess.run([sys.executable, __file__, str(corpus), str(root)], check=True, timeout=120)
    same(torch.load(root / "end.pt", weights_only=True), unbroken[0])
    assert [line for line in RunFolder(root).lines() if line["kind"] == "epoch"][-1]["epoch"] == FAST.epochs


def test_another_training_is_not_overwritten(corpus, tmp_path, unbroken):
    with pytest.raises(UsageError, match=r"of other settings\.seed") as caught:
        prepare(corpus, unbroken[2], dataclasses.replace(FAST, seed=1))
    assert "--out DIR" in caught.value.hint
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(UsageError, match="isn't an empty folder"):
        prepare(corpus, tmp_path, FAST)


def test_the_best_epoch_is_kept(unbroken):
    _, curve, root = unbroken
    best = torch.load(root / "best.pt", weights_only=True)
    assert best["epoch"] == 1 + curve.index(min(curve))


def test_a_loss_that_is_not_finite_stops(corpus, tmp_path):
    trainer = prepare(corpus, tmp_path / "run", dataclasses.replace(FAST, learning_rate=1e18))
    with pytest.raises(UnitError, match=r"isn't finite|aren't finite|collapsed") as caught:
        trainer.run(lambda line: None)
    assert "learning_rate" in caught.value.hint


def test_equal_features_stop(corpus, tmp_path):
    class Flat(Net):
        def forward(self, images):
            return 0 * super().forward(images) + 1

    trainer = prepare(corpus, tmp_path / "run", FAST, backbone=Flat())
    with pytest.raises(UnitError, match="features of all images are equal"):
        trainer.run(lambda line: None)


def test_a_batch_larger_than_an_epoch_is_said(corpus, tmp_path):
    trainer = prepare(corpus, tmp_path / "run", dataclasses.replace(FAST, batch_size=512))
    with pytest.raises(UsageError, match="fewer than a batch of 512"):
        trainer.run(lambda line: None)


def test_a_batch_that_processes_cannot_share_is_said(corpus, tmp_path):
    with pytest.raises(UsageError, match="can't be divided among 3 processes"):
        prepare(corpus, tmp_path / "run", FAST, Ranks(0, 3, 0))


def test_chunks_change_nothing_but_batch_norm(corpus, tmp_path):
    settings = dataclasses.replace(FAST, epochs=12, chunk_size=8)
    lines = []
    prepare(corpus, tmp_path / "run", settings).run(lines.append)
    assert min(lines[-1]["correlation"].values()) > 0.9


@pytest.mark.slow
def test_two_processes_train_one_network(corpus, tmp_path, two_processes):
    two_processes([__file__, str(corpus), str(tmp_path / "run")])
    one, other = (torch.load(tmp_path / f"run/end{rank}.pt", weights_only=True) for rank in ("", "1"))
    learnt = [name for name in one if "running" not in name and "tracked" not in name]
    same({name: one[name] for name in learnt}, {name: other[name] for name in learnt})
    epochs = [line for line in RunFolder(tmp_path / "run").lines() if line["kind"] == "epoch"]
    assert len(epochs) == FAST.epochs
    assert epochs[-1]["loss"] < epochs[0]["loss"]


def test_a_log_cut_short_is_read(tmp_path):
    folder = RunFolder(tmp_path)
    folder.note({"kind": "step", "step": 20})
    folder.note({"kind": "step", "step": 40})
    with folder.log.open("a") as stream:
        stream.write('{"kind": "st')
    assert [line["step"] for line in folder.lines()] == [20, 40]
    folder.rewind(20)
    assert json.loads(folder.log.read_text()) == {"kind": "step", "step": 20}


if __name__ == "__main__":
    torch.set_num_threads(1)
    here = join_ranks("cpu")
    trained = prepare(Path(sys.argv[1]), Path(sys.argv[2]), FAST, here, save_seconds=0.0)
    trained.run(lambda line: time.sleep(0.01))
    torch.save(weights(trained), Path(sys.argv[2]) / f"end{here.rank or ''}.pt")
    leave_ranks()
