"""`pretrain --from METHOD`: from any method's backbone to weights that run as a method."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from comface_bench.baselines.comface import build_topology
from comface_bench.cli.pretrain_start import divide_words, open_start
from comface_bench.comface.facts import MethodStart, first_start, read_facts
from comface_bench.comface.pretrain.loader import normalise
from comface_bench.comface.pretrain.settings import load_preset
from comface_bench.core.card import TAUGHT_AGES, MethodCard, Preprocess
from comface_bench.core.digest import digest_content
from comface_bench.core.errors import WeightsFormatError
from comface_bench.core.names import parse_name
from comface_bench.core.registry import method_registry
from comface_bench.engine.encoder import Encoder, load_method
from comface_bench.execute.plan import Request, make_plan
from comface_bench.execute.run import describe_method, describe_protocol
from comface_bench.submission.vs_installed import known_chip, method_vs_installed, protocol_vs_installed

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

PLUGIN = """
import torch
from torch import nn

from comface_bench.core.card import Checkpoint, MethodCard, Preprocess


def card(name, **facts):
    facts = {"version": 1, "build": f":build_{name}", "backbone": "two convolutions", **facts}
    return MethodCard(name=name, **{"preprocess": Preprocess(), **facts})


CARDS = (
    card(
        "aged",
        preprocess=Preprocess(mean=(90.0, 110.0, 120.0), std=(64.0, 60.0, 50.0), channels="BGR", scale=255.0),
        options={"width": ("6", "5")},
        trained_on=("IMDB-WIKI",),
        labels_of=("IMDB-WIKI",),
        supervision=("age",),
        group="Supervised by Age",
        licence="MIT",
        training_scale="0.5M",
        chip="arcface",
    ),
    card("fixed"),
    card("sized", preprocess=Preprocess(size=24)),
    card("bound"),
)


def build_aged(options, weights, seed):
    torch.manual_seed(4)
    width = int(options["width"])
    layers = [nn.Conv2d(3, 8, 3, 2, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, width, 3, 2)]
    return nn.Sequential(*layers, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def build_sized(options, weights, seed):
    return build_aged({"width": "6"}, weights, seed)


class Fixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.filters = nn.Parameter(torch.ones(4, 3, 3, 3))

    def forward(self, images):
        with torch.no_grad():
            return nn.functional.conv2d(images, self.filters).mean(dim=(2, 3))


def build_fixed(options, weights, seed):
    return Fixed()


def build_bound(options, weights, seed):
    if weights is None and build_bound.built:
        raise AssertionError("no weights")
    build_bound.built = True
    return build_aged({"width": "6"}, weights, seed)


build_bound.built = False
"""


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    path = tmp_path_factory.mktemp("plugin") / "starts.py"
    path.write_text(PLUGIN)
    return path


@pytest.fixture
def words(corpus, tmp_path):
    config = tmp_path / "small.toml"
    config.write_text(SMALL)
    return [
        *("pretrain", "--config", str(config), "--corpus", str(corpus), "--out", str(tmp_path / "run")),
        *("--device", "cpu"),
    ]


def test_from_a_method_to_weights_that_run(call, words, plugin, tmp_path):
    out, file = tmp_path / "run", tmp_path / "aged.safetensors"
    asked = [*words, "--plugin", plugin, "--from", "aged", "-o", "width=5", "-o", "freeze=1"]
    status, _, err = call(*asked, "-o", "distill=0.5", "-o", "l2_start=0.01", "-o", "inter_weight=0")
    assert status == 0, err
    facts = json.loads((out / "pretraining.json").read_text())
    assert facts["settings"]["backbone"] == "aged+width=5"
    assert facts["settings"]["freeze"] == "1"
    assert facts["start"]["preprocess"]["channels"] == "BGR"
    line = json.loads((out / "log.jsonl").read_text().splitlines()[0])
    assert line["inter"] is None and line["distill"] > 0 and line["l2_start"] > 0
    assert call("export", out, "--out", file, "--plugin", plugin)[0] == 0
    card = file.with_suffix(".md").read_text()
    assert "| taught | age |" in card and "nobody's photograph" not in card
    assert "--from aged+width=5" in card

    encoder = load_method("comface", checkpoint=file)
    best = torch.load(out / "best.pt", weights_only=True)["model"]
    start = load_method("aged", registry=method_registry([plugin]), width="5")
    for name, tensor in encoder.backbone.state_dict().items():
        assert torch.allclose(tensor, best[f"backbone.{name}"], rtol=1e-3, atol=1e-6), name
    # What was frozen is the start's, what wasn't has moved.
    assert torch.allclose(encoder.backbone[0].weight, start.backbone[0].weight, rtol=1e-3)
    assert not torch.allclose(encoder.backbone[3].weight, start.backbone[3].weight, rtol=1e-3)
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(encoder.normalise(images), start.normalise(images))
    assert encoder(images).shape == (2, 5)
    assert encoder.own_head("anything").shape == (5,)


def test_what_the_start_has_seen_stands_in_the_record(call, words, plugin, tmp_path):
    file = tmp_path / "aged.safetensors"
    assert call(*words, "--plugin", plugin, "--from", "aged")[0] == 0
    assert call("export", tmp_path / "run", "--out", file, "--plugin", plugin)[0] == 0
    options = {"checkpoint": str(file)}
    (cell,) = make_plan(Request(["comface"], ["synth-age"], "probe", options, plugin_files=[plugin])).cells
    info = describe_method(cell, 6, 100)
    assert info.card["supervision"] == ["rendered change", "age"]
    assert info.card["trained_on"] == ["synthetic faces", "IMDB-WIKI"]
    assert info.card["labels_of"] == ["IMDB-WIKI"]
    assert (info.card["group"], info.card["backbone"]) == (TAUGHT_AGES, "two convolutions")
    assert info.name == f"comface+checkpoint={info.checkpoint_digest[:12]}"
    assert "backbone" not in info.options
    assert not any(str(tmp_path) in str(value) for value in (info.options, info.card, info.about))
    # A submission of such a row is sound, and its start is the submitter's word ...
    methods, unchecked = method_registry(plugins=False), []
    assert list(method_vs_installed(info, methods, unchecked)) == []
    assert any("where its weights started" in text for text in unchecked)
    # ... but it can't have seen less than the method itself.
    less = info.model_copy(update={"card": {**info.card, "trained_on": ["IMDB-WIKI"]}})
    assert [field for field, _ in method_vs_installed(less, methods, [])] == ["method.card"]
    # Aligned faces are those that the start expects, which a submission's check takes from the record.
    request = Request(["comface"], ["synth-age"], "probe+align=five-points", options, plugin_files=[plugin])
    (cell,) = make_plan(request).cells
    assert cell.protocol.chip == "arcface"
    ran = SimpleNamespace(protocol=describe_protocol(cell.protocol), task=SimpleNamespace(name="synth-age"))
    chip = known_chip(info, methods.get("comface"))
    assert list(protocol_vs_installed(ran, cell.task.card, True, chip)) == []
    # Shipped weights stay what they are.
    (plain,) = make_plan(Request(["comface"], ["synth-age"], "probe")).cells
    assert plain.method.card.supervision == ("rendered change",)
    assert known_chip(describe_method(plain, 512, 100), methods.get("comface")) == "dlib"


def test_a_training_goes_on_from_weights_that_started_from_a_method(call, words, plugin, tmp_path):
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    assert call(*words, "--plugin", plugin, "--from", "aged")[0] == 0
    assert call("export", tmp_path / "run", "--out", first, "--plugin", plugin)[0] == 0
    again = [str(tmp_path / "again") if word == str(tmp_path / "run") else word for word in words]
    status, _, err = call(*again, "--plugin", plugin, "--from", first)
    assert status == 0, err
    assert call("export", tmp_path / "again", "--out", second, "--plugin", plugin)[0] == 0
    facts = read_facts(second)
    assert facts["backbone"] == "aged"
    assert first_start(facts, "").supervision == ("age",)
    assert load_method("comface", checkpoint=second).preprocess.channels == "BGR"
    card = second.with_suffix(".md").read_text()
    assert "## Started from" in card and "## The backbone before any of this" in card


def test_a_backbone_that_the_file_does_not_hold_is_refused(call, words, plugin, tmp_path):
    file = tmp_path / "aged.safetensors"
    assert call(*words, "--plugin", plugin, "--from", "aged")[0] == 0
    assert call("export", tmp_path / "run", "--out", file, "--plugin", plugin)[0] == 0
    other = ["-o", "backbone=resnet50"]
    again = [str(tmp_path / "again") if word == str(tmp_path / "run") else word for word in words]
    status, _, err = call(*again, "--plugin", plugin, "--from", file, *other)
    assert status == 2 and "the start brings the backbone, aged" in err
    run = ["--method", "comface", "--task", "synth-age", "-o", f"checkpoint={file}", *other]
    status, _, err = call("run", *run, "--protocol", "probe", "--dry-run")
    assert status == 2 and "nothing takes 'backbone'" in err
    status, _, err = call("synth", "transfer", *run)
    assert status == 2 and "comface takes no option 'backbone'" in err


def test_a_network_of_timm_with_a_file_of_ones_own(call, words, tmp_path):
    weights, file = tmp_path / "mine.pth", tmp_path / "out.safetensors"
    torch.manual_seed(9)
    model = timm.create_model("test_efficientnet", pretrained=False)
    torch.save(model.state_dict(), weights)
    asked = [*words, "--from", "timm/test_efficientnet", "-o", f"checkpoint={weights}"]
    status, _, err = call(*asked)
    assert status == 0, err
    assert re.search(r"note: the averages of \d+ batch norms become those of the corpora", err)
    kept = [str(tmp_path / "kept") if word == str(tmp_path / "run") else word for word in asked]
    assert "note: the averages" not in call(*kept, "-o", "freeze=norms")[2]
    text = (tmp_path / "run" / "pretraining.json").read_text()
    digest, start = digest_content(weights).content, json.loads(text)["start"]
    assert (start["method"], start["weights"]) == (
        f"timm/test_efficientnet+checkpoint={digest[:12]}",
        digest,
    )
    assert str(tmp_path) not in text
    assert "nothing to do" in call(*asked)[2]
    status, _, err = call(*words, "--from", "timm/test_efficientnet")
    assert status == 2 and "other" in err and "start.method" in err
    assert call("export", tmp_path / "run", "--out", file)[0] == 0
    encoder = load_method("comface", checkpoint=file)
    assert encoder.preprocess == load_method("timm/test_efficientnet").preprocess
    assert encoder(torch.rand(2, 3, 32, 32)).shape[1] == start["feature_dim"]
    # The training moved it, from the file's weights and not from drawn ones.
    own = dict(model.named_parameters())
    moved = [(a - own[name]).detach().abs().max() for name, a in encoder.backbone.named_parameters()]
    assert 0 < max(map(float, moved)) < 0.1


def test_the_mean_of_two_trainings_is_a_network_and_a_start_for_other_people(call, words, tmp_path):
    mean, folders = tmp_path / "mean.safetensors", [tmp_path / "seed0", tmp_path / "seed1"]
    torch.save(timm.create_model("test_efficientnet", pretrained=False).state_dict(), tmp_path / "mine.pth")
    start = ["--from", f"timm/test_efficientnet+checkpoint={tmp_path / 'mine.pth'}", "-o", "freeze=norms"]

    def train(out, *more):
        return call(*[str(out) if word == str(tmp_path / "run") else word for word in words], *more)

    for seed, folder in enumerate(folders):
        assert train(folder, *start, "-o", f"seed={seed}")[0] == 0
    status, _, err = call("export", *folders, "--out", mean)
    assert status == 0, err
    assert [one["seed"] for one in read_facts(mean)["mean_of"]] == [0, 1]
    assert load_method("comface", checkpoint=mean)(torch.rand(2, 3, 32, 32)).isfinite().all()
    for seed in (0, 1):
        status, _, err = train(tmp_path / "next", "--from", mean, "-o", f"seed={seed}")
        assert status == 2 and "held others out" in err and "--first N" in err
    half = ["--from", start[1], "--start-share", "0.5", "--out", tmp_path / "half.safetensors"]
    assert call("export", *folders, *half)[0] == 0
    own = torch.load(tmp_path / "mine.pth", weights_only=True)
    learnt, mixed = load_file(mean), load_file(tmp_path / "half.safetensors")
    name = "conv_stem.weight"
    halfway = (learnt[f"backbone.{name}"].float() + own[name]) / 2
    assert torch.allclose(mixed[f"backbone.{name}"].float(), halfway, rtol=2e-3, atol=1e-5)
    assert not torch.equal(mixed[f"backbone.{name}"], learnt[f"backbone.{name}"])
    for wrong, said in (
        (["--start-share", "0.5"], "--start-share needs the start"),
        (["--from", start[1]], "--start-share 0: not above 0 and below 1"),
        (["--from", mean, "--start-share", "0.5"], "didn't start from its weights"),
        (["--from", "scratch", "--start-share", "0.5"], "didn't start from its weights"),
    ):
        status, _, err = call("export", *folders, *wrong)
        assert status == 2 and said in err
    status, _, err = call("export", *folders, "--onnx")
    assert status == 2 and "--onnx: 2 records" in err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--from", "efficientnet-lit0"], "neither a file nor a method. Did you mean efficientnet-lite0"),
        (["--from", "fixed"], "nothing to train: no gradient reaches"),
        (["--from", "sized"], "sized takes images of 24 pixels only, not of 32"),
        (["--from", "bound"], "builds no network without its file: AssertionError"),
        (["--from", "aged", "-o", "backbone=resnet18"], "the start brings the backbone"),
        (["--from", "aged", "-o", "freeze=9"], "the backbone has 2 stages"),
        (["--from", "aged+width=6", "-o", "width=5"], "width of aged is given twice"),
        (["--from", "aged", "-o", "widht=5"], "no setting is called 'widht'"),
        (["-o", "distill=1"], "distill = 1.0: there is no start to keep to"),
        (["-o", "freeze=1"], "freeze = 1: there is no start"),
        (["--from", "aged", "-o", "l2_start=-1"], "l2_start = -1.0: less than 0"),
    ],
)
def test_what_cannot_start_is_said_before_anything_is_written(call, words, plugin, tmp_path, more, said):
    status, _, err = call(*words, "--plugin", plugin, *more)
    assert status == 2
    assert said in err
    assert not (tmp_path / "run").exists()


def test_the_shipped_weights_are_a_method_too():
    begin = open_start(load_preset("laptop"), "comface", method_registry(), {})
    assert (begin.name, begin.feature_dim) == ("resnet18", 512)
    assert begin.facts["corpora"]  # as of a file: what they have seen
    assert divide_words({"epochs": "2"}, "comface", method_registry()) == ({"epochs": "2"}, {})


def test_a_start_takes_weights_of_any_path_and_ending(tmp_path):
    weights, methods = tmp_path / "a+b" / "mine.safetensors", method_registry()
    weights.parent.mkdir()
    name = "timm/test_efficientnet"
    save_file(timm.create_model("test_efficientnet", pretrained=False).state_dict(), weights)
    typed = {"epochs": "2", "checkpoint": str(weights)}
    settings, given = divide_words(typed, name, methods)
    assert settings == {"epochs": "2"}
    begin = open_start(load_preset("laptop"), name, methods, given)
    assert begin.facts["weights"] == digest_content(weights).content
    plain = tmp_path / "mine.safetensors"
    weights.rename(plain)
    named = f"{name}+checkpoint={plain}"
    settings, given = divide_words({}, named, methods)
    assert open_start(load_preset("laptop"), named, methods, given).facts == begin.facts


@pytest.mark.parametrize(
    "preprocess",
    [
        Preprocess(),
        Preprocess(mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.5), channels="BGR"),
        Preprocess(mean=(90, 100, 110), std=(1, 2, 3), scale=255.0, channels="BGR", size=16),
    ],
)
def test_images_are_normalised_as_an_encoder_does_it(preprocess):
    images = torch.rand(3, 3, 16, 16)
    expected = Encoder("any", torch.nn.Identity(), preprocess).normalise(images.clone())
    assert torch.equal(normalise(images, preprocess), expected)


def test_a_start_that_nobody_wrote_is_refused():
    good = MethodStart.of("a", MethodCard("a", 1, ":b", "x"), None, 4, Preprocess()).as_json()
    assert MethodStart.read(good, "f").as_json() == good
    for wrong in (
        {"supervision": ["charm"]},
        {"group": "Best"},
        {"feature_dim": "many"},
        {"preprocess": {**good["preprocess"], "mean": [0.5]}},
        {"preprocess": {"size": 3}},
        *(
            {"preprocess": {**good["preprocess"], **one}}
            for one in (
                *({"channels": "XYZ"}, {"size": "large"}, {"size": 0}, {"multiple": 0}, {"scale": "x"}),
                *({"mean": [float("nan")] * 3}, {"std": [1, 1, 0]}, {"scale": float("inf")}),
            )
        ),
        {"trained_on": 3},
    ):
        with pytest.raises(WeightsFormatError, match="f: its start isn't described"):
            MethodStart.read({**good, **wrong}, "f")
    for start in ("words", [good], {"start": 3}):
        with pytest.raises(WeightsFormatError, match="f: its start isn't described"):
            first_start({"start": start}, "f")


_SMALL = [
    *("efficientnet-lite0", "dlib-face", "dlib-face+feature=pooled", "faceres-deep", "mobilefacenet"),
    *("mobileface", "mini-xception", "facemesh", "open-nsfw", "imagenet", "simclr", "timm/test_vit"),
]
_LARGE = ["farl", "farl+feature=proj", "fmae", "dinov3", "stablerep", "arcface", "adaface", "pcl", "vggface2"]


@pytest.mark.parametrize("name", [*_SMALL, *(pytest.param(name, marks=pytest.mark.slow) for name in _LARGE)])
def test_methods_build_their_topology_without_their_file(name):
    """So weights that started from one of them run where its own file isn't."""
    base, given = parse_name(name)
    card = method_registry().get(base).card
    start = MethodStart.of(name, card, "0" * 64, card.feature_dim or 1, card.preprocess or Preprocess())
    network = build_topology(start)
    assert network.preprocess == start.preprocess
    size = 112 if base == "adaface" else (card.preprocess and card.preprocess.size) or 64
    with torch.no_grad():
        features = network.eval()(torch.zeros(1, 3, size, size))
    assert features.ndim == 2
    if card.feature_dim and not given:
        assert features.shape[1] == card.feature_dim
