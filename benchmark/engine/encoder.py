"""Encoders: a backbone behind one interface, preprocessing included; and the features of stored images."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import sys
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from comface_bench.core.card import (
    AUGMENTATIONS,
    IMAGENET,
    NO_AUGMENTATION,
    Augmentation,
    MethodCard,
    Preprocess,
)
from comface_bench.core.digest import ObjectFacts, digest, digest_file
from comface_bench.core.display import short_repr
from comface_bench.core.errors import BenchError, PluginError, UnitError, UsageError, describe_error
from comface_bench.core.names import method_options, parse_name
from comface_bench.core.registry import SOURCE_DIGEST, Entry, Registry, method_registry
from comface_bench.core.unit import seed_for
from comface_bench.core.weights import find_weights, missing_weights
from comface_bench.data import augment
from comface_bench.data.preparation import IMAGE_SIZE, Preparation
from comface_bench.engine.precision import Machine

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from comface_bench.data.image_store import Resize


class Encoder(nn.Module):
    """Images in, features out.

    Takes RGB images in [0, 1], shape (N, 3, H, W), floating-point, and returns features (N, D), float32.
    Channel order, range, mean and std are the method's own and applied inside, and so is the size where
    the backbone takes only one.

    Args:
        name: Name of the method, for messages.
        backbone: From normalised images to features.
        preprocess: The backbone's input convention.
        chip: Of `CHIPS`, how it expects an aligned face.

    Attributes:
        head_weight: Weight of the method's own pair head, (D,) or (2D,), or None.
        head_weights: Heads of its own for some targets, by a task's target.
        weights_part: The part of its weights file that was loaded, such as `teacher.backbone`; nothing
            where that is all of it.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, name: str, backbone: nn.Module, preprocess: Preprocess, chip: str = MethodCard.chip
    ) -> None:
        super().__init__()
        self.name, self.chip = name, chip
        self.backbone = backbone
        self.preprocess = preprocess
        self.head_weight: Tensor | None = getattr(backbone, "head_weight", None)
        self.head_weights: Mapping[str, Tensor] = getattr(backbone, "head_weights", {})
        # The network that was loaded may stand inside another.
        noted = (getattr(module, "weights_part", "") for module in backbone.modules())
        self.weights_part: str = next(filter(None, noted), "")
        self.register_buffer("mean", torch.tensor(preprocess.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(preprocess.std).view(1, 3, 1, 1), persistent=False)

    def __repr__(self) -> str:
        # Its modules are printed by `backbone`.
        topology, count = type(self.backbone).__name__, self.parameter_count()
        return short_repr("Encoder", self.name, topology, f"{count:,} parameters")

    def forward(self, images: Tensor) -> Tensor:
        """Encode images.

        Raises:
            UsageError: They aren't floating-point numbers in [0, 1] of shape (N, 3, H, W).
            PluginError: The backbone returns anything but features (N, D).
        """
        check_images(images)
        return self.encode_checked(images.to(self.mean.dtype))

    def encode_checked(self, images: Tensor) -> Tensor:
        """Encode images that are known to be what `forward` takes, float32.

        Nothing is asked of the values: on a GPU that would wait for it, once each batch.

        Raises:
            PluginError: The backbone returns anything but features (N, D).
        """
        features = self.backbone(self.normalise(images))
        if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != len(images):
            raise PluginError(f"{self.name} must return features of shape ({len(images)}, D)")
        return features.float()

    @property
    def transform(self) -> Preparation:
        """What prepares a picture for it, by Pillow, as runs do by default: to a tensor (3, 224, 224)."""
        return self.make_transform()

    def make_transform(
        self,
        image_size: int = IMAGE_SIZE,
        resize: Resize = "squash",
        align: Literal["none", "five-points"] = "none",
    ) -> Preparation:
        """Return what prepares a picture for it, as runs with these options do.

        Raises:
            UsageError: A value isn't one that they have.
        """
        return Preparation(image_size, resize, align, self.chip)

    def normalise(self, images: Tensor) -> Tensor:
        """Return images (N, 3, H, W) as the backbone takes them: its size, channels, range, mean and std."""
        size = self._size(*images.shape[-2:])
        if images.shape[-2:] != size:
            images = functional.interpolate(images, size, mode=self.preprocess.interpolation, antialias=True)
            # Bicubic weights overshoot at edges; no method has seen values outside [0, 1].
            images = images.clamp(0, 1)
        if self.preprocess.channels == "BGR":
            images = images.flip(1)
        normalised = (images * self.preprocess.scale - self.mean) / self.std
        return normalised.contiguous(memory_format=torch.channels_last)

    def _size(self, height: int, width: int) -> tuple[int, int]:
        """Return the size in pixels at which the backbone sees an image."""
        size, multiple = self.preprocess.size, self.preprocess.multiple
        if size is not None:
            return size, size
        tall, wide = (max(1, round(side / multiple)) * multiple for side in (height, width))
        return tall, wide

    def input_size(self, image_size: int) -> int:
        """Return the side at which the backbone sees square images of a side of `image_size` pixels."""
        return self._size(image_size, image_size)[0]

    def measure(self, image_size: int) -> int:
        """Return D by encoding two grey images, without changing the backbone.

        Raises:
            PluginError: The backbone fails, or returns anything but features (N, D).
        """
        was_training = self.training
        self.eval()
        images = torch.full((2, 3, image_size, image_size), 0.5, device=self.mean.device)
        try:
            with torch.no_grad():
                features = self.encode_checked(images)
        except (BenchError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # Whatever a plugin's code or a layer says of sizes that don't fit.
            side = self.input_size(image_size)
            hint = (
                "Another side of the images: -o image_size=… Of a plugin, correct the network that `build`"
                " returns; --debug shows where it fails."
            )
            kinds = {weight.dtype for weight in self.backbone.parameters()} - {torch.float32}
            if kinds:
                given = ", ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds))
                hint = f"Its weights are {given}, and images float32: let `build` return network.float()."
            raise PluginError(
                f"{self.name}: its network fails on images (2, 3, {side}, {side}): {describe_error(error)}",
                hint,
            ) from error
        finally:
            self.train(was_training)
        return int(features.shape[1])

    def own_head(self, target: str) -> Tensor | None:
        """Return the weight that a task's head may start from, or None if the method brings none."""
        return self.head_weights.get(target, self.head_weight)

    def parameter_count(self) -> int:
        """Return the number of the backbone's parameters."""
        return sum(parameter.numel() for parameter in self.backbone.parameters())


_ROUNDING = 1e-4
"""Values may leave [0, 1] by so much: resizing rounds."""


def check_images(images: Tensor) -> None:
    """Refuse what an encoder would turn into features of something else.

    Raises:
        UsageError: They aren't floating-point numbers in [0, 1] of shape (N, 3, H, W).
    """
    if not isinstance(images, Tensor):
        raise UsageError(
            f"images must be a torch.Tensor, not {type(images).__name__}",
            "From a PIL image: torchvision.transforms.functional.to_tensor(image)[None]",
        )
    if images.ndim != 4 or images.shape[1] != 3 or 0 in images.shape[2:]:
        raise UsageError(
            f"images must be of shape (N, 3, H, W), not {tuple(images.shape)}", _shape_remedy(images.shape)
        )
    if not images.is_floating_point():
        kind = str(images.dtype).removeprefix("torch.")
        raise UsageError(
            f"images must be floating-point numbers in [0, 1], not {kind}",
            "Of numbers from 0 to 255: images.float() / 255",
        )
    if not images.numel():
        return
    low, high = torch.stack(torch.aminmax(images.detach())).tolist()
    if low >= -_ROUNDING and high <= 1 + _ROUNDING:  # NaN is refused, too.
        return
    if low < -_ROUNDING:
        remedy = "Don't normalise them: the encoder does it as its method needs. Else: images.clamp(0, 1)"
    else:
        remedy = "Of numbers from 0 to 255: images / 255. After resizing: images.clamp(0, 1)"
    raise UsageError(f"images must be in [0, 1], not from {low:.4g} to {high:.4g}", remedy)


def _shape_remedy(shape: torch.Size) -> str:
    if len(shape) == 3 and shape[0] == 3:
        return "Of one image make a batch: images[None]"
    if len(shape) == 3 and shape[2] == 3:
        return "Of one image make a batch, channels first: images.permute(2, 0, 1)[None]"
    if len(shape) == 4 and shape[3] == 3:
        return "Put the channels first: images.permute(0, 3, 1, 2)"
    if len(shape) == 4 and shape[1] == 1:
        return "Repeat grey for all channels: images.expand(-1, 3, -1, -1)"
    if len(shape) == 4 and shape[1] == 4:
        return "Leave transparency out: images[:, :3]"
    return "N images of three channels: red, green, blue."


def build_encoder(
    entry: Entry[MethodCard], options: Mapping[str, str], weights: Path | None, seed: int
) -> Encoder:
    """Build the encoder of a registry entry.

    Args:
        entry: The method.
        options: All of its options, defaults included.
        weights: Its weights file, if it needs one.
        seed: Index of the repetition, which drawn weights are derived from.

    Raises:
        PluginError: The card's function fails, builds no module, or its preprocessing isn't declared.
        WeightsMissingError: The card has a file and none is given: without it networks are untrained.
    """
    if weights is None and entry.card.checkpoint is not None:
        raise missing_weights(entry.card)
    # Every method draws from the same stream, and every task of a repetition starts from one backbone.
    drawn = seed_for("backbone", "all tasks", None, seed)
    build = entry.resolve(entry.card.build)
    try:
        backbone: Any = build(options, weights, drawn)
    except (BenchError, OSError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise PluginError(
            f"{entry.card.name}: {entry.card.build} fails: {describe_error(error)}",
            "--debug shows where it fails.",
        ) from error
    if not isinstance(backbone, nn.Module):
        raise PluginError(f"{entry.card.name}: {entry.card.build} must return a torch.nn.Module")
    # Where options choose between networks, or a library knows, the network says itself what it takes.
    preprocess = getattr(backbone, "preprocess", None) or entry.card.preprocess
    if not isinstance(preprocess, Preprocess):
        raise PluginError(
            f"{entry.card.name} declares no preprocessing",
            "Set preprocess in its card, or an attribute `preprocess` of the module it builds.",
        )
    if options.get("preprocess") == "imagenet":
        # The size isn't a matter of taste: the network takes no other.
        preprocess = dataclasses.replace(
            preprocess, mean=IMAGENET.mean, std=IMAGENET.std, channels="RGB", scale=1.0
        )
    if entry.card.pretrained_head and getattr(backbone, "head_weight", None) is None:
        raise PluginError(
            f"{entry.card.name} declares a pre-trained pair head but builds none",
            "Give the module an attribute `head_weight`, (D,), or leave pretrained_head out of the card.",
        )
    # Channels last is how convolutions are fastest, on both kinds of device. Others give the same, but for
    # group_norm: on a CPU it loses digits where a mean is large (findings/torch-group-norm-channels-last.sh).
    encoder = Encoder(entry.card.name, backbone, preprocess, entry.card.chip)
    return encoder.to(memory_format=torch.channels_last)


def load_method(
    name: str,
    *,
    checkpoint: str | Path | None = None,
    seed: int = 0,
    registry: Registry[MethodCard] | None = None,
    **options: str,
) -> Encoder:
    """Load a method's encoder, in eval mode.

    Args:
        name: Name of the method, options allowed (`scratch+backbone=resnet18`).
        checkpoint: Weights file, instead of the one in the weights folder.
        seed: Index of the repetition, which drawn weights are derived from.
        registry: Where to look the name up; the built-in methods and installed plugins by default.
        options: Options of the method.

    Raises:
        UnknownNameError: No method has that name.
        UsageError: An option that the method doesn't take.
        WeightsMissingError: Its weights aren't there.
        WeightsFormatError: They don't fit.
    """
    base, named = parse_name(name)
    given = {**named, **options} | ({"checkpoint": str(checkpoint)} if checkpoint is not None else {})
    entry = (registry or method_registry()).get(base).configured(given)
    chosen = method_options(entry.card, given)
    return build_encoder(entry, chosen, find_weights(entry, chosen), seed).eval()


def load_images(
    paths: Path | str | Iterable[Path | str],
    encoder: Encoder,
    *,
    image_size: int = IMAGE_SIZE,
    resize: Resize = "squash",
    align: Literal["none", "five-points"] = "none",
) -> Tensor:
    """Read pictures and prepare them for an encoder as runs do: `encoder(load_images(paths, encoder))`.

    Args:
        paths: Files, or one.
        encoder: As `load_method` returns it.
        image_size: Side of the square images in pixels; the option of that name of protocols, like the next.
        resize: `squash` fits the whole picture into the square, `crop` its centre.
        align: `five-points` cuts the face out (extra: prepare), `none` doesn't.

    Returns:
        Images (N, 3, image_size, image_size), float32 in [0, 1], on the CPU.

    Raises:
        DataMissingError: There is no such file.
        UnreadableImageError: One is no picture, is damaged, or shows a single colour.
        UsageError: An option has another value, or there is no path.
        MissingExtraError, WeightsMissingError: Faces can't be aligned here.
    """
    prepare = encoder.make_transform(image_size, resize, align)
    images = [prepare.load(path) for path in ([paths] if isinstance(paths, Path | str) else paths)]
    if not images:
        raise UsageError("no picture is named", "Give the paths of some.")
    return torch.stack(images)


ENCODE_BATCH = 64


class StoredPixels(Protocol):
    """Decoded images of one size, by row; an `ImageStore` of a data set, or what stands in for one."""

    @property
    def key(self) -> str:
        """Digest of all that decides the pixels."""

    def __len__(self) -> int:
        """Return the number of images."""

    def gather(self, indices: NDArray[np.int64]) -> Tensor:
        """Return images by row, uint8 or floating in [0, 1], (n, 3, height, width)."""


@dataclass(frozen=True, eq=False)
class ImageSource:
    """Renders views of a data set's images on the run's device.

    Attributes:
        store: Decoded images.
        keys: 64-bit key of each image, uint64 (number of images,).
        size: Side of the rendered images in pixels.
        augmentation: Of augmented views.
        seed: Of augmented views.
        machine: Device and precision.
    """

    store: StoredPixels
    keys: NDArray[np.uint64]
    size: int
    augmentation: Augmentation
    seed: int
    machine: Machine

    @classmethod
    def unaugmented(
        cls, store: StoredPixels, size: int, machine: Machine, keys: NDArray[np.uint64] | None = None
    ) -> ImageSource:
        """Return a source of images as they are.

        Args:
            store: Decoded images.
            size: Side of the rendered images in pixels.
            machine: Device and precision.
            keys: Of each image, where `with_views` will ask for views; without them no view is to be drawn.
        """
        import numpy as np

        if keys is None:
            keys = np.zeros(len(store), dtype=np.uint64)
        return cls(store, keys, size, NO_AUGMENTATION, 0, machine)

    def plain(self, rows: NDArray[np.int64]) -> Tensor:
        """Return images without augmentation, float32 (n, 3, size, size) in [0, 1]."""
        return augment.resize(self._gather(rows), self.size)

    def augmented(self, rows: NDArray[np.int64], views: NDArray[np.int64]) -> Tensor:
        """Return augmented views, float32 (n, 3, size, size) in [0, 1].

        A view is a pure function of (seed, image, view number).
        """
        return augment.render(
            self._gather(rows), self.augmentation, self.seed, self.keys[rows], views, self.size
        )

    def with_views(self, augmentation: str, seed: int) -> ImageSource:
        """Return a source of the same images whose augmented views follow `AUGMENTATIONS[augmentation]`."""
        return dataclasses.replace(self, augmentation=AUGMENTATIONS[augmentation], seed=seed)

    def _gather(self, rows: NDArray[np.int64]) -> Tensor:
        return self.store.gather(rows).to(self.machine.device, non_blocking=True)


def encode(
    encoder: Encoder,
    render: Callable[[NDArray[np.int64]], Tensor],
    rows: NDArray[np.int64],
    machine: Machine,
    tick: Callable[[int], None] | None = None,
    notice: Callable[[str], None] | None = None,
) -> Tensor:
    """Encode images once each with a frozen encoder.

    Args:
        encoder: In eval mode.
        render: From manifest rows to images.
        rows: Which images, int64 (n,).
        machine: Device and precision.
        tick: Called with the number of images of each batch.
        notice: Called with a sentence when batches become smaller, for want of memory on the device.

    Returns:
        Features, float32 (n, D), on the CPU.

    Raises:
        UnitError: Not even one image has room on the device.
    """
    parts: list[Tensor] = []
    start, size = 0, ENCODE_BATCH
    while start < len(rows):
        batch = rows[start : start + size]
        features = _encode_batch(encoder, render, batch, machine)
        if features is None:
            if len(batch) == 1:
                raise UnitError(
                    f"{encoder.name}: the device has no room to encode one image",
                    "Free its memory, or choose another: --device. Smaller images need less: -o image_size=…",
                )
            # An image's features don't depend on the others of its batch.
            size = len(batch) // 2
            if notice is not None:
                notice(f"{encoder.name}: the device is out of memory; images are encoded {size} at a time")
            continue
        parts.append(features)
        start += len(batch)
        if tick is not None:
            tick(len(batch))
    return torch.cat(parts)


def _encode_batch(
    encoder: Encoder,
    render: Callable[[NDArray[np.int64]], Tensor],
    rows: NDArray[np.int64],
    machine: Machine,
) -> Tensor | None:
    """Encode images at once, or return None if the device has no room for that."""
    try:
        with torch.inference_mode(), machine.autocast():
            return encoder.encode_checked(render(rows)).float().cpu()
    except torch.OutOfMemoryError:
        pass
    # Only now are the tensors free that the error held.
    if machine.device.type == "cuda":
        torch.cuda.empty_cache()
    return None


def state_digest(module: nn.Module) -> str:
    """Return a SHA-256 over every parameter and buffer: names, types, shapes, and numbers bit for bit."""
    sha = hashlib.sha256()
    named = (
        *module.named_parameters(remove_duplicate=False),
        *module.named_buffers(remove_duplicate=False),
    )
    for name, tensor in sorted(named, key=lambda pair: pair[0]):
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        sha.update(_bytes_of(tensor).data)
    return sha.hexdigest()


def _bytes_of(tensor: Tensor) -> NDArray[np.uint8]:
    flat: NDArray[np.uint8] = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return flat


def encoder_digest(encoder: Encoder, state: str) -> str:
    """Return a SHA-256 of all that decides an encoder's features.

    That is its tensors; the settings of its modules, down to the variables of functions that they hold; the
    source files of their classes and functions, and of what renders images; and the versions of torch and of
    the packages that they come from.

    Args:
        encoder: As it encodes.
        state: Its `state_digest`.

    Raises:
        UsageError: Some of its code has no source file.
    """
    found = _EncoderFacts()
    settings = found.describe(encoder)
    sources, versions = {}, {"torch": str(torch.__version__)}
    for name in sorted({*found.modules, augment.__name__}):
        package = name.partition(".")[0]
        if package in ("", "torch", *sys.builtin_module_names):
            continue
        sources[name] = _source_digest(sys.modules.get(name), name)
        versions[package] = str(getattr(sys.modules.get(package), "__version__", ""))
    return digest([state, settings, sources, versions])


@functools.cache
def _source_digest(module: types.ModuleType | None, name: str) -> str:
    """Return the digest of a module's source: of the text that runs, else of the file when first asked.

    The file of a plugin may be edited between its loading and the first encoding.
    """
    ran = getattr(module, SOURCE_DIGEST, None)
    if ran is not None:
        return str(ran)
    path = getattr(module, "__file__", None)
    if path is None:
        raise UsageError(f"code of {name} has no source file")
    return digest_file(Path(path))


_MODULE_OWN = vars(nn.Module()).keys() - {"_parameters", "_buffers", "_modules"}
_HOOKS = sorted(name for name in _MODULE_OWN if name.endswith("hooks"))


class _EncoderFacts(ObjectFacts):
    """Describes modules without the tensors that `state_digest` covers; any other tensor by its numbers."""

    def held(self, value: Any) -> Any:
        """Return what stands for an object."""
        if isinstance(value, Tensor):
            return [str(value.dtype), list(value.shape), hashlib.sha256(_bytes_of(value).data).hexdigest()]
        if isinstance(value, torch.jit.ScriptModule):
            return [str(value.inlined_graph)]
        if not isinstance(value, nn.Module):
            return super().held(value)
        own = {name: item for name, item in vars(value).items() if name not in _MODULE_OWN}
        # Hooks stand under numbers that differ between processes.
        hooks = [list(getattr(value, name).values()) for name in _HOOKS]
        named = {"_parameters": list(own["_parameters"]), "_buffers": list(own["_buffers"])}
        return own | named | {"hooks": hooks}
