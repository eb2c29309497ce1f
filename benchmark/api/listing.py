"""Lists of methods and tasks: sequences of cards that show themselves as a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar, overload

from comface_bench.core.card import MethodCard, TaskCard, data_availability
from comface_bench.core.display import html_table, text_table
from comface_bench.core.names import unknown_name
from comface_bench.core.registry import Registry, method_registry, task_registry
from comface_bench.core.weights import weights_availability

if TYPE_CHECKING:
    import pandas

CardT = TypeVar("CardT", bound=MethodCard | TaskCard)


class CardList(Sequence[CardT], Generic[CardT]):
    """Cards by number or by name, and as a table.

    Args:
        registry: What they were taken from.
        rows: Facts of each card by heading, the card's name first.

    Attributes:
        names: Names of the cards.
        others: What there is beside them, as sentences: open families, and plugins that nobody has named.
    """

    def __init__(self, registry: Registry[CardT], rows: Sequence[Mapping[str, str]]) -> None:
        self._kind = registry.kind
        self._cards = {entry.card.name: entry.card for entry in registry.declared()}
        self._rows = list(rows)
        self.names = tuple(self._cards)
        self.others = tuple(
            f"{family.prefix}…: any {registry.kind} of such a name, for example {family.example}"
            for family in registry.families()
        )
        if unloaded := [name for name in registry.names() if name not in self._cards]:
            self.others += (f"of installed plugins, loaded when they are named: {', '.join(unloaded)}",)

    def __len__(self) -> int:
        return len(self._cards)

    def __iter__(self) -> Iterator[CardT]:
        return iter(self._cards.values())

    @overload
    def __getitem__(self, which: int | str) -> CardT: ...

    @overload
    def __getitem__(self, which: slice) -> Sequence[CardT]: ...

    def __getitem__(self, which: int | str | slice) -> CardT | Sequence[CardT]:
        """Return the card of a place or a name, or a list of those of a slice.

        Raises:
            IndexError: There is none in that place.
            UnknownNameError: There is none of that name.
        """
        if isinstance(which, str):
            if which not in self._cards:
                raise unknown_name(which, self.names, self._kind)
            return self._cards[which]
        return list(self._cards.values())[which]

    def to_frame(self) -> pandas.DataFrame:
        """Return the table, a row for each card."""
        import pandas

        return pandas.DataFrame(self._rows)

    def __repr__(self) -> str:
        return "\n".join([text_table(*self._table()), *self.others])

    def _repr_html_(self) -> str:
        return html_table(*self._table()) + html_table(["and"], [[other] for other in self.others])

    def _table(self) -> tuple[list[str], list[list[str]]]:
        return list(self._rows[0]), [list(row.values()) for row in self._rows]


def list_methods(*, plugins: Sequence[Path | str] = ()) -> CardList[MethodCard]:
    """List the methods: what each learnt from, what it was taught, and whether its weights are here.

    Args:
        plugins: Files that declare further ones.
    """
    registry = method_registry([Path(file) for file in plugins])
    rows = [
        {
            "method": entry.card.name,
            "backbone": entry.card.backbone,
            "learnt from": ", ".join(entry.card.trained_on),
            "taught": ", ".join(entry.card.supervision),
            "weights": weights_availability(entry),
        }
        for entry in registry.declared()
    ]
    return CardList(registry, rows)


def list_tasks(data: Path | str | None = None, *, plugins: Sequence[Path | str] = ()) -> CardList[TaskCard]:
    """List the tasks: the quantity whose change is estimated, the data set, and whether it is here.

    Args:
        data: Data root; default COMFACE_DATA, else `data`.
        plugins: Files that declare further ones.
    """
    registry = task_registry([Path(file) for file in plugins])
    root = Path(data) if data is not None else None
    rows = [
        {
            "task": entry.card.name,
            "change of": entry.card.target,
            "unit": entry.card.unit,
            "data": entry.card.data,
            "here": data_availability(entry.card, root),
        }
        for entry in registry.declared()
    ]
    return CardList(registry, rows)
