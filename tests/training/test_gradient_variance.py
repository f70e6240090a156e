"""Variance and bias of gradients at a fixed model."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from labkit.data.vocabulary import BOS, EOS
from labkit.model.attention import HardConfig
from labkit.model.decoder import Decoder, ModelConfig, pad_captions
from labkit.training.gradient_variance import Moments, moments, with_attention
from labkit.training.objective import Objective

torch.set_num_threads(1)

CAPTIONS = pad_captions([[BOS, 4, 5, EOS], [BOS, 6, EOS], [BOS, 5, 5, 4, 7, EOS]])
PLAIN = {"soft_share": 0.0, "lambda_e": 0.0}


@pytest.fixture
def decoder() -> Decoder:
    torch.manual_seed(0)
    config = ModelConfig(9, feature=5, feature_dim=5, embedding=6, hidden=6, attention_dim=4)
    decoder = Decoder(config)  # with its dropout
    for parameter in decoder.parameters():
        nn.init.normal_(parameter, std=0.7)
    return decoder


@pytest.fixture
def a() -> torch.Tensor:
    return torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(1))


def of(decoder: Decoder, a, draws: int = 10, **options) -> dict[str, Moments]:
    torch.manual_seed(5)
    name = options.pop("attention")
    return moments(
        with_attention(decoder, name, **options),
        Objective(0, smoothing=0, hard=HardConfig(**options)), a, CAPTIONS, draws,
    )  # fmt: skip


def test_soft_attentions_gradient_does_not_vary(decoder, a):
    found = moments(decoder, Objective(0, smoothing=0), a, CAPTIONS, 3)
    assert {"attention", "of_hidden", "reduce", "words"} <= set(found)
    for name, one in found.items():
        assert one.total_variance == pytest.approx(0, abs=1e-12), name
        assert one.size > 0
    decoder.eval()
    loss = Objective(0, smoothing=0)(decoder(a, CAPTIONS))
    (loss.total / loss.words).backward()
    whole = torch.cat([p.grad.flatten() for p in decoder.attention.parameters()])
    torch.testing.assert_close(found["attention"].mean, whole.double())


def test_mean_and_variance_are_those_of_the_draws(decoder, a):
    """Against the draws themselves: as many, from the same seed, one at a time."""
    decoder = with_attention(decoder, "gumbel").eval()
    objective, draws = Objective(0, smoothing=0), []
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
    moments(decoder, Objective(), a, CAPTIONS, 2)
    assert all(torch.equal(before[name], value) for name, value in decoder.state_dict().items())
    assert decoder.training and all(p.grad is None for p in decoder.parameters())


def test_another_attention_has_the_same_weights(decoder):
    other = with_attention(decoder, "reinforce", baseline="learned", reward="to_go")
    assert other.config == replace(
        decoder.config, attention="reinforce", baseline="learned", reward="to_go"
    )
    state = other.state_dict()
    assert all(torch.equal(state[name], value) for name, value in decoder.state_dict().items())


def test_variance_and_bias_of_the_estimators(decoder, a):
    """Printed. Leave-one-out is the reference: its mean is right, and it varies little."""
    best = {"reward": "to_go", "baseline": "others", "samples": 4}
    reference = of(decoder, a, 150, attention="reinforce", **PLAIN, **best)["attention"]
    kinds = {
        "reinforce": {"attention": "reinforce", **PLAIN},
        "gumbel": {"attention": "gumbel"},
        "argmax": {"attention": "argmax"},
    }
    found = {name: of(decoder, a, 150, **kind)["attention"] for name, kind in kinds.items()}
    for name, one in found.items():
        bias, chance = one.off(reference)
        noise = one.total_variance**0.5
        print(f"{name}: bias {bias:.3f} (by chance {chance:.3f}), noise {noise:.3f}")
    assert found["reinforce"].off(reference)[0] < 2 * found["reinforce"].off(reference)[1]
    assert found["argmax"].off(reference)[0] > 4 * found["argmax"].off(reference)[1]
    assert found["argmax"].size == found["argmax"].total_variance == 0
    assert found["gumbel"].total_variance < found["reinforce"].total_variance
    assert 4 * reference.total_variance < found["reinforce"].total_variance
