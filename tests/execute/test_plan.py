import json
from collections.abc import Callable
from pathlib import Path

import pytest

from comface_bench.core.errors import BenchError, DataMissingError, UnknownNameError, UsageError
from comface_bench.data.splits import Fold, Split, write_split
from comface_bench.execute.plan import OpenTasks, PlannedRecord, Request, draft_plan, make_plan
from comface_bench.execute.run import run_plan
from comface_bench.execute.sweep import make_sweep

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


def test_what_is_asked_for_in_two_ways_runs_once(make_request: MakeRequest, tmp_path: Path) -> None:
    files = [tmp_path / f"{name}.safetensors" for name in ("one", "other")]
    for file in files:
        file.write_bytes(b"weights")
    methods = [f"imagenet+checkpoint={file}" for file in files]
    plan = make_plan(
        make_request(methods=[*methods, "tiny", "tiny+mode=tiny"], tasks=["age", "age+split=balanced-4"])
    )
    assert [cell.method.card.name for cell in plan.cells] == ["imagenet", "tiny"]
    assert plan.cells[0].weights == files[0]


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


@pytest.fixture
def two_tables(tmp_path: Path, draw_image: Callable[..., Path]) -> list[str]:
    """Tasks of two tables of eight people, both called faces.csv."""
    tasks = []
    for folder in ("a", "b"):
        rows = ["image,subject,pain"]
        for subject in range(8):
            for visit in range(3):
                name = f"{subject}-{visit}.png"
                draw_image(tmp_path / folder / name, seed=len(rows) + 100 * len(tasks))
                rows.append(f"{name},s{subject},{(subject + visit) * (1 + len(tasks))}")
        path = tmp_path / folder / "faces.csv"
        path.write_text("\n".join(rows) + "\n")
        tasks.append(f"csv:{path}")
    return tasks


def test_two_tables_of_one_name_are_two_data_sets(
    make_request: MakeRequest, two_tables: list[str], tmp_path: Path
) -> None:
    opened = OpenTasks()
    requests = [make_request(tasks=[task], results=tmp_path / task[-11]) for task in two_tables]
    one, other = (draft_plan(request, opened).cells[0] for request in requests)
    assert [cell.task.name for cell in (one, other)] == ["csv:faces.csv"] * 2
    assert [f"csv:{cell.task.table.root / 'faces.csv'}" for cell in (one, other)] == two_tables
    assert not {unit.key() for unit in one.units} & {unit.key() for unit in other.units}


def test_two_tables_of_one_name_cannot_share_a_record(
    make_request: MakeRequest, two_tables: list[str]
) -> None:
    told = rf"^tiny · {two_tables[0]} and tiny · {two_tables[1]} aren't the same, but both .*tiny\.json"
    for plan in (make_plan, lambda request: make_sweep([request])):
        with pytest.raises(UsageError, match=told) as caught:
            plan(make_request(tasks=two_tables))
        assert caught.value.hint.startswith("Rename a file")
    requests = [make_request(tasks=[task], folds=[0]) for task in two_tables]
    with pytest.raises(UsageError, match=told):
        make_sweep(requests)


def test_two_split_files_of_one_name_cannot_share_a_record(
    make_request: MakeRequest, two_tables: list[str], tmp_path: Path
) -> None:
    people = [f"s{number}" for number in range(8)]
    splits = []
    for name in ("one", "other"):
        turned = [people[2 * fold :] + people[: 2 * fold] for fold in range(4)]
        folds = [Fold(tuple(names[4:]), tuple(names[2:4]), tuple(names[:2])) for names in turned]
        splits.append(tmp_path / f"{name}.json")
        write_split(Split("mine", tuple(folds)), splits[-1])
        people[2], people[4] = people[4], people[2]
    with pytest.raises(UsageError, match=r"other\.json.* aren't the same"):
        make_plan(make_request(tasks=[f"{two_tables[0]}+split={path}" for path in splits]))
    requests = [
        make_request(tasks=two_tables[:1], options={"split": str(path)}) for path in (*splits, splits[0])
    ]
    with pytest.raises(UsageError, match=r"-o split=\S+one\.json and .* -o split=\S+other\.json aren't"):
        make_sweep(requests)
    assert len(make_sweep([requests[0], requests[2]]).cells) == 1
