"""`synth corpus --plan`, `--dry-run`, `--json`: what is asked for and what is missing, before it is made."""

from __future__ import annotations

import json
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from comface_bench.comface.corpus.layout import Layout
from comface_bench.comface.corpus.plan import paper_plans
from comface_bench.comface.corpus.read import Corpus
from comface_bench.comface.synthesis.boundaries import CELEBA_ATTRIBUTES
from comface_bench.comface.synthesis.stylegan.network import StyleGanNetwork, StyleGanShape, draw_weights
from comface_bench.comface.synthesis.stylegan3.network import StyleGan3Network
from comface_bench.comface.synthesis.stylegan3.network import draw_weights as draw_weights3
from comface_bench.comface.synthesis.stylegan3.schedule import StyleGan3Shape

PAPER = paper_plans(CELEBA_ATTRIBUTES)


@pytest.fixture
def make(call, tmp_path):
    """Call `synth corpus --out corpus`; returns status, stdout and stderr."""
    return lambda *words: call("synth", "corpus", "--out", tmp_path / "corpus", *words)


@pytest.fixture
def weights(own_folders):
    return own_folders / "weights"


@pytest.fixture
def stylegan(weights):
    """A small StyleGAN where the published one belongs."""
    torch.set_num_threads(1)
    network = StyleGanNetwork(StyleGanShape((4, 4, 3, 2), latent=512, fused_from=16))
    draw_weights(network, 0)
    (weights / "stylegan").mkdir()
    save_file(network.state_dict(), weights / "stylegan" / "stylegan_ffhq.safetensors")
    return weights / "stylegan"


@pytest.fixture
def weight(stylegan):
    direction = np.random.default_rng(0).standard_normal((1, 512))
    np.save(stylegan / "weight_orth_mouth.npy", direction)
    return stylegan


SMALL = ["-o", "size=32", "-o", "device=cpu"]


def test_what_the_paper_s_corpora_miss_is_all_said_before_anything_is_written(make, weights, tmp_path):
    status, out, err = make("--plan", "paper-stylegan3")
    assert (status, out) == (2, "")
    for name in CELEBA_ATTRIBUTES:
        assert (f"{name}_boundary.npy" in err) == (name not in ("Male", "Smiling"))
    assert "stylegan3-r-ffhq-1024x1024.pkl" in err and "https://api.ngc.nvidia.com" in err
    assert "38 attributes need 38 files" in err and "yuval-alaluf/stylegan3-editing" in err
    assert str(weights / "stylegan3") in err and "-o boundaries=DIR" in err
    assert "age_boundary" not in err and "pose" not in err
    status, _, err = make("--plan", "paper-stylegan", "--generator", "stylegan")
    assert status == 2
    assert "weight_orth_mouth.npy" in err and "StyleGAN-Facial-Weight" in err
    assert str(weights / "stylegan") in err
    assert not (tmp_path / "corpus").exists()


def test_a_smaller_one_has_the_paper_s_form(make, weight, tmp_path):
    status, _, err = make("--plan", "paper-stylegan", "--identities", "2", "--format", "png", *SMALL)
    assert status == 0, err
    plan = Layout(tmp_path / "corpus").read().plan
    paper = PAPER["stylegan"].as_json()
    assert plan.as_json() == paper | {"identities": 2}
    assert Layout(tmp_path / "corpus").read().generator["attributes"] == paper["attributes"]
    with Corpus(tmp_path / "corpus") as corpus:
        assert corpus.identities.tolist() == [0, 0, 0, 1, 1, 1]
        assert 0 not in corpus.record(0).alphas and len(corpus.record(0).alphas) == 100
    # Gone on with by the same line, and by the folder alone.
    assert make("--plan", "paper-stylegan", "--identities", "2", "--format", "png", *SMALL)[0] == 0
    assert make()[0] == 0
    status, _, err = make("--plan", "paper-stylegan", "--identities", "3", "--format", "png", *SMALL)
    assert status == 2 and "other plan" in err


def test_the_paper_s_stylegan3_has_celeba_s_forty_and_no_more(make, weights, tmp_path):
    folder = weights / "stylegan3"
    folder.mkdir()
    for number, name in enumerate(set(CELEBA_ATTRIBUTES) - {"Male", "Smiling"}):
        np.save(folder / f"{name}_boundary.npy", np.random.default_rng(number).standard_normal(512))
    status, out, _ = make("--plan", "paper-stylegan3", "--dry-run", "--json")
    found = json.loads(out)
    assert status == 2
    assert tuple(found["attributes"]) == CELEBA_ATTRIBUTES
    assert (found["records"], found["images"], found["pairs"]) == (200_000, 20_200_000, 10_000_000)
    (missing,) = found["missing"]
    assert "1024x1024.pkl" in missing["message"]
    torch.set_num_threads(1)
    network = StyleGan3Network(StyleGan3Shape.config_r(32, base=128, most=8, depth=5))
    draw_weights3(network, 0)
    save_file(network.state_dict(), folder / "stylegan3-r-ffhq-1024x1024.safetensors")
    status, out, err = make("--plan", "paper-stylegan3", "--identities", "5", "--dry-run", "--json", *SMALL)
    assert status == 0, err
    found = json.loads(out)
    assert tuple(found["attributes"]) == CELEBA_ATTRIBUTES and found["missing"] == []
    assert found["images"] == 5 * 40 * 101
    assert not (tmp_path / "corpus").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--generator", "stylegan3"], "--generator stylegan3 contradicts --plan paper-stylegan"),
        (["--generator", "anny"], "--generator anny contradicts"),
        (["--alphas", "101"], "--alphas 101 contradicts --plan paper-stylegan, which is --alphas 100"),
        (["--zero"], "--zero contradicts --plan paper-stylegan, which is --no-zero"),
        (["--no-shared"], "--no-shared contradicts"),
        (["--attributes", "age,smile"], "has attributes of its own: weight, age, smile"),
        (["-o", "attributes=age"], "has attributes of its own"),
        (["--identities", "50001"], "the paper has 50000 of each attribute"),
        (["--plan", "paper"], "One of paper-stylegan, paper-stylegan3"),
    ],
)
def test_options_that_contradict_the_plan_are_refused(make, weight, tmp_path, words, said):
    status, _, err = make("--plan", "paper-stylegan", *SMALL, *words)
    assert status == 2
    assert said in err
    assert not (tmp_path / "corpus").exists()


def test_what_is_about_age_alone_is_refused_without_age(make, tmp_path):
    status, _, err = make("--attributes", "smile,weight", "-o", "ageless=beard")
    assert status == 2
    assert "-o ageless=beard is about images of the attribute age" in err
    assert not (tmp_path / "corpus").exists()


def test_options_that_say_the_same_are_not(make, weight):
    words = ["--generator", "stylegan", "--attributes", "smile,age,weight", "--alphas", "100", "--shared"]
    words += ["--no-zero", "--identities", "20", *SMALL]
    status, _, err = make("--plan", "paper-stylegan", *words, "--dry-run")
    assert status == 0, err


def test_an_attribute_without_its_file_says_what_to_get(make, stylegan, tmp_path):
    status, _, err = make("--generator", "stylegan", "--attributes", "smile,weight", *SMALL)
    assert status == 2
    assert "weight needs weight_orth_mouth.npy" in err
    assert str(stylegan) in err and "https://github.com/aekpalakorn/StyleGAN-Facial-Weight" in err
    status, _, err = make("--generator", "stylegan", "--attributes", "nose", *SMALL)
    assert status == 2 and "nobody knows a direction of 'nose'" in err
    assert not (tmp_path / "corpus").exists()


def test_attributes_left_out_for_want_of_a_file_are_reported(make, stylegan, tmp_path):
    status, _, err = make("--generator", "stylegan", "--identities", "1", "--alphas", "2", *SMALL)
    assert status == 0
    assert "stylegan: 1 further attributes have no file here (weight)" in err
    assert Layout(tmp_path / "corpus").read().plan.attributes == ("age", "smile", "weight-chubby")


@pytest.mark.parametrize(
    ("words", "zero", "told"),
    [
        (["--shared"], False, True),
        (["--shared", "--no-zero"], False, False),
        (["--shared", "--zero"], True, False),
        ([], True, False),
        (["--no-zero"], False, False),
    ],
)
def test_shared_identities_drop_the_image_that_would_be_the_same(make, stylegan, tmp_path, words, zero, told):
    status, _, err = make(
        *("--generator", "stylegan", "--attributes", "age,smile", "--identities", "1", "--alphas", "2"),
        *(*words, *SMALL),
    )
    assert status == 0
    assert Layout(tmp_path / "corpus").read().plan.zero is zero
    assert ("--shared: α = 0 is left out" in err) == told


def test_one_attribute_has_nothing_to_repeat(make, stylegan, tmp_path):
    words = ["--generator", "stylegan", "--attributes", "age", "--identities", "1", "--alphas", "101"]
    assert make(*words, "--shared", *SMALL)[0] == 0
    assert Layout(tmp_path / "corpus").read().plan.zero
    status, _, err = make("--alphas", "101", "--shared", *SMALL)
    assert status == 2
    assert "Give --alphas 100, or --zero" in err


def test_a_dry_run_writes_nothing_and_estimates(make, stylegan, tmp_path):
    words = ["--generator", "stylegan", "--attributes", "age,smile", "--identities", "9", *SMALL]
    status, out, err = make(*words, "--dry-run")
    assert status == 0, err
    assert "records     18" in out and "images      360" in out and "missing     nothing" in out
    assert "from 6 images made as a sample" in out
    status, out, _ = make(*words, "--dry-run", "--json")
    before = json.loads(out)
    assert before["missing"] == [] and before["fits"] and before["bytes_free"] > 0
    assert (before["pairs"], before["images_done"]) == (180, 0)
    assert not (tmp_path / "corpus").exists()
    # The estimate is near the truth; then what is there is counted.
    status, out, _ = make(*words, "--json")
    made = json.loads(out)
    assert made["images_done"] == made["images"] == 360 and made["shards_done"] == made["shards"] == 1
    size = sum(path.stat().st_size for path in (tmp_path / "corpus").rglob("*") if path.is_file())
    assert before["bytes"] == pytest.approx(size, rel=0.2)
    after = json.loads(make("--dry-run", "--json")[1])
    assert after["images_done"] == 360 and after["bytes_left"] == 0
    assert after["measured_on"] == "the shards that are done"
    assert json.loads(make(*words, "--dry-run", "--json")[1]) == after | {"bytes_free": mock.ANY}
    status, _, err = make(*words, "--seed", "4", "--dry-run")
    assert status == 2 and "holds a corpus of other plan" in err


def test_a_dry_run_without_files_takes_a_figure(make, tmp_path):
    status, out, _ = make("--plan", "paper-stylegan", "--dry-run")
    assert status == 2
    assert "images      15,000,000" in out and "pairs       7,500,000 in an epoch" in out
    assert "from a figure: 0.41 bytes a pixel" in out
    assert "weight needs weight_orth_mouth.npy" in out and "karras2019stylegan" in out
    quarter = json.loads(make("--plan", "paper-stylegan", "--dry-run", "--json", "-o", "size=128")[1])
    whole = json.loads(make("--plan", "paper-stylegan", "--dry-run", "--json")[1])
    assert 0.25 < quarter["image_bytes"] / whole["image_bytes"] < 0.3
    assert make("--plan", "paper-stylegan", "--dry-run", "-o", "size=big")[0] == 2
    assert not (tmp_path / "corpus").exists()


def test_a_disc_that_is_too_small_is_said(make, stylegan, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=9))
    status, out, _ = make("--generator", "stylegan", "--attributes", "age", *SMALL, "--dry-run")
    assert status == 2 and "NOT ENOUGH" in out
