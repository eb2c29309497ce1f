"""FG-NET: from the archive, or a copy of it, to images under their published names.

The images are copied as they are: the paper uses them as distributed (supplement, A.2). Each is compared with
the published list, which ships with the package as names and Git blob digests.
"""

from __future__ import annotations

import csv
import hashlib
import importlib.resources
import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from comface_bench.core.errors import DataFormatError, DataMissingError, UsageError
from comface_bench.core.files import replace_file
from comface_bench.prepare.state import Progress, check_folders, filling, ignore
from comface_bench.tasks.formats.fgnet import IMAGE_NAME


@dataclass(frozen=True)
class FgnetReport:
    """Counts of a prepared FG-NET, and files that differ from the published list.

    Attributes:
        root: Folder that was prepared.
        images: Images in it.
        copied: Those that this call copied.
        missing: Published names that the source doesn't have.
        unknown: JPEG files of the source that aren't on the published list, left out.
        differing: Images whose bytes aren't the published ones; copied all the same.
        broken: JPEG files of the source that can't be decoded, left out.
    """

    root: str
    images: int
    copied: int
    missing: list[str]
    unknown: list[str]
    differing: list[str]
    broken: list[str]


def published_images() -> dict[str, str]:
    """Return the Git blob SHA-1 of each of the 1,002 images, by name."""
    path = importlib.resources.files("comface_bench.tasks.formats") / "fgnet_names.csv"
    return {row["name"]: row["git_blob"] for row in csv.DictReader(io.StringIO(path.read_text("utf-8")))}


def prepare_fgnet(source: Path, data: Path, *, progress: Progress = ignore) -> FgnetReport:
    """Copy FG-NET's images, and compare them with the published list.

    Args:
        source: `FGNET.zip`, or a folder with its contents at any depth.
        data: Data root; `FGNET/images` in it is filled.
        progress: Called with (files done, files in all).

    Raises:
        UsageError: The target lies in the source, or holds other files, or other images of the same names.
        DataMissingError: There is no such source, or no image of FG-NET in it.
        DataFormatError: The source can't be read, or holds two different images of one name.
    """
    target = data / "FGNET"
    check_folders(source, target, ())
    folder = target / "images"
    known = published_images()
    _refuse_strangers(folder, known)
    contents: dict[str, tuple[str, str]] = {}
    unknown: list[str] = []
    differing: list[str] = []
    broken: list[str] = []
    copied = 0
    with open_members(source) as members, filling(target):
        images = [member for member in members if Path(member.name).suffix.lower() in (".jpg", ".jpeg")]
        for number, member in enumerate(images):
            progress(number, len(images))
            match = IMAGE_NAME.fullmatch(member.name)
            name = f"{match[1]}A{match[2]}{match[3].lower()}.JPG" if match else ""
            if name not in known:
                unknown.append(member.where)
                continue
            content = member.read()
            if not _is_jpeg(content):
                broken.append(member.where)
                continue
            digest = git_blob(content)
            before, where = contents.setdefault(name, (digest, member.where))
            if before != digest:
                raise DataFormatError(
                    f"{member.where}: {name} is in the source twice, and differs from {where}",
                    "Name the folder that holds one copy: --source DIR",
                )
            if where == member.where:
                copied += _copy(folder / name, content)
                if digest != known[name]:
                    differing.append(name)
        progress(len(images), len(images))
    if not contents:
        raise DataMissingError(
            f"{source}: no image of FG-NET, such as 001A02.JPG", "Name FGNET.zip: --source"
        )
    missing = sorted(known.keys() - contents.keys())
    return FgnetReport(str(target), len(contents), copied, missing, unknown, differing, broken)


def git_blob(content: bytes) -> str:
    """Return the SHA-1 under which Git keeps a file of this content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _refuse_strangers(folder: Path, known: dict[str, str]) -> None:
    if not folder.exists():
        return
    for path in sorted(folder.iterdir()):
        if path.name not in known and not path.name.startswith("."):
            raise UsageError(
                f"{path} isn't an image of FG-NET under its published name",
                "Move it away, or name another data root: --data DIR",
            )


def _copy(path: Path, content: bytes) -> bool:
    if path.exists():
        if path.read_bytes() != content:
            raise UsageError(
                f"{path} is there already, and differs from the source's",
                "Move it away, or name another data root: --data DIR",
            )
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, content)
    return True


def _is_jpeg(content: bytes) -> bool:
    from comface_bench.data.image_file import UnreadableImageError, read_image

    try:
        read_image(content, formats=["JPEG"])
    except UnreadableImageError:
        return False
    return True


MAX_MEMBER_BYTES = 16 * 2**20
"""Bytes of the largest file that is read out of an archive; FG-NET's largest has a hundred thousand."""


@dataclass(frozen=True)
class ArchiveMember:
    """One file.

    Attributes:
        where: Its path, as messages name it.
        name: Its name without folders.
    """

    where: str
    name: str
    _source: Path | zipfile.ZipFile
    _key: str

    def read(self) -> bytes:
        """Return the bytes.

        Raises:
            DataFormatError: The archive is damaged at this place.
        """
        if isinstance(self._source, Path):
            return (self._source / self._key).read_bytes()
        try:
            return self._source.read(self._key)
        except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError) as error:
            raise DataFormatError(
                f"{self.where}: can't be unpacked ({error})", "Get the archive again."
            ) from error


@contextmanager
def open_members(source: Path) -> Iterator[list[ArchiveMember]]:
    """Open a folder or archive and list its files in order of path, without those of macOS.

    Raises:
        DataFormatError: It is neither, a member's path leaves the archive, or a member is too large.
    """
    if source.is_dir():
        paths = sorted(path.relative_to(source) for path in source.rglob("*") if path.is_file())
        yield [
            ArchiveMember(str(source / path), path.name, source, path.as_posix())
            for path in paths
            if not _is_junk(path)
        ]
        return
    try:
        archive = zipfile.ZipFile(source)
    except zipfile.BadZipFile as error:
        raise DataFormatError(
            f"{source}: neither a folder nor a ZIP archive", "Get the archive again."
        ) from error
    with archive:
        yield sorted(_members(source, archive), key=lambda member: member.where)


def _members(source: Path, archive: zipfile.ZipFile) -> Iterator[ArchiveMember]:
    for info in archive.infolist():
        # Archives made on Windows may hold backslashes.
        path = PurePosixPath(info.filename.replace("\\", "/"))
        where = f"{source}:{info.filename}"
        if path.is_absolute() or ".." in path.parts or ":" in path.parts[:1]:
            raise DataFormatError(
                f"{where}: this member would be unpacked outside of the folder", "Don't trust this archive."
            )
        if info.is_dir() or _is_junk(path):
            continue
        if info.file_size > MAX_MEMBER_BYTES:
            raise DataFormatError(
                f"{where}: {info.file_size:,} bytes; none should have more than {MAX_MEMBER_BYTES:,}"
            )
        yield ArchiveMember(where, path.name, archive, info.filename)


def _is_junk(path: Path | PurePosixPath) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
