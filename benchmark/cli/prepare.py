"""`comface-bench data prepare`: a data set as its owners give it out, in the layout that the tasks read."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from comface_bench.cli.commands import Group, Json, make_app
from comface_bench.cli.output import print_facts, print_json
from comface_bench.cli.progress import progress_bar
from comface_bench.core.errors import UsageError

if TYPE_CHECKING:
    from comface_bench.prepare.disfa import DisfaReport, SubjectFrames
    from comface_bench.prepare.fgnet import FgnetReport

app = make_app(Group)

Source = Annotated[Path, typer.Option(metavar="DIR", help="The originals; only read.", show_default=False)]
Target = Annotated[Path, typer.Option(metavar="DIR", help="Data root to fill.", envvar="COMFACE_DATA")]
Size = Annotated[int, typer.Option(min=16, max=4096, help="Height and width of the crops in pixels.")]
Margin = Annotated[
    float, typer.Option(help="Kept around a face on each side, in shares of the detector's box.")
]


@app.callback()
def _prepare() -> None:
    """Prepare data sets: find and crop faces, check files, lay them out."""


@app.command()
def disfa(
    source: Source,
    data: Target = Path("data"),
    camera: Annotated[str, typer.Option(help="right, as in the paper, or left.")] = "right",
    stride: Annotated[int, typer.Option(min=1, help="Take each so-many-th frame, from the first on.")] = 5,
    size: Size = 256,
    margin: Margin = 0.3,
    numbering: Annotated[
        str,
        typer.Option(help="Number frames by the time they are shown, or, with count, one after the other."),
    ] = "time",
    as_json: Json = False,
) -> None:
    """Cut the faces out of DISFA's videos; repeat the command to go on after a break."""
    if camera not in ("left", "right"):
        raise UsageError(f"--camera {camera}: expected left or right")
    if numbering not in ("time", "count"):
        raise UsageError(f"--numbering {numbering}: expected time or count")
    from comface_bench.prepare.disfa import prepare_disfa

    def on_finished(found: SubjectFrames) -> None:
        if not as_json:
            typer.echo(
                f"{found.subject}: {found.written:,} of {found.looked_at:,} frames written"
                f"{_left_out(found.no_face, found.several_faces)}"
            )
        for remark in found.remarks:
            typer.echo(remark, err=True)

    with progress_bar("finding faces", as_json) as progress:
        report = prepare_disfa(
            source,
            data,
            camera="left" if camera == "left" else "right",
            stride=stride,
            size=size,
            margin=margin,
            numbering="count" if numbering == "count" else "time",
            progress=progress,
            on_finished=on_finished,
        )
    if report.differing_labels:
        typer.echo(
            f"label files of the source that {report.root} lacks, or has with other contents, which are kept:"
            f" {_some(report.differing_labels)}\nTo copy all anew, move its folder of labels away and repeat"
            " the command.",
            err=True,
        )
    if as_json:
        print_json(dataclasses.asdict(report))
        return
    _print_disfa(report)


def _print_disfa(report: DisfaReport) -> None:
    rows = report.subjects
    differ = [f"{row.subject} {row.last:,} for {row.expected:,}" for row in rows if row.last != row.expected]
    typer.echo("")
    print_facts(
        [
            ("folder", report.root),
            ("subjects", f"{len(rows)}"),
            ("without a video", ", ".join(report.missing)),
            ("frames written", f"{sum(row.written for row in rows):,}"),
            ("left out, no face", f"{sum(row.no_face for row in rows):,}"),
            ("left out, several", f"{sum(row.several_faces for row in rows):,}"),
            ("frames for labels", "\n".join(differ)),
        ]
    )
    if any(row.no_face or row.several_faces for row in rows):
        typer.echo(f"What was left out: {report.root}/faces.csv")
    if not report.has_labels:
        typer.echo(f"The labels weren't beside the videos; copy them to {report.root}/ActionUnit_Labels")


@app.command()
def edema(
    source: Source,
    data: Target = Path("data"),
    name: Annotated[str, typer.Option(help="Edema-A or Edema-B.")] = "Edema-A",
    frames: Annotated[int, typer.Option(min=1, help="Frames of each video, evenly spaced.")] = 8,
    size: Size = 256,
    margin: Margin = 0.0,
    as_json: Json = False,
) -> None:
    """Cut the faces out of images or videos listed in SOURCE/manifest.csv; repeat it to go on after a break.

    The table has a column image or video, and patient, day, phase (pre or post) and weight_kg.
    """
    if name not in ("Edema-A", "Edema-B"):
        raise UsageError(f"--name {name}: expected Edema-A or Edema-B")
    from comface_bench.prepare.edema import prepare_edema

    with progress_bar("finding faces", as_json) as progress:
        report = prepare_edema(
            source,
            data,
            name="Edema-B" if name == "Edema-B" else "Edema-A",
            frames=frames,
            size=size,
            margin=margin,
            progress=progress,
        )
    if as_json:
        print_json(dataclasses.asdict(report))
        return
    print_facts(
        [
            ("folder", report.root),
            ("patients", f"{report.patients:,}"),
            ("sessions", f"{report.sessions:,}"),
            ("without an image", "\n".join(report.sessions_without_image)),
            ("files", f"{report.files:,}"),
            ("images written", f"{report.written:,}"),
            ("left out, no face", f"{report.no_face:,}"),
            ("left out, several", f"{report.several_faces:,}"),
        ]
    )
    if report.no_face or report.several_faces:
        typer.echo(f"What was left out: {report.root}/faces.csv")


@app.command()
def fgnet(
    source: Annotated[
        Path, typer.Option(metavar="PATH", help="FGNET.zip, or a folder; only read.", show_default=False)
    ],
    data: Target = Path("data"),
    as_json: Json = False,
) -> None:
    """Copy FG-NET's images under their published names, and compare them with the published digests."""
    from comface_bench.prepare.fgnet import prepare_fgnet

    with progress_bar("copying images", as_json) as progress:
        report = prepare_fgnet(source, data, progress=progress)
    if as_json:
        print_json(dataclasses.asdict(report))
        return
    _print_fgnet(report)


def _print_fgnet(report: FgnetReport) -> None:
    print_facts(
        [
            ("folder", report.root),
            ("images", f"{report.images:,}"),
            ("copied now", f"{report.copied:,}"),
            ("missing", _some(report.missing)),
            ("unknown, left out", _some(report.unknown)),
            ("not the published bytes", _some(report.differing)),
            ("not decodable, left out", _some(report.broken)),
        ]
    )
    if not (report.missing or report.unknown or report.differing or report.broken):
        typer.echo("All images are there, with the published bytes.")


def _some(names: list[str]) -> str:
    shown = names[:10]
    more = f"{len(names) - len(shown):,} more; --json names all" if len(names) > len(shown) else ""
    return "\n".join([f"{len(names):,}:", *shown, *([more] if more else [])]) if names else ""


def _left_out(no_face: int, several: int) -> str:
    parts = [f"{no_face:,} without a face" if no_face else "", f"{several:,} with several" if several else ""]
    said = ", ".join(part for part in parts if part)
    return f" ({said})" if said else ""
