"""The contract of tasks: what keeps it, and what each breach is called."""

import pytest

from comface_bench.contract.task import check_task_contract
from comface_bench.core.errors import BenchError, DataMissingError
from comface_bench.core.registry import task_registry
from comface_bench.scaffold import write_plugin


@pytest.fixture
def findings(tmp_path):
    """Check the template with some of its text replaced; returns rule → how it is broken."""

    def check(*replaced):
        path = write_plugin("task", "toy", tmp_path)
        text = path.read_text()
        for old, new in replaced:
            assert old in text
            text = text.replace(old, new)
        path.write_text(text)
        found = check_task_contract("toy", None, task_registry([path], plugins=False))
        return {finding.rule: finding.broken for finding in found}

    return check


def test_the_template_keeps_the_contract(findings):
    found = findings()
    assert len(found) == 6
    assert not any(found.values())


@pytest.mark.parametrize("name", ["synth-age", "synth-weight", "synth-au12"])
def test_what_ships_keeps_the_contract(name):
    found = check_task_contract(name, None, task_registry(plugins=False))
    assert all(finding.holds for finding in found)


@pytest.mark.parametrize(
    ("old", "new", "rule", "said"),
    [
        ('"mae", "pearson"', '"mae", "guess"', "metrics are known", "guess"),
        ("label_range=(0, 10)", "label_range=(0, 5)", "the data have no problem", "not within 0 to 5"),
        ("(subject + 3 * visit) % 11", "3", "the data have no problem", "each score is 3"),
        (
            '"score": row["score"]',
            '"score": __import__("random").random()',
            "two readings agree",
            "their digests differ",
        ),
        (
            "    problems = ProblemList()\n",
            "    (root / 'cache').write_text('x')\n    problems = ProblemList()\n",
            "reading leaves the data as they are",
            "cache",
        ),
    ],
    ids=["metric", "range", "alike", "random", "writes"],
)
def test_each_breach_is_reported(findings, old, new, rule, said):
    assert said in findings((old, new))[rule]


def test_an_example_that_writes_nothing_is_reported(findings):
    with pytest.raises(DataMissingError, match="write_example of toy wrote nothing"):
        findings(("    from PIL import Image\n", "    return\n    from PIL import Image\n"))


def test_a_task_without_data_or_example_says_how_to_get_them(tmp_path):
    with pytest.raises(BenchError, match="doesn't exist"):
        check_task_contract("edema-a", tmp_path, task_registry(plugins=False))
