"""`prepare.json`: what lets a killed run go on, and what keeps two runs apart."""

import json

import pytest

from comface_bench.core.errors import DataFormatError, UsageError
from comface_bench.data.faces import Box
from comface_bench.prepare.faces import BOXES_COLUMNS, BoxFile, Detection
from comface_bench.prepare.state import PreparationState

SETTINGS = {"size": 8, "detector": {"name": "d", "version": "1"}}


def test_finished_parts_are_remembered(tmp_path):
    state = PreparationState(tmp_path / "set", "disfa", SETTINGS)
    state.begin({"SN001": {"file": "a.avi", "bytes": 3}})
    assert state.done("SN001") is None
    state.finish("SN001", decoded=12)
    again = PreparationState(tmp_path / "set", "disfa", SETTINGS)
    again.begin({"SN001": {"file": "a.avi", "bytes": 3}, "SN002": {"file": "b.avi", "bytes": 4}})
    assert again.done("SN001") == {"decoded": 12}
    content = json.loads((tmp_path / "set" / "prepare.json").read_text())
    assert content["made_by"] == "comface-bench data prepare disfa"
    assert content["settings"] == SETTINGS
    assert content["sources"]["SN002"] == {"file": "b.avi", "bytes": 4}


def test_other_facts_are_refused(tmp_path):
    PreparationState(tmp_path, "disfa", SETTINGS).begin({"SN001": {"bytes": 3}})
    with pytest.raises(UsageError, match="SN001 was made from bytes 3, but the source now has bytes 4"):
        PreparationState(tmp_path, "disfa", SETTINGS).begin({"SN001": {"bytes": 4}})
    with pytest.raises(UsageError, match=r"detector was .*'1'.*, now .*'2'"):
        PreparationState(tmp_path, "disfa", {"size": 8, "detector": {"name": "d", "version": "2"}})
    with pytest.raises(UsageError, match="this folder was made by comface-bench data prepare disfa"):
        PreparationState(tmp_path, "edema", SETTINGS)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"settings": {}, "sources": [], "done": {}}', "\x00"])
def test_file_that_is_no_state_is_reported(tmp_path, content):
    (tmp_path / "prepare.json").write_text(content)
    with pytest.raises(DataFormatError, match="not a state of"):
        PreparationState(tmp_path, "disfa", SETTINGS)


def test_boxes_come_back(tmp_path):
    one, two = Box(-1.5, 2.0, 30.0, 31.0, 0.25), Box(1, 1, 2, 2)
    with BoxFile(tmp_path) as boxes:
        boxes.add('a,"b".png', 0, Detection.from_boxes([one]))
        boxes.add("SN001", 7, Detection.from_boxes([]))
        boxes.add("SN001", 8, Detection.from_boxes([one, two]))
    with BoxFile(tmp_path) as boxes:
        assert boxes.of('a,"b".png') == {0: Detection(1, one)}
        assert boxes.of("SN001") == {7: Detection(0, None), 8: Detection(2, None)}
        assert boxes.of("SN002") == {}
    assert [Detection.from_boxes(faces).problem for faces in ([], [one], [one, two])] == [
        "no face",
        "",
        "several faces",
    ]


def test_cut_line_is_dropped_and_written_again(tmp_path):
    with BoxFile(tmp_path) as boxes:
        boxes.add("SN001", 1, Detection.from_boxes([Box(1, 2, 3, 4, 5)]))
        boxes.add("SN001", 6, Detection.from_boxes([Box(1, 2, 3, 4, 5)]))
    whole = (tmp_path / "boxes.csv").read_bytes()
    for length in range(len(whole)):
        (tmp_path / "boxes.csv").write_bytes(whole[:length])
        with BoxFile(tmp_path) as boxes:
            for frame in (1, 6):
                if frame not in boxes.of("SN001"):
                    boxes.add("SN001", frame, Detection.from_boxes([Box(1, 2, 3, 4, 5)]))
        assert (tmp_path / "boxes.csv").read_bytes() == whole


@pytest.mark.parametrize(
    "line", ["SN001,x,1,1,1,1,1,1", "SN001,1", "SN001,1,1,,,,,", "SN001,1,1,1,1,1,1,1,1,1"]
)
def test_line_that_is_no_box_is_reported(tmp_path, line):
    (tmp_path / "boxes.csv").write_text(f"{','.join(BOXES_COLUMNS)}\n{line}\n")
    with pytest.raises(DataFormatError, match=r"boxes\.csv:2"):
        BoxFile(tmp_path)
