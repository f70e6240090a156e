"""Hard attention: each estimator against the exact gradient, all sequences of places listed.

Slow, about 40 s: an estimator's mean is compared with the exact value by tens of thousands of
samples.
"""

import itertools
import math
from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor, nn

from labkit.data.vocabulary import BOS, EOS
from labkit.model.attention import Attention, AttentionStep, one_place
from labkit.model.config import ModelConfig
from labkit.model.decoder import Decoder, State, pad_captions
from labkit.model.hard_attention import ATTENTIONS, register_attention
from labkit.training.config import PHOTOS, TrainingConfig, resolve
from labkit.training.objective import Objective
from labkit.training.recipes import parse_settings

torch.set_num_threads(1)

L, V = 3, 6
SIZES = ModelConfig(
    vocab_size=V, encoder_dim=4, feature_dim=4, embed_dim=3, hidden_dim=4, attention_dim=3,
    dropout=0, word_dropout=0, feature_dropout=0,
)  # fmt: skip
TWO, THREE = [BOS, 4, EOS], [BOS, 5, 4, EOS]  # captions of T = 2 and T = 3 words
PLAIN = {"soft_share": 0.0, "lambda_e": 0.0}  # the bound's own gradient, with lambda_r = 1


def own(config: type, options: dict) -> dict:
    """Of options of several configurations, those of this one."""
    return {f.name: options[f.name] for f in fields(config) if f.name in options}


def make(attention: str = "soft", seed: int = 0, std: float = 1.2, **options) -> Decoder:
    """A small decoder in float64, with large weights: the places matter much."""
    torch.manual_seed(seed)
    config = replace(SIZES, attention=attention, **own(ModelConfig, options))
    decoder = Decoder(config).double()
    for name, parameter in decoder.named_parameters():
        if "baseline_head" not in name:
            nn.init.normal_(parameter, std=std)
    return decoder


def objective_of(**options) -> Objective:
    """The plain objective, with nothing but these options."""
    plain = {"doubly_stochastic": 0, "label_smoothing": 0}
    return Objective(TrainingConfig(**plain | own(TrainingConfig, options)))


def image_of(seed: int = 1) -> Tensor:
    return torch.randn(1, L, 4, generator=torch.Generator().manual_seed(seed)).double()


class Forced(Attention):
    """Attends where it is ordered to: row n of `places` (N, T) says where in image n."""

    def encode(self, a, attention_mode=None):
        self.step = 0
        return super().encode(a, None)

    def attend(self, scores, image, h):
        place = self.places[:, self.step, None]  # (N, 1)
        self.step += 1
        log_alpha = scores.log_softmax(-1)
        log_choice = log_alpha.gather(-1, place[..., None])[..., 0]
        return AttentionStep(log_alpha.exp(), one_place(place, log_alpha), log_choice)


def list_all(decoder: Decoder, a: Tensor, caption: list[int]) -> tuple[Tensor, Tensor]:
    """log p(s|a) and log p(y|s,a) of every sequence of places s, word by word, with gradient."""
    T = len(caption) - 1
    forced = Forced(SIZES)
    forced.W_a, forced.v = decoder.attention.W_a, decoder.attention.v
    forced.places = torch.tensor(list(itertools.product(range(L), repeat=T)))  # (L^T, T)
    attention, decoder.attention = decoder.attention, forced
    image, state = decoder.init_state(a.expand(L**T, -1, -1))
    log_s = log_y = torch.zeros(L**T, dtype=torch.double)
    for word, target in itertools.pairwise(caption):
        log_p, state, step = decoder.step(torch.full((L**T, 1), word), image, state)
        log_s = log_s + step.log_choice[:, 0]
        log_y = log_y + log_p[:, 0, target]
    decoder.attention = attention
    return log_s, log_y


def slopes(value: Tensor, decoder: Decoder) -> Tensor:
    """The gradient of a number in all parameters but a learned baseline's, one behind the other."""
    parameters = [p for name, p in decoder.named_parameters() if "baseline_head" not in name]
    found = torch.autograd.grad(value, parameters, allow_unused=True)
    pairs = zip(found, parameters, strict=True)
    return torch.cat([(p * 0 if g is None else g).flatten() for g, p in pairs]).detach()


def exact(decoder: Decoder, a: Tensor, caption: list[int]) -> Tensor:
    """The gradient of the bound L_s = sum_s p(s|a) log p(y|s,a), from the sum itself."""
    log_s, log_y = list_all(decoder, a, caption)
    return slopes((log_s.exp() * log_y).sum(), decoder)


def sampled(
    decoder: Decoder, objective: Objective, a: Tensor, captions: list[list[int]],
    samples: int = 400, batches: int = 80,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The mean gradient of many samples of each caption, upwards, and its standard error."""
    torch.manual_seed(3)
    samples = samples // objective.config.samples * objective.config.samples
    rows = pad_captions(captions).repeat_interleave(samples, 0)
    images = a.expand(len(captions), -1, -1).repeat_interleave(samples, 0)
    settle_the_average(decoder, objective, images, rows)
    found = []
    for _ in range(batches):
        loss = objective(decoder(images, rows))
        found.append(-slopes(loss.total, decoder) / len(rows))
        decoder.attention.update_baseline(-loss.nll / loss.words)
    each = torch.stack(found)
    return each.mean(0), each.std(0) / math.sqrt(batches)


def settle_the_average(decoder: Decoder, objective: Objective, a: Tensor, rows: Tensor) -> None:
    """As after some training: the moving average has settled."""
    for _ in range(50):
        with torch.no_grad():
            loss = objective(decoder(a, rows))
        decoder.attention.update_baseline(-loss.nll / loss.words)


def worst(mean: Tensor, error: Tensor, true: Tensor) -> float:
    """The largest bias, in standard errors; sums in float64 have errors of their own."""
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
    decoder, a = make("reinforce", **PLAIN, **options), image_of()
    true = exact(decoder, a, caption)
    mean, error = sampled(decoder, objective_of(**PLAIN, **options), a, [caption])
    assert worst(mean, error, true) < 5
    assert (error.norm() / true.norm()) < 0.1  # and the error is small enough to tell


def test_the_mean_over_words_is_the_papers_reward_scaled():
    decoder, a = make("reinforce", **PLAIN), image_of()
    objective = objective_of(**PLAIN, reward="mean", lambda_r=3.0)  # T = 3
    mean, error = sampled(decoder, objective, a, [THREE])
    assert worst(mean, error, exact(decoder, a, THREE)) < 5


class OwnToo(Objective):
    """A wrong baseline: the mean over all samples of a caption, this one among them."""

    def baseline(self, sampled, reward, words):
        groups = reward.unflatten(0, (-1, self.config.samples))
        return groups.mean(1, keepdim=True).expand_as(groups).flatten(0, 1)


class AfterTheBatch(Objective):
    """Another: the paper's average, but updated with the caption's own log p first."""

    def baseline(self, sampled, reward, words):
        return 0.5 * sampled.baseline * words + 0.5 * reward


@pytest.mark.parametrize("wrong", [OwnToo, AfterTheBatch])
def test_a_baseline_that_depends_on_the_sampled_places_is_found_out(wrong):
    """The same test, with a baseline that knows the sample: a bias of many standard errors."""
    options = PLAIN | {"samples": 4}
    decoder, a = make("reinforce", **options), image_of()
    mean, error = sampled(decoder, wrong(objective_of(**options).config), a, [TWO])
    assert worst(mean, error, exact(decoder, a, TWO)) > 5


@pytest.mark.parametrize("caption", [TWO, THREE], ids=name_of)
@pytest.mark.parametrize("seed", range(5))
def test_the_bound_is_below_log_p(caption, seed):
    log_s, log_y = list_all(make(seed=seed), image_of(seed), caption)
    assert log_s.exp().sum().item() == pytest.approx(1)
    bound, log_p = (log_s.exp() * log_y).sum(), (log_s + log_y).logsumexp(0)
    assert bound < log_p - 1e-3


def five_errors(samples: Tensor) -> float:
    return 5 * samples.std().item() / math.sqrt(len(samples))


def test_samples_follow_alpha():
    """The mean log p(y|s) of samples is the bound, and log_choice is log p(s|a) of the places."""
    decoder, a = make("reinforce", soft_share=0.0), image_of()
    log_s, log_y = list_all(decoder, a, THREE)
    with torch.no_grad():
        output = decoder(a.expand(20000, -1, -1), torch.tensor([THREE]).expand(20000, -1))
    log_p, chosen = output.sampled.log_p.sum(1), output.sampled.log_choice.sum(1)
    for found, true in ((log_p, log_y), (chosen, log_s)):
        expected = (log_s.exp() * true).sum().item()
        assert found.mean().item() == pytest.approx(expected, abs=five_errors(found))
    pairs = torch.stack([chosen, log_p], 1).unique(dim=0)
    known = torch.stack([log_s, log_y], 1)
    assert (torch.cdist(pairs, known).min(1).values < 1e-6).all()


def test_the_better_options_save_variance():
    """Printed: the noise of one sample in the scores' gradient, all with as many samples.

    Several captions of several images: for one alone, the paper's average is a good baseline. A
    learned one may be no better here: its error is small, but that alone is not small variance.
    """
    torch.manual_seed(0)
    captions = [[BOS, *torch.randint(3, V, (T,)).tolist(), EOS] for T in (1, 2, 3, 4, 5, 6)]
    images, found = torch.randn(6, L, 4).double(), {}
    for options in OPTIONS[:2] + OPTIONS[5:]:
        decoder = make("reinforce", std=0.8, **PLAIN, **options)
        objective = objective_of(**PLAIN, **options)
        _, error = sampled(decoder, objective, images, captions, samples=40, batches=20)
        noise = error[in_scores(decoder)].norm().item() * math.sqrt(20 * 240)
        found[name_of(options)] = noise
    print({name: round(noise, 2) for name, noise in found.items()})
    assert found["to_go"] < found["paper"]
    assert found["4-others-to_go"] < found["4-others"] < found["paper"]


def in_scores(decoder: Decoder) -> Tensor:
    """Which of the numbers that `slopes` gives are of the attention's own parameters."""
    named = [(name, p) for name, p in decoder.named_parameters() if "baseline_head" not in name]
    return torch.tensor([name.startswith("attention") for name, p in named for _ in p.flatten()])


# -------------------------------------------------------------------------- what reaches the scores


def of_scores(decoder: Decoder) -> list[Tensor]:
    """The gradients of what makes the scores: W_a and b, v, W_s."""
    attention = decoder.attention
    parts = [attention.W_a.weight, attention.W_a.bias, attention.v]
    return [p.grad for p in parts] + [decoder.W_h.weight.grad[: decoder.config.attention_dim]]


@pytest.mark.parametrize("name", ATTENTIONS)
def test_only_argmax_gives_the_scores_no_gradient(name):
    decoder, captions = make(name, soft_share=0.0), pad_captions([TWO, THREE])
    objective = objective_of(label_smoothing=0.1)
    objective(decoder(image_of().expand(2, -1, -1), captions)).total.backward()
    sizes = [grad.abs().max().item() for grad in of_scores(decoder)]
    assert decoder.reduce.weight.grad.abs().max() > 1e-3  # the features do get one
    if name == "argmax":
        assert sizes == [0.0] * 4  # exactly
    else:
        assert min(sizes) > 1e-6


def test_argmax_scores_learn_from_the_doubly_stochastic_term_alone():
    decoder, captions = make("argmax"), pad_captions([TWO, THREE])
    objective = objective_of(doubly_stochastic=1)
    objective(decoder(image_of().expand(2, -1, -1), captions)).total.backward()
    assert min(grad.abs().max() for grad in of_scores(decoder)) > 1e-6


@pytest.mark.parametrize("temperature", [0.2, 1.0, 2.0])
def test_gumbels_bias_is_measured(temperature):
    """Printed: its bias and the noise of one caption, as multiples of the exact gradient."""
    decoder, a = make("gumbel", temperature_end=temperature), image_of()
    scores = in_scores(decoder)
    true = exact(decoder, a, THREE)[scores]
    mean, error = (x[scores] for x in sampled(decoder, objective_of(), a, [THREE]))
    bias = ((mean - true).norm() / true.norm()).item()
    noise = (error.norm() / true.norm()).item() * math.sqrt(80 * 400)
    print(f"temperature {temperature}: bias {bias:.2f}, noise {noise:.1f}")
    assert worst(mean, error, true) > 5 and 0.01 < bias < 2
    decoder = make("reinforce", **PLAIN)
    _, other = sampled(decoder, objective_of(**PLAIN), a, [THREE])
    assert temperature < 0.5 or error.norm() < other[scores].norm()


def test_gumbels_samples_follow_alpha():
    decoder, a = make("gumbel"), image_of()
    log_s, log_y = list_all(decoder, a, TWO)
    with torch.no_grad():
        output = decoder(a.expand(20000, -1, -1), torch.tensor([TWO]).expand(20000, -1))
    log_p = output.log_p.gather(1, output.targets[:, None]).sum() / 20000
    variance = (log_s.exp() * log_y.square()).sum() - (log_s.exp() * log_y).sum().square()
    expected = (log_s.exp() * log_y).sum().item()
    assert log_p.item() == pytest.approx(expected, abs=5 * (variance.item() / 20000) ** 0.5)


def test_the_temperature_is_a_function_of_the_progress():
    both = {"temperature": 2.0, "temperature_end": 0.5}
    for cooling, middle in (("linear", 1.25), ("exponential", 1.0)):
        attention = make("gumbel", **both, cooling=cooling).attention
        found = []
        for attention.progress in (0.0, 0.5, 1.0):
            found.append(attention.temperature())
        assert found == pytest.approx([2.0, middle, 0.5])


# -------------------------------------------------------------------------------- the paper's coins


def soft_steps(output) -> Tensor:
    """Which captions took soft steps: (B, T) bool."""
    return output.sampled.log_choice == 0


def test_a_caption_takes_soft_steps_or_none():
    decoder = make("reinforce")
    output = decoder(image_of().expand(2000, -1, -1), torch.tensor([THREE]).expand(2000, -1))
    soft = soft_steps(output)
    assert torch.equal(soft.all(1), soft.any(1))
    assert 0.45 < soft[:, 0].double().mean() < 0.55


def test_a_soft_caption_is_predicted_as_by_soft_attention_and_samples_nothing():
    a, captions = image_of().expand(2, -1, -1), pad_captions([TWO, THREE])
    output = make("reinforce", soft_share=1.0)(a, captions)
    torch.testing.assert_close(output.log_p, make("soft")(a, captions).log_p)
    assert not output.sampled.log_choice.any()


def test_the_papers_code_tosses_one_coin_for_the_batch():
    decoder = make("reinforce", one_coin=True)
    a, captions = image_of().expand(50, -1, -1), torch.tensor([TWO]).expand(50, -1)
    found = [soft_steps(decoder(a, captions))[:, 0] for _ in range(60)]
    assert all(torch.equal(soft.all(), soft.any()) for soft in found)
    assert 10 < sum(bool(soft.any()) for soft in found) < 50


def test_the_moving_average_is_the_papers():
    """b_k = 0.9 b_{k-1} + 0.1 log p, and it is part of what is saved."""
    attention = make("reinforce").attention
    for log_p, expected in ((-2.0, -0.2), (-1.0, -0.28)):
        attention.update_baseline(log_p)
        assert attention.state_dict()["baseline_average"].item() == pytest.approx(expected)


def test_the_objective_by_hand():
    """Its sums written out for a batch of two captions of different length."""
    objective = objective_of(lambda_r=0.5, lambda_e=0.25, reward="to_go")
    decoder = make("reinforce")
    decoder.attention.update_baseline(-15.0)  # so b is -1.5 a word
    output = decoder(image_of().expand(2, -1, -1), pad_captions([TWO, THREE]))
    with_it, without = objective(output), objective_of()
    plain = without(replace(output, sampled=None))
    found, added = output.sampled, 0.0
    for n, T in enumerate((2, 3)):
        for t in range(T):
            go = sum(found.log_p[n, j].item() for j in range(t, T))
            advantage = go - -1.5 * (T - t)
            added -= 0.5 * advantage * found.log_choice[n, t].item()
            alpha = output.alpha[n, t]
            added -= 0.25 * -(alpha * alpha.log()).sum().item()
    assert with_it.total.item() == pytest.approx(plain.total.item() + added)
    assert (with_it.nll, with_it.words) == (plain.nll, plain.words)


def test_the_learned_baseline_learns_and_moves_nothing_else():
    options = PLAIN | {"baseline": "learned"}
    decoder, a = make("reinforce", **options), image_of().expand(200, -1, -1)
    objective = objective_of(**options)
    captions = torch.tensor([THREE]).expand(200, -1)
    optimizer = torch.optim.Adam(decoder.attention.baseline_head.parameters(), 0.1)
    errors = []
    for _ in range(60):
        output = decoder(a, captions)
        error = (output.sampled.log_p.sum(1) / 3 - output.sampled.baseline[:, 0]).square().mean()
        errors.append(error.item())
        assert all(g is None for g in torch.autograd.grad(
            output.sampled.baseline.sum(), [decoder.W_h.weight, decoder.init_hc.weight],
            allow_unused=True, retain_graph=True))  # fmt: skip
        optimizer.zero_grad()
        objective(output).total.backward()
        optimizer.step()
    assert errors[-1] < 0.5 * errors[0]


# ------------------------------------------------------------------------------------- the marginal


def parts(decoder: Decoder, a: Tensor, word: int, state: State):
    """The parts of a step, written out: alpha (L,), beta a (L, D), and the LSTM and p(y_t)."""
    image = decoder.init_state(a)[0]
    H, A = decoder.config.hidden_dim, decoder.config.attention_dim
    query, gate, gates = decoder.W_h(state.h[0, 0]).split([A, 1, 4 * H])
    alpha = decoder.attention.scores(image, query[None, None])[0, 0].softmax(-1)
    places = torch.sigmoid(gate) * image.a[0]
    embedded = decoder.embedding.weight[word]

    def lstm(z):
        i, f, o, g = (decoder.W_y(embedded) + gates + decoder.W_z(z)).chunk(4)
        c = torch.sigmoid(f) * state.c[0, 0] + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

    def p(h, z, target):
        mixed = embedded + decoder.L_h(h) + decoder.L_z(z)
        return (decoder.embedding.weight @ mixed + decoder.bias).softmax(-1)[target]

    return alpha, places, lstm, p


def summed_out(decoder: Decoder, a: Tensor, caption: list[int]) -> Tensor:
    """log p(y) of the marginal, each sum a loop over places."""
    state, total = decoder.init_state(a)[1], 0.0
    for word, target in itertools.pairwise(caption):
        alpha, places, lstm, p = parts(decoder, a, word, state)
        h, c = lstm((alpha[:, None] * places).sum(0))
        p_y = sum(alpha[i] * p(h, places[i], target) for i in range(L))
        total, state = total + p_y.log(), State(h[None, None], c[None, None])
    return total


@pytest.mark.parametrize("caption", [TWO, THREE], ids=name_of)
def test_the_marginal_is_the_sum_over_places(caption):
    """Value and gradient, with as many places as there are; the state gets the expectation."""
    decoder, a = make("marginal", places=L), image_of()
    expected = summed_out(decoder, a, caption)
    loss = objective_of()(decoder(a, torch.tensor([caption]), "expectation"))
    assert -loss.total.item() == pytest.approx(expected.item())
    torch.testing.assert_close(-slopes(loss.total, decoder), slopes(expected, decoder))


def test_the_other_places_are_one_component():
    """Printed: how far log p is from the exact sum. Every score still gets its gradient."""
    a, captions = image_of(), torch.tensor([THREE])
    found = {}
    for k in (1, 2, 3, 8):
        decoder = make("marginal", places=k)
        output = decoder(a, captions, "expectation")
        torch.testing.assert_close(output.log_p.exp().sum(-1), torch.ones(3).double())
        loss = objective_of()(output).total
        found[k] = -loss.item()
        (slope,) = torch.autograd.grad(loss, decoder.attention.v)
        assert slope.abs().min() > 0
    print("log p:", {k: round(value, 3) for k, value in found.items()})
    assert found[2] == pytest.approx(found[3])  # a rest of one place is that place
    assert found[3] == found[8]
    assert abs(found[1] - found[3]) > 0.01


@pytest.mark.parametrize("places", [1, L])
def test_captions_without_the_sum_are_predicted_as_by_gumbel(places):
    """The same noise gives the same loss and the same gradient."""
    a, captions = image_of().expand(6, -1, -1), torch.tensor([THREE]).expand(6, -1)
    found = {}
    for name in ("marginal", "gumbel"):
        decoder = make(name, sum_share=0.0, places=places)
        torch.manual_seed(3)
        if name == "gumbel":
            torch.rand(6)  # the coins
        loss = objective_of()(decoder(a, captions)).total
        found[name] = loss, slopes(loss, decoder)
    torch.testing.assert_close(*found.values())


def test_a_share_of_the_captions_is_summed_and_the_state_gets_a_sampled_place():
    decoder, a = make("marginal", sum_share=0.5, places=L), image_of().expand(40, -1, -1)
    image, state = decoder.init_state(a)
    query = decoder.W_h(state.h)[..., : decoder.config.attention_dim]
    step = decoder.attention(image, query, state.h)[1]
    shares = step.mixture.log_shares.exp()  # (40, 1, P + 1)
    summed = (shares[..., :-1] > 0).all(-1)  # (40, 1)
    assert torch.equal(summed, image.soft_mask[..., 0]) and 8 < summed.sum() < 32
    ones = torch.ones(40, 1).double()
    torch.testing.assert_close(step.weights.max(-1).values, ones)
    torch.testing.assert_close(step.weights.sum(-1), ones)
    torch.testing.assert_close(shares.sum(-1), ones)
    alone = ~summed[:, 0]
    torch.testing.assert_close(step.mixture.rest[alone], step.weights[alone])
    assert (shares[alone, :, -1] == 1).all()


def test_a_region_with_hardly_any_weight_is_summed_among_the_rest():
    """Of four regions the third has less than a hundredth of the weight."""
    attention = make("marginal", places=3).attention
    scores = torch.tensor([[[5.0, 4.0, 0.5, 0.0]]]).double()
    step = attention.expectation(scores)
    alpha, found = scores.softmax(-1)[0, 0], step.mixture
    torch.testing.assert_close(
        found.log_shares.exp()[0, 0],
        torch.stack([alpha[0], alpha[1], torch.zeros(()).double(), alpha[2] + alpha[3]]),
    )
    rest = torch.cat([torch.zeros(2).double(), alpha[2:] / alpha[2:].sum()])
    torch.testing.assert_close(found.rest[0, 0], rest)


# ---------------------------------------------------------------------- a mechanism of one's own


class Uniform(Attention):
    """All regions alike, whatever their scores."""

    def attend(self, scores, image, h):
        return self.expectation(torch.zeros_like(scores))


def test_a_registered_mechanism_is_known_by_its_name(registry):
    with pytest.raises(ValueError, match=r"attention is soft, .* or marginal, not 'uniform'"):
        make("uniform")
    register_attention("uniform", Uniform)
    register_attention("uniform", Uniform)  # as when a notebook's cell is run again
    output = make("uniform")(image_of(), torch.tensor([THREE]))
    torch.testing.assert_close(output.alpha, torch.full_like(output.alpha, 1 / L))
    assert parse_settings(["attention=uniform"]) == {"attention": "uniform"}
    with pytest.raises(ValueError, match="there is an attention 'soft' already"):
        register_attention("soft", Uniform)


# -------------------------------------------------------------------------- settings that cannot be


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"baseline": "others"}, "set samples=2"),
        ({"baseline": "mean"}, "baseline is average, others or learned, not 'mean'"),
        ({"reward": "word"}, "caption, to_go or mean"),
        ({"cooling": "none"}, "linear or exponential"),
        ({"temperature": 0.0}, "above 0 and at most 100, not 0.0"),
        ({"places": 0}, "from 1 to 100,000, not 0"),
    ],
)
def test_options_that_cannot_be_are_named(options, says):
    with pytest.raises(ValueError, match=says):
        resolve(PHOTOS, {"attention": "reinforce"} | options)
