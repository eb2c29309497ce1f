"""The files of a corpus, its description, and whether two descriptions are compatible.

corpus.json               version, generator's card, plan, encoding, records a shard
journal.jsonl             events: started, finished, resumed, with their times
shards/00000.tar          the images
shards/00000.records.npy  one row a record
shards/00000.images.npy   one row an image: its offset and length
shards/00000.json         counts, SHA-256 of the three, and the corpus's key; written last: the shard is done
shards/00000.tar.partial  a shard that is being written
"""

from __future__ import annotations

import dataclasses
import functools
import json
import shlex
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from comface_bench.comface.corpus.plan import CorpusPlan
from comface_bench.comface.synthesis.generator import MACHINE_OPTIONS, RESUMABLE_OPTIONS
from comface_bench.core.digest import digest
from comface_bench.core.errors import DataFormatError, DataMissingError, UsageError
from comface_bench.core.files import append_line, file_lock, replace_file, temporary_path
from comface_bench.core.names import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from comface_bench.comface.synthesis.generator import GeneratorCard


VERSION: Final = 2
"""1: images are named by α and have no checksum; such corpora are read and gone on with as they are."""
SUFFIXES: Final = ("jpg", "png")
_DONE_FACTS: Final = {"records", "images", "sha256", "sha256_records", "sha256_images"}
_PATIENCE_S: Final = 60.0  # until another process has written corpus.json, which takes it milliseconds


@dataclasses.dataclass(frozen=True)
class Description:
    """Contents of `corpus.json`.

    Attributes:
        generator: The generator's card as plain facts.
        plan: The records.
        arguments: Options of the generator, as on the command line.
        suffix: `jpg` or `png`.
        quality: Of JPEG, 1 to 100; colour isn't subsampled.
        records_per_shard: Records in each shard but the last.
        version: Form of the shards, 1 or `VERSION`.
    """

    generator: dict[str, Any]
    plan: CorpusPlan
    arguments: dict[str, str] = dataclasses.field(default_factory=dict)
    suffix: str = "jpg"
    quality: int = 95
    records_per_shard: int = 100
    version: int = VERSION

    def __post_init__(self) -> None:
        if self.suffix not in SUFFIXES or not 1 <= self.quality <= 100 or self.records_per_shard < 1:
            raise UsageError("images are jpg or png, quality is 1 to 100, a shard has 1 record or more")

    @property
    def shards(self) -> int:
        """Number of shards."""
        return -(-self.plan.records // self.records_per_shard)

    @functools.cached_property
    def key(self) -> str:
        """SHA-256 of what decides the images; each shard holds it, so that one of another corpus is told."""
        options = {k: v for k, v in self.generator["options"].items() if k not in MACHINE_OPTIONS}
        generator = {**self.generator, "options": options}
        return digest([generator, self.plan.as_json(), self.suffix, self.quality])

    @classmethod
    def of(cls, card: GeneratorCard, plan: CorpusPlan, **encoding: Any) -> Self:
        """Describe a corpus of a generator.

        Raises:
            UsageError: The plan names an attribute that the generator doesn't have, or a value is out of
                range.
        """
        unknown = sorted(set(plan.attributes) - set(card.attributes))
        if unknown:
            meant = did_you_mean(unknown[0], card.attributes)
            raise UsageError(
                f"{card.name} has no attribute {unknown[0]!r}.{meant}",
                f"It has {', '.join(card.attributes)}.",
            )
        facts = json.loads(json.dumps(dataclasses.asdict(card), sort_keys=True))
        return cls(facts, plan, **encoding)

    def as_json(self) -> dict[str, Any]:
        """Return plain facts."""
        return {
            "version": self.version,
            "generator": self.generator,
            "plan": self.plan.as_json(),
            "arguments": self.arguments,
            "suffix": self.suffix,
            "quality": self.quality,
            "records_per_shard": self.records_per_shard,
            **({"key": self.key} if self.version > 1 else {}),
        }


class Layout:
    """Paths of a corpus's files.

    Args:
        root: The corpus's folder.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        self.description = self.root / "corpus.json"
        self.begin_lock = self.root / "corpus.lock"
        self.journal = self.root / "journal.jsonl"
        self.shards = self.root / "shards"
        self.quality = self.root / "quality.npy"
        self.quality_report = self.root / "quality.json"

    def tar(self, shard: int) -> Path:
        """Return the path of a shard's images."""
        return self.shards / f"{shard:05d}.tar"

    def partial(self, shard: int) -> Path:
        """Return the path of a shard that is being written."""
        return self.shards / f"{shard:05d}.tar.partial"

    def lock(self, shard: int) -> Path:
        """Return the path of the lock that a process holds while it writes a shard."""
        return self.shards / f"{shard:05d}.lock"

    def records(self, shard: int) -> Path:
        """Return the path of a shard's table of records."""
        return self.shards / f"{shard:05d}.records.npy"

    def images(self, shard: int) -> Path:
        """Return the path of a shard's table of images."""
        return self.shards / f"{shard:05d}.images.npy"

    def done(self, shard: int) -> Path:
        """Return the path of the file that marks a shard as done."""
        return self.shards / f"{shard:05d}.json"

    def files(self, shard: int) -> tuple[Path, ...]:
        """Return the four files of a finished shard."""
        return self.tar(shard), self.records(shard), self.images(shard), self.done(shard)

    def missing(self, shard: int) -> list[Path]:
        """Return those of a finished shard's files that don't exist."""
        return [path for path in self.files(shard) if not path.exists()]

    def remake_command(self, shard: int) -> str:
        """Return the shell commands that generate a shard anew."""
        root, stem = shlex.quote(str(self.root)), f"{shard:05d}"
        return f"rm {root}/{self.shards.name}/{stem}.* && comface-bench synth corpus --out {root}"

    def begin(self, description: Description) -> None:
        """Start a corpus, or check that the existing one is compatible; any number of processes may.

        Places of files, and the device, may change (`Compatibility.moved`); the journal has each change.

        Raises:
            UsageError: The folder holds an incompatible corpus, or other files.
        """
        facts = description.as_json()
        if not self.description.exists():
            self._create((json.dumps(facts, indent=1) + "\n").encode())
        self.begin_lock.unlink(missing_ok=True)
        self.shards.mkdir(exist_ok=True)
        begun = self.read()
        found = Compatibility.of(begun.as_json(), facts | {"version": begun.version})
        if found.conflicts:
            raise UsageError(
                f"{self.root} holds a corpus of other {', '.join(found.conflicts)}",
                "Give the same options, versions and files to go on with it, or name another folder with"
                " --out.",
            )
        if found.moved:
            self.log_event("moved", **found.moved)
        for key in (key for key in MACHINE_OPTIONS if key in found.moved):
            before, now = found.moved[key]
            warnings.warn(
                f"{self.root}: {key} was {before} and is {now}; images made from here on may differ in"
                " their last bits from those made in one go",
                stacklevel=3,
            )

    def _create(self, data: bytes) -> None:
        if (
            self._foreign_files() and not self.description.exists()
        ):  # if it is there now, the others are its own
            raise UsageError(f"{self.root} isn't an empty folder", "Name a new one: --out DIR")
        self.root.mkdir(parents=True, exist_ok=True)
        with file_lock(
            self.begin_lock,
            f"{self.begin_lock} is held: another process begins this corpus",
            "Wait for it, and type the same line again.",
            timeout=_PATIENCE_S,
            remove=True,  # whoever comes after finds the description
        ):
            if not self.description.exists():
                replace_file(self.description, data)

    def _foreign_files(self) -> list[Path]:
        """Return the files of the folder besides those that a killed `_create` leaves."""
        if not self.root.exists():
            return []
        if not self.root.is_dir():
            return [self.root]
        ours = {self.begin_lock, temporary_path(self.description)}
        if self.shards.is_dir() and not any(self.shards.iterdir()):
            ours.add(self.shards)
        return [path for path in self.root.iterdir() if path not in ours]

    def read(self) -> Description:
        """Read `corpus.json`.

        Raises:
            DataMissingError: There is no corpus.
            DataFormatError: `corpus.json` isn't one of this version.
        """
        try:
            facts = json.loads(self.description.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise DataMissingError(
                f"{self.root} holds no corpus", f"comface-bench synth corpus --out {self.root}"
            ) from None
        except ValueError as error:
            raise DataFormatError(f"{self.description}: {error}") from None
        try:
            if facts["version"] not in range(1, VERSION + 1):
                raise DataFormatError(
                    f"{self.description}: not of version 1 to {VERSION}", "Update comface-bench."
                )
            plan, key = CorpusPlan.from_json(facts.pop("plan")), facts.pop("key", "")
            description = Description(plan=plan, **facts)
            description.generator["name"], description.generator["resolution"] + 0
            if description.version > 1 and description.key != key:
                raise UsageError("not what the corpus was begun with")
        except (TypeError, KeyError, AttributeError, UsageError) as error:
            reason = error.message if isinstance(error, UsageError) else f"{type(error).__name__}: {error}"
            raise DataFormatError(
                f"{self.description}: {reason}", "Was it changed by hand? Put back what was there."
            ) from None
        return description

    def read_done(self, shard: int, description: Description) -> dict[str, Any]:
        """Read the file that marks a shard as done: counts of records and images, and three SHA-256.

        Raises:
            DataMissingError: The shard isn't done.
            DataFormatError: It isn't such a file, or was finished for another corpus.
        """
        path, again = self.done(shard), self.remake_command(shard)
        try:
            facts: Any = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise DataMissingError(
                f"{path} is missing", f"comface-bench synth corpus --out {self.root}"
            ) from None
        except ValueError as error:
            raise DataFormatError(f"{path}: {error}", again) from None
        if not isinstance(facts, dict) or not facts.keys() >= _DONE_FACTS:
            raise DataFormatError(f"{path}: not the facts of a finished shard", again)
        if description.version > 1 and facts.get("corpus") != description.key:
            raise DataFormatError(f"{path}: this shard was made for another corpus", again)
        return facts

    def log_event(self, event: str, **facts: Any) -> None:
        """Add a line to the journal."""
        line = {"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "event": event} | facts
        append_line(self.journal, json.dumps(line))


def corpus_digest(layout: Layout, *more: str) -> str:
    """Return the SHA-256 over a finished corpus's description, the digests of its shards, and `more`.

    Raises:
        DataMissingError: There is no corpus, or a shard isn't done.
        DataFormatError: `corpus.json` isn't one, or a shard is not of this corpus.
    """
    description = layout.read()
    shards = [layout.read_done(shard, description) for shard in range(description.shards)]
    return digest([description.as_json(), [shard["sha256"] for shard in shards], *more])


class Compatibility(NamedTuple):
    """Differences of two descriptions, as plain facts.

    Attributes:
        conflicts: Differences that make them two corpora: names, with both values where that helps. Files
            count by their contents, wherever they lie.
        moved: Differences of place and device only: name → value then and now, None where it wasn't given.
    """

    conflicts: list[str]
    moved: dict[str, list[Any]]

    @classmethod
    def of(cls, begun: Mapping[str, Any], now: Mapping[str, Any]) -> Self:
        """Compare the description of an existing corpus with a requested one."""
        conflicts = [
            f"generator ({text})" for text in _card_differences(begun["generator"], now["generator"])
        ]
        for key in sorted(now):
            if key not in ("generator", "arguments", "key") and begun[key] != now[key]:
                conflicts.append(key)
        first, second = begun["arguments"], now["arguments"]
        differing = sorted(key for key in {*first, *second} if first.get(key) != second.get(key))
        if not set(differing) <= set(RESUMABLE_OPTIONS):
            conflicts.append("arguments")
        moved = {key: [first.get(key), second.get(key)] for key in RESUMABLE_OPTIONS}
        for key in MACHINE_OPTIONS:  # `auto` as resolved
            moved[key] = [facts["generator"]["options"].get(key) for facts in (begun, now)]
        return cls(conflicts, {key: values for key, values in moved.items() if values[0] != values[1]})


def _card_differences(begun: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Describe the differences of two generators' cards."""
    found = []
    for key in sorted(now):
        before, after = begun.get(key, {}), now[key]
        if key == "options":
            before, after = (
                {k: v for k, v in one.items() if k not in MACHINE_OPTIONS} for one in (before, after)
            )
        if key == "sources":
            found += _source_differences(before, after)
        elif before != after:
            found.append(f"{key}: {before}, now {after}")
    return found


def _source_differences(begun: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Describe the files and versions that differ; a file that was only renamed doesn't."""
    gone, come = dict(begun.items() - now.items()), dict(now.items() - begun.items())
    for name, value in list(come.items()):
        renamed = next((old for old, was in gone.items() if was == value and old not in now), None)
        if renamed is not None and name not in begun:
            del gone[renamed], come[name]
    return [
        f"{name}: {begun.get(name, 'none')}, now {now.get(name, 'none')}" for name in sorted({*gone, *come})
    ]
