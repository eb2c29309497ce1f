"""The files of a corpus, and what says that they belong together.

corpus.json               version, generator's card, plan, encoding, records a shard
journal.jsonl             what was started, finished and taken up again, and when
shards/00000.tar          the images
shards/00000.records.npy  one row a record
shards/00000.images.npy   one row an image: where it is
shards/00000.json         counts and SHA-256 of the three; written last: the shard is done
shards/00000.tar.partial  a shard in the making
"""

from __future__ import annotations

import dataclasses
import json
import shlex
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from comface_bench.comface.corpus.plan import Plan
from comface_bench.comface.corpus.sameness import Sameness
from comface_bench.comface.synthesis.generator import MACHINE_OPTIONS
from comface_bench.core.digest import digest
from comface_bench.core.errors import DataFormatError, DataMissingError, UsageError
from comface_bench.core.files import file_lock, replace_file, temporary_path
from comface_bench.core.names import did_you_mean

if TYPE_CHECKING:
    from comface_bench.comface.synthesis.generator import GeneratorCard

VERSION: Final = 1
SUFFIXES: Final = ("jpg", "png")
_PATIENCE_S: Final = 60.0  # until another process has written corpus.json, which takes it milliseconds


@dataclasses.dataclass(frozen=True)
class Description:
    """What `corpus.json` says.

    Attributes:
        generator: The generator's card as plain facts.
        plan: Which records.
        arguments: The options that the generator was made with, as the command line had them.
        suffix: `jpg` or `png`.
        quality: Of JPEG, 1 to 100; colour isn't subsampled.
        records_per_shard: Records in each shard but the last.
    """

    generator: dict[str, Any]
    plan: Plan
    arguments: dict[str, str] = dataclasses.field(default_factory=dict)
    suffix: str = "jpg"
    quality: int = 95
    records_per_shard: int = 100

    def __post_init__(self) -> None:
        if self.suffix not in SUFFIXES or not 1 <= self.quality <= 100 or self.records_per_shard < 1:
            raise UsageError("images are jpg or png, quality is 1 to 100, a shard has 1 record or more")

    @property
    def shards(self) -> int:
        """Number of shards."""
        return -(-self.plan.records // self.records_per_shard)

    @classmethod
    def of(cls, card: GeneratorCard, plan: Plan, **encoding: Any) -> Self:
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
            "version": VERSION,
            "generator": self.generator,
            "plan": self.plan.as_json(),
            "arguments": self.arguments,
            "suffix": self.suffix,
            "quality": self.quality,
            "records_per_shard": self.records_per_shard,
        }


class Layout:
    """Names of a corpus's files.

    Args:
        root: The corpus's folder.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        self.description = self.root / "corpus.json"
        self.beginning = self.root / "corpus.lock"
        self.journal = self.root / "journal.jsonl"
        self.shards = self.root / "shards"
        self.quality = self.root / "quality.npy"
        self.quality_report = self.root / "quality.json"

    def tar(self, shard: int) -> Path:
        """Return where a shard's images are."""
        return self.shards / f"{shard:05d}.tar"

    def partial(self, shard: int) -> Path:
        """Return where a shard in the making is."""
        return self.shards / f"{shard:05d}.tar.partial"

    def lock(self, shard: int) -> Path:
        """Return the file that a process holds while it makes a shard."""
        return self.shards / f"{shard:05d}.lock"

    def records(self, shard: int) -> Path:
        """Return where a shard's rows of records are."""
        return self.shards / f"{shard:05d}.records.npy"

    def images(self, shard: int) -> Path:
        """Return where a shard's rows of images are."""
        return self.shards / f"{shard:05d}.images.npy"

    def done(self, shard: int) -> Path:
        """Return the file that says a shard is done."""
        return self.shards / f"{shard:05d}.json"

    def files(self, shard: int) -> tuple[Path, ...]:
        """Return the four files of a finished shard."""
        return self.tar(shard), self.records(shard), self.images(shard), self.done(shard)

    def missing(self, shard: int) -> list[Path]:
        """Return which of a finished shard's files aren't there."""
        return [path for path in self.files(shard) if not path.exists()]

    def again(self, shard: int) -> str:
        """Return the commands that make a shard anew."""
        root, stem = shlex.quote(str(self.root)), f"{shard:05d}"
        return f"rm {root}/{self.shards.name}/{stem}.* && comface-bench synth corpus --out {root}"

    def write(self, description: Description) -> None:
        """Start a corpus, or check that the one that is there is the same; any number of processes may.

        What only says where a corpus is made (`sameness.py`) may change; the journal says when it did.

        Raises:
            UsageError: Another corpus is there, or other files are.
        """
        facts = description.as_json()
        if not self.description.exists():
            self._begin((json.dumps(facts, indent=1) + "\n").encode())
        self.beginning.unlink(missing_ok=True)
        self.shards.mkdir(exist_ok=True)
        sameness = Sameness.of(self.read().as_json(), facts)
        if sameness.other:
            raise UsageError(
                f"{self.root} holds a corpus of other {', '.join(sameness.other)}",
                "Give the same options, versions and files to go on with it, or name another folder with"
                " --out.",
            )
        if sameness.moved:
            self.note("moved", **sameness.moved)
        for key in (key for key in MACHINE_OPTIONS if key in sameness.moved):
            before, now = sameness.moved[key]
            warnings.warn(
                f"{self.root}: {key} was {before} and is {now}; images made from here on may differ in"
                " their last bits from those made in one go",
                stacklevel=3,
            )

    def _begin(self, data: bytes) -> None:
        if self._others() and not self.description.exists():  # if it is there now, the others are its own
            raise UsageError(f"{self.root} isn't an empty folder", "Name a new one: --out DIR")
        self.root.mkdir(parents=True, exist_ok=True)
        with file_lock(
            self.beginning,
            f"{self.beginning} is held: another process begins this corpus",
            "Wait for it, and type the same line again.",
            timeout=_PATIENCE_S,
        ):
            # Whoever comes after finds the description, so the lock's file can go.
            if not self.description.exists():
                replace_file(self.description, data)
            self.beginning.unlink(missing_ok=True)

    def _others(self) -> list[Path]:
        """Return what is in the folder besides what a killed beginning leaves."""
        if not self.root.exists():
            return []
        if not self.root.is_dir():
            return [self.root]
        ours = {self.beginning, temporary_path(self.description)}
        if self.shards.is_dir() and not any(self.shards.iterdir()):
            ours.add(self.shards)
        return [path for path in self.root.iterdir() if path not in ours]

    def read(self) -> Description:
        """Read what the corpus is.

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
            if facts.pop("version") != VERSION:
                raise DataFormatError(f"{self.description}: not version {VERSION}", "Update comface-bench.")
            plan = Plan.from_json(facts.pop("plan"))
            description = Description(plan=plan, **facts)
            description.generator["name"], description.generator["resolution"] + 0
        except (TypeError, KeyError, AttributeError, UsageError) as error:
            told = error.message if isinstance(error, UsageError) else f"{type(error).__name__}: {error}"
            raise DataFormatError(
                f"{self.description}: {told}", "Was it changed by hand? Put back what was there."
            ) from None
        return description

    def note(self, event: str, **facts: Any) -> None:
        """Add a line to the journal."""
        line = {"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "event": event} | facts
        with self.journal.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")


def corpus_digest(layout: Layout, *more: str) -> str:
    """Return the SHA-256 over what a finished corpus says of itself and of its shards, and over `more`.

    Raises:
        DataMissingError: There is no corpus.
        DataFormatError: `corpus.json` isn't one.
        OSError: A shard isn't done.
        ValueError: What says so of a shard isn't JSON.
    """
    description = layout.read()
    shards = [json.loads(layout.done(shard).read_text("utf-8")) for shard in range(description.shards)]
    return digest([description.as_json(), [shard["sha256"] for shard in shards], *more])
