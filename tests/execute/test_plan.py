import json
from collections.abc import Callable
from pathlib import Path

import pytest

from comface_bench.core.errors import BenchError, DataMissingError, UnknownNameError, UsageError
from comface_bench.execute.plan import PlannedRecord, Request, make_plan
from comface_bench.execute.run import run_plan

MakeRequest = Callable[..., Request]


def test_a_plan_holds_every_fold_and_seed(make_request: MakeRequest) -> None:
    (cell,) = make_plan(make_request(seeds=[0, 3])).cells
    assert [(unit.fold, unit.seed) for unit in cell.units] == [(f, s) for s in (0, 3) for f in range(4)]
    assert cell.missing == cell.units
    assert cell.task.name == "age+split=balanced-4"
    assert "image_size=16" in cell.protocol.name
    assert len({unit.key() for unit in cell.units}) == 8


def test_a_fold_that_does_not_exist_is_named(make_request: MakeRequest) -> None:
    with pytest.raises(UsageError, match="fold 4"):
        make_plan(make_request(folds=[0, 4]))


def test_what_the_user_wrote_out_must_be_able_to_run(make_request: MakeRequest) -> None:
    with pytest.raises(DataMissingError, match="DISFA"):
        make_plan(make_request(tasks=["disfa-au1"], options={}))
    with pytest.raises(UnknownNameError, match="Did you mean tiny"):
        make_plan(make_request(methods=["tinny"]))


def test_what_only_a_pattern_matched_is_skipped_with_its_reason(make_request: MakeRequest) -> None:
    plan = make_plan(make_request(tasks=["age", "disfa-au*"], methods=["tiny", "imag*"]))
    assert [cell.task.card.name for cell in plan.cells] == ["age"]
    reasons = {skip.label: skip.reason for skip in plan.skips}
    assert "resnet50_ram-a26f946b.pth" in reasons["imagenet"]
    assert len([label for label in reasons if label.startswith("disfa-au")]) == 12
    assert all(skip.hint for skip in plan.skips)


def test_nothing_that_can_run_is_an_error(make_request: MakeRequest) -> None:
    with pytest.raises(BenchError, match="nothing can run"):
        make_plan(make_request(tasks=["disfa-au*"]))


def test_finished_units_are_hits_and_any_change_misses(make_request: MakeRequest, data: Path) -> None:
    request = make_request(folds=[0, 2])
    run_plan(make_plan(request), request)
    (cell,) = make_plan(make_request()).cells
    assert [unit.fold for unit in cell.missing] == [1, 3]
    image = next(iter(sorted((data / "FGNET" / "images").iterdir())))
    image.rename(image.with_name("001A05.JPG"))
    (cell,) = make_plan(make_request()).cells
    assert len(cell.missing) == 4


def test_units_can_be_picked_by_the_start_of_their_key(make_request: MakeRequest) -> None:
    (cell,) = make_plan(make_request()).cells
    chosen = cell.units[2]
    (only,) = make_plan(make_request(units=[chosen.key()[:12]])).cells
    assert only.units == (chosen,)
    with pytest.raises(UsageError, match="no unit"):
        make_plan(make_request(units=["0" * 64]))


def test_a_checkpoint_is_named_by_its_content_not_its_path(make_request: MakeRequest, tmp_path: Path) -> None:
    weights = tmp_path / "secret name.safetensors"
    weights.write_bytes(b"weights")
    plan = make_plan(make_request(methods=["imagenet"], options={"checkpoint": str(weights)}))
    (cell,) = plan.cells
    assert cell.checkpoint_digest is not None
    assert cell.method_name == f"imagenet+checkpoint={cell.checkpoint_digest[:12]}"
    other = make_plan(make_request(methods=["scratch"])).cells[0]
    assert other.checkpoint_digest is None


def test_files_of_the_same_tensors_have_one_name_and_key(make_request: MakeRequest, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    def plan_of(tensors: dict[str, torch.Tensor], **facts: str) -> PlannedRecord:
        path = tmp_path / "a.safetensors"
        save_file(tensors, path, {"conversion": json.dumps(facts)})
        request = make_request(methods=["timm/resnet18"], options={"checkpoint": str(path)})
        return make_plan(request).cells[0]

    one, other = (plan_of({"a": torch.ones(2)}, source=source) for source in ("mine.pth", "yours.pth"))
    assert one.method_name == other.method_name
    assert [unit.key() for unit in one.units] == [unit.key() for unit in other.units]
    changed = plan_of({"a": torch.zeros(2)})
    assert not {unit.key() for unit in changed.units} & {unit.key() for unit in one.units}


@pytest.mark.parametrize("empty", [{"methods": [""]}, {"tasks": [" , "]}])
def test_no_name_at_all_is_an_error(make_request: MakeRequest, empty: dict[str, list[str]]) -> None:
    with pytest.raises(UsageError, match="is named"):
        make_plan(make_request(**empty))


def test_a_method_trained_on_the_labels_of_a_task_is_refused(
    make_request: MakeRequest, tmp_path: Path
) -> None:
    plugin = tmp_path / "leaky.py"
    plugin.write_text(
        "from comface_bench.core.card import MethodCard\n"
        "CARD = MethodCard(name='leaky', version=1, build=':build', backbone='b', labels_of=('FG-NET',))\n"
    )
    files = [*make_request().plugin_files, plugin]
    with pytest.raises(UsageError, match="leaky was trained on the labels of FG-NET, which age tests"):
        make_plan(make_request(methods=["leaky"], plugin_files=files))
    plan = make_plan(make_request(methods=["tiny", "leak*"], plugin_files=files))
    assert [cell.method_name for cell in plan.cells] == ["tiny"]
    assert [skip.label for skip in plan.skips] == ["leaky · age"]
    unrelated = make_plan(
        make_request(methods=["leaky"], tasks=["synth-age"], options={}, plugin_files=files)
    )
    assert len(unrelated.cells) == 1
