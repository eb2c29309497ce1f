"""Models beside records: what keeps them, what loads them, and what they answer."""

import dataclasses
import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from comface_bench.core.errors import (
    DataMissingError,
    ResultError,
    UnlikePhotoError,
    UsageError,
)
from comface_bench.core.events import Event
from comface_bench.data.task import Task, load_task
from comface_bench.engine.model_file import ENTRY
from comface_bench.execute.models import Model, load_model
from comface_bench.execute.plan import Request, make_plan
from comface_bench.execute.run import run_plan
from comface_bench.results.models import ModelFiles
from comface_bench.results.store import RecordWriter, ResultStore
from comface_bench.results.validation import validate_record, validate_strays

MakeRequest = Callable[..., Request]


def execute(request: Request, events: list[Event] | None = None) -> Path:
    run_plan(make_plan(request), request, (events if events is not None else []).append)
    (path,) = ResultStore(request.results).paths()
    return path


def request_of(make_request: MakeRequest, protocol: str = "probe", **changes: Any) -> Request:
    """Ask for a protocol with the options that it takes, on two folds."""
    request = make_request(protocol=protocol, folds=(0, 1), **changes)
    if protocol == "probe":
        kept = {key: request.options[key] for key in ("split", "image_size")} | changes.get("options", {})
        request = dataclasses.replace(request, options=kept)
    return request


def load(path: Path, plugin: Path, **changes: Any) -> Model:
    return load_model(
        path, plugin_files=[plugin], use_plugins=False, device="cpu", find_faces=False, **changes
    )


def models_of(path: Path) -> list[Path]:
    return sorted(ModelFiles(path).folder.glob("*"))


def test_pairs(task: Task, fold: int) -> tuple[list[tuple[Path, Path]], list[str]]:
    pairs, root = task.pairs(fold, "test"), task.table.root
    files = [
        (root / task.table.images[first], root / task.table.images[second])
        for first, second in zip(pairs.x, pairs.y, strict=True)
    ]
    return files, list(task.sampler.identifiers(pairs))


test_pairs.__test__ = False  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("protocol", "options"),
    [
        ("probe", {}),
        ("probe", {"mirror": "mean", "scale": "spread"}),
        ("probe", {"mirror": "beside"}),
        ("linear", {}),
        ("linear", {"head": "concat"}),
        ("finetune", {}),
    ],
)
def test_a_model_gives_the_stored_predictions(
    protocol: str, options: dict[str, str], make_request: MakeRequest, plugin: Path, data: Path
) -> None:
    request = request_of(make_request, protocol, options=options, seeds=(0, 1), save_models=True)
    path = execute(request)
    record = ResultStore(request.results).load_at(path)
    stored = {
        (row.fold, row.seed, row.pair_id): row.yhat
        for row in ResultStore(request.results).load_predictions(record)
    }
    task = load_task("age+split=balanced-4", data)
    assert len(record.units) == 4
    for unit in record.units:
        model = load(path, plugin, folds=[unit.fold], seeds=[unit.seed])
        files, names = test_pairs(task, unit.fold)
        found = model.predict_pairs(files)
        expected = [stored[unit.fold, unit.seed, name] for name in names]
        np.testing.assert_allclose([float(one) for one in found], expected, rtol=0, atol=1e-6)
        assert float(model.predict(*files[0])) == pytest.approx(expected[0], abs=1e-6)


def test_all_models_answer_and_the_interval_holds_them(
    make_request: MakeRequest, plugin: Path, data: Path
) -> None:
    path = execute(request_of(make_request, seeds=(0, 1)))
    files, _ = test_pairs(load_task("age+split=balanced-4", data), 0)
    found = load(path, plugin).predict(*files[0])
    alone = [
        float(load(path, plugin, folds=[fold], seeds=[seed]).predict(*files[0]))
        for seed in (0, 1)
        for fold in (0, 1)
    ]
    assert found.answers == pytest.approx(alone, abs=1e-9)
    assert found.change == pytest.approx(np.mean(alone), abs=1e-9)
    assert found.low <= min(alone) and max(alone) <= found.high
    assert found.unit == "years" and found.spread == pytest.approx(np.std(alone, ddof=1))
    wide = load(path, plugin).predict(*files[0], level=0.99)
    narrow = load(path, plugin).predict(*files[0], level=0.2)
    assert wide.low <= narrow.low and wide.high >= narrow.high


def test_each_photograph_is_encoded_once(make_request: MakeRequest, plugin: Path, data: Path) -> None:
    path = execute(request_of(make_request))
    model = load(path, plugin)
    encoder, _ = model.load(model.shares[0])
    seen: list[int] = []
    encoder.backbone.register_forward_hook(lambda _, given, __: seen.append(len(given[0])))
    images = sorted((data / "FGNET" / "images").iterdir())
    random = np.random.default_rng(0)
    pairs = [(images[a], images[b]) for a, b in random.integers(0, len(images), (300, 2))]
    used = len({file for pair in pairs for file in pair})
    assert used > 20
    ticks: list[tuple[int, int]] = []
    model.predict_pairs(pairs, progress=lambda done, total: ticks.append((done, total)))
    assert sum(seen) == used
    assert ticks[-1] == (used, used)


def test_many_photographs_come_in_portions(
    make_request: MakeRequest, plugin: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = execute(request_of(make_request, "finetune", save_models=True))
    images = sorted((data / "FGNET" / "images").iterdir())
    pairs = list(itertools.pairwise(images))
    whole = load(path, plugin).predict_pairs(pairs)
    monkeypatch.setattr("comface_bench.execute.models.PORTION", 5)
    parts = load(path, plugin).predict_pairs(pairs)
    np.testing.assert_allclose([float(a) for a in parts], [float(a) for a in whole], atol=1e-5)


def test_heads_are_kept_always_and_trained_backbones_when_asked(
    make_request: MakeRequest, plugin: Path
) -> None:
    path = execute(request_of(make_request))
    assert len(models_of(path)) == 2
    shutil.rmtree(path.parents[2])
    path = execute(request_of(make_request, "finetune"))
    assert models_of(path) == []
    with pytest.raises(DataMissingError, match="no model of fold 0 seed 0, fold 1 seed 0") as caught:
        load(path, plugin)
    assert "--save-models" in caught.value.hint


@pytest.mark.parametrize("protocol", ["probe", "finetune"])
def test_models_that_finished_units_lack_are_made_and_records_stay(
    protocol: str, make_request: MakeRequest, plugin: Path
) -> None:
    path = execute(request_of(make_request, protocol, save_models=True))
    before, files = path.read_bytes(), models_of(path)
    contents = [file.read_bytes() for file in files]
    files[0].unlink()
    asked = request_of(make_request, protocol, save_models=True)
    (cell,) = make_plan(asked).cells
    assert [unit.fold for unit in cell.missing] == [unit.fold for unit in cell.unsaved] == [0]
    execute(asked)
    assert [file.read_bytes() for file in models_of(path)] == contents
    assert path.read_bytes() == before
    assert make_plan(asked).cells[0].missing == ()


def test_a_model_that_answers_otherwise_than_the_record_is_not_kept(
    make_request: MakeRequest, plugin: Path
) -> None:
    path = execute(request_of(make_request, "linear", save_models=True))
    before = path.read_bytes()
    shutil.rmtree(ModelFiles(path).folder)
    # Another network under the same version, as another release of a library may give.
    plugin.write_text(plugin.read_text().replace("stride=2", "stride=3"))
    events: list[Event] = []
    execute(request_of(make_request, "linear", save_models=True), events)
    assert models_of(path) == []
    assert path.read_bytes() == before
    assert sum("answers otherwise than the record" in event.text for event in events) == 2


def test_an_interrupted_unit_leaves_the_earlier_model(
    make_request: MakeRequest, plugin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = execute(request_of(make_request, "linear"))
    record, files = path.read_bytes(), models_of(path)
    plugin.write_text(plugin.read_text().replace("stride=2", "stride=3"))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RecordWriter, "add_all", killed)
        with pytest.raises(KeyboardInterrupt):
            execute(request_of(make_request, "linear", again=True))
    assert path.read_bytes() == record
    assert set(files) < set(models_of(path))  # a model that no record has, which is read by nobody
    plugin.write_text(plugin.read_text().replace("stride=3", "stride=2"))
    assert len(load(path, plugin).shares[0].units) == 2
    plugin.write_text(plugin.read_text().replace("stride=2", "stride=3"))
    execute(request_of(make_request, "linear", again=True))
    assert len(models_of(path)) == 2
    assert not set(files) & set(models_of(path))
    assert len(load(path, plugin).shares[0].units) == 2


def test_a_record_that_is_set_aside_keeps_its_models(
    make_request: MakeRequest, plugin: Path, data: Path
) -> None:
    path = execute(request_of(make_request))
    first = path.read_bytes()
    picture = sorted((data / "FGNET" / "images").iterdir())[0]
    content = picture.read_bytes()
    picture.write_bytes(content + b"\0")
    execute(request_of(make_request))
    assert len(models_of(path)) == 4
    (aside,) = path.parent.glob("*@*.json")
    assert len(load(aside, plugin).shares[0].units) == 2
    picture.write_bytes(content)
    execute(request_of(make_request))
    assert path.read_bytes() == first
    assert len(load(path, plugin).shares[0].units) == 2


def test_records_are_sound_and_the_same_with_models(make_request: MakeRequest) -> None:
    path = execute(request_of(make_request))
    assert models_of(path)
    assert validate_record(path) == []
    assert validate_strays(path.parents[2]) == []
    assert "models" not in path.read_text()
    assert ResultStore(path.parents[2]).paths() == [path]


def test_another_backbone_is_refused(make_request: MakeRequest, plugin: Path) -> None:
    path = execute(request_of(make_request))
    text = plugin.read_text()
    plugin.write_text(text.replace("torch.manual_seed(seed)", "torch.manual_seed(seed + 1)"))
    with pytest.raises(UsageError, match="the source of tiny was changed"):
        load(path, plugin)
    plugin.write_text(text.replace("version=1", "version=2"))
    with pytest.raises(UsageError, match="method tiny is another here"):
        load(path, plugin)


def test_a_backbone_of_other_numbers_is_refused_whatever_its_source(
    make_request: MakeRequest, plugin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = execute(request_of(make_request))
    seed = torch.manual_seed
    monkeypatch.setattr(torch, "manual_seed", lambda number: seed(number + 1))
    with pytest.raises(ResultError, match="learnt on another backbone"):
        load(path, plugin)


def test_a_model_of_another_unit_is_refused(make_request: MakeRequest, plugin: Path) -> None:
    path = execute(request_of(make_request))
    one, other = models_of(path)
    other.write_bytes(one.read_bytes())
    with pytest.raises(ResultError, match="the model of another unit"):
        load(path, plugin)


def test_a_key_that_isnt_the_records_own_is_refused(make_request: MakeRequest, plugin: Path) -> None:
    from comface_bench.results.schema import text_digest

    path = execute(request_of(make_request))
    facts = json.loads(path.read_text())
    facts["units"][0]["key"] = "/../../../../etc"
    facts["digest"] = text_digest(facts)
    path.write_text(json.dumps(facts, indent=1) + "\n")
    with pytest.raises(ResultError, match="another key than the record's facts make"):
        load(path, plugin)


def forge(path: Path, change: Callable[[dict[str, torch.Tensor], dict[str, Any]], None]) -> None:
    """Rewrite a model file as a stranger may, with a digest of its own where `tensors` is left out."""
    from comface_bench.engine.model_file import _digest

    tensors = load_file(path)
    with safe_open(path, "pt") as opened:
        facts = json.loads(opened.metadata()[ENTRY])
    facts.pop("tensors")
    change(tensors, facts)
    facts.setdefault("tensors", _digest(tensors))
    save_file(tensors, path, {ENTRY: json.dumps(facts)})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tensors, _: tensors.update(head=tensors["head"][:-1].clone()), "3 numbers, where 4 features"),
        (lambda tensors, _: tensors["head"].fill_(float("nan")), "aren't finite"),
        (lambda tensors, _: tensors.update(head=tensors["head"].int()), "no list of numbers"),
        (lambda tensors, _: tensors.update(more=torch.zeros(3)), "aren't those of this backbone"),
        (lambda _, facts: facts.update(tensors="0" * 64), "damaged"),
        (lambda _, facts: facts.update(head="product"), "isn't of its kind"),
        (lambda _, facts: facts.update(fold="0"), "isn't of its kind"),
        (lambda _, facts: facts.update(format=2), "later comface-bench"),
        (lambda _, facts: facts.pop("photos"), "not written by comface-bench"),
    ],
)
def test_a_strangers_head_is_checked(
    change: Callable[..., None], said: str, make_request: MakeRequest, plugin: Path
) -> None:
    path = execute(request_of(make_request))
    forge(models_of(path)[0], change)
    with pytest.raises(ResultError, match=said):
        load(path, plugin)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tensors, _: tensors.update({"backbone.0.bias": torch.zeros(5)}), r"is \[5\], not \[4\]"),
        (lambda tensors, _: tensors.update({"backbone.0.bias": torch.zeros(4).double()}), "float64, not"),
        (lambda tensors, _: tensors.pop("backbone.0.bias"), "aren't those of this backbone"),
    ],
)
def test_a_strangers_backbone_is_checked(
    change: Callable[..., None], said: str, make_request: MakeRequest, plugin: Path
) -> None:
    path = execute(request_of(make_request, "finetune", save_models=True))
    forge(models_of(path)[0], change)
    with pytest.raises(ResultError, match=said):
        load(path, plugin)


@pytest.mark.parametrize("content", [b"", b"\x80\x04cos\nsystem\n", b"\xff" * 64, None])
def test_what_is_no_model_file_is_refused(
    content: bytes | None, make_request: MakeRequest, plugin: Path
) -> None:
    path = execute(request_of(make_request))
    file = models_of(path)[0]
    file.write_bytes(file.read_bytes()[:-8] if content is None else content)
    with pytest.raises(ResultError, match="no model file that can be read"):
        load(path, plugin)


def test_refused_photographs_leave_the_others_answered(
    make_request: MakeRequest, plugin: Path, data: Path, tmp_path: Path, draw_image: Callable[..., Path]
) -> None:
    path = execute(request_of(make_request))
    images = sorted((data / "FGNET" / "images").iterdir())
    grey, small = draw_image(tmp_path / "g.png", 1, (20, 20), "L"), draw_image(tmp_path / "s.png", 2, (9, 9))
    torn = tmp_path / "t.jpg"
    torn.write_bytes(images[0].read_bytes()[:200])
    pairs = [
        (images[0], images[1]),
        (grey, images[1]),
        (images[2], small),
        (torn, grey),
        (tmp_path / "no", grey),
    ]
    model = load(path, plugin)
    first, *others = model.predict_pairs(pairs)
    assert float(first) == pytest.approx(float(model.predict(images[0], images[1])), abs=1e-9)
    assert all(isinstance(one, UnlikePhotoError) for one in others)
    said = [str(one) for one in others]
    assert "is grey" in said[0] and "9 × 9 pixels" in said[1] and "there is no photograph" in said[3]
    anyway = model.predict_pairs(pairs[:3], check=False)
    assert not any(isinstance(one, UnlikePhotoError) for one in anyway)
    with pytest.raises(UnlikePhotoError):
        model.predict(grey, images[1])


def test_what_is_no_record_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataMissingError, match="there is no record"):
        load_model(tmp_path / "none.json")
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(ResultError):
        load_model(tmp_path / "a.json")


def test_a_picture_of_one_colour_refuses_itself_alone(
    make_request: MakeRequest, plugin: Path, data: Path, tmp_path: Path
) -> None:
    path = execute(request_of(make_request))
    images = sorted((data / "FGNET" / "images").iterdir())
    plain = tmp_path / "plain.png"
    Image.new("RGB", (20, 20), (90, 80, 70)).save(plain)
    model = load(path, plugin)
    for check in (True, False):
        refused, answered = model.predict_pairs([(images[0], plain), (images[0], images[1])], check=check)
        assert isinstance(refused, UnlikePhotoError)
        assert "single colour" in str(refused)
        assert not isinstance(answered, UnlikePhotoError)
