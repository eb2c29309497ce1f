"""Generation of a corpus, shard after shard, in one process or several; resumes after a kill."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, BinaryIO

from comface_bench.comface.corpus.layout import Description, Layout
from comface_bench.comface.corpus.shard import (
    append_record,
    encode_image,
    require_planned,
    scan_records,
    write_end_of_tar,
    write_index,
)
from comface_bench.comface.workers import fill_shards_in_processes
from comface_bench.core.errors import UsageError
from comface_bench.core.files import file_lock, sync_folder, writing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from comface_bench.comface.corpus.plan import RecordPlan
    from comface_bench.comface.corpus.shard import StoredRecord
    from comface_bench.comface.synthesis.generator import Generator

    Make = Callable[[], Generator]
    Report = Callable[[int], None]


def generate(
    root: Path,
    make: Make,
    description: Description,
    *,
    workers: int = 1,
    part: tuple[int, int] = (1, 1),
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Generate the missing shards of a corpus, or of one part of it.

    Killed at any moment, it resumes with the record in which it stopped, and the finished corpus has the
    same bytes as one made in one go. A shard that has lost a file is made again.

    Args:
        root: Folder of the corpus.
        make: Makes the generator; called once in each process, so it must be picklable.
        description: Contents of the corpus.
        workers: Processes; with one, all is done in this one.
        part: (i, n): only every n-th shard, from the i-th, 1 to n; for n machines on one folder.
        progress: Called with (images done, images in all) of this part.

    Raises:
        UsageError: The folder holds another corpus or other files, or a number is out of range.
        DataFormatError: An unfinished shard holds other records than planned.
        StorageError: The disk is full.
        UnitError: A process died.
    """
    layout, mine = Layout(root), shards_of(description, part)
    layout.begin(description)
    description = layout.read()  # of the version that was begun, and with its key
    todo = [shard for shard in mine if layout.missing(shard)]
    for shard in set(mine).difference(todo):  # killed between the shard's end and its lock's
        layout.lock(shard).unlink(missing_ok=True)
    total = sum(shard_images(description, shard) for shard in mine)
    done = total - sum(shard_images(description, shard) for shard in todo)
    if progress:
        progress(done, total)

    def report(images: int) -> None:
        nonlocal done
        done += images
        if progress:
            progress(done, total)

    if todo:
        layout.log_event("start", shards=len(todo), part=list(part), workers=workers)
        writer = _Writer(layout, description, make)
        if workers == 1:
            for shard in todo:
                writer.fill(shard, report)
        else:
            fill_shards_in_processes(writer.fill, todo, workers, report)
        layout.log_event("end", part=list(part), images=total)


def shards_of(description: Description, part: tuple[int, int]) -> list[int]:
    """Return the shards of part (i, n), i from 1 to n.

    Raises:
        UsageError: i isn't in 1 to n.
    """
    which, parts = part
    if not 1 <= which <= parts:
        raise UsageError(f"there is no part {which} of {parts}", "--shard i/n has i from 1 to n.")
    return list(range(which - 1, description.shards, parts))


def shard_images(description: Description, shard: int) -> int:
    """Return the number of images of a shard."""
    plan, size = description.plan, description.records_per_shard
    return min(size, plan.records - shard * size) * plan.alphas


class _Writer:
    """Fills shards in this process."""

    def __init__(self, layout: Layout, description: Description, make: Make) -> None:
        self._layout, self._description, self._make = layout, description, make
        self._generator: Generator | None = None

    def fill(self, shard: int, report: Report) -> None:
        """Write one shard, or resume it; `report` receives the number of images added."""
        layout = self._layout
        with _shard_lock(layout.lock(shard)), writing(layout.partial(shard)):
            if layout.missing(shard):
                self._make_shard(shard, report)
            else:  # another process finished it meanwhile
                report(shard_images(self._description, shard))

    def _make_shard(self, shard: int, report: Report) -> None:
        layout, partial = self._layout, self._layout.partial(shard)
        layout.done(shard).unlink(missing_ok=True)  # a file was lost: not done any more
        if layout.tar(shard).exists():  # killed between the tar and its index
            layout.tar(shard).replace(partial)
        partial.touch()
        with partial.open("r+b") as stream:
            stored = self._complete(stream, shard, report)
            os.fsync(stream.fileno())
        partial.replace(layout.tar(shard))
        sync_folder(layout.shards)
        write_index(layout, shard, stored, self._description)

    def _complete(self, stream: BinaryIO, shard: int, report: Report) -> list[StoredRecord]:
        layout, description = self._layout, self._description
        size = description.records_per_shard
        planned = list(description.plan.stretch(shard * size, size))
        stored = scan_records(stream, description)[0][: len(planned)]
        for one, wanted in zip(stored, planned, strict=False):
            require_planned(one, wanted, description, str(layout.partial(shard)))
        stream.seek(stored[-1].end if stored else 0)
        stream.truncate()
        if stored:
            layout.log_event("resume", shard=shard, records=len(stored))
            report(sum(len(one.facts["alphas"]) for one in stored))
        for record in planned[len(stored) :]:
            images = self._render(record)
            stored.append(append_record(stream, record, images, description))
            stream.flush()
            report(len(images))
        write_end_of_tar(stream)
        stream.flush()
        return stored

    def _render(self, record: RecordPlan) -> list[bytes]:
        if self._generator is None:
            self._generator = self._make()
        (identity,) = self._generator.identities(self._description.plan.seed, 1, first=record.identity)
        images = self._generator.render(identity, record.attribute, record.alphas)
        return [encode_image(image, self._description.suffix, self._description.quality) for image in images]


def _shard_lock(path: Path) -> contextlib.AbstractContextManager[None]:
    return file_lock(
        path,
        f"{path} is held: another process writes this shard",
        "Wait for it, or give each machine another --shard i/n.",
        timeout=0,
        remove=True,
    )
