"""Fill a corpus: shard after shard, in processes, from wherever it was left."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from typing import TYPE_CHECKING, Any, BinaryIO

from comface_bench.comface.corpus.encode import encode_image
from comface_bench.comface.corpus.index import write_index
from comface_bench.comface.corpus.layout import Description, Layout
from comface_bench.comface.corpus.shard import append_record, expect, finish, scan
from comface_bench.core.errors import UsageError
from comface_bench.core.files import hold, sync_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from comface_bench.comface.corpus.plan import RecordPlan
    from comface_bench.comface.corpus.shard import Stored
    from comface_bench.comface.synthesis.generator import Generator

    Make = Callable[[], Generator]
    Report = Callable[[int], None]

_TICK = 0.25  # seconds between looks at what the processes report


def generate(
    root: Path,
    make: Make,
    description: Description,
    *,
    workers: int = 1,
    part: tuple[int, int] = (1, 1),
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Generate what is missing of a corpus, or of one part of it.

    Killed at any moment, it goes on with the record in which it stopped, and the finished corpus has the
    same bytes as one made in one go.

    Args:
        root: Folder of the corpus.
        make: Makes the generator; called once in each process, so it can be pickled.
        description: What the corpus holds.
        workers: Processes; with one, all is done in this one.
        part: (i, n): only every n-th shard, from the i-th, 1 to n; for n machines on one folder.
        progress: Called with (images done, images in all) of this part.

    Raises:
        UsageError: The folder holds something else, or a number is out of range.
        DataFormatError: A shard in the making holds other records than planned.
    """
    layout = Layout(root)
    layout.write(description)
    mine = shards_of(description, part)
    todo = [shard for shard in mine if not layout.done(shard).exists()]
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
        layout.note("start", shards=len(todo), part=list(part), workers=workers)
        if workers == 1:
            writer = _Writer(layout, description, make)
            for shard in todo:
                writer.fill(shard, report)
        else:
            _in_processes(layout, description, make, todo, workers, report)
        layout.note("end", part=list(part), images=total)


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
        """Make one shard, or go on with it; `report` is told how many images have come in."""
        layout = self._layout
        with _held(layout.lock(shard)):
            if layout.done(shard).exists():  # another process finished it meanwhile
                report(shard_images(self._description, shard))
            else:
                self._make_shard(shard, report)
            layout.lock(shard).unlink(missing_ok=True)

    def _make_shard(self, shard: int, report: Report) -> None:
        layout, partial = self._layout, self._layout.partial(shard)
        if layout.tar(shard).exists():  # killed between the tar and its index
            layout.tar(shard).replace(partial)
        partial.touch()
        with partial.open("r+b") as stream:
            stored = self._complete(stream, shard, report)
            os.fsync(stream.fileno())
        partial.replace(layout.tar(shard))
        sync_folder(layout.shards)
        write_index(layout, shard, stored, self._description.plan.attributes)

    def _complete(self, stream: BinaryIO, shard: int, report: Report) -> list[Stored]:
        layout, description = self._layout, self._description
        size = description.records_per_shard
        planned = list(description.plan.stretch(shard * size, size))
        stored = scan(stream)[0][: len(planned)]
        for one, wanted in zip(stored, planned, strict=False):
            expect(one, wanted, str(layout.partial(shard)))
        stream.seek(stored[-1].end if stored else 0)
        stream.truncate()
        if stored:
            layout.note("resume", shard=shard, records=len(stored))
            report(sum(len(one.facts["alphas"]) for one in stored))
        for record in planned[len(stored) :]:
            images = self._render(record)
            stored.append(append_record(stream, record, images, description.suffix))
            stream.flush()
            report(len(images))
        finish(stream)
        stream.flush()
        return stored

    def _render(self, record: RecordPlan) -> list[bytes]:
        if self._generator is None:
            self._generator = self._make()
        (identity,) = self._generator.identities(self._description.plan.seed, 1, first=record.identity)
        images = self._generator.render(identity, record.attribute, record.alphas)
        return [encode_image(image, self._description.suffix, self._description.quality) for image in images]


def _held(path: Path) -> contextlib.AbstractContextManager[None]:
    return hold(
        path,
        f"{path} is held: another process writes this shard",
        "Wait for it, or give each machine another --shard i/n.",
    )


_worker: _Writer
_reports: Any


def _start(layout: Layout, description: Description, make: Make, reports: Any) -> None:
    global _worker, _reports
    _worker, _reports = _Writer(layout, description, make), reports


def _fill(shard: int) -> None:
    _worker.fill(shard, _reports.put)


def _in_processes(
    layout: Layout, description: Description, make: Make, todo: list[int], workers: int, report: Report
) -> None:
    context = multiprocessing.get_context("spawn")
    reports: Any = context.SimpleQueue()
    start = (layout, description, make, reports)
    with (
        _one_thread_each(),
        ProcessPoolExecutor(workers, mp_context=context, initializer=_start, initargs=start) as pool,
    ):
        waiting = {pool.submit(_fill, shard) for shard in todo}
        try:
            while waiting:
                ended, waiting = wait(waiting, timeout=_TICK, return_when=FIRST_COMPLETED)
                while not reports.empty():
                    report(reports.get())
                for future in ended:
                    future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    while not reports.empty():
        report(reports.get())


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
    """Give processes that start meanwhile one thread: several in each would fight over the same cores."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
