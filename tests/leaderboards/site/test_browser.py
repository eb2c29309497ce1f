"""The site in a real browser, from files: Debian's chromium, driven by Playwright."""

import itertools
import re
import shutil

import pytest

from comface_bench.leaderboards.formatting import visible

pytestmark = pytest.mark.browser
CHROMIUM = shutil.which("chromium")


def write(pages, folder):
    for name, data in pages.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder / "html"


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright isn't installed")
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def root(site, tmp_path_factory):
    return write(site.pages, tmp_path_factory.mktemp("pages"))


class Watch:
    """A page whose every request, message and dialog is kept."""

    def __init__(self, browser, **options):
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.messages, self.requests = [], []
        self.page.on("console", lambda message: self.messages.append(message.text))
        self.page.on("pageerror", lambda error: self.messages.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.messages.append(dialog.message), dialog.dismiss()))
        self.page.on("request", lambda request: self.requests.append(request.url))

    def check(self):
        assert self.messages == []
        assert self.requests
        assert [url for url in self.requests if not url.startswith(("file://", "data:,"))] == []


@pytest.fixture
def watch(browser):
    opened = []

    def make(**options):
        opened.append(Watch(browser, **options))
        return opened[-1]

    yield make
    for one in opened:
        one.check()
        one.context.close()


def column(page, region, heading):
    """Texts of the visible rows of a table: the method and one column, by its heading."""
    heads = page.locator(f"[aria-labelledby={region}] thead th").all_inner_texts()
    place = next(index - 1 for index, text in enumerate(heads) if text.strip().startswith(heading))
    rows = page.locator(f"[aria-labelledby={region}] tbody:not(.pinned) tr:not(.group):visible")
    return [
        (
            row.locator("th").inner_text().split()[0],
            row.locator("td").nth(place).inner_text().split()[0].rstrip("≈"),
        )
        for row in rows.all()
    ]


def test_sort_numbers_as_numbers(watch, root):
    page = watch().page
    page.goto((root / "task/age/finetune.html").as_uri())
    board = column(page, "results", "MAE")
    head = page.locator("[aria-labelledby=results] th", has_text="MAE ↓")
    button = head.get_by_role("button")
    button.click()
    assert head.get_attribute("aria-sort") == "ascending"
    rising = column(page, "results", "MAE")
    assert [float(text) for _, text in rising] == sorted(float(text) for _, text in board)
    button.click()
    assert head.get_attribute("aria-sort") == "descending"
    assert column(page, "results", "MAE") == rising[::-1]
    button.click()
    assert head.get_attribute("aria-sort") == "none"
    assert column(page, "results", "MAE") == board
    assert page.locator("[aria-labelledby=results] tr.group").count() == 5


def test_nothing_comes_last_both_ways(watch, root):
    page = watch().page
    page.goto((root / "task/synth-age/quick.html").as_uri())
    head = page.locator("[aria-labelledby=results] th", has_text="Corr. ↑")
    for way in ("descending", "ascending"):
        head.get_by_role("button").click()
        assert head.get_attribute("aria-sort") == way
        assert column(page, "results", "Corr.")[-1] == ("timm/vit", "—")
    assert page.get_by_role("status").inner_text() == "Sorted by Corr. ↑, ascending"


def test_filter(watch, root):
    page = watch().page
    page.goto((root / "task/age/finetune.html").as_uri())
    field = page.get_by_label("Filter methods")
    field.fill("facial")
    assert [name for name, _ in column(page, "results", "MAE")] == ["farl", "comface"]
    assert page.locator("[aria-labelledby=results] tr.group:visible").count() == 1
    assert page.get_by_role("status").inner_text() == "2 of 6 methods"
    page.locator("[aria-labelledby=results] th", has_text="MAE ↓").get_by_role("button").click()
    assert [name for name, _ in column(page, "results", "MAE")] == ["comface", "farl"]
    field.fill("")
    assert len(column(page, "results", "MAE")) == 6


def test_open_a_method(watch, root):
    page = watch().page
    page.goto((root / "index.html").as_uri())
    section = page.locator("section", has=page.get_by_role("heading", name=re.compile("^Fine-tuning")))
    section.get_by_role("row", name=re.compile("^farl")).get_by_role("link").first.click()
    assert page.get_by_role("heading", level=1).inner_text() == "farl"
    for name in (
        "Predicted against true change",
        "Mean absolute error by size of the true change",
        "Mean absolute error by subject",
        "Validation loss by epoch",
    ):
        box = page.get_by_role("img", name=name).bounding_box()
        assert box["width"] > 300
        assert box["height"] > 200
    page.get_by_role("main").get_by_role("link", name="age", exact=True).click()
    assert page.get_by_role("heading", level=1).inner_text() == "age"


def test_theme_is_chosen_and_kept(watch, root):
    page = watch(color_scheme="light").page
    page.goto((root / "index.html").as_uri())
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    button = page.get_by_role("button", name=re.compile("^Theme"))
    assert button.inner_text() == "Theme: auto"
    button.click()
    assert (button.inner_text(), page.evaluate(ground)) == ("Theme: light", light)
    button.click()
    dark = page.evaluate(ground)
    assert (button.inner_text(), dark != light) == ("Theme: dark", True)
    page.goto((root / "task/age/finetune.html").as_uri())
    assert page.evaluate(ground) == dark
    page.emulate_media(color_scheme="dark")
    page.get_by_role("button", name="Theme: dark").click()
    assert page.evaluate(ground) == dark
    page.get_by_role("button", name="Theme: auto").click()
    assert page.evaluate(ground) == light


def test_the_keyboard_is_enough(watch, root):
    page = watch().page
    page.goto((root / "task/age/finetune.html").as_uri())
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the content")
    assert skip.evaluate("element => element === document.activeElement")
    assert skip.bounding_box()["y"] >= 0
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    focused = "document.activeElement.textContent.trim()"
    for _ in range(80):
        page.keyboard.press("Tab")
        style = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert style == "solid", page.evaluate("document.activeElement.outerHTML")
        if page.evaluate(focused) == "Corr. ↑":
            break
    page.keyboard.press("Enter")
    head = page.locator("[aria-labelledby=results] th", has_text="Corr. ↑")
    assert head.get_attribute("aria-sort") == "descending"
    assert page.evaluate(focused) == "Corr. ↑"
    page.keyboard.press("Space")
    assert head.get_attribute("aria-sort") == "ascending"


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_overflows(watch, root, width):
    page = watch(viewport={"width": width, "height": 740}).page
    for path in sorted(root.rglob("*.html")):
        page.goto(path.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path.name
    page.goto((root / "task/age/finetune.html").as_uri())
    box = page.locator("[aria-labelledby=methods][role=region]")
    name = box.locator("tbody th[scope=row]").first
    before = name.bounding_box()["x"]
    box.evaluate("element => { element.scrollLeft = 200; }")
    assert name.bounding_box()["x"] == before, "the first column stays"


def test_without_script_everything_is_there(watch, root):
    page = watch(java_script_enabled=False).page
    page.goto((root / "task/age/finetune.html").as_uri())
    assert len(column(page, "results", "MAE")) == 6
    assert page.get_by_role("button").count() == 0


def test_hostile_names_are_shown_as_text(watch, hostile, tmp_path):
    folder = write(hostile.pages, tmp_path)
    seen = watch(viewport={"width": 360, "height": 740})
    for path in sorted(folder.rglob("*.html")):
        seen.page.goto(path.as_uri())
        assert seen.page.evaluate("document.scripts.length") == 1
        assert seen.page.evaluate("document.images.length") == 0
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= 360, path.name
    page = watch().page
    page.goto((folder / "task/age/finetune.html").as_uri())
    rows = page.locator("[aria-labelledby=results] tbody:not(.pinned) tr:not(.group) th").all_inner_texts()
    for name in hostile.names[:-2]:
        assert any(" ".join(visible(name).split()) in " ".join(row.split()) for row in rows), name
    page.get_by_label("Filter methods").fill("<script>")
    assert [name for name, _ in column(page, "results", "MAE")] == ["<script>alert(1)</script>§"]


def test_light_and_dark_look_different(watch, root):
    shots = set()
    for scheme in ("light", "dark"):
        page = watch(color_scheme=scheme).page
        page.goto((root / "task/age/finetune/farl.html").as_uri())
        shots.add(page.screenshot())
    assert len(shots) == 2


def test_two_methods_side_by_side(watch, root):
    page = watch(viewport={"width": 390, "height": 740}).page
    page.goto((root / "task/age/finetune.html").as_uri())
    box = page.locator(".compare")
    first, second = box.get_by_label("Compare", exact=True), box.get_by_label("with")
    heading = page.locator("[aria-labelledby=differences] thead th").nth(1).inner_text()
    best = heading.partition(", ")[2].strip(" ↕")
    assert first.locator("option:checked").inner_text() == best
    second.select_option("farl")
    shown = box.locator("dd").last.inner_text().split()[0]
    (listed,) = [text for name, text in column(page, "differences", "to the best") if name == "farl"]
    assert shown == listed.replace("+", "-")
    assert f"{best} minus farl: {shown}" in page.get_by_role("status").inner_text()
    # The other way round it is the same with the other sign.
    first.select_option("farl")
    second.select_option(best)
    assert box.locator("dd").last.inner_text().split()[0] == listed
    second.select_option("farl")
    assert box.locator("dd").count() == 1
    second.focus()
    page.keyboard.press("ArrowUp")
    assert box.locator("dd").count() == 3


def test_a_column_of_several_tasks_opens(watch, root):
    page = watch().page
    page.goto((root / "family/disfa.html").as_uri())
    fold = page.locator("details.fold")
    assert not fold.get_by_role("table").is_visible()
    page.get_by_role("link", name="3 tasks", exact=True).click()
    assert fold.get_by_role("table").is_visible()
    fold.locator("summary").focus()
    page.keyboard.press("Enter")
    assert not fold.get_by_role("table").is_visible()


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
def test_labels_of_scales_stand_apart_and_nothing_is_cut_where_there_is_room(watch, root, width, scheme):
    page = watch(viewport={"width": width, "height": 740}, color_scheme=scheme).page
    for path in ("index.html", "family/disfa.html", "task/age/finetune.html"):
        page.goto((root / path).as_uri())
        page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        scales = page.locator("svg.scale")
        assert scales.count()
        for scale in scales.all():
            boxes = [label.bounding_box() for label in scale.locator("text:visible").all()]
            for left, right in itertools.pairwise(boxes):
                assert left["x"] + left["width"] + 2 < right["x"], (path, boxes)
            every_other = scale.locator("text.odd")
            assert [one.is_visible() for one in every_other.all()] == [width > 640] * every_other.count()
        if width == 1280:
            for box in page.locator(".box").all():
                assert box.evaluate("one => one.scrollWidth <= one.clientWidth"), path
