"""`comface-bench results`, by its words: what is printed, and the exit status."""

import json
import re
import resource
import shutil
from pathlib import Path

import pytest

from comface_bench.results.schema import read_schema, text_digest
from comface_bench.results.store import ResultStore

GOLDEN = Path(__file__).parents[1] / "results" / "golden"
NAMES = ("synth-weight", "quick+epochs=2+image_size=16+pairs_per_epoch=16", "scratch+backbone=resnet18")


@pytest.fixture
def results(tmp_path):
    shutil.copytree(GOLDEN / "v2", tmp_path / "results")
    return tmp_path / "results"


@pytest.fixture
def record(results):
    return ResultStore(results).record_path(*NAMES)


def tamper(record, sealed=False):
    """Make the first metric of the first unit another number; the digest is made to fit if `sealed`."""
    raw = json.loads(record.read_text())
    raw["units"][0]["metrics"]["mae"]["value"] += 0.5
    if sealed:
        raw["digest"] = text_digest(raw)
    record.write_text(json.dumps(raw, indent=1) + "\n")


def test_validate(call, results, record):
    status, out, err = call("results", "validate", "--results", results)
    assert (status, out, err) == (0, "1 record: valid\n", "")
    assert call("results", "validate", record)[0] == 0
    tamper(record)
    record.with_name("lost.predictions.csv.gz").write_bytes(b"")
    status, out, _ = call("results", "validate", results)
    assert status == 1
    lines = out.splitlines()
    assert lines[0].startswith(f"{record}:{len(record.read_text().splitlines()) - 1}: digest: ")
    assert "lost.predictions.csv.gz" in lines[1]
    assert "comface-bench run" in out
    assert lines[-1] == "1 record: 2 things are wrong"


def test_validate_for_programs(call, results, record):
    status, out, _ = call("results", "validate", results, "--json")
    assert (status, json.loads(out)) == (0, {"ok": True, "records": 1, "findings": []})
    tamper(record)
    status, out, _ = call("results", "validate", results, "--json")
    found = json.loads(out)
    assert (status, found["ok"], len(found["findings"])) == (1, False, 1)
    assert found["findings"][0].keys() == {"file", "line", "place", "message", "hint"}


def test_recompute(call, results, record):
    status, out, _ = call("results", "recompute", "--results", results)
    assert (status, out) == (0, f"{record}: equal\n1 record: equal within 1e-09\n")
    tamper(record)
    before = record.read_bytes()
    status, out, _ = call("results", "recompute", record)
    assert status == 1
    assert re.match(rf"{re.escape(str(record))}:\d+: units.0.metrics.mae: ", out)
    assert record.read_bytes() == before
    assert json.loads(call("results", "recompute", record, "--json")[1])["ok"] is False


@pytest.mark.parametrize("version", [1, 2])
def test_recompute_brings_records_to_the_newest_version(call, tmp_path, version):
    results = tmp_path / "results"
    shutil.copytree(GOLDEN / f"v{version}", results)
    (record,) = results.glob("*/*/*.json")
    assert call("results", "recompute", results)[0] == 0
    assert json.loads(record.read_text())["schema_version"] == version
    status, out, _ = call("results", "recompute", results, "--update")
    assert (status, out) == (0, f"{record}: updated\n{record}: equal\n1 record: equal within 1e-09\n")
    raw = json.loads(record.read_text())
    assert (raw["schema_version"], raw["method"]["about"]["licence"]) == (3, "none needed")
    assert call("results", "validate", results)[0] == 0
    status, out, _ = call("results", "recompute", results, "--update")
    assert (status, out) == (0, f"{record}: equal\n1 record: equal within 1e-09\n")
    tamper(record)
    record.with_name("other.json").write_text("{}")
    status, out, _ = call("results", "recompute", results, "--update")
    assert status == 1
    assert "units.0.metrics.mae" in out
    assert "other.json: task" in out


def test_what_runs_leave_is_valid_and_equal(call, run_words, data, make_edema, tmp_path):
    """Runs of both kinds, a method whose units fail, options in names, folds that share their pairs."""
    make_edema(data / "Edema-A", [f"P{number}" for number in range(8)])
    make_edema(data / "Edema-B", ["P1", "Q1"], days=("3", "4"), seed=100)
    for words, status in (
        (run_words("tiny", "--seeds", "0,1"), 0),
        (run_words("flat", "--folds", "0,1"), 1),
        (run_words("tiny", "--protocol", "finetune"), 0),
        (run_words("tiny", "--task", "edema-a2b", "--folds", "0,1"), 0),
        (run_words("tiny", "-o", "preprocess=imagenet", "--folds", "2"), 0),
    ):
        assert call(*words)[0] == status
    results = tmp_path / "results"
    status, out, _ = call("results", "validate", results)
    assert (status, out) == (0, "5 records: valid\n")
    status, out, _ = call("results", "recompute", results)
    assert (status, out.count(": equal\n")) == (0, 5)
    assert call("results", "merge", results, "--into", tmp_path / "union")[0] == 0
    assert call("results", "diff", results, tmp_path / "union", "--measured")[1] == "equal\n"


def test_a_strangers_names_do_not_reach_the_terminal_as_commands(call, results, record):
    raw = json.loads(record.read_text())
    raw["task"]["name"] = "\x1b[2J\u202e"
    record.write_text(json.dumps(raw, indent=1) + "\n")
    _, out, _ = call("results", "validate", results)
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert r"\x1b[2J\u202e" in out


@pytest.mark.parametrize("command", ["validate", "recompute"])
def test_what_is_not_there(call, tmp_path, command):
    status, _, err = call("results", command, tmp_path / "none")
    assert (status, "there is no record or folder of results" in err) == (2, True)
    status, _, err = call("results", command, tmp_path)
    assert (status, "there is no record in" in err) == (2, True)
    assert "comface-bench run" in err


def test_schema(call):
    assert call("results", "schema") == (0, read_schema(), "")
    assert call("results", "schema", "--version", 1) == (0, read_schema(1), "")
    status, _, err = call("results", "schema", "--version", 9)
    assert (status, "Versions: 1, 2, 3" in err) == (2, True)


def test_diff(call, results, record, tmp_path):
    assert call("results", "diff", GOLDEN / "v1", results) == (0, "equal\n", "")
    tamper(record)
    status, _, err = call("results", "diff", GOLDEN / "v2", results)
    assert (status, f"{record}: changed since it was written" in err) == (2, True)
    shutil.copy(GOLDEN / "v2" / record.relative_to(results), record)
    tamper(record, sealed=True)
    status, out, _ = call("results", "diff", GOLDEN / "v2", results)
    assert status == 1
    assert out.splitlines()[0] == f"{'/'.join(NAMES)}:"
    assert out.splitlines()[1].startswith("  fold 0, seed 0: metrics.mae: ")
    assert out.splitlines()[1].endswith("(differs by 0.5)")
    assert out.splitlines()[2] == "1 difference"
    found = json.loads(call("results", "diff", GOLDEN / "v2", results, "--json")[1])
    assert found["equal"] is False
    assert found["differences"][0]["size"] == pytest.approx(0.5)
    assert call("results", "diff", results, tmp_path / "none")[0] == 2
    assert call("results", "diff", results, record)[0] == 2


def test_merge(call, results, record, tmp_path):
    into = tmp_path / "union"
    status, out, _ = call("results", "merge", GOLDEN / "v2", results, "--into", into)
    assert (status, out) == (0, f"{into}: 1 record with 4 units; 1 record written\n")
    tamper(record, sealed=True)
    other = tmp_path / "other"
    status, out, err = call("results", "merge", GOLDEN / "v2", results, "--into", other)
    assert status == 1
    assert out.startswith(f"conflict: {'/'.join(NAMES)}: fold 0, seed 0: {GOLDEN}")
    assert "--prefer first" in err
    assert not other.exists()
    words = ["results", "merge", GOLDEN / "v2", results, "--into", other, "--prefer", "first"]
    assert call(*words)[0] == 0
    assert call("results", "validate", other)[0] == 0
    assert call("results", "merge", results)[0] == 2
    assert call("results", "merge", results, record, "--into", other)[0] == 2


def test_export(call, results, tmp_path):
    status, out, _ = call("results", "export", "--results", results)
    assert (status, len(out.splitlines())) == (0, 2)
    file = tmp_path / "table.tex"
    words = ["results", "export", "--results", results, "--format", "latex", "--task", "synth-*"]
    status, out, _ = call(*words, "--out", file)
    assert (status, out) == (0, f"{file}\n")
    assert file.read_text().startswith(r"\begin{tabular}")
    assert call(*words)[1] == file.read_text()
    for wrong in (["--task", "age"], ["--task", "x*"], ["--protocol", "linear"]):
        assert call("results", "export", "--results", results, *wrong)[0] == 2
    shutil.copytree(results / NAMES[0] / NAMES[1], results / NAMES[0] / "linear")
    status, _, err = call("results", "export", "--results", results, "--format", "latex")
    assert (status, "another file" in err) == (2, True)


def test_latex_of_several_protocols_asks_for_one(call, results, record):
    raw = json.loads(record.read_text())
    raw["protocol"]["name"] = "linear"
    raw["digest"] = text_digest(raw)
    other = results / NAMES[0] / "linear" / record.name
    other.parent.mkdir()
    other.write_text(json.dumps(raw))
    status, _, err = call("results", "export", "--results", results, "--format", "latex")
    assert status == 2
    assert "--protocol linear" in err


@pytest.mark.parametrize(
    "words", [["results", "--help"], ["results", "validate", "--help"], ["results", "validate"]]
)
def test_neither_torch_nor_pandas_is_imported(imported, tmp_path, words):
    shutil.copytree(GOLDEN / "v2", tmp_path / "results")
    process, modules = imported(*words)
    assert process.returncode == 0, process.stderr
    assert not {name.partition(".")[0] for name in modules} & {"torch", "pandas", "scipy"}
    if "--help" in words:
        assert not {name.partition(".")[0] for name in modules} & {"numpy", "rich"}


def test_help_is_quick(spawn):
    times = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        out, _ = spawn("results", "--help").communicate()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert "recompute" in out
    assert min(times) < 0.4, "0.2 s of processor time on an idle machine"


BOARD = Path(__file__).parents[2] / "leaderboards" / "results"


def test_compare(call):
    words = ("results", "compare", "comface", "scratch", "--results", BOARD)
    status, out, err = call(*words)
    assert (status, err) == (0, "")
    heading, row, empty, sentence, *notes = out.splitlines()
    assert heading.split("  ")[0] == "task"
    assert row.split()[:4] == ["age", "finetune+image_size=112", "MAE", "years"]
    assert empty == ""
    assert sentence.startswith(
        "comface is better than scratch on age under finetune+image_size=112: its MAE is "
    )
    assert all(note.startswith("note: ") for note in notes)
    (facts,) = json.loads(call(*words, "--json")[1])["comparisons"]
    assert (facts["a"], facts["b"], facts["better"], facts["says"]) == (
        "comface",
        "scratch",
        "comface",
        sentence,
    )
    assert facts["low"] < facts["difference"] < facts["high"] < 0
    # Another metric has numbers of its own.
    (other,) = json.loads(call(*words, "--json", "--metric", "pearson")[1])["comparisons"]
    assert (other["metric"], other["unit"], other["difference"] > 0) == ("pearson", "", True)


@pytest.fixture
def two_boards(made, tmp_path):
    """Two methods under two protocols, the worse one undertrained under one of them; a third task."""
    for protocol in ("linear", "finetune"):
        made.add(tmp_path, "age", protocol, "near")
        idle = {"best_epochs": (3, 3)} if protocol == "linear" else {}
        made.add(tmp_path, "age", protocol, "far", noise=4.0, **idle)
    made.add(tmp_path, "synth-age", "probe", "near")
    return tmp_path


def test_notes_of_several_boards_name_theirs(call, two_boards):
    words = ("results", "compare", "near", "far", "--results", two_boards)
    notes = [line for line in call(*words)[1].splitlines() if line.startswith("note")]
    assert notes and all(note.startswith("note on age under linear: ") for note in notes)
    alone = call(*words, "--protocol", "linear")[1].splitlines()
    assert [line for line in alone if line.startswith("note")] == [
        note.replace(" on age under linear", "") for note in notes
    ]


def test_a_narrow_terminal_gets_sentences(call, two_boards, on_terminal):
    words = ("results", "compare", "near", "far", "--results", two_boards)
    lines = on_terminal(80, *words)
    assert lines[0].startswith("near is better than far on age under linear: its MAE is")
    assert max(map(len, lines)) <= 80
    (first, _) = (line for line in lines if line.startswith("  MAE: near "))
    table = on_terminal(200, *words)
    assert table[0].startswith("task") and not any(line.startswith("  MAE") for line in table)
    row = table[1].split()
    assert first == f"  MAE: near {row[4]}, far {row[5]} years"


def test_a_latex_table_is_of_the_tasks_that_the_protocol_has(call, two_boards):
    words = ("results", "export", "--results", two_boards, "--format", "latex")
    status, text, _ = call(*words, "--protocol", "prob*")
    assert (status, "near & " in text, "far" in text) == (0, True, False)
    assert call(*words, "--protocol", "probe", "--task", "*age")[1] == text
    status, _, err = call(*words, "--protocol", "probe", "--task", "age")
    assert (status, "no record of age under probe" in err) == (2, True)
    status, _, err = call(*words, "--protocol", "l*,f*")
    assert (status, "of one protocol" in err) == (2, True)
    status, out, _ = call(*words[:4], "--protocol", "l*,f*")
    assert (status, len(out.splitlines())) == (0, 5)


def test_names_of_no_record_are_answered_with_those_of_some(call, two_boards, tmp_path):
    for words in (("results", "export"), ("report", "--no-figures", "--out", tmp_path / "r.html")):
        status, _, err = call(*words, "--results", two_boards, "--task", "synth-weight")
        assert (status, "They are of" in err, "list tasks" in err) == (2, True, False)


def test_export_makes_the_folder_of_its_file(call, two_boards):
    file = two_boards / "new" / "x.csv"
    words = ("results", "export", "--results", two_boards, "--out")
    assert call(*words, file)[:2] == (0, f"{file}\n")
    assert file.is_file()
    status, _, err = call(*words, file.parent)
    assert (status, f"{file.parent} is a folder" in err) == (2, True)


def test_a_choice_that_is_none_is_answered_in_plain_words(call):
    status, _, err = call("results", "export", "--format", "foo")
    assert (status, "'foo' is not one of" in err, "Value error" in err) == (2, True, False)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["comfase", "scratch"], "Did you mean comface"),
        (["comface", "scratch", "--task", "agee"], "Did you mean age"),
        (["comface", "scratch", "--protocol", "probe"], "no such task and protocol in common"),
    ],
)
def test_compare_names_what_it_does_not_know(call, words, said):
    status, out, err = call("results", "compare", *words, "--results", BOARD)
    assert (status, out) == (2, "")
    assert said in err


def test_compare_says_why_it_cannot(call, results, record):
    """Records of other pairs: the reason stands in the place of the numbers."""
    raw = json.loads(record.read_text())
    raw["method"]["name"] = "other"
    raw["task"]["split_digest"] = "0" * 64
    raw["digest"] = text_digest(raw)
    record.with_name("other.json").write_text(json.dumps(raw, indent=1) + "\n")
    shutil.copy(
        record.with_name(f"{NAMES[2]}.predictions.csv.gz"), record.with_name("other.predictions.csv.gz")
    )
    status, out, _ = call("results", "compare", NAMES[2], "other", "--results", results)
    assert status == 0
    assert f"{NAMES[2]} and other aren't compared on {NAMES[0]} under" in out
    assert "different versions of split" in out
