"""Writes a folder of files with a manifest: its digests name the files that are ours; no other is touched."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from comface_bench.core.errors import UsageError
from comface_bench.core.files import replace_file, writing

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

LIST = ".pages"
_STAMP = "# records "


@dataclasses.dataclass(frozen=True)
class PageManifest:
    """List of the files that a folder holds, with their digests.

    Attributes:
        digests: SHA-256 of what was written, by path relative to the folder; several while a write is under
            way or where one was cut off.
        stamp: Digest of what the files were made from; empty where that isn't known.
    """

    digests: Mapping[str, frozenset[str]]
    stamp: str = ""

    @classmethod
    def read(cls, folder: Path) -> PageManifest:
        """Read a folder's manifest; empty where there is none."""
        try:
            lines = (folder / LIST).read_text(encoding="utf-8").splitlines()
        except (FileNotFoundError, UnicodeDecodeError):
            return cls({})
        found: dict[str, frozenset[str]] = {}
        stamp = ""
        for line in lines:
            digest, _, name = line.partition("  ")
            if line.startswith(_STAMP):
                stamp = line.removeprefix(_STAMP)
            elif name and _inside(name):
                found[name] = found.get(name, frozenset()) | {digest}
        return cls(found, stamp)

    @property
    def text(self) -> str:
        """The manifest as a file, which `sha256sum --check` takes."""
        lines = [f"{_STAMP}{self.stamp}\n"] if self.stamp else []
        for name, digests in sorted(self.digests.items()):
            lines += [f"{digest}  {name}\n" for digest in sorted(digests)]
        return "".join(lines)

    def wrote(self, name: str, data: bytes) -> bool:
        """Return True if these bytes of this file were written by us."""
        return digest_of(data) in self.digests.get(name, ())


def digests_of(files: Mapping[str, bytes]) -> dict[str, frozenset[str]]:
    """Return the digests of files, as the manifest lists them once they are written."""
    return {name: frozenset({digest_of(data)}) for name, data in files.items()}


def write_files(files: Mapping[str, bytes], folder: Path, stamp: str, *, force: bool = False) -> None:
    """Write files, and remove those of an earlier write that aren't among them any more.

    A file is ours if its bytes are those that the manifest has a digest of. Any other is left alone: if it is
    in the way, nothing is written at all. Unchanged files keep their time.

    Args:
        files: Bytes by path relative to the folder.
        folder: Made if need be; the caller holds its lock.
        stamp: Digest of what the files are made from.
        force: Replace and remove changed files too, if the manifest lists them.

    Raises:
        UsageError: A file in the way isn't ours, or was changed.
    """
    before, now = PageManifest.read(folder), PageManifest(digests_of(files), stamp)
    todo = {name: data for name, data in files.items() if _differs(folder / name, data)}
    for name in todo:
        _refuse(folder, name, before, force)
    gone = [name for name in before.digests if name not in files]
    # First a manifest of both, so that after a crash all that is there is still known as ours.
    both = {
        name: before.digests.get(name, frozenset()) | now.digests.get(name, frozenset())
        for name in {*before.digests, *now.digests}
    }
    if todo or gone:
        _put(folder / LIST, PageManifest(both).text)
    for name, data in todo.items():
        _write(folder / name, data)
    for name in gone:
        _remove(folder, name, before, force)
    _put(folder / LIST, now.text)


def digest_of(data: bytes) -> str:
    """Return the SHA-256 of a file's bytes."""
    return hashlib.sha256(data).hexdigest()


def stamp_of(paths: Iterable[Path], root: Path, also: str) -> str:
    """Return a digest of files, their places under a folder, and a further text."""
    digest = hashlib.sha256(also.encode())
    for path in paths:
        digest.update(f"\n{digest_of(path.read_bytes())} {path.relative_to(root)}".encode())
    return digest.hexdigest()


def _write(path: Path, data: bytes) -> None:
    """Write a page whole or not at all; not durably, which takes long for many: it can be built again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    with writing(path):
        temporary.write_bytes(data)
        temporary.replace(path)


def _put(path: Path, text: str) -> None:
    data = text.encode()
    if _differs(path, data):
        replace_file(path, data)


def _differs(path: Path, data: bytes) -> bool:
    return not path.is_file() or path.read_bytes() != data


def _refuse(folder: Path, name: str, before: PageManifest, force: bool) -> None:
    path = folder / name
    for parent in _parents(folder, name):
        if parent.is_symlink() or (parent.exists() and not parent.is_dir()):
            raise UsageError(f"{parent} is no folder of its own", "Choose another --out, or move it away.")
    if not path.exists() and not path.is_symlink():
        return
    if path.is_symlink() or not path.is_file() or name not in before.digests:
        raise UsageError(f"{path} wasn't written by a build", "Choose another --out, or move it away.")
    if not force and not before.wrote(name, path.read_bytes()):
        raise UsageError(
            f"{path} was changed since a build wrote it", "Move it away, or lose the changes with --force."
        )


def _inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and not path.name.startswith(".")


def _remove(folder: Path, name: str, before: PageManifest, force: bool) -> None:
    path = folder / name
    if path.is_symlink() or not path.is_file() or any(one.is_symlink() for one in _parents(folder, name)):
        return
    if not force and not before.wrote(name, path.read_bytes()):
        return
    path.unlink()
    for parent in _parents(folder, name):
        if any(parent.iterdir()):
            return
        parent.rmdir()


def _parents(folder: Path, name: str) -> list[Path]:
    """Return the folders between a file and the folder of all, the innermost first."""
    return [folder / parent for parent in PurePosixPath(name).parents if parent.parts]
