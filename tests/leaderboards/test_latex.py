"""LaTeX of results."""

import dataclasses
import re

import pytest

from comface_bench.core.errors import UsageError
from comface_bench.leaderboards.latex import records_latex
from comface_bench.leaderboards.pages import read_entries


def cells(line):
    return [cell.strip() for cell in re.split(r"(?<!\\)&", line.removesuffix(r" \\"))]


def test_latex_has_the_layout_of_table_n(filled):
    lines = records_latex(read_entries(filled), ["age"], "finetune").splitlines()
    assert lines[:4] == [
        r"\begin{tabular}{lrrr}",
        r"\toprule",
        r"Method & MAE$\downarrow$ & Corr.$\uparrow$ & Acc.$\uparrow$ \\",
        r"\midrule",
    ]
    assert lines[-2:] == [r"\bottomrule", r"\end{tabular}"]
    body = lines[4:-2]
    shape = [line if line.startswith(r"\multi") else cells(line)[0] for line in body]
    assert shape == [
        "scratch+backbone=resnet18",
        r"\multicolumn{4}{l}{\textit{General Pre-training:}} \\",
        "imagenet",
        r"\multicolumn{4}{l}{\textit{Facial Representation Learning:}} \\",
        "farl",
        "comface",
        r"\multicolumn{4}{l}{\textit{Other:}} \\",
        r"timm/vit$^\dagger$",
    ]
    bold = [line for line in body if r"\textbf" in line]
    assert [cells(line)[0] for line in bold] == ["comface"], "the incomplete one is better, and isn't ranked"
    entry = next(entry for entry in read_entries(filled) if entry.method == "comface")
    assert cells(bold[0])[1:3] == [
        rf"\textbf{{{entry.metrics['mae'].value:.3f}}}",
        rf"\textbf{{{entry.metrics['pearson'].value:.3f}}}",
    ]
    assert all(len(cells(line)) == 4 for line in body if not line.startswith(r"\multi"))


def test_latex_of_several_tasks_spans_their_metrics(filled):
    text = records_latex(read_entries(filled), ["synth-age", "disfa-au12"], "quick")
    head, rules, metrics = text.splitlines()[2:5]
    assert head == r"Method & \multicolumn{3}{c}{synth-age} & \multicolumn{3}{c}{disfa-au12} \\"
    assert rules == r"\cmidrule(lr){2-4}\cmidrule(lr){5-7}"
    assert len(cells(metrics)) == 7
    (vit,) = [line for line in text.splitlines() if line.startswith("timm/vit")]
    assert cells(vit)[2] == "---", "a constant prediction has no correlation"
    assert cells(vit)[4:] == ["---", "---", "---"], "a task without a record"


def test_equal_values_are_both_in_bold_and_other_data_keep_all_from_it(results, made):
    made.add(results, method="a", noise=1.0)
    made.add(results, method="b", noise=1.0)
    assert records_latex(read_entries(results), ["age"], "finetune").count(r"\textbf") == 6
    made.add(results, method="c", noise=2.0, split="others")
    assert r"\textbf" not in records_latex(read_entries(results), ["age"], "finetune")


def test_latex_refuses_a_task_without_records(filled):
    with pytest.raises(UsageError, match="no record of synth-age under finetune") as caught:
        records_latex(read_entries(filled), ["age", "synth-age"], "finetune")
    assert "comface-bench run" in caught.value.hint


@pytest.mark.parametrize(
    "name",
    [
        r"\input{/etc/passwd}",
        "100%",
        "a&b",
        "$x$",
        "#1",
        "x_y^z~",
        "{",
        "}",
        "[3pt]",
        "*",
        "--",
        '"',
        "\u202e",
        "\n",
    ],
)
def test_latex_shows_any_name_as_text(filled, name):
    entry = dataclasses.replace(read_entries(filled)[0], group=name)
    text = records_latex([entry], ["age"], "finetune")
    (line,) = [line for line in text.splitlines() if r"\textit" in line]
    inner = line.removeprefix(r"\multicolumn{4}{l}{\textit{").removesuffix(r":}} \\")
    assert shown(inner) == (name if name.isprintable() else f"\\u{ord(name):04x}")
    assert "--" not in inner, "no ligature"


def shown(latex):
    """Read escaped text as LaTeX would: known commands and escapes only, braces balanced."""
    commands = {
        r"\textbackslash": "\\",
        r"\textasciitilde": "~",
        r"\textasciicircum": "^",
        r"\texttt{\char34}": '"',
    }
    pattern = "|".join([*map(re.escape, commands), r"\\[&%$#_{}]", r"\{[\[\]*]?\}", r"[^\\{}&%$#_~^]"])
    found = re.findall(pattern, latex)
    assert "".join(found) == latex
    plain = [commands.get(token) or (token[1:2] if len(token) > 1 else token) for token in found]
    return "".join("" if token == "{}" else text for token, text in zip(found, plain, strict=True))
