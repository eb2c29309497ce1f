"""Models: what the units of a record learnt, applied to photographs of anybody.

A record says everything about its models but their numbers: method, options, protocol and test predictions.
So a model is a record and the files beside it (`results/models.py`). It is loaded only if the method, the
weights and the protocol that are here are those of the record, and each file is of its unit's key and stored
predictions.

An answer is the mean over the models of all folds and repetitions. Its interval is that of the errors which
the record's test pairs had at estimates of that size (`stats/interval.py`), widened to hold every model's own
answer: models that disagree have left what they learnt.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shlex
import statistics
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from comface_bench.core.card import Family, MethodCard, deciding_facts, facts
from comface_bench.core.digest import digest, digest_file
from comface_bench.core.display import html_facts, short_repr, with_unit
from comface_bench.core.errors import (
    DataMissingError,
    MissingExtraError,
    ResultError,
    UnlikePhotoError,
    UsageError,
    WeightsFormatError,
)
from comface_bench.core.names import method_options, parse_name
from comface_bench.core.protocol import Protocol, protocol_registry, resolve_protocol
from comface_bench.core.registry import Entry, method_registry
from comface_bench.core.unit import ENGINE_EPOCH
from comface_bench.core.weights import digest_weights, find_weights
from comface_bench.results.models import ModelFiles
from comface_bench.results.store import ResultStore
from comface_bench.stats.metrics import describe_metric
from comface_bench.version import __version__

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from comface_bench.data.photos import FaceFinder, PhotoFacts
    from comface_bench.engine.encoder import Encoder, ImageSource
    from comface_bench.engine.pair_model import AttributionKind, PairHeads
    from comface_bench.engine.precision import Machine
    from comface_bench.execute.explanation import Explanation
    from comface_bench.results.record import Content
    from comface_bench.results.schema import Record, UnitResult
    from comface_bench.stats.interval import MeasuredErrors

Progress = Callable[[int, int], None]

LEVEL = 0.95
"""Of intervals, by default."""
_MOST_LISTED = 20
PORTION = 1024
"""Photographs that are prepared at a time."""


def check_level(level: float) -> None:
    """Check the probability of an interval.

    Raises:
        UsageError: It isn't between 0 and 1.
    """
    if not 0 < level < 1:
        meant = f"{level / 100:g}" if 1 < level < 100 else f"{LEVEL:g}"
        raise UsageError(f"a level of {level:g} isn't between 0 and 1", f"Such as {meant}.")


@dataclass(frozen=True)
class Estimate:
    """The change from one photograph to another, in the target's unit.

    Attributes:
        first, second: The photographs.
        change: Estimated change: the mean of the models' answers.
        low, high: Its interval, at the level that was asked for.
        answers: Of each model, by seed and fold.
        unit: Unit of the target, such as `years`.
        pairs, people: How many of the record's test pairs, and of how many people, the interval's errors are.
        beyond: Whether no test pair had an estimate as large.
    """

    first: Path
    second: Path
    change: float
    low: float
    high: float
    answers: tuple[float, ...]
    unit: str
    pairs: int
    people: int
    beyond: bool

    @property
    def spread(self) -> float:
        """Standard deviation of the answers; 0 where there is one."""
        return statistics.stdev(self.answers) if len(self.answers) > 1 else 0.0

    def __float__(self) -> float:
        return self.change

    def __str__(self) -> str:
        return f"{with_unit(f'{self.change:+.3g}', self.unit)} ({self.low:+.3g} to {self.high:+.3g})"


@dataclass(frozen=True, eq=False)
class Backbone:
    """How the encoders of a record are built.

    Attributes:
        entry: The method.
        options: All of its options.
        weights: Its weights file.
        drawn: Whether each repetition has another.
        machine: Device and precision.
    """

    entry: Entry[MethodCard]
    options: Mapping[str, str]
    weights: Path | None
    machine: Machine

    def build(self, seed: int) -> Encoder:
        """Build the encoder of a repetition."""
        from comface_bench.engine.encoder import build_encoder

        encoder = build_encoder(self.entry, self.options, self.weights, seed)
        return encoder.to(self.machine.device).eval().requires_grad_(False)


@dataclass(frozen=True, eq=False)
class Share:
    """Units that share an encoder.

    Attributes:
        units: In the order of the record.
        files: Their models.
    """

    units: tuple[UnitResult, ...]
    files: tuple[Path, ...]

    def load(self, backbone: Backbone, image_size: int) -> tuple[Encoder, PairHeads]:
        """Build the encoder and read the heads.

        Raises:
            ResultError: A file is damaged, or doesn't fit the backbone that is here.
        """
        from comface_bench.engine.encoder import state_digest
        from comface_bench.engine.model_file import read_model
        from comface_bench.engine.pair_model import PairHeads

        encoder = backbone.build(self.units[0].seed)
        expected = encoder.state_dict()
        fitted = [read_model(file, expected) for file in self.files]
        if fitted[0].backbone:
            encoder.load_state_dict(dict(fitted[0].backbone))
        elif any(one.encoder != state_digest(encoder) for one in fitted):
            raise ResultError(
                f"{self.files[0]}: learnt on another backbone than {encoder.name} builds here",
                "Its weights, or the library that it comes from, were others. Make the models again: the"
                " record's own command with --again --save-models",
            )
        width = encoder.measure(image_size)
        for file, one in zip(self.files, fitted, strict=True):
            inputs = PairHeads.inputs(one, width)
            if len(one.weight) != inputs:
                raise ResultError(
                    f"{file}: its head has {len(one.weight)} numbers, where {width} features need {inputs}",
                    "Make it again: the record's own command with --save-models",
                )
        return encoder, PairHeads.of(fitted)


class Model:
    """The models of a record; `load_model` makes it.

    Attributes:
        record: The record.
        protocol: Resolved.
        backbone: Builds the encoders.
        shares: The units whose models answer, those that share an encoder together.
        photos: What the pictures of its task are like.
        faces: Looks for faces in photographs, before they are answered for; None doesn't.
    """

    def __init__(
        self,
        record: Record,
        protocol: Protocol,
        backbone: Backbone,
        shares: Sequence[Share],
        photos: PhotoFacts,
        errors: MeasuredErrors,
        faces: FaceFinder | None,
    ) -> None:
        self.record, self.protocol, self.backbone = record, protocol, backbone
        self.shares, self.photos, self._errors, self.faces = tuple(shares), photos, errors, faces
        # What is wrong is said now; where there is one share it is also the one that answers.
        self._loaded = (self.shares[0], *self.shares[0].load(backbone, protocol.image_size))

    def __repr__(self) -> str:
        names = (self.record.method.name, self.record.task.name, self.record.protocol.name)
        units = sum(len(share.units) for share in self.shares)
        return short_repr("Model", " · ".join(names), f"{units} units")

    def _repr_html_(self) -> str:
        record, name = self.record, self.record.task.metrics[0]
        heading, value = describe_metric(name, record.primary[name], record.task.unit)
        shown = {
            "change of": with_unit(record.task.target, record.task.unit, ", "),
            "task": record.task.name,
            "protocol": record.protocol.name,
            "models": str(sum(len(share.units) for share in self.shares)),
            f"{heading} of the record": value,
        }
        return html_facts(record.method.name, shown)

    def load(self, share: Share) -> tuple[Encoder, PairHeads]:
        """Return a share's encoder and heads; only one is kept in memory.

        Raises:
            ResultError: As `Share.load`.
        """
        if self._loaded[0] is not share:
            self._loaded = (share, *share.load(self.backbone, self.protocol.image_size))
        return self._loaded[1:]

    def predict(
        self,
        first: Path | str,
        second: Path | str,
        *,
        level: float = LEVEL,
        check: bool = True,
    ) -> Estimate:
        """Estimate the change from one photograph to another of the same person.

        Args:
            first: File of the earlier one.
            second: File of the later one.
            level: Probability of the interval.
            check: As `predict_pairs` takes it.

        Raises:
            UnlikePhotoError: A photograph is refused.
            UsageError: The level isn't between 0 and 1.
        """
        (found,) = self.predict_pairs([(first, second)], level=level, check=check)
        if isinstance(found, UnlikePhotoError):
            raise found
        return found

    def predict_pairs(
        self,
        pairs: Sequence[tuple[Path | str, Path | str]],
        *,
        level: float = LEVEL,
        check: bool = True,
        progress: Progress | None = None,
    ) -> list[Estimate | UnlikePhotoError]:
        """Estimate the changes of pairs; each photograph is prepared once, and encoded once by each backbone.

        Args:
            pairs: Files of the two photographs of each.
            level: Probability of the intervals.
            check: Whether photographs unlike the task's are refused (`data.photos`).
            progress: Called with the number of photographs encoded and of all.

        Returns:
            For each pair in order its estimate, or why it is refused.

        Raises:
            UsageError: The level isn't between 0 and 1.
        """
        import numpy as np

        check_level(level)
        named = [(Path(first), Path(second)) for first, second in pairs]
        every = dict.fromkeys(file for pair in named for file in pair)
        refused = {file: error for file in every if (error := self._refuse(file, check))}
        taken = [pair for pair in named if refused.keys().isdisjoint(pair)]
        row = {file: number for number, file in enumerate(file for file in every if file not in refused)}
        found: Iterator[Estimate] = iter(())
        if taken:
            x, y = (np.array([row[pair[side]] for pair in taken], dtype=np.int64) for side in (0, 1))
            answers = self._answer(list(row), x, y, progress or _ignore)
            found = (self._estimate(*item, level) for item in zip(taken, answers.T, strict=True))
        return [refused.get(first) or refused.get(second) or next(found) for first, second in named]

    def explain(
        self,
        first: Path | str,
        second: Path | str,
        *,
        method: AttributionKind = "occlusion",
        window: float | None = None,
        stride: float | None = None,
        level: float = LEVEL,
        check: bool = True,
        progress: Progress | None = None,
    ) -> Explanation:
        """Measure which regions of two photographs moved the estimate of the change between them.

        What a region adds is the estimate less that with the region hidden, the mean over the models.

        Args:
            first: File of the earlier photograph.
            second: File of the later one.
            method: `occlusion` hides windows one by one; `gradients` sums integrated gradients over them.
            window: Side of a window as a share of the photograph's, `engine.attribution.WINDOW` by default.
            stride: From one window to the next, likewise `STRIDE`, or the window if that is less.
            level: Probability of the estimate's interval.
            check: As `predict_pairs` takes it.
            progress: Called with the number of images encoded and of all.

        Raises:
            UnlikePhotoError: A photograph is refused.
            UsageError: There is no such method, or a share or the level is out of its range.
            UnitError: The backbone has no gradients, or none that are finite.
        """
        import numpy as np

        from comface_bench.engine import attribution
        from comface_bench.engine.pair_model import AttributionKind
        from comface_bench.execute.explanation import Explanation

        if method not in get_args(AttributionKind):
            raise UsageError(
                f"no method is called {method!r}", f"Use {' or '.join(get_args(AttributionKind))}."
            )
        size = self.protocol.image_size
        window, stride = attribution.choose_shares(window, stride)
        windows = attribution.Windows.over(size, size, window, stride)
        estimate = self.predict(first, second, level=level, check=check)
        with self._show([estimate.first, estimate.second]) as images:
            pair = images.plain(np.arange(2))
        each = len(windows.slices()) if method == "occlusion" else attribution.STEPS
        tick = _counting(2 * each * len(self.shares), progress or _ignore)
        # What most regions add is less than what bfloat16 rounds.
        machine = dataclasses.replace(self.backbone.machine, precision="float32")
        effects = np.zeros((2, *windows.shape))
        for share in self.shares:
            encoder, heads = self.load(share)
            found = heads.attribute(method, encoder, pair, windows, machine, tick)
            effects += found * len(share.units)
        return Explanation(
            estimate.first,
            estimate.second,
            target=self.record.task.target,
            unit=self.record.task.unit,
            change=estimate.change,
            low=estimate.low,
            high=estimate.high,
            method=method,
            windows=windows,
            images=(pair.permute(0, 2, 3, 1) * 255).round().byte().cpu().numpy(),
            effects=effects / sum(len(share.units) for share in self.shares),
        )

    def export_onnx(self, path: Path) -> float:
        """Write the models as one ONNX graph of two photographs, the mean of the heads on their backbone.

        Args:
            path: The file.

        Returns:
            The largest difference between onnxruntime's answers and the model's, relative to the larger of 1
            and the answer.

        Raises:
            UsageError: The models have several backbones; a graph has one.
            MissingExtraError: A package for ONNX isn't installed.
            ResultError: The network can't be written as ONNX, or its graph answers otherwise.
        """
        from comface_bench.data.image_store import stored_size
        from comface_bench.engine.onnx_export import write_onnx

        record, size = self.record, self.protocol.image_size
        if len(self.shares) > 1:
            firsts = [share.units[0] for share in self.shares]
            listed = ", ".join(f"fold {unit.fold} seed {unit.seed}" for unit in firsts)
            raise UsageError(
                f"{len(firsts)} backbones, and a graph has one", f"Choose by --folds and --seeds: {listed}"
            )
        encoder, heads = self.load(self.shares[0])
        shown = "a square" if self.protocol.align == "none" else "a chip of the face"
        facts = {
            "method": record.method.name,
            "task": record.task.name,
            "target": record.task.target,
            "unit": record.task.unit,
            "protocol": json.dumps({"name": record.protocol.name, **self.protocol.facts()}),
            "preparation": f"upright RGB, made {shown} of {stored_size(size)} pixels as the protocol says,"
            f" then a square of {size}, bilinear with antialiasing",
            "units": json.dumps([unit.key for unit in self.shares[0].units]),
            "licence": record.method.about.licence,
            "comface_bench": __version__,
        }
        try:
            return write_onnx(path, encoder, heads, size, facts)
        finally:
            encoder.to(self.backbone.machine.device)  # Which writing has moved to the CPU.

    def _refuse(self, file: Path, check: bool) -> UnlikePhotoError | None:
        """Return why a photograph isn't taken, or None."""
        import numpy as np

        from comface_bench.data.image_file import ONE_COLOUR, UnreadableImageError, is_one_colour, read_image
        from comface_bench.data.photos import find_unlike

        try:
            pixels = np.asarray(read_image(file))
            if is_one_colour(pixels.tobytes()):
                raise UnreadableImageError(file, *ONE_COLOUR)
        except FileNotFoundError:
            return UnlikePhotoError(f"there is no photograph {file}")
        except UnreadableImageError as error:
            return UnlikePhotoError(error.message, error.hint)
        if not check:
            return None
        reason = find_unlike(pixels, self.photos, self.faces, self.protocol.align != "none")
        return UnlikePhotoError(f"{file} {reason}", ANYWAY) if reason else None

    def _answer(
        self, files: Sequence[Path], x: NDArray[np.int64], y: NDArray[np.int64], progress: Progress
    ) -> NDArray[np.float64]:
        """Return each model's answers, (units, pairs), units by share."""
        import numpy as np
        import torch

        tick = _counting(len(files) * len(self.shares), progress)
        features: list[list[torch.Tensor]] = [[] for _ in self.shares]
        heads: list[PairHeads] = []
        for start in range(0, len(files), PORTION):
            with self._show(files[start : start + PORTION]) as images:
                loaded = [self._encode(share, images, tick) for share in self.shares]
            heads = [one for one, _ in loaded]
            for kept, (_, values) in zip(features, loaded, strict=True):
                kept.append(values)
        scores = [one.score(torch.cat(values), x, y) for one, values in zip(heads, features, strict=True)]
        return np.concatenate(scores)

    def _encode(
        self, share: Share, images: ImageSource, tick: Callable[[int], None]
    ) -> tuple[PairHeads, Tensor]:
        encoder, heads = self.load(share)
        return heads, heads.encode(encoder, images, tick)

    @contextlib.contextmanager
    def _show(self, files: Sequence[Path]) -> Iterator[ImageSource]:
        """Prepare photographs as those of a run are, in a folder that is gone afterwards."""
        from comface_bench.data.image_store import open_shown
        from comface_bench.data.manifest import Manifest
        from comface_bench.engine.encoder import ImageSource

        count = len(files)
        table = Manifest(
            name="photographs",
            root=Path(),
            images=tuple(str(file) for file in files),
            subjects=("",) * count,
            sessions=(None,) * count,
            phases=(None,) * count,
            labels={},
            contents=tuple(digest_file(file) for file in files),
        )
        with tempfile.TemporaryDirectory(prefix="comface-bench-") as folder:
            store = open_shown(table, self.protocol, cache=Path(folder))
            yield ImageSource.unaugmented(store, self.protocol.image_size, self.backbone.machine)

    def _estimate(self, pair: tuple[Path, Path], answers: NDArray[np.float64], level: float) -> Estimate:
        change = float(answers.mean())
        error = self._errors.near(change, level)
        return Estimate(
            *pair,
            change=change,
            low=min(change + error.low, float(answers.min())),
            high=max(change + error.high, float(answers.max())),
            answers=tuple(answers.tolist()),
            unit=self.record.task.unit,
            pairs=error.pairs,
            people=error.people,
            beyond=abs(change) > self._errors.largest,
        )


ANYWAY = "To have an answer all the same: --any-photo, in Python check=False"


def load_model(
    record: Path,
    *,
    checkpoint: Path | None = None,
    folds: Collection[int] | None = None,
    seeds: Collection[int] | None = None,
    device: str = "auto",
    find_faces: bool = True,
    plugin_files: Iterable[Path] = (),
    use_plugins: bool = True,
) -> Model:
    """Load the models of a record.

    Args:
        record: Its JSON.
        checkpoint: The method's weights file, where the record was made with one of the user's own.
        folds: Folds whose models answer; all that there are by default.
        seeds: Their repetitions, likewise.
        device: As `engine.precision.choose_machine` takes it.
        find_faces: Whether photographs without a face are refused, where the detector is installed.
        plugin_files: Files that declare the method or the protocol.
        use_plugins: Whether installed plugins are looked up.

    Raises:
        DataMissingError: There is no such record, or it has no models.
        ResultError: It isn't sound; a model isn't of its unit, is damaged, or is for another backbone.
        UsageError: The method or the protocol that is here isn't the record's.
        WeightsMissingError, WeightsFormatError: The method's weights aren't there, or are others.
    """
    from comface_bench.engine.model_file import read_facts
    from comface_bench.engine.precision import choose_machine
    from comface_bench.results.predictions import predictions_of
    from comface_bench.results.record import read_sound

    if record.is_dir() or not record.exists():
        raise DataMissingError(
            f"{record} is a folder" if record.is_dir() else f"there is no record {record}",
            "Name a record's JSON, TASK/PROTOCOL/METHOD.json in a folder of results."
            + "".join(f"\n  {path}" for path in _some_records(record)),
        )
    content = read_sound(record, predictions_of(record))
    found = content.record()
    units = _choose_units(found, folds, seeds)
    protocol = _find_protocol(found, plugin_files, use_plugins)
    entry, options, weights = _find_method(found, checkpoint, plugin_files, use_plugins)
    if entry.source is not None and any(
        unit.details.get("method_source", entry.source) != entry.source for unit in units
    ):
        raise UsageError(
            f"the source of {entry.card.name} was changed since the record was made, under its old version",
            "Bring it back, or run the units anew: the record's own command with --again",
        )
    precisions = sorted({str(unit.details.get("precision", "float32")) for unit in units})
    if len(precisions) > 1:
        raise UsageError(
            f"{record}: its units ran in {' and '.join(map(repr, precisions))}",
            "Choose some: --folds, --seeds",
        )
    machine = choose_machine(device, precisions[0], trains=protocol.trains == "backbone")
    shares: dict[object, list[tuple[UnitResult, Path]]] = {}
    both_ways = True
    for unit, path in _find_files(record.absolute(), found, units):
        said = read_facts(path)
        if (said.key, said.predictions_digest) != (unit.key, unit.predictions_digest):
            raise ResultError(
                f"{path}: the model of another unit, or of another run of this one", _remedy(found)
            )
        photos, both_ways = said.photos, both_ways and said.head == "difference"
        # Trained backbones differ between units, drawn ones between repetitions.
        own = unit.key if not said.encoder else unit.seed if entry.card.drawn else None
        shares.setdefault((own, said.encoder, said.head, said.mirror), []).append((unit, path))
    return Model(
        found,
        protocol,
        Backbone(entry, options, weights, machine),
        [Share(*zip(*some, strict=True)) for some in shares.values()],
        photos,
        _measure_errors(content, both_ways),
        _open_finder() if find_faces else None,
    )


def _some_records(folder: Path) -> Iterator[str]:
    """Yield a folder's records, and how many more than can be read at once there are."""
    found = ResultStore(folder).paths() if folder.is_dir() else []
    yield from map(str, found[:_MOST_LISTED])
    if len(found) > _MOST_LISTED:
        yield f"and {len(found) - _MOST_LISTED} more"


def _choose_units(
    record: Record, folds: Collection[int] | None, seeds: Collection[int] | None
) -> list[UnitResult]:
    """Return units of a record, each of the key that it must have.

    Raises:
        UsageError: There is none of these folds and repetitions.
        ResultError: A key isn't that of the record's facts.
    """
    chosen = [
        unit
        for unit in record.units
        if (folds is None or unit.fold in folds) and (seeds is None or unit.seed in seeds)
    ]
    if not chosen:
        there = ", ".join(f"fold {unit.fold} seed {unit.seed}" for unit in record.units) or "none"
        raise UsageError("the record has no unit of these folds and seeds", f"It has {there}.")
    for unit in chosen:
        try:
            right = record.unit_key(unit.fold, unit.seed)
        except (LookupError, TypeError, ValueError, AttributeError, UsageError) as error:
            raise ResultError(f"the record's facts make no key: {error}") from None
        if unit.key != right:
            raise ResultError(
                f"fold {unit.fold}, seed {unit.seed} has another key than the record's facts make",
                "Make the record again.",
            )
    return chosen


def _find_files(path: Path, record: Record, units: Iterable[UnitResult]) -> list[tuple[UnitResult, Path]]:
    """Return units with their models.

    Raises:
        DataMissingError: Some aren't there.
    """
    files = ModelFiles(path)
    found = [(unit, files.path((unit.fold, unit.seed), unit)) for unit in units]
    missing = [unit for unit, file in found if not file.exists()]
    if missing:
        listed = ", ".join(f"fold {unit.fold} seed {unit.seed}" for unit in missing[:8])
        more = ", …" if len(missing) > 8 else ""
        only = "" if len(missing) == len(found) else "\nor name those that are there: --folds, --seeds"
        raise DataMissingError(
            f"{path} has no model of {listed}{more} in {files.folder.name}", _remedy(record) + only
        )
    return found


def _find_protocol(record: Record, plugin_files: Iterable[Path], use_plugins: bool) -> Protocol:
    """Return the protocol of a record, as it is here.

    Raises:
        UsageError: It isn't here, or has other values.
    """
    name, overrides = parse_name(record.protocol.name)
    declared, own_head = record.task.card.get("family"), record.method.card.get("pretrained_head") is True
    known: tuple[Family, ...] = get_args(Family)
    family = next((one for one in known if one == declared), None)
    if family is None:
        raise ResultError(f"the record's task is of no family that is known: {declared!r}")
    registry = protocol_registry(plugin_files, use_plugins)
    # A chip is prose, which cards in records lack: where faces are aligned, the protocol's values have it.
    align = record.protocol.values.get("align")
    chip = str(align.get("chip")) if isinstance(align, dict) else MethodCard.chip
    protocol = resolve_protocol(name, family, overrides, own_head, registry, chip)
    if digest({**protocol.facts(), "engine_epoch": ENGINE_EPOCH}) != record.protocol.digest:
        raise UsageError(
            f"protocol {record.protocol.name} means other values here than in the record",
            "Another version of comface-bench made it. " + _remedy(record),
        )
    return protocol


def _find_method(
    record: Record, checkpoint: Path | None, plugin_files: Iterable[Path], use_plugins: bool
) -> tuple[Entry[MethodCard], dict[str, str], Path | None]:
    """Return the method of a record with all of its options and its weights, as they are here.

    Raises:
        UnknownNameError: It isn't here.
        UsageError: It is another, or its weights have to be named.
        WeightsMissingError, WeightsFormatError: Its weights aren't there, or are others.
    """
    name, _ = parse_name(record.method.name)
    own: dict[str, str] = {}
    if "checkpoint" in record.method.options:
        if checkpoint is None:
            raise UsageError(
                "the record was made with weights of the user's own,"
                f" {record.method.options['checkpoint']!r}",
                "Name their file: --checkpoint FILE",
            )
        own = {"checkpoint": str(checkpoint)}
    elif checkpoint is not None:
        raise UsageError("the record was made with the method's own weights", "Leave --checkpoint out.")
    entry = method_registry(plugin_files, use_plugins).get(name).configured(own)
    here = deciding_facts(json.loads(json.dumps(facts(entry.card))), MethodCard)
    if here != deciding_facts(record.method.card, MethodCard):
        raise UsageError(
            f"method {name} is another here than in the record: its card has other facts", _remedy(record)
        )
    options = {key: str(value) for key, value in record.method.options.items() if key != "checkpoint"}
    options = method_options(entry.card, options | own)
    weights = find_weights(entry, options)
    found = digest_weights(weights).content if weights else None
    if found != record.method.checkpoint_digest:
        raise WeightsFormatError(
            f"{weights or name}: not the weights that the record's backbone had: their digest is"
            f" {(found or 'none')[:12]!r}, not {(record.method.checkpoint_digest or 'none')[:12]!r}",
            "Get those, or make the record again with these.",
        )
    return entry, options, weights


def _open_finder() -> FaceFinder | None:
    """Return the face detector, if it is installed."""
    from comface_bench.data.faces import DlibDetector

    try:
        return DlibDetector()
    except MissingExtraError:
        return None


def _measure_errors(content: Content, both_ways: bool) -> MeasuredErrors:
    """Return the errors of all test pairs of a record; `both_ways` as `MeasuredErrors` takes it."""
    from comface_bench.results.predictions import parse_columns
    from comface_bench.stats.interval import MeasuredErrors

    parts = [
        parse_columns(text, f"fold {place[0]}, seed {place[1]}") for place, text in content.texts.items()
    ]
    y = [value for part in parts for value in part.y]
    yhat = [value for part in parts for value in part.yhat]
    people = [subject for part in parts for subject in part.subjects]
    return MeasuredErrors(y, yhat, people, both_ways)


def _remedy(record: Record) -> str:
    names = (record.method.name, record.task.name, record.protocol.name)
    # Anybody may have written them.
    method, task, protocol = (shlex.quote(ascii(name)[1:-1]) for name in names)
    return (
        f"Make them: comface-bench run --method {method} --task {task} --protocol {protocol} --save-models"
        ", with the options that the record was made with"
    )


def _counting(total: int, progress: Progress) -> Callable[[int], None]:
    """Return a function of the images of a batch that tells how many are done."""
    done = 0

    def tick(count: int) -> None:
        nonlocal done
        done = min(done + count, total)
        progress(done, total)

    return tick


def _ignore(done: int, total: int) -> None:
    del done, total
