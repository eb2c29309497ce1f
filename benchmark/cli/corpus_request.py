"""Request of `synth corpus`: a corpus from options or as in the paper, and the forecast of a dry run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from comface_bench.cli.output import print_facts, print_json
from comface_bench.core.errors import UnknownNameError, UsageError
from comface_bench.core.names import split_list

if TYPE_CHECKING:
    from comface_bench.comface.corpus.layout import Description, Layout
    from comface_bench.comface.corpus.plan import CorpusPlan

PAPER = {"paper-stylegan": "stylegan", "paper-stylegan3": "stylegan3"}
"""Value of `--plan` → the generator whose corpus of the supplement (A.1) it is."""
_LATENT_SIDE = 256  # of a StyleGAN's images, unless its options say another


@dataclasses.dataclass(frozen=True)
class CorpusRequest:
    """A corpus that is to be made.

    Attributes:
        generator: Its name.
        arguments: Its own options; those of a StyleGAN name the attributes, so that it misses none silently.
        attributes: Names, or None for all that there are.
        settings: The plan's other values.
        notes: Lines to print before it begins.
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


def request_corpus(
    plan: str | None, values: Mapping[str, Any], given: set[str], arguments: Mapping[str, str]
) -> CorpusRequest:
    """Return the corpus that the options ask for.

    Args:
        plan: One of `PAPER`, or None.
        values: By the options' names: `generator`, `attributes`, `identities`, `alphas`, `zero` (None
            where not given), `shared`, `seed`, `first`.
        given: Names of those that the command line sets.
        arguments: The generator's own options.

    Raises:
        UnknownNameError: There is no such plan.
        UsageError: An option contradicts the plan.
    """
    if plan is not None:
        return _request_paper(plan, values, given, dict(arguments))
    names = None if values["attributes"] == "all" else tuple(split_list([values["attributes"]]))
    if "ageless" in arguments and names is not None and "age" not in names:
        raise UsageError(
            f"-o ageless={arguments['ageless']} is about images of the attribute age, which isn't among"
            f" {', '.join(names)}",
            "Leave it out, or add age: --attributes age,…",
        )
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
    return _request(values["generator"], dict(arguments), names, {**settings, "zero": zero}, notes)


def _request_paper(
    plan: str, values: Mapping[str, Any], given: set[str], arguments: dict[str, str]
) -> CorpusRequest:
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
            given_option, paper_option = _format_option(key, values[key]), _format_option(key, value)
            raise UsageError(
                f"{given_option} contradicts --plan {plan}, which is {paper_option}",
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
    return _request(PAPER[plan], arguments, paper.attributes, settings)


def _request(
    generator: str,
    arguments: dict[str, str],
    names: tuple[str, ...] | None,
    settings: dict[str, Any],
    notes: tuple[str, ...] = (),
) -> CorpusRequest:
    from comface_bench.comface.synthesis.requirements import PUBLISHED_FILES, available_directions

    if generator in PUBLISHED_FILES and names is not None:
        arguments.setdefault("attributes", ",".join(names))
    elif "attributes" not in arguments and (absent := available_directions(generator, arguments)[1]):
        notes += (
            f"{generator}: {len(absent)} further attributes have no file here ({', '.join(absent)});"
            " name them with --attributes to be told what to get",
        )
    return CorpusRequest(generator, arguments, names, settings, notes)


def _format_option(key: str, value: object) -> str:
    """Return an option as it is typed."""
    if isinstance(value, bool):
        return f"--{key}" if value else f"--no-{key}"
    return f"--{key} {value}"


def describe_request(request: CorpusRequest, encoded: Mapping[str, Any]) -> Description:
    """Describe a requested corpus whose generator may lack files.

    Args:
        request: The corpus.
        encoded: `suffix`, `quality` and `records_per_shard`.

    Raises:
        UsageError: An option can't be taken.
    """
    from comface_bench.comface.corpus.layout import Description
    from comface_bench.comface.synthesis.generator import open_generator
    from comface_bench.comface.synthesis.requirements import available_directions, missing_files

    name, arguments = request.generator, request.arguments
    if not missing_files(name, arguments):
        card = open_generator(name, arguments).card
        return Description.of(card, request.plan(card.attributes), arguments=arguments, **encoded)
    size = arguments.get("size", str(_LATENT_SIDE))
    if not size.isdecimal():
        raise UsageError(f"-o size={size} isn't a whole number")
    facts = {"name": name, "resolution": int(size)}
    plan = request.plan(tuple(available_directions(name, arguments)[0]))
    return Description(facts, plan, arguments, **encoded)


def print_forecast(layout: Layout, description: Description, as_json: bool) -> None:
    """Print the size of a corpus, what of it is there, the room that it takes and the files that it lacks.

    Raises:
        UsageError: The folder holds another corpus.
        typer.Exit: Status 2: files are missing, or there isn't room.
    """
    from comface_bench.comface.corpus.size_estimate import estimate_size
    from comface_bench.comface.synthesis.generator import open_generator
    from comface_bench.comface.synthesis.requirements import missing_files

    _require_same(layout, description)
    name, arguments = str(description.generator["name"]), description.arguments
    missing = missing_files(name, arguments)
    found = estimate_size(layout, description, None if missing else open_generator(name, arguments))
    if as_json:
        lacking = [{"message": error.message, "hint": error.hint} for error in missing]
        print_json({**dataclasses.asdict(found), "fits": found.fits, "missing": lacking})
    else:
        print_facts(
            [
                ("generator", found.generator),
                ("attributes", f"{len(found.attributes)}: {', '.join(found.attributes)}"),
                ("records", f"{found.records:,}"),
                ("images", f"{found.images:,}" + _format_done(found.images_done)),
                ("pairs", f"{found.pairs:,} in an epoch"),
                ("shards", f"{found.shards:,}"),
                ("an image", f"{found.image_bytes:,} bytes, from {found.measured_on}"),
                ("expected", f"{_format_size(found.bytes)}" + _format_left(found.bytes, found.bytes_left)),
                ("free", f"{_format_size(found.bytes_free)}" + ("" if found.fits else ": NOT ENOUGH")),
                ("missing", "\n".join(str(error) for error in missing) or "nothing"),
            ]
        )
    if missing or not found.fits:
        raise typer.Exit(2)


def _require_same(layout: Layout, description: Description) -> None:
    if not layout.description.exists():
        return
    found = layout.read()
    # The generator's facts aren't compared: without its files they aren't known.
    keys = ("plan", "suffix", "quality", "records_per_shard")
    other = [key for key in keys if getattr(found, key) != getattr(description, key)]
    if other:
        raise UsageError(
            f"{layout.root} holds a corpus of other {', '.join(other)}",
            "Give the same options to go on with it, or name another folder with --out.",
        )


def _format_done(images: int) -> str:
    return f", {images:,} of them done" if images else ""


def _format_left(whole: int, left: int) -> str:
    return f", {_format_size(left)} of it to come" if left < whole else ""


def _format_size(size: int) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e8 else f"{size / 1e6:,.1f} MB"
