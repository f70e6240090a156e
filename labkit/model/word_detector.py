"""Which words does an image call for? A second opinion on the candidates for its caption.

A word detector (Fang et al. 2015, 'From Captions to Visual Concepts and Back') knows no grammar. It
tells of each word w how likely a caption of the image is to have it, wherever in the caption:

    p_w(a) = sigma(E M [mean_i R a_i ; max_i R a_i] + b)

E are the decoder's word embeddings and R reduces its annotation vectors; M and b were fitted to the
captions of a training split (`labkit.training.word_detector`). The evidence for a caption is

    sum over its different words of  log p_w(a) - log p_w - PER_WORD

where p_w is the share of all captions that have the word. A word that is as likely without the
image brings 0, less PER_WORD; without that cost longer captions would win.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import linear, logsigmoid

from labkit.console import complain
from labkit.data.vocabulary import SPECIAL
from labkit.model import checkpoint
from labkit.model.decoder import Decoder

FILE = "detector.safetensors"
PER_WORD = 0.8  # nats; with it captions stay as long as they are without a detector


@dataclass(frozen=True)
class WordDetector:
    """Tells which words an image calls for.

    Attributes:
        decoder: Whose embeddings and reduced annotation vectors it uses.
        weight: M, (E, 2D).
        bias: b, (V,).
        log_prior: log p_w, (V,).
    """

    decoder: Decoder
    weight: Tensor
    bias: Tensor
    log_prior: Tensor

    def logits(self, pooled: Tensor) -> Tensor:
        """E M pooled + b for all words, (N, V), from what `pool` gave, (N, 2D)."""
        hidden = linear(pooled, self.weight)  # (N, E)
        return linear(hidden, self.decoder.embedding.weight.detach(), self.bias)

    @torch.inference_mode()
    def evidence(self, a: Tensor) -> Tensor:
        """What each word brings to a caption's evidence, in nats: (N, V).

        Args:
            a: Annotation vectors (N, L, D) of the encoder.
        """
        found = logsigmoid(self.logits(pool(self.decoder, a))) - self.log_prior - PER_WORD
        found[:, : len(SPECIAL)] = 0  # these are not words
        return found

    def to(self, device: torch.device) -> "WordDetector":
        """The same on another device; its decoder is there already."""
        parts = {name: one.to(device) for name, one in self.tensors().items()}
        return WordDetector(self.decoder, **parts)

    def tensors(self) -> dict[str, Tensor]:
        """Its own numbers, by their names."""
        return {"weight": self.weight, "bias": self.bias, "log_prior": self.log_prior}

    def save(self, folder: Path) -> None:
        """Write the detector into a model's folder, in half precision."""
        tensors = {name: one.half() for name, one in self.tensors().items()}
        facts = {"weights": checkpoint.checksum(self.decoder.state_dict())}
        checkpoint.save(folder / FILE, tensors, facts)

    @classmethod
    def load(cls, folder: Path, decoder: Decoder, weights: str) -> "WordDetector | None":
        """Read the detector of a model's folder; None if it has none.

        ``weights`` is the checksum of the decoder's (`labkit.model.checkpoint.checksum`).

        One that was fitted to other weights is not used, and standard error says so: the model
        may have been trained anew since.

        Raises:
            ValueError: The file is damaged, or holds numbers that `save` does not write.
        """
        path = folder / FILE
        if not path.exists():
            return None
        V, E, D = decoder.bias.numel(), decoder.config.embed_dim, decoder.config.feature_dim
        expected = {"weight": (E, 2 * D), "bias": (V,), "log_prior": (V,)}
        sizes = checkpoint.shapes(path)
        tensors, facts = checkpoint.load(path) if sizes == expected else ({}, {})
        if facts.get("weights") != weights:
            complain(f"{path} was fitted to other weights: run labkit detect-words --overwrite")
            return None
        for name, one in tensors.items():
            if one.dtype != torch.float16 or not one.isfinite().all():
                raise ValueError(
                    f"{path} holds NaN, infinity or other numbers than float16, in {name}: run "
                    "labkit detect-words --overwrite"
                )
        return cls(decoder, **{name: one.float() for name, one in tensors.items()})


@torch.inference_mode()
def pool(decoder: Decoder, a: Tensor) -> Tensor:
    """The mean and the maximum of an image's reduced annotation vectors, (N, L, .) -> (N, 2D)."""
    a = decoder.reduce(decoder.norm(a.float()))  # (N, L, D)
    return torch.cat([a.mean(1), a.amax(1)], 1)
