"""The entry point: help, version, errors and their exit statuses, completion."""

import errno
import os
import signal
import time

import pytest

from comface_bench.cli.main import _Root, main
from comface_bench.version import __version__


def test_help_names_every_command(call):
    status, out, _ = call("--help")
    assert status == 0
    for name, command in _Root.deferred.items():
        assert f"  {name} " in out
        assert command.summary in out


def test_help_of_one_command_imports_no_other(imported):
    process, modules = imported("run", "--help")
    assert process.returncode == 0
    assert "--dry-run" in process.stdout
    assert "comface_bench.cli.run" in modules
    assert not modules & {f"comface_bench.cli.{name}" for name in ("doctor", "listing", "data")}


def test_version(call):
    assert call("--version") == (0, f"comface-bench {__version__}\n", "")


@pytest.mark.parametrize(("wrong", "right"), [("rum", "run"), ("docter", "doctor")])
def test_unknown_command_gets_did_you_mean(call, wrong, right):
    status, out, err = call(wrong)
    assert (status, out) == (2, "")
    assert err.splitlines()[0].startswith("error: no command is called")
    assert right in err


def test_unknown_subcommand_gets_did_you_mean(call):
    status, _, err = call("data", "chek")
    assert status == 2
    assert "Did you mean check?" in err
    assert "comface-bench data --help" in err


def test_usage_error_exits_2(call):
    assert call("list", "nonsense")[0] == 2
    assert call("run", "--task", "age")[0] == 2


def test_error_has_message_and_hint_and_no_traceback(call, tmp_path):
    status, out, err = call("data", "check", "age", "--data", tmp_path)
    assert (status, out) == (2, "")
    first, hint = err.splitlines()[:2]
    assert first.startswith("error: task age needs")
    assert "docs/datasets/" in hint
    assert "Traceback" not in err


def test_a_full_disk_has_file_disk_and_remedy_wherever_it_is_noticed(call, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "folder"))

    monkeypatch.setattr("comface_bench.cli.listing.method_registry", full)
    status, out, err = call("list", "methods")
    assert (status, out) == (2, "")
    first, hint = err.splitlines()
    assert first.startswith(f"error: {tmp_path / 'folder'} can't be written: the disk is full: the disk at /")
    assert hint.startswith("Make room")


@pytest.mark.parametrize("place", ["front", "end"])
def test_debug_shows_the_traceback_wherever_it_stands(call, tmp_path, place):
    words = ["data", "check", "age", "--data", tmp_path]
    words = ["--debug", *words] if place == "front" else [*words, "--debug"]
    status, _, err = call(*words)
    assert status == 2
    assert "Traceback" in err
    assert "error: task age needs" in err


def test_unforeseen_error_exits_1_and_asks_for_debug(call, monkeypatch):
    def fail(*_, **__):
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("comface_bench.cli.listing.protocol_names", fail)
    status, _, err = call("list", "protocols")
    assert status == 1
    assert err == "error: ZeroDivisionError: oh\nThis was not foreseen; --debug shows where it happened.\n"


def test_main_returns_the_status_of_an_error(capsys):
    assert main(["show", "nothing-like-it"]) == 2
    assert "error: no method, task, protocol or metric" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("comface-bench run --method ", {"scratch", "comface", "imagenet", "timm/resnet18"}),
        ("comface-bench run --method scratch,im", {"scratch,imagenet"}),
        ("comface-bench run --task synth-w", {"synth-weight"}),
        ("comface-bench run --protocol ", {"probe", "linear", "finetune", "quick", "patient-specific"}),
        ("comface-bench show fine", {"finetune"}),
        ("comface-bench list ", {"methods", "tasks", "protocols", "metrics"}),
        ("comface-bench doc", {"doctor"}),
    ],
)
def test_shell_completion(call, monkeypatch, line, expected):
    monkeypatch.setenv("_COMFACE_BENCH_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
    offered = set(call()[1].split())
    assert expected <= offered
    assert len(offered) == len(expected) or line.endswith("--method ")


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"]
)
def test_whoever_interrupts_a_command_is_told_how_to_go_on(call, monkeypatch, number, status):
    def interrupt(*_, **__):
        os.kill(os.getpid(), number)
        time.sleep(60)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("comface_bench.cli.listing.method_registry", interrupt)
    found, out, err = call("list", "methods")
    assert (found, out) == (status, "")
    assert err == "error: interrupted; what is finished is kept\nThe same command goes on from there.\n"
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_interruption_while_words_are_read_is_told_too(call, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("typer.core.TyperGroup.make_context", interrupt)
    status, _, err = call("list", "methods")
    assert status == 130
    assert "The same command goes on" in err


def test_rendering_that_is_interrupted_does_not_claim_to_go_on(call, tmp_path, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("comface_bench.comface.synthesis.synthfaces.render_synthfaces", interrupt)
    status, _, err = call("synth", "render", "--out", tmp_path / "faces")
    assert status == 130
    assert "isn't complete\nRemove it" in err
