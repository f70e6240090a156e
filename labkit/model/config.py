"""What a model is, and how it captions: two of the three configurations.

The third, how a model is trained, is `labkit.training.config.TrainingConfig`. No field stands in
two of them, so each option has one home. Ranges and meanings stand beside the fields.
"""

import reprlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import AfterValidator

from labkit.validation import Checked, Count, Part, Share, Size, checked, means

MECHANISMS = ["soft", "argmax", "reinforce", "gumbel", "marginal"]
"""The attention mechanisms; `labkit.model.hard_attention.register_attention` adds to them."""
ATTENTION_MODES = {
    "argmax": "attending to the single most likely region",
    "sample": "attending to a single sampled region",
    "expectation": "attending to all regions, by their weights",
}


def _known_mechanism(name: str) -> str:
    if name not in MECHANISMS:
        known = f"{', '.join(MECHANISMS[:-1])} or {MECHANISMS[-1]}"
        raise ValueError(
            f"attention is {known}, not {reprlib.repr(name)}; register your own: "
            "labkit.register_attention"
        )
    return name


@checked()
class ModelConfig(Checked):
    """What a model is: its sizes, its dropout, and its attention mechanism.

    The options from `first_state` to `context_dropout` decide how much words need the attention,
    see the book's chapter 'Do the maps explain the word?'; those from `soft_share` on belong to
    single mechanisms. Where the paper names a value, it is the default.

    Example:
        >>> from labkit import Decoder, ModelConfig
        >>> config = ModelConfig(vocab_size=25, encoder_dim=112, hidden_dim=64)
        >>> config.attention, config.hidden_dim
        ('soft', 64)
        >>> decoder = Decoder(config)
    """

    vocab_size: Annotated[int, means("V, the number of words", ge=1, le=1_000_000)]
    encoder_dim: Annotated[int, means("size of the encoder's annotation vectors", ge=1, le=100_000)]
    attention: Annotated[
        str, AfterValidator(_known_mechanism),
        means("the mechanism: soft, argmax, reinforce, gumbel, marginal, or a registered one"),
    ] = "soft"  # fmt: skip
    feature_dim: Annotated[Size, means("D, the size annotation vectors are reduced to")] = 512
    embed_dim: Annotated[Size, means("E, the size of a word embedding")] = 512
    hidden_dim: Annotated[Size, means("H, the size of the LSTM's hidden state")] = 512
    attention_dim: Annotated[Size, means("A, the hidden layer of the attention model")] = 256
    dropout: Annotated[Part, means("dropout before the output layer, as in the paper")] = 0.5
    word_dropout: Annotated[Part, means("dropout on the word embeddings")] = 0.2
    feature_dropout: Annotated[
        Part, means("dropout on whole channels of the annotation vectors")
    ] = 0.2
    first_state: Annotated[
        Literal["mean", "learned"],
        means("what the LSTM starts from: the mean annotation vector, as in the paper; or a "
              "learned state, the same for all images")
    ] = "mean"  # fmt: skip
    scores_see_word: Annotated[
        bool, means("whether the scores of the regions also depend on the last word")
    ] = False
    gate: Annotated[bool, means("whether contexts pass the gate beta; without, it is 1")] = True
    context_dropout: Annotated[Part, means("dropout on whole contexts, word by word")] = 0.0
    soft_share: Annotated[
        Share, means('reinforce: probability that a caption gets soft steps, not samples')
    ] = 0.5
    one_coin: Annotated[
        bool, means("reinforce: one coin for the whole batch, as in the paper's code")
    ] = False
    baseline: Annotated[
        Literal["average", "others", "learned"],
        means("reinforce: what is subtracted from the reward: a moving average; the mean over the "
              "other samples of the same caption; a learned prediction"),
    ] = "average"  # fmt: skip
    temperature: Annotated[
        float, means("gumbel, marginal: temperature when training starts", gt=0, le=100)
    ] = 1.0
    temperature_end: Annotated[float, means("and when it ends", gt=0, le=100)] = 0.5
    cooling: Annotated[
        Literal["linear", "exponential"], means("how the temperature changes in between")
    ] = "exponential"
    sum_share: Annotated[
        Share, means("marginal: probability that a caption learns from the sum over regions")
    ] = 0.7
    places: Annotated[
        int, means("marginal: how many likely regions are summed one by one", ge=1, le=100_000)
    ] = 8


@checked()
class GenerationConfig(Checked):
    """How a model captions. A trained model keeps its own.

    Example:
        >>> from labkit import GenerationConfig
        >>> config = GenerationConfig(num_beams=3, no_repeat_ngram_size=3)
        >>> print(config)
        beam search, 3 beams, length penalty 0.7, no repeated 3-gram, at most 24 words
    """

    num_beams: Annotated[int, means("width of the beam search; 1 is greedy", ge=1, le=100)] = 5
    max_length: Annotated[
        int, means("the longest caption, in words; training captions are cut to it, too",
                   ge=1, le=1000)
    ] = 24  # fmt: skip
    length_penalty: Annotated[
        float | None,
        means("finished captions are compared by log p / length ** length_penalty; by default 0.7, "
              "and 0.6 with mbr_candidates", ge=0, le=10),
    ] = None  # fmt: skip
    no_repeat_ngram_size: Annotated[
        Count, means("no n-gram of this size is repeated, and no word directly; 0 allows all")
    ] = 0
    mbr_candidates: Annotated[
        int, means("choose by minimum Bayes risk among this many candidates, found by as many "
                   "beams; 0 takes the most likely caption", ge=0, le=100)
    ] = 0  # fmt: skip
    attention_mode: Annotated[
        Literal["argmax", "sample", "expectation"] | None,
        means("where to look while captioning; by default as the mechanism does: expectation for "
              "soft, argmax for hard attention"),
    ] = None  # fmt: skip

    def updated(self, overrides: Mapping[str, Any]) -> "GenerationConfig":
        """Replace some fields.

        Asking for a number of beams, and for nothing else, asks for their most likely caption: it
        switches `mbr_candidates` off.

        Args:
            overrides: new values by field; None leaves a field as it is.

        Raises:
            ValueError: a field is unknown, or a value out of range.
        """
        given = {name: value for name, value in overrides.items() if value is not None}
        if "num_beams" in given:
            given.setdefault("mbr_candidates", 0)
        return replace(self, **given)

    def __str__(self) -> str:
        beams = self.mbr_candidates or self.num_beams
        text = f"beam search, {beams} beams, length penalty {self.penalty}"
        text = "greedy" if beams == 1 else text
        if self.no_repeat_ngram_size:
            text += f", no repeated {self.no_repeat_ngram_size}-gram"
        text += ", chosen by minimum Bayes risk" if self.mbr_candidates else ""
        text += f", at most {self.max_length} words"
        return f"{text}, {ATTENTION_MODES[self.attention_mode]}" if self.attention_mode else text

    @property
    def penalty(self) -> float:
        """The length penalty in force."""
        default = 0.6 if self.mbr_candidates else 0.7
        return default if self.length_penalty is None else self.length_penalty
