"""What the exercises on decoding compare with: captions of scenes, right ones and faulty ones."""

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from labkit.data.photos import to_input
from labkit.data.scenes import make_scenes
from labkit.data.vocabulary import BOS, EOS
from labkit.features.encoder import load_encoder
from labkit.features.prepare import SCENE_ENCODER
from labkit.model.captioner import Captioner
from labkit.model.decoder import Decoder, State
from labkit.model.generation import greedy

LONGEST = 20  # words
SCENE: dict[str, Any] = {"seed": 25, "split": "test"}  # exercise 4.7 captions the first


def pretrained(count: int, seed: int, split: str) -> tuple[Decoder, Tensor]:
    """Return the pretrained decoder, and the features (N, L, D) of some scenes."""
    scenes = make_scenes(count, seed, split)
    images = [to_input(np.asarray(one.image), SCENE_ENCODER.size) for one in scenes]
    pixels = torch.stack([torch.from_numpy(image) for image in images])
    with torch.no_grad():
        features = load_encoder(SCENE_ENCODER, bf16=False)(pixels)
    return Captioner.from_pretrained("scenes-soft").decoder, features


@torch.no_grad()
def faulty_greedy(
    decoder: Decoder, a: Tensor, feed_last: bool = True, pass_state: bool = True,
    start: bool = True,
) -> list[int]:  # fmt: skip
    """Decode greedily with a part left out: the last word, the new state, or the first state."""
    image, first = decoder.init_state(a)
    first = first if start else State(0 * first.h, 0 * first.c)
    words, state = [BOS], first
    while words[-1] != EOS and len(words) <= LONGEST:
        last = words[-1] if feed_last else BOS
        log_p, new, _ = decoder.step(torch.tensor([[last]]), image, state)
        state = new if pass_state else first
        words.append(int(log_p.argmax()))
    return [word for word in words if word not in (BOS, EOS)]


@cache
def caption() -> tuple[Tensor, list[int], Tensor, dict[str, list[int]]]:
    """Return a (L, D) of the scene, the ids and weights of its caption, and the ids of mistakes."""
    decoder, features = pretrained(1, **SCENE)
    with torch.no_grad():
        (right,) = greedy(decoder, features, LONGEST)
        a = decoder.reduce(decoder.norm(features[0]))
    ids = right.words
    return a, ids, right.alpha, {
        "<bos> marks the beginning and is not a word of the caption": [BOS, *ids],
        "<eos> marks the end and is not a word of the caption": [*ids, EOS],
        "<bos> and <eos> are not words of the caption": [BOS, *ids, EOS],
        "the last word is missing: leave out only <eos>": ids[:-1],
        "each step needs the word generated last, not <bos> each time":
            faulty_greedy(decoder, features, feed_last=False),
        "each step needs the h and c of the step before it, not the first ones":
            faulty_greedy(decoder, features, pass_state=False),
        "the first h and c come from the mean annotation vector: call start(a)":
            faulty_greedy(decoder, features, start=False),
    }  # fmt: skip
