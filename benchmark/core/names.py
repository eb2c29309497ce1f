"""Names and their options: `scratch+backbone=resnet18`, `finetune+image_size=112`, `age+split=leave-one-out`.

An option that differs from the default becomes part of the name, so that results of different
settings lie in different files and never share a row. `-o key=value` sets an option of the protocol, the
methods or the tasks, whichever takes it.

Names that people give to people and sessions are compared here, too: `find_spellings`.
"""

from __future__ import annotations

import difflib
import fnmatch
import itertools
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping

from comface_bench.core.card import MethodCard, TaskCard
from comface_bench.core.errors import UnknownNameError, UsageError


def parse_name(text: str) -> tuple[str, dict[str, str]]:
    """Split `base+key=value+key=value` into its base and options.

    Raises:
        UsageError: An option lacks its `=`, or stands twice.
    """
    base, *parts = text.split("+")
    options: dict[str, str] = {}
    for part in parts:
        key, equals, value = part.partition("=")
        if not (key and equals and value):
            hint = "Write options as NAME+key=value, or with -o key=value."
            raise UsageError(
                f"{text!r}: {part!r} is no option", f"{hint}\n{_NO_SIGN}" if ":" in base else hint
            )
        if key in options:
            raise UsageError(f"{text!r} gives {key} twice")
        options[key] = value
    return base, options


def format_name(base: str, options: Mapping[str, object]) -> str:
    """Join a base and its options, sorted by key; the inverse of `parse_name`."""
    return "+".join([base, *(f"{key}={options[key]}" for key in sorted(options))])


_NO_SIGN = (
    "A path in a name can't hold `,` or `+`, which part names and options: rename what is called so, or"
    " change into its folder and name the file alone."
)

_DEVICE = re.compile(r"auto|(cpu|cuda)(:(0|[1-9][0-9]?))?")  # torch counts no further than 127


def check_device(name: str) -> None:
    """Check that a text can name a device, before the work and without torch.

    Raises:
        UsageError: It can't.
    """
    if not _DEVICE.fullmatch(name):
        raise UsageError(f"no device is called {name!r}", "Use auto, cpu, cuda or cuda:N.")


def is_pattern(text: str) -> bool:
    """Return whether a name holds a wildcard of the shell (`*`, `?` or `[`)."""
    return any(sign in text for sign in "*?[")


def split_list(texts: Iterable[str]) -> list[str]:
    """Split comma lists, as in `--method a,b --method c`, into single names in order, without repeats."""
    names = [name.strip() for text in texts for name in text.split(",")]
    return list(dict.fromkeys(name for name in names if name))


def match_names(pattern: str, known: Iterable[str], kind: str) -> list[str]:
    """Return the known names that a pattern matches, in their order.

    Raises:
        UnknownNameError: None matches.
    """
    known = list(known)
    found = [name for name in known if fnmatch.fnmatchcase(name, pattern)]
    if not found:
        near = did_you_mean(pattern.strip("*?"), known)
        raise UnknownNameError(
            f"no {kind} matches {pattern!r}.{near}", f"See them all: comface-bench list {kind}s"
        )
    return found


def choose_names(wanted: str | Iterable[str] | None, known: Iterable[str], kind: str) -> list[str]:
    """Return those of some records' names that names and patterns stand for, in their order.

    Args:
        wanted: A name, a pattern, several with commas between them, or a list of such; None for all.
        known: The records' names.
        kind: "method", "task" or "protocol", for messages.

    Raises:
        UnknownNameError: A name or pattern stands for none.
    """
    known = list(dict.fromkeys(known))
    if wanted is None:
        return known
    chosen: set[str] = set()
    for name in split_list([wanted] if isinstance(wanted, str) else wanted):
        # A name may hold what is else a sign of patterns.
        found = [name] if name in known else [one for one in known if fnmatch.fnmatchcase(one, name)]
        if not found:
            raise UnknownNameError(
                f"these records are of no {kind} called {name!r}.{did_you_mean(name, known)}",
                f"They are of {', '.join(known) or 'none'}.",
            )
        chosen.update(found)
    return [name for name in known if name in chosen]


def unknown_name(name: str, known: Iterable[str], kind: str) -> UnknownNameError:
    """Make the error for a name that isn't known, with the nearest known ones."""
    known = list(known)
    hint = f"See them all: comface-bench list {kind}s"
    if re.search(r"[./]", name) and (of_file := [one for one in known if one.endswith(":FILE")]):
        # Such as the rest of a path with a comma in it, of which a list of names was made.
        hint = f"A file is named {of_file[0]}. {_NO_SIGN}\n{hint}"
    return UnknownNameError(f"no {kind} is called {name!r}.{did_you_mean(name, known)}", hint)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a sentence that asks for the nearest known names, in any case; empty if none is near."""
    folded = {one.casefold(): one for one in known}
    if name.casefold() in folded:
        near = [name.casefold()]
    else:
        near = difflib.get_close_matches(name.casefold(), list(folded), n=3, cutoff=0.5)
    return f" Did you mean {' or '.join(folded[one] for one in near)}?" if near else ""


TASK_OPTIONS: Mapping[str, tuple[str, ...]] = {
    "split": (),
    "allow": ("none", "alike-subjects", "equal-images", "alike-subjects-and-equal-images"),
    "train_fraction": (),
}
"""Options of every task. Each task has a default `split` of its own. `allow` confirms what `data check` takes
for a mistake: two names that seem to be one person's, or one picture that stands twice. `train_fraction` is
the part of each fold's training people that is left; without it, all of them are."""

METHOD_OPTIONS: Mapping[str, tuple[str, ...]] = {"preprocess": ("native", "imagenet")}
"""Options of every method. `preprocess=imagenet` feeds RGB with ImageNet's mean and standard deviation,
whatever the authors did, to measure how much of a result hangs on it."""


def parse_options(texts: Iterable[str]) -> dict[str, str]:
    """Turn `key=value` texts into a mapping.

    Raises:
        UsageError: A text has no `=`, or a key stands twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (key and equals and value):
            raise UsageError(f"-o {text}: expected key=value")
        if key in found:
            raise UsageError(f"-o gives {key} twice")
        found[key] = value
    return found


def divide_options(
    options: Mapping[str, str],
    protocol_takes: Collection[str],
    cards: Iterable[MethodCard],
    tasks: Iterable[TaskCard] = (),
) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """Divide options into those of the protocol, of methods and of tasks.

    Args:
        options: As the user gave them.
        protocol_takes: Options that the protocol takes.
        cards: Methods that will run; an option that one of them takes is a method's.
        tasks: Tasks that will run; they take `split` and their own options.

    Raises:
        UsageError: Nobody takes an option; the message lists what is taken.
    """
    methods_take = {*METHOD_OPTIONS, *(key for card in cards for key in card.options)}
    tasks_take = list(dict.fromkeys([*TASK_OPTIONS, *(key for card in tasks for key in card.options)]))
    protocol: dict[str, str] = {}
    method: dict[str, str] = {}
    task: dict[str, str] = {}
    for key, value in options.items():
        if key in protocol_takes:
            protocol[key] = value
        elif key in methods_take:
            method[key] = value
        elif key in tasks_take:
            task[key] = value
        else:
            known = [*protocol_takes, *sorted(methods_take), *tasks_take]
            raise UsageError(
                f"-o {key}={value}: nothing takes {key!r}.{did_you_mean(key, known)}",
                f"The protocol takes {', '.join(protocol_takes)}"
                f"\nthese methods take {', '.join(sorted(methods_take)) or 'none'}"
                f"\nthe tasks take {', '.join(tasks_take)}",
            )
    return protocol, method, task


def method_options(card: MethodCard, given: Mapping[str, str]) -> dict[str, str]:
    """Complete a method's options by its defaults, and check them.

    Raises:
        UsageError: The method doesn't take an option, or not that value.
    """
    return _complete(f"method {card.name}", {**METHOD_OPTIONS, **card.options}, given)


def task_options(card: TaskCard, given: Mapping[str, str]) -> dict[str, str]:
    """Complete a task's options, `split` among them, by its defaults, and check them.

    Any split can be asked for: a rule takes a number, and a file a path. `allow` is left out where it allows
    nothing, and `train_fraction` where it leaves out nobody, so that the keys of earlier results stay as they
    are.

    Raises:
        UsageError: The task doesn't take an option, or not that value.
    """
    complete = _complete(f"task {card.name}", {**TASK_OPTIONS, **card.options}, given)
    if complete["allow"] == TASK_OPTIONS["allow"][0]:
        del complete["allow"]
    if "train_fraction" in complete:
        complete["train_fraction"] = _fraction_text(complete["train_fraction"])
        if complete["train_fraction"] == "1":
            del complete["train_fraction"]
    return {"split": card.splits[0], **complete}


def _fraction_text(text: str) -> str:
    """Return the one spelling of a fraction of the training people, so that no two names mean the same."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise UsageError(
            f"train_fraction={text}: not a number above 0, 1 at most",
            "A quarter of each fold's training people: -o train_fraction=0.25",
        )
    return f"{value!r}".removesuffix(".0")


def differing(card: MethodCard, chosen: Mapping[str, str]) -> dict[str, str]:
    """Return the options that differ from a method's defaults."""
    return _differing({**METHOD_OPTIONS, **card.options}, chosen)


def differing_task_options(card: TaskCard, chosen: Mapping[str, str]) -> dict[str, str]:
    """Return the options that differ from a task's defaults."""
    return _differing({**TASK_OPTIONS, **card.options, "split": (card.splits[0],)}, chosen)


def _complete(what: str, options: Mapping[str, tuple[str, ...]], given: Mapping[str, str]) -> dict[str, str]:
    for key, value in given.items():
        if key not in options:
            takes = ", ".join(sorted(options)) or "none"
            raise UsageError(
                f"{what} takes no option {key!r}; it takes: {takes}.{did_you_mean(key, options)}"
            )
        if (accepted := options[key]) and value not in accepted:
            raise UsageError(
                f"{what}: {key}={value} isn't one of {', '.join(accepted)}.{did_you_mean(value, accepted)}"
            )
    defaults = {key: accepted[0] for key, accepted in options.items() if accepted}
    return defaults | dict(given)


def _differing(options: Mapping[str, tuple[str, ...]], chosen: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in chosen.items() if not options[key] or value != options[key][0]}


_SAME_LETTERS = str.maketrans(
    "авекмнорстухіјѕαβεζηικμνορτυχ",
    "abekmhopctyxijsabezhikmnoptyx",
)
"""Letters of other alphabets whose capitals look like Latin ones."""
_TOKEN = re.compile(r"\d+|[^\W\d_]+|[^\w\s]")
_SEPARATORS = frozenset("-.,:;/|'\"`´()[]{}‐‑‒–—―−・·•")
_WHOLE = re.compile(r"(\d+)[.,]0*")
_GROUPED = re.compile(r"\d{1,3}(?:,\d{3})+")
_SCIENTIFIC = re.compile(r"\d(?:[.,]\d+)?e\+\d{1,2}")


def spelling_key(name: str) -> str:
    """Return a text that all spellings of one name have in common.

    Case, Unicode forms, invisible signs, blanks, separators, leading zeros and the number formats of
    spreadsheets make no difference: P-01, p_1 and Ｐ０１ are one name, and so are 1, 01 and 1.0. A separator
    between two numbers does: 1-11 isn't 11-1. Accents do, too: they tell names apart in many languages.
    """
    text = unicodedata.normalize("NFKC", name).casefold().translate(_SAME_LETTERS)
    text = "".join(sign for sign in text if unicodedata.category(sign) != "Cf").strip()
    if _GROUPED.fullmatch(text):
        text = text.replace(",", "")
    elif match := _WHOLE.fullmatch(text):
        text = match[1]
    elif _SCIENTIFIC.fullmatch(text):
        text = f"{float(text.replace(',', '.')):.0f}"
    tokens = [_plain_digits(token) for token in _TOKEN.findall(text) if token not in _SEPARATORS]
    key = tokens[0] if tokens else text
    for before, token in itertools.pairwise(tokens):
        key += f" {token}" if before.isdecimal() and token.isdecimal() else token
    return key


def _plain_digits(token: str) -> str:
    """Return a number without leading zeros, in digits 0 to 9; anything else as it is."""
    if not token.isdecimal():
        return token
    return "".join(str(unicodedata.decimal(digit)) for digit in token).lstrip("0") or "0"


def find_spellings(names: Iterable[str]) -> list[tuple[str, str]]:
    """Return (name, other name) for each name that seems to be another spelling of an earlier one."""
    alike: dict[str, list[str]] = {}
    found = []
    for name in sorted(set(names)):
        earlier = alike.setdefault(spelling_key(name), [])
        found += [(other, name) for other in earlier if _pad_alike(other, name)][:1]
        earlier.append(name)
    return found


def _pad_alike(first: str, second: str) -> bool:
    """Return whether one of two names has all the leading zeros: 01a1 and 1a01 are hexadecimal numbers."""
    widths = [[len(digits) for digits in re.findall(r"\d+", name)] for name in (first, second)]
    more = {a > b for a, b in zip(*widths, strict=False) if a != b}
    return len(widths[0]) != len(widths[1]) or len(more) < 2
