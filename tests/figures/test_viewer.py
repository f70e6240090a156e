"""The viewer: what its HTML holds, and what it does in a real browser by mouse and keyboard."""

import base64
import io
import json
import re
import tomllib
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from browsing import chosen, open_tab, sentences, serious_faults
from PIL import Image

from labkit import AttentionViewer, make_scenes
from labkit.figures.viewer import align, describe
from labkit.model.captioner import CaptionedPhoto

ROOT = Path(__file__).parents[2]
SOFT = ["a", "red", "circle", "is", "left", "of", "a", "square"]
HARD = ["a", "red", "circle", "touches", "a", "small", "square"]
CORNERS = [(0, 0), (0, 6), (6, 0), (6, 6)]


def caption(words, rows=7, columns=7, sharp=1.0, start=0):
    """Each word looks at another corner, with a share of its weight, and evenly elsewhere."""
    even = (1 - sharp) / max(rows * columns - 1, 1)
    alpha = np.full((len(words), rows, columns), even, np.float32)
    for k in range(len(words)):
        row, column = CORNERS[(k + start) % 4]
        alpha[k, min(row, rows - 1), min(column, columns - 1)] = sharp
    return CaptionedPhoto(list(words), -1.0, alpha)


@pytest.fixture(scope="module")
def viewer():
    scene = make_scenes(1, seed=30, split="test")[0].image
    models = {"soft": caption(SOFT, sharp=0.8), "hard": caption(HARD, start=1)}
    return AttentionViewer(scene, models, alt="Coloured shapes on grey.")


@pytest.fixture(scope="module")
def text(viewer):
    return viewer._repr_html_()


class Tags(HTMLParser):
    """The tags of a page with their attributes, in order."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def data_of(text):
    """What is handed to the script."""
    return json.loads(re.search(r"\)\(\"attention-\w+\", (.*)\);\n</script>", text)[1])


def outer_id(text):
    return Tags(text).found[0][1]["id"]


def picture_of(url):
    return Image.open(io.BytesIO(base64.b64decode(url.split(",")[1])))


# What the HTML holds


def test_a_still_picture_comes_first_and_says_all_in_words(text):
    (_, outer), (tag, first), *others = Tags(text).found
    assert re.fullmatch(r"attention-[0-9a-f]{12}", outer["id"])
    assert tag == "img" and [other for other, _ in others] == ["style", "script"]
    assert first["alt"].startswith("Coloured shapes on grey. Caption by soft: a red circle is left")
    assert "circle: looks mostly at the lower left, 82% of the weight there." in first["alt"]
    assert "Caption by hard: a red circle touches" in first["alt"]
    assert picture_of(first["src"]).width > 400


def test_nothing_is_fetched_and_little_is_sent(text):
    assert not re.findall(r"(?:https?:)?//\w+\.\w+", text) and "@import" not in text
    assert all(url.startswith("data:") for url in re.findall(r'(?:src|href)="([^"]*)', text))
    assert len(text) < 60_000


def test_a_photograph_with_long_captions_is_small_too():
    rough = np.random.default_rng(0).integers(0, 255, (30, 40, 3)).astype(np.uint8)
    photo = Image.fromarray(rough).resize((1600, 1200), Image.Resampling.BICUBIC)
    words = [*SOFT, "and", *HARD[4:]]
    weights = np.random.default_rng(1).dirichlet(np.full(196, 0.1), len(words))
    one = CaptionedPhoto(words, -1.0, weights.reshape(-1, 14, 14).astype(np.float32))
    assert len(AttentionViewer(photo, {"soft": one, "hard": one})._repr_html_()) < 150_000


def test_the_same_content_gives_the_same_text(viewer, text):
    nudged = {
        name: CaptionedPhoto(words, 0.0, viewer.alpha[name] + np.float32(1e-5))
        for name, words in viewer.words.items()
    }
    assert AttentionViewer(viewer.photo, nudged, viewer.alt)._repr_html_() == text
    assert repr(viewer) == (
        "AttentionViewer(soft: a red circle is left of a square, "
        "hard: a red circle touches a small square)"
    )


def test_words_are_text_and_not_markup(text):
    words = ["</script><b>", "&amp;", "\"'", "<!--", "größer"]
    page = AttentionViewer(np.zeros((8, 8, 3), np.uint8), {"<i>": caption(words)})._repr_html_()
    assert outer_id(page) != outer_id(text)  # other content, another id
    assert [tag for tag, _ in Tags(page).found] == ["div", "img", "style", "script"]
    assert data_of(page)["captions"][0]["words"] == words
    assert page.count("</script>") == 1


def test_a_caption_that_two_models_share_is_there_once(viewer):
    photo, one, other = viewer.photo, caption(SOFT), caption(HARD)
    models = {"soft": one, "hard": caption(SOFT, start=2), "third": other}
    data = AttentionViewer(photo, models)._data()
    assert [row["who"] for row in data["captions"]] == ["soft and hard", "third"]
    assert [panel["caption"] for panel in data["panels"]] == [0, 0, 1]
    assert data["captions"][0]["aligned"][2] == (2, 2)


@pytest.mark.parametrize("grid", [(7, 7), (14, 14), (3, 5), (1, 1)])
@pytest.mark.parametrize("height, width", [(100, 100), (90, 240), (700, 300)])
def test_the_light_lies_where_the_weight_is(grid, height, width):
    photo = np.zeros((height, width, 3), np.uint8)
    data = AttentionViewer(photo, {"soft": caption(SOFT[:4], *grid)})._data()
    shown = picture_of(data["photo"])
    assert shown.width / shown.height == pytest.approx(width / height, rel=0.02)
    for url, (row, column) in zip(data["panels"][0]["maps"], CORNERS, strict=True):
        light = np.asarray(picture_of(url).convert("L"), float)
        y, x = np.argwhere(light == light.max()).mean(0)
        row, column = min(row, grid[0] - 1), min(column, grid[1] - 1)
        assert row / grid[0] <= (y + 0.5) / light.shape[0] <= (row + 1) / grid[0]
        assert column / grid[1] <= (x + 0.5) / light.shape[1] <= (column + 1) / grid[1]


@pytest.mark.parametrize(
    "models, complaint",
    [
        ({}, "needs captions"),
        ({"soft": CaptionedPhoto(["two", "words"], 0.0, np.ones((3, 7, 7)))}, "soft needs one map"),
        ({"hard": CaptionedPhoto(["two", "words"], 0.0, np.ones((2, 49)))}, "hard needs one map"),
        ({"hard": CaptionedPhoto([], 0.0, np.ones((0, 7, 7)))}, "hard needs one map"),
    ],
)
def test_what_cannot_be_shown(models, complaint):
    with pytest.raises(ValueError, match=complaint):
        AttentionViewer(np.zeros((8, 8, 3), np.uint8), models)


def test_all_files_beside_the_modules_are_installed_with_them():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    globs = listed["package-data"]["labkit"]
    given = {path for glob in globs for path in ROOT.glob(f"labkit/{glob}")}
    beside = {path for path in ROOT.glob("labkit/**/*.*") if path.suffix not in (".py", ".pyc")}
    assert {path.name for path in beside} >= {"viewer.js", "viewer.css"} and beside <= given


# What it says


def weights_at(shape, *cells):
    weights = np.zeros(shape, np.float32)
    for row, column, weight in cells:
        weights[row, column] = weight
    return weights


@pytest.mark.parametrize(
    "weights, said",
    [
        (weights_at((7, 7), (0, 0, 1)), "looks only at the upper left, 100% of the weight there"),
        (weights_at((7, 7), (0, 6, 3)), "looks only at the upper right, 100% of the weight there"),
        (weights_at((7, 7), (3, 3, 1)), "looks only at the middle, 100% of the weight there"),
        (weights_at((7, 7), (6, 3, 1)), "looks only at the lower middle, 100% of the weight there"),
        (
            weights_at((6, 6), (0, 0, 62), (5, 5, 38)),
            "looks mostly at the upper left, 62% of the weight there",
        ),
        (
            weights_at((6, 6), (2, 0, 45), (5, 5, 35), (0, 2, 20)),
            "looks mostly at the left and the lower right, 80% of the weight there",
        ),
        (
            np.ones((7, 7)) + weights_at((7, 7), (6, 0, 1)),
            "looks all over the picture, most at the lower left, 13% of the weight there",
        ),
        (np.zeros((7, 7)), "looks nowhere"),
    ],
)
def test_a_map_in_words(weights, said):
    assert describe(weights) == said


@pytest.mark.parametrize("rows, columns", [(7, 7), (14, 14), (1, 1), (2, 5), (8, 10)])
def test_a_cell_on_a_cut_counts_in_both_places(rows, columns):
    weights = np.random.default_rng(rows).dirichlet(np.ones(rows * columns)).reshape(rows, columns)
    fine = np.kron(weights, np.ones((3, 3))) / 9  # its cells lie in one third each
    thirds = fine.reshape(3, rows, 3, columns).sum((1, 3))
    shares = [int(part) for part in re.findall(r"(\d+)%", describe(weights))]
    top = np.sort(thirds.ravel())[::-1]
    wanted = top[0] if top[0] >= 0.5 or top[:2].sum() < 0.5 else top[:2].sum()
    assert shares == [pytest.approx(100 * wanted, abs=0.51)]


@pytest.mark.parametrize(
    "one, other, places",
    [
        ("a red circle", "a red circle", [0, 1, 2]),
        ("a red circle", "a blue circle", [0, 1, 2]),
        ("a circle", "a small red circle", [0, 3]),
        ("a small red circle", "a circle", [0, None, None, 1]),
        ("circle", "square left", [0]),
        ("a b", "c", [0, None]),
    ],
)
def test_words_that_correspond(one, other, places):
    assert align(one.split(), other.split()) == places


def test_a_file_is_not_overwritten_unless_asked(viewer, tmp_path):
    (tmp_path / "page.html").write_text("mine")
    with pytest.raises(FileExistsError, match=r"page\.html exists"):
        viewer.save(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text() == "mine"
    viewer.save(tmp_path / "page.html", overwrite=True)
    viewer.save(tmp_path / "new" / "page.html")
    assert (tmp_path / "page.html").read_text() == (tmp_path / "new" / "page.html").read_text()


# What it does in a browser


def test_a_page_of_its_own(page):
    page = page.read_text(encoding="utf-8")
    assert "<title>Where soft and hard looked</title>" in page
    assert data_of(page)["label"] == "Where soft and hard looked"


PLAIN = ["soft the picture alone", "hard the picture alone"]
CIRCLE = [
    "soft circle: looks mostly at the lower left, 82% of the weight there",
    "hard circle: looks only at the lower right, 100% of the weight there",
]
RED = [
    "soft red: looks mostly at the upper right, 82% of the weight there",
    "hard red: looks only at the lower left, 100% of the weight there",
]


def test_by_mouse(visit):
    tab = visit()
    soft = tab.get_by_role("radiogroup", name="Caption by soft")
    assert (sentences(tab), chosen(tab)) == (PLAIN, [])

    soft.get_by_role("radio", name="circle").hover()
    assert (sentences(tab), chosen(tab)) == (CIRCLE, ["circle", "circle"])
    tab.mouse.move(5, 5)  # pointing is not choosing
    assert (sentences(tab), chosen(tab)) == (PLAIN, [])

    soft.get_by_role("radio", name="red").click()
    soft.get_by_role("radio", name="circle").hover()
    assert sentences(tab) == CIRCLE
    tab.mouse.move(5, 5)
    assert (sentences(tab), chosen(tab)) == (RED, ["red", "red"])
    tab.locator(".av-picture").first.click()
    assert (sentences(tab), chosen(tab)) == (PLAIN, [])


def test_a_word_that_corresponds_to_none(visit):
    tab = visit()
    tab.get_by_role("radiogroup", name="Caption by soft").get_by_role("radio", name="of").click()
    assert chosen(tab) == ["of"]
    assert sentences(tab)[1] == "hard no word here corresponds to this one"


def test_by_keyboard(visit):
    tab = visit()
    focused = lambda: tab.evaluate("document.activeElement.textContent")  # noqa: E731
    tab.keyboard.press("Tab")
    assert focused() == "a" and chosen(tab) == ["a", "a"]
    outline = "getComputedStyle(document.activeElement).outline"
    assert "solid 3px" in tab.evaluate(outline) or "3px solid" in tab.evaluate(outline)
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("ArrowDown")
    assert focused() == "circle" and sentences(tab) == CIRCLE
    tab.keyboard.press("ArrowLeft")
    assert focused() == "red" and sentences(tab) == RED
    tab.keyboard.press("End")
    assert focused() == "square" and chosen(tab) == ["square", "square"]
    tab.keyboard.press("ArrowRight")
    assert focused() == "a" and chosen(tab) == ["a", "a"]
    tab.keyboard.press("ArrowLeft")
    tab.keyboard.press("Home")
    assert focused() == "a"
    tab.keyboard.press("Escape")
    assert (sentences(tab), chosen(tab)) == (PLAIN, [])
    tab.keyboard.press("Tab")  # the next caption; one stop each
    tab.keyboard.press("ArrowRight")
    assert chosen(tab) == ["red", "red"]
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.getAttribute('role')") != "radio"
    tab.keyboard.press("Shift+Tab")
    assert focused() == "red"


def test_by_touch(visit):
    tab = visit(has_touch=True, viewport={"width": 360, "height": 740})
    tab.get_by_role("radiogroup", name="Caption by hard").get_by_role("radio", name="circle").tap()
    assert sentences(tab) == CIRCLE
    tab.locator(".av-picture").last.tap()
    assert sentences(tab) == PLAIN


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1000, 360])
def test_at_every_width_in_both_themes(visit, theme, width):
    tab = visit(color_scheme=theme, viewport={"width": width, "height": 740})
    tab.get_by_role("radio", name="circle").first.click()
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    pictures = [one.bounding_box() for one in tab.locator(".av-picture").all()]
    assert pictures[0]["y"] == pictures[1]["y"]  # side by side
    assert all(box["x"] + box["width"] <= width and box["width"] > 120 for box in pictures)
    smallest = min(one.bounding_box()["height"] for one in tab.get_by_role("radio").all())
    assert smallest >= 24
    if width == 360:
        assert not serious_faults(tab)


def shot(tab, number):
    """What is drawn of one picture, (H, W, 3)."""
    png = tab.locator(".av-picture").nth(number).screenshot()
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), float)


def test_what_is_drawn_is_the_photograph_and_light_in_the_right_corner(visit, viewer):
    tab = visit(viewport={"width": 1000, "height": 740})
    alone = shot(tab, 0)
    photo = np.asarray(viewer.photo.resize(alone.shape[1::-1], Image.Resampling.BILINEAR), float)
    assert np.abs(alone - photo).mean() < 4  # of 255

    tab.get_by_role("radio", name="circle").first.click()
    for number, corner in enumerate([np.s_[-15:, :15], np.s_[-15:, -15:]]):
        change = (shot(tab, number) - alone).mean(2)
        assert change[corner].mean() > 20  # lighter
        assert change[: len(change) // 2].mean() < -40  # darker: no weight there


def test_without_scripts_the_still_picture_is_there(visit):
    tab = visit(java_script_enabled=False)
    assert tab.get_by_role("img").count() == 1 and tab.get_by_role("img").is_visible()
    assert tab.get_by_role("radio").count() == 0
    assert not tab.get_by_text("Point at a word").count()


def test_on_paper_the_still_picture_is_there(visit):
    tab = visit()
    still = tab.locator(".attention-viewer > img")
    assert not still.is_visible() and tab.get_by_role("radio").first.is_visible()
    tab.emulate_media(media="print")
    assert still.is_visible() and not tab.get_by_role("radio").first.is_visible()


def test_the_same_viewer_twice_on_a_page(browser, text, tmp_path):
    path = tmp_path / "twice.html"
    path.write_text(f"<!DOCTYPE html>{text * 2}", encoding="utf-8")
    context = browser.new_context()
    tab, complaints, _ = open_tab(context, (path.as_uri(),))
    tab.goto(path.as_uri())
    assert tab.get_by_role("radio").count() == 2 * len(SOFT + HARD)
    tab.get_by_role("radio", name="circle").last.click()
    assert sentences(tab) == PLAIN + CIRCLE
    context.close()
    assert not complaints
