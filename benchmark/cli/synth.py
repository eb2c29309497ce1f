"""`comface-bench synth`: rendered data sets, and corpora of synthetic faces for pre-training."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from comface_bench.cli.commands import (
    Data,
    Device,
    Group,
    InterruptedRunError,
    Json,
    complete_method,
    complete_task,
    make_app,
)
from comface_bench.cli.corpus_request import describe_request, print_forecast, request_corpus
from comface_bench.cli.output import print_json, print_table
from comface_bench.cli.progress import progress_bar
from comface_bench.core.errors import UsageError
from comface_bench.core.files import require_empty
from comface_bench.core.names import split_list

app = make_app(Group)

MIN_ACCURACY = 0.5
"""Least share of held-out images that a recogniser must name for its scores to be meaningful."""
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the corpus.")]


@app.callback()
def _synth() -> None:
    """Render synthetic faces."""


@app.command()
def corpus(
    context: typer.Context,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder of the corpus; one that is there is gone on with.")
    ],
    plan: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The paper's corpora: paper-stylegan or paper-stylegan3; --identities N makes less of one.",
        ),
    ] = None,
    generator: Annotated[str, typer.Option(help="anny, stylegan or stylegan3.")] = "anny",
    attributes: Annotated[str, typer.Option(help="Names with commas between them, or all.")] = "all",
    identities: Annotated[
        int, typer.Option(min=1, help="Identities of each attribute; of a --plan, the paper's number.")
    ] = 125,
    alphas: Annotated[int, typer.Option(help="Images of each record, 2 to 101.")] = 20,
    zero: Annotated[
        bool | None,
        typer.Option(
            "--zero/--no-zero",
            help="Whether α = 0 is among the values [default: yes, but not with --shared].",
            show_default=False,
        ),
    ] = None,
    shared: Annotated[bool, typer.Option(help="The same identities in all attributes.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of identities and of the α drawn.")] = 0,
    first: Annotated[int, typer.Option(min=0, help="Number of the first identity.")] = 0,
    encoding: Annotated[str, typer.Option("--format", help="jpg or png.")] = "jpg",
    quality: Annotated[int, typer.Option(help="Of JPEG, 1 to 100.")] = 95,
    records_per_shard: Annotated[int, typer.Option(min=1, help="Records in each tar.")] = 100,
    option: Annotated[
        list[str], typer.Option("--option", "-o", metavar="KEY=VALUE", help="The generator's own options.")
    ] = [],  # noqa: B006 (typer reads it, nothing changes it)
    workers: Annotated[int, typer.Option(min=1, max=1024, help="Processes.")] = 1,
    shard: Annotated[
        str, typer.Option(metavar="I/N", help="Only part I of N, for several machines.")
    ] = "1/1",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what it would hold, take and miss.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Generate a corpus, or go on with one from where it was left.

    The folder of a corpus that has been begun knows its options: `--out DIR` is enough to go on. Where its
    files lie and what it is made on may be said anew: -o checkpoint=, boundaries=, device=, batch=.
    """
    import dataclasses

    from comface_bench.comface.corpus.generate import generate
    from comface_bench.comface.corpus.layout import Description, Layout
    from comface_bench.comface.corpus.size_estimate import corpus_status
    from comface_bench.comface.synthesis.generator import open_generator, with_absolute_paths
    from comface_bench.comface.synthesis.requirements import require_files
    from comface_bench.core.names import parse_options

    part, layout = _parse_part(shard), Layout(out)
    encoded = {"suffix": encoding, "quality": quality, "records_per_shard": records_per_shard}
    given, own = _given_options(context), with_absolute_paths(parse_options(option))
    if layout.description.exists() and not given:
        description = layout.read()
        if dry_run:
            print_forecast(layout, description, as_json)
            return
        name, arguments = str(description.generator["name"]), description.arguments | own
        card = open_generator(name, arguments).card
        again = Description.of(card, description.plan, arguments=arguments)
        description = dataclasses.replace(description, generator=again.generator, arguments=arguments)
    else:
        asked = {
            "generator": generator,
            "attributes": attributes,
            "identities": identities,
            "alphas": alphas,
            "zero": zero,
            "shared": shared,
            "seed": seed,
            "first": first,
        }
        request = request_corpus(plan, asked, given, own)
        name, arguments = request.generator, request.arguments
        for note in request.notes:
            typer.echo(note, err=True)
        if dry_run:
            print_forecast(layout, describe_request(request, encoded), as_json)
            return
        require_files(name, arguments)
        card = open_generator(name, arguments).card
        description = Description.of(card, request.plan(card.attributes), arguments=arguments, **encoded)
    found = description.plan
    typer.echo(f"{found.records} records, {found.images} images, {description.shards} shards", err=True)
    with progress_bar("generating faces", quiet=as_json) as progress:
        make = partial(open_generator, name, arguments)
        generate(out, make, description, workers=workers, part=part, progress=progress)
    if as_json:
        print_json(corpus_status(layout, description))
    else:
        typer.echo(out)


@app.command()
def check(
    folder: Folder,
    pictures: Annotated[bool, typer.Option(help="Decode every image too.")] = False,
    as_json: Json = False,
) -> None:
    """Check every file, row and digest of a corpus; status 1 if anything is wrong."""
    from comface_bench.comface.corpus.check import check_corpus

    with progress_bar("checking shards") as progress:
        faults = check_corpus(folder, pictures=pictures, progress=progress)
    if as_json:
        print_json([{"path": str(f.path), "message": f.message, "hint": f.hint} for f in faults])
    else:
        for fault in faults:
            typer.echo(f"{fault.path}: {fault.message}\n  {fault.hint}")
        typer.echo(f"{folder}: {len(faults)} faults" if faults else f"{folder}: whole")
    if faults:
        raise typer.Exit(1)


@app.command()
def sheets(
    folder: Folder,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder to write to.")],
    rows: Annotated[int, typer.Option(min=1, max=100, help="People on a sheet.")] = 6,
    columns: Annotated[int, typer.Option(min=2, max=101, help="Faces of each, from α = −5 to 5.")] = 11,
) -> None:
    """Write a contact sheet for each attribute."""
    from comface_bench.comface.contact_sheet import write_attribute_sheets
    from comface_bench.comface.corpus.read import Corpus

    with Corpus(folder) as opened:
        for path in write_attribute_sheets(opened, out, rows, columns):
            typer.echo(path)


@app.command()
def statistics(
    folder: Folder,
    sample: Annotated[int, typer.Option(min=1, help="Records of each attribute that are looked into.")] = 50,
    as_json: Json = False,
) -> None:
    """Count a corpus's records, and say how much its pictures change, by attribute."""
    import dataclasses

    from comface_bench.comface.corpus.read import Corpus
    from comface_bench.comface.corpus.statistics import describe_corpus

    with Corpus(folder) as opened:
        found = [dataclasses.asdict(one) for one in describe_corpus(opened, sample)]
    if as_json:
        print_json(found)
        return
    rows = [[f"{v:.1f}" if isinstance(v, float) else str(v) for v in one.values()] for one in found]
    print_table(list(found[0]), rows, numbers=list(found[0])[1:])


@app.command()
def quality(
    context: typer.Context,
    folder: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="Folder of the corpus.", show_default=False)
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps of the recogniser's training.")] = 600,
    size: Annotated[int, typer.Option(min=32, max=2048, help="Height and width in pixels it looks at.")] = 64,
    rate: Annotated[float, typer.Option(help="Learning rate.")] = 1e-3,
    passes: Annotated[int, typer.Option(min=2, max=10_000, help="Stochastic passes of each image.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights, batches and dropout.")] = 0,
    histogram: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw a histogram; needs matplotlib.")
    ] = None,
    identity: Annotated[
        str | None,
        typer.Option(
            metavar="NETWORK",
            help="Say instead how alike people look to a face recogniser, dlib-face.",
            show_default=False,
        ),
    ] = None,
    task: Annotated[
        str,
        typer.Option(
            metavar="TASKS",
            help="With --identity: the images of these tasks, commas between them, instead of a corpus's.",
            show_default=False,
            autocompletion=complete_task,
        ),
    ] = "",
    records: Annotated[
        int, typer.Option(min=1, help="With --identity: most records of each attribute of a corpus.")
    ] = 20,
    data: Data = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Score every image by how steady a face recogniser's embedding is (SER-FIQ), and report.

    The recogniser is trained on the corpus's own identities; scores say how images of one corpus compare,
    not how one corpus compares with another. Shares are of identities by their mean score, which is what
    `pretrain -o min_quality=` keeps, and of images.

    With --identity, a network that has learnt from photographs says how far apart different people are and
    one person's images, and whether an attribute changes a person less than being somebody else does.
    Nothing is written then.
    """
    scoring = {"steps", "size", "rate", "passes", "seed", "histogram"}
    idle = _given_options(context) & (scoring if identity is not None else {"records", "data"})
    if idle:
        names = ", ".join(f"--{name}" for name in sorted(idle))
        raise UsageError(
            f"{names} has no effect {'with' if identity is not None else 'without'} --identity",
            "Leave it out.",
        )
    if identity is not None:
        _report_people(folder, identity, split_list([task]) if task else [], data, records, device, as_json)
        return
    if task or folder is None:
        raise UsageError(
            "synth quality takes the folder of a corpus", "Or of tasks: --identity dlib-face --task TASK"
        )
    import dataclasses

    from comface_bench.comface.corpus.read import Corpus
    from comface_bench.comface.corpus.score_store import draw_histogram, load_matplotlib, write_quality
    from comface_bench.comface.quality.recogniser import RecogniserTraining, train_recogniser
    from comface_bench.comface.quality.serfiq import estimate_quality
    from comface_bench.engine.precision import choose_machine

    if histogram is not None:
        load_matplotlib()
    training = RecogniserTraining(steps=steps, size=size, rate=rate, seed=seed)
    place = choose_machine(device, "float32").device
    with Corpus(folder) as opened:
        with progress_bar("training a recogniser", quiet=as_json) as progress:
            network, accuracy = train_recogniser(opened, training, progress, place)
        with progress_bar("scoring images", quiet=as_json) as progress:
            robust = estimate_quality(opened, network, size, passes, progress)
    facts = {"training": dataclasses.asdict(training), "passes": passes, "held_out_accuracy": accuracy}
    report = write_quality(folder, robust, {**facts, "device": place.type})
    if accuracy < MIN_ACCURACY:
        typer.echo(
            "The recogniser hardly knows anybody, so its steadiness says little: give more --steps.", err=True
        )
    if histogram is not None:
        draw_histogram(report, histogram)
    if as_json:
        print_json(report)
        return
    typer.echo(f"identities named right on held-out images: {100 * accuracy:.1f} %")
    for level, share in report["identities"]["share_kept"].items():
        images = report["images"]["share_kept"][level]
        typer.echo(f"v >= {level}: {100 * share:.1f} % of the identities, {100 * images:.1f} % of the images")
    if histogram is not None:
        typer.echo(histogram)


@app.command()
def transfer(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[DIR]...",
            help="Corpora, or sets that `synth render` made; gains are over the first"
            " [default: the faces that ship].",
            show_default=False,
        ),
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            metavar="METHODS", help="Networks, commas between them.", autocompletion=complete_method
        ),
    ] = "comface",
    task: Annotated[
        str, typer.Option(metavar="TASK", help="Task of photographs.", autocompletion=complete_task)
    ] = "age",
    option: Annotated[
        list[str],
        typer.Option("--option", "-o", metavar="KEY=VALUE", help="A setting of `probe` or of the methods."),
    ] = [],  # noqa: B006 (typer reads it, nothing changes it)
    choose: Annotated[int, typer.Option(min=0, help="Fold whose people choose; the others' report.")] = 0,
    largest_gap: Annotated[
        float | None,
        typer.Option(min=0, help="Fit rendered pairs that change by no more.", show_default=False),
    ] = None,
    degraded: Annotated[
        bool, typer.Option("--degraded", help="Make renderings look taken and scanned.")
    ] = False,
    standardise: Annotated[
        bool,
        typer.Option(
            "--standardise", help="Scale features by unlabelled photographs of the choosing people."
        ),
    ] = False,
    directions: Annotated[
        str | None,
        typer.Option(
            metavar="K[:photographs]",
            help="Fit in the K principal directions of how one person's renderings differ, or photographs"
            " of the choosing people, unlabelled.",
            show_default=False,
        ),
    ] = None,
    regions: Annotated[
        bool,
        typer.Option("--regions", help="Hide regions of some images: where does the rendered head look?"),
    ] = False,
    data: Data = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Measure what of a signal learnt from rendered faces there is in photographs.

    A head on a frozen network's features of rendered people answers for photographs unchanged; `probe`,
    which learns from photographs, stands beside it. Nothing is written but features in the cache.
    """
    from comface_bench.cli.transfer_report import measure_methods, print_transfers
    from comface_bench.core.names import parse_options
    from comface_bench.execute.transfer import Fit

    count, of = _parse_directions(directions)
    reports = measure_methods(
        split_list([method]),
        task,
        data,
        [*folders] if folders else [None],
        parse_options(option),
        Fit(choose, largest_gap, standardise, count, of),
        degraded=degraded,
        regions=regions,
        device=device,
        quiet=as_json,
    )
    if as_json:
        print_json(reports)
    else:
        print_transfers(reports)


def _report_people(
    folder: Path | None,
    network: str,
    tasks: list[str],
    data: Path | None,
    records: int,
    device: str,
    as_json: bool,
) -> None:
    from comface_bench.cli.identity_report import check_network, compare_corpus, compare_tasks, print_people

    check_network(network)
    if (folder is None) == (not tasks):
        raise UsageError("--identity looks at a corpus or at tasks", "Give its folder, or --task TASK")
    if folder is not None:
        reports = [compare_corpus(folder, network, records, device, as_json)]
    else:
        reports = compare_tasks(tasks, data, network, device, as_json)
    if as_json:
        print_json(reports)
        return
    for report in reports:
        print_people(report)


def _parse_part(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match:
        raise UsageError(f"--shard {text}: expected I/N, such as 2/8")
    return int(match[1]), int(match[2])


def _parse_directions(text: str | None) -> tuple[int | None, Literal["renderings", "photographs"]]:
    if text is None:
        return None, "renderings"
    match = re.fullmatch(r"([1-9]\d*)(:photographs)?", text)
    if not match:
        raise UsageError(f"--directions {text}: expected a number, or one with :photographs, such as 6")
    return int(match[1]), "photographs" if match[2] else "renderings"


def _given_options(context: typer.Context) -> set[str]:
    """Return the options that the command line sets, but `-o`, of those that decide what a corpus holds."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    decided = {
        name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"
    }
    return decided - {"out", "workers", "shard", "option", "dry_run", "as_json"}


@app.command()
def render(
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder to fill; new or empty.", show_default=False)
    ],
    sets: Annotated[str, typer.Option(help="Which of disfa, edema, fgnet.")] = "disfa,edema,fgnet",
    seed: Annotated[int, typer.Option(min=0, help="Seed of identities, states, views and noise.")] = 1,
    size: Annotated[
        int, typer.Option(min=16, max=4096, help="Height and width of the images in pixels.")
    ] = 128,
    disfa_subjects: Annotated[int, typer.Option(help="Subjects with action units.")] = 27,
    disfa_frames: Annotated[int, typer.Option(help="Frames of each.")] = 20,
    edema_patients: Annotated[int, typer.Option(help="Patients.")] = 39,
    edema_days: Annotated[int, typer.Option(help="Days of each, two images a day.")] = 5,
    fgnet_subjects: Annotated[int, typer.Option(help="Subjects with ages.")] = 40,
    fgnet_ages: Annotated[int, typer.Option(help="Ages of each.")] = 10,
    workers: Annotated[int, typer.Option(min=1, max=1024, help="Processes.")] = 1,
) -> None:
    """Render faces with exact labels in the formats of DISFA, Edema and FG-NET.

    The defaults make the set that ships with the package again.
    """
    require_empty(out)
    from comface_bench.comface.synthesis.synthfaces import render_synthfaces

    try:
        with progress_bar("rendering faces") as progress:
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
    except KeyboardInterrupt:
        raise InterruptedRunError(
            f"interrupted; {out} isn't complete",
            "Remove it and type the same command again, or name another: --out DIR",
        ) from None
    typer.echo(out)
