"""Attention and the LSTM decoder, each against its equation."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from labkit.data.vocabulary import BOS, EOS, PAD
from labkit.model.attention import SoftAttention
from labkit.model.config import MECHANISMS, ModelConfig
from labkit.model.decoder import Decoder, State, pad_captions
from labkit.model.outputs import DecoderOutput
from labkit.training.config import TrainingConfig
from labkit.training.objective import Objective

torch.set_num_threads(1)

V, L, D, H, A = 11, 6, 5, 7, 4
SIZES = ModelConfig(
    vocab_size=V, encoder_dim=8, feature_dim=D, embed_dim=3, hidden_dim=H, attention_dim=A,
    dropout=0, word_dropout=0, feature_dropout=0,
)  # fmt: skip
CAPTIONS = [[BOS, 4, 5, EOS], [BOS, 6, EOS], [BOS, 7, 8, 9, 10, 4, EOS], [BOS, EOS], [BOS, 5, EOS]]


@pytest.fixture
def decoder() -> Decoder:
    """A small decoder with large weights, so that nothing is nearly equal by chance."""
    torch.manual_seed(0)
    decoder = Decoder(SIZES)
    for parameter in decoder.parameters():
        nn.init.normal_(parameter, std=0.7)
    return decoder


@pytest.fixture
def a() -> Tensor:
    return torch.randn(len(CAPTIONS), L, 8, generator=torch.Generator().manual_seed(1))


def assert_close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def of_each(output: DecoderOutput, captions: Tensor) -> list[Tensor]:
    """log p (T, V) of each caption, from the words that lie step by step."""
    ids = captions[:, 1:]
    numbers = torch.arange(ids.numel()).view_as(ids)  # a number for each place of the batch
    lengths = (ids != PAD).sum(1)
    numbers = pack_padded_sequence(numbers, lengths, True, enforce_sorted=False).data
    assert output.targets.tolist() == ids.flatten()[numbers].tolist()
    rows = torch.full((ids.numel(), V), torch.nan).index_copy(0, numbers, output.log_p)
    each = rows.view(*ids.shape, V)
    return [each[n, :length] for n, length in enumerate(lengths.tolist())]


# ------------------------------------------------------------------------------------ attention


def test_scores_are_equation_4():
    torch.manual_seed(0)
    attention = SoftAttention(SIZES)
    a, query = torch.randn(2, L, D), torch.randn(2, 3, A)
    scores = attention.scores(attention.encode(a), query)
    W, b = attention.W_a.weight.tolist(), attention.W_a.bias.tolist()
    (v,) = (p.flatten().tolist() for name, p in attention.named_parameters() if name[0] == "v")
    regions, queries = a.tolist(), query.tolist()
    for n in range(2):
        for k in range(3):
            for i in range(L):
                e = 0.0
                for j in range(A):
                    inner = sum(W[j][d] * regions[n][i][d] for d in range(D))
                    e += v[j] * math.tanh(inner + queries[n][k][j] + b[j])
                assert scores[n, k, i].item() == pytest.approx(e, abs=1e-5)


def test_weights_are_a_softmax_and_the_context_an_expectation():
    torch.manual_seed(0)
    attention = SoftAttention(SIZES)
    a, query = torch.randn(2, L, D), 3 * torch.randn(2, 3, A)
    image = attention.encode(a)
    phi, step = attention(image, query, torch.zeros(2, 3, H))
    assert step.weights is step.alpha and step.mixture is None
    e = attention.scores(image, query).exp()
    assert_close(step.alpha, e / e.sum(-1, keepdim=True))
    assert_close(step.alpha.sum(-1), torch.ones(2, 3))
    for n in range(2):
        for k in range(3):
            assert_close(phi[n, k], sum(step.alpha[n, k, i] * a[n, i] for i in range(L)))


def test_regions_have_no_order():
    torch.manual_seed(0)
    attention = SoftAttention(SIZES)
    a, query, order = torch.randn(2, L, D), torch.randn(2, 1, A), torch.randperm(L)
    h = torch.zeros(2, 1, H)
    phi, step = attention(attention.encode(a), query, h)
    mixed_phi, mixed_step = attention(attention.encode(a[:, order]), query, h)
    assert_close(mixed_phi, phi)
    assert_close(mixed_step.alpha, step.alpha[..., order])


# --------------------------------------------------------------------------------- the equations


def test_first_state_comes_from_the_mean_annotation_vector(decoder, a):
    _, state = decoder.init_state(a, captions=2)
    mean = decoder.reduce(decoder.norm(a)).mean(1)
    W, b = decoder.init_hc.weight, decoder.init_hc.bias
    for k in range(2):
        assert_close(state.h[:, k], torch.tanh(mean @ W[:H].T + b[:H]))
        assert_close(state.c[:, k], torch.tanh(mean @ W[H:].T + b[H:]))


def test_a_region_is_encoded_by_itself(decoder, a):
    """A change of one region changes no other region, nor another image."""
    changed = a.clone()
    changed[1, 2] = torch.arange(8.0)
    image, other = decoder.init_state(a)[0], decoder.init_state(changed)[0]
    assert image.a.shape == (len(a), L, D) and image.keys.shape == (len(a), L, A)
    for one, two in ((image.a, other.a), (image.keys, other.keys)):
        assert (one != two).any(-1).nonzero().tolist() == [[1, 2]]


def test_a_step_is_equations_1_to_7(decoder, a):
    """The LSTM against torch's with the weights copied over, the rest written out."""
    image, first = decoder.init_state(a)
    words = torch.tensor([[4], [5], [6], [7], [8]])
    state = State(first.h + 0.3, first.c - 0.2)  # any state
    log_p, new, step = decoder.step(words, image, state)

    W, b = decoder.W_h.weight, decoder.W_h.bias
    h = state.h[:, 0]
    query = h @ W[:A].T + b[:A]
    alpha = decoder.attention.scores(image, query[:, None]).softmax(-1)[:, 0]
    assert_close(step.alpha[:, 0], alpha)
    beta = torch.sigmoid(h @ W[A] + b[A])  # the gate, one number a caption
    z = beta[:, None] * (alpha[..., None] * image.a).sum(1)

    cell = nn.LSTMCell(3 + D, H)
    order = [0, 1, 3, 2]  # torch has the gates in the order i, f, g, o; here it is i, f, o, g
    with torch.no_grad():
        inputs = torch.cat([decoder.W_y.weight, decoder.W_z.weight], 1)
        for mine, theirs in (
            (inputs, cell.weight_ih),
            (decoder.W_y.bias, cell.bias_ih),
            (W[A + 1 :], cell.weight_hh),
            (b[A + 1 :], cell.bias_hh),
        ):
            theirs.copy_(torch.cat([mine.chunk(4)[part] for part in order]))
    Ey = decoder.embedding.weight[words[:, 0]]
    new_h, new_c = cell(torch.cat([Ey, z], 1), (h, state.c[:, 0]))
    assert_close(new.h[:, 0], new_h)
    assert_close(new.c[:, 0], new_c)

    mixed = Ey + decoder.L_h(new_h) + decoder.L_z(z)
    assert_close(
        log_p[:, 0], torch.log_softmax(mixed @ decoder.embedding.weight.T + decoder.bias, -1)
    )


def test_a_closed_gate_hides_the_image(decoder, a):
    """With beta = 0 the step depends on the words alone."""
    with torch.no_grad():
        decoder.W_h.weight[A] = 0
        decoder.W_h.bias[A] = -200
    image, state = decoder.init_state(a)
    same = State(torch.zeros_like(state.h), torch.zeros_like(state.c))
    log_p, _, _ = decoder.step(torch.full((len(a), 1), 4), image, same)
    assert_close(log_p, log_p[:1].expand_as(log_p))


def test_forget_gate_starts_open():
    decoder = Decoder(SIZES)
    i, f, o, g = decoder.W_h.bias[A + 1 :].chunk(4)
    assert f.tolist() == [1.0] * H
    assert max(part.abs().max() for part in (i, o, g)) < 1


# ------------------------------------------------------------------------------- teacher forcing


def test_one_call_equals_one_word_at_a_time(decoder, a):
    captions = pad_captions(CAPTIONS)
    output = decoder(a, captions)
    for n, log_p in enumerate(of_each(output, captions)):
        image, state = decoder.init_state(a[n : n + 1])
        assert len(log_p) == len(CAPTIONS[n]) - 1
        for t, word in enumerate(CAPTIONS[n][:-1]):
            stepped, state, step = decoder.step(torch.tensor([[word]]), image, state)
            assert_close(log_p[t], stepped[0, 0])
            assert_close(output.alpha[n, t], step.alpha[0, 0])


def test_a_batch_equals_its_captions_one_by_one(decoder, a):
    captions = pad_captions(CAPTIONS)
    output = decoder(a, captions)
    for n, log_p in enumerate(of_each(output, captions)):
        alone = decoder(a[n : n + 1], torch.tensor([CAPTIONS[n]]))
        assert_close(log_p, alone.log_p)
        assert_close(output.alpha[n, : len(log_p)], alone.alpha[0])


def test_padding_changes_nothing(decoder, a):
    captions = pad_captions(CAPTIONS)
    output, padded = (
        decoder(a, captions),
        decoder(a, nn.functional.pad(captions, (0, 4), value=PAD)),
    )
    assert torch.equal(output.log_p, padded.log_p)
    assert torch.equal(output.targets, padded.targets)
    assert torch.equal(output.alpha, padded.alpha)


def test_the_order_of_the_captions_does_not_matter(decoder, a):
    captions = pad_captions(CAPTIONS)
    output = decoder(a, captions)
    each = of_each(output, captions)
    for order in ([4, 3, 2, 1, 0], [2, 0, 4, 1, 3]):
        mixed = decoder(a[order], captions[order])
        assert_close(mixed.alpha, output.alpha[order])
        for place, log_p in zip(order, of_each(mixed, captions[order]), strict=True):
            assert_close(log_p, each[place])


@pytest.mark.parametrize("attention", MECHANISMS)
@pytest.mark.parametrize("rows", [[0, 1, 1, 0, 1], [3, 0, 2, 4, 0]])
def test_captions_that_share_an_image_equal_those_with_a_copy_each(rows, attention, a):
    """Whether regions are reduced once for several captions, or contexts for each: one result."""
    torch.manual_seed(0)
    decoder = Decoder(replace(SIZES, attention=attention)).double()
    a, rows = a[: max(rows) + 1].double(), torch.tensor(rows)
    captions, found = pad_captions(CAPTIONS), []
    for given in ({"a": a[rows]}, {"a": a, "images": rows}):
        decoder.zero_grad()
        torch.manual_seed(1)  # the same regions are sampled
        output = decoder(captions=captions, **given)
        (output.nll.sum() + output.alpha.square().sum()).backward()
        grads = [one.grad for one in decoder.parameters() if one.grad is not None]
        found.append([output.nll, output.alpha, *grads])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)


def test_only_earlier_words_count(decoder, a):
    """A changed word changes no prediction up to its own."""
    one, other = [BOS, 4, 5, 6, 7, EOS], [BOS, 4, 5, 9, 7, EOS]
    same, changed = (decoder(a[:1], torch.tensor([ids])) for ids in (one, other))
    assert torch.equal(same.log_p[:3], changed.log_p[:3])
    assert not torch.allclose(same.log_p[3], changed.log_p[3])


def test_weights_sum_to_one_for_words_and_are_zero_after_the_end(decoder, a):
    alpha = decoder(a, pad_captions(CAPTIONS)).alpha
    assert alpha.shape == (len(CAPTIONS), 6, L)
    for n, ids in enumerate(CAPTIONS):
        words = len(ids) - 1  # with <eos>
        assert_close(alpha[n, :words].sum(-1), torch.ones(words))
        assert not alpha[n, words:].any()


def test_log_p_are_probabilities(decoder, a):
    output = decoder(a, pad_captions(CAPTIONS))
    assert output.log_p.shape == (sum(len(ids) - 1 for ids in CAPTIONS), V)
    assert_close(output.log_p.exp().sum(-1), torch.ones(len(output.log_p)))


def test_gradients_reach_every_parameter(decoder, a):
    Objective(TrainingConfig())(decoder(a, pad_captions(CAPTIONS))).total.backward()
    for name, parameter in decoder.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 1e-6, name
    assert decoder.W_h.weight.grad.abs().sum(1).min() > 0  # query, gate, all four gates


def test_gradient_is_the_slope(decoder, a):
    """Along any direction, against a difference quotient."""
    captions, objective = pad_captions(CAPTIONS), Objective(TrainingConfig(label_smoothing=0))
    objective(decoder(a, captions)).total.backward()
    for name, parameter in decoder.named_parameters():
        direction = parameter.grad / parameter.grad.norm()
        with torch.no_grad():
            parameter += 0.01 * direction
            above = objective(decoder(a, captions)).total
            parameter -= 0.02 * direction
            below = objective(decoder(a, captions)).total
            parameter += 0.01 * direction
        slope = ((above - below) / 0.02).item()
        assert slope == pytest.approx(parameter.grad.norm().item(), rel=0.02), name


# ------------------------------------------------------------------------- several side by side


def test_captions_side_by_side_equal_separate_ones(decoder, a):
    words = torch.randint(4, V, (len(a), 3, 4), generator=torch.Generator().manual_seed(2))
    image, state = decoder.init_state(a, captions=3)
    alone = [decoder.init_state(a)[1] for _ in range(3)]
    for t in range(4):
        log_p, state, step = decoder.step(words[..., t], image, state)
        assert log_p.shape == (len(a), 3, V) and step.alpha.shape == (len(a), 3, L)
        for k in range(3):
            one, alone[k], other = decoder.step(words[:, k : k + 1, t], image, alone[k])
            assert_close(log_p[:, k], one[:, 0])
            assert_close(state.h[:, k], alone[k].h[:, 0])
            assert_close(state.c[:, k], alone[k].c[:, 0])
            assert_close(step.alpha[:, k], other.alpha[:, 0])


# ------------------------------------------------------------- how much words need the attention


def test_a_learned_first_state_is_that_of_all_images(a):
    torch.manual_seed(0)
    decoder = Decoder(replace(SIZES, first_state="learned"))
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=0.1)
    started = decoder.init_hc.bias.clone()
    for _ in range(3):
        optimizer.zero_grad()
        decoder(a, pad_captions(CAPTIONS)).nll.mean().backward()
        optimizer.step()
    state = decoder.init_state(a)[1]
    for first in (state.h, state.c):
        assert torch.equal(first, first[:1].expand_as(first))
    assert (decoder.init_hc.bias - started).abs().median() > 0.05  # learned


def test_scores_may_see_the_last_word(a):
    def alphas(**options) -> Tensor:
        torch.manual_seed(0)
        decoder = Decoder(replace(SIZES, **options)).eval()
        image, state = decoder.init_state(a)
        words = [torch.full((len(a), 1), word) for word in (4, 5)]
        return torch.stack([decoder.step(word, image, state)[2].alpha for word in words])

    blind, seeing = alphas(), alphas(scores_see_word=True)
    assert torch.equal(blind[0], blind[1])
    assert (seeing[0] - seeing[1]).abs().max() > 0.001


def test_without_a_gate_beta_is_one(a):
    decoder = Decoder(replace(SIZES, gate=False))
    image, state = decoder.init_state(a)
    step = decoder.step(torch.full((len(a), 1), 4), image, state)[2]
    assert torch.equal(step.beta, torch.ones(len(a), 1, 1))


def test_whole_contexts_are_dropped_in_training_alone(a):
    torch.manual_seed(0)
    decoder = Decoder(replace(SIZES, gate=False, context_dropout=0.25))
    image, state = decoder.init_state(a.repeat(200, 1, 1))
    words = decoder.W_y(decoder.embedding(torch.full((1000, 1), 4)))
    state, z, _ = decoder.lstm_step(words, image, state)
    dropped = (z == 0).all(-1)
    assert torch.equal(dropped, (z == 0).any(-1)) and 0.2 < dropped.float().mean() < 0.3
    assert not (decoder.eval().lstm_step(words, image, state)[1] == 0).any()


# ---------------------------------------------------------------------------------- and the rest


def test_a_dropped_channel_is_dropped_in_all_regions():
    torch.manual_seed(0)
    decoder = Decoder(
        ModelConfig(vocab_size=V, encoder_dim=40, feature_dim=40, feature_dropout=0.5)
    )
    with torch.no_grad():
        decoder.reduce.weight.copy_(torch.eye(40))
    a = torch.randn(3, L, 40)
    dropped = decoder.train().init_state(a)[0].a == 0
    assert torch.equal(dropped, dropped[:, :1].expand_as(dropped))
    assert 0.3 < dropped.float().mean() < 0.7
    assert not torch.equal(dropped[0], dropped[1])  # each image has its own
    assert not (decoder.eval().init_state(a)[0].a == 0).any()


def test_evaluation_samples_nothing(a):
    torch.manual_seed(0)
    decoder = Decoder(replace(SIZES, dropout=0.5, word_dropout=0.2, feature_dropout=0.2))
    captions = pad_captions(CAPTIONS)
    decoder.eval()
    assert torch.equal(decoder(a, captions).log_p, decoder(a, captions).log_p)
    decoder.train()
    assert not torch.equal(decoder(a, captions).log_p, decoder(a, captions).log_p)


def test_bf16_is_near_and_gives_float32(decoder, a):
    captions = pad_captions(CAPTIONS)
    exact = decoder(a, captions)
    with torch.autocast("cpu", torch.bfloat16):
        output = decoder(a.bfloat16(), captions)
    assert output.log_p.dtype == output.alpha.dtype == torch.float32
    assert_close(output.alpha.sum(-1), exact.alpha.sum(-1))
    assert (output.log_p - exact.log_p).abs().max() < 0.3


def test_pad_captions():
    expected = torch.tensor([[BOS, 4, EOS, PAD], [BOS, 4, 5, EOS]])
    assert torch.equal(pad_captions([[BOS, 4, EOS], [BOS, 4, 5, EOS]]), expected)


def test_an_unknown_attention_is_named():
    with pytest.raises(ValueError, match=r"attention is soft, .* or marginal, not 'sotf'"):
        ModelConfig(vocab_size=V, encoder_dim=8, attention="sotf")
