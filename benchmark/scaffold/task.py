"""Plugin of comface-bench: the task my-task.

Look at the example data that write_example makes, then at your own:

    comface-bench test task my-task --plugin my_task.py
    comface-bench data check my-task --plugin my_task.py --data DIR
    comface-bench run --method scratch --task my-task --plugin my_task.py --data DIR
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from comface_bench.core.card import TaskCard
from comface_bench.core.errors import DataMissingError
from comface_bench.core.problems import ProblemList

CARD = TaskCard(
    name="my-task",
    version=1,  # Raise it when anything below changes its meaning.
    family="custom",  # Whose hyper-parameters: expression, weight, age (the paper's) or custom.
    data="my-task",  # Folder under the data root.
    read=":read",
    target="score",  # The label whose change is estimated.
    unit="points",
    label_range=(0, 10),
    metrics=("mae", "pearson", "rmse", "spearman", "ccc", "icc31"),
    splits=("balanced-4", "leave-one-out"),
    summary="Change of a score between two images of one person.",
    licence="Say who may use the data.",
    how_to_get="Say where the data come from, and how they must lie.",
    source="Name the publication.",
)


def read(root: Path) -> Iterator[dict[str, Any]]:
    """Yield one row per image: image (relative to root), subject, perhaps session and phase, and labels."""
    path = root / "labels.csv"
    if not path.is_file():
        raise DataMissingError(f"{path} doesn't exist", CARD.how_to_get)
    problems = ProblemList()
    with path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream)
        for row in reader:
            where = f"{path}:{reader.line_num}"
            if not row.get("score"):
                problems.add(where, "score is empty", "Fill it in, or take the row out.")
                continue
            yield {"image": row["image"], "subject": row["subject"], "score": row["score"], "where": where}
    problems.raise_any()


def write_example(root: Path) -> None:
    """Write a miniature of the data set, so that the task can be tested without the data."""
    from PIL import Image

    rows = []
    for subject in range(8):
        for visit in range(4):
            name = f"{subject:02d}-{visit}.png"
            picture = Image.new("RGB", (32, 32), (30 * subject, 60 * visit, 90))
            picture.paste((200, 170, 150), (8, 6, 24, 28))
            picture.save(root / name)
            rows.append([name, f"{subject:02d}", str((subject + 3 * visit) % 11)])
    with (root / "labels.csv").open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([["image", "subject", "score"], *rows])
