"""Export: what the file says is what the network computes, and what cards say comes from the log."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from comface_bench.baselines.networks import build_backbone
from comface_bench.comface.corpus.plan import CorpusPlan
from comface_bench.comface.export import export, shared_head, task_head_starts
from comface_bench.comface.facts import MethodStart, read_facts
from comface_bench.comface.model import ComFace
from comface_bench.comface.pretrain.folder import TrainingFolder
from comface_bench.comface.pretrain.settings import Settings
from comface_bench.core.card import MethodCard, Preprocess
from comface_bench.core.errors import DataMissingError, UsageError, WeightsFormatError
from comface_bench.engine.encoder import load_method

NAMES = ("age", "weight", "smile", "au4")
CORPUS = {
    "generator": "anny",
    "images": 1200,
    "licence": "CC0-1.0",
    "sha256": "ab" * 32,
    "arguments": {"nuisance": "on"},
    "plan": CorpusPlan(7, NAMES, 15, alphas=20).as_json(),
}


def epoch(number, loss):
    return {
        "kind": "epoch",
        "step": 10 * number,
        "epoch": number,
        "epochs": 2,
        "loss": loss,
        "inter": loss / 2,
        "intra": loss / 2,
        "correlation": {"age": 0.8125, "weight": 0.9, "smile": 0.5, "au4": None},
        "seconds": 125.0 * number,
    }


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder as a training leaves it, of an untrained network with a batch norm that has seen something."""
    folder = TrainingFolder(tmp_path_factory.mktemp("run") / "run")
    settings = Settings(backbone="resnet18", projection_dim=8, change_scale=5.0)
    folder.begin(
        {
            "settings": settings.as_json(),
            "corpora": {"0": CORPUS},
            "attributes": list(NAMES),
            "identities": 60,
            "machine": {"device": "cpu", "precision": "float32", "processes": 1},
            "environment": {
                "versions": {"torch": "2", "timm": None},
                "cpu": "some processor",
                "machine": "x86",
                "torch": {"threads": 2, "gpu": None},
            },
        }
    )
    network = ComFace(build_backbone("resnet18", 3), 512, 8, NAMES)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        network.norm.running_var.copy_(torch.rand(512, generator=generator) + 0.5)
        network.norm.running_mean.copy_(torch.rand(512, generator=generator))
    torch.save({"line": epoch(1, 1.25), "model": network.state_dict()}, folder.best)
    folder.append_line({"kind": "step", "step": 5, "epoch": 1})
    folder.append_line(epoch(1, 1.25))
    folder.append_line(epoch(2, 1.5))
    return folder, network.eval()


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "comface-resnet18.safetensors"
    return export([trained[0]], build_backbone("resnet18"), 512, out)


def test_heads_answer_in_alpha_on_the_backbones_own_features(trained, exported):
    network, tensors = trained[1], load_file(exported[0])
    images = torch.rand((4, 3, 64, 64), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        features = network.backbone(images)
        said = network(images, torch.tensor([0, 3])).changes
    difference = features[2:] - features[:2]
    shared = difference @ shared_head(tensors, exported[0])
    own = [difference[0] @ tensors["heads.age"].float(), difference[1] @ tensors["heads.au4"].float()]
    assert torch.allclose(shared, 5.0 * said[:, 0], rtol=2e-2, atol=2e-3)  # float16 in the file
    assert torch.allclose(torch.stack(own), 5.0 * said[:, 1], rtol=2e-2, atol=2e-3)


def test_a_feature_that_hardly_varied_in_training_does_not_drown_the_others():
    network = ComFace(build_backbone("resnet18", 3), 512, 8, NAMES)
    with torch.no_grad():
        network.norm.running_var.fill_(2.0)
        network.norm.running_var[:8] = torch.tensor([0, 1e-14, 1e-6, 0.01, 0.09, 0.2, 0.5, 4.0])
    mean = network.norm.running_var.mean()
    scale = network.norm.running_var.clone()
    scale[scale < 0.05 * mean] = 0.05 * mean
    for name, weight in zip(("shared", *NAMES), network.heads.weight, strict=True):
        assert torch.allclose(network.head_weights()[name], weight / (scale + 1e-5).sqrt())
    assert network.head_weights()["age"][0].abs() <= network.heads.weight.abs().max() / (0.05 * mean).sqrt()


def test_a_task_starts_from_its_own_head_in_its_own_unit(exported):
    encoder = load_method("comface+backbone=resnet18", checkpoint=exported[0])
    tensors = load_file(exported[0])
    assert torch.allclose(encoder.own_head("age"), 6.5 * tensors["heads.age"].float())
    assert torch.allclose(encoder.own_head("weight_kg"), 1.6 * tensors["heads.weight"].float())
    assert torch.allclose(encoder.own_head("au12"), 0.5 * tensors["heads.smile"].float())
    assert torch.allclose(encoder.own_head("au4"), 0.5 * tensors["heads.au4"].float())
    assert torch.equal(encoder.own_head("pspi"), tensors["heads.shared"].float())


def test_only_anny_has_units():
    assert task_head_starts(("age",), {"stylegan"}) == {"age": {"head": "age", "per_alpha": 1.0}}
    assert task_head_starts(("age",), {"anny", "stylegan"})["age"]["per_alpha"] == 1.0
    assert task_head_starts((), {"anny"}) == {}
    assert task_head_starts(("au12", "smile"), {"anny"})["au12"]["head"] == "au12"


def test_the_file_is_small_and_its_facts_are_the_trainings(trained, exported):
    facts = read_facts(exported[0])
    assert facts["settings"] == json.loads(json.dumps(trained[0].read()["settings"]))
    assert facts["epoch"] == 1
    tensors = load_file(exported[0])
    assert {t.dtype for t in tensors.values() if t.is_floating_point()} == {torch.float16}
    assert exported[0].stat().st_size < 25e6


def test_the_card_says_what_was_done(exported):
    text = exported[1].read_text()
    assert exported[1].name == "comface-resnet18.md"
    for said in (
        "1,200",
        "ab" * 32,
        "2 of 12 epochs",
        "that of epoch 1",
        "nobody's photograph",
        "some processor, 1 process(es) of 2 thread(s), float32",
        "comface-bench synth corpus --generator anny --attributes age,weight,smile,au4 --identities 15"
        " --alphas 20 --seed 7 -o nuisance=on --out corpus0",
        "    comface-bench pretrain --config settings.toml --corpus corpus0",
        "| age | age | 6.5 |",
        "| age | 0.812 |",
        "| au4 | — |",
        "| 2 | 1.5000 | 0.7500 | 0.7500 |",
        "| learning_rate | `0.0004` |",
    ):
        assert said in text, said


def test_nothing_to_export_yet(tmp_path):
    folder = TrainingFolder(tmp_path / "run")
    folder.begin({"settings": {}, "corpora": {}})
    with pytest.raises(DataMissingError, match="no epoch is done yet"):
        export([folder], build_backbone("resnet18"), 512, tmp_path / "out.safetensors")
    with pytest.raises(DataMissingError, match="holds no pre-training"):
        export(
            [TrainingFolder(tmp_path / "none")], build_backbone("resnet18"), 512, tmp_path / "out.safetensors"
        )


def test_only_rendered_faces_are_nobodys(trained, tmp_path):
    folder, _ = trained
    facts = folder.read()
    facts["corpora"]["0"] = {**CORPUS, "generator": "stylegan"}
    facts["machine"]["processes"] = 2
    other = TrainingFolder(tmp_path / "run")
    other.begin(facts)
    shutil.copy(folder.best, other.best)
    _, card = export([other], build_backbone("resnet18"), 512, tmp_path / "out.safetensors")
    assert "photograph" not in card.read_text()  # StyleGAN has learnt from photographs
    assert "torchrun --nproc-per-node=2 -m comface_bench pretrain --config" in card.read_text()
    assert "| 1 | 1.2500 |" in card.read_text()  # of the best epoch's own line: the log is empty


def scaled(trained, tmp_path, name, factor):
    """A training's folder with one tensor scaled."""
    folder, network = trained
    other = TrainingFolder(tmp_path / "run")
    other.begin(folder.read())
    state = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    state[name] *= factor
    torch.save({"line": epoch(1, 1.0), "model": state}, other.best)
    return other, state[name]


def test_what_float16_cannot_hold_is_float32(trained, tmp_path):
    other, variances = scaled(trained, tmp_path, "backbone.bn1.running_var", 1e6)
    path, _ = export([other], build_backbone("resnet18"), 512, tmp_path / "out.safetensors")
    stored = load_file(path)
    assert torch.equal(stored["backbone.bn1.running_var"], variances)
    assert stored["backbone.bn1.running_mean"].dtype == torch.float16
    encoder = load_method("comface", checkpoint=path)
    assert torch.equal(encoder.backbone.state_dict()["bn1.running_var"], variances)


def test_a_weight_that_is_not_finite_is_refused(trained, tmp_path):
    other, _ = scaled(trained, tmp_path, "backbone.conv1.weight", float("inf"))
    with pytest.raises(WeightsFormatError, match=r"backbone\.conv1\.weight"):
        export([other], build_backbone("resnet18"), 512, tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


START = MethodStart.of("a", MethodCard("a", 1, ":b", "x"), "ab" * 32, 512, Preprocess()).as_json()


def begin_seed(trained, root, seed, start=START, freeze="norms", **settings):
    """A folder of a training from a start, with a network of the seed's."""
    folder, _ = trained
    facts = folder.read()
    own = {**facts["settings"], "seed": seed, "freeze": freeze, **settings}
    other = TrainingFolder(root / f"seed{seed}")
    other.begin({**facts, "settings": own, "start": start})
    network = ComFace(build_backbone("resnet18", 3), 512, 8, NAMES)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(seed)
        for parameter in network.parameters():
            parameter += 0.01 * torch.randn(parameter.shape, generator=generator)
    torch.save({"line": epoch(1 + seed, 1.0 - seed / 10), "model": network.state_dict()}, other.best)
    other.append_line(epoch(1 + seed, 1.0 - seed / 10))
    return other, network


def test_several_trainings_give_the_mean_of_their_weights(trained, tmp_path):
    made = [begin_seed(trained, tmp_path, seed) for seed in (0, 1, 5)]
    path, card = export([one for one, _ in made], build_backbone("resnet18"), 512, tmp_path / "m.safetensors")
    stored = load_file(path)
    for name, tensor in stored.items():
        part, _, rest = name.partition(".")
        own = [
            5.0 * network.head_weights()[rest] if part == "heads" else network.state_dict()[name]
            for _, network in made
        ]
        expected = sum(one.double() for one in own) / 3 if tensor.is_floating_point() else own[0]
        assert torch.allclose(tensor.double(), expected.double(), rtol=1e-3, atol=1e-6), name
    assert read_facts(path)["mean_of"] == [{"seed": n, "epoch": n + 1} for n in (0, 1, 5)]
    text = card.read_text()
    for said in (
        "epoch 1 of seed 0, 2 of seed 1, 6 of seed 5: the mean of all weights",
        "pretrain --config settings.toml --corpus corpus0 --from a -o seed=5 --out seed5",
        "    comface-bench export seed0 seed1 seed5\n",
        "## Curve, seed 1",
        "| 6 | 0.5000 |",
    ):
        assert said in text, said
    assert len((tmp_path / "m.log.jsonl").read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("seed", "other", "said"),
    [
        (1, {"learning_rate": 0.5}, "differ in settings.learning_rate"),
        (1, {"start": {**START, "weights": "cd" * 32}}, "differ in start"),
        (0, {}, "seeds 0, 0: a training counts once"),
    ],
)
def test_other_trainings_have_no_mean(trained, tmp_path, seed, other, said):
    folders = [
        begin_seed(trained, tmp_path / "a", 0)[0],
        begin_seed(trained, tmp_path / "b", seed, **other)[0],
    ]
    with pytest.raises(UsageError, match=said):
        export(folders, build_backbone("resnet18"), 512, tmp_path / "m.safetensors")
    assert not (tmp_path / "m.safetensors").exists()


def test_the_start_has_a_share_of_the_backbone_and_none_of_the_heads(trained, tmp_path):
    folder, network = begin_seed(trained, tmp_path, 0)
    start = build_backbone("resnet18", 4).state_dict()
    path, card = export([folder], build_backbone("resnet18"), 512, tmp_path / "m.safetensors", start, 0.25)
    stored = load_file(path)
    for name, own in network.backbone.state_dict().items():
        expected = 0.75 * own.double() + 0.25 * start[name].double() if own.is_floating_point() else own
        assert torch.allclose(stored[f"backbone.{name}"].double(), expected.double(), rtol=1e-3, atol=1e-6)
    assert torch.allclose(stored["heads.age"].float(), 5.0 * network.head_weights()["age"], rtol=1e-3)
    assert read_facts(path)["start_share"] == 0.25
    text = card.read_text()
    assert "0.75 of the backbone's weights are of that, 0.25 the start's" in text
    assert "    comface-bench export pretraining --from a --start-share 0.25\n" in text
    moved, _ = begin_seed(trained, tmp_path, 1, freeze="")
    with pytest.raises(UsageError, match="batch norms, 20 of them, took averages"):
        export([moved], build_backbone("resnet18"), 512, tmp_path / "n.safetensors", start, 0.25)


@pytest.mark.parametrize(
    ("both", "said"),
    [({"start": {}}, "began at random weights"), ({"freeze": ""}, "batch norms, 20 of them, took averages")],
)
def test_networks_that_lie_far_apart_have_no_mean(trained, tmp_path, both, said):
    folders = [begin_seed(trained, tmp_path, seed, **both)[0] for seed in (0, 1)]
    with pytest.raises(UsageError, match=said):
        export(folders, build_backbone("resnet18"), 512, tmp_path / "m.safetensors")


def change(exported, path, drop="", **metadata):
    kept = {name: t for name, t in load_file(exported[0]).items() if not drop or not name.startswith(drop)}
    facts = {**read_facts(exported[0]), **metadata}
    save_file(kept, path, {"comface": json.dumps(facts)} if metadata != {"none": True} else None)
    return path


def test_another_backbones_file_is_refused(exported):
    with pytest.raises(WeightsFormatError, match="holds resnet18, not resnet50") as caught:
        load_method("comface+backbone=resnet50", checkpoint=exported[0])
    assert caught.value.hint == "-o backbone=resnet18"


def test_a_file_that_does_not_say_what_it_is_is_refused(exported, tmp_path):
    for facts in ({"none": True}, {"format": 2}, {"starts": None, "format": "1"}):
        path = change(exported, tmp_path / "a.safetensors", **facts)
        with pytest.raises(WeightsFormatError, match="doesn't say that it is ComFace's"):
            load_method("comface", checkpoint=path)
    (tmp_path / "b.safetensors").write_bytes(b"no tensors")
    with pytest.raises(WeightsFormatError, match="doesn't say that it is ComFace's"):
        load_method("comface", checkpoint=tmp_path / "b.safetensors")


@pytest.mark.parametrize(
    ("part", "said"),
    [("backbone.layer4", "lacks"), ("heads.age", "lacks heads.age"), ("heads.shared", "heads.shared")],
)
def test_a_part_of_a_file_is_refused(exported, tmp_path, part, said):
    path = change(exported, tmp_path / "part.safetensors", drop=part)
    with pytest.raises(WeightsFormatError, match=said):
        load_method("comface", checkpoint=path)
