"""ComFace: pre-trained on pairs of synthetic faces of one identity.

Weights ship for ResNet-18, which has seen nothing but renderings, and for EfficientNet-Lite0, which started
from ImageNet's photographs. A file of one's own is what `comface-bench export` writes: `backbone.*` and a
head for each attribute, with metadata that say which head a task starts from. Where its training started from
another method (`pretrain --from METHOD`), the backbone is that method's, and so is what its card says of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comface_bench.baselines import efficientnet_lite as lite
from comface_bench.baselines.networks import BACKBONES, FEATURES, build_backbone
from comface_bench.core.card import MethodCard, Preprocess
from comface_bench.core.errors import BenchError, PluginError, WeightsFormatError, WeightsMissingError
from comface_bench.core.names import method_options, parse_name
from comface_bench.core.registry import Entry, declared_cards, loaded_plugin_files, method_registry
from comface_bench.weights.read import read_tensors
from comface_bench.weights.strict import load_strictly, select_backbone

if TYPE_CHECKING:
    from torch import nn

    from comface_bench.comface.facts import MethodStart

SHIPS = "resnet18"

RESNET = MethodCard(
    name="comface",
    version=2,
    build=":build",
    backbone="ResNet-18 (paper: ResNet-50)",
    feature=FEATURES,
    preprocess=Preprocess(),
    options={"backbone": (SHIPS, *(name for name in BACKBONES if name != SHIPS)), "checkpoint": ()},
    dropped_keys=("heads.",),
    pretrained_head=True,
    trained_on=("synthetic faces",),
    supervision=("rendered change",),
    group="Facial Representation Learning",
    summary="Inter- and intra-personal learning on synthetic faces whose attributes change by known amounts.",
    licence="Apache-2.0 (this project's implementation and weights)",
    source="comface-bench pretrain; the authors have published no code and no weights",
    paper="Akamatsu et al., WACV 2025",
    training_scale="112k (paper: 35M)",
    training_source="Synthetic face images+Intensity α",
)


LITE0 = dataclasses.replace(
    RESNET,
    name="comface-lite0",
    version=1,
    backbone=lite.LITE0.backbone,
    feature=lite.LITE0.feature,
    feature_dim=lite.LITE0.feature_dim,
    preprocess=lite.LITE0.preprocess,
    options={},
    pretrained_head=False,
    trained_on=(*RESNET.trained_on, *lite.LITE0.trained_on),
    supervision=(*RESNET.supervision, *lite.LITE0.supervision),
    summary="As comface, from a start that has seen photographs: efficientnet-lite0, its norms frozen.",
    licence="Apache-2.0 (this project's implementation, efficientnet-lite0 and what was learnt)",
    training_scale="31k after 1.28M of efficientnet-lite0",
)

CARDS = (RESNET, LITE0)


def find_weights(card: MethodCard, options: Mapping[str, str]) -> Path | None:
    """Return the weights that ship.

    Raises:
        WeightsMissingError: None ship for this backbone.
    """
    from comface_bench.comface.weights import shipped_weights

    path = shipped_weights(options.get("backbone", lite.LITE0.name))
    if path is None:
        raise WeightsMissingError(
            f"{card.name}: weights ship for {SHIPS}, not for {options['backbone']}; the authors publish none",
            "With a file that `comface-bench export` wrote: -o checkpoint=FILE\n"
            "Without weights, the same backbone untrained: --method scratch",
        )
    return path


OF_WEIGHTS = (
    *("backbone", "feature", "feature_dim", "preprocess", "options", "pretrained_head"),
    *("trained_on", "labels_of", "supervision", "group"),
)
"""Facts of the card that weights of one's own may change, as `configure_method` does."""


def configure_method(card: MethodCard, given: Mapping[str, str]) -> MethodCard:
    """Return the card of the weights that `checkpoint` names; without it, the card itself.

    Raises:
        WeightsFormatError: The file describes its start in another way than `comface-bench export`.
    """
    from comface_bench.comface.facts import first_start, read_facts

    path = Path(given.get("checkpoint", ""))
    if not path.is_file() or (facts := read_facts(path)) is None:
        return card  # Loading says what is wrong with it.
    start = first_start(facts, path.name)
    return start.passed_on(card) if start else card


def build(options: Mapping[str, str], weights: Path | None, seed: int) -> nn.Module:
    """Build the backbone and load its weights; its heads are offered for head starts (b) and (d).

    Raises:
        WeightsFormatError: The file isn't one that `comface-bench export` writes, or is of another backbone.
        PluginError: The method that its training started from doesn't build its topology.
    """
    from comface_bench.comface.export import shared_head, task_heads
    from comface_bench.comface.facts import first_start, read_facts

    del seed
    assert weights is not None
    facts = read_facts(weights)
    if facts is None:
        raise WeightsFormatError(
            f"{weights.name} doesn't say that it is ComFace's",
            "comface-bench export writes such files from a pre-training.",
        )
    start = first_start(facts, weights.name)
    if start is None and facts["backbone"] != options["backbone"]:
        raise WeightsFormatError(
            f"{weights.name} holds {facts['backbone']}, not {options['backbone']}",
            f"-o backbone={facts['backbone']}",
        )
    tensors = read_tensors(weights)
    backbone = build_topology(start) if start else build_backbone(facts["backbone"], None)
    load_strictly(backbone, select_backbone(tensors, weights, ("backbone.",), RESNET.dropped_keys), weights)
    heads: Any = backbone
    heads.head_weight = shared_head(tensors, weights)
    heads.head_weights = task_heads(tensors, facts, weights)
    return backbone


def build_topology(start: MethodStart) -> nn.Module:
    """Build the backbone of the method that a training started from, by its card and without its file.

    Raises:
        UnknownNameError: The method isn't known here: it is a plugin's.
        PluginError: It can't be built without its file.
    """
    from torch import nn

    name, given = parse_name(start.method)
    entry = _find_method(name)
    # Words about a file that isn't read here.
    options = method_options(entry.card, {key: given[key] for key in given if key not in _OF_FILES})
    try:
        backbone = entry.resolve(entry.card.build)(options, None, 0)
    except BenchError:
        raise
    except Exception as error:
        raise PluginError(
            f"{name} builds no network without its file: {error!r}",
            "Its function `build` gets None for the file and is to return the topology.",
        ) from error
    if not isinstance(backbone, nn.Module):
        raise PluginError(f"{name}: {entry.card.build} must return a torch.nn.Module")
    described: Any = backbone
    # As it was trained, whatever its options or its card say today.
    described.preprocess = start.preprocess
    described.weights_part = ""
    return backbone


_OF_FILES = ("checkpoint", "part")
"""Options of methods that say which weights are loaded, not which network they are loaded into."""


def _find_method(name: str) -> Entry[MethodCard]:
    """Return a method by name: of a plugin file that was given to this process, an installed one, or ours."""
    for module in loaded_plugin_files():
        for card in declared_cards(module, MethodCard):
            if card.name == name:
                return Entry.of(card, "plugin file", module)
    return method_registry().get(name)
