"""How an attention looks when it does not learn, and that all the rest works with any of them."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from labkit.data.vocabulary import BOS, EOS
from labkit.model.attention import ATTENTION_MODES
from labkit.model.decoder import Decoder, ModelConfig, pad_captions
from labkit.model.generation import GenerationConfig, beam_search, greedy, sample
from labkit.model.hard_attention import ATTENTIONS

torch.set_num_threads(1)

L, V = 5, 9
SIZES = ModelConfig(
    V, feature=5, feature_dim=5, embedding=6, hidden=6, attention_dim=4,
    dropout=0, word_dropout=0, feature_dropout=0,
)  # fmt: skip
CAPTIONS = [[BOS, 4, 5, EOS], [BOS, 6, EOS], [BOS, 7, 8, 5, 4, EOS], [BOS, EOS]]
KINDS = [*({"attention": name} for name in ATTENTIONS)]
KINDS += [{"attention": "marginal", "sum_share": share, "places": 3} for share in (0.0, 1.0)]
WAYS = [(kind, "expected") for kind in KINDS] + [(kind, "one") for kind in KINDS[1:]]


def make(eos: float = 1.0, seed: int = 0, **options) -> Decoder:
    torch.manual_seed(seed)
    decoder = Decoder(replace(SIZES, **options)).eval()
    for parameter in decoder.parameters():
        nn.init.normal_(parameter, std=0.7)
    decoder.bias.data[EOS] += eos
    return decoder


def name_of(value) -> str:
    return "-".join(map(str, value.values())) if isinstance(value, dict) else value


def pictures(count: int = 4) -> Tensor:
    return torch.randn(count, L, 5, generator=torch.Generator().manual_seed(1))


def assert_close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


# ------------------------------------------------------------------------------ where it looks


def contexts(decoder: Decoder, attention_mode: str | None, a: Tensor):
    """What one step was fed with, before the gate (N, D); alpha (N, L); and the pictures."""
    seen, state = decoder.init_state(a, attention_mode=attention_mode)
    query = decoder.W_h(state.h)[..., : SIZES.attention_dim]
    fed, views, glance = decoder.attention(seen, query, state.h)
    return fed[:, 0], views[:, 0], glance.alpha[:, 0], seen.a


@pytest.mark.parametrize("kind", KINDS[1:], ids=name_of)
def test_one_place_is_the_likeliest(kind):
    a = pictures()
    for attention_mode in (None, "one"):  # it is the default
        fed, views, alpha, regions = contexts(make(**kind), attention_mode, a)
        assert_close(fed, regions[torch.arange(4), alpha.argmax(1)])
        assert_close(views, fed[:, None])  # and the word is told from that place, too


@pytest.mark.parametrize("kind", KINDS[1:], ids=name_of)
def test_a_sampled_place_is_drawn_by_alpha(kind):
    torch.manual_seed(0)
    fed, _, alpha, regions = contexts(make(**kind), "sampled", pictures(1).expand(4000, -1, -1))
    places = (fed[:, None] - regions).norm(dim=-1).min(1)
    assert places.values.max() < 1e-5
    share = torch.bincount(places.indices, minlength=L) / 4000
    assert (share - alpha[0]).abs().max() < 0.04


@pytest.mark.parametrize("kind", KINDS, ids=name_of)
def test_the_expectation_is_alphas(kind):
    fed, _, alpha, regions = contexts(make(**kind), "expected", pictures())
    assert_close(fed, (alpha[..., None] * regions).sum(1))


@pytest.mark.parametrize("kind", KINDS, ids=name_of)
def test_weights_sum_to_one_while_it_learns(kind):
    told = make(**kind).train()(pictures(), pad_captions(CAPTIONS))
    for n, caption in enumerate(CAPTIONS):
        assert_close(told.alpha[n, : len(caption) - 1].sum(-1), torch.ones(len(caption) - 1))
        assert not told.alpha[n, len(caption) - 1 :].any()


def test_soft_attention_never_looks_at_one_place():
    with pytest.raises(ValueError, match="cannot look 'one': expected"):
        greedy(make(), pictures(), attention_mode="one")


def test_an_unknown_way_to_look_is_named():
    with pytest.raises(ValueError, match="cannot look 'twice': one or sampled or expected"):
        make(attention="gumbel").init_state(pictures(), attention_mode="twice")


def test_a_decoding_says_how_it_looked():
    assert str(GenerationConfig(beam=1, attention_mode="one")).endswith("looking at one place, the likeliest")
    assert len({str(GenerationConfig(attention_mode=attention_mode)) for attention_mode in ATTENTION_MODES}) == 3
    assert "no 3 words twice" in str(GenerationConfig(no_repeat_ngram_size=3))
    assert "agrees most" in str(GenerationConfig(mbr=True))


def test_a_decoder_says_how_it_is_told_and_a_given_beam_comes_first():
    decoder = make()
    plain = GenerationConfig().settled(decoder)
    assert (plain.beam, plain.length_penalty, plain.mbr) == (5, 0.7, False)
    decoder.config = replace(decoder.config, mbr_candidates=7, no_repeat_ngram_size=3)
    mbr = GenerationConfig().settled(decoder)
    assert (mbr.beam, mbr.length_penalty, mbr.mbr) == (7, 0.6, True)
    assert mbr.no_repeat_ngram_size == 3
    given = GenerationConfig(beam=4, length_penalty=0.0).settled(decoder)
    assert (given.beam, given.length_penalty, given.mbr) == (4, 0.0, False)
    assert GenerationConfig(beam=4, mbr=True).settled(decoder).mbr
    told = [caption.words for caption in GenerationConfig()(decoder, pictures())]
    same = beam_search(decoder, pictures(), 7, length_penalty=0.6, mbr=True)
    assert told == [caption.words for caption in same]


# --------------------------------------------------------- what decoder and decoding do with it


@pytest.mark.parametrize(("kind", "look"), WAYS, ids=name_of)
def test_teacher_forcing_equals_stepping(kind, attention_mode):
    decoder, a = make(**kind), pictures()
    told = decoder(a, pad_captions(CAPTIONS), attention_mode)
    each = told.log_p.split([sum(len(c) - 1 > t for c in CAPTIONS) for t in range(5)])
    order = sorted(range(4), key=lambda n: -len(CAPTIONS[n]))
    for n, caption in enumerate(CAPTIONS):
        seen, state = decoder.init_state(a[n : n + 1], attention_mode=attention_mode)
        for t, word in enumerate(caption[:-1]):
            log_p, state, glance = decoder.step(torch.tensor([[word]]), seen, state)
            assert_close(each[t][order.index(n)], log_p[0, 0])
            assert_close(told.alpha[n, t], glance.alpha[0, 0])


def test_argmax_learns_as_it_looks():
    """With one place, learning or not: it draws no lots."""
    decoder, captions = make(attention="argmax"), pad_captions(CAPTIONS)
    told = decoder(pictures(), captions)
    assert torch.equal(decoder.train()(pictures(), captions).log_p, told.log_p)


@pytest.mark.parametrize(("kind", "look"), WAYS, ids=name_of)
def test_beams_are_scored_as_by_teacher_forcing(kind, attention_mode):
    decoder, a = make(**kind), pictures()
    found = beam_search(decoder, a, 3, max_words=6, length_penalty=0, attention_mode=attention_mode)
    assert len({len(caption.words) for caption in found}) > 1
    for n, caption in enumerate(found):
        with torch.no_grad():
            told = decoder(a[n : n + 1], torch.tensor([[BOS, *caption.words, EOS]]), attention_mode)
        log_p = told.log_p.gather(1, told.targets[:, None]).sum()
        assert caption.score == pytest.approx(log_p.item(), abs=1e-4)
        assert_close(caption.alpha, told.alpha[0, : len(caption.words)])


@pytest.mark.parametrize(("kind", "look"), WAYS, ids=name_of)
def test_a_beam_of_one_is_greedy(kind, attention_mode):
    decoder, a = make(**kind), pictures(6)
    ones = beam_search(decoder, a, 1, max_words=5, attention_mode=attention_mode)
    for one, plain in zip(ones, greedy(decoder, a, 5, attention_mode), strict=True):
        assert one.words == plain.words
        assert_close(one.alpha, plain.alpha)


@pytest.mark.parametrize("kind", KINDS[1:], ids=name_of)
def test_sampled_looks_are_told_by_every_decoding(kind):
    decoder, a = make(**kind), pictures(2).repeat(20, 1, 1)
    for tell in (greedy, sample, beam_search):
        found = tell(decoder, a, max_words=5, attention_mode="sampled")
        assert len({tuple(caption.words) for caption in found}) > 2  # of two pictures


@pytest.mark.parametrize("kind", KINDS, ids=name_of)
def test_gradients_reach_every_parameter(kind):
    """What several processes need. Of argmax the scores' are 0, but there."""
    from labkit.training.objective import Objective

    decoder = make(**kind).train()
    Objective(0)(decoder(pictures(), pad_captions(CAPTIONS))).total.backward()
    for name, parameter in decoder.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("kind", KINDS, ids=name_of)
def test_bf16_is_near_and_weights_stay_exact(kind):
    decoder, captions = make(**kind).train(), pad_captions(CAPTIONS)
    with torch.autocast("cpu", torch.bfloat16):
        told = decoder(pictures().bfloat16(), captions)
    assert told.log_p.dtype == told.alpha.dtype == torch.float32
    assert told.log_p.isfinite().all()
    assert_close(told.log_p.exp().sum(-1), torch.ones(len(told.log_p)))
