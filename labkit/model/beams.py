"""Beam search: the most likely beginnings of each caption, side by side."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from labkit.data.vocabulary import BOS, EOS
from labkit.model.attention import EncodedImage
from labkit.model.captions import Caption, forbid, forbid_repeats, minimum_bayes_risk
from labkit.model.config import GenerationConfig
from labkit.model.decoder import State, StepDecoder

WORTH_A_COPY = 0.8  # finished images are left out when the others are fewer than this share


@dataclass
class _Beams:
    """The k unfinished captions of each image that is not done, and all that ended.

    Attributes:
        rows: (n,) which of the N images are still searched.
        words: (n, k) the last word of each caption.
        scores: (n, k) log p of each.
        generated: (n, k, t) all words of each.
        state: The LSTM's.
        regions: L.
        trail: For each step the images, the parents chosen (n, k), and alpha (n, k, L).
        ended: For each of the N images its ended captions: score, words, the beam it ended in.
    """

    rows: Tensor
    words: Tensor
    scores: Tensor
    generated: Tensor
    state: State
    regions: int
    trail: list[tuple[dict[int, int], list[list[int]], Tensor]] = field(default_factory=list)
    ended: list[list[tuple[float, list[int], int]]] = field(default_factory=list)

    @classmethod
    def start(cls, state: State, regions: int) -> "_Beams":
        N, k = state.h.shape[:2]
        words = torch.full((N, k), BOS, device=state.h.device)
        scores = torch.full((N, k), -torch.inf, device=state.h.device)
        scores[:, 0] = 0  # all beams begin alike: one is enough
        rows, none = torch.arange(N, device=words.device), words.new_empty(N, k, 0)
        return cls(rows, words, scores, none, state, regions, ended=[[] for _ in range(N)])

    def best(self, log_p: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The 2k best continuations of each image: log p, parents, words, (n, 2k) each.

        They are among the 2k words that are best in one beam or another.
        """
        _, k, V = log_p.shape
        totals = log_p.add_(self.scores[..., None])
        words = totals.amax(1).topk(min(2 * k, V)).indices  # (n, 2k)
        few = totals.gather(2, words[:, None].expand(-1, k, -1))  # (n, k, 2k)
        totals, places = few.flatten(1).topk(min(2 * k, few[0].numel()))
        parents = places // words.shape[1]
        return totals, parents, words.gather(1, places % words.shape[1])

    def note_ended(self, totals: Tensor, parents: Tensor, words: Tensor, penalty: float) -> None:
        """Note the captions that end among the k best candidates of this step."""
        k, length = self.words.shape[1], self.generated.shape[2]
        ends = ((words[:, :k] == EOS) & totals[:, :k].isfinite()).nonzero()
        n, slot = ends.unbind(1)
        found = zip(
            self.rows[n].tolist(), totals[n, slot].tolist(), parents[n, slot].tolist(),
            self.generated[n, parents[n, slot]].tolist(), strict=True,
        )  # fmt: skip
        for image, total, parent, caption in found:
            if len(self.ended[image]) < k:
                self.ended[image].append((total / (length + 1) ** penalty, caption, parent))

    def extend(self, totals: Tensor, parents: Tensor, words: Tensor, alpha: Tensor) -> None:
        """Go on with the k best candidates that do not end; ``self.state`` is the new state."""
        images = torch.arange(len(words), device=words.device)[:, None]
        totals = totals.masked_fill(words == EOS, -torch.inf)
        self.scores, kept = totals.topk(self.words.shape[1])
        parents, self.words = parents.gather(1, kept), words.gather(1, kept)
        where = {image: row for row, image in enumerate(self.rows.tolist())}
        self.trail.append((where, parents.tolist(), alpha))
        self.generated = torch.cat([self.generated[images, parents], self.words[..., None]], -1)
        self.state = State(self.state.h[images, parents], self.state.c[images, parents])

    def leave_out(self, done: Tensor, image: EncodedImage) -> EncodedImage:
        """Go on without the images that are done, (n,) bool, if they are many."""
        if (~done).sum() > WORTH_A_COPY * len(done):
            return image
        kept = (~done).nonzero()[:, 0]
        self.rows, self.words, self.scores = self.rows[kept], self.words[kept], self.scores[kept]
        self.generated = self.generated[kept]
        self.state = State(self.state.h[kept], self.state.c[kept])
        return image.choose(kept)

    def caption(self, image: int, score: float, words: list[int], slot: int) -> Caption:
        """Walk back from a caption's last word to its first, for the maps."""
        alphas = []
        for where, parents, alpha in reversed(self.trail[: len(words)]):
            slot = parents[where[image]][slot]
            alphas.append(alpha[where[image], slot])
        rows = torch.stack(alphas[::-1]) if alphas else torch.zeros(0, self.regions)
        return Caption(words, score, rows.float().cpu())


@torch.inference_mode()
def beam_search(
    decoder: StepDecoder, a: Tensor, num_beams: int = 5, max_length: int = 24,
    length_penalty: float = 0.7, attention_mode: str | None = None, no_repeat_ngram_size: int = 0,
    mbr: bool = False, suppress_tokens: Sequence[int] = (), evidence: Tensor | None = None,
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
        suppress_tokens: As in `labkit.model.generation.generate`.
        mbr: Return, of the captions that ended, the one of `minimum_bayes_risk`.
        evidence: (N, V) what each word brings there, by a word detector.

    Raises:
        ValueError: A number is out of range.
    """
    GenerationConfig(
        num_beams=num_beams, max_length=max_length, length_penalty=float(length_penalty),
        no_repeat_ngram_size=no_repeat_ngram_size,
    )  # fmt: skip
    if not len(a):
        return []
    image, state = decoder.init_state(a, num_beams, attention_mode)
    beams = _Beams.start(state, a.shape[1])
    for t in range(max_length + 1):
        log_p, beams.state, step = decoder.step(beams.words, image, beams.state)
        forbid(log_p, suppress_tokens)
        if no_repeat_ngram_size and t:
            forbid_repeats(log_p, beams.generated, no_repeat_ngram_size)
        if t == max_length:  # no word more: only <eos> is left
            log_p[..., :EOS] = log_p[..., EOS + 1 :] = -torch.inf
        totals, parents, words = beams.best(log_p)  # (n, 2k), best first
        beams.note_ended(totals, parents, words, length_penalty)
        unfinished = totals.masked_fill(words == EOS, -torch.inf).amax(1)  # log p of the best, (n,)
        done = _done(beams, None if mbr else unfinished / (max_length + 1) ** length_penalty)
        if t == max_length or done.all():
            break
        beams.extend(totals, parents, words, step.alpha)
        image = beams.leave_out(done, image)
    each = [None] * len(a) if evidence is None else evidence
    divisor = max_length**length_penalty
    return [_chosen(beams, n, divisor, mbr, brought) for n, brought in enumerate(each)]


def _done(beams: _Beams, limits: Tensor | None) -> Tensor:
    """Which images are done, (n,): k captions have ended, or one that no other can surpass.

    log p only falls with each word. Divided by the largest divisor there is, it is the highest
    score that an unfinished caption can still reach: ``limits``, (n,).
    """
    ended = [beams.ended[image] for image in beams.rows.tolist()]
    done = [len(some) >= beams.words.shape[1] for some in ended]
    if limits is not None:
        best = torch.tensor([max(some)[0] if some else -torch.inf for some in ended])
        done = [*map(any, zip(done, (best > limits.cpu()).tolist(), strict=True))]
    return torch.tensor(done, device=beams.words.device)


def _chosen(
    beams: _Beams, image: int, divisor: float, mbr: bool, evidence: Tensor | None
) -> Caption:
    """The caption to return for an image."""
    ended = beams.ended[image]
    if not ended:  # p(<eos>) was 0 everywhere
        row = beams.rows.tolist().index(image)
        words = beams.generated[row, 0].tolist()
        ended = [(beams.scores[row, 0].item() / divisor, words, 0)]
    if mbr:
        scores, captions, _ = zip(*ended, strict=True)
        one = minimum_bayes_risk(captions, scores, evidence=evidence)
    else:
        one = max(range(len(ended)), key=lambda i: ended[i][0])
    chosen = beams.caption(image, *ended[one])
    if evidence is None or not chosen.words:
        return chosen
    return replace(chosen, evidence=evidence[sorted({*chosen.words})].mean().item())
