"""Pages: golden, stable, honest about what is missing."""

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest

from comface_bench.core.errors import ResultError, UsageError
from comface_bench.leaderboards import build, load
from comface_bench.leaderboards.board import board_page, column_styles, format_value
from comface_bench.leaderboards.table import read_entries
from comface_bench.stats.metrics import MetricValue

GOLDEN = Path(__file__).parent / "golden"


def tree(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def cells(page, method):
    """Return the cells of a method's row by heading."""
    rows = [
        [c.strip() for c in line.strip("|").split(" | ")] for line in page.splitlines() if line[:1] == "|"
    ]
    (row,) = [row for row in rows if row[0] == method]
    return dict(zip(rows[0], row, strict=True))


def test_golden(results, made, tmp_path):
    """The committed pages; after a wanted change, copy the new ones over them and read the difference."""
    made.fill(results)
    build(results, tmp_path / "out")
    assert tree(tmp_path / "out") == tree(GOLDEN)


def test_the_same_bytes_twice_and_in_any_order(results, made, tmp_path):
    made.fill(results)
    first = build(results, tmp_path / "a")
    times = {path: path.stat().st_mtime_ns for path in first}
    assert build(results, tmp_path / "a") == first
    assert {path: path.stat().st_mtime_ns for path in first} == times, "nothing is written without a change"
    for path in sorted(results.rglob("*.json"), reverse=True):
        path.write_bytes(path.read_bytes())
    build(str(results), str(tmp_path / "b"))
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    assert first == sorted((tmp_path / "a").rglob("*.md"))


def test_values_are_the_records(results, made, tmp_path):
    record = made.add(results, method="farl", group="Facial Representation Learning")
    build(results, tmp_path)
    row = cells((tmp_path / "age/finetune.md").read_text(), "farl")
    assert row["MAE ↓"] == f"**{record.summary.pooled['mae'].value:.3f}**"
    assert row["Acc. (%) ↑"] == f"**{100 * record.summary.pooled['acc'].value:.1f}**"
    assert (row["MAE, paper"], row["Corr., paper"]) == ("5.249", "0.851")
    assert (row["Folds"], row["Seeds"], row["Pairs"], row["Subjects"], row["Failed"]) == (
        "2/2",
        "0",
        "16",
        "4",
        "0",
    )
    floor = cells((tmp_path / "age/finetune.md").read_text(), "*no change*")
    assert floor["MAE ↓"] == f"{record.summary.constant['mae'].value:.3f}"
    assert (floor["Corr. ↑"], floor["Acc. (%) ↑"], floor["MAE, paper"]) == ("—", "0.0", "")


def test_an_incomplete_record_is_marked_and_never_best(results, made, tmp_path):
    made.fill(results)
    build(results, tmp_path)
    page = (tmp_path / "age/finetune.md").read_text()
    row = cells(page, "timm/vit †")
    assert (row["MAE ↓"], row["Folds"], row["Failed"]) == ("0.090", "1/2", "1")
    assert cells(page, "comface")["MAE ↓"].startswith("**")
    assert cells(page, "farl")["MAE ↓"].startswith("<u>")
    assert "† Folds are missing" in page
    assert "0.090 / 1.000 / 100.0 †" in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize(
    ("protocol", "note"),
    [("linear", True), ("quick", False), ("finetune+image_size=112", False)],
)
def test_no_paper_column_where_the_paper_has_none(results, made, tmp_path, protocol, note):
    made.add(results, protocol=protocol, method="farl")
    build(results, tmp_path)
    (page,) = tmp_path.glob("age/*.md")
    assert ", paper" not in page.read_text()
    assert ("publishes no value" in page.read_text()) is note


def test_the_command_repeats_an_overridden_protocol(results, made, tmp_path):
    made.add(results, protocol="finetune+image_size=112+epochs=2")
    build(results, tmp_path)
    page = (tmp_path / "age/finetune+image_size=112+epochs=2.md").read_text()
    assert (
        "    comface-bench run --method METHOD --task age --protocol finetune -o image_size=112 -o epochs=2"
        in page
    )


def test_other_data_is_not_compared(results, made, tmp_path):
    made.add(results, method="a", noise=1.0)
    made.add(results, method="b", noise=2.0, split="leave-one-out")
    build(results, tmp_path)
    page = (tmp_path / "age/finetune.md").read_text()
    assert "different versions of data or split" in page
    assert "**" not in page


def test_ties_share_a_place(results, made):
    made.fill(results)
    entries = [e for e in read_entries(results) if e.task == "age" and e.complete][:4]
    values = [1.0001, 1.0004, 2.0, 3.0]
    tied = [
        dataclasses.replace(entry, metrics={"mae": MetricValue(value)})
        for entry, value in zip(entries, values, strict=True)
    ]
    assert column_styles(tied, "mae") == ["**1.000**", "**1.000**", "<u>2.000</u>", "3.000"]
    published = dataclasses.replace(tied[0], kind="paper")
    assert column_styles([published, *tied[1:]], "mae")[0] == "1.000"


def test_groups_and_order(results, made, tmp_path):
    for method, group in [
        ("zebra", "Other"),
        ("comface", "Facial Representation Learning"),
        ("a", "Facial Representation Learning"),
        ("bulat", "Facial Representation Learning"),
        ("mocov2", "Visual Representation Learning"),
        ("simclr", "Visual Representation Learning"),
        ("vggface2", "General Pre-training"),
        ("imagenet", "General Pre-training"),
        ("scratch", "Scratch"),
    ]:
        made.add(results, method=method, group=group)
    build(results, tmp_path)
    for page in (tmp_path / "age/finetune.md", tmp_path / "README.md"):
        firsts = re.findall(r"^\| ([^|]+?) \|", page.read_text(), flags=re.MULTILINE)[3:]
        assert firsts == [
            "*Scratch*", "scratch",
            "*General Pre-training*", "imagenet", "vggface2",
            "*Visual Representation Learning*", "simclr", "mocov2",
            "*Facial Representation Learning*", "bulat", "comface", "a",
            "*Other*", "zebra",
        ]  # fmt: skip


def test_pages_without_records_are_removed_and_nothing_else(results, made, tmp_path):
    out = tmp_path / "out"
    made.fill(results)
    build(results, out)
    (out / "notes.md").write_text("mine")
    (out / "age/mine.md").write_text("mine")
    (tmp_path / "precious.md").write_text("mine")
    with (out / ".pages").open("a") as stream:
        stream.write(f"../precious.md\n{tmp_path}/precious.md\nnotes.md\ngone.md\n")
    for path in [*results.glob("age/finetune/*"), *results.glob("disfa-au12/quick/*")]:
        path.unlink()
    build(results, out)
    assert set(tree(out)) == {".pages", "README.md", "age/mine.md", "notes.md", "synth-age/quick.md"}
    assert not (out / "disfa-au12").exists()
    assert (tmp_path / "precious.md").exists()


def test_a_file_of_someone_else_is_not_replaced(results, made, tmp_path):
    made.fill(results)
    (tmp_path / "README.md").write_text("# My project")
    with pytest.raises(UsageError, match=r"README\.md"):
        build(results, tmp_path)
    assert (tmp_path / "README.md").read_text() == "# My project"
    assert not (tmp_path / "age").exists()


def test_no_results(tmp_path):
    assert build(tmp_path / "none", tmp_path / "out") == [tmp_path / "out/README.md"]
    assert "No results yet" in (tmp_path / "out/README.md").read_text()
    assert load(tmp_path / "none").empty


def test_a_broken_record_stops_the_build(results, made, tmp_path):
    made.add(results)
    (results / "age/finetune/scratch.json").write_text("{}")
    with pytest.raises(ResultError, match=r"scratch\.json"):
        build(results, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_load(results, made):
    made.fill(results)
    frame = load(results)
    assert len(frame) == 8
    row = frame[(frame.method == "timm/vit") & (frame.task == "age")].iloc[0]
    assert (row.complete, row.folds_done, row.folds, row.failures, row.n_pairs) == (False, 1, 2, 1, 8)
    constant = frame[(frame.method == "timm/vit") & (frame.task == "synth-age")].iloc[0]
    assert constant.pearson != constant.pearson, "NaN where there is no correlation"
    assert frame.dtypes[["mae", "pearson", "constant_pearson"]].eq(float).all()
    assert frame.mae.between(0.08, 8).all()


def test_format_value():
    assert format_value("mae", -0.0004) == "0.000"
    assert format_value("pearson", -0.0234) == "-0.023"
    assert format_value("acc", 0.886) == "88.6"
    assert format_value("acc", None) == "—"


def test_building_imports_neither_pandas_nor_torch(results, made, tmp_path):
    made.add(results)
    code = (
        "import sys; from comface_bench.leaderboards import build; build(*sys.argv[1:])\n"
        "sys.exit(repr({'torch', 'pandas'} & set(sys.modules) or 0))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, results, tmp_path / "out"], capture_output=True, text=True
    )
    assert run.stderr.strip() == "0"


def test_a_metric_that_only_newer_records_have(results, made):
    made.add(results, method="a")
    made.add(results, method="b")
    old, new = read_entries(results)
    old = dataclasses.replace(old, metrics={"mae": old.metrics["mae"]}, constant={"mae": old.constant["mae"]})
    page = board_page([old, new])
    assert cells(page, "a")["Corr. ↑"] == "—"
    assert cells(page, "b")["Corr. ↑"] == "**0.993**"


def test_a_row_no_better_than_no_change_is_marked(results, made, tmp_path):
    made.add(results, method="scratch", noise=1.0)
    made.add(results, method="farl", noise=60.0)
    build(results, tmp_path / "out")
    page = (tmp_path / "out" / "age" / "finetune.md").read_text()
    assert "| farl ‡ |" in page
    assert "| scratch |" in page
    assert "nothing was learned that helps" in page


def test_a_method_pre_trained_on_people_of_the_data_is_marked(results, made, tmp_path):
    facts = {"card": {"overlaps": ["FG-NET", "Others"]}}
    made.add(results, method="leaky", trained_on=["ImageNet", "FG-NET"], facts=facts)
    made.add(results, method="clean", trained_on=["ImageNet"], facts=facts)
    build(results, tmp_path / "out")
    (page,) = (tmp_path / "out").rglob("age/*.md")
    rows = {
        line.split("|")[1].strip(): line for line in page.read_text().splitlines() if line.startswith("|")
    }
    assert "leaky §" in rows
    assert "clean" in rows
    assert "- § leaky was pre-trained on FG-NET, which holds people of this data set." in page.read_text()
    assert "§" in (tmp_path / "out" / "README.md").read_text()
