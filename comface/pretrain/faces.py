"""Several corpora as one: records, the identities that are held out, and each epoch's pairs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from comface_bench.comface.corpus.layout import Layout, corpus_digest
from comface_bench.comface.corpus.plan import disjoint_pairs
from comface_bench.comface.corpus.read import Corpus
from comface_bench.comface.corpus.score_store import identity_scores, read_quality
from comface_bench.comface.synthesis.generator import people_key
from comface_bench.core.digest import digest_file
from comface_bench.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from comface_bench.comface.corpus.layout import Description
    from comface_bench.comface.pretrain.settings import CurriculumStage, Settings

MAX_IMAGES_PER_RECORD = 128
"""Factor of a record's number in the key of an image."""


@dataclass(frozen=True, eq=False)
class ImagePairs:
    """Pairs of images, n of them.

    Attributes:
        record: Number of the record among all corpora, int64 (n,).
        x, y: Places of the two images in the record, int64 (n,).
        change: α_y − α_x, float32 (n,).
        attribute: Index in `FaceDataset.attributes`, int64 (n,).
        identity: Number of the person, int64 (n,).
    """

    record: NDArray[np.int64]
    x: NDArray[np.int64]
    y: NDArray[np.int64]
    change: NDArray[np.float32]
    attribute: NDArray[np.int64]
    identity: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.record)

    def take(self, rows: NDArray[np.int64] | slice) -> ImagePairs:
        """Return some of the pairs."""
        return ImagePairs(*(getattr(self, field.name)[rows] for field in fields(self)))


class FaceDataset:
    """The records of one or more corpora that a pre-training learns from.

    Args:
        roots: Folders of the corpora.
        settings: `attributes`, `min_quality`, `validation_share` and `seed` decide.

    Attributes:
        attributes: Names, in order.
        digests: SHA-256 of each corpus's description and shards, and of its quality scores where
            `min_quality` is above 0, in order of `roots`.
        side: Height and width of the images in pixels.

    Raises:
        DataMissingError: A corpus isn't there or isn't finished.
        DataFormatError: A file of a corpus isn't the one that was written.
        UsageError: None is named, two don't go together, or nothing is left to learn from or to hold out.
    """

    def __init__(self, roots: Sequence[Path], settings: Settings) -> None:
        if not roots:
            raise UsageError(
                "pre-training needs a corpus",
                "Make one: comface-bench synth corpus --out corpus\nand name it: --corpus corpus",
            )
        self.corpora = [Corpus(root) for root in roots]
        offered = dict.fromkeys(
            name for corpus in self.corpora for name in corpus.description.plan.attributes
        )
        if unknown := [name for name in settings.attributes if name not in offered]:
            raise UsageError(f"no corpus has {', '.join(unknown)}", f"They have {', '.join(offered)}.")
        self.attributes = tuple(
            name for name in offered if not settings.attributes or name in settings.attributes
        )
        sides = {int(corpus.description.generator["resolution"]) for corpus in self.corpora}
        if len(sides) > 1:
            raise UsageError(
                f"corpora have images of {' and '.join(str(side) for side in sorted(sides))} pixels",
                "Generate them in one size: synth corpus -o size=PIXELS",
            )
        self.side = sides.pop()
        self.digests = [_digest_with_quality(Layout(root), settings.min_quality > 0) for root in roots]
        self._collect(roots, settings)

    def _collect(self, roots: Sequence[Path], settings: Settings) -> None:
        place = {name: index for index, name in enumerate(self.attributes)}
        columns: list[list[NDArray[Any]]] = [[], [], [], [], []]
        people: dict[str, int] = {}
        drawn: list[tuple[str, Any, NDArray[np.int64]]] = []
        for number, (root, corpus) in enumerate(zip(roots, self.corpora, strict=True)):
            names = corpus.description.plan.attributes
            attribute = np.array([place.get(name, -1) for name in names])[corpus.attributes]
            kept = (attribute >= 0) & _good_enough(corpus, root, settings.min_quality)
            origin = corpus_people_key(corpus.description)
            found, back = np.unique(corpus.identities, return_inverse=True)
            version = corpus.description.generator["options"].get("version")
            for other, before, numbers in drawn:
                if other == origin and before != version and np.intersect1d(numbers, found).size:
                    raise UsageError(
                        f"{root}: version {version} of {origin.partition('/')[0]} draws other people than"
                        f" version {before} of an earlier corpus, under the same numbers",
                        "Generate all corpora by one version, or give each other people: --first N, --seed N",
                    )
            drawn.append((origin, version, found))
            keys = [f"{origin}/{identity}" for identity in found.tolist()]
            # One checkpoint's person of one seed is the same in every corpus.
            ids = np.array([people.setdefault(key, len(people)) for key in keys], np.int64)
            held = np.array(
                [_held_out_fraction(key, settings.seed) < settings.validation_share for key in keys]
            )
            rows = np.flatnonzero(kept)
            for column, values in zip(
                columns,
                (np.full(len(rows), number), rows, attribute[rows], ids[back][rows], held[back][rows]),
                strict=True,
            ):
                column.append(values)
        self._corpus, self._number, self.attribute, self.identity, self.held = (
            np.concatenate(column) for column in columns
        )
        for part, chosen in (("to learn from", ~self.held), ("held out", self.held)):
            if len(np.unique(self.identity[chosen])) < 2:
                raise UsageError(
                    f"fewer than two identities are {part}",
                    "Take a larger corpus, or another validation_share or min_quality.",
                )

    def __len__(self) -> int:
        return len(self._number)

    @property
    def people(self) -> int:
        """Number of identities."""
        return len(np.unique(self.identity))

    def alphas(self, record: int) -> NDArray[np.float32]:
        """Return α of a record's images, (K,)."""
        return self._of(record).record(int(self._number[record])).alphas

    def image(self, record: int, place: int) -> NDArray[np.uint8]:
        """Return an image, RGB (3, H, W).

        Raises:
            DataFormatError: It is damaged.
        """
        return self._of(record).image(int(self._number[record]), place)

    def draw(self, settings: Settings, epoch: int, stage: CurriculumStage) -> ImagePairs:
        """Draw an epoch's pairs, shuffled; a function of settings, epoch and stage.

        Each record gives disjoint pairs, as many as it can or as `pairs_per_epoch` asks of it.

        Raises:
            UsageError: The stage leaves no pair.
        """
        rows = np.flatnonzero(~self.held)
        most = (
            -(-settings.pairs_per_epoch // len(rows)) if settings.pairs_per_epoch else MAX_IMAGES_PER_RECORD
        )
        random = np.random.Generator(np.random.Philox(key=settings.seed, counter=[epoch, 0, 0, 2]))
        pairs = self._pair(rows, random, (stage.smallest, stage.largest), most)
        if not len(pairs):
            raise UsageError(
                f"no pair changes by {stage.smallest} to {stage.largest}, as epoch {epoch} wants",
                "Take a corpus with more α in each record, or another curriculum.",
            )
        order = random.permutation(len(pairs))
        return pairs.take(order[: settings.pairs_per_epoch or None])

    def check(self, settings: Settings) -> None:
        """Make sure that each stage has a batch, before anything is trained.

        Raises:
            UsageError: A stage leaves no pair, or fewer than a batch.
        """
        for stage in settings.curriculum:
            if (count := len(self.draw(settings, stage.epoch, stage))) < settings.batch_size:
                raise UsageError(
                    f"epoch {stage.epoch} has {count} pairs, fewer than a batch of {settings.batch_size}",
                    "Lower it (-o batch_size=), or take a larger corpus.",
                )

    def validation(self, settings: Settings) -> ImagePairs:
        """Return the pairs of held-out identities, the same in every epoch: each record gives as many."""
        rows = np.flatnonzero(self.held)
        random = np.random.Generator(np.random.Philox(key=settings.seed, counter=[0, 0, 0, 3]))
        pairs = self._pair(rows, random, (0.0, 10.0), -(-settings.validation_pairs // len(rows)))
        return pairs.take(random.permutation(len(pairs))[: settings.validation_pairs])

    def _of(self, record: int) -> Corpus:
        corpus: Corpus = self.corpora[self._corpus[record]]
        return corpus

    def _pair(
        self, rows: NDArray[np.int64], random: np.random.Generator, span: tuple[float, float], most: int
    ) -> ImagePairs:
        records, places, changes = [], [], []
        for row in rows.tolist():
            alphas = self.alphas(row)
            chosen = disjoint_pairs(alphas, random, span)[:most]
            records.append(np.full(len(chosen), row, np.int64))
            places.append(chosen)
            changes.append(alphas[chosen[:, 1]] - alphas[chosen[:, 0]])
        record, both = np.concatenate(records), np.concatenate(places)
        return ImagePairs(
            record,
            both[:, 0],
            both[:, 1],
            np.concatenate(changes).astype(np.float32),
            self.attribute[record],
            self.identity[record],
        )


def corpus_people_key(description: Description) -> str:
    """Return the key of a corpus's population of identities; see `people_key`."""
    card = description.generator
    return people_key(str(card["name"]), card.get("sources") or {}, description.plan.seed)


def _held_out_fraction(key: str, seed: int) -> float:
    """Return a person's number in [0, 1), the same whichever corpora are learnt from."""
    found = hashlib.blake2b(f"{seed}/{key}".encode(), digest_size=8).digest()
    return int.from_bytes(found, "big") / 2**64


def _digest_with_quality(layout: Layout, quality: bool) -> str:
    more = [digest_file(layout.quality)] if quality and layout.quality.exists() else []
    return corpus_digest(layout, *more)


def _good_enough(corpus: Corpus, root: Path, least: float) -> NDArray[np.bool_]:
    if least <= 0:
        return np.ones(len(corpus), np.bool_)
    # The paper's histogram and filter are of identities (C.1), not of single images.
    scores, back = identity_scores(corpus, read_quality(corpus, root))
    kept: NDArray[np.bool_] = scores[back] >= least
    return kept
