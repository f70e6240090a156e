"""From annotation vectors to words: greedy, by sampling, by beam search.

All three return `Caption`: the words, their log probability and where each word looked. None of
them ever tells ``<pad>``, ``<bos>`` or ``<unk>``: the model may well have learned to say
``<unk>``, but it means nothing to a reader.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass

import torch
from torch import Tensor

from labkit.data.vocabulary import BOS, EOS, PAD, UNK
from labkit.model.attention import ATTENTION_MODES
from labkit.model.decoder import Decoder, State

NEVER_GENERATED = [PAD, BOS, UNK]
WIDEST = 100  # beams: memory and time grow with them, and captions have long ceased to get better
MOST_WORDS = 1000  # of a caption


@dataclass(frozen=True)
class Caption:
    """What was told of one picture."""

    words: list[int]  # ids, without <bos> and <eos>
    score: float  # log p of the words (and <eos>, where it came); by beam search, see there
    alpha: Tensor  # (len(words), L) where each word looked


def greedy(
    decoder: Decoder, a: Tensor, max_words: int = 20, attention_mode: str | None = None,
    no_repeat_ngram_size: int | None = None,
) -> list[Caption]:  # fmt: skip
    """Take the likeliest word each time.

    Args:
        decoder: in evaluation mode.
        a: annotation vectors (N, L, D).
        max_words: a caption without ``<eos>`` ends after so many words; at most 1,000.
        attention_mode: how to look, see `labkit.model.attention.Attention.see`.
        no_repeat_ngram_size: as in `beam_search`; by default as the decoder was configured.

    Raises:
        ValueError: a number is out of range.
    """
    no_repeat_ngram_size = decoder.config.no_repeat_ngram_size if no_repeat_ngram_size is None else no_repeat_ngram_size
    return _follow(decoder, a, max_words, lambda log_p: log_p.argmax(-1), attention_mode, no_repeat_ngram_size)


def sample(
    decoder: Decoder, a: Tensor, max_words: int = 20, temperature: float = 1.0,
    generator: torch.Generator | None = None, attention_mode: str | None = None,
) -> list[Caption]:  # fmt: skip
    """Draw each word by lot from p(y_t) ** (1 / temperature).

    Args:
        decoder: in evaluation mode.
        a: annotation vectors (N, L, D).
        max_words: a caption without ``<eos>`` ends after so many words; at most 1,000.
        temperature: 1 draws as the model believes, less draws likelier words.
        generator: the source of chance; torch's own if None.
        attention_mode: how to look.

    Raises:
        ValueError: a number is out of range.
    """
    if not temperature > 0:
        raise ValueError(f"temperature {temperature} is not above 0: use greedy instead")

    def pick(log_p: Tensor) -> Tensor:
        p = (log_p / temperature).softmax(-1)
        return torch.multinomial(p[:, 0], 1, generator=generator)  # (N, 1)

    return _follow(decoder, a, max_words, pick, attention_mode)


@torch.inference_mode()
def _follow(
    decoder: Decoder, a: Tensor, max_words: int, pick: Callable[[Tensor], Tensor],
    attention_mode: str | None, no_repeat_ngram_size: int = 0,
) -> list[Caption]:  # fmt: skip
    """Tell N pictures word by word; ``pick`` turns log p (N, 1, V) into words (N, 1)."""
    within("max_words", max_words, 1, MOST_WORDS)
    seen, state = decoder.init_state(a, attention_mode=attention_mode)
    words = torch.full((len(a), 1), BOS, device=a.device)
    told, alphas = [], []
    score = torch.zeros(len(a), 1, device=a.device)
    going = torch.ones_like(words, dtype=torch.bool)
    for _ in range(max_words):
        log_p, state, glance = decoder.step(words, seen, state)
        log_p[..., NEVER_GENERATED] = -torch.inf
        if no_repeat_ngram_size and told:
            _forbid_repeats(log_p, torch.stack(told, -1), no_repeat_ngram_size)
        words = pick(log_p).masked_fill(~going, EOS)
        score += log_p.gather(-1, words[..., None])[..., 0].masked_fill(~going, 0)
        going &= words != EOS
        told.append(words)
        alphas.append(glance.alpha[:, 0])
        if not going.any():
            break
    told, alpha = torch.cat(told, 1), torch.stack(alphas, 1)  # (N, T), (N, T, L)
    lengths = (told != EOS).sum(1).tolist()
    return [
        Caption(told[n, :k].tolist(), score[n].item(), alpha[n, :k].float().cpu())
        for n, k in enumerate(lengths)
    ]


@torch.inference_mode()
def beam_search(
    decoder: Decoder, a: Tensor, width: int = 5, max_words: int = 20, length_penalty: float = 0.7,
    attention_mode: str | None = None, no_repeat_ngram_size: int | None = None, mbr: bool = False,
) -> list[Caption]:  # fmt: skip
    """Keep the ``width`` likeliest beginnings of each picture; return the best ended caption.

    A sum of log probabilities favours short captions, so ended ones are compared by
    log p / words ** ``length_penalty``, with ``<eos>`` counted as a word; that is the `score`.
    A caption ends when ``<eos>`` is among a step's ``width`` best continuations, and after
    ``max_words`` words all that is told is ``<eos>``. A picture is done when ``width`` captions
    have ended. Where ``<eos>`` has no probability at all, none can end: then the likeliest
    beginning of ``max_words`` words is returned, compared by those words alone.

    Args:
        decoder: in evaluation mode.
        a: annotation vectors (N, L, D); all pictures are searched at once.
        width: k, the number of beginnings kept; 1 is greedy, 100 is the most.
        max_words: the longest caption; at most 1,000.
        length_penalty: 0 compares plain log p, 1 the mean over the words.
        attention_mode: how to look.
        no_repeat_ngram_size: no run of so many words is told twice (Paulus et al. 2018 have it with three),
            and no word right after itself; 0 allows any. By default as the decoder was configured.
        mbr: return, of the captions that ended, the one of `minimum_bayes_risk`.

    Raises:
        ValueError: a number is out of range.
    """
    within("width", width, 1, WIDEST)
    within("max_words", max_words, 1, MOST_WORDS)
    N, device = len(a), a.device
    seen, state = decoder.init_state(a, width, attention_mode)
    words = torch.full((N, width), BOS, device=device)
    scores = torch.full((N, width), -torch.inf, device=device)
    scores[:, 0] = 0  # all beams begin alike: one is enough
    no_repeat_ngram_size = decoder.config.no_repeat_ngram_size if no_repeat_ngram_size is None else no_repeat_ngram_size
    told = words.new_empty(N, width, 0)  # (N, k, t)
    trail: list[tuple[Tensor, Tensor, Tensor]] = []  # of each step: words, parents, alpha
    pictures = torch.arange(N, device=device)[:, None]
    ended: list[list[tuple]] = [[] for _ in range(N)]  # each picture's: score, step, slot
    for t in range(max_words + 1):
        log_p, state, glance = decoder.step(words, seen, state)
        log_p[..., NEVER_GENERATED] = -torch.inf
        if no_repeat_ngram_size:
            _forbid_repeats(log_p, told, no_repeat_ngram_size)
        if t == max_words:  # no word more: all that can still be told is <eos>
            log_p[..., :EOS] = log_p[..., EOS + 1 :] = -torch.inf
        V = log_p.shape[-1]
        totals, places = (scores[..., None] + log_p).view(N, width * V).topk(2 * width)
        parents, words = places // V, places % V  # (N, 2k), best first
        _gather_ended(ended, totals, parents, words, width, t, length_penalty)
        if t == max_words or all(len(some) >= width for some in ended):
            break
        totals = totals.masked_fill(words == EOS, -torch.inf)
        scores, kept = totals.topk(width)
        parents, words = parents.gather(1, kept), words.gather(1, kept)
        trail.append((words, parents, glance.alpha))
        told = torch.cat([told[pictures, parents], words[..., None]], -1)
        state = State(state.h[pictures, parents], state.c[pictures, parents])
    for n in range(N):
        if not ended[n]:  # p(<eos>) was 0 everywhere
            ended[n] = [(scores[n, 0].item() / max_words**length_penalty, max_words, 0)]
    ended = ended if mbr else [[max(some)] for some in ended]
    found = [[_trace(trail, n, *one, a.shape[1]) for one in some] for n, some in enumerate(ended)]
    return [minimum_bayes_risk(captions) for captions in found]


def minimum_bayes_risk(captions: Sequence[Caption], temperature: float = 0.35) -> Caption:
    """The caption that agrees most with all of them: minimum Bayes risk (Kumar & Byrne 2004).

    Two captions agree by the F1 score of the runs of one to four words that they share. Each
    counts by exp(score / ``temperature``), the caption itself among them: it agrees wholly with
    itself, so of two that agree with the others alike the likelier one is returned.
    """
    told = [tuple(caption.words) for caption in captions]
    runs = [Counter(w[k : k + n] for n in range(1, 5) for k in range(len(w) - n + 1)) for w in told]
    agreement = [[2 * (a & b).total() / max(1, (a + b).total()) for b in runs] for a in runs]
    shares = torch.tensor([caption.score for caption in captions]).div(temperature).softmax(0)
    return captions[int((torch.tensor(agreement) @ shares).argmax())]


def within(what: str, number: float, least: float, most: float) -> None:
    """See that a number is in its range.

    Raises:
        ValueError: it is not, or it is no number.
    """
    if not least <= number <= most:
        raise ValueError(f"{what} must be from {least} to {most}, not {number}")


def _forbid_repeats(log_p: Tensor, told: Tensor, n: int) -> None:
    """Take all probability from the last word, and from those that end a run of n told before."""
    length = told.shape[-1]
    log_p.scatter_(-1, told[..., -1:], -torch.inf)
    for begin in range(length - n + 1):
        again = told[..., begin : begin + n - 1] == told[..., length - n + 1 :]  # (N, k, n - 1)
        word = told[..., begin + n - 1, None]
        banned = log_p.gather(-1, word).masked_fill(again.all(-1, keepdim=True), -torch.inf)
        log_p.scatter_(-1, word, banned)


def _gather_ended(
    ended: list, totals: Tensor, parents: Tensor, words: Tensor, width: int, t: int, power: float
) -> None:
    """Note the captions that end at step t among the ``width`` best candidates."""
    ends = (words[:, :width] == EOS) & totals[:, :width].isfinite()
    for n, slot in ends.nonzero().tolist():
        if len(ended[n]) < width:
            score = totals[n, slot].item() / (t + 1) ** power
            ended[n].append((score, t, parents[n, slot].item()))


def _trace(trail: list, n: int, score: float, length: int, slot: int, regions: int) -> Caption:
    """Walk back from a beam's last word to its first."""
    words, alpha = [], []
    for step_words, parents, step_alpha in reversed(trail[:length]):
        words.append(step_words[n, slot].item())
        slot = parents[n, slot].item()
        alpha.append(step_alpha[n, slot].float().cpu())
    rows = torch.stack(alpha[::-1]) if alpha else torch.zeros(0, regions)
    return Caption(words[::-1], score, rows)


@dataclass(frozen=True)
class GenerationConfig:
    """How captions are told. None stands for what the model was trained with.

    Attributes:
        beam: width of the beam search, 1 to 100; 1 is greedy. None: 5, where the model says none.
        max_words: the longest caption, 1 to 1,000 words.
        length_penalty: see `labkit.model.generation.beam_search`, 0 to 10. None: 0.7, and 0.6 where `mbr`.
        attention_mode: a key of `labkit.model.attention.ATTENTION_MODES`. None: the attention's own way.
        no_repeat_ngram_size: see `labkit.model.generation.beam_search`.
        mbr: see `labkit.model.generation.beam_search`.

    Raises:
        ValueError: a number is out of range.
    """

    beam: int | None = None
    max_words: int | None = None
    length_penalty: float | None = None
    attention_mode: str | None = None
    no_repeat_ngram_size: int | None = None
    mbr: bool | None = None

    def __post_init__(self):
        ranges = {
            "beam": (1, WIDEST), "max_words": (1, MOST_WORDS), "length_penalty": (0, 10),
            "no_repeat_ngram_size": (0, MOST_WORDS),
        }  # fmt: skip
        for name, (least, most) in ranges.items():
            if (value := getattr(self, name)) is not None:
                within(name, value, least, most)

    def __call__(self, decoder: Decoder, a: Tensor) -> list[Caption]:
        """Tell N pictures from their annotation vectors (N, L, D)."""
        how = self.settled(decoder)
        if how.beam == 1:
            return greedy(decoder, a, how.max_words, how.attention_mode, how.no_repeat_ngram_size)
        return beam_search(decoder, a, *astuple(how))

    def settled(self, decoder: Decoder) -> "Decoding":
        """Fill in what the decoder was configured with."""
        config, attention_mode = decoder.config, self.attention_mode or decoder.attention.attention_modes[0]
        no_repeat_ngram_size = config.no_repeat_ngram_size if self.no_repeat_ngram_size is None else self.no_repeat_ngram_size
        mbr = not self.beam and config.mbr_candidates > 0 if self.mbr is None else self.mbr
        power = (0.6 if mbr else 0.7) if self.length_penalty is None else self.length_penalty
        beam = self.beam or config.mbr_candidates or 5
        return GenerationConfig(beam, self.max_words or config.max_words, power, attention_mode, no_repeat_ngram_size, mbr)

    def __str__(self) -> str:
        beam = f"beam search, width {self.beam}, length power {self.length_penalty}"
        text = "greedy" if self.beam == 1 else beam
        text += f", no {self.no_repeat_ngram_size} words twice" if self.no_repeat_ngram_size else ""
        text += ", the caption that agrees most with the others" if self.mbr else ""
        text += f", at most {self.max_words} words" if self.max_words else ""
        return f"{text}, {ATTENTION_MODES[self.attention_mode]}" if self.attention_mode else text
