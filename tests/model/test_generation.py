"""From annotation vectors to words: against brute force, and in corner cases."""

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from labkit.data.vocabulary import BOS, EOS
from labkit.model.beams import beam_search
from labkit.model.captions import NEVER_GENERATED, Caption, minimum_bayes_risk
from labkit.model.config import GenerationConfig, ModelConfig
from labkit.model.decoder import Decoder, State
from labkit.model.generation import generate, greedy, sample

torch.set_num_threads(1)

L = 4
NEVER = (-60.0, -math.inf)  # biases with which <eos> is never generated


def make(vocab_size: int = 9, seed: int = 0, eos: float | None = None) -> Decoder:
    """A small decoder with large weights; ``eos`` is added to the score of <eos>."""
    torch.manual_seed(seed)
    config = ModelConfig(
        vocab_size=vocab_size, encoder_dim=5, feature_dim=5, embed_dim=6, hidden_dim=6,
        attention_dim=4,
    )  # fmt: skip
    decoder = Decoder(config).eval()
    for parameter in decoder.parameters():
        nn.init.normal_(parameter, std=0.7)
    if eos is not None:
        with torch.no_grad():
            decoder.bias[EOS] += eos
    return decoder


def images(count: int = 4, seed: int = 1) -> Tensor:
    return torch.randn(count, L, 5, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def teacher_forced(decoder: Decoder, a: Tensor, words: list[int], ends: bool = True):
    """log p of the words (and <eos>), and where each attended, by teacher forcing."""
    output = decoder(a[None], torch.tensor([[BOS, *words, EOS]]))
    log_p = output.log_p.gather(1, output.targets[:, None])[:, 0]
    return log_p[: len(words) + ends].sum().item(), output.alpha[0, : len(words)]


class Tree:
    """The model's log p of every next word after any words, found step by step."""

    def __init__(self, decoder: Decoder, a: Tensor):
        self.decoder = decoder
        self.image, first = decoder.init_state(a[None])
        self.known = {(): self._step(BOS, first)}

    @torch.no_grad()
    def _step(self, word: int, state: State) -> tuple[list[float], State]:
        log_p, state, _ = self.decoder.step(torch.tensor([[word]]), self.image, state)
        return log_p[0, 0].tolist(), state

    def __call__(self, *words: int) -> list[float]:
        if words not in self.known:
            self(*words[:-1])
            self.known[words] = self._step(words[-1], self.known[words[:-1]][1])
        return self.known[words][0]

    def log_p(self, *words: int) -> float:
        return sum(self(*words[:t])[word] for t, word in enumerate(words))


def all_captions(vocab_size: int, longest: int) -> list[tuple[int, ...]]:
    words = range(4, vocab_size)
    return [c for length in range(longest + 1) for c in itertools.product(words, repeat=length)]


def brute_force(decoder: Decoder, a: Tensor, longest: int, power: float) -> tuple[float, list]:
    """The best of all possible captions."""
    tree = Tree(decoder, a)
    captions = all_captions(decoder.config.vocab_size, longest)
    return max((tree.log_p(*c, EOS) / (len(c) + 1) ** power, list(c)) for c in captions)


def repeats(words: list[int], n: int) -> bool:
    """Whether an n-gram occurs twice (they may overlap), or a word directly repeats."""
    ngrams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    return len(set(ngrams)) < len(ngrams) or any(a == b for a, b in itertools.pairwise(words))


def plain_beam(*options):
    """The best of `plain_beams`."""
    return max(plain_beams(*options))


def plain_beams(
    decoder: Decoder, a: Tensor, num_beams: int, longest: int, power: float, n: int = 0
):
    """The docstring of `beam_search` word by word, with lists: [(score, words)] of what ended."""
    tree = Tree(decoder, a)
    allowed = [EOS, *range(4, decoder.config.vocab_size)]
    live, ended = [(0.0, [])], []
    for t in range(longest + 1):
        continued = [
            (total + tree(*words)[word], [*words, word])
            for total, words in live
            for word in (allowed if t < longest else [EOS])
            if not (n and repeats([*words, word], n))
        ]
        continued.sort(reverse=True)
        for total, words in continued[:num_beams]:
            if words[-1] == EOS and len(ended) < num_beams:
                ended.append((total / len(words) ** power, words[:-1]))
        if len(ended) >= num_beams:
            break
        live = [beginning for beginning in continued if beginning[1][-1] != EOS][:num_beams]
    return ended


def plain_minimum_risk(scores: list[float], captions: list[list[int]], temperature: float) -> int:
    """The docstring of `minimum_bayes_risk` word by word, with lists."""

    def ngrams(words: list[int]) -> list[tuple]:
        return [tuple(words[k : k + n]) for n in (1, 2, 3, 4) for k in range(len(words) - n + 1)]

    def f1(mine: list[tuple], other: list[tuple]) -> float:
        rest, both = list(other), 0
        for ngram in mine:
            if ngram in rest:
                rest.remove(ngram)
                both += 1
        precision, recall = both / max(len(mine), 1), both / max(len(other), 1)
        return 2 * precision * recall / (precision + recall) if both else 0.0

    weights = [math.exp(score / temperature) for score in scores]
    each = [ngrams(words) for words in captions]
    agreement = [sum(w * f1(a, b) for w, b in zip(weights, each, strict=True)) for a in each]
    return max(range(len(agreement)), key=agreement.__getitem__)


def check_rows(captions: list[Caption]) -> None:
    """One row of weights for each word, each summing to 1."""
    for caption in captions:
        assert caption.alpha.shape == (len(caption.words), L)
        torch.testing.assert_close(caption.alpha.sum(-1), torch.ones(len(caption.words)))


# --------------------------------------------------------------------------------------- greedy


def test_greedy_takes_the_most_likely_word_each_time():
    decoder, a = make(eos=3), images(8)
    captions = greedy(decoder, a, max_length=6)
    assert len({len(caption.words) for caption in captions}) > 1  # some end before others
    for n, caption in enumerate(captions):
        words = [*caption.words, EOS][:6]
        with torch.no_grad():
            log_p = decoder(a[n : n + 1], torch.tensor([[BOS, *caption.words, EOS]])).log_p
        log_p[:, NEVER_GENERATED] = -math.inf
        assert log_p[: len(words)].argmax(-1).tolist() == words


@pytest.mark.parametrize("caption_images", [greedy, sample])
def test_scores_and_weights_are_those_of_teacher_forcing(caption_images):
    decoder, a = make(eos=3), images(8)
    torch.manual_seed(0)
    captions = caption_images(decoder, a, max_length=5)
    check_rows(captions)
    for n, caption in enumerate(captions):
        ends = len(caption.words) < 5  # a fifth word is the last: <eos> was not asked for
        score, alpha = teacher_forced(decoder, a[n], caption.words, ends)
        assert caption.score == pytest.approx(score, abs=1e-4)
        torch.testing.assert_close(caption.alpha, alpha)


@pytest.mark.parametrize("eos", NEVER)
@pytest.mark.parametrize("caption_images", [greedy, sample])
def test_without_an_end_it_stops_after_max_length(caption_images, eos):
    captions = caption_images(make(eos=eos), images(), max_length=7)
    assert [len(caption.words) for caption in captions] == [7] * 4
    assert all(math.isfinite(caption.score) for caption in captions)
    check_rows(captions)


@pytest.mark.parametrize("caption_images", [greedy, sample, beam_search])
def test_a_caption_may_be_empty(caption_images):
    captions = caption_images(make(eos=1000.0), images())
    assert [caption.words for caption in captions] == [[]] * 4
    assert all(caption.score == pytest.approx(0, abs=1e-4) for caption in captions)
    check_rows(captions)


# ------------------------------------------------------------------------------------- sampling


def test_sampling_is_seeded():
    decoder, a = make(), images(20)

    def draw(seed):
        captions = sample(decoder, a, generator=torch.Generator().manual_seed(seed))
        return [caption.words for caption in captions]

    assert draw(3) == draw(3)
    assert draw(3) != draw(4)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_sampling_follows_the_distribution(temperature):
    """All captions of at most two words: their frequencies against their probabilities."""
    decoder, a, count = make(7), images(1), 6000
    captions = sample(
        decoder, a.expand(count, -1, -1), 2, temperature, torch.Generator().manual_seed(0)
    )

    def chances(words):
        with torch.no_grad():
            log_p = decoder(a, torch.tensor([[BOS, *words, EOS]])).log_p[len(words)]
        p = log_p.div(temperature).exp()
        p[NEVER_GENERATED] = 0
        return (p / p.sum()).tolist()

    expected = {(): chances([])[EOS]}
    for one in range(4, 7):
        expected[(one,)] = chances([])[one] * chances([one])[EOS]
        for two in range(4, 7):
            expected[one, two] = chances([])[one] * chances([one])[two]
    assert sum(expected.values()) == pytest.approx(1, abs=1e-5)
    seen = [tuple(caption.words) for caption in captions]
    for words, p in expected.items():
        error = math.sqrt(p * (1 - p) / count)
        assert abs(seen.count(words) / count - p) < 4 * error + 1e-9, words


def test_a_cold_sample_is_greedy():
    decoder, a = make(), images(8)
    cold = sample(decoder, a, temperature=1e-4, generator=torch.Generator().manual_seed(0))
    assert [c.words for c in cold] == [c.words for c in greedy(decoder, a)]


# --------------------------------------------------------------------------------- beam search


@pytest.mark.parametrize("seed", range(5))
def test_one_beam_is_greedy(seed):
    decoder, a = make(seed=seed, eos=2), images(6, seed)
    ones = beam_search(decoder, a, 1, max_length=6, length_penalty=0)
    for one, plain in zip(ones, greedy(decoder, a, max_length=6), strict=True):
        assert one.words == plain.words
        torch.testing.assert_close(one.alpha, plain.alpha)
        if len(plain.words) < 6:  # else only the beam was asked for <eos>
            assert one.score == pytest.approx(plain.score, abs=1e-5)


def test_as_many_beams_as_captions_are_brute_force():
    num_beams = len(all_captions(6, 3))
    assert num_beams == 15 > 6  # more than there are words
    lengths = set()
    for seed, power in itertools.product(range(6), (0.0, 0.7, 1.5)):
        decoder, a = make(6, seed), images(3, seed)
        captions = beam_search(decoder, a, num_beams, max_length=3, length_penalty=power)
        check_rows(captions)
        for n, caption in enumerate(captions):
            score, words = brute_force(decoder, a[n], 3, power)
            assert caption.words == words
            assert caption.score == pytest.approx(score, abs=1e-5)
            lengths.add(len(words))
    assert {0, 1, 3} <= lengths  # short ones win and long ones


@pytest.mark.parametrize("num_beams", [1, 2, 3, 5, 12])
@pytest.mark.parametrize("eos", [-60.0, -2.0, 0.0, 2.0])
def test_every_number_of_beams_does_what_is_said(num_beams, eos):
    """Against a search with plain lists, also with more beams than words in the vocabulary."""
    for vocabulary, power in ((5, 0.7), (8, 0.0), (8, 0.7), (8, 2.0)):
        decoder, a = make(vocabulary, seed=num_beams, eos=eos), images(3, seed=vocabulary)
        for n, caption in enumerate(beam_search(decoder, a, num_beams, 4, power)):
            score, words = plain_beam(decoder, a[n], num_beams, 4, power)
            assert caption.words == words
            assert caption.score == pytest.approx(score, abs=1e-4)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_no_n_gram_is_generated_twice(n):
    """Against the search with plain lists, with a decoder that repeats itself if it may."""
    differ = 0
    for seed in range(4):
        decoder, a = make(8, seed, eos=-4.0), images(3, seed)
        free, ruled = (beam_search(decoder, a, 3, 7, no_repeat_ngram_size=k) for k in (0, n))
        check_rows(ruled)
        for row, caption in enumerate(ruled):
            score, words = plain_beam(decoder, a[row], 3, 7, 0.7, n)
            assert (caption.words, repeats(words, n)) == (words, False)
            assert caption.score == pytest.approx(score, abs=1e-4)
            differ += free[row].words != words
    assert differ > 3


def caption(words: str, score: float) -> Caption:
    """A caption of one letter a word."""
    return Caption([ord(letter) for letter in words], score, torch.zeros(len(words), L))


def agreed(captions: list[Caption], temperature: float = 0.35) -> Caption:
    words, scores = zip(*((one.words, one.score) for one in captions), strict=True)
    return captions[minimum_bayes_risk(words, scores, temperature)]


def test_two_that_agree_outvote_a_more_likely_one():
    alone, two, alike = caption("abcde", -0.5), caption("fghij", -0.6), caption("fghik", -0.61)
    assert agreed([alone, two, alike]) is two
    assert agreed([alone, two, alike], temperature=0.01) is alone  # its score decides
    assert agreed([alone]) is alone


def test_a_caption_without_words_agrees_with_none():
    empty = caption("", -0.1)
    assert agreed([empty, caption("ab", -3.0)]).words == [ord("a"), ord("b")]
    assert agreed([empty, empty]) is empty


@pytest.mark.parametrize("num_beams", [2, 3, 6])
def test_the_caption_of_minimum_bayes_risk_is_returned(num_beams):
    """Against the search with plain lists; it is often not the most likely one."""
    differ = 0
    for seed in range(6):
        decoder, a = make(8, seed), images(3, seed)
        mbr = beam_search(decoder, a, num_beams, 5, mbr=True)
        check_rows(mbr)
        for row, one in enumerate(mbr):
            ended = plain_beams(decoder, a[row], num_beams, 5, 0.7)
            best = ended[plain_minimum_risk(*zip(*ended, strict=True), 0.35)]
            assert one.words == best[1]
            assert one.score == pytest.approx(best[0], abs=1e-4)
            differ += best != max(ended)
    assert differ > 0


@pytest.mark.parametrize("power", [0.0, 0.7])
def test_beam_scores_and_weights_are_those_of_teacher_forcing(power):
    decoder, a = make(eos=1), images(8)
    captions = beam_search(decoder, a, 4, max_length=6, length_penalty=power)
    check_rows(captions)
    for n, caption in enumerate(captions):
        score, alpha = teacher_forced(decoder, a[n], caption.words)
        assert caption.score == pytest.approx(score / (len(caption.words) + 1) ** power, abs=1e-4)
        torch.testing.assert_close(caption.alpha, alpha)


@pytest.mark.parametrize("num_beams", [1, 3, 20])
@pytest.mark.parametrize("eos", NEVER)
def test_a_beam_that_never_ends_returns_its_best(num_beams, eos):
    """Only <eos> can follow the last word; where even that cannot, the words alone are compared."""
    decoder, a = make(6, eos=eos), images()
    captions = beam_search(decoder, a, num_beams, max_length=4, length_penalty=0.7)
    check_rows(captions)
    for n, caption in enumerate(captions):
        assert len(caption.words) == 4
        can_end = math.isfinite(eos)
        log_p, _ = teacher_forced(decoder, a[n], caption.words, ends=can_end)
        assert caption.score == pytest.approx(log_p / (4 + can_end) ** 0.7, abs=1e-3)
        if num_beams == 20:  # enough for all 16
            tree, end = Tree(decoder, a[n]), [EOS][:can_end]
            fours = itertools.product((4, 5), repeat=4)
            assert log_p == pytest.approx(max(tree.log_p(*c, *end) for c in fours), abs=1e-3)


@pytest.mark.parametrize(("power", "long_wins"), [(0.0, False), (1.0, True)])
def test_a_longer_caption_competes_at_the_last_step(power, long_wins):
    """Shorter ones have ended; one of max_length words is compared with them, with its <eos>."""
    decoder, a = make(6, seed=3), images(1, seed=3)
    tree = Tree(decoder, a[0])
    (caption,) = beam_search(decoder, a, 15, 3, power)
    ended = max(tree.log_p(*c, EOS) / (len(c) + 1) ** power for c in all_captions(6, 2))
    assert (len(caption.words) == 3) == long_wins
    assert (caption.score > ended + 1e-4) == long_wins


def test_there_may_be_no_words_but_the_special_ones():
    captions = beam_search(make(4), images(), 3, max_length=2)
    assert [caption.words for caption in captions] == [[]] * 4
    check_rows(captions)


# -------------------------------------------------------------------------------------- all three


@pytest.mark.parametrize("caption_images", [greedy, sample, beam_search])
def test_pad_bos_and_unk_are_never_generated(caption_images):
    decoder = make(eos=-3)
    with torch.no_grad():
        decoder.bias[NEVER_GENERATED] += 20  # else the model would generate nothing but these
    captions = caption_images(decoder, images(10), max_length=5)
    words = [word for caption in captions for word in caption.words]
    assert words and not {*NEVER_GENERATED, EOS} & set(words)
    assert all(math.isfinite(caption.score) for caption in captions)


@pytest.mark.parametrize("caption_images", [greedy, sample, beam_search])
def test_suppressed_words_are_never_generated(caption_images):
    """And the others keep their log p: it is the caption's own, without renormalisation."""
    decoder, a = make(eos=-3), images(10)
    torch.manual_seed(0)
    free = {word for one in caption_images(decoder, a, max_length=5) for word in one.words}
    never = sorted(free)[:2]
    captions = caption_images(decoder, a, max_length=5, suppress_tokens=never)
    words = {word for caption in captions for word in caption.words}
    assert words and not words & {*never, *NEVER_GENERATED}
    if caption_images is greedy:
        for caption, one in zip(captions, a, strict=True):
            ends = len(caption.words) < 5
            score, _ = teacher_forced(decoder, one, caption.words, ends)
            assert caption.score == pytest.approx(score, abs=1e-4)
    for wrong in (-1, 9):
        with pytest.raises(ValueError, match=f"suppress_tokens has {wrong}: ids go from 0 to 8"):
            caption_images(decoder, a, max_length=5, suppress_tokens=[wrong])
    with pytest.raises(ValueError, match="all words are suppressed: leave one, or <eos>"):
        caption_images(decoder, a, max_length=5, suppress_tokens=range(9))


def test_generate_suppresses_in_every_way():
    decoder, a = make(eos=-3), images(10)
    for config in (GenerationConfig(num_beams=1), GenerationConfig(num_beams=3),
                   GenerationConfig(mbr_candidates=5)):  # fmt: skip
        free = {word for one in generate(decoder, a, config) for word in one.words}
        found = generate(decoder, a, config, [min(free)])
        assert min(free) not in {word for one in found for word in one.words}


@pytest.mark.parametrize("caption_images", [greedy, beam_search])
def test_images_do_not_influence_each_other(caption_images):
    decoder, a = make(eos=3), images(9)
    together = caption_images(decoder, a, max_length=6)
    assert len({len(caption.words) for caption in together}) > 1
    for n, caption in enumerate(together):
        (alone,) = caption_images(decoder, a[n : n + 1], max_length=6)
        assert caption.words == alone.words
        assert caption.score == pytest.approx(alone.score, abs=1e-4)
        torch.testing.assert_close(caption.alpha, alone.alpha)


@pytest.mark.parametrize("caption_images", [greedy, sample, beam_search])
def test_no_images_no_captions(caption_images):
    assert caption_images(make(), images(0)) == []


@pytest.mark.parametrize("caption_images", [greedy, sample, beam_search])
@pytest.mark.parametrize("words", [0, -1, 1001])
def test_a_caption_must_be_allowed_a_bounded_number_of_words(caption_images, words):
    with pytest.raises(
        ValueError, match=f"^max_length is a whole number from 1 to 1,000, not {words}"
    ):
        caption_images(make(), images(), max_length=words)


@pytest.mark.parametrize("num_beams", [0, -5, 101, 1_000_000])
def test_the_number_of_beams_has_a_bound(num_beams):
    says = f"^num_beams is a whole number from 1 to 100, not {num_beams}"
    with pytest.raises(ValueError, match=says):
        beam_search(make(), images(), num_beams=num_beams)


@pytest.mark.parametrize("temperature", [0, -1, math.nan])
def test_a_temperature_is_above_zero(temperature):
    with pytest.raises(ValueError, match="use greedy instead"):
        sample(make(), images(), temperature=temperature)


@pytest.mark.parametrize(
    "wrong", [{"num_beams": 0}, {"num_beams": 101}, {"num_beams": -1}, {"max_length": 0},
              {"max_length": 1001}, {"length_penalty": math.nan}, {"length_penalty": math.inf},
              {"length_penalty": -0.1}, {"no_repeat_ngram_size": -1}, {"mbr_candidates": -1},
              {"mbr_candidates": 101}, {"attention_mode": "look"}],
    ids=str,
)  # fmt: skip
def test_a_generation_config_has_ranges(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=f"^{name} is "):
        GenerationConfig(**wrong)
    with pytest.raises(ValueError, match=f"^{name} is "):
        GenerationConfig().updated(wrong)


def test_generate_does_what_its_configuration_says():
    """Each field changes what the plain functions return in the same way."""
    decoder, a = make(8, eos=-4.0), images(6)

    def words(**options):
        return [caption.words for caption in generate(decoder, a, GenerationConfig(**options))]

    def of(captions):
        return [caption.words for caption in captions]

    plain = of(beam_search(decoder, a, 5, 24))
    assert of(generate(decoder, a)) == words() == plain
    assert words(num_beams=1) == of(greedy(decoder, a))
    assert words(num_beams=3, max_length=7) == of(beam_search(decoder, a, 3, 7)) != plain
    assert words(no_repeat_ngram_size=1) == of(beam_search(decoder, a, no_repeat_ngram_size=1))
    mbr = of(beam_search(decoder, a, 6, length_penalty=0.6, mbr=True))
    assert words(mbr_candidates=6) == words(mbr_candidates=6, num_beams=2) == mbr
    even = of(beam_search(decoder, a, 6, length_penalty=1.5, mbr=True))
    assert words(mbr_candidates=6, length_penalty=1.5) == even


def test_a_caption_is_at_most_as_long_as_configured():
    decoder, a = make(eos=-60.0), images()
    for num_beams, max_length in itertools.product((1, 3), (7, 31)):
        config = GenerationConfig(num_beams=num_beams, max_length=max_length)
        assert {len(caption.words) for caption in generate(decoder, a, config)} == {max_length}
        assert f"at most {max_length} words" in str(config)


def test_greedy_obeys_the_rule_on_repeats_as_a_beam_of_one_does():
    captions = {}
    config = GenerationConfig(num_beams=1, max_length=20, no_repeat_ngram_size=3)
    for seed in range(10):
        decoder, a = make(seed=seed, eos=-60.0), images(seed=seed)
        plain = [caption.words for caption in greedy(decoder, a, 20)]
        for n, caption in enumerate(generate(decoder, a, config)):
            captions[seed, n] = (caption.words, plain[n])
        beam = [c.words for c in beam_search(decoder, a, 1, 20, no_repeat_ngram_size=3)]
        assert [captions[seed, n][0] for n in range(len(a))] == beam
        free = generate(decoder, a, config.updated({"no_repeat_ngram_size": 0}))
        assert [caption.words for caption in free] == plain
    assert any(repeats(plain, 3) for _, plain in captions.values())  # or nothing was tested
    assert not any(repeats(words, 3) for words, _ in captions.values())
