import pytest

from comface_bench.prepare.labels import copy_labels, expected_frames, find_labels


@pytest.mark.parametrize("name", ["ActionUnit_Labels", "ActionUnits", "actionunit", "LABELS"])
def test_labels_are_copied_under_the_usual_name(tmp_path, name):
    folder = tmp_path / "source" / name / "sn001"
    folder.mkdir(parents=True)
    (folder / "SN001_au1.txt").write_bytes(b"1,0\r\n2,5\r\n\r\n")
    (folder / "au2.txt").write_bytes(b"1,0\n")
    (folder / "._SN001_au1.txt").write_bytes(b"junk")
    (folder / "notes.doc").write_bytes(b"junk")
    (folder.parent / "readme.txt").write_bytes(b"junk")
    (tmp_path / "target").mkdir()
    assert copy_labels(tmp_path / "source", tmp_path / "target")
    copies = tmp_path / "target" / "ActionUnit_Labels"
    assert {path.relative_to(copies).as_posix(): path.read_bytes() for path in copies.rglob("*.*")} == {
        "SN001/SN001_au1.txt": b"1,0\r\n2,5\r\n\r\n",
        "SN001/au2.txt": b"1,0\n",
    }
    assert expected_frames(tmp_path / "target", "SN001") == 2


def test_copy_that_was_cut_off_is_made_anew(tmp_path):
    folder = tmp_path / "source" / "labels" / "SN001"
    folder.mkdir(parents=True)
    (folder / "SN001_au1.txt").write_text("1,0\n")
    cut = tmp_path / "target" / ".ActionUnit_Labels.part" / "SN002"
    cut.mkdir(parents=True)
    assert find_labels(tmp_path / "target") is None
    assert copy_labels(tmp_path / "source", tmp_path / "target")
    assert [path.name for path in (tmp_path / "target").iterdir()] == ["ActionUnit_Labels"]
    assert not (tmp_path / "target" / "ActionUnit_Labels" / "SN002").exists()


def test_labels_in_the_target_stay_alone(tmp_path):
    for root in ("source", "target"):
        (tmp_path / root / "labels" / "SN001").mkdir(parents=True)
    assert copy_labels(tmp_path / "source", tmp_path / "target")
    assert [path.name for path in (tmp_path / "target").iterdir()] == ["labels"]


def test_no_labels_at_all(tmp_path):
    (tmp_path / "target").mkdir()
    (tmp_path / "source" / "labels").mkdir(parents=True)
    assert not copy_labels(tmp_path / "source", tmp_path / "target")
    assert list((tmp_path / "target").iterdir()) == []


def test_published_counts_stand_in_for_labels(tmp_path):
    assert expected_frames(tmp_path, "SN001") == 4845
    assert expected_frames(tmp_path, "SN010") == 4844
