"""Completion of `-o`, as bash, which breaks words at `=`, and other shells ask for it."""

import pytest

from comface_bench.cli.completion import find_values


@pytest.fixture
def in_bash(call, monkeypatch):
    def complete(*words):
        """Complete the last word of a line that bash has broken at `=`."""
        broken = " ".join(words).replace("=", " = ").split(" ")
        place = len(broken) - 1
        if broken[-2:] == ["=", ""]:  # With nothing behind it, `=` itself is the present word.
            place -= 1
        monkeypatch.setenv("_COMFACE_BENCH_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", " ".join(broken))
        monkeypatch.setenv("COMP_CWORD", str(place))
        return call()[1].split()

    return complete


def in_zsh(call, monkeypatch, line):
    monkeypatch.setenv("_COMFACE_BENCH_COMPLETE", "complete_zsh")
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", line)
    return call()[1]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("-o los", ["loss=l1", "loss=l2", "loss=smooth-l1"]),
        ("-o head", ["head=", "head_start="]),
        ("-o loss=", ["l1", "l2", "smooth-l1"]),
        ("-o loss=s", ["smooth-l1"]),
        ("-o check", ["checkpoint="]),
        ("--option loss=s", ["smooth-l1"]),
        ("-o image_size=64 -o loss=s", ["smooth-l1"]),
        ("--protocol quick -o epo", ["epochs=6"]),
        ("--protocol probe -o epo", []),
        ("--method scratch -o backbone=resnet5", ["resnet50"]),
        ("--method scratch+backbone=resnet18 --protocol probe -o sca", ["scale=shared", "scale=spread"]),
        ("--method farl -o backb", []),
        ("--task synth-weight -o pairs=pre-post-", ["pre-post-same-day"]),
        ("--task synth-age -o split=b", ["balanced-4"]),
        ("--task synth-ag", ["synth-age"]),
    ],
)
def test_bash_gets_what_it_inserts(in_bash, words, offered):
    assert in_bash("comface-bench", "run", *words.split(" ")) == offered


def test_bash_that_does_not_break_words_at_the_sign_gets_whole_ones(call, monkeypatch):
    monkeypatch.setenv("_COMFACE_BENCH_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "comface-bench run -o split=le")
    monkeypatch.setenv("COMP_CWORD", "3")
    assert call()[1].split() == ["split=leave-one-out"]


def test_other_shells_get_whole_words(call, monkeypatch):
    assert '"loss=smooth-l1"' in in_zsh(call, monkeypatch, "comface-bench run -o loss=s")
    assert '"split=leave-one-out"' in in_zsh(call, monkeypatch, "comface-bench sweep -o split=le")


def test_without_a_value_all_keys_are_offered(in_bash):
    found = in_bash("comface-bench", "run", "-o", "")
    assert found == [f"{key}=" for key in find_values(None, None, None)]
    assert {"image_size=", "split=", "preprocess=", "backbone="} <= set(found)


def test_every_value_that_is_offered_is_one_that_is_taken():
    from comface_bench.core.names import METHOD_OPTIONS
    from comface_bench.core.protocol import override_keys, parse_override, protocol_registry

    for entry in protocol_registry(plugins=False).declared():
        for key, values in find_values(entry.card.name, "farl", "age").items():
            for value in values if key in override_keys(entry.card.settings) else ():
                parse_override(key, value, entry.card.settings)
    assert find_values("probe", "farl", "age")["preprocess"] == list(METHOD_OPTIONS["preprocess"])


def test_networks_of_a_family_are_offered_once_it_is_begun(in_bash):
    assert {"timm/resnet18", "timm/resnet18d"} == set(
        in_bash("comface-bench", "run", "--method", "timm/resnet18")
    )
    offered = in_bash("comface-bench", "run", "--method", "scratch,timm/resnet18")
    assert set(offered) == {"scratch,timm/resnet18", "scratch,timm/resnet18d"}
