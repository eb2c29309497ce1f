"""Fetching over HTTP from a server on this machine that misbehaves in every way that servers do."""

from __future__ import annotations

import contextlib
import http.server
import os
import random
import signal
import subprocess
import sys
import threading
import time

import pytest

from comface_bench.core.errors import StorageError, UsageError, WeightsFormatError, WeightsMissingError
from comface_bench.weights.fetch import fetch_file

CONTENT = random.Random(1).randbytes(700_000)
OTHER = random.Random(2).randbytes(700_000)
TAG = '"v1"'


class Server(http.server.ThreadingHTTPServer):
    """Serves one file; `plan` says what goes wrong in each answer, in order; later answers are right.

    Each step is a set of words and values: `cut=N` sends N bytes of what the answer promises.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.plan, self.seen = [], []
        self.content, self.tag, self.modified, self.ranges = CONTENT, TAG, "", True
        self.url = f"http://127.0.0.1:{self.server_port}/net.pth"

    def handle_error(self, request, client_address):
        pass


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server = self.server
        asked = {key: self.headers.get(key) for key in ("Range", "If-Range")}
        server.seen.append({**asked, "path": self.path})
        step = server.plan.pop(0) if server.plan else {}
        if "then" in step:
            step["then"]()
        if "status" in step:
            self.answer(step["status"], step.get("headers", {}), step.get("body", b"sorry"))
            return
        content = server.content
        mark = server.tag or server.modified
        headers = {"Content-Type": step.get("type", "application/octet-stream")}
        headers |= {"ETag": server.tag} if server.tag else {}
        headers |= {"Last-Modified": server.modified} if server.modified else {}
        headers |= step.get("headers", {})
        status, body = 200, content
        if asked["Range"] and server.ranges and asked["If-Range"] in (None, mark):
            begun = int(asked["Range"].removeprefix("bytes=").removesuffix("-"))
            if begun >= len(content):
                self.answer(416, {"Content-Range": f"bytes */{len(content)}"}, b"")
                return
            status, body = 206, content[begun:]
            begun += step.get("shift", 0)
            headers["Content-Range"] = f"bytes {begun}-{len(content) - 1}/{len(content)}"
        body = step.get("body", body)
        self.answer(status, headers, body, step.get("length", len(body)), step.get("cut"), step.get("pause"))

    def answer(self, status, headers, body, length=None, cut=None, pause=None):
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body[:cut])
        self.wfile.flush()
        if pause:
            time.sleep(pause)
        self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def target(tmp_path):
    return tmp_path / "method" / "net.pth"


def get(server, target, check=lambda path: None, **more):
    fetch_file(server.url, target, check, waits=more.pop("waits", (0.0, 0.0)), **more)


def names(target):
    return sorted(path.name for path in target.parent.iterdir())


def ranges(server):
    return [seen["Range"] for seen in server.seen]


def test_a_file_comes_whole_and_alone(server, target):
    told, checked = [], []
    get(
        server,
        target,
        lambda path: checked.append((path.name, path.read_bytes())),
        progress=lambda *n: told.append(n),
    )
    assert target.read_bytes() == CONTENT
    assert names(target) == ["net.pth"]
    assert checked == [("net.pth.part", CONTENT)]
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_a_dropped_connection_is_resumed_where_it_broke(server, target):
    server.plan = [{"cut": 100_000}, {"cut": 150_000}]
    get(server, target)
    assert target.read_bytes() == CONTENT
    assert ranges(server) == [None, "bytes=100000-", "bytes=250000-"]
    assert [seen["If-Range"] for seen in server.seen] == [None, TAG, TAG]
    assert names(target) == ["net.pth"]


def test_progress_lets_it_try_on_and_none_ends_it(server, target):
    server.plan = [{"cut": 1000}] * 30
    get(server, target)
    assert target.read_bytes() == CONTENT
    assert len(server.seen) == 31


def test_it_gives_up_after_the_waits_and_keeps_what_came(server, target, monkeypatch):
    slept = []
    monkeypatch.setattr(time, "sleep", slept.append)
    server.plan = [{"cut": 5000}, *[{"cut": 0}] * 3]
    with pytest.raises(WeightsMissingError, match=r"broke after .* 3 times in a row") as caught:
        get(server, target, waits=(1.0, 2.0))
    assert slept == [0.0, 1.0, 2.0]
    assert "kept" in caught.value.hint
    assert names(target) == ["net.pth.part", "net.pth.part.tag"]
    assert (target.parent / "net.pth.part").read_bytes() == CONTENT[:5000]
    get(server, target)
    assert ranges(server)[-1] == "bytes=5000-"
    assert target.read_bytes() == CONTENT


def test_a_length_that_is_too_long_never_passes(server, target):
    server.plan = [{"length": len(CONTENT) + 10}] * 9
    server.ranges = False
    with pytest.raises(WeightsMissingError, match=r"broke after 700,000 of 700,010 bytes, 3 times"):
        get(server, target)
    assert not target.exists()


def test_a_length_that_is_too_short_is_left_to_the_check(server, target):
    server.plan = [{"length": 600_000}]

    def check(path):
        if path.read_bytes() != CONTENT:
            raise WeightsFormatError("truncated")

    with pytest.raises(WeightsFormatError, match="truncated"):
        get(server, target, check)
    assert names(target) == []
    get(server, target, check)
    assert target.read_bytes() == CONTENT
    assert ranges(server) == [None, None]


@pytest.mark.parametrize(
    "step",
    [
        {"type": "text/html; charset=utf-8", "body": b"x" * 200_000},
        {"body": b"<!DOCTYPE html><html>log in</html>" + b" " * 200_000},
        {"body": b"\xef\xbb\xbf\n  <HTML>" + b" " * 200_000},
        {"body": b"<?xml version='1.0'?><Error/>" + b" " * 200_000},
    ],
    ids=["type", "doctype", "mark", "xml"],
)
def test_a_web_page_is_refused(server, target, step):
    server.plan = [step]
    with pytest.raises(WeightsFormatError, match="a web page instead of the file"):
        get(server, target)
    assert names(target) == []
    assert len(server.seen) == 1


def test_a_page_after_a_break_is_refused_too(server, target):
    server.plan = [{"cut": 1000}, {"type": "text/html", "body": b"<html>" + b"x" * 200_000}]
    with pytest.raises(WeightsFormatError, match="a web page"):
        get(server, target)
    assert not target.exists()


def test_something_too_small_is_refused(server, target):
    server.content = b'{"error": "gone"}'
    with pytest.raises(WeightsFormatError, match="sent 17 bytes"):
        get(server, target)
    assert names(target) == []


def test_a_server_without_ranges_starts_over(server, target):
    server.ranges = False
    server.plan = [{"cut": 300_000}]
    get(server, target)
    assert ranges(server) == [None, "bytes=300000-"]
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("tags", [('"v1"', '"v2"', ""), ("", "", "modified")], ids=["etag", "date"])
def test_a_file_that_changes_between_two_tries_is_not_mixed(server, target, tags):
    server.tag, after, kind = tags
    server.modified = "Mon, 01 Jan 2024 00:00:00 GMT" if kind else ""

    def change():
        server.content, server.tag = OTHER, after
        server.modified = "Tue, 02 Jan 2024 00:00:00 GMT" if kind else ""

    server.plan = [{"cut": 300_000}, {"then": change}]
    get(server, target)
    assert target.read_bytes() == OTHER
    assert ranges(server) == [None, "bytes=300000-"]


def test_a_server_that_ignores_the_condition_is_noticed(server, target):
    def change():
        server.content, server.tag = OTHER, '"v2"'

    server.plan = [{"cut": 300_000}, {"then": change, "cut": 0}]
    # It answers 206 for the new file, although only the old one was asked for.
    ignoring = "If-Range"
    original = Handler.do_GET

    def do_get(self):
        if ignoring in self.headers:
            del self.headers[ignoring]
        original(self)

    Handler.do_GET = do_get
    try:
        get(server, target)
    finally:
        Handler.do_GET = original
    assert target.read_bytes() == OTHER


def test_a_part_of_another_place_is_refused(server, target):
    server.plan = [{"cut": 300_000}, {"shift": 7}]
    get(server, target)
    assert target.read_bytes() == CONTENT
    assert ranges(server) == [None, "bytes=300000-", None]


@pytest.mark.parametrize("tag", ["", 'W/"weak"'])
def test_without_a_mark_of_its_version_nothing_is_resumed(server, target, tag):
    server.tag = tag
    server.plan = [{"cut": 300_000}]
    get(server, target)
    assert ranges(server) == [None, None]
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_reported_at_once(server, target, status):
    server.plan = [{"status": status}] * 5
    with pytest.raises(WeightsMissingError, match=f"the server answers {status}") as caught:
        get(server, target)
    assert server.url in caught.value.message
    assert len(server.seen) == 1
    assert names(target) == []


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_in_trouble_is_asked_again(server, target, status):
    server.plan = [{"status": status}] * 2
    get(server, target)
    assert target.read_bytes() == CONTENT
    server.plan = [{"status": status}] * 9
    with pytest.raises(WeightsMissingError, match=f"answers {status}.*3 times in a row"):
        get(server, target.with_name("other.pth"))


def test_redirects_are_followed(server, target):
    server.plan = [{"status": 302, "headers": {"Location": "/moved/net.pth"}}, {"cut": 1000}]
    get(server, target)
    assert target.read_bytes() == CONTENT
    assert [seen["path"] for seen in server.seen] == ["/net.pth", "/moved/net.pth", "/net.pth"]


@pytest.mark.parametrize("place", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x", "gopher://x/y"])
def test_redirects_elsewhere_are_not(server, target, place):
    server.plan = [{"status": 302, "headers": {"Location": place}}] * 5
    with pytest.raises((UsageError, WeightsMissingError)):
        get(server, target)
    assert len(server.seen) == 1
    assert not target.exists()


def test_redirects_without_end_are_not(server, target):
    server.plan = [{"status": 302, "headers": {"Location": "/net.pth"}}] * 50
    with pytest.raises(WeightsMissingError, match="302"):
        get(server, target)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/x", "/etc/passwd", "", "http:///x"])
def test_only_http_is_fetched(tmp_path, url):
    with pytest.raises(UsageError, match="no address of http"):
        fetch_file(url, tmp_path / "x", lambda path: None)


def test_compressed_answers_are_refused(server, target):
    server.plan = [{"headers": {"Content-Encoding": "gzip"}}]
    with pytest.raises(WeightsMissingError, match="encoding"):
        get(server, target)


def test_nobody_there(tmp_path, server):
    server.url = "http://127.0.0.1:1/net.pth"
    with pytest.raises(WeightsMissingError, match=r"127\.0\.0\.1:1.*refused, 3 times"):
        get(server, tmp_path / "net.pth")
    assert names(tmp_path / "net.pth") == []


def test_all_of_it_had_come_already(server, target):
    target.parent.mkdir()
    (target.parent / "net.pth.part").write_bytes(CONTENT)
    (target.parent / "net.pth.part.tag").write_text(TAG)
    get(server, target)
    assert target.read_bytes() == CONTENT
    assert ranges(server) == [f"bytes={len(CONTENT)}-"]


def test_more_than_all_of_it_starts_over(server, target):
    target.parent.mkdir()
    (target.parent / "net.pth.part").write_bytes(OTHER + b"more")
    (target.parent / "net.pth.part.tag").write_text(TAG)
    get(server, target)
    assert target.read_bytes() == CONTENT


def test_a_full_disk_is_no_broken_connection(server, target, monkeypatch):
    from comface_bench.weights.fetch import PartialFile

    class Full:
        def write(self, data):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(PartialFile, "open", lambda *_: contextlib.nullcontext(Full()))
    with pytest.raises(StorageError, match=r"\.part can't be written: the disk is full"):
        get(server, target)
    assert len(server.seen) == 1


def test_two_processes_do_not_mix(server, target):
    import fcntl

    target.parent.mkdir()
    with (target.parent / "net.pth.part.lock").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match=r"another process is fetching net\.pth"):
            get(server, target)
        assert server.seen == []
    get(server, target)
    assert target.read_bytes() == CONTENT
    assert names(target) == ["net.pth"]


def test_a_killed_process_leaves_a_part_and_the_next_one_completes_it(server, target):
    server.plan = [{"cut": 400_000, "pause": 5}]
    code = (
        "import sys, pathlib; from comface_bench.weights.fetch import fetch_file;"
        f"fetch_file({server.url!r}, pathlib.Path({str(target)!r}), lambda path: None)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], env=dict(os.environ))
    part, deadline = target.parent / "net.pth.part", time.monotonic() + 20
    while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert names(target) == ["net.pth.part", "net.pth.part.lock", "net.pth.part.tag"]
    begun = part.stat().st_size
    assert 0 < begun <= 400_000
    assert part.read_bytes() == CONTENT[:begun]
    get(server, target)
    assert target.read_bytes() == CONTENT
    assert ranges(server) == [None, f"bytes={begun}-"]
    assert names(target) == ["net.pth"]
