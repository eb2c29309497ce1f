"""What `synth corpus` is asked for: a corpus put together from options, or one of the paper's."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from comface_bench.core.errors import UnknownNameError, UsageError
from comface_bench.core.names import split_list

if TYPE_CHECKING:
    from comface_bench.comface.corpus.plan import CorpusPlan

PAPER = {"paper-stylegan": "stylegan", "paper-stylegan3": "stylegan3"}
"""Value of `--plan` → the generator whose corpus of the supplement (A.1) it is."""


@dataclasses.dataclass(frozen=True)
class Choice:
    """What is to be made.

    Attributes:
        generator: Its name.
        arguments: Its own options; those of a StyleGAN name the attributes, so that it misses none silently.
        attributes: Names, or None for all that there are.
        settings: What else a plan has.
        notes: What the user should be told before it begins.
    """

    generator: str
    arguments: dict[str, str]
    attributes: tuple[str, ...] | None
    settings: dict[str, Any]
    notes: tuple[str, ...] = ()

    def plan(self, offered: tuple[str, ...]) -> CorpusPlan:
        """Make the plan of a generator that offers these attributes."""
        from comface_bench.comface.corpus.plan import CorpusPlan

        return CorpusPlan(attributes=self.attributes or offered, **self.settings)


def choose(
    plan: str | None, values: Mapping[str, Any], given: set[str], arguments: Mapping[str, str]
) -> Choice:
    """Say what is to be made.

    Args:
        plan: One of `PAPER`, or None.
        values: By the options' names: `generator`, `attributes`, `identities`, `alphas`, `zero` (None where
            nobody said), `shared`, `seed`, `first`.
        given: Names of those that the command line sets.
        arguments: The generator's own options.

    Raises:
        UnknownNameError: There is no such plan.
        UsageError: An option contradicts the plan.
    """
    if plan is not None:
        return _paper(plan, values, given, dict(arguments))
    names = None if values["attributes"] == "all" else tuple(split_list([values["attributes"]]))
    zero, notes = values["zero"], tuple[str, ...]()
    if zero is None:
        zero = not (values["shared"] and (names is None or len(names) > 1))
        if not zero:
            notes = (
                "--shared: α = 0 is left out, since it would be the same image in each attribute;"
                " --zero keeps it",
            )
            if "alphas" in given and values["alphas"] == 101:
                raise UsageError(
                    "--shared leaves α = 0 out, so a record has 100 images at most, not 101",
                    "Give --alphas 100, or --zero to have the same image in each attribute.",
                )
    settings = {key: values[key] for key in ("seed", "identities", "shared", "alphas", "first")}
    return _choice(values["generator"], dict(arguments), names, {**settings, "zero": zero}, notes)


def _paper(plan: str, values: Mapping[str, Any], given: set[str], arguments: dict[str, str]) -> Choice:
    from comface_bench.comface.corpus.plan import paper_plans
    from comface_bench.comface.synthesis.boundaries import CELEBA_ATTRIBUTES

    if plan not in PAPER:
        raise UnknownNameError(f"unknown plan {plan!r}", f"One of {', '.join(PAPER)}.")
    paper = paper_plans(CELEBA_ATTRIBUTES)[PAPER[plan]]
    settled = {
        "generator": PAPER[plan],
        "alphas": paper.alphas,
        "zero": paper.zero,
        "shared": paper.shared,
    }
    for key, value in settled.items():
        if key in given and values[key] != value:
            raise UsageError(
                f"{_typed(key, values[key])} contradicts --plan {plan}, which is {_typed(key, value)}",
                f"Leave it out, or leave --plan {plan} out and give every option.",
            )
    named = set(split_list([values["attributes"]])) if "attributes" in given else set(paper.attributes)
    if named != set(paper.attributes) or "attributes" in arguments:
        raise UsageError(
            f"--plan {plan} has attributes of its own: {', '.join(paper.attributes)}",
            "Leave yours out, or leave --plan out.",
        )
    identities = values["identities"] if "identities" in given else paper.identities
    if identities > paper.identities:
        raise UsageError(
            f"--identities {identities}: the paper has {paper.identities} of each attribute",
            "Give fewer, or leave --plan out and give every option.",
        )
    settings = {
        "seed": values["seed"],
        "identities": identities,
        "shared": paper.shared,
        "alphas": paper.alphas,
        "zero": paper.zero,
        "first": values["first"],
    }
    return _choice(PAPER[plan], arguments, paper.attributes, settings)


def _choice(
    generator: str,
    arguments: dict[str, str],
    names: tuple[str, ...] | None,
    settings: dict[str, Any],
    notes: tuple[str, ...] = (),
) -> Choice:
    from comface_bench.comface.synthesis.requirements import PUBLISHED_FILES, available_directions

    if generator in PUBLISHED_FILES and names is not None:
        arguments.setdefault("attributes", ",".join(names))
    elif "attributes" not in arguments and (absent := available_directions(generator, arguments)[1]):
        notes += (
            f"{generator}: {len(absent)} further attributes have no file here ({', '.join(absent)});"
            " name them with --attributes to be told what to get",
        )
    return Choice(generator, arguments, names, settings, notes)


def _typed(key: str, value: object) -> str:
    """Return an option as it is typed."""
    if isinstance(value, bool):
        return f"--{key}" if value else f"--no-{key}"
    return f"--{key} {value}"
