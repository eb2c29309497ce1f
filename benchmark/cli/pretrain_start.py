"""Where a pre-training starts: random weights, another training's, or any method's backbone."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comface_bench.core.errors import PluginError, UsageError, WeightsMissingError
from comface_bench.core.names import did_you_mean, format_name, method_options, parse_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from comface_bench.comface.facts import MethodStart
    from comface_bench.comface.pretrain.settings import Settings
    from comface_bench.core.card import MethodCard, Preprocess
    from comface_bench.core.registry import Entry, Registry
    from comface_bench.engine.encoder import Encoder

_ENDING = ".safetensors"


@dataclasses.dataclass(frozen=True)
class Start:
    """A backbone as it starts, and where it comes from.

    Attributes:
        backbone: From normalised images to features.
        feature_dim: Their size D.
        preprocess: The images that it takes.
        name: What settings call its topology.
        facts: Of an exported file its `sha256` and the facts in it; of a method those of `MethodStart`; empty
            for random weights.
    """

    backbone: nn.Module
    feature_dim: int
    preprocess: Preprocess
    name: str
    facts: Mapping[str, Any]


def divide_words(
    options: Mapping[str, str], start: str | None, methods: Registry[MethodCard]
) -> tuple[dict[str, str], dict[str, str]]:
    """Divide options that were typed into settings, and those of the method that a training starts from.

    Args:
        options: As they were typed; a name that a setting has is a setting's.
        start: File or method that `--from` names; None for random weights.
        methods: Where methods are looked up.

    Returns:
        Settings; options of the method, those in its name included.

    Raises:
        UsageError: Settings pull towards a start that isn't there, or the topology is named twice.
        UnknownNameError: No method has that name.
    """
    from comface_bench.comface.pretrain.settings import Settings

    names = {field.name for field in dataclasses.fields(Settings)}
    if start is not None and _is_file(start):
        _require_backbone(options.get("backbone"), Path(start))
    if start is None or _is_file(start):
        return dict(options), {}
    base, named = parse_name(start)
    card = _find(base, methods).card
    if "backbone" in options:
        raise UsageError(
            f"-o backbone={options['backbone']}: the start brings the backbone",
            f"Leave it out. An option of the method stands in its name: --from {base}+backbone=…",
        )
    takes = {"preprocess", *card.options} - names
    own = {key: value for key, value in options.items() if key in takes}
    rest = {key: value for key, value in options.items() if key not in own}
    if twice := own.keys() & named.keys():
        raise UsageError(f"{', '.join(sorted(twice))} of {base} is given twice")
    return rest, {**named, **own}


def open_start(
    settings: Settings, start: str | None, methods: Registry[MethodCard], given: Mapping[str, str]
) -> Start:
    """Build the backbone that is trained; projector and heads always start anew.

    Args:
        settings: `backbone` is the topology of random weights and of an exported file; `seed` draws weights.
        start: A file that `comface-bench export` wrote, or a method; None for random weights.
        methods: Where methods are looked up.
        given: The method's options, as `divide_words` returns them.

    Raises:
        WeightsMissingError: There is no such file.
        WeightsFormatError: It isn't one of `export`'s, or is of another backbone.
        UsageError: The method has nothing that can be trained.
        PluginError: What is exported later couldn't be built again.
    """
    from comface_bench.core.weights import find_weights

    if start is None:
        return _start_random(settings.backbone, settings.seed)
    if _is_file(start):
        return _start_file(Path(start), settings)
    entry = _find(parse_name(start)[0], methods).configured(given)
    options = method_options(entry.card, given)
    weights = find_weights(entry, options)
    if entry.module == "comface_bench.baselines.comface":
        # Weights of this kind of training: what they have seen is in them.
        assert weights is not None
        wanted = dataclasses.replace(settings, backbone=options.get("backbone", ""))
        return _start_file(weights, wanted)
    return _start_method(entry, options, given, weights, settings)


def _require_backbone(typed: str | None, file: Path) -> None:
    """Make sure that a backbone that was typed is the one of weights that started from a method.

    Raises:
        UsageError: It is another.
    """
    from comface_bench.comface.facts import first_start, read_facts

    facts = read_facts(file)
    if typed is None or facts is None or typed == facts["backbone"]:
        return
    if first_start(facts, file.name) is not None:
        raise UsageError(
            f"-o backbone={typed}: the start brings the backbone, {facts['backbone']}", "Leave it out."
        )


def _is_file(start: str) -> bool:
    # A method's name may end with an option that names such a file.
    return Path(start).is_file() or (start.endswith(_ENDING) and "+" not in start)


def _find(name: str, methods: Registry[MethodCard]) -> Entry[MethodCard]:
    from comface_bench.core.errors import UnknownNameError

    try:
        return methods.get(name)
    except UnknownNameError:
        raise UnknownNameError(
            f"--from {name}: neither a file nor a method.{did_you_mean(name, methods.names())}",
            "Methods: comface-bench list methods\nFiles are those of comface-bench export: NAME.safetensors",
        ) from None


def _start_random(name: str, seed: int) -> Start:
    from comface_bench.baselines.networks import build_backbone, feature_width
    from comface_bench.core.card import IMAGENET

    backbone = build_backbone(name, seed)
    preprocess: Any = getattr(backbone, "preprocess", IMAGENET)
    return Start(backbone, feature_width(name), preprocess, name, {})


def _start_file(file: Path, settings: Settings) -> Start:
    from comface_bench.baselines.comface import build
    from comface_bench.baselines.networks import feature_width
    from comface_bench.comface.facts import first_start, read_facts
    from comface_bench.core.card import IMAGENET
    from comface_bench.core.digest import digest_file

    if not file.is_file():
        raise WeightsMissingError(
            f"--from {file}: no such file", "comface-bench export DIR writes the weights of a pre-training."
        )
    facts = read_facts(file) or {}
    backbone = build({"backbone": settings.backbone}, file, settings.seed)
    first = first_start(facts, file.name)
    name = str(facts["backbone"])
    preprocess: Any = getattr(backbone, "preprocess", IMAGENET)
    kept = {key: facts.get(key) for key in ("epoch", "settings", "corpora", "start")}
    if "mean_of" in facts:
        kept["mean_of"] = facts["mean_of"]
    width = first.feature_dim if first else feature_width(name)
    return Start(backbone, width, preprocess, name, {"sha256": digest_file(file), **kept})


def _start_method(
    entry: Entry[MethodCard],
    options: Mapping[str, str],
    given: Mapping[str, str],
    weights: Path | None,
    settings: Settings,
) -> Start:
    from comface_bench.comface.facts import MethodStart
    from comface_bench.core.weights import digest_weights
    from comface_bench.engine.encoder import build_encoder

    encoder = build_encoder(entry, options, weights, settings.seed)
    preprocess = encoder.preprocess
    digest = digest_weights(weights).content if weights else None
    named = dict(given)
    if "checkpoint" in named and digest:
        # A path means nothing elsewhere and may reveal a person.
        named["checkpoint"] = digest[:12]
    name = format_name(entry.card.name, named)
    width = _require_learner(encoder, preprocess.size or settings.image_size)
    facts = MethodStart.of(name, entry.card, digest, width, preprocess)
    _require_topology(encoder.backbone, facts, entry.card)
    return Start(encoder.backbone, width, preprocess, name, facts.as_json())


def _require_learner(encoder: Encoder, size: int) -> int:
    """Return the size of a backbone's features; what no gradient reaches is taken out of the training.

    Raises:
        UsageError: None reaches any parameter.
    """
    import torch

    size = encoder.input_size(size)
    parameters = list(encoder.backbone.parameters())
    encoder.eval()
    with torch.enable_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        features = encoder.encode_checked(torch.rand(2, 3, size, size))
        if features.requires_grad:
            torch.autograd.backward(features.square().sum())
    reached = [parameter.grad is not None for parameter in parameters]
    if not any(reached):
        raise UsageError(
            f"--from {encoder.name}: it has nothing to train: no gradient reaches a parameter of it",
            "Start from a network whose parameters learn: comface-bench list methods",
        )
    for parameter, learns in zip(parameters, reached, strict=True):
        parameter.grad = None
        parameter.requires_grad_(learns)
    return int(features.shape[1])


def _require_topology(backbone: nn.Module, start: MethodStart, card: MethodCard) -> None:
    """Make sure that exported weights will find their network again, before anything is trained.

    Raises:
        PluginError: The method builds another one without its file.
    """
    from comface_bench.baselines.comface import build_topology

    again, now = build_topology(start).state_dict(), backbone.state_dict()
    shapes = [{name: tensor.shape for name, tensor in state.items()} for state in (again, now)]
    if shapes[0] != shapes[1]:
        other = sorted(
            name for name in shapes[0].keys() | shapes[1].keys() if shapes[0].get(name) != shapes[1].get(name)
        )
        raise PluginError(
            f"{card.name} builds another network without its file, in {len(other)} tensors:"
            f" {', '.join(other[:3])}",
            "What is exported later couldn't be run. Its function `build` gets None for the file and is to"
            " return the topology.",
        )
