"""Registries: names, where they come from, and their cards on demand.

A built-in module declares `CARD`, `CARDS`, or, for an open family such as `timm/<model>`, a `FAMILY`
prefix, an `EXAMPLE` and a `make_card(name)` function. The modules are light; nothing here imports torch.

Plugins are cards from other packages (entry points) and from single files (`--plugin FILE`). Code of a plugin
runs only when one of its names is asked for, or its file is given; listing an entry point reads its name and
the package it belongs to, no more.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import importlib.util
import pkgutil
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, Protocol, Self, TypeVar

from comface_bench.core.card import MethodCard, TaskCard
from comface_bench.core.digest import digest, digest_file
from comface_bench.core.errors import (
    BenchError,
    DuplicateNameError,
    PluginError,
    UnknownNameError,
    UsageError,
    describe_error,
)
from comface_bench.core.names import is_pattern, match_names, unknown_name

METHODS_GROUP = "comface_bench.methods"
TASKS_GROUP = "comface_bench.tasks"

OURS = "comface-bench"
"""Origin of what comes with this package."""

_FILE_PREFIX = "comface_bench_plugin_"
SOURCE_DIGEST = "__source_digest__"
"""Attribute of the module of a plugin file: SHA-256 of the text that was run."""
_SOURCE_DIGITS = 16


@dataclass(frozen=True)
class PluginName:
    """A name that an installed package offers, not loaded yet.

    Attributes:
        origin: The distribution and the object, for messages and lists.
    """

    name: str
    origin: str
    entry_point: EntryPoint


def installed_plugins(group: str) -> list[PluginName]:
    """Return the names that installed packages offer in an entry-point group, sorted."""
    found = [
        PluginName(
            point.name, f"{point.dist.name if point.dist else 'unknown package'} ({point.value})", point
        )
        for point in entry_points(group=group)
    ]
    return sorted(found, key=lambda plugin: (plugin.name, plugin.origin))


def load_plugin(plugin: PluginName) -> ModuleType:
    """Import the module that an entry point names.

    Raises:
        PluginError: The import fails, or the entry point names something else than a module.
    """
    try:
        loaded = plugin.entry_point.load()
    except Exception as error:
        raise PluginError(
            f"plugin {plugin.name!r} of {plugin.origin} can't be imported: {type(error).__name__}: {error}",
            f"Mend or remove it: pip uninstall {plugin.origin.split(' ')[0]}",
        ) from error
    if not isinstance(loaded, ModuleType):
        raise PluginError(
            f"plugin {plugin.name!r} of {plugin.origin} is no module",
            "Let the entry point name a module that declares CARD or CARDS.",
        )
    return loaded


def load_plugin_file(path: Path) -> ModuleType:
    """Import one file as a plugin module, anew if its text changed since this process loaded it.

    Raises:
        PluginError: The file is missing, its code fails, or it declares nothing.
    """
    if not path.is_file():
        raise PluginError(f"plugin file {path} is no file")
    # Two files of one name in two folders are two modules.
    place = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]
    name = f"{_FILE_PREFIX}{path.stem}_{place}"
    text = path.read_bytes()
    source = hashlib.sha256(text).hexdigest()
    loaded = sys.modules.get(name)
    if loaded is not None and getattr(loaded, SOURCE_DIGEST, "") == source:
        return loaded
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise PluginError(f"plugin file {path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    setattr(module, SOURCE_DIGEST, source)
    # Registered before it runs: dataclasses and pickling look a module up by its name.
    sys.modules[name] = module
    try:
        # The very text of the digest. The import system would run the bytecode of an earlier text that has
        # its size and was written within the same second.
        exec(compile(text, path, "exec", dont_inherit=True), module.__dict__)  # noqa: S102
    except BaseException as error:
        # A half-run module would be taken for a whole one by the next call of this process.
        del sys.modules[name]
        if not isinstance(error, (Exception, SystemExit)):
            raise
        lines = [
            frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)
        ]
        place = f"{path}:{lines[-1]}" if lines else str(path)
        hint = error.hint if isinstance(error, BenchError) else ""
        raise PluginError(f"plugin file {place} fails: {describe_error(error)}", hint) from error
    if not any(hasattr(module, name) for name in ("CARD", "CARDS", "FAMILY")):
        del sys.modules[name]
        raise PluginError(f"plugin file {path} declares no CARD, CARDS or FAMILY")
    return module


def _source_of(module: ModuleType) -> str | None:
    """Return the first digits of the digest of a plugin's source; None for a module of comface-bench."""
    if module.__name__.partition(".")[0] == __name__.partition(".")[0]:
        return None
    source = getattr(module, SOURCE_DIGEST, None) or _package_source(module.__name__)
    return source[:_SOURCE_DIGITS] if source else None


@cache
def _package_source(name: str) -> str | None:
    """Digest the Python files of the outermost regular package that a module is in, or of the module alone.

    Once a process, as these are imported once.
    """
    while (parent := name.rpartition(".")[0]) and sys.modules[parent].__file__ is not None:
        name = parent
    module = sys.modules[name]
    if module.__file__ is None:
        return None
    root = Path(module.__file__)
    files = sorted(root.parent.rglob("*.py")) if hasattr(module, "__path__") else [root]
    try:
        return digest([(str(file.relative_to(root.parent)), digest_file(file)) for file in files])
    except OSError:  # Such as a module in an archive.
        return None


def loaded_plugin_files() -> list[ModuleType]:
    """Return the modules of the plugin files that this process has loaded, in that order."""
    return [module for name, module in sys.modules.items() if name.startswith(_FILE_PREFIX)]


class Named(Protocol):
    """A card of any kind: frozen facts with a name."""

    @property
    def name(self) -> str:
        """Name on the command line."""


CardT = TypeVar("CardT", bound=Named)


def declared_cards(module: ModuleType, kind: type[CardT]) -> list[CardT]:
    """Return the cards of one kind that a module declares, as `CARDS` and `CARD`."""
    cards = [*getattr(module, "CARDS", ()), *([module.CARD] if hasattr(module, "CARD") else [])]
    return [card for card in cards if isinstance(card, kind)]


@dataclass(frozen=True)
class Entry(Generic[CardT]):
    """A registered card with its origin and the module that declares it.

    Attributes:
        card: The card.
        origin: Where it comes from, for messages and lists.
        module: Name of the module.
        source: First digits of a SHA-256 of a plugin's source as it was loaded: of a plugin file, its text;
            of an installed plugin, all Python files of its package. Other packages and data files that it
            uses are no part of it. None for what comes with comface-bench.
    """

    card: CardT
    origin: str
    module: str
    source: str | None = None

    @classmethod
    def of(cls, card: CardT, origin: str, module: ModuleType) -> Self:
        """Return the entry of a card that a module declares."""
        return cls(card, origin, module.__name__, _source_of(module))

    def resolve(self, reference: str) -> Any:
        """Import what a card's "module:function" names; an empty module is the card's own.

        Raises:
            PluginError: The module can't be imported, or has no such function.
        """
        module, _, name = reference.partition(":")
        try:
            found = importlib.import_module(module or self.module)
        except ImportError as error:
            raise PluginError(f"{self.card.name}: can't import {module or self.module}: {error}") from error
        if not hasattr(found, name):
            raise PluginError(f"{self.card.name}: {module or self.module} has no function {name!r}")
        return getattr(found, name)

    def configured(self, given: Mapping[str, str]) -> Self:
        """Return the entry under options that a user gives.

        Its module may declare `configure_method(card, given) -> card`: a file that an option names can say
        itself which network it holds and what that has seen. The card's name stays.
        """
        change = self.hook("configure_method") if given else None
        return dataclasses.replace(self, card=change(self.card, given)) if change else self

    def hook(self, name: str) -> Any:
        """Return an optional function of the card's module, or None if it has none."""
        return getattr(importlib.import_module(self.module), name, None)


MOST_OF_FAMILY = 20
"""Names of an open family that one pattern may mean in a run: no thousand networks start by accident."""


@dataclass(frozen=True)
class Family(Generic[CardT]):
    """An open family of names that share a prefix; `example` shows one.

    Its module may have a function `list_names(pattern)`: those that a pattern of the shell matches.
    """

    prefix: str
    example: str
    origin: str
    module: ModuleType

    @property
    def can_be_listed(self) -> bool:
        """Whether it is known which names there are."""
        return hasattr(self.module, "list_names")

    def match(self, pattern: str, kind: str) -> list[str]:
        """Return its names that a pattern matches, sorted.

        Args:
            pattern: It begins with the prefix.
            kind: Kind of the names, for messages.

        Raises:
            UnknownNameError: None matches.
            UsageError: The family can't be listed.
        """
        if not self.can_be_listed:
            raise UsageError(
                f"{pattern!r} is a pattern, and there is no list of what {self.prefix}… can name",
                f"Name them one by one, with commas between them: --{kind} {self.example}",
            )
        names = sorted(self.module.list_names(pattern))
        if not names:
            raise UnknownNameError(
                f"no {kind} matches {pattern!r}",
                f"See all of {self.prefix}…: comface-bench list {kind}s '{self.prefix}*'",
            )
        return names


class Registry(Generic[CardT]):
    """All names of one kind.

    Args:
        kind: "method", "task" and so on, for messages.
        card_type: Class of the cards.
        place: Package whose modules declare the built-in cards, or the one module that does.
        group: Entry-point group of plugins.
        files: Plugin files; their names count beside the built-in ones. A file that is named twice is one.
        plugins: Whether installed plugins are looked up.
    """

    def __init__(
        self,
        kind: str,
        card_type: type[CardT],
        place: str,
        group: str,
        files: Iterable[Path] = (),
        plugins: bool = True,
    ) -> None:
        self.kind = kind
        self._card_type = card_type
        self._place = place
        self._group = group
        places: dict[Path, Path] = {}
        for path in files:
            places.setdefault(path.resolve(), path)
        self._files = tuple(places.values())
        self._plugins = plugins

    @cached_property
    def _declared(self) -> tuple[dict[str, Entry[CardT]], list[Family[CardT]]]:
        entries: dict[str, Entry[CardT]] = {}
        families: list[Family[CardT]] = []
        for module in _modules_of(importlib.import_module(self._place)):
            self._collect(module, OURS, entries, families)
        for path in self._files:
            self._collect(load_plugin_file(path), str(path), entries, families)
        return entries, families

    @cached_property
    def _offered(self) -> dict[str, PluginName]:
        offered: dict[str, PluginName] = {}
        for plugin in installed_plugins(self._group) if self._plugins else []:
            self._refuse_known(plugin.name, plugin.origin, {**self._declared[0], **offered}, self.families())
            offered[plugin.name] = plugin
        return offered

    def _collect(
        self,
        module: ModuleType,
        origin: str,
        entries: dict[str, Entry[CardT]],
        families: list[Family[CardT]],
    ) -> None:
        for card in declared_cards(module, self._card_type):
            self._refuse_known(card.name, origin, entries, families)
            entries[card.name] = Entry.of(card, origin, module)
        if hasattr(module, "FAMILY"):
            self._refuse_known(module.FAMILY, origin, entries, families)
            families.append(Family(module.FAMILY, module.EXAMPLE, origin, module))

    def _refuse_known(
        self,
        name: str,
        origin: str,
        known: Mapping[str, Entry[CardT] | PluginName],
        families: Iterable[Family[CardT]],
    ) -> None:
        """Refuse a name that another origin has, alone or with all of a family."""
        of_family = (family for family in families if name.startswith(family.prefix))
        other = known.get(name) or next(of_family, None)
        if other is not None:
            raise DuplicateNameError(
                f"two {self.kind}s are called {name!r}: one of {other.origin}, one of {origin}",
                "Rename one, or remove a plugin.",
            )

    def names(self) -> dict[str, str]:
        """Return every fixed name with its origin, sorted; plugins are named, not loaded."""
        origins = {name: entry.origin for name, entry in self._declared[0].items()}
        origins |= {name: plugin.origin for name, plugin in self._offered.items()}
        return dict(sorted(origins.items()))

    def families(self) -> list[Family[CardT]]:
        """Return the open families of names."""
        return self._declared[1]

    def declared(self) -> list[Entry[CardT]]:
        """Return the entries that need no plugin to be loaded, sorted by name."""
        return [entry for _, entry in sorted(self._declared[0].items())]

    def get(self, name: str) -> Entry[CardT]:
        """Return the entry of a name, loading its plugin if it comes from one.

        Raises:
            UnknownNameError: Nothing has that name; the message offers near ones.
            PluginError: The plugin can't be loaded or doesn't declare the name.
            DuplicateNameError: Two origins offer one name.
        """
        entries, families = self._declared
        offered = self._offered  # Looked up first: a plugin of the same name is an error, never passed over.
        if name in entries:
            return entries[name]
        for family in families:
            if name.startswith(family.prefix):
                return Entry.of(family.module.make_card(name), family.origin, family.module)
        if name in offered:
            plugin = offered[name]
            module = load_plugin(plugin)
            for card in declared_cards(module, self._card_type):
                if card.name == name:
                    return Entry.of(card, plugin.origin, module)
            raise PluginError(f"plugin {plugin.origin} offers {name!r} but declares no such card")
        raise self._unknown(name)

    def _unknown(self, name: str) -> UnknownNameError:
        """Return the error for a name that nothing has, with what a file of that name may mean."""
        of_file = [one.prefix for one in self.families() if one.example.endswith(":FILE")]
        if of_file and Path(name).is_file():
            return UnknownNameError(
                f"no {self.kind} is called {name!r}. Did you mean {of_file[0]}{name}?",
                f"A file is named with {of_file[0]} before it.",
            )
        error = unknown_name(name, [*self.names(), *(one.example for one in self.families())], self.kind)
        stems = dict.fromkeys((name, name.replace("-", "_")))
        if plugins := [f"{stem}.py" for stem in stems if Path(f"{stem}.py").is_file()]:
            error.hint = f"If {plugins[0]} declares it: --plugin {plugins[0]}\n{error.hint}"
        return error

    def expand(self, patterns: Iterable[str]) -> list[str]:
        """Replace each pattern by the names it matches; other names are checked and kept.

        Raises:
            UnknownNameError: A name is unknown, or a pattern matches none.
            UsageError: A pattern means more than `MOST_OF_FAMILY` names of a family, or can't be looked up.
        """
        expanded: list[str] = []
        for pattern in patterns:
            base, plus, options = pattern.partition("+")
            if is_pattern(base):
                names = self.match(base)
                self._refuse_too_many(base, names)
            else:
                self.get(base)
                # As it was written: a family's name may say where a file lies, which its card's leaves out.
                names = [base]
            expanded += [name + plus + options for name in names]
        return list(dict.fromkeys(expanded))

    def match(self, pattern: str) -> list[str]:
        """Return the names that a pattern matches: of an open family, if it begins with its prefix.

        Raises:
            UnknownNameError: None matches.
            UsageError: It is of an open family that can't be listed.
        """
        for family in self.families():
            if pattern.startswith(family.prefix):
                return family.match(pattern, self.kind)
        return match_names(pattern, self.names(), self.kind)

    def _refuse_too_many(self, pattern: str, names: list[str]) -> None:
        for family in self.families():
            if pattern.startswith(family.prefix) and len(names) > MOST_OF_FAMILY:
                raise UsageError(
                    f"{pattern!r} means {len(names):,} {self.kind}s, and one pattern of {family.prefix}… may"
                    f" mean {MOST_OF_FAMILY} at most",
                    f"See them, and narrow the pattern: comface-bench list {self.kind}s '{pattern}'"
                    f"\nor name some, with commas between them: --{self.kind} {family.example}",
                )


def _modules_of(place: ModuleType) -> Iterator[ModuleType]:
    """Yield a package's modules, or the module itself."""
    if not hasattr(place, "__path__"):
        yield place
        return
    for info in pkgutil.iter_modules(place.__path__):
        if not info.ispkg:
            yield importlib.import_module(f"{place.__name__}.{info.name}")


def method_registry(files: Iterable[Path] = (), plugins: bool = True) -> Registry[MethodCard]:
    """Return the registry of methods: `comface_bench.baselines`, plugins and plugin files."""
    return Registry("method", MethodCard, "comface_bench.baselines", METHODS_GROUP, files, plugins)


def task_registry(files: Iterable[Path] = (), plugins: bool = True) -> Registry[TaskCard]:
    """Return the registry of tasks: `comface_bench.tasks`, plugins and plugin files."""
    return Registry("task", TaskCard, "comface_bench.tasks", TASKS_GROUP, files, plugins)
