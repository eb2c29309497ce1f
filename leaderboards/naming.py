"""Words for what identifiers name: protocols with their settings, families of tasks, what a task asks."""

from __future__ import annotations

_PROTOCOLS = {
    "probe": "Ridge probe",
    "linear": "Linear evaluation",
    "finetune": "Fine-tuning",
    "quick": "Quick fine-tuning",
    "patient-specific": "Models of single patients",
}
_SETTINGS = {
    "image_size": "{} pixels",
    "align=five-points": "aligned faces",
    "align=none": "whole pictures",
    "head_start=pretrained": "the method's own head",
    "head_start=scratch": "a drawn head",
    "epochs": "{} epochs",
    "pairs_per_epoch": "{} pairs an epoch",
    "resize=crop": "centre cut out",
}
"""By `key=value`, or by key with the value's place."""
_FAMILIES = {
    "age": "Age",
    "disfa": "DISFA",
    "disfaplus": "DISFA+",
    "edema": "Edema",
    "synth": "Rendered faces",
    "unbc": "Pain",
}
_TARGETS = {"weight_kg": "body weight", "pspi": "pain (PSPI)"}
_ACTION_UNITS = {
    "au1": "inner brow raiser",
    "au2": "outer brow raiser",
    "au4": "brow lowerer",
    "au5": "upper lid raiser",
    "au6": "cheek raiser",
    "au9": "nose wrinkler",
    "au12": "lip corner puller",
    "au15": "lip corner depressor",
    "au17": "chin raiser",
    "au20": "lip stretcher",
    "au25": "lips part",
    "au26": "jaw drop",
}
"""Names of the Facial Action Coding System."""


def protocol_title(name: str) -> str:
    """Return a protocol in words: `linear+image_size=112` is "Linear evaluation, 112 pixels".

    A protocol or setting without words of its own, such as a plugin's, keeps its name.
    """
    base, *overrides = name.split("+")
    return ", ".join([_PROTOCOLS.get(base, base), *map(_setting, overrides)])


def options_title(name: str) -> str:
    """Return a task's options in words: those of `age+split=leave-one-out` are "split leave-one-out"."""
    return ", ".join(map(_setting, name.split("+")[1:]))


def family_title(name: str) -> str:
    """Return a family of tasks in words, or its name."""
    return _FAMILIES.get(name, name)


def target_title(target: str) -> str:
    """Return what a task asks in words: `au12` is "AU12, lip corner puller"; others keep their name."""
    named = _ACTION_UNITS.get(target)
    return f"{target.upper()}, {named}" if named else _TARGETS.get(target, target)


def target_note(target: str) -> str:
    """Say what an action unit is, in a sentence; nothing of other targets."""
    named = _ACTION_UNITS.get(target)
    return f"{target.upper()} is “{named}”." if named else ""


def _setting(override: str) -> str:
    key, _, value = override.partition("=")
    words = _SETTINGS.get(override) or _SETTINGS.get(key)
    return words.format(value) if words else f"{key.replace('_', ' ')} {value}".strip()
