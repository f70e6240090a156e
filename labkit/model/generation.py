"""From annotation vectors to words: greedy, by sampling, by beam search.

All three return `Caption`: the words, their log probability and where each word attended. None of
them ever generates ``<pad>``, ``<bos>`` or ``<unk>``: the model may well have learned to predict
``<unk>``, but it means nothing to a reader.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from labkit.data.vocabulary import BOS, EOS, PAD, UNK
from labkit.model.config import GenerationConfig
from labkit.model.decoder import Decoder, State

NEVER_GENERATED = [PAD, BOS, UNK]


@dataclass(frozen=True)
class Caption:
    """What was generated for one image.

    Attributes:
        words: Word ids, without ``<bos>`` and ``<eos>``.
        score: log p of the words, and of ``<eos>`` where it came; for beam search see there.
        alpha: (len(words), L) where each word attended.
    """

    words: list[int]
    score: float
    alpha: Tensor


def generate(decoder: Decoder, a: Tensor, config: GenerationConfig | None = None) -> list[Caption]:
    """Caption N images as a configuration says.

    Args:
        decoder: In evaluation mode.
        a: Annotation vectors (N, L, D).
        config: How; a plain beam search if None.

    Raises:
        ValueError: The mechanism has no such attention mode.
    """
    config = config or GenerationConfig()
    mode, ngram = config.attention_mode, config.no_repeat_ngram_size
    beams = config.mbr_candidates or config.num_beams
    if beams == 1:
        return greedy(decoder, a, config.max_length, mode, ngram)
    mbr = config.mbr_candidates > 0
    return beam_search(decoder, a, beams, config.max_length, config.penalty, mode, ngram, mbr)


def greedy(
    decoder: Decoder, a: Tensor, max_length: int = 24, attention_mode: str | None = None,
    no_repeat_ngram_size: int = 0,
) -> list[Caption]:  # fmt: skip
    """Take the most likely word at each step.

    Args:
        decoder: In evaluation mode.
        a: Annotation vectors (N, L, D).
        max_length: A caption without ``<eos>`` ends after so many words; 1 to 1,000.
        attention_mode: See `labkit.model.attention.Attention.encode`.
        no_repeat_ngram_size: As in `beam_search`.

    Raises:
        ValueError: A number is out of range.
    """
    def pick(log_p: Tensor) -> Tensor:
        return log_p.argmax(-1)

    return _follow(decoder, a, max_length, pick, attention_mode, no_repeat_ngram_size)


def sample(
    decoder: Decoder, a: Tensor, max_length: int = 24, temperature: float = 1.0,
    generator: torch.Generator | None = None, attention_mode: str | None = None,
) -> list[Caption]:  # fmt: skip
    """Sample each word from p(y_t) ** (1 / temperature).

    Args:
        decoder: In evaluation mode.
        a: Annotation vectors (N, L, D).
        max_length: A caption without ``<eos>`` ends after so many words; 1 to 1,000.
        temperature: 1 samples as the model believes, less prefers likely words.
        generator: The source of randomness; torch's own if None.
        attention_mode: See `labkit.model.attention.Attention.encode`.

    Raises:
        ValueError: A number is out of range.
    """
    if not temperature > 0:
        raise ValueError(f"temperature {temperature} is not above 0: use greedy instead")

    def pick(log_p: Tensor) -> Tensor:
        p = (log_p / temperature).softmax(-1)
        return torch.multinomial(p[:, 0], 1, generator=generator)  # (N, 1)

    return _follow(decoder, a, max_length, pick, attention_mode)


@torch.inference_mode()
def _follow(
    decoder: Decoder, a: Tensor, max_length: int, pick: Callable[[Tensor], Tensor],
    attention_mode: str | None, no_repeat_ngram_size: int = 0,
) -> list[Caption]:  # fmt: skip
    """Caption N images word by word; ``pick`` turns log p (N, 1, V) into words (N, 1)."""
    GenerationConfig(max_length=max_length, no_repeat_ngram_size=no_repeat_ngram_size)  # in range
    image, state = decoder.init_state(a, attention_mode=attention_mode)
    words = torch.full((len(a), 1), BOS, device=a.device)
    generated, alphas = [], []
    score = torch.zeros(len(a), 1, device=a.device)
    unfinished = torch.ones_like(words, dtype=torch.bool)
    for _ in range(max_length):
        log_p, state, step = decoder.step(words, image, state)
        log_p[..., NEVER_GENERATED] = -torch.inf
        if no_repeat_ngram_size and generated:
            _forbid_repeats(log_p, torch.stack(generated, -1), no_repeat_ngram_size)
        words = pick(log_p).masked_fill(~unfinished, EOS)
        score += log_p.gather(-1, words[..., None])[..., 0].masked_fill(~unfinished, 0)
        unfinished &= words != EOS
        generated.append(words)
        alphas.append(step.alpha[:, 0])
        if not unfinished.any():
            break
    ids, alpha = torch.cat(generated, 1), torch.stack(alphas, 1)  # (N, T), (N, T, L)
    lengths = (ids != EOS).sum(1).tolist()
    return [
        Caption(ids[n, :k].tolist(), score[n].item(), alpha[n, :k].float().cpu())
        for n, k in enumerate(lengths)
    ]


@dataclass
class _Beams:
    """The k unfinished captions of each of N images, and those that ended.

    Attributes:
        words: (N, k) the last word of each.
        scores: (N, k) log p of each.
        generated: (N, k, t) all words of each.
        state: The LSTM's.
        trail: For each step the words and parents chosen, (N, k) each, and alpha (N, k, L).
        ended: For each image its ended captions: score, number of words, the beam it ended in.
    """

    words: Tensor
    scores: Tensor
    generated: Tensor
    state: State
    trail: list[tuple[Tensor, Tensor, Tensor]] = field(default_factory=list)
    ended: list[list[tuple[float, int, int]]] = field(default_factory=list)

    @classmethod
    def start(cls, state: State) -> "_Beams":
        N, k = state.h.shape[:2]
        words = torch.full((N, k), BOS, device=state.h.device)
        scores = torch.full((N, k), -torch.inf, device=state.h.device)
        scores[:, 0] = 0  # all beams begin alike: one is enough
        return cls(words, scores, words.new_empty(N, k, 0), state, ended=[[] for _ in range(N)])

    def note_ended(self, totals: Tensor, parents: Tensor, words: Tensor, penalty: float) -> None:
        """Note the captions that end among the k best candidates of this step."""
        k, length = self.words.shape[1], len(self.trail)
        ends = (words[:, :k] == EOS) & totals[:, :k].isfinite()
        for n, slot in ends.nonzero().tolist():
            if len(self.ended[n]) < k:
                score = totals[n, slot].item() / (length + 1) ** penalty
                self.ended[n].append((score, length, parents[n, slot].item()))

    def extend(self, totals: Tensor, parents: Tensor, words: Tensor, alpha: Tensor) -> None:
        """Go on with the k best candidates that do not end; ``self.state`` is the new state."""
        rows = torch.arange(len(words), device=words.device)[:, None]
        totals = totals.masked_fill(words == EOS, -torch.inf)
        self.scores, kept = totals.topk(self.words.shape[1])
        parents, self.words = parents.gather(1, kept), words.gather(1, kept)
        self.trail.append((self.words, parents, alpha))
        self.generated = torch.cat([self.generated[rows, parents], self.words[..., None]], -1)
        self.state = State(self.state.h[rows, parents], self.state.c[rows, parents])

    def trace(self, regions: int, n: int, score: float, length: int, slot: int) -> Caption:
        """Walk back from a caption's last word to its first; maps have so many regions."""
        words, alpha = [], []
        for step_words, parents, step_alpha in reversed(self.trail[:length]):
            words.append(step_words[n, slot].item())
            slot = parents[n, slot].item()
            alpha.append(step_alpha[n, slot].float().cpu())
        rows = torch.stack(alpha[::-1]) if alpha else torch.zeros(0, regions)
        return Caption(words[::-1], score, rows)


@torch.inference_mode()
def beam_search(
    decoder: Decoder, a: Tensor, num_beams: int = 5, max_length: int = 24,
    length_penalty: float = 0.7, attention_mode: str | None = None, no_repeat_ngram_size: int = 0,
    mbr: bool = False,
) -> list[Caption]:  # fmt: skip
    """Keep the ``num_beams`` most likely beginnings of each caption; return the best ended one.

    A sum of log probabilities favours short captions, so ended ones are compared by
    log p / words ** ``length_penalty``, with ``<eos>`` counted as a word; that is the `score`.
    A caption ends when ``<eos>`` is among a step's ``num_beams`` best continuations, and after
    ``max_length`` words only ``<eos>`` is left. An image is done when ``num_beams`` captions have
    ended. Where ``<eos>`` has no probability at all, none can end: then the most likely beginning
    of ``max_length`` words is returned, compared by those words alone.

    Args:
        decoder: In evaluation mode.
        a: Annotation vectors (N, L, D); all images are searched at once.
        num_beams: k, the number of beginnings kept; 1 is greedy, 100 is the most.
        max_length: The longest caption, in words; 1 to 1,000.
        length_penalty: 0 compares plain log p, 1 the mean over the words.
        attention_mode: See `labkit.model.attention.Attention.encode`.
        no_repeat_ngram_size: No n-gram of this size is repeated in a caption (Paulus et al. 2018
            use three), and no word directly; 0 allows all.
        mbr: Return, of the captions that ended, the one of `minimum_bayes_risk`.

    Raises:
        ValueError: A number is out of range.
    """
    GenerationConfig(
        num_beams=num_beams, max_length=max_length, length_penalty=float(length_penalty),
        no_repeat_ngram_size=no_repeat_ngram_size,
    )  # fmt: skip
    k = num_beams
    image, state = decoder.init_state(a, k, attention_mode)
    beams = _Beams.start(state)
    for t in range(max_length + 1):
        log_p, beams.state, step = decoder.step(beams.words, image, beams.state)
        log_p[..., NEVER_GENERATED] = -torch.inf
        if no_repeat_ngram_size:
            _forbid_repeats(log_p, beams.generated, no_repeat_ngram_size)
        if t == max_length:  # no word more: only <eos> is left
            log_p[..., :EOS] = log_p[..., EOS + 1 :] = -torch.inf
        V = log_p.shape[-1]
        totals, places = (beams.scores[..., None] + log_p).view(len(a), k * V).topk(2 * k)
        parents, words = places // V, places % V  # (N, 2k), best first
        beams.note_ended(totals, parents, words, length_penalty)
        if t == max_length or all(len(some) >= k for some in beams.ended):
            break
        beams.extend(totals, parents, words, step.alpha)
    captions = []
    for n, ended in enumerate(beams.ended):
        if not ended:  # p(<eos>) was 0 everywhere
            ended = [(beams.scores[n, 0].item() / max_length**length_penalty, max_length, 0)]
        found = [beams.trace(a.shape[1], n, *one) for one in (ended if mbr else [max(ended)])]
        captions.append(minimum_bayes_risk(found))
    return captions


def minimum_bayes_risk(captions: Sequence[Caption], temperature: float = 0.35) -> Caption:
    """The caption that agrees most with all of them: minimum Bayes risk (Kumar & Byrne 2004).

    Two captions agree by the F1 score of the n-grams of one to four words that they share. Each
    counts by exp(score / ``temperature``), the caption itself among them: it agrees wholly with
    itself, so of two that agree equally with the others the more likely one is returned.

    Args:
        captions: At least one.
        temperature: The lower, the more the likely captions count.
    """
    words = [tuple(caption.words) for caption in captions]
    ngrams = [
        Counter(w[k : k + n] for n in range(1, 5) for k in range(len(w) - n + 1)) for w in words
    ]
    agreement = [[2 * (a & b).total() / max(1, (a + b).total()) for b in ngrams] for a in ngrams]
    shares = torch.tensor([caption.score for caption in captions]).div(temperature).softmax(0)
    return captions[int((torch.tensor(agreement) @ shares).argmax())]


def _forbid_repeats(log_p: Tensor, generated: Tensor, n: int) -> None:
    """Take all probability from the last word, and from those that would repeat an n-gram."""
    length = generated.shape[-1]
    log_p.scatter_(-1, generated[..., -1:], -torch.inf)
    for begin in range(length - n + 1):
        again = generated[..., begin : begin + n - 1] == generated[..., length - n + 1 :]
        word = generated[..., begin + n - 1, None]
        repeats = again.all(-1, keepdim=True)  # (N, k, 1)
        banned = log_p.gather(-1, word).masked_fill(repeats, -torch.inf)
        log_p.scatter_(-1, word, banned)
