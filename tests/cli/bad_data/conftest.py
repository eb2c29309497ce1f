"""Clean miniatures of all data sets, and what must hold when one of them is spoiled.

Each has four subjects, enough for `split=balanced-2`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from types import SimpleNamespace

import pytest

UNITS = (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)
TASKS = {
    "DISFA": "disfa-au12",
    "DISFAPlus": "disfaplus-au12",
    "UNBC": "unbc-pain",
    "FGNET": "age",
    "Edema-A": "edema-a",
    "table": "csv:{root}/faces.csv",
}
FGNET_NAMES = [f"{subject:03d}A{age}.JPG" for subject in (1, 2, 3, 4) for age in ("02", "09", "30a", "30b")]


def make_disfa_plus(root, draw):
    for number, subject in enumerate(("SN001", "SN003", "SN004", "SN010")):
        labels = root / "Labels" / subject / "A1"
        labels.mkdir(parents=True)
        names = [f"{image:03d}.jpg" for image in (1, 2, 3)]
        for image, name in enumerate(names):
            draw(root / "Images" / subject / "A1" / name, seed=10 * number + image)
        for unit in UNITS:
            rows = [f"{name}     {(number + unit + image) % 6}" for image, name in enumerate(names)]
            (labels / f"AU{unit}.txt").write_text("\n".join([f"AU{unit}", "image     intensity", *rows, ""]))


def make_unbc(root, draw):
    for number, subject in enumerate(("042-ll042", "043-jh043", "047-jl047", "048-aa048")):
        for frame in (1, 2, 3):
            name = f"{subject[4:]}t1aaaff{frame:03d}"
            place = f"{subject}/{subject[4:]}t1aaaff/{name}"
            draw(root / "Images" / f"{place}.png", seed=10 * number + frame)
            path = root / "Frame_Labels" / "PSPI" / f"{place}_facs.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"   {number + frame:.7e}\n")


def make_table(root, draw):
    rows = ["image,subject,session,phase,pain"]
    for number, subject in enumerate(("P1", "P2", "P3", "P4")):
        for image, phase in enumerate(("pre", "post", "post")):
            draw(root / subject / f"{image}.png", seed=10 * number + image)
            rows.append(f"{subject}/{image}.png,{subject},day {image},{phase},{number + 2 * image}")
    (root / "faces.csv").write_text("\n".join(rows) + "\n")


@pytest.fixture(scope="session")
def miniatures(tmp_path_factory, draw_image, make_disfa, make_edema, make_fgnet):
    """One folder with a clean copy of every data set."""
    root = tmp_path_factory.mktemp("miniatures")
    make_disfa(root / "DISFA", subjects=("SN001", "SN002", "SN003", "SN010"))
    make_disfa_plus(root / "DISFAPlus", draw_image)
    make_unbc(root / "UNBC", draw_image)
    make_fgnet(root / "FGNET", FGNET_NAMES)
    make_edema(root / "Edema-A", patients=("P1", "P2", "P3", "P4"))
    make_table(root / "table", draw_image)
    return root


@pytest.fixture
def lay_out(miniatures, tmp_path, monkeypatch):
    """Copy a clean miniature and work beside it; returns its folder: `lay_out("DISFA")`."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")

    def copy(name):
        return shutil.copytree(miniatures / name, tmp_path / "data" / name)

    return copy


@pytest.fixture
def check(call, tmp_path, own_folders):
    """Check a data set as text and in JSON, and make sure that nothing is written anywhere by that.

    `check(root, *words)`; returns status, out, err, and the JSON document (None if nothing was printed).
    A word `split=…` takes the place of `split=balanced-2`.
    """

    def run(root, *words, task=None):
        options = [] if any("split=" in str(word) for word in words) else ["-o", "split=balanced-2"]
        name = (task or TASKS[root.name]).format(root=root)
        command = ("data", "check", name, "--data", root.parent, *options, *words)
        before = [listing(folder) for folder in (tmp_path, own_folders)]
        status, out, err = call(*command)
        again, document, err_again = call(*command, "--json")
        assert [listing(folder) for folder in (tmp_path, own_folders)] == before
        assert again == status
        found = json.loads(document) if document else None
        if found is None:
            assert err_again == err
        assert "Traceback" not in out + err + err_again
        return SimpleNamespace(status=status, out=out, err=err, found=found)

    return run


def listing(folder):
    """Return every entry below a folder with its size, time of change, and contents."""
    entries = {}
    for path in sorted(folder.rglob("*")):
        facts = path.lstat()
        if path.is_symlink():
            content = str(path.readlink())
        else:
            content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        # A folder's time of change tells of files that came and went.
        entries[str(path)] = (facts.st_mode, facts.st_size, facts.st_mtime_ns, content)
    return entries


@pytest.fixture(scope="session")
def seen_clean():
    """Findings of `data check` in the clean sets, by name."""
    return {}


@pytest.fixture
def check_clean(check, seen_clean):
    """Check a data set that nobody has spoiled yet, the first of its name; the others are alike."""

    def run(root):
        if root.name not in seen_clean:
            seen = check(root)
            assert (seen.status, seen.err) == (0, "")
            seen_clean[root.name] = seen.found
        return seen_clean[root.name]

    return run


@pytest.fixture
def refuse(check):
    """Check a spoiled data set: exactly these problems (where, message, remedy), in text and JSON, exit 2.

    `{root}` in them stands for the data set's folder.
    """

    def run(root, problems, *words):
        problems = [tuple(text.replace("{root}", str(root)) for text in problem) for problem in problems]
        seen = check(root, *words)
        assert [(one["where"], one["message"], one["remedy"]) for one in seen.found["problems"]] == problems
        assert seen.found["ok"] is False
        assert seen.status == 2
        lines = [f"{where}: {message}" if where else message for where, message, _ in problems]
        heading = f"error: {len(problems)} problem{'' if len(problems) == 1 else 's'}"
        remedies = [f"  {line}" for _, _, remedy in problems for line in remedy.splitlines()]
        if len(problems) == 1:
            remedy = f"  {problems[0][2]}\n" if problems[0][2] else ""
            assert seen.err == f"\n{heading}\n{lines[0]}\n{remedy}"
        else:
            printed = seen.err.splitlines()
            assert heading in printed
            assert [line for line in printed if line in lines] == lines
            assert set(remedies) <= set(printed)

    return run


@pytest.fixture
def stop(check):
    """Check data that can't be read at all, or an impossible request: this one message and hint, exit 2."""

    def run(root, message, hint, *words, task=None):
        seen = check(root, *words, task=task)
        reported = f"error: {message}\n{hint}\n".replace("{root}", str(root))
        assert (seen.status, seen.out, seen.err) == (2, "", reported)
        assert seen.found is None

    return run
