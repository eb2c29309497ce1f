"""`comface-bench pretrain` and `export`, from a corpus to a method that can be run."""

from __future__ import annotations

import dataclasses
import json

import pytest
import timm
import torch
import torchvision
from safetensors.torch import load_file
from torch import nn
from typer.main import get_command

from comface_bench.cli.pretrain import app
from comface_bench.cli.pretrain_start import open_start
from comface_bench.cli.progress import TrainingLines, describe_line
from comface_bench.comface.pretrain.folder import TrainingFolder
from comface_bench.comface.pretrain.settings import load_preset
from comface_bench.core.digest import digest_file
from comface_bench.core.errors import WeightsFormatError
from comface_bench.core.registry import method_registry
from comface_bench.engine.encoder import load_method

SMALL = """
backbone = "resnet18"
image_size = 32
batch_size = 8
epochs = 1
pairs_per_epoch = 32
validation_share = 0.25
validation_pairs = 24
precision = "float32"
"""


def _small_resnet(weights=None):
    """Features as wide as ResNet-18's, from two convolutions."""
    layers = [nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 512, 3, 4, 1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


@pytest.fixture
def small_backbones(monkeypatch):
    """The backbones' names and widths stay; their depth proves nothing about the command."""
    create = timm.create_model
    monkeypatch.setattr(torchvision.models, "resnet18", _small_resnet)
    monkeypatch.setattr(timm, "create_model", lambda name, **options: create(name, depth=1, **options))


@pytest.fixture
def words(corpus, tmp_path):
    """The words of a small training, into `run`."""
    config = tmp_path / "small.toml"
    config.write_text(SMALL)
    return [
        *("pretrain", "--config", str(config), "--corpus", str(corpus), "--out", str(tmp_path / "run")),
        *("--device", "cpu"),
    ]


def test_from_a_corpus_to_a_method(call, words, corpus, tmp_path):
    out, file = tmp_path / "run", tmp_path / "comface-resnet18.safetensors"
    status, said, err = call(*words)
    assert status == 0, err
    assert said.strip() == str(out)
    assert "epoch 1/1 · validation" in err
    assert f"comface-bench export {out}" in err
    facts = json.loads((out / "pretraining.json").read_text())
    assert facts["settings"]["batch_size"] == 8
    assert facts["corpora"]["0"]["generator"] == "discs"
    assert str(corpus) not in json.dumps(facts)  # no path leaves the house
    assert "nothing to do: all 1 epochs are done" in call(*words)[2]
    assert call("export", out, "--out", file)[0] == 0
    assert load_method("comface", checkpoint=file).own_head("age").shape == (512,)


def test_a_transformer_learns_too(call, words, small_backbones, tmp_path):
    vit = [*words, "-o", "backbone=vit_base_patch16"]
    status, _, err = call(*vit, "-o", "image_size=40")
    assert status == 2
    assert "multiples of 16 pixels, not 40" in err
    assert "Give 48" in err
    assert not (tmp_path / "run").exists()
    status, _, err = call(*vit)
    assert status == 0, err


def test_json_lines(call, words, small_backbones):
    status, out, _ = call(*words, "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert status == 0
    assert [line["kind"] for line in lines] == ["step", "epoch"]
    assert lines[0]["images_per_second"] > 0
    assert set(lines[1]["correlation"]) == {"size", "shade"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "a preset or --config FILE"),
        (["laptop"], "pre-training needs a corpus"),
        (["laptop", "--config", "x.toml"], "not both"),
        (["labtop"], "Did you mean laptop"),
        (["--config", "nowhere.toml"], "nowhere.toml: No such file"),
        (["laptop", "-o", "epoch=1"], "Did you mean epochs"),
        (["laptop", "--corpus", "nowhere"], "nowhere holds no corpus"),
    ],
)
def test_what_cannot_be_done_is_said(call, tmp_path, words, said):
    status, _, err = call("pretrain", "--out", tmp_path / "run", *words)
    assert status == 2
    assert said in err
    assert not (tmp_path / "run").exists()


def test_export_says_what_it_needs(call, tmp_path):
    status, _, err = call("export", tmp_path / "none")
    assert status == 2
    assert "holds no pre-training" in err


def test_a_second_process_is_kept_out(call, words, small_backbones, tmp_path):
    assert call(*words)[0] == 0
    with TrainingFolder(tmp_path / "run").lock():
        status, _, err = call(*words)
    assert status == 2
    assert "another process trains in" in err


def test_corpora_of_two_sizes_do_not_go_together(call, words, relabel, tmp_path):
    status, _, err = call(*words, "--corpus", relabel(tmp_path / "other", resolution=64))
    assert status == 2
    assert "images of 32 and 64 pixels" in err


def test_a_stage_without_a_batch_is_said_before_anything_is_trained(call, words, tmp_path):
    status, _, err = call(*words, "-o", "batch_size=512")
    assert status == 2
    assert "fewer than a batch of 512" in err
    assert not (tmp_path / "run").exists()


def test_tensorboard_is_asked_for_by_name(call, words, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    status, _, err = call(*words, "--tensorboard")
    assert status == 2
    assert "comface-bench[train]" in err


def test_tensorboard_has_the_curves(call, words, small_backbones, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out = tmp_path / "run"
    assert call(*words, "--tensorboard")[0] == 0
    events = EventAccumulator(str(out / "tensorboard")).Reload()
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    (found,) = events.Scalars("validation/loss")
    assert found.value == pytest.approx(log[-1]["loss"], rel=1e-6)
    assert any(tag.startswith("correlation/") for tag in events.Tags()["scalars"])


def test_lines_come_once_a_minute_and_with_each_epoch():
    now, lines = [0.0], []
    tell = TrainingLines(lines.append, lambda: now[0])
    step = {"kind": "step", "epoch": 1, "inter": 4.0, "intra": 0.5, "images_per_second": 100.0}
    for second, progress in ((0, 0.0), (30, 0.1), (60, 0.2), (90, 0.3)):
        now[0] = float(second)
        tell({**step, "step": second, "progress": progress})
    assert [line.split(" · ")[1] for line in lines] == ["step 0", "step 60"]
    assert lines[1].endswith("4 min 0 s left")
    tell(
        {
            "kind": "epoch",
            "epoch": 1,
            "epochs": 2,
            "loss": 1.0,
            "inter": 0.5,
            "intra": 0.5,
            "correlation": {"age": 0.9, "au4": None},
        }
    )
    assert lines[2].endswith("r age 0.90")
    assert (
        describe_line({"kind": "resumed", "step": 7, "epoch": 2}, None) == "going on after step 7, in epoch 2"
    )


def test_an_earlier_training_is_gone_on_from(call, words, small_backbones, tmp_path):
    first, out, card = tmp_path / "first.safetensors", tmp_path / "second", tmp_path / "second.md"
    assert call(*words)[0] == 0
    assert call("export", tmp_path / "run", "--out", first)[0] == 0
    again = [str(out) if word == str(tmp_path / "run") else word for word in words]
    status, _, err = call(*again, "--from", first)
    assert status == 0, err
    start = json.loads((out / "pretraining.json").read_text())["start"]
    assert start["sha256"] == digest_file(first)
    assert start["settings"]["batch_size"] == 8
    assert start["corpora"]["0"]["generator"] == "discs"
    assert "nothing to do" in call(*again, "--from", first)[2]
    status, _, err = call(*again)
    assert status == 2
    assert "other start.corpora, start.epoch" in err
    status, _, err = call(*again, "--from", first, "-o", "seed=1")
    assert status == 2
    assert "held others out" in err
    assert "-o seed=0 -o validation_share=0.25" in err
    assert call("export", out, "--out", card.with_suffix(".safetensors"))[0] == 0
    assert f"SHA-256 `{digest_file(first)}`" in card.read_text()
    assert "settings.toml --corpus corpus0 --from start.safetensors" in card.read_text()


def test_people_of_another_checkpoint_may_be_held_out_anew(
    call, words, small_backbones, corpus, relabel, tmp_path
):
    """An earlier training of one checkpoint's people binds the next on them, not one on another's."""
    roots = {
        people: relabel(tmp_path / people, sources={"people": people, "net.pkl": f"of {people}"})
        for people in ("aa", "bb")
    }

    def train(people, out, *more):
        chosen = [str(roots[people]) if word == str(corpus) else word for word in words]
        chosen = [str(tmp_path / out) if word == str(tmp_path / "run") else word for word in chosen]
        return call(*chosen, *more)

    first = tmp_path / "first.safetensors"
    assert train("aa", "run")[0] == 0
    facts = json.loads((tmp_path / "run" / "pretraining.json").read_text())
    assert facts["corpora"]["0"]["sources"] == {"people": "aa"}
    assert call("export", tmp_path / "run", "--out", first)[0] == 0
    status, _, err = train("aa", "again", "--from", first, "-o", "seed=1")
    assert status == 2 and "held others out" in err
    status, _, err = train("bb", "other", "--from", first, "-o", "seed=1")
    assert status == 0, err


def test_the_backbone_is_the_earlier_ones(call, words, small_backbones, tmp_path):
    file = tmp_path / "first.safetensors"
    chosen = dataclasses.replace(load_preset("laptop"), seed=5)
    methods = method_registry()
    assert open_start(chosen, None, methods, {}).facts == {}
    status, _, err = call(*words, "--from", file)
    assert status == 2
    assert "no such file" in err
    assert call(*words)[0] == 0
    assert call("export", tmp_path / "run", "--out", file)[0] == 0
    begin = open_start(chosen, str(file), methods, {})
    assert (begin.name, begin.feature_dim) == ("resnet18", 512)
    for name, value in begin.backbone.state_dict().items():
        assert torch.equal(value, load_file(file)[f"backbone.{name}"].to(value.dtype)), name
    with pytest.raises(WeightsFormatError, match="holds resnet18, not resnet50"):
        open_start(dataclasses.replace(chosen, backbone="resnet50"), str(file), methods, {})
    file.write_bytes(b"no weights")
    with pytest.raises(WeightsFormatError, match="doesn't say that it is ComFace's"):
        open_start(chosen, str(file), methods, {})


def test_torchrun_leaves_every_option_alone():
    """It takes what stands behind the module for its own if it could be short for one of its options."""
    from torch.distributed.run import get_args_parser

    parameters = get_command(app).params
    options = [name for parameter in parameters for name in parameter.opts if name.startswith("--")]
    assert {"--from", "--corpus", "--threads"} <= set(options)
    parsed = get_args_parser().parse_args(["--nproc-per-node=2", "-m", "comface_bench", "pretrain", *options])
    assert parsed.training_script_args == ["pretrain", *options]


def test_as_torchrun_starts_it(two_processes, words, tmp_path):
    said = two_processes(["-m", "comface_bench", *words])
    assert "epoch 1/1 · validation" in said[0]
    assert "epoch" not in said[1]
    assert (tmp_path / "run" / "best.pt").exists()
