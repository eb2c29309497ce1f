"""Facts of a machine that are recorded, and those that aren't."""

import getpass
import json
import platform
import subprocess
import sys
from types import SimpleNamespace

from comface_bench.results import environment
from comface_bench.results.environment import describe_environment


def test_versions_without_importing_anything():
    code = (
        "import json, sys\n"
        "from comface_bench.results.environment import describe_environment\n"
        "print(json.dumps([describe_environment(), sorted({'torch', 'numpy', 'scipy'} & set(sys.modules))]))"
    )
    facts, heavy = json.loads(subprocess.check_output([sys.executable, "-c", code]))
    assert heavy == []
    assert facts["versions"]["python"] == platform.python_version()
    assert facts["versions"]["numpy"]
    assert facts["torch"] is None
    assert facts["cores"] >= 1


def test_what_torch_knows_once_it_is_imported(monkeypatch):
    torch = SimpleNamespace(
        cuda=SimpleNamespace(is_available=lambda: True, get_device_name=lambda: "a GPU"),
        version=SimpleNamespace(cuda="13.0"),
        backends=SimpleNamespace(cudnn=SimpleNamespace(version=lambda: 91000)),
        get_num_threads=lambda: 2,
    )
    monkeypatch.setitem(sys.modules, "torch", torch)
    expected = {"threads": 2, "cuda": "13.0", "cudnn": 91000, "gpu": "a GPU"}
    assert describe_environment()["torch"] == expected


def test_no_host_no_user_no_path():
    text = json.dumps(describe_environment())
    assert platform.node() not in text or len(platform.node()) < 4
    assert f'"{getpass.getuser()}"' not in text
    assert "/home/" not in text
    assert sys.prefix not in text


def test_a_commit_only_where_the_package_is_tracked(tmp_path, monkeypatch):
    def git(*arguments):
        identity = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "init.defaultBranch=main"]
        subprocess.run(["git", "-C", tmp_path, *identity, *arguments], check=True, capture_output=True)

    file = tmp_path / "environment.py"
    file.write_text("1")
    monkeypatch.setattr(environment, "__file__", str(file))
    assert describe_environment()["git"] is None
    git("init")
    assert describe_environment()["git"] is None, "a copy inside another checkout"
    git("add", "environment.py")
    git("commit", "-m", "m")
    clean = describe_environment()["git"]
    assert len(clean["commit"]) == 40
    assert clean["dirty"] is False
    file.write_text("2")
    assert describe_environment()["git"] == {**clean, "dirty": True}
