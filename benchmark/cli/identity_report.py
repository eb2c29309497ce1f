"""`synth quality --identity`: how alike people look to a face recogniser, in a corpus or in tasks' images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from comface_bench.cli.output import print_facts, print_table
from comface_bench.cli.progress import progress_bar
from comface_bench.core.errors import UsageError
from comface_bench.core.names import format_name, parse_name

if TYPE_CHECKING:
    from PIL.Image import Image

NETWORKS: Mapping[str, Mapping[str, str]] = {"dlib-face": {"feature": "embedding"}}
"""Methods whose distances mean something by themselves, and the options with which they do."""
_CHIP = "dlib"


def compare_corpus(
    folder: Path, network: str, records: int, device: str = "auto", quiet: bool = False
) -> dict[str, Any]:
    """Compare the people of a corpus: images with each record's lowest and highest α.

    Args:
        folder: The corpus.
        network: Key of `NETWORKS`, options allowed.
        records: Most records of each attribute.
        device: Device of the network.
        quiet: No progress bar.

    Returns:
        What `compare_people` says, and by name of each attribute in `attributes` what `compare_ends` says.
    """
    from PIL import Image

    from comface_bench.comface.corpus.read import Corpus
    from comface_bench.comface.quality.identity import choose_records, compare_ends, compare_people

    with Corpus(folder) as corpus:
        numbers, names = choose_records(corpus, records), corpus.description.plan.attributes
        who, which = corpus.identities[numbers], corpus.attributes[numbers]

        def images() -> Iterator[Image.Image]:
            for number in numbers.tolist():
                alphas = corpus.record(number).alphas
                for place in (int(alphas.argmin()), int(alphas.argmax())):
                    yield Image.fromarray(corpus.image(number, place).transpose(1, 2, 0))

        embeddings, facts = _embed(images(), 2 * len(numbers), network, device, quiet)
    found = compare_people(embeddings, np.repeat(who, 2))
    ends = embeddings.reshape(len(numbers), 2, -1)
    moved = {names[number]: one for number, one in compare_ends(ends, who, which).items()}
    return {"of": str(folder), **facts, **found, "attributes": moved}


def compare_tasks(
    tasks: Sequence[str], data: Path | None, network: str, device: str = "auto", quiet: bool = False
) -> list[dict[str, Any]]:
    """Compare the people of each task's images; where the label is an age, by years between images, too."""
    from comface_bench.comface.quality.identity import compare_people
    from comface_bench.data.image_file import read_image
    from comface_bench.data.task import load_task

    reports = []
    for task in [load_task(name, data) for name in tasks]:
        frame = task.manifest
        images = (read_image(task.table.root / name) for name in frame["image"])
        embeddings, facts = _embed(images, len(frame), network, device, quiet)
        years = task.labels if task.card.target == "age" else None
        found = compare_people(embeddings, frame["subject"].to_numpy(), years)
        reports.append({"of": task.name, **facts, **found})
    return reports


def print_people(report: Mapping[str, Any]) -> None:
    """Print what `compare_corpus` or one task of `compare_tasks` says."""
    different, same = report["different"], report["same"]
    print_facts(
        [
            ("people of", f"{report['of']}: {report['people']}, in {report['images']:,} images"),
            ("network", report["network"]),
            ("no face found in", f"{report['faces']['fixed box']:,} images"),
            ("different people", f"mean distance {_number(different)}, {_share(different)} below 0.6"),
            *([("both adults", f"{_share(report['adults'])} below 0.6")] if "adults" in report else []),
            ("one person", f"mean distance {_number(same)}, {_share(same)} below 0.6"),
            ("AUC", _auc(report["auc"])),
        ]
    )
    if gaps := report.get("by_gap"):
        rows = [
            [name, str(one["same"]["pairs"]), _share(one["same"]), _share(one["different"]), _auc(one["auc"])]
            for name, one in gaps.items()
        ]
        print_table(["years apart", "pairs of one", "below 0.6", "others below", "AUC"], rows)
    if attributes := report.get("attributes"):
        rows = [
            [name, f"{one['mean']:.3f}", _text(one["others"]), _auc(one["auc"])]
            for name, one in attributes.items()
        ]
        print_table(["attribute", "moved", "others", "AUC"], rows)


def check_network(name: str) -> str:
    """Return the name of an identity network with the options that it needs.

    Raises:
        UsageError: It isn't one, or is given an option that would make its distances mean something else.
    """
    base, options = parse_name(name)
    if base not in NETWORKS or set(options) & set(NETWORKS[base]):
        raise UsageError(
            f"--identity {name}: not a network with a threshold for one person",
            f"Take {', '.join(NETWORKS)}.",
        )
    return format_name(base, {**options, **NETWORKS[base]})


def _embed(
    images: Iterable[Image], count: int, network: str, device: str, quiet: bool
) -> tuple[Any, dict[str, Any]]:
    from comface_bench.comface.quality.identity import embed_faces
    from comface_bench.data.alignment import count_faces, open_aligner
    from comface_bench.engine.encoder import load_method
    from comface_bench.engine.precision import choose_machine

    name = check_network(network)
    place = choose_machine(device, "float32").device
    encoder = load_method(name).to(place)
    aligner = open_aligner(_CHIP)
    with progress_bar("looking at faces", quiet) as progress:

        def seen() -> Iterator[Image]:
            for number, image in enumerate(images, start=1):
                yield image
                progress(number, count)

        rows, how = embed_faces(seen(), aligner, lambda chips: encoder.encode_checked(chips.to(place)))
    return rows, {"network": name, "faces": count_faces(how)}


def _share(found: Mapping[str, Any]) -> str:
    return "—" if found["below"] is None else f"{100 * found['below']:.1f} %"


def _number(found: Mapping[str, Any]) -> str:
    return _text(found["mean"])


def _text(value: float | None) -> str:
    return "—" if value is None else f"{value:.3f}"


_auc = _text
