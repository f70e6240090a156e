"""A model and drawn scenes, of which any object can be removed: an exact counterfactual.

An object counts as named by a phrase if it is the only one of its colour and shape: else what is
left may fit the same words. Words are those of the model's own caption, read again when an object
is gone, so that each follows the same words as before.

What attention sees and what the first state sees can be redrawn each alone. The two losses need not
add up to that of both: where either is enough for the word, neither is missed alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from labkit.data.records import CaptionedImage, DataReport
from labkit.data.redraw import redraw
from labkit.data.scenes import Phrase, Thing, phrase_ending, things_of
from labkit.evaluation.pointing_game import cells_in
from labkit.evaluation.probes import Probe
from labkit.features.encoder import encode
from labkit.features.facts import grid_of
from labkit.model.captioner import Captioner
from labkit.model.captions import Caption

WORDS = {"shape": 0, "colour": -1}  # of a phrase, by their place before its last word
BOTH = "attention and first state"


@dataclass(frozen=True)
class Named:
    """An object that a caption names.

    Attributes:
        scene: The number of the scene.
        thing: The object's position in the scene.
        word: The position of the shape word; the colour stands before it.
        others: The positions of the scene's other objects.
    """

    scene: int
    thing: int
    word: int
    others: tuple[int, ...]


class SceneProbe(Probe):
    """A model and drawn scenes, of which any object can be removed.

    Args:
        captioner: The model.
        scenes: The records of `labkit.make_scenes`, in the size that the encoder takes.
        threads: Of the encoder.
        progress: Show a progress bar, if standard error is a terminal.

    Attributes:
        things: The objects of each scene.
        removals: (scene, object) of each scene without one of its objects, R in all.
        without: Their annotation vectors, (R, L, D).
        named: The objects that the captions name.
    """

    def __init__(
        self, captioner: Captioner, scenes: Sequence[CaptionedImage], threads: int = 1,
        progress: bool = True,
    ):  # fmt: skip
        self.things = [things_of(scene.facts) for scene in scenes]
        self.removals = [(n, j) for n, some in enumerate(self.things) for j in range(len(some))]
        size = captioner.encoder.config.size
        pictures = [scene.image for scene in scenes]
        pictures += [redraw(scenes[n].id, j, size) for n, j in self.removals]
        records = [CaptionedImage(str(k), one, (), "") for k, one in enumerate(pictures)]
        found = encode(
            records, captioner.encoder, DataReport(strict=True), threads=threads, progress=progress
        )
        a = torch.stack([torch.from_numpy(features) for _, features in found])
        self.without = a[len(scenes) :]
        super().__init__(captioner, a[: len(scenes)])
        self.grid = grid_of(captioner.encoder_facts, a.shape[1])
        self.named = [
            one for n, caption in enumerate(self.captions)
            for k, phrase in self.phrases(caption) if (one := self._named(n, k, phrase))
        ]  # fmt: skip

    def phrases(self, caption: Caption) -> list[tuple[int, Phrase]]:
        """The phrases of a caption, each with the position of its shape word."""
        words = [self.vocabulary.words[word] for word in caption.words]
        found = [(k, phrase_ending(words, k)) for k in range(len(words))]
        return [(k, phrase) for k, phrase in found if phrase]

    def _named(self, scene: int, word: int, phrase: Phrase) -> Named | None:
        things = range(len(self.things[scene]))
        alike = [j for j in things if fits(phrase, self.things[scene][j])]
        others = tuple(j for j in things if j not in alike)
        return Named(scene, alike[0], word, others) if len(alike) == 1 else None

    @cached_property
    def losses(self) -> dict[str, dict[tuple[int, int], Tensor]]:
        """What the words of a scene's caption lose, (T,) nats, by what misses which object."""
        scenes = [n for n, _ in self.removals]
        captions, whole = [self.captions[n].words for n in scenes], self.a[scenes]
        found = {
            BOTH: self.read(self.without, captions),
            "attention": self.read(whole, captions, seen=self.without),
            "first state": self.read(whole, captions, first=self.without),
        }
        own = [self.forced[n].log_p for n in scenes]
        return {
            what: {
                removal: log_p - one.log_p
                for removal, log_p, one in zip(self.removals, own, read, strict=True)
            }
            for what, read in found.items()
        }

    def loss(self, one: Named, removed: int, word: str = "shape", what: str = BOTH) -> float:
        """What a word of a named object loses when an object is removed for a part of the model."""
        return self.losses[what][one.scene, removed][one.word + WORDS[word]].item()

    def map_of(self, one: Named) -> Tensor:
        """The weights of a named object's shape word, (L,)."""
        return self.forced[one.scene].alpha[one.word]

    def cells(self, one: Named, thing: int) -> Tensor:
        """The cells of an object of the same scene, (L,) bool."""
        return cells_in(self.things[one.scene][thing].box, self.grid)

    def points_at(self, one: Named, thing: int) -> bool:
        """Whether the largest weight of the shape word lies on an object."""
        return bool(self.cells(one, thing)[self.map_of(one).argmax()])

    def centre(self, scene: int, thing: int) -> int:
        """The cell in which an object's centre lies."""
        one, (rows, columns) = self.things[scene][thing], self.grid
        return min(int(one.y * rows), rows - 1) * columns + min(int(one.x * columns), columns - 1)

    def says(self, caption: Caption, scene: int, thing: int, first: bool = False) -> bool:
        """Whether a phrase of a caption, or its first one, has an object's colour and shape."""
        found = [fits(phrase, self.things[scene][thing]) for _, phrase in self.phrases(caption)]
        return any(found[:1] if first else found)


def fits(phrase: Phrase, thing: Thing) -> bool:
    """Whether colour and shape are those of an object, whatever its size."""
    return (phrase.colour, phrase.shape) == (thing.colour, thing.shape)
