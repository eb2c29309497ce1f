import json

import pytest

from comface_bench.core.errors import DataFormatError, UsageError
from comface_bench.prepare.boxes import COLUMNS, BoxFile, Found, found_from
from comface_bench.prepare.faces import Box
from comface_bench.prepare.journal import Journal, write_whole

SETTINGS = {"size": 8, "detector": {"name": "d", "version": "1"}}


def test_file_is_whole_or_not_there(tmp_path, monkeypatch):
    path = tmp_path / "a.jpg"
    write_whole(path, b"old")
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    write_whole(path, b"new")
    assert [(entry.name, entry.read_bytes()) for entry in tmp_path.iterdir()] == [("a.jpg", b"new")]


def test_journal_remembers(tmp_path):
    journal = Journal(tmp_path / "set", "disfa", SETTINGS)
    journal.begin({"SN001": {"file": "a.avi", "bytes": 3}})
    assert journal.done("SN001") is None
    journal.finish("SN001", decoded=12)
    again = Journal(tmp_path / "set", "disfa", SETTINGS)
    again.begin({"SN001": {"file": "a.avi", "bytes": 3}, "SN002": {"file": "b.avi", "bytes": 4}})
    assert again.done("SN001") == {"decoded": 12}
    content = json.loads((tmp_path / "set" / "prepare.json").read_text())
    assert content["made_by"] == "comface-bench data prepare disfa"
    assert content["settings"] == SETTINGS
    assert content["sources"]["SN002"] == {"file": "b.avi", "bytes": 4}


def test_other_facts_are_refused(tmp_path):
    Journal(tmp_path, "disfa", SETTINGS).begin({"SN001": {"bytes": 3}})
    with pytest.raises(UsageError, match="SN001 was made from bytes 3, but the source now has bytes 4"):
        Journal(tmp_path, "disfa", SETTINGS).begin({"SN001": {"bytes": 4}})
    with pytest.raises(UsageError, match=r"detector was .*'1'.*, now .*'2'"):
        Journal(tmp_path, "disfa", {"size": 8, "detector": {"name": "d", "version": "2"}})
    with pytest.raises(UsageError, match="this folder was made by comface-bench data prepare disfa"):
        Journal(tmp_path, "edema", SETTINGS)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"settings": {}, "sources": [], "done": {}}', "\x00"])
def test_file_that_is_no_journal_is_told(tmp_path, content):
    (tmp_path / "prepare.json").write_text(content)
    with pytest.raises(DataFormatError, match="not a journal"):
        Journal(tmp_path, "disfa", SETTINGS)


def test_boxes_come_back(tmp_path):
    one, two = Box(-1.5, 2.0, 30.0, 31.0, 0.25), Box(1, 1, 2, 2)
    with BoxFile(tmp_path) as boxes:
        boxes.add('a,"b".png', 0, found_from([one]))
        boxes.add("SN001", 7, found_from([]))
        boxes.add("SN001", 8, found_from([one, two]))
    with BoxFile(tmp_path) as boxes:
        assert boxes.of('a,"b".png') == {0: Found(1, one)}
        assert boxes.of("SN001") == {7: Found(0, None), 8: Found(2, None)}
        assert boxes.of("SN002") == {}
    assert [found_from(faces).problem for faces in ([], [one], [one, two])] == [
        "no face",
        "",
        "several faces",
    ]


def test_cut_line_is_dropped_and_written_again(tmp_path):
    with BoxFile(tmp_path) as boxes:
        boxes.add("SN001", 1, found_from([Box(1, 2, 3, 4, 5)]))
        boxes.add("SN001", 6, found_from([Box(1, 2, 3, 4, 5)]))
    whole = (tmp_path / "boxes.csv").read_bytes()
    for length in range(len(whole)):
        (tmp_path / "boxes.csv").write_bytes(whole[:length])
        with BoxFile(tmp_path) as boxes:
            for frame in (1, 6):
                if frame not in boxes.of("SN001"):
                    boxes.add("SN001", frame, found_from([Box(1, 2, 3, 4, 5)]))
        assert (tmp_path / "boxes.csv").read_bytes() == whole


@pytest.mark.parametrize(
    "line", ["SN001,x,1,1,1,1,1,1", "SN001,1", "SN001,1,1,,,,,", "SN001,1,1,1,1,1,1,1,1,1"]
)
def test_line_that_is_no_box_is_told(tmp_path, line):
    (tmp_path / "boxes.csv").write_text(f"{','.join(COLUMNS)}\n{line}\n")
    with pytest.raises(DataFormatError, match=r"boxes\.csv:2"):
        BoxFile(tmp_path)
