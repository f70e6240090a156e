"""Hard attention: each estimator against the exact gradient, all sequences of places listed.

Slow, about 40 s: the mean of an estimator is told from the truth by tens of thousands of draws.
"""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from labkit.data.vocabulary import BOS, EOS
from labkit.model.attention import Attention, AttentionStep, HardConfig, one_place
from labkit.model.decoder import Decoder, ModelConfig, State, pad_captions
from labkit.model.hard_attention import ATTENTIONS
from labkit.training.objective import Objective

torch.set_num_threads(1)

L, V = 3, 6
SIZES = ModelConfig(
    V, feature=4, feature_dim=4, embedding=3, hidden=4, attention_dim=3,
    dropout=0, word_dropout=0, feature_dropout=0,
)  # fmt: skip
TWO, THREE = [BOS, 4, EOS], [BOS, 5, 4, EOS]  # captions of T = 2 and T = 3 words
PLAIN = {"soft_share": 0.0, "lambda_e": 0.0}  # the bound's own gradient, with lambda_r = 1


def make(attention: str = "soft", seed: int = 0, std: float = 1.2, **options) -> Decoder:
    """A small decoder in float64, with large weights: the places matter much."""
    torch.manual_seed(seed)
    decoder = Decoder(replace(SIZES, attention=attention, **options)).double()
    for name, parameter in decoder.named_parameters():
        if "guess" not in name:
            nn.init.normal_(parameter, std=std)
    return decoder


def picture(seed: int = 1) -> Tensor:
    return torch.randn(1, L, 4, generator=torch.Generator().manual_seed(seed)).double()


class Forced(Attention):
    """Looks where it is told to: row n of `places` (N, T) says where picture n is looked at."""

    def see(self, a, attention_mode=None):
        self.step = 0
        return super().see(a, None)

    def choose(self, scores, seen, h):
        place = self.places[:, self.step, None]  # (N, 1)
        self.step += 1
        log_alpha = scores.log_softmax(-1)
        chosen = log_alpha.gather(-1, place[..., None])[..., 0]
        return AttentionStep(log_alpha.exp(), one_place(place, log_alpha), log_choice=chosen)


def list_all(decoder: Decoder, a: Tensor, caption: list[int]) -> tuple[Tensor, Tensor]:
    """log p(s|a) and log p(y|s,a) of every sequence of places s, word by word, with gradient."""
    T = len(caption) - 1
    forced = Forced(4, 3)
    forced.W_a, forced.v = decoder.attention.W_a, decoder.attention.v
    forced.places = torch.tensor(list(itertools.product(range(L), repeat=T)))  # (L^T, T)
    own, decoder.attention = decoder.attention, forced
    seen, state = decoder.init_state(a.expand(L**T, -1, -1))
    log_s = log_y = torch.zeros(L**T, dtype=torch.double)
    for word, target in itertools.pairwise(caption):
        log_p, state, glance = decoder.step(torch.full((L**T, 1), word), seen, state)
        log_s = log_s + glance.log_choice[:, 0]
        log_y = log_y + log_p[:, 0, target]
    decoder.attention = own
    return log_s, log_y


def slopes(value: Tensor, decoder: Decoder) -> Tensor:
    """The gradient of a number in all parameters but a learned baseline's, one behind the other."""
    parameters = [p for name, p in decoder.named_parameters() if "guess" not in name]
    found = torch.autograd.grad(value, parameters, allow_unused=True)
    pairs = zip(found, parameters, strict=True)
    return torch.cat([(p * 0 if g is None else g).flatten() for g, p in pairs]).detach()


def exact(decoder: Decoder, a: Tensor, caption: list[int]) -> Tensor:
    """The gradient of the bound L_s = sum_s p(s|a) log p(y|s,a), from the sum itself."""
    log_s, log_y = list_all(decoder, a, caption)
    return slopes((log_s.exp() * log_y).sum(), decoder)


def sampled(
    decoder: Decoder, objective: Objective, a: Tensor, captions: list[list[int]],
    draws: int = 400, batches: int = 80,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The mean gradient of many draws of each caption, upwards, and its standard error."""
    torch.manual_seed(3)
    draws = draws // objective.hard.samples * objective.hard.samples
    rows = pad_captions(captions).repeat_interleave(draws, 0)
    pictures = a.expand(len(captions), -1, -1).repeat_interleave(draws, 0)
    settle_the_average(decoder, objective, pictures, rows)
    found = []
    for _ in range(batches):
        loss = objective(decoder(pictures, rows))
        found.append(-slopes(loss.total, decoder) / len(rows))
        decoder.attention.note(-loss.nll / loss.words)
    each = torch.stack(found)
    return each.mean(0), each.std(0) / math.sqrt(batches)


def settle_the_average(decoder: Decoder, objective: Objective, a: Tensor, rows: Tensor) -> None:
    """As if training had gone on for a while."""
    for _ in range(50):
        with torch.no_grad():
            loss = objective(decoder(a, rows))
        decoder.attention.note(-loss.nll / loss.words)


def worst(mean: Tensor, error: Tensor, true: Tensor) -> float:
    """How many standard errors the mean is off where it is worst; sums in float64 have errors."""
    return ((mean - true).abs() / (error + 1e-9)).max().item()


# ----------------------------------------------------------------------- the bound and its gradient

OPTIONS = [
    {},
    {"reward": "to_go"},
    {"baseline": "learned"},
    {"baseline": "learned", "reward": "to_go"},
    {"samples": 4},
    {"samples": 4, "baseline": "others"},
    {"samples": 2, "baseline": "others", "reward": "to_go"},
    {"samples": 4, "baseline": "others", "reward": "to_go"},
]


def name_of(value) -> str:
    """What a test's parameters are called."""
    if isinstance(value, dict):
        return "-".join(map(str, value.values())) or "paper"
    return f"{len(value) - 1}words"


@pytest.mark.parametrize("caption", [TWO, THREE], ids=name_of)
@pytest.mark.parametrize("options", OPTIONS, ids=name_of)
def test_reinforce_is_unbiased_for_the_bound(options, caption):
    """The mean of 32,000 estimates, within their standard error of the sum over all s."""
    decoder, a = make("reinforce", **PLAIN, **options), picture()
    hard = HardConfig(**PLAIN, **options)
    true = exact(decoder, a, caption)
    mean, error = sampled(decoder, Objective(0, smoothing=0, hard=hard), a, [caption])
    assert worst(mean, error, true) < 5
    assert (error.norm() / true.norm()) < 0.1  # and the error is small enough to tell


def test_the_mean_over_words_is_the_papers_reward_scaled():
    decoder, a = make("reinforce", **PLAIN), picture()
    hard = HardConfig(**PLAIN, reward="mean", lambda_r=3.0)  # T = 3
    mean, error = sampled(decoder, Objective(0, smoothing=0, hard=hard), a, [THREE])
    assert worst(mean, error, exact(decoder, a, THREE)) < 5


class OwnToo(Objective):
    """A wrong baseline: the mean of all samples of a caption, the own one among them."""

    def baseline(self, drawn, reward, words):
        groups = reward.unflatten(0, (-1, self.hard.samples))
        return groups.mean(1, keepdim=True).expand_as(groups).flatten(0, 1)


class AfterTheBatch(Objective):
    """Another: the average of the paper, but taken with the caption's own log p."""

    def baseline(self, drawn, reward, words):
        return 0.5 * drawn.baseline * words + 0.5 * reward


@pytest.mark.parametrize("wrong", [OwnToo, AfterTheBatch])
def test_a_baseline_that_depends_on_the_places_is_found_out(wrong):
    """The same test, with a baseline that knows what was drawn: off by many standard errors."""
    options = PLAIN | {"samples": 4, "baseline": "others"}
    decoder, a = make("reinforce", **options), picture()
    mean, error = sampled(
        decoder, wrong(0, smoothing=0, hard=HardConfig(**options)), a, [TWO]
    )  # fmt: skip
    assert worst(mean, error, exact(decoder, a, TWO)) > 5


@pytest.mark.parametrize("caption", [TWO, THREE], ids=name_of)
@pytest.mark.parametrize("seed", range(5))
def test_the_bound_is_below_log_p(caption, seed):
    log_s, log_y = list_all(make(seed=seed), picture(seed), caption)
    assert log_s.exp().sum().item() == pytest.approx(1)
    bound, log_p = (log_s.exp() * log_y).sum(), (log_s + log_y).logsumexp(0)
    assert bound < log_p - 1e-3


def five_errors(draws: Tensor) -> float:
    return 5 * draws.std().item() / math.sqrt(len(draws))


def test_what_is_drawn_follows_alpha():
    """The mean log p(y|s) of draws is the bound, and log_choice is log p(s|a) of the places."""
    decoder, a = make("reinforce", soft_share=0.0), picture()
    log_s, log_y = list_all(decoder, a, THREE)
    with torch.no_grad():
        told = decoder(a.expand(20000, -1, -1), torch.tensor([THREE]).expand(20000, -1))
    log_p, chosen = told.drawn.log_p.sum(1), told.drawn.log_choice.sum(1)
    for drawn, true in ((log_p, log_y), (chosen, log_s)):
        expected = (log_s.exp() * true).sum().item()
        assert drawn.mean().item() == pytest.approx(expected, abs=five_errors(drawn))
    pairs = torch.stack([chosen, log_p], 1).unique(dim=0)
    known = torch.stack([log_s, log_y], 1)
    assert (torch.cdist(pairs, known).min(1).values < 1e-6).all()


def test_the_better_options_save_variance():
    """Printed: the noise of one draw in the scores' gradient, all at the same number of draws.

    Several captions of several pictures: of one alone, the paper's average is a good baseline. A
    learned one may be no better here: its error is small, but that alone is not small variance.
    """
    torch.manual_seed(0)
    captions = [[BOS, *torch.randint(3, V, (T,)).tolist(), EOS] for T in (1, 2, 3, 4, 5, 6)]
    pictures, found = torch.randn(6, L, 4).double(), {}
    for options in OPTIONS[:2] + OPTIONS[5:]:
        decoder = make("reinforce", std=0.8, **PLAIN, **options)
        objective = Objective(0, smoothing=0, hard=HardConfig(**PLAIN, **options))
        _, error = sampled(decoder, objective, pictures, captions, draws=40, batches=20)
        noise = error[in_scores(decoder)].norm().item() * math.sqrt(20 * 240)
        found[name_of(options)] = noise
    print({name: round(noise, 2) for name, noise in found.items()})
    assert found["to_go"] < found["paper"]
    assert found["4-others-to_go"] < found["4-others"] < found["paper"]


def in_scores(decoder: Decoder) -> Tensor:
    """Which of the numbers that `slopes` gives are of the attention's own parameters."""
    named = [(name, p) for name, p in decoder.named_parameters() if "guess" not in name]
    return torch.tensor([name.startswith("attention") for name, p in named for _ in p.flatten()])


# -------------------------------------------------------------------------- what reaches the scores


def of_scores(decoder: Decoder) -> list[Tensor]:
    """The gradients of what makes the scores: W_a and b, v, W_s."""
    attention = decoder.attention
    parts = [attention.W_a.weight, attention.W_a.bias, attention.v]
    return [p.grad for p in parts] + [decoder.W_h.weight.grad[: decoder.config.attention_dim]]


@pytest.mark.parametrize("name", ATTENTIONS)
def test_only_argmax_tells_the_scores_nothing(name):
    decoder, captions = make(name, soft_share=0.0), pad_captions([TWO, THREE])
    Objective(0, smoothing=0.1)(decoder(picture().expand(2, -1, -1), captions)).total.backward()
    sizes = [grad.abs().max().item() for grad in of_scores(decoder)]
    assert decoder.reduce.weight.grad.abs().max() > 1e-3  # the words do tell the features
    if name == "argmax":
        assert sizes == [0.0] * 4  # exactly
    else:
        assert min(sizes) > 1e-6


def test_argmax_scores_learn_from_the_doubly_stochastic_term_alone():
    decoder, captions = make("argmax"), pad_captions([TWO, THREE])
    Objective(1.0, smoothing=0)(decoder(picture().expand(2, -1, -1), captions)).total.backward()
    assert min(grad.abs().max() for grad in of_scores(decoder)) > 1e-6


@pytest.mark.parametrize("temperature", [0.2, 1.0, 2.0])
def test_gumbels_bias_is_measured(temperature):
    """Printed: its bias and the noise of one caption, as multiples of the exact gradient."""
    decoder, a = make("gumbel", temperature_end=temperature), picture()
    scores = in_scores(decoder)
    true = exact(decoder, a, THREE)[scores]
    mean, error = (x[scores] for x in sampled(decoder, Objective(0, smoothing=0), a, [THREE]))
    bias = ((mean - true).norm() / true.norm()).item()
    noise = (error.norm() / true.norm()).item() * math.sqrt(80 * 400)
    print(f"temperature {temperature}: bias {bias:.2f}, noise {noise:.1f}")
    assert worst(mean, error, true) > 5 and 0.01 < bias < 2
    decoder = make("reinforce", **PLAIN)
    _, other = sampled(decoder, Objective(0, smoothing=0, hard=HardConfig(**PLAIN)), a, [THREE])
    assert temperature < 0.5 or error.norm() < other[scores].norm()


def test_gumbels_draws_follow_alpha():
    decoder, a = make("gumbel"), picture()
    log_s, log_y = list_all(decoder, a, TWO)
    with torch.no_grad():
        told = decoder(a.expand(20000, -1, -1), torch.tensor([TWO]).expand(20000, -1))
    log_p = told.log_p.gather(1, told.targets[:, None]).sum() / 20000
    spread = (log_s.exp() * log_y.square()).sum() - (log_s.exp() * log_y).sum().square()
    expected = (log_s.exp() * log_y).sum().item()
    assert log_p.item() == pytest.approx(expected, abs=5 * (spread.item() / 20000) ** 0.5)


def test_the_temperature_is_a_function_of_the_progress():
    both = {"temperature": 2.0, "temperature_end": 0.5}
    for cooling, middle in (("linear", 1.25), ("exponential", 1.0)):
        attention = make("gumbel", **both, cooling=cooling).attention
        found = []
        for attention.progress in (0.0, 0.5, 1.0):
            found.append(attention.temperature())
        assert found == pytest.approx([2.0, middle, 0.5])


# -------------------------------------------------------------------------------- the paper's coins


def soft_mask(told) -> Tensor:
    """Which captions took soft steps: (B, T) bool."""
    return told.drawn.log_choice == 0


def test_a_caption_takes_soft_steps_or_none():
    decoder = make("reinforce")
    told = decoder(picture().expand(2000, -1, -1), torch.tensor([THREE]).expand(2000, -1))
    soft = soft_mask(told)
    assert torch.equal(soft.all(1), soft.any(1))
    assert 0.45 < soft[:, 0].double().mean() < 0.55


def test_a_soft_caption_is_told_as_by_soft_attention_and_draws_nothing():
    a, captions = picture().expand(2, -1, -1), pad_captions([TWO, THREE])
    told = make("reinforce", soft_share=1.0)(a, captions)
    torch.testing.assert_close(told.log_p, make("soft")(a, captions).log_p)
    assert not told.drawn.log_choice.any()


def test_the_papers_code_tosses_one_coin_for_the_batch():
    decoder = make("reinforce", one_coin=True)
    a, captions = picture().expand(50, -1, -1), torch.tensor([TWO]).expand(50, -1)
    found = [soft_mask(decoder(a, captions))[:, 0] for _ in range(60)]
    assert all(torch.equal(soft.all(), soft.any()) for soft in found)
    assert 10 < sum(bool(soft.any()) for soft in found) < 50


def test_the_average_is_the_papers():
    """b_k = 0.9 b_{k-1} + 0.1 log p, and it is part of what is saved."""
    attention = make("reinforce").attention
    for log_p, expected in ((-2.0, -0.2), (-1.0, -0.28)):
        attention.note(log_p)
        assert attention.state_dict()["average"].item() == pytest.approx(expected)


def test_the_objective_by_hand():
    """Its sums written out for a batch of two captions of different length."""
    hard = HardConfig(lambda_r=0.5, lambda_e=0.25, reward="to_go")
    decoder = make("reinforce")
    decoder.attention.note(-15.0)  # so b is -1.5 a word
    told = decoder(picture().expand(2, -1, -1), pad_captions([TWO, THREE]))
    with_it, without = Objective(0, smoothing=0, hard=hard)(told), Objective(0, smoothing=0)
    plain = without(replace(told, drawn=None))
    drawn, added = told.drawn, 0.0
    for n, T in enumerate((2, 3)):
        for t in range(T):
            go = sum(drawn.log_p[n, j].item() for j in range(t, T))
            advantage = go - -1.5 * (T - t)
            added -= 0.5 * advantage * drawn.log_choice[n, t].item()
            alpha = told.alpha[n, t]
            added -= 0.25 * -(alpha * alpha.log()).sum().item()
    assert with_it.total.item() == pytest.approx(plain.total.item() + added)
    assert (with_it.nll, with_it.words) == (plain.nll, plain.words)


def test_the_learned_baseline_learns_and_moves_nothing_else():
    options = PLAIN | {"baseline": "learned"}
    decoder, a = make("reinforce", **options), picture().expand(200, -1, -1)
    objective = Objective(0, smoothing=0, hard=HardConfig(**options))
    captions = torch.tensor([THREE]).expand(200, -1)
    optimizer = torch.optim.Adam(decoder.attention.guess.parameters(), 0.1)
    errors = []
    for _ in range(60):
        told = decoder(a, captions)
        error = (told.drawn.log_p.sum(1) / 3 - told.drawn.baseline[:, 0]).square().mean()
        errors.append(error.item())
        assert all(g is None for g in torch.autograd.grad(
            told.drawn.baseline.sum(), [decoder.W_h.weight, decoder.first.weight],
            allow_unused=True, retain_graph=True))  # fmt: skip
        optimizer.zero_grad()
        objective(told).total.backward()
        optimizer.step()
    assert errors[-1] < 0.5 * errors[0]


# ------------------------------------------------------------------------------------- the marginal


def parts(decoder: Decoder, a: Tensor, word: int, state: State):
    """What a step is made of, written out: alpha (L,), beta a (L, D), E y, and the LSTM."""
    seen = decoder.init_state(a)[0]
    H, A = decoder.config.hidden, decoder.config.attention_dim
    query, gate, gates = decoder.W_h(state.h[0, 0]).split([A, 1, 4 * H])
    alpha = decoder.attention.scores(seen, query[None, None])[0, 0].softmax(-1)
    places = torch.sigmoid(gate) * seen.a[0]
    embedded = decoder.words.weight[word]

    def lstm(z):
        i, f, o, g = (decoder.W_y(embedded) + gates + decoder.W_z(z)).chunk(4)
        c = torch.sigmoid(f) * state.c[0, 0] + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

    def p(h, z, target):
        mixed = embedded + decoder.L_h(h) + decoder.L_z(z)
        return (decoder.words.weight @ mixed + decoder.bias).softmax(-1)[target]

    return alpha, places, lstm, p


def summed_out(decoder: Decoder, a: Tensor, caption: list[int]) -> Tensor:
    """log p(y) of the marginal, each sum a loop over places."""
    state, total = decoder.init_state(a)[1], 0.0
    for word, target in itertools.pairwise(caption):
        alpha, places, lstm, p = parts(decoder, a, word, state)
        h, c = lstm((alpha[:, None] * places).sum(0))
        told = sum(alpha[i] * p(h, places[i], target) for i in range(L))
        total, state = total + told.log(), State(h[None, None], c[None, None])
    return total


@pytest.mark.parametrize("caption", [TWO, THREE], ids=name_of)
def test_the_marginal_is_the_sum_over_places(caption):
    """Its value and its gradient, with as many places as there are; fed with the expectation."""
    decoder, a = make("marginal", places=L), picture()
    expected = summed_out(decoder, a, caption)
    loss = Objective(0, smoothing=0)(decoder(a, torch.tensor([caption]), "expected"))
    assert -loss.total.item() == pytest.approx(expected.item())
    torch.testing.assert_close(-slopes(loss.total, decoder), slopes(expected, decoder))


def test_fewer_places_leave_the_rest_as_one():
    """Printed: how far log p is from the exact sum. Every score still gets its gradient."""
    a, captions = picture(), torch.tensor([THREE])
    found = {}
    for k in (1, 2, 3, 8):
        decoder = make("marginal", places=k)
        told = decoder(a, captions, "expected")
        torch.testing.assert_close(told.log_p.exp().sum(-1), torch.ones(3).double())
        loss = Objective(0, smoothing=0)(told).total
        found[k] = -loss.item()
        (slope,) = torch.autograd.grad(loss, decoder.attention.v)
        assert slope.abs().min() > 0
    print("log p:", {k: round(value, 3) for k, value in found.items()})
    assert found[2] == pytest.approx(found[3])  # a rest of one place is that place
    assert found[3] == found[8]
    assert abs(found[1] - found[3]) > 0.01


@pytest.mark.parametrize("places", [1, L])
def test_captions_without_the_sum_are_told_as_by_gumbel(places):
    """The same noise gives the same loss and the same gradient."""
    a, captions = picture().expand(6, -1, -1), torch.tensor([THREE]).expand(6, -1)
    found = {}
    for name in ("marginal", "gumbel"):
        decoder = make(name, sum_share=0.0, places=places)
        torch.manual_seed(3)
        if name == "gumbel":
            torch.rand(6)  # the coins
        loss = Objective(0, smoothing=0)(decoder(a, captions)).total
        found[name] = loss, slopes(loss, decoder)
    torch.testing.assert_close(*found.values())


def test_a_share_of_the_captions_is_summed_and_all_are_fed_with_a_drawn_place():
    decoder, a = make("marginal", sum_share=0.5, places=L), picture().expand(40, -1, -1)
    seen, state = decoder.init_state(a)
    query = decoder.W_h(state.h)[..., : decoder.config.attention_dim]
    glance = decoder.attention(seen, query, state.h)[2]
    summed = glance.log_mixture.isfinite().all(-1)  # (40, 1)
    assert torch.equal(summed, seen.soft_mask[..., 0]) and 8 < summed.sum() < 32
    ones = torch.ones(40, 1).double()
    torch.testing.assert_close(glance.weights.max(-1).values, ones)
    torch.testing.assert_close(glance.weights.sum(-1), ones)
    torch.testing.assert_close(glance.log_mixture.exp().sum(-1), ones)
    alone = ~summed[:, 0]
    torch.testing.assert_close(glance.ways[alone, :, 0], glance.weights[alone])
    assert (glance.log_mixture[alone, :, 0] == 0).all()


# -------------------------------------------------------------------------- settings that cannot be


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"baseline": "others"}, "samples to be 2"),
        ({"baseline": "mean"}, "baseline is average, others or learned, not 'mean'"),
        ({"reward": "word"}, "caption, to_go or mean"),
        ({"cooling": "none"}, "linear or exponential"),
        ({"temperature": 0.0}, "above 0 and at most 100, not 0.0"),
        ({"places": 0}, "from 1 to 100,000, not 0"),
    ],
)
def test_options_that_cannot_be_are_named(options, says):
    with pytest.raises(ValueError, match=says):
        replace(SIZES, attention="reinforce", **options)
