"""`comface-bench export`: weights and a model card from a pre-training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from comface_bench.cli.groups import make_app
from comface_bench.core.errors import UsageError

app = make_app()


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the pre-training.")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File to write; by default comface-BACKBONE.safetensors here."),
    ] = None,
) -> None:
    """Write the best network of a pre-training as safetensors, with a model card beside it.

    Use it: comface-bench run --method comface -o backbone=resnet18 -o checkpoint=FILE --task age
    """
    from comface_bench.baselines.networks import build_backbone, feature_width
    from comface_bench.comface.export import export as write
    from comface_bench.comface.pretrain.folder import TrainingFolder

    opened = TrainingFolder(folder)
    name = opened.read()["settings"]["backbone"]
    target = out or Path(f"comface-{name}.safetensors")
    if target.suffix != ".safetensors":
        raise UsageError(f"--out {target}: not called .safetensors")
    for path in write(opened, build_backbone(name), feature_width(name), target):
        typer.echo(path)
