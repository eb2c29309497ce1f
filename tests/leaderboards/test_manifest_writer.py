"""Folders of files that only their own writer changes."""

import pytest

from comface_bench.leaderboards import manifest_writer
from comface_bench.leaderboards.manifest_writer import PageManifest, write_files


def test_nothing_is_removed_through_a_link(tmp_path):
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir()
    write_files({"a/b.md": b"1"}, out, "")
    (out / "a").rename(elsewhere)
    (out / "a").symlink_to(elsewhere)
    write_files({}, out, "")
    assert (elsewhere / "b.md").exists()


def test_after_a_cut_off_write_all_that_is_there_is_known(tmp_path, monkeypatch):
    out = tmp_path
    write_files({"a.md": b"1", "b.md": b"1"}, out, "old")
    whole = manifest_writer._write

    def cut_off(path, data):
        if path.name == "b.md":
            raise KeyboardInterrupt
        whole(path, data)

    monkeypatch.setattr(manifest_writer, "_write", cut_off)
    with pytest.raises(KeyboardInterrupt):
        write_files({"a.md": b"2", "b.md": b"2"}, out, "new")
    monkeypatch.undo()
    assert PageManifest.read(out).stamp == ""
    write_files({"a.md": b"3", "b.md": b"3"}, out, "newer")
    assert (out / "a.md").read_bytes() == (out / "b.md").read_bytes() == b"3"
    assert PageManifest.read(out).stamp == "newer"
