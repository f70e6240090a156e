"""What training minimises, against sums written out."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from labkit.data.vocabulary import BOS, EOS, PAD
from labkit.model.config import ModelConfig
from labkit.model.decoder import Decoder, pad_captions
from labkit.model.outputs import DecoderOutput
from labkit.training.config import TrainingConfig
from labkit.training.objective import Objective

torch.set_num_threads(1)


def objective_of(**options) -> Objective:
    return Objective(TrainingConfig(**options))


def output_of(log_p: Tensor, targets: Tensor, alpha: Tensor) -> DecoderOutput:
    """As the decoder would give it, from log p of all words."""
    nll = -log_p.gather(1, targets[:, None])[:, 0]
    return DecoderOutput(nll, log_p.mean(1), targets, alpha, None, lambda: log_p)


def output_by_hand() -> DecoderOutput:
    """Two captions, one of two words and one of one, of an image of two regions."""
    p = torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [0.25, 0.25, 0.5]])
    alpha = torch.tensor([[[0.9, 0.1], [0.5, 0.5]], [[0.2, 0.8], [0.0, 0.0]]])
    return output_of(p.log(), torch.tensor([0, 1, 2]), alpha)


def test_the_sums_by_hand():
    objective = objective_of(doubly_stochastic=0.5, doubly_target=1.0, label_smoothing=0)
    loss = objective(output_by_hand())
    nll = -(math.log(0.5) + math.log(0.8) + math.log(0.5))
    deviation = (1 - 1.4) ** 2 + (1 - 0.6) ** 2 + (1 - 0.2) ** 2 + (1 - 0.8) ** 2
    assert loss.total.item() == pytest.approx(nll + 0.5 * deviation, abs=1e-6)
    assert loss.nll == pytest.approx(nll, abs=1e-6)
    assert loss.words == 3


def test_the_target_by_hand():
    one, none = (
        objective_of(doubly_stochastic=weight, doubly_target=0.75, label_smoothing=0)(
            output_by_hand()
        ).total.item()
        for weight in (2.0, 0.0)
    )
    deviation = 0.65**2 + 0.15**2 + 0.55**2 + 0.05**2
    assert one - none == pytest.approx(2 * deviation, abs=1e-5)


def test_smoothing_is_torchs_and_leaves_the_nll_alone():
    torch.manual_seed(0)
    scores, targets = torch.randn(7, 9), torch.randint(9, (7,))
    output = output_of(scores.log_softmax(-1), targets, torch.zeros(2, 4, 3))
    loss = objective_of(doubly_stochastic=0, label_smoothing=0.2)(output)
    expected = cross_entropy(scores, targets, reduction="sum", label_smoothing=0.2)
    torch.testing.assert_close(loss.total, expected)
    plain = cross_entropy(scores, targets, reduction="sum")
    assert loss.nll == pytest.approx(plain.item(), rel=1e-6)


def test_equal_weights_meet_the_target_where_words_are_as_many_as_regions():
    alpha = torch.full((3, 5, 5), 0.2)
    output = output_of(torch.zeros(15, 1), torch.zeros(15, dtype=torch.long), alpha)
    assert objective_of()(output).total.item() == pytest.approx(0, abs=1e-6)


def test_the_least_value_of_the_doubly_stochastic_term():
    """(1 - T / L)^2 L, at equal weights, as the module says."""
    T, L = 3, 12
    none = torch.zeros(T, 1), torch.zeros(T, dtype=torch.long)

    def term(alpha):
        objective = objective_of(doubly_stochastic=1, label_smoothing=0)
        return objective(output_of(*none, alpha[None])).total.item()

    least = (1 - T / L) ** 2 * L
    assert term(torch.full((T, L), 1 / L)) == pytest.approx(least, rel=1e-5)
    torch.manual_seed(0)
    assert min(term(torch.randn(T, L).softmax(-1)) for _ in range(20)) > least


@pytest.fixture
def decoder() -> Decoder:
    torch.manual_seed(0)
    sizes = {
        "encoder_dim": 5,
        "feature_dim": 5,
        "embed_dim": 6,
        "hidden_dim": 6,
        "attention_dim": 4,
    }
    decoder = Decoder(ModelConfig(vocab_size=9, **sizes)).eval()
    for parameter in decoder.parameters():
        nn.init.normal_(parameter, std=0.7)
    return decoder


CAPTIONS = [[BOS, 4, 5, 6, EOS], [BOS, 7, EOS], [BOS, EOS]]


def test_a_batch_is_the_sum_of_its_captions(decoder):
    """So padding counts nowhere, neither in the words nor in the weights."""
    a = torch.randn(3, 4, 5)
    captions, objective = pad_captions(CAPTIONS), objective_of(doubly_stochastic=0.3)
    whole = objective(decoder(a, captions))
    each = [objective(decoder(a[n : n + 1], torch.tensor([CAPTIONS[n]]))) for n in range(3)]
    torch.testing.assert_close(whole.total, sum(loss.total for loss in each))
    assert whole.nll == pytest.approx(sum(loss.nll for loss in each), rel=1e-5)
    assert whole.words == sum(loss.words for loss in each) == 4 + 2 + 1
    padded = objective(decoder(a, nn.functional.pad(captions, (0, 3), value=PAD)))
    assert torch.equal(padded.total, whole.total)


def test_the_doubly_stochastic_term_moves_the_scores(decoder):
    a, captions = torch.randn(3, 4, 5), pad_captions(CAPTIONS)
    slopes = []
    for weight in (0.0, 1.0):
        decoder.zero_grad()
        objective_of(doubly_stochastic=weight)(decoder(a, captions)).total.backward()
        slopes.append(decoder.attention.W_a.weight.grad.clone())
    assert (slopes[0] - slopes[1]).norm() > 1e-3


def test_learning_lowers_the_loss(decoder):
    """Some steps on three captions: the model memorises the words."""
    a, captions = torch.randn(3, 4, 5), pad_captions(CAPTIONS)
    objective = objective_of(doubly_stochastic=0, label_smoothing=0)
    optimizer = torch.optim.Adam(decoder.parameters(), 0.05)
    before = objective(decoder(a, captions)).nll
    for _ in range(40):
        optimizer.zero_grad()
        loss = objective(decoder(a, captions))
        (loss.total / loss.words).backward()
        optimizer.step()
    assert loss.nll / loss.words < 0.1 < before / loss.words
