"""Models of timm: `timm/<model>` untrained, `timm/<model>.<tag>` with that tag's weights.

Nothing is downloaded. A tag's weights are looked for in the weights folder (`timm/<model>.<tag>` with
the ending .safetensors, .pth or .bin), then in the local cache of the Hugging Face hub. With
`-o checkpoint=FILE` any file of the model's whole classifier does, timm's or one that timm converts;
`rename_efficientnet` converts the PyTorch EfficientNets that follow TensorFlow's.
"""

from __future__ import annotations

import fnmatch
import importlib.util
import math
import re
import textwrap
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from comface_bench.baselines.hub_cache import find_cached
from comface_bench.core.card import Checkpoint, MethodCard, Preprocess
from comface_bench.core.errors import UnknownNameError, UsageError, WeightsFormatError, WeightsMissingError
from comface_bench.core.names import unknown_name
from comface_bench.core.weights import missing_weights, weights_folder
from comface_bench.weights.parts import (
    SeveralPartsError,
    leads_to,
    load_part,
    named_like,
    read_whole,
    refuse_several,
    unwrapped,
)
from comface_bench.weights.read import check_tensors
from comface_bench.weights.strict import load_strictly

if TYPE_CHECKING:
    from torch import Tensor, nn

    from comface_bench.weights.parts import Part, Parts

FAMILY = "timm/"
EXAMPLE = "timm/resnet18"
HUB_FILES = ("model.safetensors", "pytorch_model.bin")


def make_card(name: str) -> MethodCard:
    """Make the card of a timm model; whether timm knows its tag shows when its weights are looked for.

    Raises:
        UnknownNameError: timm doesn't know the model.
    """
    model = name.removeprefix(FAMILY)
    if not model:
        raise UsageError("timm/ needs a model", f"For example: --method {EXAMPLE}")
    check_model(model)
    tagged = "." in model
    return MethodCard(
        name=name,
        version=1,
        build=":build",
        backbone=model.partition(".")[0],
        feature="timm's pooled features before the classifier",
        # The model is an option with one value, so that `build` knows it.
        options={"model": (model,), "checkpoint": (), "part": ()},
        drawn=not tagged,
        group="Other",
        summary=f"timm's {model}" + ("" if tagged else ", untrained"),
        licence="Apache-2.0 (timm's code); the weights' own" if tagged else "Apache-2.0 (timm's code)",
        source="timm",
    )


def list_names(pattern: str) -> list[str]:
    """Return the models that a pattern such as `timm/resnet1*` matches: untrained ones.

    With a point, as in `timm/resnet50.*`, those of timm's tags, whose weights may be missing here.
    """
    if "." not in pattern:
        models: Iterable[str] = _written_models()
    else:
        import timm

        models = timm.list_pretrained()
    return [name for name in (f"{FAMILY}{model}" for model in models) if fnmatch.fnmatchcase(name, pattern)]


def find_weights(card: MethodCard, options: Mapping[str, str]) -> Path | None:
    """Find the weights of a tag; untrained models need none.

    Raises:
        UnknownNameError: timm doesn't know the tag.
        WeightsMissingError: They are neither in the weights folder nor in the hub's cache.
    """
    name = options["model"]
    model, _, tag = name.partition(".")
    if not tag:
        return None
    if found := find_file(name, f"timm/{name}"):
        return found
    import timm

    known = timm.list_pretrained(f"{model}.*")
    if name not in known:
        raise unknown_name(card.name, (f"timm/{other}" for other in [*known, model]), "method")
    # Several models of timm share weights, which the hub has under the name of one of them.
    config = timm.get_pretrained_cfg(name)
    repository = str((config and config.hf_hub_id) or f"timm/{name}")
    if found := find_file(name, repository):
        return found
    raise WeightsMissingError(
        f"{card.name} needs weights, which are neither in {weights_folder() / 'timm'} nor in the hub's cache",
        f"On a machine with a network: hf download {repository} {HUB_FILES[0]}\n"
        f"or name a file: -o checkpoint=FILE; untrained: --method timm/{model}",
    )


def build(options: Mapping[str, str], weights: Path | None, seed: int) -> nn.Module:
    """Build a timm model without its classifier; its configuration gives the preprocessing."""
    model = build_model(options["model"], weights, seed, part=options.get("part", ""))
    model.preprocess = preprocess_of(model)  # type: ignore[assignment]
    return model


def check_model(name: str) -> None:
    """Refuse the name of a model that timm doesn't know; its tag isn't looked at.

    Raises:
        UnknownNameError: The message offers near names, or today's of one that timm has retired.
        UsageError: It is an address, as of a hub.
    """
    model = name.partition(".")[0]
    if model in _written_models():
        return
    if ":" in name:
        raise UsageError(
            f"timm/{name}: models are named as timm lists them, not by an address",
            f"Type its name: --method timm/{name.rpartition(':')[2].rpartition('/')[2]}"
            "\nWeights of your own: --method timm/MODEL -o checkpoint=FILE",
        )
    import timm

    # Before the registry, which takes them and draws weights that are not meant.
    if model in (retired := timm.models.get_deprecated_models()):
        raise _retired(name, retired[model])
    if not timm.is_model(model):
        raise unknown_name(f"timm/{name}", (f"timm/{known}" for known in timm.list_models()), "method")


def _retired(name: str, current: str | None) -> UnknownNameError:
    """Make the error for a name that timm had before its weights had tags."""
    return UnknownNameError(
        f"timm/{name} is a name that timm has retired" + ("" if current else ", with its model"),
        f"Today it is: --method timm/{current}" if current else "See them all: comface-bench list methods",
    )


@cache
def _written_models() -> frozenset[str]:
    # Importing timm imports torch, which takes seconds; its models are functions under one decorator.
    spec = importlib.util.find_spec("timm")
    folder = Path(spec.origin).parent / "models" if spec and spec.origin else Path()
    texts = (path.read_text(encoding="utf-8") for path in folder.glob("*.py"))
    return frozenset(
        name for text in texts for name in re.findall(r"^@register_model\ndef (\w+)\(", text, re.MULTILINE)
    )


def find_file(name: str, repository: str, others: Iterable[str] = ()) -> Path | None:
    """Find the weights of a tagged model: in the weights folder, then in the hub's local cache.

    Args:
        name: timm's `<model>.<tag>`.
        repository: Where the hub has it.
        others: Files of the weights folder that serve as well and go first.
    """
    for file in (*others, *(f"timm/{name}{ending}" for ending in (".safetensors", ".pth", ".bin"))):
        if (path := weights_folder() / file).is_file():
            return path
    return find_cached(repository, HUB_FILES)


def hub_checkpoint(model: str) -> Checkpoint:
    """Return the file of one of timm's tagged models, in the weights folder and on the Hugging Face hub."""
    return Checkpoint(
        file=f"timm/{model}.safetensors",
        url=f"https://huggingface.co/timm/{model}/resolve/main/model.safetensors",
    )


def find_pinned(card: MethodCard, others: Iterable[str] = ()) -> Path:
    """Find the weights of a method that is one tag of timm, whose file its card names `timm/<name>.<ending>`.

    Nothing is imported for it, since listing methods looks for all of them.

    Args:
        card: The method's.
        others: Files of the weights folder that serve as well, such as the authors' own.

    Raises:
        WeightsMissingError: They are neither in the weights folder nor in the hub's cache.
    """
    assert card.checkpoint is not None
    repository = card.checkpoint.file.removesuffix(".safetensors")
    theirs = [place for other in others for place in (f"{card.name}/{other}", other)]
    if found := find_file(repository.removeprefix("timm/"), repository, theirs):
        return found
    missing = missing_weights(card)
    raise WeightsMissingError(
        f"{missing.message}, nor is it in the hub's cache",
        f"{missing.hint}\nor put it into the hub's cache: hf download {repository} {HUB_FILES[0]}",
    )


def build_model(
    name: str,
    weights: Path | None,
    seed: int,
    part: str = "",
    parts: Parts | None = None,
    **settings: Any,
) -> nn.Module:
    """Build a timm model without its classifier.

    Args:
        name: timm's `<model>` or `<model>.<tag>`.
        weights: A file in timm's layout, with or without a classifier of any size, or one for the whole
            classifier that timm converts; None draws random weights.
        seed: Of the random weights.
        part: Words that lead to the part of the file that is meant, where it holds several.
        parts: The file's state dicts, where some of it has been changed.
        settings: Further words for `timm.create_model`.

    Returns:
        From normalised images (N, 3, H, W) to features (N, D). Vision transformers take any size in whole
        patches: positions are resampled bicubically. `weights_part` says what was taken of the file.

    Raises:
        UnknownNameError: timm has no such model.
        WeightsFormatError: Not exactly one part of the file fits the model.
    """
    import torch

    check_model(name)
    # Vision transformers fix their grid unless asked not to.
    words = {"dynamic_img_size": True, **settings}
    if weights is None and part:
        raise UsageError(
            f"part={part} names a part of a checkpoint, but no file is named", "-o checkpoint=FILE"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if weights is None:
            model = _create(name, words)
            model.reset_classifier(0)
        else:
            model = _load(name, weights, parts or read_whole(weights), part, words)
    model.pretrained_cfg.pop("state_dict", None)
    built: nn.Module = model
    return built


def preprocess_of(model: Any) -> Preprocess:
    """Return the input convention of timm's configuration of a model.

    timm's centre crop is left out: images here are faces cropped already, and all of them is shown.
    """
    from timm.data.config import resolve_model_data_config

    config = resolve_model_data_config(model)  # type: ignore[no-untyped-call]
    patch = _patch(model)
    fixed = model.pretrained_cfg.get("fixed_input_size") and patch == 1
    # timm also names `random` and the like, where either will do.
    interpolation: Literal["bilinear", "bicubic"] = (
        "bilinear" if config["interpolation"] == "bilinear" else "bicubic"
    )
    return Preprocess(
        mean=config["mean"],
        std=config["std"],
        size=config["input_size"][-1] if fixed else None,
        multiple=patch,
        interpolation=interpolation,
    )


def _patch(model: Any) -> int:
    """Return the pixels that sides must be multiples of: 1, but for transformers that take any size."""
    if not getattr(model, "dynamic_img_size", False):
        return 1
    return int(max(model.patch_embed.feat_ratio(as_scalar=False)))


def _create(name: str, words: Mapping[str, Any]) -> Any:
    import timm

    try:
        return timm.create_model(name, **words)
    except TypeError:
        # Models that aren't vision transformers don't know the word.
        fewer = {key: value for key, value in words.items() if key != "dynamic_img_size"}
        return timm.create_model(name, **fewer)


def _load(name: str, path: Path, parts: Parts, chosen: str, words: Mapping[str, Any]) -> Any:
    """Build a model with the weights of a file: by timm's own names, else by a conversion from other ones."""
    model = _create(name, words)
    whole = set(model.state_dict())
    # Asked for no classes from the start, timm would load whatever keys fit and leave the rest random.
    model.reset_classifier(0)
    wanted = set(model.state_dict())
    found = named_like(parts, wanted, beside=sorted(whole - wanted))
    try:
        if found:
            model = _of_grid(model, name, path, found[0], words)
        load_part(model, path, found, lambda tensors: tensors, parts, chosen)
        return model
    except SeveralPartsError:
        raise
    except WeightsFormatError as error:
        converted, errors = _convert_parts(name, path, parts, chosen, words)
        if not converted:
            told = error if found or chosen or not errors else errors[0]
            message = told.message.replace("doesn't fit the network", f"doesn't fit timm's {name}")
            raise WeightsFormatError(message, told.hint) from error
    refuse_several(path, list(converted))
    ((part, model),) = converted.items()
    model.weights_part = part
    return model


def _of_grid(model: Any, name: str, path: Path, part: Part, words: Mapping[str, Any]) -> Any:
    """Return a vision transformer with as many positions as a part of a file has: others are other images'.

    Raises:
        WeightsFormatError: They form no square, and nothing says which oblong they do.
    """
    state = model.state_dict()
    own, theirs = state.get("pos_embed"), part.tensors.get("pos_embed")
    if own is None or theirs is None or not getattr(model, "dynamic_img_size", False):
        return model
    if part.tensors.keys() != state.keys():
        return model  # Of another layout, whose positions may be others.
    if theirs.ndim != 3 or own.shape == theirs.shape or own.shape[2] != theirs.shape[2]:
        return model
    count = theirs.shape[1] - own.shape[1] + math.prod(model.patch_embed.grid_size)
    side = math.isqrt(max(count, 0))
    if count < 1 or side * side != count:
        raise WeightsFormatError(
            f"{path.name} doesn't fit the network: pos_embed has positions of {count} patches,"
            " which form no square",
            "Nothing says how they lie. Resample them to a square where you know it, and save that.",
        )
    other = _create(name, {**words, "img_size": side * _patch(model)})
    other.reset_classifier(0)
    return other


def _convert_parts(
    name: str, path: Path, parts: Parts, chosen: str, words: Mapping[str, Any]
) -> tuple[dict[str, Any], list[WeightsFormatError]]:
    """Return the parts that a conversion takes, one of a state dict, with the model with it; else why not."""
    converted, errors = {}, list[WeightsFormatError]()
    for place, state in parts.items():
        for part in unwrapped({place: state}, chosen):
            if not leads_to(chosen, part.name):
                continue
            try:
                converted[part.name] = _convert(name, path, part, words)
                break
            except WeightsFormatError as error:
                errors.append(error)
    return converted, errors


def _convert(name: str, path: Path, part: Part, words: Mapping[str, Any]) -> Any:
    """Build a model with a part in a layout that timm or `rename_efficientnet` converts."""
    tensors = check_tensors(path, part.tensors)
    if _EFFICIENTNET_KEY in tensors:
        model = _create(name, words)
        _load_efficientnet(model, name, tensors, path)
    else:
        # Quantised weights mean something else than their numbers, which timm would take.
        for name_in_file, tensor in tensors.items():
            if tensor.ndim > 1 and tensor.element_size() == 1:
                raise WeightsFormatError(
                    f"{path.name} doesn't fit the network: it has whole numbers in {name_in_file}"
                )
        # timm renames keys for its own topology; it is handed tensors only.
        given = {"pretrained": True, "pretrained_cfg_overlay": {"state_dict": tensors}}
        try:
            model = _create(name, {**words, **given})
        except (RuntimeError, LookupError, AttributeError, ValueError, TypeError, AssertionError) as error:
            reason = textwrap.shorten(str(error), 300, placeholder=" …")
            raise WeightsFormatError(f"{path.name} doesn't fit the network: {reason}") from error
        state, sizes = model.state_dict(), {tensor.numel() for tensor in tensors.values()}
        for own, spare in (("patch_embed.proj.weight", 0), ("pos_embed", 5)):
            # Positions may include those of class and register tokens.
            if own in state and not sizes & {
                state[own].numel() + more * state[own].shape[-1] for more in range(spare + 1)
            }:
                raise WeightsFormatError(
                    f"{path.name} doesn't fit the network: its {own} is of another size than"
                    f" {tuple(state[own].shape)}, and would be resampled"
                )
    model.reset_classifier(0)
    return model


def _load_efficientnet(model: Any, name: str, tensors: Mapping[str, Tensor], weights: Path) -> None:
    if not name.startswith("tf_efficientnet"):
        raise WeightsFormatError(
            f"{weights.name} is of TensorFlow's EfficientNet, which pads unlike timm's {name}",
            f"Its features would be wrong. Use --method timm/tf_{name.removeprefix('tf_')}",
        )
    stages = [len(stage) for stage in model.blocks]
    load_strictly(model, rename_efficientnet(tensors, stages, weights), weights)


_EFFICIENTNET_KEY = "_conv_stem.weight"
"""A key that only files of this layout have."""

_EFFICIENTNET_OUTER = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_EFFICIENTNET_INNER = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_se_reduce": "se.conv_reduce",
    "_se_expand": "se.conv_expand",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
# A block that doesn't expand has one convolution less, and timm counts from its first.
_EFFICIENTNET_UNEXPANDED = _EFFICIENTNET_INNER | {"_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}


def rename_efficientnet(
    tensors: Mapping[str, Tensor], stages: Iterable[int], path: Path
) -> dict[str, Tensor]:
    """Give the weights of a PyTorch EfficientNet that follows TensorFlow's the names that timm has.

    Args:
        tensors: Name in the file → tensor; blocks are numbered through all stages.
        stages: Number of blocks of each of timm's stages.
        path: The file, for messages.

    Raises:
        WeightsFormatError: A key has another layout, or there are more blocks than timm's network has.
    """
    places = [f"blocks.{stage}.{block}" for stage, count in enumerate(stages) for block in range(count)]
    expanded = {name.split(".")[1] for name in tensors if "._expand_conv." in name}
    renamed = {}
    for name, tensor in tensors.items():
        layer, _, leaf = name.rpartition(".")
        block = re.fullmatch(r"_blocks\.(\d+)\.(\w+)", layer)
        if block is None:
            new = _EFFICIENTNET_OUTER.get(layer)
        else:
            new = (_EFFICIENTNET_INNER if block[1] in expanded else _EFFICIENTNET_UNEXPANDED).get(block[2])
            number = int(block[1])
            new = f"{places[number]}.{new}" if new and number < len(places) else None
        if new is None:
            raise WeightsFormatError(f"{path.name}: nobody knows its key {name}")
        renamed[f"{new}.{leaf}"] = tensor
    return renamed
