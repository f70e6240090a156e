"""Attention modes outside training, and that decoder and generation work with every mechanism."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from labkit.data.vocabulary import BOS, EOS
from labkit.model.attention import Attention
from labkit.model.beams import beam_search
from labkit.model.config import ATTENTION_MODES, GenerationConfig, ModelConfig
from labkit.model.decoder import Decoder, pad_captions
from labkit.model.generation import generate, greedy, sample
from labkit.model.hard_attention import ATTENTIONS, register_attention
from labkit.training.config import TrainingConfig
from labkit.training.objective import Objective

torch.set_num_threads(1)

L, V = 5, 9
SIZES = ModelConfig(
    vocab_size=V, encoder_dim=5, feature_dim=5, embed_dim=6, hidden_dim=6, attention_dim=4,
    dropout=0, word_dropout=0, feature_dropout=0,
)  # fmt: skip
CAPTIONS = [[BOS, 4, 5, EOS], [BOS, 6, EOS], [BOS, 7, 8, 5, 4, EOS], [BOS, EOS]]
KINDS = [*({"attention": name} for name in ATTENTIONS)]
KINDS += [{"attention": "marginal", "sum_share": share, "places": 3} for share in (0.0, 1.0)]
KINDS += [{"attention": "gumbel", "scores_see_word": True}]
KINDS += [{"attention": "marginal", "gate": False}]
MODES = [(kind, "expectation") for kind in KINDS] + [(kind, "argmax") for kind in KINDS[1:]]


def make(eos: float = 1.0, seed: int = 0, **options) -> Decoder:
    torch.manual_seed(seed)
    decoder = Decoder(replace(SIZES, **options)).eval()
    for parameter in decoder.parameters():
        nn.init.normal_(parameter, std=0.7)
    decoder.bias.data[EOS] += eos
    return decoder


def name_of(value) -> str:
    return "-".join(map(str, value.values())) if isinstance(value, dict) else value


def images(count: int = 4) -> Tensor:
    return torch.randn(count, L, 5, generator=torch.Generator().manual_seed(1))


def assert_close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


# -------------------------------------------------------------------------- where it attends


def one_step(decoder: Decoder, attention_mode: str | None, a: Tensor):
    """The context of one step, before the gate (N, D); where it attended; and the images."""
    image, state = decoder.init_state(a, attention_mode=attention_mode)
    query = decoder.W_h(state.h)[..., : SIZES.attention_dim]
    context, step = decoder.attention(image, query, state.h)
    return context[:, 0], step, image.a


@pytest.mark.parametrize("kind", KINDS[1:], ids=name_of)
def test_argmax_is_the_most_likely_region(kind):
    a = images()
    for attention_mode in (None, "argmax"):  # it is the default
        context, step, regions = one_step(make(**kind), attention_mode, a)
        assert_close(context, regions[torch.arange(4), step.alpha[:, 0].argmax(1)])
        assert step.mixture is None  # and the word is predicted from that region alone, too


@pytest.mark.parametrize("kind", KINDS[1:], ids=name_of)
def test_a_sampled_region_follows_alpha(kind):
    torch.manual_seed(0)
    context, step, regions = one_step(make(**kind), "sample", images(1).expand(4000, -1, -1))
    places = (context[:, None] - regions).norm(dim=-1).min(1)
    assert places.values.max() < 1e-5
    share = torch.bincount(places.indices, minlength=L) / 4000
    assert (share - step.alpha[0, 0]).abs().max() < 0.04


@pytest.mark.parametrize("kind", KINDS, ids=name_of)
def test_the_expectation_is_weighted_by_alpha(kind):
    context, step, regions = one_step(make(**kind), "expectation", images())
    assert_close(context, (step.alpha[:, 0, :, None] * regions).sum(1))


@pytest.mark.parametrize("kind", KINDS, ids=name_of)
def test_weights_sum_to_one_while_it_learns(kind):
    output = make(**kind).train()(images(), pad_captions(CAPTIONS))
    for n, caption in enumerate(CAPTIONS):
        assert_close(output.alpha[n, : len(caption) - 1].sum(-1), torch.ones(len(caption) - 1))
        assert not output.alpha[n, len(caption) - 1 :].any()


def test_soft_attention_never_attends_to_one_region():
    with pytest.raises(ValueError, match="no mode 'argmax': choose expectation"):
        greedy(make(), images(), attention_mode="argmax")


def test_an_unknown_attention_mode_is_named():
    with pytest.raises(ValueError, match="no mode 'twice': choose argmax or sample or expectation"):
        make(attention="gumbel").init_state(images(), attention_mode="twice")


def test_a_generation_config_says_how_it_captions():
    greedily = GenerationConfig(num_beams=1, attention_mode="argmax")
    assert str(greedily).startswith("greedy")
    assert str(greedily).endswith("attending to the single most likely region")
    modes = {str(GenerationConfig(attention_mode=mode)) for mode in ATTENTION_MODES}
    assert len(modes) == 3
    assert "no repeated 3-gram" in str(GenerationConfig(no_repeat_ngram_size=3))
    assert "minimum Bayes risk" in str(GenerationConfig(mbr_candidates=7))


def test_asking_for_beams_switches_minimum_bayes_risk_off():
    plain = GenerationConfig()
    assert (plain.num_beams, plain.penalty, plain.mbr_candidates) == (5, 0.7, 0)
    mbr = GenerationConfig(mbr_candidates=7, no_repeat_ngram_size=3)
    assert mbr.penalty == 0.6 and "7 beams" in str(mbr)
    given = mbr.updated({"num_beams": 4, "length_penalty": 0.0, "max_length": None})
    assert (given.num_beams, given.penalty, given.mbr_candidates) == (4, 0.0, 0)
    assert (given.no_repeat_ngram_size, given.max_length) == (3, 24)
    assert mbr.updated({"num_beams": 4}).penalty == 0.7
    assert mbr.updated({"num_beams": 4, "mbr_candidates": 3}).mbr_candidates == 3
    decoder = make()
    generated = [caption.words for caption in generate(decoder, images(), mbr)]
    same = beam_search(
        decoder, images(), 7, length_penalty=0.6, no_repeat_ngram_size=3, mbr=True
    )  # fmt: skip
    assert generated == [caption.words for caption in same]


# ----------------------------------------------------------- what decoder and generation do with it


@pytest.mark.parametrize(("kind", "attention_mode"), MODES, ids=name_of)
def test_teacher_forcing_equals_stepping(kind, attention_mode):
    decoder, a = make(**kind), images()
    output = decoder(a, pad_captions(CAPTIONS), attention_mode)
    each = output.log_p.split([sum(len(c) - 1 > t for c in CAPTIONS) for t in range(5)])
    order = sorted(range(4), key=lambda n: -len(CAPTIONS[n]))
    for n, caption in enumerate(CAPTIONS):
        image, state = decoder.init_state(a[n : n + 1], attention_mode=attention_mode)
        for t, word in enumerate(caption[:-1]):
            log_p, state, step = decoder.step(torch.tensor([[word]]), image, state)
            assert_close(each[t][order.index(n)], log_p[0, 0])
            assert_close(output.alpha[n, t], step.alpha[0, 0])


def test_argmax_attends_in_training_as_in_evaluation():
    """To one region in both modes: it samples nothing."""
    decoder, captions = make(attention="argmax"), pad_captions(CAPTIONS)
    output = decoder(images(), captions)
    assert torch.equal(decoder.train()(images(), captions).log_p, output.log_p)


@pytest.mark.parametrize(("kind", "attention_mode"), MODES, ids=name_of)
def test_beams_are_scored_as_by_teacher_forcing(kind, attention_mode):
    decoder, a = make(**kind), images()
    found = beam_search(
        decoder, a, 3, max_length=6, length_penalty=0, attention_mode=attention_mode
    )
    assert len({len(caption.words) for caption in found}) > 1
    for n, caption in enumerate(found):
        with torch.no_grad():
            output = decoder(
                a[n : n + 1], torch.tensor([[BOS, *caption.words, EOS]]), attention_mode
            )
        log_p = output.log_p.gather(1, output.targets[:, None]).sum()
        assert caption.score == pytest.approx(log_p.item(), abs=1e-4)
        assert_close(caption.alpha, output.alpha[0, : len(caption.words)])


@pytest.mark.parametrize(("kind", "attention_mode"), MODES, ids=name_of)
def test_a_beam_of_one_is_greedy(kind, attention_mode):
    decoder, a = make(**kind), images(6)
    ones = beam_search(decoder, a, 1, max_length=5, attention_mode=attention_mode)
    for one, plain in zip(ones, greedy(decoder, a, 5, attention_mode), strict=True):
        assert one.words == plain.words
        assert_close(one.alpha, plain.alpha)


@pytest.mark.parametrize("kind", KINDS[1:], ids=name_of)
def test_every_way_to_generate_can_sample_regions(kind):
    decoder, a = make(**kind), images(2).repeat(20, 1, 1)
    for caption_images in (greedy, sample, beam_search):
        found = caption_images(decoder, a, max_length=5, attention_mode="sample")
        assert len({tuple(caption.words) for caption in found}) > 2  # of two images


@pytest.mark.parametrize("kind", KINDS, ids=name_of)
def test_gradients_reach_every_parameter(kind):
    """What several processes need. Of argmax the scores' are 0, but there."""
    decoder = make(**kind).train()
    Objective(TrainingConfig(doubly_stochastic=0))(
        decoder(images(), pad_captions(CAPTIONS))
    ).total.backward()
    for name, parameter in decoder.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("kind", KINDS, ids=name_of)
def test_bf16_is_near_and_weights_stay_exact(kind):
    decoder, captions = make(**kind).train(), pad_captions(CAPTIONS)
    with torch.autocast("cpu", torch.bfloat16):
        output = decoder(images().bfloat16(), captions)
    assert output.log_p.dtype == output.alpha.dtype == torch.float32
    assert output.log_p.isfinite().all()
    assert_close(output.log_p.exp().sum(-1), torch.ones(len(output.log_p)))


def test_a_mechanism_of_ones_own_attends_in_evaluation_as_it_learns(registry):
    class UniformAttention(Attention):
        def attend(self, scores, image, h):
            return self.expectation(torch.zeros_like(scores))

    register_attention("uniform", UniformAttention)
    decoder = Decoder(ModelConfig(vocab_size=V, encoder_dim=5, attention="uniform")).eval()
    a, captions = torch.randn(2, L, 5), torch.tensor([[BOS, 5, EOS], [BOS, 6, EOS]])
    assert torch.allclose(decoder(a, captions).alpha, torch.full((2, 2, L), 1 / L))
    assert torch.allclose(greedy(decoder, a, 2)[0].alpha, torch.tensor(1 / L))
    with pytest.raises(ValueError, match="no mode 'argmax'"):
        decoder(a, captions, "argmax")
    with pytest.raises(TypeError, match=r"subclass of labkit\.Attention"):
        register_attention("function", lambda scores: scores)
