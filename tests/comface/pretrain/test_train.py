"""Training on the CPU: it learns, it can be killed at any step, it stops when it is lost."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from comface_bench.comface.pretrain import train
from comface_bench.comface.pretrain.distributed import ProcessGroup, join_processes, leave_processes
from comface_bench.comface.pretrain.faces import FaceDataset
from comface_bench.comface.pretrain.folder import TrainingFolder
from comface_bench.comface.pretrain.settings import load_settings
from comface_bench.comface.pretrain.train import Trainer, validate
from comface_bench.core.errors import DataFormatError, UnitError, UsageError
from comface_bench.engine.precision import Machine

FAST = load_settings(Path(__file__).with_name("fast.toml"))
SIDE = FAST.image_size


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


class Dropping(Net):
    """The same with dropout, as AdaFace has it."""

    def forward(self, images):
        return nn.functional.dropout(super().forward(images), 0.4, self.training)


def prepare(corpus, root, settings, ranks=None, backbone=None, precision="float32", **options):
    ranks = ranks or ProcessGroup()
    faces, folder = FaceDataset([corpus], settings), TrainingFolder(root)
    if ranks.first:
        folder.begin({"settings": settings.as_json(), "corpora": {}, "attributes": list(faces.attributes)})
    machine = Machine(torch.device("cpu"), precision)
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
    kept = [(line["kind"], line["step"]) for line in TrainingFolder(tmp_path / "run").lines()]
    assert kept == [(line["kind"], line["step"]) for line in TrainingFolder(unbroken[2]).lines()]


@pytest.mark.parametrize(
    "options",
    [{"freeze": "1"}, {"l2_start": 0.1}, {"distill": 3.0}, {"inter_weight": 0.0}, {"head_rate": 5.0}, {}],
    ids=lambda options: next(iter(options), "dropout"),
)
def test_a_training_that_keeps_to_its_start_goes_on_to_the_same_weights(corpus, tmp_path, options, unbroken):
    settings, net = dataclasses.replace(FAST, epochs=2, **options), Net if options else Dropping
    whole = prepare(corpus, tmp_path / "whole", settings, backbone=net())
    lines = []
    curve = whole.run(lines.append)
    stopped = prepare(corpus, tmp_path / "run", settings, backbone=net(), save_seconds=0.0)
    take = stopped._take

    def stop(*arguments):
        if stopped._step == 13:  # in the second epoch
            raise KeyboardInterrupt
        return take(*arguments)

    stopped._take = stop
    with pytest.raises(KeyboardInterrupt):
        stopped.run(lambda line: None)
    resumed = prepare(corpus, tmp_path / "run", settings, backbone=net())
    assert resumed.run(lambda line: None) == curve
    same(weights(resumed), weights(whole))
    first = lines[0]
    assert ("l2_start" in first, "distill" in first) == ("l2_start" in options, "distill" in options)
    assert (first["inter"] is None) == ("inter_weight" in options)
    # Each of them makes another network.
    assert not torch.equal(weights(whole)["heads.weight"], unbroken[0]["heads.weight"])


def test_pulls_keep_the_network_near_its_start(corpus, tmp_path):
    images = torch.rand(32, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))

    @torch.no_grad()
    def away(name, **options):
        """Squared distances of weights and of features."""
        trainer = prepare(corpus, tmp_path / name, dataclasses.replace(FAST, **options))
        with torch.enable_grad():
            trainer.run(lambda line: None)
        start, learnt = Net().eval(), trainer.network.backbone.eval()
        pairs = zip(start.parameters(), learnt.parameters(), strict=True)
        weights = sum(float((one - other).square().sum()) for one, other in pairs)
        return weights, float((start(images) - learnt(images)).square().mean())

    free = away("free")
    assert away("pulled", l2_start=100.0)[0] < 0.1 * free[0]
    assert away("distilled", distill=1000.0)[1] < 0.5 * free[1]
    frozen = away("frozen", freeze="layers")
    assert frozen[0] == 0 and frozen[1] < 1e-12  # other layout, other rounding


def test_heads_and_projector_have_a_rate_of_their_own(corpus, tmp_path):
    settings = dataclasses.replace(
        FAST, warmup_steps=0, schedule="halved", learning_rate=1e-4, head_rate=30.0
    )
    trainer = prepare(corpus, tmp_path / "run", settings)
    before = {name: value.detach().clone() for name, value in trainer.network.named_parameters()}
    take = trainer._take

    def once(*arguments):
        take(*arguments)
        raise KeyboardInterrupt

    trainer._take = once
    with pytest.raises(KeyboardInterrupt):
        trainer.run(lambda line: None)
    for name, value in trainer.network.named_parameters():
        # Adam's first step is as long as the rate in each parameter that has a gradient.
        factor = 1 if name.startswith("backbone.") else 30
        assert float((value.detach() - before[name]).abs().max()) == pytest.approx(factor * 1e-4, rel=1e-2), (
            name
        )


@pytest.mark.parametrize("processes", [1, 2])
def test_a_killed_training_goes_on_to_the_same_weights(corpus, tmp_path, start, processes):
    random, root = np.random.default_rng(processes), tmp_path / "run"
    whole = start([__file__, str(corpus), str(tmp_path / "whole")], processes)
    assert [job.wait(180) for job in whole] == [0] * processes
    for _ in range(3):
        jobs = start([__file__, str(corpus), str(root)], processes)
        seen = 0
        for line in jobs[0].stdout:
            step = int(line.split()[1]) if line.startswith("step ") else 0
            seen += step > 0
            # Not before it has saved a step of its own, not after its end.
            if step and seen > 2 and random.random() < 0.4:
                break
        else:
            pytest.fail("it ended before it was killed")
        for job in jobs:
            job.kill()
            job.wait(30)
        assert 0 < torch.load(root / "state.pt", weights_only=True)["state"]["step"] < step + 2
    last = start([__file__, str(corpus), str(root)], processes)
    said = last[0].communicate(timeout=180)[0]
    assert "resumed" in said
    assert [job.wait(180) for job in last] == [0] * processes
    for rank in range(processes):
        ends = [torch.load(one / f"end{rank}.pt", weights_only=True) for one in (root, tmp_path / "whole")]
        same(*ends)
    epochs = [line for line in TrainingFolder(root).lines() if line["kind"] == "epoch"]
    assert [line["epoch"] for line in epochs] == [1, 2, 3]


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
    assert best["line"]["epoch"] == 1 + curve.index(min(curve))
    assert best["line"]["loss"] == min(curve)


def test_the_network_of_the_lowest_loss_is_kept_where_it_is_neither_first_nor_last(
    corpus, tmp_path, monkeypatch
):
    losses, seen = iter([3.0, 1.0, 2.0]), []
    monkeypatch.setattr(
        train, "validate", lambda *arguments: validate(*arguments)._replace(loss=next(losses))
    )
    trainer = prepare(corpus, tmp_path / "run", FAST)
    curve = trainer.run(lambda line: seen.append(weights(trainer)) if line["kind"] == "epoch" else None)
    assert curve == [3.0, 1.0, 2.0]
    best = torch.load(tmp_path / "run" / "best.pt", weights_only=True)
    assert (best["line"]["epoch"], best["line"]["loss"]) == (2, 1.0)
    same(best["model"], seen[1])
    assert any(not torch.equal(seen[1][name], seen[2][name]) for name in seen[1])


def test_a_loss_that_is_not_finite_stops(corpus, tmp_path):
    class Burst(Net):
        def forward(self, images):
            return super().forward(images) * float("nan")

    trainer = prepare(corpus, tmp_path / "run", FAST, backbone=Burst())
    with pytest.raises(UnitError, match=r"aren't finite at step \d+") as caught:
        trainer.run(lambda line: None)
    assert "learning_rate" in caught.value.hint
    assert not (tmp_path / "run" / "state.pt").exists()


def test_weights_that_are_not_finite_are_not_saved(corpus, tmp_path, monkeypatch):
    trainer = prepare(corpus, tmp_path / "run", FAST, save_seconds=0.0)
    take = trainer._take

    def spoil(*arguments):
        losses = take(*arguments)
        if trainer._step == 3:
            with torch.no_grad():
                trainer.network.heads.weight[0, 0] = float("inf")
        return losses

    monkeypatch.setattr(trainer, "_take", spoil)
    with pytest.raises(UnitError, match="aren't finite at step 4"):
        trainer.run(lambda line: None)
    saved = torch.load(tmp_path / "run" / "state.pt", weights_only=True)["state"]
    assert saved["step"] == 3
    assert all(tensor.isfinite().all() for tensor in saved["model"].values())


def test_an_unreadable_state_is_not_overwritten(corpus, tmp_path, unbroken):
    shutil.copytree(unbroken[2], tmp_path / "run")
    (tmp_path / "run" / "state.pt").write_bytes(b"half of it")
    with pytest.raises(DataFormatError, match=r"state\.pt can't be read"):
        prepare(corpus, tmp_path / "run", FAST).run(lambda line: None)
    assert (tmp_path / "run" / "state.pt").read_bytes() == b"half of it"
    assert TrainingFolder(tmp_path / "run").lines() == TrainingFolder(unbroken[2]).lines()


def test_a_full_disk_is_reported_and_survived(corpus, tmp_path, monkeypatch):
    lines = []
    trainer = prepare(corpus, tmp_path / "run", dataclasses.replace(FAST, epochs=1))
    monkeypatch.setattr(trainer._saved, "save", lambda state, at_once: False)
    trainer.run(lines.append)
    assert lines[-1]["kind"] == "unsaved"
    assert lines[-1]["path"] == str(tmp_path / "run" / "state.pt")


def test_bfloat16_learns_too(corpus, tmp_path):
    lines = []
    trainer = prepare(corpus, tmp_path / "run", dataclasses.replace(FAST, epochs=12), precision="bfloat16")
    trainer.run(lines.append)
    assert min(lines[-1]["correlation"].values()) > 0.9


def test_equal_features_stop(corpus, tmp_path):
    class Flat(Net):
        def forward(self, images):
            return 0 * super().forward(images) + 1

    trainer = prepare(corpus, tmp_path / "run", FAST, backbone=Flat())
    with pytest.raises(UnitError, match="features of all images are equal"):
        trainer.run(lambda line: None)


def test_a_batch_that_processes_cannot_share_is_said(corpus, tmp_path):
    with pytest.raises(UsageError, match="can't be divided among 3 processes"):
        prepare(corpus, tmp_path / "run", FAST, ProcessGroup(0, 3, 0))


def test_chunks_change_nothing_but_batch_norm(corpus, tmp_path):
    settings = dataclasses.replace(FAST, epochs=12, chunk_size=8)
    lines = []
    prepare(corpus, tmp_path / "run", settings).run(lines.append)
    assert min(lines[-1]["correlation"].values()) > 0.9


def test_two_processes_train_one_network(corpus, tmp_path, two_processes):
    two_processes([__file__, str(corpus), str(tmp_path / "run")])
    one, other = (torch.load(tmp_path / f"run/end{rank}.pt", weights_only=True) for rank in (0, 1))
    same(one, other)
    epochs = [line for line in TrainingFolder(tmp_path / "run").lines() if line["kind"] == "epoch"]
    assert len(epochs) == FAST.epochs
    assert epochs[-1]["loss"] < epochs[0]["loss"]


def test_a_log_cut_short_is_read(tmp_path):
    folder = TrainingFolder(tmp_path)
    folder.append_line({"kind": "step", "step": 20})
    folder.append_line({"kind": "step", "step": 40})
    with folder.log.open("a") as stream:
        stream.write('{"kind": "st')
    assert [line["step"] for line in folder.lines()] == [20, 40]
    folder.rewind(20)
    assert json.loads(folder.log.read_text()) == {"kind": "step", "step": 20}


if __name__ == "__main__":
    torch.set_num_threads(1)
    here = join_processes("cpu")
    trained = prepare(Path(sys.argv[1]), Path(sys.argv[2]), FAST, here, save_seconds=0.0)
    step = trained._take

    def take(*arguments):
        losses = step(*arguments)
        sys.stdout.write(f"step {trained._step + 1}\n")
        sys.stdout.flush()
        return losses

    trained._take = take
    trained.run(lambda line: sys.stdout.write(f"{line['kind']}\n"))
    torch.save(weights(trained), Path(sys.argv[2]) / f"end{here.rank}.pt")
    leave_processes()
