"""Image towers of open_clip: `open_clip/<arch>/<tag>`, or `open_clip/<arch>` untrained.

Nothing is downloaded. A tag's weights are looked for in the weights folder
(`open_clip/<arch>/<tag>` with the ending .safetensors, .bin or .pt), then in the hub's local cache. With
`-o checkpoint=FILE` any file of the whole model does, text tower included.
"""

from __future__ import annotations

import contextlib
import fnmatch
import importlib.util
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comface_bench.baselines.hub_cache import find_cached
from comface_bench.core.card import MethodCard, Preprocess
from comface_bench.core.errors import UsageError, WeightsFormatError, WeightsMissingError
from comface_bench.core.names import unknown_name
from comface_bench.core.weights import weights_folder
from comface_bench.weights.parts import SeveralPartsError, load_part, named_like, read_whole, under, unwrapped

if TYPE_CHECKING:
    from torch import Tensor, nn

FAMILY = "open_clip/"
EXAMPLE = "open_clip/ViT-B-16/openai"


def make_card(name: str) -> MethodCard:
    """Make the card of an open_clip image tower; whether its tag exists shows when weights are looked for.

    Raises:
        UnknownNameError: open_clip doesn't know the architecture.
    """
    model = name.removeprefix(FAMILY)
    if not model:
        raise UsageError("open_clip/ needs an architecture", f"For example: --method {EXAMPLE}")
    arch, _, tag = model.partition("/")
    _check_architecture(model)
    return MethodCard(
        name=name,
        version=1,
        build=":build",
        backbone=arch,
        feature="the embedding that is compared with texts, not scaled to length 1 (embedding); what it is"
        " projected from (pooled)",
        options={"model": (model,), "feature": ("embedding", "pooled"), "checkpoint": (), "part": ()},
        drawn=not tag,
        group="Other",
        summary=f"open_clip's {arch}" + (f", weights {tag}" if tag else ", untrained"),
        licence="MIT (open_clip's code)" + ("; the weights' own" if tag else ""),
        source="open_clip",
    )


def list_names(pattern: str) -> list[str]:
    """Return the towers that a pattern such as `open_clip/ViT-B*` matches: untrained ones.

    With a second slash, as in `open_clip/ViT-B-16/*`, those with a tag, whose weights may be missing here.
    """
    if pattern.count("/") == 1:
        towers = [path.stem for path in _config_folder().glob("*.json")]
    else:
        import open_clip

        towers = ["/".join(pair) for pair in open_clip.list_pretrained()]
    names = (f"{FAMILY}{tower}" for tower in towers)
    return [name for name in names if fnmatch.fnmatchcase(name, pattern)]


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


def _config_folder() -> Path:
    # A configuration is a file that open_clip brings; importing it imports torch, which takes seconds.
    spec = importlib.util.find_spec("open_clip")
    return Path(spec.origin).parent / "model_configs" if spec and spec.origin else Path("no open_clip")


def _check_architecture(model: str) -> None:
    """Refuse a name that begins with no architecture.

    Raises:
        UnknownNameError: open_clip doesn't know it.
        UsageError: It is an address, as of a hub or a folder, or writes OpenAI's slash.
    """
    arch, _, tag = model.partition("/")
    if ":" in model:
        raise UsageError(
            f"open_clip/{model}: towers are named by architecture and tag, not by an address",
            f"Type them: --method {EXAMPLE}\nWeights of your own: --method open_clip/ARCH -o checkpoint=FILE",
        )
    if (_config_folder() / f"{arch}.json").is_file():
        return
    import open_clip

    if arch not in open_clip.list_models():
        # OpenAI writes ViT-B/16 where open_clip has ViT-B-16.
        written, _, rest = tag.partition("/")
        if (meant := f"{arch}-{written}") in open_clip.list_models():
            raise UsageError(
                f"open_clip/{model}: open_clip writes {meant} with a hyphen",
                f"--method open_clip/{meant}/{rest or 'TAG'}",
            )
        known = (f"open_clip/{name}" for name in open_clip.list_models())
        raise unknown_name(f"open_clip/{arch}", known, "method")


def build(options: Mapping[str, str], weights: Path | None, seed: int) -> nn.Module:
    """Build the image tower; its configuration gives size, mean, std and interpolation.

    Images are squashed to its size, never cropped, whatever open_clip does for the tag: they show faces.
    """
    import open_clip
    import torch

    arch, _, tag = options["model"].partition("/")
    if "hf_model_name" in open_clip.get_model_config(arch)["text_cfg"]:
        raise UsageError(
            f"open_clip/{arch}: its text tower would be fetched from the network",
            "Choose an image tower whose text tower open_clip builds itself.",
        )
    if weights is None and "part" in options:
        raise UsageError("part= names a part of a checkpoint, but no file is named", "-o checkpoint=FILE")
    config: dict[str, Any] = open_clip.get_pretrained_cfg(arch, tag) if tag else {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # open_clip would warn that nothing is loaded, which is meant, or follows.
        with _quiet_logging():
            model = open_clip.create_model(
                arch,
                # OpenAI's and some others' weights were trained with this approximation of GELU.
                force_quick_gelu=bool(config.get("quick_gelu")),
            )
    if weights is not None:
        _load(model, arch, weights, options.get("part", ""))
    tower = model.visual
    if getattr(tower, "output_tokens", False):
        tower.output_tokens = False  # CoCa's captions need them; the pooled feature stands without.
    if options["feature"] == "pooled":
        _leave_projection_out(tower, arch)
    _check_feature(tower, arch)
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


_SIZES_OF_TEXT = ("input_resolution", "context_length", "vocab_size")
"""Numbers that OpenAI's files have beside the tensors."""


def _load(model: Any, arch: str, path: Path, chosen: str) -> None:
    """Load the image tower of a file: of a whole model, in open_clip's layout or one that it converts.

    Raises:
        WeightsFormatError: Not exactly one part of the file fits.
    """
    from open_clip.convert import convert_state_dict
    from open_clip.model import convert_to_custom_text_state_dict

    known = {*model.state_dict(), *_SIZES_OF_TEXT}
    custom = not hasattr(model, "positional_embedding")

    def take(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        if not any(name.startswith("visual.") for name in tensors):
            converted = convert_state_dict(model, dict(tensors))
            # A tower alone has the names of what is in it.
            alone = converted.keys() == tensors.keys()
            tensors = {f"visual.{name}": one for name, one in tensors.items()} if alone else converted
        if custom and "positional_embedding" in tensors:
            tensors = convert_to_custom_text_state_dict(dict(tensors))
        if strange := [name for name in tensors if name not in known]:
            raise WeightsFormatError(
                f"{path.name} doesn't fit the network: it has unknown {len(strange)}:"
                f" {', '.join(strange[:3])}"
            )
        return under(tensors, "visual.")

    parts = read_whole(path)
    tower = set(model.visual.state_dict())
    models = named_like(parts, {f"visual.{name}" for name in tower})
    # Inside a model, a tower's neighbours are looked at, too.
    alone = [part for part in named_like(parts, tower) if not part.name.endswith("visual")]
    found = [*models, *alone]
    try:
        load_part(model.visual, path, found or unwrapped(parts, chosen), take, parts, chosen)
    except SeveralPartsError:
        raise
    except WeightsFormatError as error:
        message = error.message.replace("doesn't fit the network", f"doesn't fit open_clip's {arch}")
        raise WeightsFormatError(message, error.hint) from error


@contextlib.contextmanager
def _quiet_logging() -> Iterator[None]:
    """Keep warnings of the root logger, which a library writes to, from being shown."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(before)


def _check_feature(tower: Any, arch: str) -> None:
    """Refuse a tower whose output isn't one feature for an image."""
    import torch

    size = tower.image_size
    shape = (2, 3, size, size) if isinstance(size, int) else (2, 3, *size)
    training = tower.training
    with torch.no_grad():
        features = tower.eval()(torch.zeros(shape))
    tower.train(training)
    if not isinstance(features, torch.Tensor) or features.ndim != 2:
        raise UsageError(
            f"open_clip/{arch}: its image tower doesn't give one feature for an image",
            "Choose another architecture: comface-bench list methods",
        )


def _leave_projection_out(tower: Any, arch: str) -> None:
    from torch import nn

    if hasattr(tower, "trunk"):
        tower.head = nn.Identity()
    elif hasattr(tower, "proj"):
        tower.proj = None
    else:
        raise UsageError(f"open_clip/{arch} pools and projects in one step: it has only feature=embedding")
