"""Fetching a method's file over HTTP, whole or not at all, resumed where it broke off; and verifying it."""

from __future__ import annotations

import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from comface_bench.core.card import MethodCard
from comface_bench.core.errors import UsageError, WeightsFormatError, WeightsMissingError
from comface_bench.core.files import file_lock, writing
from comface_bench.core.weights import check_weights, weights_digest
from comface_bench.version import __version__
from comface_bench.weights.diagnosis import PAGE
from comface_bench.weights.read import read_tensors


class PartialFile:
    """The part of a file that has come, at `<target>.part`.

    Beside it, `<target>.part.tag` holds what the server calls its version, so that a later process can
    ask for the rest of the same one; `<target>.part.lock` is held by the process that fetches.

    Args:
        target: Where the whole file will be.
    """

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(f"{target.name}.part")
        self.lock = target.with_name(f"{target.name}.part.lock")
        self._tag = target.with_name(f"{target.name}.part.tag")

    def size(self) -> int:
        """Return how many bytes have come."""
        return self.path.stat().st_size if self.path.exists() else 0

    def mark(self) -> str:
        """Return the version that they are of, or nothing where it is unknown."""
        return self._tag.read_text() if self._tag.exists() else ""

    def open(self, begun: int, mark: str) -> IO[bytes]:
        """Open for writing after the first `begun` bytes, which are of the version `mark`."""
        # Emptied before the tag changes, and filled after: at no time do bytes lie beside another's tag.
        stream = self.path.open("r+b" if self.path.exists() else "w+b")
        stream.truncate(begun)
        stream.seek(begun)
        if mark:
            self._tag.write_text(mark)
        else:
            self._tag.unlink(missing_ok=True)
        return stream

    def discard(self) -> None:
        """Forget what has come."""
        # The bytes go first: at no time do they lie beside another's tag.
        self.path.unlink(missing_ok=True)
        self._tag.unlink(missing_ok=True)

    def finish(self, target: Path) -> None:
        """Put the whole file into its place, durably."""
        with self.path.open("rb") as stream:
            os.fsync(stream.fileno())
        self.path.replace(target)
        self._tag.unlink(missing_ok=True)


SMALLEST = 100_000
"""Bytes; every backbone is larger, error pages are smaller."""
_WAITS = (1.0, 2.0, 4.0, 8.0)
_PIECE = 1 << 18
_TIMEOUT = 60.0

Progress = Callable[[int, int | None], None]


def _ignore(done: int, total: int | None) -> None:
    del done, total


class _DroppedError(Exception):
    """The transfer ended early; what has come is kept, and another try may bring the rest."""


def fetch_file(
    url: str,
    target: Path,
    check: Callable[[Path], object],
    progress: Progress = _ignore,
    waits: Sequence[float] = _WAITS,
    smallest: int = SMALLEST,
) -> None:
    """Fetch a file into its place.

    What has come lies in `<target>.part` until it is complete and checked; a later call goes on from there
    if the server says that its file is still the same.

    Args:
        url: Address of the file itself, http or https; redirects are followed to such addresses only,
            and never from https to http.
        target: Where the file goes; its folder is made.
        check: Called with the complete file before it takes its place; what it raises ends the call.
        progress: Called with the bytes that are there and those that are expected, None where unknown.
        waits: Seconds to wait before each further try after a connection broke without bringing more
            than any try before; one that did doesn't count.
        smallest: A file of fewer bytes is refused.

    Raises:
        UsageError: The address isn't http or https, or another process fetches the same file.
        WeightsMissingError: The server refuses, can't be reached, or keeps breaking off.
        WeightsFormatError: It sends a web page, or something too small; or `check` says so.
    """
    _require_http(url)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = PartialFile(target)
    with file_lock(part.lock, f"another process is fetching {target.name}", timeout=0, remove=True):
        try:
            _transfer_all(url, part, progress, waits)
        except BaseException:
            if not part.size():
                part.discard()
            raise
        try:
            if part.size() < smallest:
                raise WeightsFormatError(f"{url} sent {part.size():,} bytes, which can't be weights")
            check(part.path)
        except Exception:
            part.discard()
            raise
        part.finish(target)


def _transfer_all(url: str, part: PartialFile, progress: Progress, waits: Sequence[float]) -> None:
    """Get a file, trying again where a connection breaks; `waits` limits tries in a row that bring nothing.

    Raises:
        WeightsMissingError: Too many tries in a row brought nothing.
    """
    failures, most = 0, 0
    while True:
        try:
            return _transfer(url, part, progress)
        except _DroppedError as error:
            failures = 0 if part.size() > most else failures + 1
            most = max(most, part.size())
            if failures > len(waits):
                raise WeightsMissingError(
                    f"{url}: {error}, {failures} times in a row",
                    "Try again later: what has come is kept, and the rest is fetched then.",
                ) from error
            time.sleep(waits[failures - 1] if failures else 0.0)


def _transfer(url: str, part: PartialFile, progress: Progress) -> None:
    """Get what is missing of a file.

    Raises:
        _DroppedError: It broke off; another try may help.
        BenchError: No other try will help.
    """
    begun, mark = part.size(), part.mark()
    if begun and not mark:
        begun = 0  # Without a mark, the rest may belong to another version of the file.
    headers = {"User-Agent": f"comface-bench/{__version__}", "Accept-Encoding": "identity"}
    if begun:
        headers |= {"Range": f"bytes={begun}-", "If-Range": mark}
    with _open(url, headers) as response:
        if response.status == 416:
            if response.headers.get("Content-Range") == f"bytes */{begun}":
                return  # All of it had come already.
            part.discard()
            raise _DroppedError("the server has less of the file than has come already")
        new_mark = _mark_of(response)
        if response.status != 206:
            begun = 0
        elif not _goes_on_at(response, begun) or (new_mark or mark) != mark:
            part.discard()
            raise _DroppedError("the server sent another part than the one asked for")
        _refuse_page(url, response)
        length = response.headers.get("Content-Length", "")
        total = begun + int(length) if length.isdecimal() else None
        done = begun
        with writing(part.path), part.open(begun, new_mark or (mark if begun else "")) as stream:
            for piece in _pieces(response):
                if done == 0 and PAGE.match(piece):
                    part.discard()
                    raise _web_page(url)
                stream.write(piece)
                done += len(piece)
                progress(done, total)
    if total is not None and done != total:
        raise _DroppedError(f"the connection broke after {done:,} of {total:,} bytes")


def _pieces(response: Any) -> Iterator[bytes]:
    while True:
        try:
            piece = response.read(_PIECE)
        except (OSError, http.client.HTTPException) as error:
            raise _DroppedError(_reason(error)) from error
        if not piece:
            return
        yield piece


def _open(url: str, headers: dict[str, str]) -> Any:
    # Only these handlers: neither files nor ftp, whatever a redirect says.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    try:
        return opener.open(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT)  # noqa: S310 - http only
    except urllib.error.HTTPError as error:
        if error.code == 416:
            return error
        with error:
            if error.code in (408, 425, 429) or error.code >= 500:
                raise _DroppedError(f"the server answers {error.code} {error.reason}") from error
            raise WeightsMissingError(
                f"{url}: the server answers {error.code} {error.reason}",
                "The file isn't offered there any more, or not to programs: get it with a browser.",
            ) from error
    except (OSError, http.client.HTTPException) as error:
        raise _DroppedError(_reason(error)) from error


class _Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        _require_http(newurl)
        if req.type == "https" and urlsplit(newurl).scheme != "https":
            raise UsageError(f"{req.full_url} leads to {newurl}, which isn't encrypted any more")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _require_http(url: str) -> None:
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        raise UsageError(f"{url!r} is no address of http or https")


def _goes_on_at(response: Any, begun: int) -> bool:
    return str(response.headers.get("Content-Range", "")).startswith(f"bytes {begun}-")


def _mark_of(response: Any) -> str:
    """Return the server's mark of this version of the file, or nothing."""
    tag = str(response.headers.get("ETag") or "")
    # A weak tag promises the same meaning, not the same bytes.
    return tag if tag and not tag.startswith("W/") else str(response.headers.get("Last-Modified") or "")


def _refuse_page(url: str, response: Any) -> None:
    if response.headers.get_content_type() in ("text/html", "application/xhtml+xml"):
        raise _web_page(url)
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise WeightsMissingError(f"{url}: the server sends the file in another encoding than asked for")


def _web_page(url: str) -> WeightsFormatError:
    return WeightsFormatError(
        f"{url} sent a web page instead of the file",
        "It may ask for a login or a click: get the file with a browser.",
    )


def _reason(error: BaseException) -> str:
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    return str(inner) or type(inner).__name__


def verify_weights(path: Path, card: MethodCard, accept: bool = False) -> str:
    """Verify a method's file, and return a short summary of its tensors and digest.

    Args:
        path: The file.
        card: The method.
        accept: As `check_weights` takes it.

    Raises:
        WeightsFormatError: The file can't be read, isn't the published one, or has changed.
    """
    tensors = read_tensors(path)
    published = check_weights(path, card, accept)
    digest = f"SHA-256 {weights_digest(path)}"
    known = f"as published ({published})" if published else digest
    return f"{path.name}, {len(tensors)} tensors, {known}"
