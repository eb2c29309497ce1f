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
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from comface_bench.comface.corpus.plan import Plan
from comface_bench.core.digest import digest
from comface_bench.core.errors import DataFormatError, DataMissingError, UsageError
from comface_bench.core.files import replace_file, require_empty

if TYPE_CHECKING:
    from comface_bench.comface.synthesis.generator import GeneratorCard

VERSION: Final = 1
SUFFIXES: Final = ("jpg", "png")


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
            raise UsageError(
                f"{card.name} has no attribute {unknown[0]!r}", f"It has {', '.join(card.attributes)}."
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

    def write(self, description: Description) -> None:
        """Start a corpus, or check that the one that is there is the same.

        Raises:
            UsageError: Another corpus is there, or other files are.
        """
        facts = description.as_json()
        if self.description.exists():
            found = self.read().as_json()
            other = sorted(key for key in facts if facts[key] != found[key])
            if other:
                raise UsageError(
                    f"{self.root} holds a corpus of other {', '.join(other)}",
                    "Give the same options to go on with it, or name another folder with --out.",
                )
            return
        require_empty(self.root)
        self.shards.mkdir(parents=True)
        replace_file(self.description, (json.dumps(facts, indent=1) + "\n").encode())

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
            return Description(plan=plan, **facts)
        except (TypeError, KeyError, AttributeError) as error:
            raise DataFormatError(f"{self.description}: {error}") from None

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
