"""The model card of exported weights: training data, settings, results."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple

from comface_bench.comface.facts import earlier_trainings, first_start

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from torch import Tensor

    from comface_bench.comface.facts import MethodStart


class ExportedTraining(NamedTuple):
    """A training as a folder holds it.

    Attributes:
        facts: Its `pretraining.json`.
        line: The log's line of its best epoch.
        log: All lines of the log.
        model: The best epoch's network, of `ComFace`.
    """

    facts: Mapping[str, Any]
    line: Mapping[str, Any]
    log: Sequence[Mapping[str, Any]]
    model: Mapping[str, Tensor]

    @property
    def seed(self) -> int:
        """Seed of the training."""
        return int(self.facts["settings"]["seed"])

    @property
    def epochs(self) -> list[Mapping[str, Any]]:
        """The log's lines of all epochs."""
        return [line for line in self.log if line["kind"] == "epoch"] or [self.line]


def write_card(
    name: str, data: bytes, exported: Mapping[str, Any], trainings: Sequence[ExportedTraining]
) -> str:
    """Write a model card as Markdown.

    Args:
        name: Name of the weights' file.
        data: Its bytes.
        exported: The facts in the file.
        trainings: The training, or all whose mean the file holds.
    """
    facts, several = trainings[0].facts, len(trainings) > 1
    settings, share = exported["settings"], exported.get("start_share", 0)
    corpora, before = facts["corpora"].values(), list(earlier_trainings(facts))
    seen_before = [corpus for training in before for corpus in training["corpora"].values()]
    first = first_start(facts, name)
    rendered = {corpus["generator"] for corpus in [*corpora, *seen_before]} == {"anny"} and first is None
    lines = [
        f"# {name}",
        "",
        f"ComFace on {first.topology if first else settings['backbone']}, pre-trained on synthetic faces"
        + ("; nobody's photograph was used." if rendered else "."),
        "",
        f"- SHA-256 `{hashlib.sha256(data).hexdigest()}`, {len(data) / 1e6:.1f} MB, float16",
        "- Licence: Apache-2.0, of weights and code; of the images see below"
        if first is None
        else "- Licence: Apache-2.0, of code and what was learnt; of the start and the images see below",
        *(
            f"- {f'Seed {training.seed}: ' if several else ''}{_describe_course(training)}"
            for training in trainings
        ),
        "- The network is that of epoch "
        + ", ".join(f"{one.line['epoch']}{f' of seed {one.seed}' if several else ''}" for one in trainings)
        + (": the mean of all weights; each has" if several else ",")
        + " the lowest validation loss",
        *(
            [
                f"- {1 - share:g} of the backbone's weights are of that, {share:g} the start's; the heads are"
                " those that were trained"
            ]
            if share
            else []
        ),
        "- Versions: "
        + ", ".join(" ".join(pair) for pair in facts["environment"]["versions"].items() if pair[1]),
        "",
        "## Data",
        "",
        *_table(
            ["images", "licence", "SHA-256 of the corpus"],
            [[f"{c['images']:,}", c["licence"], f"`{c['sha256']}`"] for c in corpora],
        ),
        "",
        f"{facts['identities']:,} identities, {100 * settings['validation_share']:g} % of them held out.",
        "",
        *(_start_section(before[0], seen_before) if before else []),
        *(_method_section(first) if first else []),
        "## Made by",
        "",
        *(f"    {_command(number, corpus)}" for number, corpus in enumerate(corpora)),
        *(
            f"    {_program(training.facts['machine']['processes'])} pretrain --config settings.toml"
            + "".join(f" --corpus corpus{number}" for number in range(len(corpora)))
            + (" --from start.safetensors" if before else f" --from {first.method}" if first else "")
            + (f" -o seed={training.seed} --out seed{training.seed}" if several else "")
            for training in trainings
        ),
        *([f"    {_export_command(trainings, before, first, share)}"] if several or share else []),
        "",
        "with the settings below; the "
        + ("trainings' logs lie, one after the other," if several else "training's log lies")
        + " beside this card.",
        "",
        "## Which head a task starts from",
        "",
        *_table(
            ["target", "head", "of the target in α = 1"],
            [[target, s["head"], f"{s['per_alpha']:g}"] for target, s in exported["starts"].items()],
        ),
        "",
        "Any other target starts from the head that all attributes share, in α.",
        "",
        *(line for training in trainings for line in _results_section(training, several)),
        "## Settings",
        "",
        *_settings(settings),
    ]
    return "\n".join(lines) + "\n"


def _describe_course(training: ExportedTraining) -> str:
    facts, last = training.facts, training.epochs[-1]
    settings, machine, environment = facts["settings"], facts["machine"], facts["environment"]
    about = environment["torch"] or {}
    hardware = about.get("gpu") or environment["cpu"] or environment["machine"]
    return (
        f"{last['epoch']} of {settings['epochs']} epochs, {last['step']} steps of "
        f"{settings['batch_size']} pairs, in {_hours(last['seconds'])} on {hardware}, "
        f"{machine['processes']} process(es) of {about.get('threads')} thread(s), {machine['precision']}"
    )


def _results_section(training: ExportedTraining, several: bool) -> list[str]:
    which = f", seed {training.seed}" if several else ""
    return [
        f"## Curve{which}",
        "",
        *_table(
            ["epoch", "validation loss", "identities", "changes"],
            [
                [str(e["epoch"]), *(_loss_text(e[key]) for key in ("loss", "inter", "intra"))]
                for e in training.epochs
            ],
        ),
        "",
        f"## Held-out identities{which}, epoch {training.line['epoch']}",
        "",
        "Pearson's r of predicted and true change of α.",
        "",
        *_table(
            ["attribute", "r"],
            [[key, "—" if r is None else f"{r:.3f}"] for key, r in training.line["correlation"].items()],
        ),
        "",
    ]


def _start_section(start: Mapping[str, Any], corpora: Iterable[Mapping[str, Any]]) -> list[str]:
    settings = start["settings"]
    return [
        "## Started from",
        "",
        f"The backbone of an earlier training, epoch {start['epoch']} of {settings['epochs']}, whose file has"
        f" SHA-256 `{start['sha256']}` and which learnt from",
        "",
        *_table(
            ["images", "SHA-256 of the corpus", "made by"],
            [
                [f"{c['images']:,}", f"`{c['sha256']}`", f"`{_command(number, c)}`"]
                for number, c in enumerate(corpora)
            ],
        ),
        "",
        "with these settings:",
        "",
        *_settings(settings),
        "",
    ]


def _method_section(start: MethodStart) -> list[str]:
    """Say what the backbone was before it saw a rendered face."""
    return [
        "## The backbone before any of this",
        "",
        f"Method `{start.method}`, "
        + (f"weights of digest `{start.weights}`" if start.weights else "with drawn weights")
        + ". What is said of it holds for this file, too:",
        "",
        *_table(
            ["fact", "of the start"],
            [
                ["topology", f"{start.topology}, {start.feature_dim} features"],
                ["trained on", ", ".join(start.trained_on) or "not stated"],
                ["taught", ", ".join(start.supervision) or "not stated"],
                ["labels of", ", ".join(start.labels_of) or "—"],
                ["licence", start.licence or "not stated"],
            ],
        ),
        "",
    ]


def _export_command(
    trainings: Sequence[ExportedTraining],
    before: Sequence[Mapping[str, Any]],
    first: MethodStart | None,
    share: float,
) -> str:
    folders = [f"seed{one.seed}" for one in trainings] if len(trainings) > 1 else ["pretraining"]
    start = "start.safetensors" if before or first is None else first.method
    return f"comface-bench export {' '.join(folders)}" + (
        f" --from {start} --start-share {share:g}" if share else ""
    )


def _program(processes: int) -> str:
    if processes == 1:
        return "comface-bench"
    return f"torchrun --nproc-per-node={processes} -m comface_bench"


def _command(number: int, corpus: Mapping[str, Any]) -> str:
    plan = corpus["plan"]
    return (
        f"comface-bench synth corpus --generator {corpus['generator']}"
        f" --attributes {','.join(plan['attributes'])} --identities {plan['identities']}"
        f" --alphas {plan['alphas']} --seed {plan['seed']}"
        + (" --shared" if plan["shared"] else "")
        + (" --zero" if plan["zero"] and plan["shared"] else "" if plan["zero"] else " --no-zero")
        + (f" --first {plan['first']}" if plan["first"] else "")
        + "".join(f" -o {key}={value}" for key, value in corpus["arguments"].items())
        + f" --out corpus{number}"
    )


def _settings(settings: Mapping[str, Any]) -> list[str]:
    return _table(
        ["setting", "value"], [[key, f"`{_format_value(value)}`"] for key, value in settings.items()]
    )


def _table(header: list[str], rows: list[list[str]]) -> list[str]:
    return [
        f"| {' | '.join(header)} |",
        f"|{'---|' * len(header)}",
        *(f"| {' | '.join(_plain(cell) for cell in row)} |" for row in rows),
    ]


def _plain(text: str) -> str:
    return text.replace("|", "\\|")


def _format_value(value: object) -> str:
    if isinstance(value, list):
        return "; ".join(_format_value(one) for one in value) or "all"
    if isinstance(value, dict):
        return ", ".join(f"{key} {part:g}" for key, part in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)


def _loss_text(loss: float | None) -> str:
    return "—" if loss is None else f"{loss:.4f}"


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.0f} min"
