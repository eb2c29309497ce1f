"""Image towers of open_clip: `open_clip/<arch>/<tag>`, or `open_clip/<arch>` untrained.

Nothing is downloaded. A tag's weights are looked for in the weights folder
(`open_clip/<arch>/<tag>` with the ending .safetensors, .bin or .pt), then in the hub's local cache. With
`-o checkpoint=FILE` any file of the whole model does, text tower included.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comface_bench.baselines.hub_cache import find_cached
from comface_bench.core.card import MethodCard, Preprocess
from comface_bench.core.errors import UsageError, WeightsFormatError, WeightsMissingError
from comface_bench.core.names import unknown_name
from comface_bench.core.weights import weights_folder

if TYPE_CHECKING:
    from torch import nn

FAMILY = "open_clip/"
EXAMPLE = "open_clip/ViT-B-16/openai"


def make_card(name: str) -> MethodCard:
    """Make the card of an open_clip image tower; whether its tag exists shows when weights are looked for.

    Raises:
        UnknownNameError: open_clip doesn't know the architecture.
    """
    model = name.removeprefix(FAMILY)
    arch, _, tag = model.partition("/")
    if not arch:
        raise UsageError("open_clip/ needs an architecture", f"For example: --method {EXAMPLE}")
    _check_architecture(arch)
    return MethodCard(
        name=name,
        version=1,
        build=":build",
        backbone=arch,
        feature="the embedding that is compared with texts, not scaled to length 1 (embedding); what it is"
        " projected from (pooled)",
        options={"model": (model,), "feature": ("embedding", "pooled"), "checkpoint": ()},
        drawn=not tag,
        group="Other",
        summary=f"open_clip's {arch}" + (f", weights {tag}" if tag else ", untrained"),
        licence="MIT (open_clip's code)" + ("; the weights' own" if tag else ""),
        source="open_clip",
    )


def find_weights(card: MethodCard, options: Mapping[str, str]) -> Path | None:
    """Find the weights of a tag; untrained towers need none.

    Raises:
        UnknownNameError: open_clip doesn't know the tag.
        WeightsMissingError: They are neither in the weights folder nor in the hub's cache.
    """
    arch, _, tag = options["model"].partition("/")
    if not tag:
        return None
    for ending in (".safetensors", ".bin", ".pt"):
        if (path := weights_folder() / "open_clip" / arch / f"{tag}{ending}").is_file():
            return path
    import open_clip

    config = open_clip.get_pretrained_cfg(arch, tag)
    if not config:
        known = [f"open_clip/{arch}/{other}" for other in open_clip.list_pretrained_tags_by_model(arch)]
        raise unknown_name(card.name, known, "method")
    repository = str(config.get("hf_hub") or "").rstrip("/")
    files = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
    if repository and (cached := find_cached(repository, files)):
        return cached
    how = (
        f"hf download {repository} {files[0]}"
        if repository
        else f"get the weights {tag} of open_clip's {arch}"
    )
    raise WeightsMissingError(
        f"{card.name} needs weights; there are none in {weights_folder() / 'open_clip'} or the hub's cache",
        f"On a machine with a network: {how}\nor name a file: -o checkpoint=FILE",
    )


def _check_architecture(arch: str) -> None:
    # A configuration is a file that open_clip brings; importing it imports torch, which takes seconds.
    spec = importlib.util.find_spec("open_clip")
    if spec and spec.origin and (Path(spec.origin).parent / "model_configs" / f"{arch}.json").is_file():
        return
    import open_clip

    if arch not in open_clip.list_models():
        known = (f"open_clip/{name}" for name in open_clip.list_models())
        raise unknown_name(f"open_clip/{arch}", known, "method")


def build(options: Mapping[str, str], weights: Path | None, seed: int) -> nn.Module:
    """Build the image tower; its configuration gives size, mean, std and interpolation.

    Images are squashed to its size, never cropped, whatever open_clip does for the tag: they show faces.
    """
    import open_clip
    import torch

    from comface_bench.weights.read import read_tensors

    arch, _, tag = options["model"].partition("/")
    if "hf_model_name" in open_clip.get_model_config(arch)["text_cfg"]:
        raise UsageError(
            f"open_clip/{arch}: its text tower would be fetched from the network",
            "Choose an image tower whose text tower open_clip builds itself.",
        )
    if weights is not None:
        read_tensors(weights)  # Refuses code and broken files before open_clip opens the file.
    config: dict[str, Any] = open_clip.get_pretrained_cfg(arch, tag) if tag else {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            model = open_clip.create_model(
                arch,
                pretrained=str(weights) if weights else None,
                # OpenAI's and some others' weights were trained with this approximation of GELU.
                force_quick_gelu=bool(config.get("quick_gelu")),
            )
        except (RuntimeError, KeyError) as error:
            raise WeightsFormatError(f"{weights}: doesn't fit open_clip's {arch}: {error}") from error
    tower = model.visual
    if options["feature"] == "pooled":
        _leave_projection_out(tower, arch)
    # Weights from a file come without their tag's mean and std, which open_clip keeps beside the tag.
    own = {key: config[key] for key in ("mean", "std", "interpolation") if config.get(key)}
    wanted = open_clip.get_model_preprocess_cfg(model) | own
    size = wanted["size"]
    tower.preprocess = Preprocess(
        mean=tuple(wanted["mean"]),
        std=tuple(wanted["std"]),
        size=size if isinstance(size, int) else size[0],
        interpolation="bilinear" if wanted["interpolation"] == "bilinear" else "bicubic",
    )
    built: nn.Module = tower
    return built


def _leave_projection_out(tower: Any, arch: str) -> None:
    from torch import nn

    if hasattr(tower, "trunk"):
        tower.head = nn.Identity()
    elif hasattr(tower, "proj"):
        tower.proj = None
    else:
        raise UsageError(f"open_clip/{arch} pools and projects in one step: it has only feature=embedding")
