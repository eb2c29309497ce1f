import json
import os
import time

import pytest


@pytest.fixture
def folders(call, run_words, own_folders):
    """Keep what a run keeps."""
    assert call(*run_words("flat", "-o", "augmentation=none"))[0] in (0, 1)  # its units may fail
    assert call(*run_words("waiting", "-o", "augmentation=none"))[0] in (0, 1)
    cache = own_folders / "cache"
    return cache / "images", cache / "features"


def test_what_is_kept_is_listed(call, folders):
    status, out, _ = call("cache", "list")
    assert status == 0
    lines = [line.split() for line in out.splitlines()]
    assert [line[0] for line in lines if line and line[0] in ("images", "features")] == [
        "images",
        "features",
        "features",
    ]
    for word in ("FGNET", "flat", "waiting", "plain", "16", "20.0 GB"):
        assert word in out
    assert "images" not in call("cache", "list", "--features")[1].split()
    assert "flat" not in call("cache", "list", "--images")[1]
    assert "waiting" not in call("cache", "list", "fl*")[1]
    ends = {call("cache", "list", *words)[1].splitlines()[-1] for words in ((), ("--images",), ("fl*",))}
    assert len(ends) == 1, "what all features take"
    status, out, _ = call("cache", "list", "--json")
    kept = json.loads(out)["kept"]
    assert {one["about"].get("method") for one in kept} == {None, "flat", "waiting"}
    assert kept[0]["about"]["images"] == 32
    assert all(one["bytes"] > 100 for one in kept)


def test_what_is_kept_is_verified(call, folders):
    images, features = folders
    status, out, _ = call("cache", "verify")
    assert (status, "4 of 4 whole" in out) == (0, True)
    for path in (next(images.glob("*.pixels")), next(features.rglob("*.part"))):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        status, out, _ = call("cache", "verify")
        assert (status, f"damaged: {path}" in out) == (1, True)
    states = [one["state"] for one in json.loads(call("cache", "verify", "--json")[1])]
    assert states.count("damaged") == 2
    next(images.glob("*.json")).unlink()
    status, out, _ = call("cache", "verify", "--images")
    assert (status, "not known" in out) == (0, True)


def test_what_is_kept_is_cleared(call, folders):
    images, features = folders
    old = time.time() - 40 * 86_400
    (flat,) = (path for path in features.glob("*/entry.json") if "flat" in path.read_text())
    os.utime(flat, (old, old))
    assert call("cache", "clear", "--older-than", "50")[0] == 0
    assert flat.exists()
    status, out, _ = call("cache", "clear", "--older-than", "30")
    assert (status, flat.parent.exists(), "flat" in out) == (0, False, True)
    assert call("cache", "clear", "waiting", "--images")[0] == 2
    assert call("cache", "clear", "--features")[0] == 0
    assert not list(features.iterdir())
    assert list(images.glob("*.pixels"))
    assert call("cache", "clear")[0] == 0
    assert not list(images.iterdir())
    status, out, _ = call("cache", "clear")
    assert (status, "nothing" in out) == (0, True)


def test_tables_of_data_are_listed_and_stay_until_they_are_named(call, folders, own_folders):
    (table,) = (own_folders / "cache" / "tables").glob("*.json.gz")
    (line,) = (line for line in call("cache", "list", "--tables")[1].splitlines() if "tables  " in line)
    assert line.split()[1:3] == [table.name[:12], "FGNET"]
    assert json.loads(call("cache", "list", "--tables", "--json")[1])["kept"][0]["about"]["images"] == 32
    assert call("cache", "clear")[0] == 0
    assert table.exists()
    content = table.read_bytes()
    table.write_bytes(content[:-20])
    status, out, _ = call("cache", "verify")
    assert (status, f"damaged: {table}" in out) == (1, True)
    assert call("cache", "clear", "--tables")[0] == 0
    assert not table.exists()


def test_what_cant_be_meant_is_refused(call, folders):
    status, _, err = call("cache", "clear", "nobody")
    assert status == 2
    assert "cache list" in err
    assert call("cache", "list", "--features", "--images")[0] == 2
    assert call("cache", "clear", "--features", "--tables")[0] == 2
    assert call("cache", "clear", "--older-than", "-1")[0] == 2
    assert call("cache", "list")[1].count("features ") >= 2


def test_what_is_kept_is_listed_without_torch(imported, own_folders):
    process, modules = imported("cache", "list")
    assert process.returncode == 0, process.stderr
    assert not modules & {"torch", "pandas"}
