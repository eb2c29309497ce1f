"""How alike people look to a face recogniser: do different people pass for one, and one person for two?

Two images pass for one person's where their embeddings are nearer to each other than the recogniser's own
threshold, 0.6 for dlib's. Of rendered people that should be as rare as of photographed ones.

A recogniser trained on a corpus's own people (`recogniser.py`) can't say that: it learns to tell apart
whatever it is given. So this takes a network that has learnt from photographs, from outside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from comface_bench.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray
    from PIL.Image import Image
    from torch import Tensor

    from comface_bench.comface.corpus.read import Corpus
    from comface_bench.data.alignment import Aligner

THRESHOLD = 0.6
"""Distance below which dlib's recogniser takes two images for one person's."""
ADULT = 18
AGE_GAPS = ((0, 10), (10, 20), (20, 40), (40, 200))
"""Years between two images, from the first to below the second."""
_BATCH = 32


def embed_faces(
    images: Iterable[Image], aligner: Aligner, embed: Callable[[Tensor], Tensor], size: int = 150
) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Return embeddings (N, D) of the faces in images, and how each was come by (N,).

    Args:
        images: In mode RGB.
        aligner: Cuts the faces out.
        embed: From chips (n, 3, size, size) in [0, 1] to embeddings (n, D).
        size: Side of the chips in pixels.

    Returns:
        The embeddings, and numbers of `data.alignment.HOW`.
    """
    import torch

    rows, how = [], []
    chips: list[NDArray[np.uint8]] = []

    def flush() -> None:
        if chips:
            pixels = torch.from_numpy(np.stack(chips)).permute(0, 3, 1, 2).float() / 255
            with torch.inference_mode():
                rows.append(embed(pixels).double().cpu().numpy())
            chips.clear()

    for image in images:
        chip, found = aligner.align(image, size)
        chips.append(np.asarray(chip))
        how.append(found)
        if len(chips) == _BATCH:
            flush()
    flush()
    return np.concatenate(rows), np.array(how, np.uint8)


def compare_people(
    embeddings: NDArray[np.float64], people: NDArray[Any], years: NDArray[np.float64] | None = None
) -> dict[str, Any]:
    """Say how far apart the images of different people are, and those of one.

    Args:
        embeddings: Shape (N, D).
        people: Who is shown, shape (N,).
        years: Age in each image, shape (N,), if it is known.

    Returns:
        `images`, `people`; of `different` people's pairs of images and of the `same` person's, `pairs`,
        `mean` distance and share `below` the threshold; `auc`, the probability that a pair of one person is
        nearer than one of two. With ages, `adults`, different people who are both 18 or older, and `by_gap`:
        `same`, `different` and `auc` of pairs some years apart, so that one person's are compared with
        different people's of the same gap. A value that no pair gives is None.

    Raises:
        UsageError: There are no two people.
    """
    if len(np.unique(people)) < 2:
        raise UsageError("how alike people are can be said of two people or more")
    first, second = np.triu_indices(len(people), 1)
    distance = _distances(embeddings)[first, second]
    same = people[first] == people[second]
    found: dict[str, Any] = {
        "images": len(people),
        "people": len(np.unique(people)),
        "different": _summary(distance[~same]),
        "same": _summary(distance[same]),
        "auc": nearer_share(distance[same], distance[~same]),
    }
    if years is not None:
        grown = (years[first] >= ADULT) & (years[second] >= ADULT) & ~same
        found["adults"] = _summary(distance[grown])
        gap = np.abs(years[first] - years[second])
        found["by_gap"] = {}
        for low, high in AGE_GAPS:
            of = (gap >= low) & (gap < high)
            found["by_gap"][f"{low}-{high}" if high < AGE_GAPS[-1][1] else f"{low}+"] = {
                "same": _summary(distance[of & same]),
                "different": _summary(distance[of & ~same]),
                "auc": nearer_share(distance[of & same], distance[of & ~same]),
            }
    return found


def nearer_share(near: NDArray[np.float64], far: NDArray[np.float64]) -> float | None:
    """Return the probability that one of `near` is smaller than one of `far`, ties counted half.

    It is the area under the ROC curve. Without numbers on either side there is none.
    """
    if not len(near) or not len(far):
        return None
    order = np.sort(far)
    above = len(far) - np.searchsorted(order, near, "right")
    equal = np.searchsorted(order, near, "right") - np.searchsorted(order, near, "left")
    return float((above + 0.5 * equal).mean() / len(far))


def choose_records(corpus: Corpus, each: int) -> NDArray[np.intp]:
    """Return numbers of at most `each` records of every attribute, evenly spread."""
    chosen = []
    for attribute in np.unique(corpus.attributes):
        own = np.flatnonzero(corpus.attributes == attribute)
        chosen.append(own[np.unique(np.linspace(0, len(own) - 1, min(each, len(own))).round().astype(int))])
    return np.concatenate(chosen)


def compare_ends(
    ends: NDArray[np.float64], people: NDArray[Any], attributes: NDArray[Any]
) -> dict[int, dict[str, float | None]]:
    """Say of each attribute whether it changes a person less than being somebody else does.

    Args:
        ends: Embeddings of the images of each record with the lowest and the highest α, shape (R, 2, D).
        people: Identity of each record, shape (R,).
        attributes: Number of the attribute of each record, shape (R,).

    Returns:
        By attribute `mean`, the distance between the two ends of a record; `others`, that between the
        lower end of one person and the upper end of another; and `auc`, the probability that the former is
        smaller than the latter.
    """
    found = {}
    for attribute in np.unique(attributes):
        own = np.flatnonzero(attributes == attribute)
        moved = np.sqrt(((ends[own, 0] - ends[own, 1]) ** 2).sum(axis=1))
        # Likewise between the two ends, so that being somebody else is all that comes on top.
        across = np.stack([np.sqrt(((ends[own, 1] - one) ** 2).sum(axis=1)) for one in ends[own, 0]])
        apart = across[people[own][:, None] != people[own][None]]
        found[int(attribute)] = {
            "mean": float(moved.mean()),
            "others": float(apart.mean()) if len(apart) else None,
            "auc": nearer_share(moved, apart),
        }
    return found


def _distances(embeddings: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Euclidean distances (N, N), from differences, a row at a time."""
    return np.stack([np.sqrt(((embeddings - one) ** 2).sum(axis=1)) for one in embeddings])


def _summary(distance: NDArray[np.float64]) -> dict[str, float | int | None]:
    if not len(distance):
        return {"pairs": 0, "mean": None, "below": None}
    return {
        "pairs": len(distance),
        "mean": float(distance.mean()),
        "below": float((distance < THRESHOLD).mean()),
    }
