"""`comface-bench synth`: synthetic faces."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from comface_bench.cli import corpus
from comface_bench.cli.bars import counted
from comface_bench.cli.groups import Group, make_app
from comface_bench.core.files import require_empty
from comface_bench.core.names import split_list

app = make_app(Group)
app.command()(corpus.corpus)
app.command()(corpus.check)
app.command()(corpus.sheets)
app.command()(corpus.statistics)
app.command()(corpus.quality)


@app.callback()
def _synth() -> None:
    """Render synthetic faces."""


@app.command()
def render(
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder to fill; new or empty.", show_default=False)
    ],
    sets: Annotated[str, typer.Option(help="Which of disfa, edema, fgnet.")] = "disfa,edema,fgnet",
    seed: Annotated[int, typer.Option(min=0, help="Seed of identities, states, views and noise.")] = 1,
    size: Annotated[int, typer.Option(min=16, help="Height and width of the images in pixels.")] = 128,
    disfa_subjects: Annotated[int, typer.Option(help="Subjects with action units.")] = 27,
    disfa_frames: Annotated[int, typer.Option(help="Frames of each.")] = 20,
    edema_patients: Annotated[int, typer.Option(help="Patients.")] = 24,
    edema_days: Annotated[int, typer.Option(help="Days of each, two images a day.")] = 5,
    fgnet_subjects: Annotated[int, typer.Option(help="Subjects with ages.")] = 40,
    fgnet_ages: Annotated[int, typer.Option(help="Ages of each.")] = 10,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
) -> None:
    """Render faces with exact labels in the formats of DISFA, Edema and FG-NET.

    The defaults make the set that ships with the package again.
    """
    require_empty(out)
    from comface_bench.comface.synthesis.synthfaces import render_synthfaces

    with counted("rendering faces") as progress:
        render_synthfaces(
            out,
            sets=split_list([sets]),
            seed=seed,
            size=size,
            disfa_subjects=disfa_subjects,
            disfa_frames=disfa_frames,
            edema_patients=edema_patients,
            edema_days=edema_days,
            fgnet_subjects=fgnet_subjects,
            fgnet_ages=fgnet_ages,
            progress=progress,
            workers=workers,
        )
    typer.echo(out)
