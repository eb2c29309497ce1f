"""`data check`: counts, problems and exit statuses."""

import json

import pytest


def test_check_prints_the_counts(call, data):
    status, out, _ = call("data", "check", "age+split=balanced-4", "--data", data)
    assert status == 0
    facts = dict(line.split("  ", 1) for line in out.split("\n\n")[0].splitlines())
    assert facts["images"].strip() == "32"
    assert facts["subjects"].strip() == "8"
    assert facts["pairs"].strip() == "48 within subjects, 0 of them with zero change"
    assert facts["grey images"].strip() == "0"
    assert facts["age"].strip().startswith("2 to 60 years")


def test_what_to_type_after_a_good_check_works(call, data, monkeypatch, plugin):
    monkeypatch.chdir(data.parent)
    out = call("data", "check", "age", "--data", data, "-o", "split=balanced-4")[1]
    advice = out.splitlines()[-1]
    assert advice == (
        "next: comface-bench run --method comface --task age+split=balanced-4 --protocol probe --data data"
    )
    assert call(*advice.split()[2:], "--dry-run")[0] == 0
    assert "next:" not in call("data", "check", "age", "--data", data, "--json")[1]


def test_check_in_json(call, data):
    found = json.loads(call("data", "check", "age+split=balanced-4", "--data", data, "--json")[1])
    assert found["ok"] is True
    assert (found["images"], len(found["per_subject"]), found["pairs"]) == (32, 8, 48)
    assert sum(fold["test_pairs"] for fold in found["folds"]) == 48


def test_the_hint_of_a_split_that_does_not_fit_can_be_typed(call, data):
    status, _, err = call("data", "check", "age", "--data", data)
    assert status == 2
    option = err.strip().rsplit(": ", 1)[1].split()
    assert option == ["-o", "split=balanced-4"]
    assert call("data", "check", "age", "--data", data, *option)[0] == 0


def test_a_truncated_image_is_found(call, data):
    path = data / "FGNET" / "images" / "001A02.JPG"
    path.write_bytes(path.read_bytes()[:-200])
    status, _, err = call("data", "check", "age+split=balanced-4", "--data", data)
    assert status == 2
    assert "001A02.JPG: is a JPEG that is cut off" in err


def test_check_of_what_ships_needs_no_data(call):
    status, out, _ = call("data", "check", "synth-age")
    assert status == 0
    assert "synthfaces" in out


@pytest.mark.parametrize("harm", ["not an image", "wrong name"])
def test_check_exits_2_on_a_problem(call, data, harm):
    images = data / "FGNET" / "images"
    name = "001A02.JPG" if harm == "not an image" else "face.JPG"
    (images / name).write_bytes(b"nothing")
    status, _, err = call("data", "check", "age+split=balanced-4", "--data", data)
    assert status == 2
    assert err.strip().startswith("error: 1 problem\n")
    assert name in err
    found = json.loads(call("data", "check", "age+split=balanced-4", "--data", data, "--json")[1])
    assert found["ok"] is False
    assert name in found["problems"][0]["where"]


def test_check_counts_each_subject_on_demand(call, data):
    words = ("data", "check", "age+split=balanced-4", "--data", data)
    _, out, _ = call(*words, "--subjects")
    rows = [line.split() for line in out.split("\n\n")[-2].splitlines()]
    assert rows[1] == ["001", "4", "4", "6", "6"]
    assert len(rows) == 9
    assert "training pairs" not in call(*words)[1]
