"""From annotation vectors to words: greedy, by sampling, by beam search.

All three return `labkit.model.captions.Caption`: the words, their log probability and where each
word attended. None of them ever generates ``<pad>``, ``<bos>`` or ``<unk>``.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from labkit.data.vocabulary import BOS, EOS
from labkit.model.beams import beam_search
from labkit.model.captions import Caption, forbid, forbid_repeats
from labkit.model.config import GenerationConfig
from labkit.model.decoder import StepDecoder
from labkit.model.word_detector import WordDetector


def generate(
    decoder: StepDecoder, a: Tensor, config: GenerationConfig | None = None,
    suppress_tokens: Sequence[int] = (), detector: WordDetector | None = None,
) -> list[Caption]:  # fmt: skip
    """Caption N images as a configuration says.

    Args:
        decoder: In evaluation mode.
        a: Annotation vectors (N, L, D).
        config: How; a plain beam search if None.
        suppress_tokens: Ids of words that are not to be generated; without ``<eos>``, a caption
            has `max_length` words.
        detector: Which words the images call for; asked where minimum Bayes risk chooses.

    Raises:
        ValueError: There is no such attention mode or no such word, or no word is left.
    """
    config = config or GenerationConfig()
    mode, ngram = config.attention_mode, config.no_repeat_ngram_size
    beams = config.mbr_candidates or config.num_beams
    if beams == 1:
        return greedy(decoder, a, config.max_length, mode, ngram, suppress_tokens)
    mbr = config.mbr_candidates > 0
    return beam_search(
        decoder, a, beams, config.max_length, config.penalty, mode, ngram, mbr, suppress_tokens,
        detector.evidence(a) if mbr and detector else None,
    )  # fmt: skip


def greedy(
    decoder: StepDecoder, a: Tensor, max_length: int = 24, attention_mode: str | None = None,
    no_repeat_ngram_size: int = 0, suppress_tokens: Sequence[int] = (),
) -> list[Caption]:  # fmt: skip
    """Take the most likely word at each step.

    Args:
        decoder: In evaluation mode.
        a: Annotation vectors (N, L, D).
        max_length: A caption without ``<eos>`` ends after so many words; 1 to 1,000.
        attention_mode: See `labkit.model.attention.Attention.encode`.
        no_repeat_ngram_size: As in `beam_search`.
        suppress_tokens: As in `generate`.

    Raises:
        ValueError: A number is out of range.
    """
    def pick(log_p: Tensor) -> Tensor:
        return log_p.argmax(-1)

    ngram = no_repeat_ngram_size
    return _follow(decoder, a, max_length, pick, attention_mode, ngram, suppress_tokens)


def sample(
    decoder: StepDecoder, a: Tensor, max_length: int = 24, temperature: float = 1.0,
    generator: torch.Generator | None = None, attention_mode: str | None = None,
    suppress_tokens: Sequence[int] = (),
) -> list[Caption]:  # fmt: skip
    """Sample each word from p(y_t) ** (1 / temperature).

    Args:
        decoder: In evaluation mode.
        a: Annotation vectors (N, L, D).
        max_length: A caption without ``<eos>`` ends after so many words; 1 to 1,000.
        temperature: 1 samples as the model believes, less prefers likely words.
        generator: The source of randomness; torch's own if None.
        attention_mode: See `labkit.model.attention.Attention.encode`.
        suppress_tokens: As in `generate`.

    Raises:
        ValueError: A number is out of range.
    """
    if not temperature > 0:
        raise ValueError(f"temperature {temperature} is not above 0: use greedy instead")

    def pick(log_p: Tensor) -> Tensor:
        p = (log_p / temperature).softmax(-1)
        return torch.multinomial(p[:, 0], 1, generator=generator)  # (N, 1)

    return _follow(decoder, a, max_length, pick, attention_mode, 0, suppress_tokens)


@torch.inference_mode()
def _follow(
    decoder: StepDecoder, a: Tensor, max_length: int, pick: Callable[[Tensor], Tensor],
    attention_mode: str | None, no_repeat_ngram_size: int, suppress_tokens: Sequence[int],
) -> list[Caption]:  # fmt: skip
    """Caption N images word by word; ``pick`` turns log p (N, 1, V) into words (N, 1)."""
    GenerationConfig(max_length=max_length, no_repeat_ngram_size=no_repeat_ngram_size)  # in range
    image, state = decoder.init_state(a, attention_mode=attention_mode)
    words = torch.full((len(a), 1), BOS, device=a.device)
    generated: list[Tensor] = []
    alphas: list[Tensor] = []
    score = torch.zeros(len(a), 1, device=a.device)
    unfinished = torch.ones_like(words, dtype=torch.bool)
    for _ in range(max_length):
        log_p, state, step = decoder.step(words, image, state)
        forbid(log_p, suppress_tokens)
        if no_repeat_ngram_size and generated:
            forbid_repeats(log_p, torch.stack(generated, -1), no_repeat_ngram_size)
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
