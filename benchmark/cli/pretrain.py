"""`comface-bench pretrain` and `export`: ComFace on synthetic faces; weights and models as files."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from comface_bench.cli.commands import Device, Json, Plugins, make_app, parse_numbers
from comface_bench.cli.progress import LogLine, watch_training
from comface_bench.core.errors import MissingExtraError, UsageError, WeightsMissingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from torch import nn

    from comface_bench.comface.pretrain.faces import FaceDataset
    from comface_bench.comface.pretrain.folder import TrainingFolder
    from comface_bench.comface.pretrain.settings import Settings
    from comface_bench.engine.precision import Machine

app = make_app()
export_app = make_app()


@app.command()
def pretrain(
    preset: Annotated[
        str | None, typer.Argument(metavar="[PRESET]", help="laptop, gpu-1h or table-b.")
    ] = None,
    corpus: Annotated[
        list[Path], typer.Option(metavar="DIR", help="Folder of a corpus; give it again for more.")
    ] = [],  # noqa: B006 (typer reads it, nothing changes it)
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder of the training; one that is there is gone on with.")
    ] = Path("pretraining"),
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Settings as TOML, instead of a preset.")
    ] = None,
    option: Annotated[
        list[str], typer.Option("--option", "-o", metavar="KEY=VALUE", help="A setting of its own value.")
    ] = [],  # noqa: B006
    start: Annotated[
        Path | None,
        # Not --start: torchrun would take it for one of its own options, cut short.
        typer.Option(
            "--from", metavar="FILE", help="Weights, as export writes them, that the backbone starts from."
        ),
    ] = None,
    device: Device = "auto",
    threads: Annotated[
        int, typer.Option(min=1, max=1024, help="Threads that decode images, in each process.")
    ] = 2,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write events for TensorBoard too; needs tensorboard.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Pre-train ComFace on synthetic faces, or go on with a training that was stopped.

    For several GPUs: torchrun --nproc-per-node=8 -m comface_bench pretrain …
    """
    from comface_bench.comface.pretrain.settings import (
        load_preset,
        load_settings,
        override_settings,
        preset_names,
    )
    from comface_bench.core.names import parse_options

    if (preset is None) == (config is None):
        raise UsageError(
            "say how to train: a preset or --config FILE"
            if preset is None
            else "a preset or --config, not both",
            f'Presets: {", ".join(preset_names())}; in a file: preset = "NAME"',
        )
    settings = load_settings(config) if config else load_preset(str(preset))
    _train(
        override_settings(settings, parse_options(option)),
        corpus,
        out,
        start,
        device,
        threads,
        tensorboard,
        as_json,
    )


def _train(
    settings: Settings,
    corpora: list[Path],
    out: Path,
    start: Path | None,
    device: str,
    threads: int,
    tensorboard: bool,
    as_json: bool,
) -> None:
    from comface_bench.baselines.networks import feature_width
    from comface_bench.comface.pretrain.distributed import join_processes, leave_processes
    from comface_bench.comface.pretrain.faces import FaceDataset
    from comface_bench.comface.pretrain.folder import TrainingFolder
    from comface_bench.comface.pretrain.train import Trainer
    from comface_bench.engine.precision import choose_machine

    processes = join_processes(device)
    machine = choose_machine(processes.device(device), settings.precision)
    faces, folder = FaceDataset(corpora, settings), TrainingFolder(out)
    faces.check(settings)
    backbone, origin = start_backbone(settings.backbone, settings.seed, start)
    require_unseen(settings, faces, origin)
    trainer = Trainer(
        faces, settings, folder, backbone, feature_width(settings.backbone), machine, processes, threads
    )
    with contextlib.ExitStack() as stack:
        if processes.first:
            folder.begin(describe_training(settings, faces, machine, processes.size, origin))
            stack.enter_context(folder.lock())
        listeners: list[Callable[[LogLine], None]] = []
        if processes.first and tensorboard:
            listeners.append(stack.enter_context(_write_events(folder)))
        if processes.first:
            listeners.append(stack.enter_context(watch_training(as_json)))
        trainer.run(lambda line: _report_line(line, listeners))
    # Only here: a process that fails must die at once, so that torchrun ends those that wait for it.
    leave_processes()
    if processes.first and not as_json:
        typer.echo(out)
        typer.echo(f"comface-bench export {out}", err=True)


def _report_line(line: LogLine, listeners: list[Callable[[LogLine], None]]) -> None:
    for listener in listeners:
        listener(line)


@contextlib.contextmanager
def _write_events(folder: TrainingFolder) -> Iterator[Callable[[LogLine], None]]:
    """Write a training's log as events for TensorBoard.

    Raises:
        MissingExtraError: TensorBoard isn't installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise MissingExtraError(
            "--tensorboard needs tensorboard", "pip install 'comface-bench[train]'"
        ) from None
    writer: Any = None

    def write(line: LogLine) -> None:
        nonlocal writer
        if writer is None:
            # Events of steps that are done again are dropped by the reader.
            writer = SummaryWriter(str(folder.root / "tensorboard"), purge_step=line["step"] + 1)
        _write_scalars(writer, line)

    try:
        yield write
    finally:
        if writer is not None:
            writer.close()


def _write_scalars(writer: Any, line: LogLine) -> None:
    part = "train" if line["kind"] == "step" else "validation"
    for name in ("loss", "inter", "intra", "spread", "learning_rate", "images_per_second"):
        if name in line:
            writer.add_scalar(f"{part}/{name}", line[name], line["step"])
    for name, r in line.get("correlation", {}).items():
        if r is not None:
            writer.add_scalar(f"correlation/{name}", r, line["step"])


def start_backbone(name: str, seed: int, file: Path | None) -> tuple[nn.Module, dict[str, Any]]:
    """Build the backbone that is trained; projector and heads always start anew.

    Args:
        name: Of its topology.
        seed: Of random weights.
        file: A file that `comface-bench export` wrote; None for random weights.

    Returns:
        The backbone, and where it comes from: `sha256` of the file and the facts in it; empty for random
        weights.

    Raises:
        WeightsMissingError: There is no such file.
        WeightsFormatError: It isn't one of `export`'s, or is of another backbone.
    """
    from comface_bench.baselines.comface import build
    from comface_bench.baselines.networks import build_backbone
    from comface_bench.comface.export import read_facts
    from comface_bench.core.digest import digest_file

    if file is None:
        return build_backbone(name, seed), {}
    if not file.is_file():
        raise WeightsMissingError(
            f"--from {file}: no such file", "comface-bench export DIR writes the weights of a pre-training."
        )
    backbone, facts = build({"backbone": name}, file, seed), read_facts(file) or {}
    kept = {key: facts.get(key) for key in ("epoch", "settings", "corpora", "start")}
    return backbone, {"sha256": digest_file(file), **kept}


def require_unseen(settings: Settings, faces: FaceDataset, origin: Mapping[str, Any]) -> None:
    """Make sure that no earlier training has learnt from people who are held out now.

    Args:
        settings: `seed` and `validation_share` decide who is held out.
        faces: The corpora.
        origin: Facts of the earlier training, as `start_backbone` returns them.

    Raises:
        UsageError: An earlier training of the same people held others out.
    """
    from comface_bench.comface.pretrain.faces import corpus_people_key
    from comface_bench.comface.pretrain.folder import earlier_trainings
    from comface_bench.comface.synthesis.generator import people_key

    people = {corpus_people_key(corpus.description) for corpus in faces.corpora}
    held = (settings.seed, settings.validation_share)
    for training in earlier_trainings({"start": origin}):
        before = {
            people_key(corpus["generator"], corpus.get("sources", {}), corpus["plan"]["seed"])
            for corpus in training["corpora"].values()
        }
        seed, share = training["settings"]["seed"], training["settings"]["validation_share"]
        if people & before and held != (seed, share):
            raise UsageError(
                "some who would be held out were learnt from before: the earlier training held others out",
                f"Hold out the same: -o seed={seed} -o validation_share={share:g}",
            )


def describe_training(
    settings: Settings, faces: FaceDataset, machine: Machine, processes: int, origin: dict[str, Any]
) -> dict[str, Any]:
    """Describe a training: settings, corpora and start, which decide it, and the machine of its beginning."""
    from comface_bench.results.environment import describe_environment

    corpora = {
        str(number): {
            "generator": corpus.description.generator["name"],
            "licence": corpus.description.generator["licence"],
            "arguments": corpus.description.arguments,
            "plan": corpus.description.plan.as_json(),
            "images": corpus.description.plan.images,
            "sha256": digest,
            **_people(corpus.description.generator),
        }
        for number, (corpus, digest) in enumerate(zip(faces.corpora, faces.digests, strict=True))
    }
    return {
        "settings": settings.as_json(),
        "corpora": corpora,
        "start": origin,
        "attributes": list(faces.attributes),
        "identities": faces.people,
        "machine": {
            "device": machine.device.type,
            "precision": machine.precision,
            "processes": processes,
        },
        "environment": describe_environment(),
    }


def _people(card: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return what `people_key` needs of a generator's sources, if there is anything."""
    from comface_bench.comface.synthesis.generator import PEOPLE

    sources = card.get("sources") or {}
    return {"sources": {PEOPLE: sources[PEOPLE]}} if PEOPLE in sources else {}


@export_app.command()
def export(
    source: Annotated[
        Path, typer.Argument(metavar="DIR|RECORD", help="Folder of the pre-training; with --onnx a record.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="File to write; by default comface-BACKBONE.safetensors, or TASK-METHOD.onnx, here.",
        ),
    ] = None,
    onnx: Annotated[
        bool,
        typer.Option("--onnx", help="Write a record's model, backbone and head, as ONNX (extra: onnx)."),
    ] = False,
    checkpoint: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With --onnx: as of predict.", show_default=False)
    ] = None,
    folds: Annotated[
        str | None, typer.Option(metavar="0,1", help="With --onnx: as of predict.", show_default=False)
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(metavar="0,1", help="With --onnx: as of predict.", show_default=False)
    ] = None,
    plugin: Plugins = [],  # noqa: B006
) -> None:
    """Write the best network of a pre-training as safetensors, with a model card beside it.

    With --onnx: a record's model, checked with onnxruntime.

    Use it: comface-bench run --method comface -o backbone=resnet18 -o checkpoint=FILE --task age
    """
    if onnx:
        _export_onnx(source, out, checkpoint, folds, seeds, plugin)
        return
    from comface_bench.baselines.networks import build_backbone, feature_width
    from comface_bench.comface.export import export as write
    from comface_bench.comface.pretrain.folder import TrainingFolder

    if source.suffix == ".json":
        raise UsageError(f"{source} is a record", "Its models lie beside it; as ONNX: --onnx")
    opened = TrainingFolder(source)
    name = opened.read()["settings"]["backbone"]
    target = out or Path(f"comface-{name}.safetensors")
    if target.suffix != ".safetensors":
        raise UsageError(f"--out {target}: not called .safetensors")
    for path in write(opened, build_backbone(name, None), feature_width(name), target):
        typer.echo(path)


def _export_onnx(
    record: Path,
    out: Path | None,
    checkpoint: Path | None,
    folds: str | None,
    seeds: str | None,
    plugin: list[Path],
) -> None:
    from comface_bench.execute.models import load_model
    from comface_bench.results.store import file_stem

    if out is not None and out.suffix != ".onnx":
        raise UsageError(f"--out {out}: not called .onnx")
    model = load_model(
        record,
        checkpoint=checkpoint,
        folds=None if folds is None else parse_numbers(folds, "--folds"),
        seeds=None if seeds is None else parse_numbers(seeds, "--seeds"),
        device="cpu",
        find_faces=False,
        plugin_files=plugin,
    )
    target = out or Path(f"{file_stem(model.record.task.name)}-{file_stem(model.record.method.name)}.onnx")
    apart = model.export_onnx(target)
    typer.echo(f"{target}: onnxruntime answers as the model does, within {apart:.1g}")
