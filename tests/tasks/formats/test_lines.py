from __future__ import annotations

import pytest

from comface_bench.core.errors import DataFormatError
from comface_bench.tasks.formats.lines import numbered_lines


def test_numbers_are_those_of_the_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffone\r\n\r\n  two \r\n\n".encode())
    assert list(numbered_lines(path)) == [(1, "one"), (3, "two")]


def test_other_encodings_are_refused_with_the_place(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("naïve".encode("latin-1"))
    with pytest.raises(DataFormatError, match=r"a\.txt: not UTF-8 text \(.* at byte 2\)") as caught:
        list(numbered_lines(path))
    assert caught.value.hint == "Save it as UTF-8 text."


def test_a_file_that_cant_be_read_is_named(tmp_path):
    with pytest.raises(DataFormatError, match=r"gone\.txt: can't be read: No such file"):
        list(numbered_lines(tmp_path / "gone.txt"))
