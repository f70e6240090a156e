"""A drawn scene again without one of its shapes, to ask what a model says when it is not there.

Nobody knows what is behind a dog on a photograph. A scene is a pure function of its seed, split and
number, so it can be drawn again exactly, and what the shape covered is seen.
"""

import re

import numpy as np

from labkit.data.scenes import draw, sample_scene

ID = re.compile(r"scene-(-?\d+)-(.+)-(\d{6,})")


def redraw(name: str, without: int | None = None, pixels: int = 112) -> np.ndarray:
    """Draw a scene of `labkit.make_scenes` again, without one of its shapes.

    Args:
        name: The scene's id, as `make_scenes` and stores have it.
        without: Which of its shapes to leave out, by its position in the scene's ``facts``; None
            leaves out none.
        pixels: The side of the picture, in pixels.

    Returns:
        ``(pixels, pixels, 3)`` uint8. The background and all other shapes are as they were.

    Raises:
        ValueError: This is no id of a scene.
        IndexError: The scene has no such shape.

    Example:
        >>> from labkit import make_scenes
        >>> scene = make_scenes(1)[0]
        >>> bool((redraw(scene.id) == scene.image).all())
        True
        >>> bool((redraw(scene.id, without=0) == scene.image).all())
        False
    """
    parts = ID.fullmatch(name)
    if not parts:
        raise ValueError(f"{name!r} is no id of a drawn scene, such as 'scene-0-dev-000007'")
    things, shade, _ = sample_scene(int(parts[1]), parts[2], int(parts[3]))
    if without is not None:
        if not 0 <= without < len(things):
            raise IndexError(f"{name} has {len(things)} shapes: there is no number {without}")
        del things[without]
    return draw(things, shade, pixels)
