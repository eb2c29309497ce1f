"""Fields found by line, against a search in the text."""

import json

from hypothesis import given
from hypothesis import strategies as st

from comface_bench.results.lines import Lines

leaf_values = st.integers() | st.text(max_size=3) | st.none() | st.just({}) | st.just([])
names = st.text("abc", min_size=1, max_size=3)
trees = st.recursive(
    leaf_values, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3)
)


@given(st.dictionaries(names, trees, min_size=1))
def test_every_value_is_on_its_line(tree):
    """Each leaf in turn becomes a mark, which only one line of the text can hold."""
    for place, marked in mark(tree):
        text = json.dumps(marked, indent=1) + "\n"
        expected = next(number for number, line in enumerate(text.splitlines(), start=1) if "MARK" in line)
        assert Lines(text.encode()).of(place) == expected
        assert Lines(text.encode()).of(f"{place}.no.such") == expected


def mark(tree):
    """Yield (place, copy of the tree with MARK there) of each leaf."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for name, value in items:
        if isinstance(value, dict | list) and value:
            changed = ((f"{name}.{rest}", inner) for rest, inner in mark(value))
        else:
            changed = [(str(name), "MARK")]
        for place, inner in changed:
            copy = dict(tree) if isinstance(tree, dict) else list(tree)
            copy[name] = inner
            yield place, copy


def test_other_layouts_and_places_have_no_line():
    assert Lines(b'{"a": 1}').of("a") is None
    assert Lines(b"no json").of("a") is None
    assert Lines(b"").of("a") is None
    assert Lines(b'{\n "a": 1\n}\n').of("a") == 2
    assert Lines(b'{\n "a": 1\n}\n').of("b") is None
    assert Lines(b'{\n "a": 1\n}\n').of("") is None
