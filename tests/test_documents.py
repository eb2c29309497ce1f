"""Documents are held to the code: paths and pages that they name, their commands, their order on the site."""

import ast
import collections
import itertools
import json
import re
import shlex
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[1]
PATH = re.compile(
    r"`((?:benchmark|baselines|tasks|comface|leaderboards|timings|tests|docs|findings|examples|\.ci)/[^`\s]*)`"
)


@pytest.mark.parametrize("name", ["docs/architecture.md", "CONTRIBUTING.md", "README.md"])
def test_paths_that_a_document_names_exist(name):
    named = PATH.findall((ROOT / name).read_text())
    assert named
    assert [path for path in named if "NAME" not in path and not (ROOT / path).exists()] == []


def test_the_architecture_names_every_layer():
    text = (ROOT / "docs" / "architecture.md").read_text()
    layers = [path.parent for path in (ROOT / "benchmark").glob("*/__init__.py")]
    assert len(layers) > 5
    assert [layer.name for layer in layers if f"`benchmark/{layer.name}/`" not in text] == []


def test_the_example_of_a_method_runs(tmp_path, call):
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
    plugin = tmp_path / "my_method.py"
    plugin.write_text(example)
    small = ["image_size=32", "epochs=1", "pairs_per_epoch=16"]
    status, out, err = call(
        *["run", "--plugin", plugin, "--method", "my-method", "--task", "synth-age", "--protocol", "quick"],
        *[word for value in small for word in ("-o", value)],
        *["--folds", "0", "--results", tmp_path / "results", "--no-leaderboard"],
    )
    assert status == 0, err
    assert "my-method" in out
    status, out, err = call("test", "method", "my-method", "--plugin", plugin)
    assert status == 0, out + err


def test_the_tour_of_python_runs(tmp_path, monkeypatch):
    snippets = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.DOTALL)
    assert len(snippets) > 5
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    names: dict[str, object] = {}
    for snippet in snippets:
        exec(snippet, names)
    assert (tmp_path / "synth-age.png").stat().st_size > 1000
    assert names["features"].shape == (2, 512)
    assert len(names["results"]) == 2
    assert "years" in str(names["estimate"])
    assert names["image"].equal(names["images"][0])


PAGES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))
OTHERS = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "findings/README.md"]
NOTEBOOKS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "examples").rglob("*.ipynb"))
FOLDERS = ("benchmark", "baselines", "comface", "leaderboards", "tasks")


def read(name):
    """The Markdown of a page, or of a notebook's texts."""
    text = (ROOT / name).read_text(encoding="utf-8")
    if not name.endswith(".ipynb"):
        return text
    cells = json.loads(text)["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def links(text):
    """The addresses of links and pictures, as a reader of CommonMark finds them: none in code."""
    for block in MarkdownIt("commonmark").enable("table").parse(text):
        for token in block.children or []:
            if address := token.attrGet("href") or token.attrGet("src"):
                yield address


def anchors(text):
    """The anchors of a page's headings, by the rule of code hosts."""
    seen = collections.Counter()
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    for opening, inline in itertools.pairwise(tokens):
        if opening.type == "heading_open":
            words = "".join(part.content for part in inline.children if part.type in ("text", "code_inline"))
            slug = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
            yield f"{slug}-{seen[slug]}" if seen[slug] else slug
            seen[slug] += 1


@pytest.mark.parametrize("name", [*PAGES, *OTHERS, *NOTEBOOKS])
def test_links_lead_somewhere(name):
    wrong = []
    for address in links(read(name)):
        path, _, anchor = address.partition("#")
        if "://" in path:
            continue
        target = (ROOT / name).parent / path if path else ROOT / name
        if not target.exists() or not target.resolve().is_relative_to(ROOT):
            wrong.append(f"{address}: no such file")
        elif anchor and anchor not in anchors(target.read_text(encoding="utf-8")):
            wrong.append(f"{address}: no such heading")
    assert wrong == []


def named_in_code():
    """Pages that texts of the package name, messages and docstrings alike, with the file that does."""
    for path in itertools.chain.from_iterable((ROOT / folder).rglob("*.py") for folder in FOLDERS):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                for page in re.findall(r"docs/[\w/.-]*\.md(?:#[\w-]+)?", node.value):
                    yield page, path.relative_to(ROOT).as_posix()


def test_pages_that_messages_name_exist():
    named = list(named_in_code())
    assert {"docs/weights.md", "docs/datasets/fgnet.md"} <= {page for page, _ in named}
    for page, source in named:
        path, _, anchor = page.partition("#")
        assert path in PAGES, f"{source} names {page}"
        assert not anchor or anchor in anchors(read(path)), f"{source} names {page}"


def test_every_page_has_one_place_on_the_site():
    text = (ROOT / "docs" / "_toc.yml").read_text(encoding="utf-8")
    listed = re.findall(r"(?:^root|- file): (\S+)", text, re.MULTILINE)
    assert [name for name, times in collections.Counter(listed).items() if times > 1] == []
    files = {name.removesuffix(".md").removesuffix(".ipynb") for name in (*PAGES, *NOTEBOOKS)}
    assert files - set(listed) == set()
    outside = [name for name in listed if name not in files]
    assert [name for name in outside if not (ROOT / f"{name}.md").is_file()] == []


def test_the_picture_of_real_faces_shows_the_networks_of_its_command():
    page = read("docs/real-faces.md")
    block = next(text for text in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) if "study" in text)
    names = ",".join(re.findall(r"^N=(?:\$N,)?(.*)$", block, re.MULTILINE)).split(",")
    drawn = (ROOT / "docs" / "images" / "fgnet-alignment.svg").read_text()
    assert sorted(re.findall(r">(\S+), whole image<", drawn)) == sorted(names)
    assert f"Drawn are {len(names)} of the 16" in page
    assert f"Drawn are {len(names)} of the 16" in read("README.md")


GUIDES = [
    "start",
    "your-backbone",
    "your-data",
    "your-leaderboard",
    "reading-results",
    "frozen-to-finetuned",
    "api",
]
AFTER = {"reading-results": ["start"]}
"""Guides whose commands need what others left behind."""
FETCHED = "efficientnet-lite0"


def blocks(guide):
    """The guide's commands, one string each, and its pieces of Python, in order."""
    for language, text in re.findall(r"^```(sh|python)\n(.*?)^```$", read(f"docs/{guide}.md"), re.M | re.S):
        pieces = [text] if language == "python" else text.replace("\\\n", " ").splitlines()
        yield from ((language, piece) for piece in pieces)


def shrunk(words):
    """A command at the size of a test: tiny images, one fold, one short epoch."""
    words = [re.sub(r"image_size=\d+", "image_size=32", word) for word in words]
    if words[0] in ("run", "sweep"):
        words += ["--folds", "0", "--device", "cpu", "--no-leaderboard"]
        if "linear" in words or "finetune" in words:
            words += ["-o", "epochs=1", "-o", "pairs_per_epoch=16"]
    return words


def test_a_table_of_the_faces_that_ship_can_be_made_twice(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (snippet,) = (text for language, text in blocks("your-data") if language == "python")
    for _ in range(2):
        exec(snippet, {})
    assert (tmp_path / "example-faces" / "faces.csv").is_file()


@pytest.mark.parametrize("guide", GUIDES)
def test_the_commands_of_a_guide_run(guide, tmp_path, monkeypatch, call):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tasks").symlink_to(ROOT / "tasks")
    names = {"__name__": "guide"}
    count = 0
    for language, text in itertools.chain.from_iterable(map(blocks, [*AFTER.get(guide, []), guide])):
        if language == "python":
            exec(compile(text.replace("112", "32"), f"{guide}.md", "exec"), names)
        elif text.startswith("comface-bench ") and FETCHED not in text:
            status, out, err = call(*shrunk(shlex.split(text, comments=True)[1:]))
            assert status == 0, f"{text}\n{out}{err}"
        else:
            assert FETCHED in text or text.startswith("python3 -m venv"), text
            continue
        count += 1
    assert count
