"""`synth transfer`: what of a signal learnt from rendered faces there is in photographs, by network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import typer

from comface_bench.cli.output import print_facts, print_table
from comface_bench.cli.progress import progress_bar
from comface_bench.core.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from comface_bench.comface.corpus.read import Corpus
    from comface_bench.core.card import TaskCard
    from comface_bench.core.events import Event
    from comface_bench.data.manifest import Manifest
    from comface_bench.data.task import Task
    from comface_bench.engine.encoder import Encoder, StoredPixels
    from comface_bench.engine.precision import Machine
    from comface_bench.engine.protocols.probe import Probe
    from comface_bench.execute.transfer import Fit, Regions, Transfer

    Progress = Callable[[int, int], None]
    Rows = NDArray[np.int64]

_TWINS: Mapping[str, str] = {"age": "synth-age", "weight_kg": "synth-weight"}
"""Target of a task → the task on rendered faces that has its layout; action units have their own."""
_SEED = 0  # of the degradation's views


@dataclass(frozen=True, eq=False)
class Rendered:
    """Rendered images with labels in the unit of a task.

    Attributes:
        name: What is shown.
        labels: Of each image, (n,).
        people: Number of each image's person, (n,).
        rows: Their places in the store, (n,).
        store: Of their pixels.
    """

    name: str
    labels: NDArray[np.float64]
    people: Rows
    rows: Rows
    store: StoredPixels


def measure_methods(
    methods: Sequence[str],
    task_name: str,
    data: Path | None,
    folders: Sequence[Path | None],
    options: Mapping[str, str],
    fit: Fit,
    *,
    degraded: bool = False,
    regions: bool = False,
    device: str = "auto",
    quiet: bool = False,
) -> list[dict[str, Any]]:
    """Measure the transfer of each network from each kind of renderings.

    Args:
        methods: Names, options allowed.
        task_name: The task of photographs, options allowed.
        data: Its data root.
        folders: Corpora, or sets that `synth render` made; None is the set that ships.
        options: Of `probe`, and all others of the methods.
        fit: How the rendered head is fitted and judged.
        degraded: Renderings are made to look taken and scanned before the networks see them.
        regions: Regions of some images are hidden, to say where the rendered head looks.
        device: Of the networks.
        quiet: No progress bars.

    Returns:
        For each network and folder the facts of its `Transfer`, what it was measured under, and of each
        rendered head its `gain` over that of the first folder: the difference in r, paired by people.

    Raises:
        BenchError: As `load_task`, `build_encoder`, `measure_transfer` and the readers of images.
    """
    from comface_bench.core.names import method_options, parse_name
    from comface_bench.core.protocol import override_keys, resolve_protocol
    from comface_bench.core.registry import method_registry
    from comface_bench.core.weights import cache_folder, find_weights
    from comface_bench.data.image_store import open_shown
    from comface_bench.data.task import load_task
    from comface_bench.engine.encoder import build_encoder
    from comface_bench.engine.precision import choose_machine
    from comface_bench.engine.protocols.probe import Probe
    from comface_bench.execute.plan import find_leak
    from comface_bench.execute.transfer import RenderedFaces, measure_transfer, solve_probe

    task = load_task(task_name, data)
    of_protocol = {key: text for key, text in options.items() if key in override_keys(Probe)}
    of_methods = {key: text for key, text in options.items() if key not in of_protocol}
    if of_protocol.get("mirror", "none") != "none":
        raise UsageError("-o mirror= isn't taken: the rendered head sees each image once")
    reports: list[dict[str, Any]] = []
    opened: dict[tuple[Path | None, Probe], Rendered] = {}
    for name in methods:
        base, named = parse_name(name)
        given = {**named, **of_methods}
        entry = method_registry().get(base).configured(given)
        if (leak := find_leak(entry.card, task.card)) is not None:
            raise leak
        chosen = method_options(entry.card, given)
        protocol = resolve_protocol("probe", task.card.family, of_protocol, chip=entry.card.chip)
        assert isinstance(protocol, Probe)
        for folder in folders:  # Before anything takes long.
            if (folder, protocol) not in opened:
                opened[folder, protocol] = open_rendered(folder, task, protocol)
        machine = choose_machine(device, protocol.precision, trains=False)
        encoder = build_encoder(entry, chosen, find_weights(entry, chosen), 0).to(machine.device)
        encoder.eval().requires_grad_(False)
        encoded = partial(_encode, encoder, protocol, machine)
        with progress_bar(f"{name}: photographs", quiet) as progress:
            shown = open_shown(task.table, protocol, cache=cache_folder() / "images", progress=progress)
            photographs = encoded(shown, np.arange(len(shown), dtype=np.int64), progress)
        probe = solve_probe(task, photographs, protocol)
        found: list[Transfer] = []
        images: list[_Images] = []
        for folder in folders:
            rendered = opened[folder, protocol]
            store = _Degraded(rendered.store, protocol.image_size) if degraded else rendered.store
            with progress_bar(f"{name}: {rendered.name}", quiet) as progress:
                features = encoded(store, rendered.rows, progress)
            faces = RenderedFaces(rendered.name, features, rendered.labels, rendered.people)
            found.append(measure_transfer(task, photographs, probe, faces, fit))
            images.append(_Images(store, rendered.rows, rendered.people))
        looked: list[Regions | None] = [None] * len(folders)
        if regions:
            subjects = np.array(task.table.subjects)
            own = np.flatnonzero(np.isin(subjects, task.folds[fit.choose].test))
            photos, weights = _Images(shown, own, subjects[own]), [one.weights for one in found]
            with progress_bar(f"{name}: regions", quiet) as progress:
                looked = [*_look(encoder, protocol, machine, photos, images, weights, progress)]
        facts = {"method": name, "task": task.name, "unit": task.card.unit, "protocol": protocol.name}
        under = {**facts, "degraded": degraded, **asdict(fit)}
        for one, where in zip(found, looked, strict=True):
            shares = {"regions": {**asdict(where), "shared": where.shared}} if where else {}
            reports.append({**under, **_facts(one, found[0]), **shares})
    return reports


def _facts(found: Transfer, first: Transfer) -> dict[str, Any]:
    """Return plain facts of a transfer, without the draws, and with the gains over the first one."""
    facts = asdict(found)
    for shown, head, other in zip(facts["heads"], found.heads, first.heads, strict=True):
        shown["gain"] = asdict(head.reported.gain_over(other.reported)) if found is not first else None
        del shown["chosen_on"]["draws"], shown["reported"]["draws"]
    del facts["weights"]
    return facts


class _Images(NamedTuple):
    """Some images of a store: their rows, and who is shown."""

    store: StoredPixels
    rows: Rows
    people: NDArray[Any]


def _look(
    encoder: Encoder,
    protocol: Probe,
    machine: Machine,
    photographs: _Images,
    renderings: Sequence[_Images],
    weights: Sequence[NDArray[np.float64]],
    progress: Progress,
) -> Iterator[Regions]:
    """Hide regions of some photographs, and of some renderings of each folder whose head has such weights."""
    import torch

    from comface_bench.engine.attribution import Windows, occlude
    from comface_bench.engine.encoder import ImageSource, encode
    from comface_bench.execute.transfer import REGIONS, choose_images, measure_regions

    size = protocol.image_size
    side = -(-size // REGIONS) / size
    windows = Windows.over(size, size, side, side)

    def choose(images: _Images) -> _Images:
        places = choose_images(images.people)
        return images._replace(rows=images.rows[places], people=images.people[places])

    shown = [choose(images) for images in (photographs, *renderings)]
    total, seen = sum(len(images.rows) for images in shown) * len(windows.slices()), 0

    def tick(count: int) -> None:
        nonlocal seen
        seen += count
        progress(seen, total)

    def hide(images: _Images, heads: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what each region adds to each head's answer, (images, rows, columns, heads)."""
        weight = torch.from_numpy(heads.T)

        def answer(some: Tensor) -> Tensor:
            rows = np.arange(len(some))
            features = encode(encoder, lambda few: some[torch.from_numpy(few)], rows, machine)
            return features.double() @ weight

        source = ImageSource.unaugmented(images.store, size, machine)
        return occlude(source.plain(images.rows), answer, windows, tick=tick)

    # Photographs are the same for all heads, and so is what the backbone makes of them.
    of_photographs = hide(shown[0], np.stack([own for own, _ in weights]))
    people = [np.unique(images.people, return_inverse=True)[1] for images in shown]
    for number, (images, (_, drawn)) in enumerate(zip(shown[1:], weights, strict=True)):
        effects = of_photographs[..., number], hide(images, drawn[None])[..., 0]
        yield measure_regions(effects, (people[0], people[number + 1]))


def _encode(
    encoder: Encoder,
    protocol: Probe,
    machine: Machine,
    store: StoredPixels,
    rows: Rows,
    progress: Progress,
) -> NDArray[np.float64]:
    """Return features of images, from the cache of frozen backbones' features where they are there."""
    from comface_bench.core.weights import cache_folder
    from comface_bench.engine.encoder import ImageSource
    from comface_bench.engine.feature_store import FeatureStore

    seen = 0

    def report(event: Event) -> None:
        nonlocal seen
        seen += event.amount if event.kind == "progress" else 0
        progress(seen, len(rows))

    images = ImageSource.unaugmented(store, protocol.image_size, machine)
    features = FeatureStore(
        encoder, images, report, cache_folder() / "features", {"method": encoder.name, "data": "transfer"}
    )
    found = features.require(rows, "plain", "encoding").gather(rows).double().numpy()
    features.check_frozen()
    return np.asarray(found)


def open_rendered(folder: Path | None, task: Task, protocol: Probe) -> Rendered:
    """Open rendered images that have a task's target.

    Args:
        folder: A corpus, or a set that `synth render` made; None takes the set that ships.
        task: Of photographs; its target is asked for.
        protocol: Says how large images are shown, and whether faces are cut out.

    Raises:
        UsageError: The corpus has no attribute of a known unit for the target, or there is no set for it.
        BenchError: As the readers of corpora and of tasks.
    """
    if folder is not None and (folder / "corpus.json").exists():
        return _open_corpus(folder, task.card.target, protocol)
    return _open_set(folder, task.card, protocol)


def _open_set(folder: Path | None, card: TaskCard, protocol: Probe) -> Rendered:
    from comface_bench.core.card import data_location, shipped_root
    from comface_bench.core.registry import task_registry
    from comface_bench.core.weights import cache_folder
    from comface_bench.data.image_store import open_shown
    from comface_bench.data.task import read_manifest

    twin = _TWINS.get(card.target, f"synth-{card.target}")
    registry = task_registry()
    if twin not in registry.names():
        raise UsageError(
            f"there are no rendered faces with the target {card.target} of task {card.name}",
            "Tasks that have some: age, edema-*, disfa-*",
        )
    entry = registry.get(twin)
    place = data_location(entry.card, None)
    if folder is not None:
        place = folder / place.relative_to(shipped_root())
        if not place.exists():
            raise UsageError(
                f"{folder} holds neither a corpus nor {place.name}",
                f"comface-bench synth render --out {folder}, or leave it out for the faces that ship.",
            )
    table: Manifest = read_manifest(entry, entry.card, place, entry.card.data)
    store = open_shown(table, protocol, cache=cache_folder() / "images")
    labels = table.target(entry.card.target, entry.card.label_range)
    labelled = np.flatnonzero(~np.isnan(labels))
    numbers = {name: number for number, name in enumerate(table.subject_names)}
    people = np.array([numbers[table.subjects[row]] for row in labelled], np.int64)
    return Rendered(
        str(folder or "synthfaces") + f" ({place.name})",
        labels[labelled],
        people,
        labelled.astype(np.int64),
        store,
    )


def _open_corpus(folder: Path, target: str, protocol: Probe) -> Rendered:
    from comface_bench.comface.corpus.layout import Layout, corpus_digest
    from comface_bench.comface.corpus.read import Corpus
    from comface_bench.comface.export import task_head_starts

    corpus = Corpus(folder)
    plan, generator = corpus.description.plan, str(corpus.description.generator["name"])
    starts = task_head_starts(plan.attributes, {generator})
    if target not in starts:
        raise UsageError(
            f"the corpus {folder} moves nothing that is the target {target}",
            f"It moves {', '.join(plan.attributes)}; make one: comface-bench synth corpus --attributes age",
        )
    attribute, scale = str(starts[target]["head"]), float(starts[target]["per_alpha"])
    records = np.flatnonzero(corpus.attributes == plan.attributes.index(attribute))
    places = [(int(record), index) for record in records for index in range(plan.alphas)]
    labels = np.concatenate([corpus.record(int(record)).alphas for record in records]).astype(np.float64)
    return Rendered(
        f"{folder} ({attribute})",
        labels * scale,
        np.repeat(corpus.identities[records], plan.alphas),
        np.arange(len(places), dtype=np.int64),
        _CorpusPixels(corpus, corpus_digest(Layout(folder), attribute), places, protocol),
    )


class _CorpusPixels:
    """Images of a corpus, shown as photographs are: whole, or the face cut out of them.

    Args:
        corpus: The corpus.
        made: Digest of its images and of which these are.
        places: Of these images: record and place in it.
        protocol: Says how they are shown.
    """

    def __init__(self, corpus: Corpus, made: str, places: Sequence[tuple[int, int]], protocol: Probe) -> None:
        from comface_bench.core.digest import digest
        from comface_bench.data.alignment import open_aligner
        from comface_bench.data.image_store import stored_size

        self._corpus, self._places = corpus, places
        self._aligner = open_aligner(protocol.chip) if protocol.align != "none" else None
        self._size = stored_size(protocol.image_size)
        shown = [self._size, self._aligner.describe()] if self._aligner else []
        self.key: str = digest(["corpus", made, *shown])[:32]

    def __len__(self) -> int:
        return len(self._places)

    def gather(self, indices: Rows) -> Tensor:
        import torch
        from PIL import Image

        images = [self._corpus.image(*self._places[row]) for row in indices.tolist()]
        if self._aligner is not None:
            pictures = [Image.fromarray(image.transpose(1, 2, 0)) for image in images]
            chips = [self._aligner.align(picture, self._size)[0] for picture in pictures]
            images = [np.asarray(chip).transpose(2, 0, 1) for chip in chips]
        return torch.from_numpy(np.stack(images))


class _Degraded:
    """Renderings that look taken and scanned, at the size at which they are shown."""

    def __init__(self, store: StoredPixels, size: int) -> None:
        from comface_bench.core.digest import digest

        self._store, self._size = store, size
        self.key: str = digest(["degraded", store.key, size, _SEED])[:32]

    def __len__(self) -> int:
        return len(self._store)

    def gather(self, indices: Rows) -> Tensor:
        from comface_bench.comface.pretrain.degradation import degrade
        from comface_bench.data import augment

        images = augment.resize(self._store.gather(indices), self._size)
        return degrade(images, _SEED, indices.astype(np.uint64), np.zeros(len(indices), np.int64))


def print_transfers(reports: list[dict[str, Any]]) -> None:
    """Print what `measure_methods` returned."""
    first = reports[0]
    print_facts(
        [
            ("photographs", f"{first['task']}, {first['protocol']}"),
            ("chosen on", f"people of fold {first['choose']}: {first['heads'][0]['chosen_on']['people']}"),
            ("reported on", f"people of the others: {first['heads'][0]['reported']['people']}"),
        ]
    )
    unit, seen, rows = first["unit"], set(), []
    for report in reports:
        for head in report["heads"]:
            if head["strength"] is None and report["method"] in seen:
                continue
            seen.add(report["method"])
            chosen, answers = head["chosen_on"], head["reported"]
            rows.append(
                [
                    report["method"],
                    "photographs" if head["strength"] is None else report["rendered"],
                    head["name"],
                    _text(chosen["pearson"]["value"]),
                    _with_interval(answers["pearson"], 3),
                    _with_interval(head["gain"], 3) if head["gain"] else "",
                    _with_interval(answers["mae"], 2),
                    _with_interval(answers["slope"], 2),
                ]
            )
    headings = ["method", "learnt from", "head", "r, to choose", "r", "gain", f"MAE ({unit})", "slope"]
    print_table(headings, rows, numbers=headings[3:])
    rows = [
        [
            report["method"],
            report["rendered"],
            f"{report['images']:,} of {report['people']:,}",
            _text(report["held_out_pearson"]),
            *(f"{100 * report['silence'][f'in_{kind}']:.1f} %" for kind in ("photographs", "renderings")),
        ]
        for report in reports
    ]
    headings = [
        "method",
        "rendered",
        "images of people",
        "r, held out",
        "silent in photographs",
        "in renderings",
    ]
    print_table(headings, rows, numbers=headings[2:])
    for report in reports:
        if "regions" in report:
            _print_regions(report)
    typer.echo(
        "The rendered head answers for photographs as it was fitted on renderings. Intervals of 95 % are by"
        " resampling people."
    )
    if first["standardised"] or (first["directions"] and first["directions_of"] == "photographs"):
        typer.echo(
            "The rendered head was fitted with the help of unlabelled photographs of the choosing people."
        )


def _print_regions(report: Mapping[str, Any]) -> None:
    """Print where the rendered head looks, photographs beside renderings."""
    found = report["regions"]
    real, drawn = found["images"]
    typer.echo(
        f"{report['method']}, {report['rendered']}: where the rendered head looks, in % of the whole,"
        f" in {real} photographs (left) and {drawn} renderings (right); {found['shared']:.0%} in common"
    )
    for left, right in zip(found["photographs"], found["renderings"], strict=True):
        typer.echo("   ".join("".join(f"{100 * share:5.1f}" for share in row) for row in (left, right)))


def _with_interval(found: Mapping[str, float | None], digits: int) -> str:
    value, low, high = found["value"], found["low"], found["high"]
    if value is None:
        return "—"
    if low is None or high is None:
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _text(value: float | None) -> str:
    return "—" if value is None else f"{value:.3f}"
