"""Templates of plugins, and copies under another name: working at once, and never over a file."""

import pytest

from comface_bench.core.errors import UsageError
from comface_bench.scaffold import write_plugin


def test_the_name_stands_where_the_templates_stood(tmp_path):
    path = write_plugin("task", "pain-diary", tmp_path)
    assert path == tmp_path / "pain_diary.py"
    text = path.read_text()
    assert 'name="pain-diary"' in text
    assert "--plugin pain_diary.py" in text
    assert "my-task" not in text
    assert "my_task" not in text


@pytest.mark.parametrize("name", ["", "Pain", "a/b", "../x", "a b", "-a", "a--b", "a_b", "1a", "ä"])
def test_other_names_are_refused(tmp_path, name):
    with pytest.raises(UsageError, match="can't name a task"):
        write_plugin("task", name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_file_is_never_written_over(tmp_path):
    write_plugin("task", "a", tmp_path).write_text("mine")
    with pytest.raises(UsageError, match=r"a\.py is there already"):
        write_plugin("task", "a", tmp_path)
    assert (tmp_path / "a.py").read_text() == "mine"
