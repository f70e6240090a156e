"""A scene without one of its shapes: all else is as it was, pixel for pixel."""

import numpy as np
import pytest

from labkit.data.redraw import redraw
from labkit.data.scenes import COLOURS, draw, make_scenes, things_of

SCENES = make_scenes(40, seed=5, split="dev")


def cells_of(thing, pixels=112):
    """The pixels of a shape's box, and one more on each side for its smooth edges."""
    x0, y0, x1, y1 = (edge * pixels for edge in thing.box)
    inside = np.zeros((pixels, pixels), bool)
    inside[max(int(y0) - 1, 0) : int(y1) + 2, max(int(x0) - 1, 0) : int(x1) + 2] = True
    return inside


def test_a_whole_scene_is_drawn_exactly_as_it_was():
    assert all((redraw(scene.id) == scene.image).all() for scene in SCENES)
    large = make_scenes(2, seed=-3, split="some-split", pixels=64)[1]
    assert (redraw(large.id, pixels=64) == large.image).all()


def test_nothing_changes_outside_the_box_of_the_removed_shape():
    for scene in SCENES:
        for j, thing in enumerate(things_of(scene.facts)):
            without = redraw(scene.id, j)
            changed = (without != scene.image).any(-1)
            assert changed.any() and not (changed & ~cells_of(thing)).any()


def test_what_the_shape_covered_is_seen_and_what_covered_it_stays():
    covered = 0
    for scene in SCENES:
        things = things_of(scene.facts)
        for j, top in enumerate(things):
            without, left = redraw(scene.id, j), things[:j] + things[j + 1 :]
            background = without[~np.any([cells_of(one) for one in left], 0)]
            assert (background == background[0]).all()  # one shade of grey
            assert (without == draw(left, int(background[0, 0]))).all()
            for one in left:
                seen = (draw([one], 128) == COLOURS[one.colour]).all(-1)
                now, before = ((image == COLOURS[one.colour]).all(-1) & seen
                               for image in (without, scene.image))  # fmt: skip
                if one.colour != top.colour:
                    assert (now >= before).all()
                    covered += (now & ~before).sum()
    assert covered > 100  # there were shapes under others


def test_what_is_no_scene_or_no_shape_is_refused():
    for name in ("dog.jpg", "scene-0-dev", "scene-x-dev-000001", "scene-0-dev-000001#1"):
        with pytest.raises(ValueError, match="no id of a drawn scene"):
            redraw(name)
    count = len(SCENES[0].facts["things"])
    for number in (count, -1):
        with pytest.raises(IndexError, match=f"has {count} shapes"):
            redraw(SCENES[0].id, number)
