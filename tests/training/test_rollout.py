"""Learning from a reward: the gradient against enumeration, the rest by hand."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from labkit.data.vocabulary import BOS, EOS
from labkit.model.attention import one_place
from labkit.model.config import ModelConfig
from labkit.model.decoder import Decoder
from labkit.training.config import TrainingConfig
from labkit.training.rollout import (
    BASELINES,
    Rollout,
    Sampler,
    advantage,
    possible,
    reward_loss,
)
from labkit.validation import declared

torch.set_num_threads(1)

V, L, T, COUNT = 6, 2, 2, 12_000  # words 4 and 5, besides the special ones
SIZES = ModelConfig(
    vocab_size=V, encoder_dim=3, feature_dim=3, embed_dim=3, hidden_dim=4, attention_dim=2,
    dropout=0.5, soft_share=0,
)  # fmt: skip
WORDS = {EOS: 0, 4: 1, 5: 2}  # the columns of `possible`, by word
WORTH = {(): 0.0, (4,): 1.0, (5,): -1.0, (4, 4): 3.0, (4, 5): 0.5, (5, 4): -2.0, (5, 5): 2.0}


def make(seed: int = 0, **options) -> Decoder:
    torch.manual_seed(seed)
    decoder = Decoder(replace(SIZES, **options)).double().eval()
    for parameter in decoder.parameters():
        nn.init.normal_(parameter, std=0.8)
    return decoder


def features() -> Tensor:
    return torch.randn(1, L, 3, generator=torch.Generator().manual_seed(1)).double()


def expected(decoder: Decoder, a: Tensor, sampled: bool) -> Tensor:
    """The expected reward, over all captions, and all regions where they are sampled."""

    def go(words: tuple[int, ...], state) -> Tensor:
        if len(words) == T or words[-1:] == (EOS,):
            return torch.tensor(WORTH[tuple(word for word in words if word != EOS)])
        total = 0
        for place in range(L) if sampled else (None,):
            image = decoder.init_state(a)[0]
            if sampled:
                image.intervene = lambda step, place=place: replace(
                    step, weights=one_place(torch.full((1, 1), place), step.alpha)
                )
            last = torch.tensor([[words[-1] if words else BOS]])
            log_p, then, step = decoder.step(last, image, state)
            p = possible(log_p)[0, 0].exp()
            share = step.alpha[0, 0, place] if sampled else 1
            for word, column in WORDS.items():
                total = total + share * p[column] * go((*words, word), then)
        return total

    return go((), decoder.init_state(a)[1])


def worth(found: Rollout) -> Tensor:
    captions = [tuple(one) for one in found.captions()]
    return torch.tensor([WORTH[one] for one in captions]).view(found.words.shape[:2]).double()


@pytest.mark.parametrize("attention", ["soft", "reinforce"])
@pytest.mark.parametrize("baseline", ["none", "greedy", "others"])
def test_the_gradient_is_that_of_the_expected_reward(attention, baseline):
    """Over 12,000 samples, within six standard errors of the exact one, for each number."""
    decoder, a = make(attention=attention), features()
    learned = [one for name, one in decoder.named_parameters() if "baseline" not in name]
    exact = torch.autograd.grad(expected(decoder, a, attention == "reinforce"), learned,
                                allow_unused=True)  # fmt: skip
    parts = []
    for seed in range(8):
        torch.manual_seed(seed)
        found = Sampler(decoder)(a, COUNT // 8, T)
        some = advantage(worth(found), baseline, torch.tensor([0.7]).double())
        loss = reward_loss(found, some) / (COUNT // 8)
        parts.append(torch.autograd.grad(-loss, learned, allow_unused=True))
    for number, wanted in enumerate(exact):
        if wanted is None:
            assert all(part[number] is None or not part[number].any() for part in parts)
            continue
        each = torch.stack([part[number] for part in parts])
        error = each.std(0) / 8**0.5
        assert (each.mean(0) - wanted).abs().le(6 * error + 1e-9).all(), number


def test_samples_follow_the_model_and_end_where_they_end():
    decoder, a = make(), features()
    torch.manual_seed(0)
    found = Sampler(decoder)(a, 20_000, T)
    log_p = possible(decoder.step(torch.tensor([[BOS]]), *decoder.init_state(a))[0])[0, 0]
    share = torch.tensor([(found.words[0, :, 0] == word).double().mean() for word in WORDS])
    assert (share - log_p.exp()).abs().max() < 0.015
    ended = found.words[0, :, 0] == EOS
    assert found.mask[0, ended].tolist() == [[1, 0]] * int(ended.sum())
    assert not found.log_p[0, ended, 1].any() and (found.words[0, ended, 1] == EOS).all()
    assert [len(one) for one in found.captions()] == (found.words[0] != EOS).sum(-1).tolist()


def test_log_p_is_the_models_own_without_the_words_it_never_says():
    decoder, a = make(), features()
    found = Sampler(decoder)(a, 5, T)
    image, state = decoder.init_state(a, 5)
    words = torch.full((1, 5), BOS)
    for t in range(found.words.shape[-1]):
        log_p, state, _ = decoder.step(words, image, state)
        words = found.words[..., t]
        columns = torch.tensor([[WORDS[word] for word in row] for row in words.tolist()])
        own = possible(log_p).gather(-1, columns[..., None])[..., 0] * found.mask[..., t]
        torch.testing.assert_close(found.log_p[..., t], own)


def test_baselines_by_hand():
    reward = torch.tensor([[1.0, 0.0, 2.0], [3.0, 3.0, 3.0]])
    assert torch.equal(advantage(reward, "none"), reward)
    assert advantage(reward, "greedy", torch.tensor([1.0, 2.0])).tolist() == [[0, -1, 1], [1, 1, 1]]
    assert advantage(reward, "others").tolist() == [[0, -1.5, 1.5], [0, 0, 0]]
    group = advantage(reward, "group")
    assert group[0].tolist() == pytest.approx([0, -1, 1], abs=1e-3) and not group[1].any()


def test_the_kl_term_is_that_of_each_word_and_draws_back():
    decoder, start, a = make(), make(seed=3), features()
    torch.manual_seed(0)
    found = Sampler(decoder, start)(a, 6, T)
    first = [possible(one.step(torch.tensor([[BOS]]), *one.init_state(a))[0])[0, 0]
             for one in (decoder, start)]  # fmt: skip
    kl = (first[0].exp() * (first[0] - first[1])).sum()
    assert found.kl[0, :, 0].tolist() == pytest.approx([kl.item()] * 6)
    loss = reward_loss(found, torch.zeros(1, 6).double(), kl_weight=2.0)
    assert loss.item() == pytest.approx(2 * found.kl.sum().item())
    assert not Sampler(decoder, decoder)(a, 6, T).kl.any()
    assert not any(one is start.embedding.weight for one in Sampler(decoder, start).parameters())


def test_a_baseline_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="a baseline is none, greedy, others, group, not 'mean'"):
        advantage(torch.zeros(1, 2), "mean")
    assert set(BASELINES) == set(declared(TrainingConfig)["caption_baseline"]["enum"])
