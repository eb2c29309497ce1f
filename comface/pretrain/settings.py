"""Settings of a pre-training: presets and files, the curriculum, the learning rate of each step.

The paper restricts |α_y − α_x| by epoch and doesn't publish the table (supplement, A.1, footnote 2), so the
curriculum is an option. Large changes come first: they are learnt in a few hundred steps, in which small
ones are noise.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import tomllib
from importlib import resources
from typing import TYPE_CHECKING, Any, Final, Literal, Self, get_args, get_type_hints

from comface_bench.core.card import NO_AUGMENTATION, TABLE_B, TABLE_D, TABLE_E, Augmentation
from comface_bench.core.digest import digest
from comface_bench.core.errors import UsageError
from comface_bench.core.names import unknown_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


@dataclasses.dataclass(frozen=True)
class CurriculumStage:
    """Part of the curriculum: valid from its epoch on, until the next stage's.

    Attributes:
        epoch: First epoch of the stage, from 1.
        smallest: Smallest |α_y − α_x| of a pair, 0 to 10.
        largest: Largest |α_y − α_x| of a pair, `smallest` to 10.
        image_size: Height and width in pixels that images are rendered at; 0 for that of the settings.
            Small images first make the early epochs cheap.

    Raises:
        UsageError: A value is out of range.
    """

    epoch: int = 1
    smallest: float = 0.0
    largest: float = 10.0
    image_size: int = 0

    def __post_init__(self) -> None:
        if self.epoch < 1:
            raise UsageError(f"curriculum: epoch {self.epoch}; epochs count from 1")
        if not 0 <= self.smallest <= self.largest <= 10 or self.largest == 0:
            raise UsageError(
                f"curriculum, epoch {self.epoch}: changes from {self.smallest} to {self.largest}",
                "α lies in −5 to 5, so changes rise within 0 to 10.",
            )
        if self.image_size and not 16 <= self.image_size <= _LARGEST_IMAGE:
            limit = "below 16" if self.image_size < 16 else f"above {_LARGEST_IMAGE}"
            raise UsageError(f"curriculum, epoch {self.epoch}: image_size {self.image_size} is {limit}")


def read_curriculum(rows: Iterable[Mapping[str, Any]]) -> tuple[CurriculumStage, ...]:
    """Read the table's rows, as a configuration file has them.

    Raises:
        UsageError: A key is unknown, a value is out of range, or the epochs don't rise from 1.
    """
    known = {field.name for field in dataclasses.fields(CurriculumStage)}
    stages = []
    for row in rows:
        if unknown := set(row) - known:
            raise UsageError(
                f"curriculum: unknown {', '.join(sorted(unknown))}",
                f"A stage has {', '.join(sorted(known))}.",
            )
        for name, value in row.items():
            whole = name in ("epoch", "image_size")
            if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
                word = "a whole number" if whole else "a number"
                raise UsageError(f"curriculum: {name} = {value!r}: not {word}")
        # 4 and 4.0 are one setting.
        values: dict[str, Any] = {
            name: value if name in ("epoch", "image_size") else float(value) for name, value in row.items()
        }
        stages.append(CurriculumStage(**values))
    starts = [stage.epoch for stage in stages]
    if not stages or starts[0] != 1 or any(a >= b for a, b in itertools.pairwise(starts)):
        raise UsageError(f"curriculum: epochs {starts}; the first is 1, and they rise")
    return tuple(stages)


def stage_at(stages: tuple[CurriculumStage, ...], epoch: int) -> CurriculumStage:
    """Return the stage that an epoch, from 1, belongs to."""
    return next(stage for stage in reversed(stages) if stage.epoch <= epoch)


AUGMENTATIONS: Final[Mapping[str, Augmentation]] = {
    "table-b": TABLE_B,
    "table-d": TABLE_D,
    "table-e": TABLE_E,
    "none": NO_AUGMENTATION,
}
_LARGEST_IMAGE: Final = 2048
_LIMITS: Final[Mapping[str, tuple[float, float]]] = {
    "image_size": (16, _LARGEST_IMAGE),
    "epochs": (1, 100_000),
    "pairs_per_epoch": (0, 10**9),
    "batch_size": (2, 10**6),
    "chunk_size": (0, 10**6),
    "warmup_steps": (0, 10**9),
    "halve_at": (1, 100_000),
    "projection_dim": (1, 65_536),
    "inter_weight": (0, 10**6),
    "intra_weight": (0, 10**6),
    "l2_start": (0, 10**6),
    "distill": (0, 10**9),
    "min_quality": (0, 1),
    "validation_pairs": (2, 10**7),
    "seed": (0, 2**63 - 1),
}
"""Least and most of each; what is more would end in the middle of a run, without memory."""
OF_START: Final = ("freeze", "l2_start", "distill")
"""Settings that mean something only where a training starts from weights that know something."""
_ABOVE_ZERO: Final = ("learning_rate", "head_rate", "temperature", "change_scale", "validation_share")


@dataclasses.dataclass(frozen=True)
class Settings:
    """Every value that decides the outcome of a pre-training, corpora aside.

    Batch size, optimiser, learning rate, its halving, epochs, image size and augmentation default to Table B.
    The other values aren't published; ours are explained in `docs/choices.md`.

    Attributes:
        backbone: One of Table I's.
        image_size: Height and width in pixels.
        epochs: Passes over the corpus.
        pairs_per_epoch: Pairs of an epoch; 0 takes every disjoint pair.
        batch_size: Pairs of a step, over all processes.
        chunk_size: Pairs that pass the backbone at once in each process; 0 takes its whole share. The
            gradient is that of the whole batch all the same; batch norm sees one chunk at a time.
        learning_rate: Of Adam.
        head_rate: Rate of heads and projector, which start anew, over that of the backbone.
        schedule: `halved` as in Table B, or `cosine` to 0 at the end.
        halve_at: Epoch from which `halved` halves, from 1.
        warmup_steps: Steps in which the rate rises from 0.
        augmentation: Name: the supplement's table, or `none`.
        degradation: `none`, or `photograph`: views look taken, kept and scanned beside being augmented.
        temperature: Of the contrast of identities.
        inter_weight, intra_weight: Of the two losses; a contrast of weight 0 isn't computed.
        freeze: What of the start doesn't learn: its first stages, norms, or parts by name; see
            `retention.choose_frozen`.
        l2_start: λ of the pull towards the start's weights; see `retention.WeightPull`.
        distill: Weight of the pull towards the start's features; see `retention.FeaturePull`.
        change_scale: Change of α that the heads answer with 1.
        heads: `shared` trains one head on all attributes, `attribute` one for each beside it.
        projection_dim: Size of the space of identities.
        attributes: Those to learn from; none named takes all.
        min_quality: Identities of a lower mean quality score are left out (Table H).
        validation_share: Share of identities held out.
        validation_pairs: Pairs of held-out identities that the loss is measured on.
        seed: Of weights, pairs and views.
        precision: `auto`, `float32` or `bfloat16`.
        curriculum: Stages, the first from epoch 1.

    Raises:
        UsageError: A value is out of range.
    """

    backbone: str = "resnet50"
    image_size: int = 224
    epochs: int = 12
    pairs_per_epoch: int = 0
    batch_size: int = 1024
    chunk_size: int = 0
    learning_rate: float = 4.0e-4
    head_rate: float = 1.0
    schedule: Literal["halved", "cosine"] = "halved"
    halve_at: int = 10
    warmup_steps: int = 0
    augmentation: str = "table-b"
    degradation: Literal["none", "photograph"] = "none"
    temperature: float = 0.1
    inter_weight: float = 1.0
    intra_weight: float = 1.0
    freeze: str = ""
    l2_start: float = 0.0
    distill: float = 0.0
    change_scale: float = 5.0
    heads: Literal["shared", "attribute"] = "attribute"
    projection_dim: int = 128
    attributes: tuple[str, ...] = ()
    min_quality: float = 0.0
    validation_share: float = 0.05
    validation_pairs: int = 2000
    seed: int = 0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    curriculum: tuple[CurriculumStage, ...] = (CurriculumStage(),)

    def __post_init__(self) -> None:
        for name, (least, most) in _LIMITS.items():
            if math.isnan(value := getattr(self, name)):
                raise UsageError(f"{name} = {value}: not a number")
            if not least <= value <= most:
                limit = f"more than {most}" if value > most else f"less than {least}"
                raise UsageError(f"{name} = {value}: {limit}")
        for name in _ABOVE_ZERO:
            if not 0 < getattr(self, name) < float("inf"):
                raise UsageError(f"{name} = {getattr(self, name)}: not a number above 0")
        if self.validation_share >= 1:
            raise UsageError(f"validation_share = {self.validation_share}: not below 1")
        if not self.inter_weight + self.intra_weight > 0:
            raise UsageError("inter_weight and intra_weight are both 0: there is nothing to learn")
        if late := [stage.epoch for stage in self.curriculum if stage.epoch > self.epochs]:
            raise UsageError(
                f"the curriculum's stage from epoch {late[0]} is never reached in {self.epochs} epochs",
                "Give more epochs, or a curriculum of your own in a file: --config FILE",
            )
        if self.augmentation not in AUGMENTATIONS:
            raise unknown_name(self.augmentation, AUGMENTATIONS, "augmentation")

    def as_json(self) -> dict[str, Any]:
        """Return every value, JSON-ready; what needs a start only where it is asked for."""
        facts = dataclasses.asdict(self)
        # So trainings that began before these settings were there go on.
        facts = {name: value for name, value in facts.items() if value or name not in OF_START}
        if self.head_rate == 1:
            del facts["head_rate"]
        return {**facts, "attributes": list(self.attributes), "curriculum": list(facts["curriculum"])}

    def digest(self) -> str:
        """Return the SHA-256 of every value."""
        return digest(self.as_json())

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], where: str, base: Self | None = None) -> Self:
        """Read settings as a TOML file has them.

        Args:
            values: By name.
            where: Source of the values, for messages.
            base: Settings for the names that are absent.

        Raises:
            UsageError: A name is unknown, or a value doesn't fit.
        """
        hints, known = get_type_hints(cls), [field.name for field in dataclasses.fields(cls)]
        chosen: dict[str, Any] = {}
        for name, value in values.items():
            if name not in known:
                error = unknown_name(name, known, "setting")
                raise UsageError(f"{where}: {error.message}", error.hint)
            chosen[name] = _convert(name, value, hints[name], where)
        return dataclasses.replace(base or cls(), **chosen)


def preset_names() -> list[str]:
    """Return the names of the presets that ship."""
    folder = resources.files("comface_bench.comface.pretrain") / "presets"
    return sorted(file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml"))


def load_preset(name: str) -> Settings:
    """Return a preset.

    Raises:
        UnknownNameError: There is none of that name.
    """
    if name not in preset_names():
        raise unknown_name(name, preset_names(), "preset")
    text = (resources.files("comface_bench.comface.pretrain") / "presets" / f"{name}.toml").read_text("utf-8")
    return Settings.from_mapping(tomllib.loads(text), name)


def load_settings(path: Path) -> Settings:
    """Read a configuration file: TOML, names as in `Settings`, `preset = NAME` for those that are absent.

    Raises:
        UsageError: The file can't be read, or a value doesn't fit.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", "Presets: comface-bench pretrain --help") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {error}") from None
    preset = values.pop("preset", None)
    base = load_preset(str(preset)) if preset is not None else None
    return Settings.from_mapping(values, str(path), base)


def override_settings(settings: Settings, options: Mapping[str, str]) -> Settings:
    """Return settings with some values as typed on the command line.

    Raises:
        UsageError: A name is unknown, or a value doesn't fit.
    """
    hints = get_type_hints(Settings)
    values: dict[str, Any] = {}
    for name, text in options.items():
        kind = hints.get(name)
        try:
            if name == "curriculum":
                raise UsageError("-o curriculum=…: a table is written in a file", "Use --config FILE.")
            if kind in (int, float):
                values[name] = kind(text)
            elif name == "attributes":
                values[name] = [word for word in text.split(",") if word]
            else:
                values[name] = text
        except ValueError:
            word = "a whole number" if kind is int else "a number"
            raise UsageError(f"-o {name}={text}: not {word}") from None
    return Settings.from_mapping(values, "-o", settings)


def _convert(name: str, value: Any, kind: Any, where: str) -> Any:
    if name == "curriculum":
        if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
            raise UsageError(f"{where}: curriculum is no table", "Write each stage as [[curriculum]].")
        return read_curriculum(value)
    if name == "attributes":
        if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
            raise UsageError(f"{where}: attributes is no list of names")
        return tuple(value)
    if choices := get_args(kind):
        if value not in choices:
            raise UsageError(f"{where}: {name} = {value!r}: not one of {', '.join(choices)}")
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float) if kind is float else kind):
        raise UsageError(f"{where}: {name} = {value!r}: not of type {kind.__name__}")
    return kind(value)


def learning_rate(settings: Settings, step: int, progress: float) -> float:
    """Return the rate of a step.

    Args:
        settings: Rate, schedule and warm-up.
        step: Number of the step in all, from 0.
        progress: Epochs done before the step, in fractions: 0 to `settings.epochs`.
    """
    if settings.schedule == "cosine":
        factor = 0.5 * (1 + math.cos(math.pi * progress / settings.epochs))
    else:
        # "Halved in 10 epochs" (Table B), read as: from epoch 10 on, half.
        factor = 0.5 if progress >= settings.halve_at - 1 else 1.0
    warm = min(1.0, (step + 1) / settings.warmup_steps) if settings.warmup_steps else 1.0
    return settings.learning_rate * factor * warm
