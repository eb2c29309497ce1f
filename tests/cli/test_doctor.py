"""`doctor`: what is reported, and what counts as broken."""

import os


def test_doctor_finds_nothing_broken(call, data):
    status, out, _ = call("doctor", "--data", data)
    assert status == 0, out
    for said in ("torch", "precision", "threads", "synthfaces/FGNET", "scratch", "nothing is broken"):
        assert said in out
    (line,) = [line for line in out.splitlines() if line.split()[:1] == ["FGNET"]]
    assert line.split()[1] == "found"


def test_doctor_exits_1_if_results_can_not_be_written(call, tmp_path):
    (tmp_path / "file").write_text("no folder")
    status, out, _ = call("doctor", "--results", tmp_path / "file" / "results")
    assert status == 1
    assert "broken: results" in out
    assert os.environ["COMFACE_CACHE"] in out
