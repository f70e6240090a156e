"""Variance and bias of gradients at a fixed model."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from labkit.data.vocabulary import BOS, EOS
from labkit.model.config import ModelConfig
from labkit.model.decoder import Decoder, pad_captions
from labkit.training.config import TrainingConfig
from labkit.training.gradient_variance import Moments, moments, with_attention
from labkit.training.objective import Objective

torch.set_num_threads(1)

CAPTIONS = pad_captions([[BOS, 4, 5, EOS], [BOS, 6, EOS], [BOS, 5, 5, 4, 7, EOS]])
BEST = {"reward": "to_go", "samples": 4}  # of the objective; with baseline="others" of the model


def objective_of(**options) -> Objective:
    return Objective(TrainingConfig(doubly_stochastic=0, label_smoothing=0, **options))


@pytest.fixture
def decoder() -> Decoder:
    torch.manual_seed(0)
    config = ModelConfig(
        vocab_size=9, encoder_dim=5, feature_dim=5, embed_dim=6, hidden_dim=6, attention_dim=4
    )
    decoder = Decoder(config)  # with its dropout
    for parameter in decoder.parameters():
        nn.init.normal_(parameter, std=0.7)
    return decoder


@pytest.fixture
def a() -> torch.Tensor:
    return torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(1))


def of(decoder: Decoder, a, objective: Objective, draws: int = 10, **options) -> Moments:
    """The moments of the attention's own gradient, for this mechanism and these options."""
    torch.manual_seed(5)
    return moments(with_attention(decoder, **options), objective, a, CAPTIONS, draws)["attention"]


def test_soft_attentions_gradient_does_not_vary(decoder, a):
    found = moments(decoder, objective_of(), a, CAPTIONS, 3)
    assert {"attention", "W_h", "reduce", "embedding"} <= set(found)
    for name, one in found.items():
        assert one.total_variance == pytest.approx(0, abs=1e-12), name
        assert one.size > 0
    decoder.eval()
    loss = objective_of()(decoder(a, CAPTIONS))
    (loss.total / loss.words).backward()
    whole = torch.cat([p.grad.flatten() for p in decoder.attention.parameters()])
    torch.testing.assert_close(found["attention"].mean, whole.double())


def test_mean_and_variance_are_those_of_the_samples(decoder, a):
    """Against the samples themselves: as many, from the same seed, one at a time."""
    decoder = with_attention(decoder, "gumbel").eval()
    objective, draws = objective_of(), []
    torch.manual_seed(5)
    decoder.attention.train()
    for k in range(30 + 12):  # the first 30 are for the moving average
        decoder.zero_grad()
        loss = objective(decoder(a, CAPTIONS))
        (loss.total / loss.words).backward()
        if k >= 30:
            draws.append(decoder.L_h.weight.grad.flatten().double())
    torch.manual_seed(5)
    found = moments(decoder, objective, a, CAPTIONS, 12)["L_h"]
    each = torch.stack(draws)
    torch.testing.assert_close(found.mean[: each.shape[1]], each.mean(0))
    torch.testing.assert_close(found.variance[: each.shape[1]], each.var(0))


def test_the_model_stays_as_it_is(decoder, a):
    decoder = with_attention(decoder, "reinforce").train()
    before = {name: value.clone() for name, value in decoder.state_dict().items()}
    moments(decoder, Objective(TrainingConfig()), a, CAPTIONS, 2)
    assert all(torch.equal(before[name], value) for name, value in decoder.state_dict().items())
    assert decoder.training and all(p.grad is None for p in decoder.parameters())


def test_another_attention_has_the_same_weights(decoder):
    other = with_attention(decoder, "reinforce", baseline="learned", soft_share=0.25)
    assert other.config == replace(
        decoder.config, attention="reinforce", baseline="learned", soft_share=0.25
    )
    state = other.state_dict()
    assert all(torch.equal(state[name], value) for name, value in decoder.state_dict().items())


def test_variance_and_bias_of_the_estimators(decoder, a):
    """Printed. Leave-one-out is the reference: its mean is right, and it varies little."""
    hard = {"attention": "reinforce", "soft_share": 0.0}
    best = objective_of(lambda_e=0.0, **BEST)
    reference = of(decoder, a, best, 150, **hard, baseline="others")
    plain = objective_of(lambda_e=0.0)
    kinds = {
        "reinforce": hard,
        "gumbel": {"attention": "gumbel"},
        "argmax": {"attention": "argmax"},
    }
    found = {name: of(decoder, a, plain, 150, **kind) for name, kind in kinds.items()}
    for name, one in found.items():
        bias, chance = one.bias(reference)
        noise = one.total_variance**0.5
        print(f"{name}: bias {bias:.3f} (by chance {chance:.3f}), noise {noise:.3f}")
    assert found["reinforce"].bias(reference)[0] < 2 * found["reinforce"].bias(reference)[1]
    assert found["argmax"].bias(reference)[0] > 4 * found["argmax"].bias(reference)[1]
    assert found["argmax"].size == found["argmax"].total_variance == 0
    assert found["gumbel"].total_variance < found["reinforce"].total_variance
    assert 4 * reference.total_variance < found["reinforce"].total_variance
