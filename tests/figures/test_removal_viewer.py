"""The viewer of removed objects: its numbers are the probe's, and lie where the objects are."""

import base64
import copy
import io
import re
from dataclasses import replace

import numpy as np
import pytest
from browsing import chosen, sentences, serious_faults, visits
from PIL import Image

from labkit import Captioner, make_scenes
from labkit.data.records import CaptionedImage
from labkit.data.vocabulary import EOS
from labkit.evaluation.removals import BOTH, SceneProbe
from labkit.figures import RemovalViewer
from labkit.figures.removal_viewer import tell
from labkit.figures.viewer import BRIGHTEST, DARKEST

SCENE = make_scenes(5, seed=30, split="test")[4]  # four objects
PRINTED = 0.0501  # nats: half a unit of the last digit, and float32
NAMES = ["yellow circle", "black star", "orange square", "white circle"]


@pytest.fixture(scope="module", params=["soft", "hard"])
def captioner(request):
    return Captioner.from_pretrained(f"scenes-{request.param}")


@pytest.fixture(scope="module")
def soft():
    return Captioner.from_pretrained("scenes-soft")


@pytest.fixture(scope="module")
def probe(captioner):
    return SceneProbe(captioner, [SCENE], progress=False)


@pytest.fixture(scope="module")
def viewer(captioner):
    return RemovalViewer(captioner, SCENE)


def losses(probe, word, what=BOTH):
    """What the probe says, for each object."""
    return [probe.losses[what][0, j][word].item() for j in range(len(probe.things[0]))]


def numbers(tab):
    """What stands on the picture."""
    texts = tab.locator(".av-number").all_inner_texts()
    return [float(text.replace("\N{MINUS SIGN}", "-")) for text in texts]


def in_words(sentence):
    """The numbers of a sentence, by the object's name."""
    found = {}
    for verb, part in re.findall(r"(loses|gains) ([^;]+)", sentence):
        for number, name in re.findall(r"([\d.]+)(?: nats)? without the (\w+ \w+)", part):
            found[name] = float(number) * (1 if verb == "loses" else -1)
    return [found[name] for name in NAMES]


def right(tab):
    """What is drawn of the right picture, (H, W)."""
    png = tab.locator(".av-picture").last.screenshot()
    return np.asarray(Image.open(io.BytesIO(png)).convert("L"), float)


def lights_of(viewer):
    """The right map of each word, 0 to 1."""
    urls = viewer._data()["panels"][1]["maps"]
    pictures = [Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))) for url in urls]
    return [np.asarray(one.convert("L"), float) / 255 for one in pictures]


def always(captioner, word):
    """The same model, which says this word always."""
    other = copy.deepcopy(captioner)
    other.decoder.bias.data[word] = 1000.0
    return other


# What it shows in a browser


def test_a_shape_word_lights_its_object(visit, probe):
    tab = visit(viewport={"width": 1000, "height": 800})
    alone = right(tab)
    size = len(alone)
    assert len(probe.named) == 2
    for one in probe.named:
        costs = losses(probe, one.word)
        assert np.argmax(costs) == one.thing  # or this scene says nothing
        tab.get_by_role("radio").nth(one.word).hover()
        change = right(tab) - alone
        lights = []
        for thing in probe.things[0]:
            x0, y0, x1, y1 = (round(edge * size) for edge in thing.box)
            lights.append(change[y0:y1, x0:x1].mean())
        assert np.argmax(lights) == one.thing
        assert min(lights) < -30  # other objects are dark
        assert numbers(tab)[one.thing] == max(numbers(tab)) > 3
        tab.mouse.move(5, 5)
        assert not numbers(tab)


def test_all_numbers_are_those_of_the_probe(visit, probe):
    tab = visit(viewport={"width": 1000, "height": 800})
    words = tab.get_by_role("radio").all()
    assert [word.inner_text() for word in words] == probe.text(probe.captions[0]).split()
    for k, word in enumerate(words):
        word.click()
        costs = losses(probe, k)
        assert numbers(tab) == pytest.approx(costs, abs=PRINTED)
        assert in_words(sentences(tab)[1]) == numbers(tab)
    picture = tab.locator(".av-picture").last.bounding_box()
    for mark, thing in zip(tab.locator(".av-number").all(), probe.things[0], strict=True):
        box = mark.bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        at = (x - picture["x"]) / picture["width"], (y - picture["y"]) / picture["height"]
        assert at == pytest.approx((thing.x, thing.y), abs=0.02)


def test_by_keyboard(visit, probe, captioner):
    tab, words = visit(), probe.text(probe.captions[0]).split()
    plain = [f"{captioner.name} the picture alone", "removal the picture alone"]
    assert sentences(tab) == plain
    tab.keyboard.press("Tab")
    tab.keyboard.press("End")
    assert chosen(tab) == words[-1:]
    looked, removed = sentences(tab)
    assert looked.startswith(f"{captioner.name} {words[-1]}: looks ")
    assert removed.startswith(f"removal {words[-1]}: loses ")
    assert in_words(removed) == numbers(tab)
    tab.keyboard.press("ArrowRight")
    assert chosen(tab) == words[:1] and in_words(sentences(tab)[1]) == numbers(tab)
    tab.keyboard.press("Escape")
    assert sentences(tab) == plain and not numbers(tab) and not chosen(tab)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_on_a_phone(visit, theme):
    tab = visit(color_scheme=theme, has_touch=True, viewport={"width": 360, "height": 740})
    tab.get_by_role("radio").last.tap()
    assert len(numbers(tab)) == 4
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    looked, removed = (one.bounding_box() for one in tab.locator(".av-picture").all())
    assert looked["y"] == removed["y"] and removed["x"] >= looked["x"] + looked["width"]
    assert not serious_faults(tab)


def test_without_scripts_and_on_paper_a_still_picture_says_the_same(visit, viewer):
    still = visit(java_script_enabled=False).get_by_role("img")
    assert still.is_visible()
    said = still.get_attribute("alt")
    assert said == viewer._in_words() and "What each word loses when an object is removed." in said
    for sentence in viewer._data()["panels"][1]["says"]:
        assert sentence in said
    tab = visit()
    tab.emulate_media(media="print")
    assert tab.locator(".attention-viewer > img").is_visible()


def test_an_empty_caption_shows_the_scene_alone(browser, soft, tmp_path):
    viewer = RemovalViewer(always(soft, EOS), SCENE)
    assert viewer.lost.shape == (0, 4) and "Caption by scenes-soft: no words." in viewer._in_words()
    viewer.save(tmp_path / "page.html")
    with visits(browser, tmp_path / "page.html") as visit:
        tab = visit()
        assert sentences(tab) == ["scenes-soft the picture alone", "removal the picture alone"]
        assert tab.get_by_role("radio").count() == 0 and not serious_faults(tab)


# What it holds


def test_the_scale_is_that_of_the_whole_caption(viewer):
    tops = [light.max() for light in lights_of(viewer)]
    shares = viewer.lost.max(1).clip(min=0) / viewer.lost.max()
    assert min(shares) < 0.1 and max(tops) == pytest.approx(BRIGHTEST, abs=0.005)
    wanted = DARKEST + (BRIGHTEST - DARKEST) * shares
    assert tops == pytest.approx(wanted, abs=0.005)
    assert f"up to {viewer.lost.max():.1f} nats" in viewer._data()["hint"]


def test_a_word_that_needs_no_object_is_dark(soft):
    viewer = RemovalViewer(always(soft, soft.vocabulary.words.index("star")), SCENE)
    data = viewer._data()
    assert set(data["captions"][0]["words"]) == {"star"} and abs(viewer.lost).max() < 0.01
    assert np.ptp(lights_of(viewer)) < 0.01 and "up to 1.0 nats" in data["hint"]
    removal = data["panels"][1]
    assert removal["says"][0].startswith("star: loses 0.0 nats without the yellow circle, 0.0 ")
    assert {text for row in removal["numbers"] for _, _, text in row} == {"0.0"}


@pytest.mark.parametrize("what", ["attention", "first state"])
def test_objects_removed_for_one_part_of_the_model(captioner, probe, what):
    viewer = RemovalViewer(captioner, SCENE, what)
    for k, row in enumerate(viewer.lost):
        assert row == pytest.approx(losses(probe, k, what), abs=1e-3)
    assert [one["name"] for one in viewer._data()["panels"]][1] == f"removal ({what} only)"


def test_a_scene_of_one_object(soft, monkeypatch):
    from labkit.data import redraw
    from labkit.data.scenes import sample_scene

    def alone(*which):
        things, *others = sample_scene(*which)
        return things[1:2], *others

    monkeypatch.setattr(redraw, "sample_scene", alone)
    scene = replace(SCENE, facts={"things": SCENE.facts["things"][1:2]})
    viewer = RemovalViewer(soft, scene)
    assert viewer.lost.shape == (len(viewer.words["scenes-soft"]), 1) and viewer.lost.max() > 1
    assert "without the black star" in viewer._repr_html_()


def test_pictures_of_any_size_give_the_same(soft):
    large = make_scenes(5, seed=30, split="test", pixels=224)[4]
    assert RemovalViewer(soft, large)._repr_html_() == RemovalViewer(soft, SCENE)._repr_html_()


def test_two_objects_alike_are_told_apart_by_their_places(soft):
    scenes = make_scenes(400, seed=1, split="test")
    kinds = [[(t["colour"], t["shape"]) for t in one.facts["things"]] for one in scenes]
    scene = next(one for one, some in zip(scenes, kinds, strict=True) if len({*some}) < len(some))
    said = RemovalViewer(soft, scene)._data()["panels"][1]["says"][0]
    names = re.findall(r"without the ([\w ]+)", said)
    assert len(names) == len(scene.facts["things"]) and len(re.findall(r" at the ", said)) == 2


@pytest.mark.parametrize(
    "lost, said",
    [
        ([8.3, 0.0], "loses 8.3 nats without the star, 0.0 without the cross"),
        ([0.1, 7.0], "loses 7.0 nats without the cross, 0.1 without the star"),
        ([8.3, -0.6], "loses 8.3 nats without the star; gains 0.6 nats without the cross"),
        ([-0.2, -0.6], "gains 0.2 nats without the star, 0.6 without the cross"),
    ],
)
def test_losses_in_words(lost, said):
    assert tell(np.array(lost), ["star", "cross"]) == said


@pytest.mark.parametrize(
    "scene",
    ["photo.jpg", SCENE.image, CaptionedImage("dog.jpg", SCENE.image, ("a dog",), "test")],
)
def test_photographs_are_refused(soft, scene):
    with pytest.raises(ValueError, match="from drawn scenes only: give a record of make_scenes"):
        RemovalViewer(soft, scene)


def test_parts_that_the_model_does_not_have(soft):
    with pytest.raises(ValueError, match="for 'memory': choose one of attention and first state"):
        RemovalViewer(soft, SCENE, "memory")
