"""The workflow that checks pull requests: its rights, and its script on changes with awkward names."""

import os
import re
import shutil
import subprocess
import textwrap
from pathlib import Path

import pytest

WORKFLOW = Path(__file__).parents[2] / ".github" / "workflows" / "submission.yml"


@pytest.fixture(scope="module")
def text():
    if not WORKFLOW.is_file():
        pytest.skip("the workflow isn't part of this copy")
    return WORKFLOW.read_text()


def script(text):
    return textwrap.dedent(text.split("        run: |\n")[1])


def test_rights(text):
    assert "permissions:\n  contents: read\n" in text
    assert text.count("permissions:") == 1
    assert "pull_request_target" not in text and "secrets." not in text.replace("secrets.token_hex", "")
    uses = re.findall(r"uses: (.*)", text)
    assert uses and all(re.fullmatch(r"[a-z-]+/[a-z-]+@v\d+\.\d+\.\d+", use) for use in uses)
    assert text.count("persist-credentials: false") == sum("checkout" in use for use in uses)
    assert "${{" not in script(text), "what a stranger wrote reaches the script as data"


@pytest.fixture
def judge(text, tmp_path):
    """Run the script on a change; `comface-bench` notes what it is asked and refuses names with `bad`."""
    for command in ("bash", "git"):
        if shutil.which(command) is None:
            pytest.skip(f"{command} isn't here")
    stub = tmp_path / "bin" / "comface-bench"
    stub.parent.mkdir()
    stub.write_text('#!/bin/sh\necho "$@" >>"$ASKED"\ncase "$3" in *bad*) exit 1;; esac\n')
    stub.chmod(0o755)
    asked, repository = tmp_path / "asked", tmp_path / "submitted"
    environment = {
        "PATH": f"{stub.parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "ASKED": str(asked),
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
        **{f"GIT_{who}_{what}": "x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    }

    def git(*words):
        command = ["git", "-C", str(repository), *words]
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout

    repository.mkdir()
    git("init", "-q")
    (repository / "README.md").write_text("x")
    git("add", "-A")
    git("commit", "-qm", "base")
    base = git("rev-parse", "HEAD").strip()

    def run(*names):
        for name in names:
            (repository / name).parent.mkdir(parents=True, exist_ok=True)
            (repository / name).write_text("y")
        git("add", "-A")
        git("commit", "-qm", "change")
        words = {**environment, "BASE": base, "HEAD": git("rev-parse", "HEAD").strip()}
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script(text)]
        done = subprocess.run(command, cwd=tmp_path, env=words, capture_output=True, text=True)
        assert done.stderr == ""
        return done.returncode, done.stdout, asked.read_text() if asked.exists() else ""

    return run


def test_each_package_is_checked(judge):
    status, _, asked = judge("leaderboards/submissions/a.zip", "leaderboards/submissions/b-1.zip")
    assert status == 0
    where = "--results trusted/leaderboards/results"
    assert asked.splitlines() == [
        f"submission check submitted/leaderboards/submissions/{name}.zip {where}{form}"
        for name in ("a", "b-1")
        for form in ("", " --markdown")
    ]


def test_one_that_is_refused_fails(judge):
    status, _, asked = judge("leaderboards/submissions/a-bad.zip", "leaderboards/submissions/b.zip")
    assert status == 1
    assert "b.zip" in asked, "the others are checked all the same"


def test_a_package_comes_alone(judge):
    status, out, _ = judge("leaderboards/submissions/a.zip", "leaderboards/results/synth-age/x.json")
    assert status == 1
    assert "changes nothing else" in out


@pytest.mark.parametrize(
    "name",
    [
        "leaderboards/submissions/$(touch executed).zip",
        "leaderboards/submissions/`touch executed`.zip",
        "leaderboards/submissions/a;touch executed;.zip",
        "leaderboards/submissions/-rf.zip",
        "leaderboards/submissions/a\n::error::b.zip",
        "leaderboards/submissions/deeper/a.zip",
        "leaderboards/submissions/a.zip.sh",
    ],
)
def test_awkward_names_are_not_even_asked_about(judge, tmp_path, name):
    status, out, asked = judge(name, "leaderboards/submissions/a.zip")
    assert status == 1
    assert len(asked.splitlines()) == 2
    assert not list(tmp_path.rglob("executed"))
    assert "\n::error" not in out


def test_without_a_package_there_is_nothing_to_do(judge):
    assert judge("docs/other.md")[0] == 0
