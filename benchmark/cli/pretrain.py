"""`comface-bench pretrain` and `export`: ComFace on synthetic faces; weights and models as files."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from comface_bench.cli.commands import Device, Json, Plugins, make_app, parse_numbers
from comface_bench.cli.output import format_count
from comface_bench.cli.progress import LogLine, watch_training
from comface_bench.core.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from torch import Tensor

    from comface_bench.cli.pretrain_start import Start
    from comface_bench.comface.pretrain.faces import FaceDataset
    from comface_bench.comface.pretrain.folder import TrainingFolder
    from comface_bench.comface.pretrain.settings import Settings
    from comface_bench.core.card import MethodCard
    from comface_bench.core.registry import Registry
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
        list[str],
        typer.Option(
            "--option", "-o", metavar="KEY=VALUE", help="A setting of its own value, or an option of METHOD."
        ),
    ] = [],  # noqa: B006
    start: Annotated[
        str | None,
        # Not --start: torchrun would take it for one of its own options, cut short.
        typer.Option(
            "--from",
            metavar="METHOD|FILE",
            help="What the backbone starts from: a method, or weights as export writes them.",
        ),
    ] = None,
    device: Device = "auto",
    threads: Annotated[
        int, typer.Option(min=1, max=1024, help="Threads that decode images, in each process.")
    ] = 2,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write events for TensorBoard too; needs tensorboard.")
    ] = False,
    plugin: Plugins = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Pre-train ComFace on synthetic faces, or go on with a training that was stopped.

    For several GPUs: torchrun --nproc-per-node=8 -m comface_bench pretrain …
    """
    from comface_bench.cli.pretrain_start import divide_words
    from comface_bench.comface.pretrain.settings import (
        load_preset,
        load_settings,
        override_settings,
        preset_names,
    )
    from comface_bench.core.names import parse_options
    from comface_bench.core.registry import method_registry

    if (preset is None) == (config is None):
        raise UsageError(
            "say how to train: a preset or --config FILE"
            if preset is None
            else "a preset or --config, not both",
            f'Presets: {", ".join(preset_names())}; in a file: preset = "NAME"',
        )
    settings = load_settings(config) if config else load_preset(str(preset))
    methods = method_registry(plugin)
    typed, of_start = divide_words(parse_options(option), start, methods)
    _train(
        override_settings(settings, typed),
        corpus,
        out,
        start,
        of_start,
        methods,
        device,
        threads,
        tensorboard,
        as_json,
    )


def _train(
    settings: Settings,
    corpora: list[Path],
    out: Path,
    start: str | None,
    of_start: Mapping[str, str],
    methods: Registry[MethodCard],
    device: str,
    threads: int,
    tensorboard: bool,
    as_json: bool,
) -> None:
    from comface_bench.cli.pretrain_start import open_start
    from comface_bench.comface.pretrain.distributed import join_processes, leave_processes
    from comface_bench.comface.pretrain.faces import FaceDataset
    from comface_bench.comface.pretrain.folder import TrainingFolder
    from comface_bench.comface.pretrain.train import Trainer
    from comface_bench.engine.precision import choose_machine, keep_freed_memory

    processes = join_processes(device)
    machine = choose_machine(processes.device(device), settings.precision)
    if machine.device.type == "cpu":
        keep_freed_memory()
    faces, folder = FaceDataset(corpora, settings), TrainingFolder(out)
    faces.check(settings)
    require_start(settings, start)
    begin = open_start(settings, start, methods, of_start)
    settings = dataclasses.replace(settings, backbone=begin.name)
    require_unseen(settings, faces, begin.facts)
    trainer = Trainer(
        faces,
        settings,
        folder,
        begin.backbone,
        begin.feature_dim,
        machine,
        processes,
        threads,
        preprocess=begin.preprocess,
    )
    with contextlib.ExitStack() as stack:
        if processes.first:
            folder.begin(describe_training(settings, faces, machine, processes.size, begin.facts))
            stack.enter_context(folder.lock())
        if processes.first and not as_json:
            _warn_of_averages(begin, settings)
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


def _warn_of_averages(begin: Start, settings: Settings) -> None:
    """Say that another method's network forgets by its batch norms, whatever the rate: docs/transfer.md."""
    from comface_bench.comface.pretrain.retention import choose_frozen, list_moving_averages

    moving = list_moving_averages(begin.backbone, choose_frozen(begin.backbone, settings.freeze))
    if "method" in begin.facts and moving:
        typer.echo(
            f"note: the averages of {format_count(len(moving), 'batch norm')} become those of the corpora,"
            " and what the start knows of photographs suffers. To keep them: -o freeze=norms",
            err=True,
        )


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
    names = ("loss", "inter", "intra", "distill", "l2_start", "spread", "learning_rate", "images_per_second")
    for name in names:
        if line.get(name) is not None:
            writer.add_scalar(f"{part}/{name}", line[name], line["step"])
    for name, r in line.get("correlation", {}).items():
        if r is not None:
            writer.add_scalar(f"correlation/{name}", r, line["step"])


def require_start(settings: Settings, start: str | None) -> None:
    """Make sure that settings which keep a backbone near its start have one that knows something.

    Raises:
        UsageError: There is none.
    """
    from comface_bench.comface.pretrain.settings import OF_START

    asked = [name for name in OF_START if getattr(settings, name)]
    if asked and start is None:
        raise UsageError(
            f"{asked[0]} = {getattr(settings, asked[0])}: there is no start to keep to: weights are random",
            "Name one: --from METHOD or --from FILE",
        )


def require_unseen(settings: Settings, faces: FaceDataset, origin: Mapping[str, Any]) -> None:
    """Make sure that no earlier training has learnt from people who are held out now.

    Args:
        settings: `seed` and `validation_share` decide who is held out.
        faces: The corpora.
        origin: Facts of the start, as `open_start` returns them.

    Raises:
        UsageError: An earlier training of the same people held others out.
    """
    from comface_bench.comface.facts import earlier_trainings
    from comface_bench.comface.pretrain.faces import corpus_people_key
    from comface_bench.comface.synthesis.generator import people_key

    people = {corpus_people_key(corpus.description) for corpus in faces.corpora}
    held = (settings.seed, settings.validation_share)
    for training in earlier_trainings({"start": origin}):
        before = {
            people_key(corpus["generator"], corpus.get("sources", {}), corpus["plan"]["seed"])
            for corpus in training["corpora"].values()
        }
        seed, share = training["settings"]["seed"], training["settings"]["validation_share"]
        seeds = {one["seed"] for one in training.get("mean_of") or [{"seed": seed}]}
        if people & before and {(one, share) for one in seeds} != {held}:
            raise UsageError(
                "some who would be held out were learnt from before: the earlier training held others out",
                f"Hold out the same: -o seed={seed} -o validation_share={share:g}"
                if len(seeds) == 1
                else "The start is a mean of trainings. Take other people: synth corpus --first N",
            )


def describe_training(
    settings: Settings, faces: FaceDataset, machine: Machine, processes: int, origin: Mapping[str, Any]
) -> dict[str, Any]:
    """Describe a training: settings, corpora and start, which decide it, and the machine of its beginning."""
    from comface_bench.comface.synthesis.generator import without_paths
    from comface_bench.results.environment import describe_environment

    corpora = {
        str(number): {
            "generator": corpus.description.generator["name"],
            "licence": corpus.description.generator["licence"],
            "arguments": without_paths(corpus.description.arguments),
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
        "start": dict(origin),
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
        list[Path],
        typer.Argument(
            metavar="DIR…|RECORD",
            help="Folder of a pre-training; of several, for the mean of their weights; with --onnx a record.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="File to write; by default comface-BACKBONE.safetensors, or TASK-METHOD.onnx, here.",
        ),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="METHOD|FILE", help="With --start-share: as of pretrain.", show_default=False
        ),
    ] = None,
    start_share: Annotated[
        float,
        typer.Option(
            metavar="SHARE",
            min=0.0,
            max=1.0,
            help="Share of the start in the backbone's weights, below 1: less is forgotten.",
        ),
    ] = 0.0,
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

    Of several that began at one start and differ in their seed: the mean of their weights.
    With --onnx: a record's model, checked with onnxruntime.

    Use it: comface-bench run --method comface -o backbone=resnet18 -o checkpoint=FILE --task age
    """
    if onnx:
        if len(source) > 1:
            raise UsageError(f"--onnx: {len(source)} records", "Give one at a time, each with its --out.")
        _export_onnx(source[0], out, checkpoint, folds, seeds, plugin)
        return
    from comface_bench.baselines.comface import build_topology
    from comface_bench.baselines.networks import build_backbone, feature_width
    from comface_bench.comface.export import export as write
    from comface_bench.comface.facts import first_start
    from comface_bench.comface.pretrain.folder import TrainingFolder
    from comface_bench.core.registry import load_plugin_file

    if records := [path for path in source if path.suffix == ".json"]:
        raise UsageError(f"{records[0]} is a record", "Its models lie beside it; as ONNX: --onnx")
    opened = [TrainingFolder(path) for path in source]
    for path in plugin:
        load_plugin_file(path)
    facts = opened[0].read()
    name, first = facts["settings"]["backbone"], first_start(facts, str(opened[0].facts))
    target = out or Path(f"comface-{name.replace('/', '-')}.safetensors")
    if target.suffix != ".safetensors":
        raise UsageError(f"--out {target}: not called .safetensors")
    backbone = build_topology(first) if first else build_backbone(name, None)
    width = first.feature_dim if first else feature_width(name)
    begun = _read_start(facts, source[0], start, start_share, plugin)
    for path in write(opened, backbone, width, target, begun, start_share):
        typer.echo(path)


def _read_start(
    facts: Mapping[str, Any], folder: Path, start: str | None, share: float, plugin: list[Path]
) -> Mapping[str, Tensor] | None:
    """Return the backbone that a training started from, where its weights are to have a share.

    Raises:
        UsageError: The share or the start is missing, or it is another's start.
    """
    from comface_bench.cli.pretrain_start import divide_words, open_start
    from comface_bench.comface.pretrain.settings import Settings
    from comface_bench.core.registry import method_registry

    if start is None and not share:
        return None
    if start is None or not 0 < share < 1:
        raise UsageError(
            f"--start-share {share:g}: not above 0 and below 1" if start else "--start-share needs the start",
            "comface-bench export DIR --from METHOD|FILE --start-share 0.5",
        )
    methods = method_registry(plugin)
    settings = Settings.from_mapping(facts["settings"], str(folder))
    found = open_start(settings, start, methods, divide_words({}, start, methods)[1])
    key = "sha256" if "sha256" in found.facts else "weights"
    if not found.facts[key] or found.facts[key] != facts.get("start", {}).get(key):
        raise UsageError(
            f"--from {start}: the training in {folder} didn't start from its weights",
            "Give what its pretrain had for --from; drawn weights can't have a share.",
        )
    return found.backbone.state_dict()


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
