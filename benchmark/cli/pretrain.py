"""`comface-bench pretrain`: train ComFace on corpora of synthetic faces."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from comface_bench.cli.groups import make_app
from comface_bench.cli.options import Json
from comface_bench.core.errors import UsageError

app = make_app()


@app.command()
def pretrain(
    preset: Annotated[
        str | None, typer.Argument(metavar="[PRESET]", help="table-b, laptop or gpu-1h.")
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
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    threads: Annotated[int, typer.Option(min=1, help="Threads that decode images, in each process.")] = 2,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write events for TensorBoard too; needs tensorboard.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Pre-train ComFace on synthetic faces, or go on with a training that was stopped.

    For several GPUs: torchrun --nproc-per-node=8 -m comface_bench pretrain …
    """
    from comface_bench.comface.pretrain.settings import Settings, load_preset, load_settings, override
    from comface_bench.core.options import parse_options

    if preset is not None and config is not None:
        raise UsageError("a preset and --config are two ways to say the same", 'In the file: preset = "NAME"')
    settings = load_settings(config) if config else load_preset(preset) if preset else Settings()
    settings = override(settings, parse_options(option))
    _train(settings, corpus, out, device, threads, tensorboard, as_json)


def _train(
    settings: Any, corpora: list[Path], out: Path, device: str, threads: int, tensorboard: bool, as_json: bool
) -> None:
    from comface_bench.baselines.networks import build_backbone, feature_width
    from comface_bench.comface.pretrain.faces import Faces
    from comface_bench.comface.pretrain.folder import RunFolder
    from comface_bench.comface.pretrain.ranks import join_ranks, leave_ranks
    from comface_bench.comface.pretrain.train import Trainer
    from comface_bench.engine.precision import choose_machine

    ranks = join_ranks(device)
    try:
        if ranks.size > 1 and device == "auto":
            device = f"cuda:{ranks.local}" if _cuda() else "cpu"
        machine = choose_machine(device, settings.precision)
        faces = Faces(corpora, settings)
        folder = RunFolder(out)
        backbone = build_backbone(settings.backbone, settings.seed)
        trainer = Trainer(
            faces, settings, folder, backbone, feature_width(settings.backbone), machine, ranks, threads
        )
        if ranks.first:
            folder.begin(describe(settings, faces, machine))
        from comface_bench.cli.pretraining import watch_training

        with watch_training(folder, ranks.first, tensorboard, as_json) as tell:
            trainer.run(tell)
        if ranks.first and not as_json:
            typer.echo(out)
            typer.echo(f"comface-bench export {out}", err=True)
    finally:
        leave_ranks()


def describe(settings: Any, faces: Any, machine: Any) -> dict[str, Any]:
    """Say what a training is: what decides it, and what it ran on first."""
    import platform

    import torch

    from comface_bench.version import __version__

    corpora = {
        str(number): {
            "generator": corpus.description.generator["name"],
            "licence": corpus.description.generator["licence"],
            "images": corpus.description.plan.images,
            "sha256": digest,
        }
        for number, (corpus, digest) in enumerate(zip(faces.corpora, faces.digests, strict=True))
    }
    return {
        "settings": settings.as_json(),
        "corpora": corpora,
        "attributes": list(faces.attributes),
        "identities": faces.people,
        "machine": {
            "device": machine.device.type,
            "precision": machine.precision,
            "system": platform.system(),
        },
        "versions": {"comface-bench": __version__, "torch": torch.__version__},
    }


def _cuda() -> bool:
    import torch

    return torch.cuda.is_available()
