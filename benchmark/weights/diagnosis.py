"""Saying what a file is that can't be read as a checkpoint, from its first bytes and its end."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

_TAKEN = (
    "Taken are safetensors, torch files, plain pickles of arrays, dlib's networks and ONNX models:"
    " docs/weights.md."
)
_REST = "Its transfer broke off: fetch or copy the rest of it."

_KINDS = {
    b"\x89HDF\r\n\x1a\n": "HDF5, as Keras and TensorFlow write it",
    b"GGUF": "GGUF",
    b"\x1f\x8b": "compressed by gzip",
    b"BZh": "compressed by bzip2",
    b"\xfd7zXZ": "compressed by xz",
    b"\x28\xb5\x2f\xfd": "compressed by zstd",
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"\x93NUMPY": "a single array of numpy",
}
"""First bytes of files that people have in the place of a checkpoint."""

PAGE = re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype|html|head|body|script|\?xml)", re.IGNORECASE)
"""The beginning of a web page."""


def explain_unreadable(path: Path) -> tuple[str, str]:
    """Say why a file can't be read, and what to do; a whole file is never to be fetched again."""
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            head = stream.read(512)
    except OSError as error:
        return (
            error.strerror or type(error).__name__
        ).lower(), "Name a file that is there: -o checkpoint=FILE"
    if not size:
        return "it is empty", _REST
    if head.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS, not the file itself", "Fetch it in its repository: git lfs pull"
    if PAGE.match(head):
        return "it is a web page", "Its address asks for a login or a click: get the file with a browser."
    for beginning, kind in _KINDS.items():
        if head.startswith(beginning):
            return f"it is {kind}", _TAKEN
    if head[257:262] == b"ustar":
        return "it is a tar archive", "Unpack it: tar -xf FILE. The checkpoint is inside."
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 100_000_000:
        return _explain_safetensors(path, head, size)
    if head.startswith(b"PK\x03\x04"):
        return _explain_archive(path)
    return "it is no checkpoint, or a damaged one", _TAKEN


def _explain_safetensors(path: Path, head: bytes, size: int) -> tuple[str, str]:
    length = int.from_bytes(head[:8], "little")
    with path.open("rb") as stream:
        stream.seek(8)
        header = stream.read(length)
    # Without reading it as JSON, which a header that is cut off isn't.
    ends = [int(end) for end in re.findall(rb'"data_offsets"\s*:\s*\[\s*\d+\s*,\s*(\d{1,18})', header)]
    whole = 8 + length + max(ends, default=0)
    if size < 8 + length:
        return f"it is safetensors, cut off within its header, after {size:,} bytes", _REST
    if size < whole:
        return f"it is safetensors, cut off after {size:,} of {whole:,} bytes", _REST
    return "it is safetensors with a damaged header", _TAKEN


def _explain_archive(path: Path) -> tuple[str, str]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return "it is an archive without its end", _REST
    if any(name.endswith(".npy") for name in names):
        return "it is an archive of numpy (.npz)", _TAKEN
    if not any(name.rpartition("/")[2] == "data.pkl" for name in names):
        inside = ", ".join(names[:3])
        return (
            f"it is an archive of other files: {inside}",
            "Unpack it, if a checkpoint is inside: unzip FILE",
        )
    return "it is a torch file that torch would not have written like this", _TAKEN
