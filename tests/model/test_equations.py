"""The paper's equations as plain functions, and the fast decoder against one made of them alone.

Everything is in float64, and "the same" means to 10 digits: the two add up in another order. Where
places are sampled, the fast decoder is given the places, and Gumbel's noise and the coins are
sampled again from the same seed.
"""

import ast
import doctest
import inspect
import itertools
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from labkit import greedy
from labkit.checks import check
from labkit.data.vocabulary import BOS, EOS
from labkit.model import attention, equations
from labkit.model import hard_attention as hard
from labkit.model.captions import NEVER_GENERATED
from labkit.model.config import ATTENTION_MODES, ModelConfig
from labkit.model.decoder import Decoder, pad_captions
from labkit.model.equations import Parameters, hard_context, soft_context
from labkit.model.hard_attention import ATTENTIONS
from labkit.training.config import TrainingConfig
from labkit.training.objective import Objective

torch.set_num_threads(1)

ROOT = Path(__file__).parents[2]
L, V, SEED = 5, 9, 3
SIZES = ModelConfig(
    vocab_size=V, encoder_dim=8, feature_dim=6, embed_dim=4, hidden_dim=7, attention_dim=3,
    temperature_end=0.7, dropout=0, word_dropout=0, feature_dropout=0,
)  # fmt: skip
# The longest first: the fast decoder handles and samples for them in this order.
CAPTIONS = [[BOS, 7, 8, 5, 4, 6, EOS], [BOS, 4, 5, 4, EOS], [BOS, 6, EOS], [BOS, EOS]]
B, T = len(CAPTIONS), len(CAPTIONS[0]) - 1
PLACES = torch.randint(L, (B, T), generator=torch.Generator().manual_seed(2))  # "sampled"

Phi = Callable[[Tensor, Tensor], Tensor]
Mixture = list[tuple[Tensor, Tensor]]  # the share of each component, and its weights
Attend = Callable[[int, Tensor], tuple[Phi, Mixture | None]]


def make(name: str, seed: int = 0, **options) -> Decoder:
    """A small decoder with large weights, in training mode."""
    torch.manual_seed(seed)
    decoder = Decoder(replace(SIZES, attention=name, **options)).double().train()
    for parameter in learned(decoder):
        nn.init.normal_(parameter, std=0.7)
    return decoder


def learned(decoder: Decoder) -> list[nn.Parameter]:
    """All parameters but the weights of a first state that the image has no share in."""
    return [parameter for parameter in decoder.parameters() if parameter.requires_grad]


def features(count: int = B, seed: int = 1, regions: int = L) -> Tensor:
    return torch.randn(
        count, regions, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.double
    )


def assert_same(one: Tensor, other: Tensor, message: str | None = None) -> None:
    torch.testing.assert_close(
        one, other, rtol=1e-10, atol=1e-12, msg=message and (lambda text: f"{message}: {text}")
    )


# ------------------------------------------------------------- a decoder of these functions alone


@dataclass
class Plain:
    """What the plain decoder predicts for one caption."""

    log_p: Tensor  # (T, V)
    alpha: Tensor  # (T, L)
    words: list[int]  # without <eos>


def paper_a(decoder: Decoder, features: Tensor) -> Tensor:
    """The annotation vectors that the equations start from."""
    return decoder.reduce(decoder.norm(features))


def plain_forward(
    decoder: Decoder, features: Tensor, attend: Attend, caption: list[int] | None = None,
    max_length: int = T,
) -> Plain:  # fmt: skip
    """One caption, word by word: teacher forced, or greedily where none is given."""
    w, a = Parameters.of(decoder), paper_a(decoder, features)
    h, c = equations.initial_state(a, w.W_init_h, w.b_init_h, w.W_init_c, w.b_init_c)
    words, log_ps, alphas = [BOS], [], []
    for t in range(len(caption) - 1 if caption else max_length):
        beta = equations.context_gate(h, w.w_beta, w.b_beta)
        seen = torch.cat([h, w.E[words[t]]]) if decoder.config.scores_see_word else h
        alpha = equations.weights(equations.scores(a, seen, w.W_a, w.W_s, w.b_att, w.v))
        phi, mixture = attend(t, alpha)
        h, c, alpha, n = equations.step(words[t], a, h, c, phi, w)
        p = equations.word_probabilities(n)
        if mixture is not None:  # of the mechanism that sums the place out
            p = torch.zeros_like(p)
            for share, weights in mixture:
                n = logits(words[t], h, equations.context(soft_context, a, weights, beta), w)
                p = p + share * equations.word_probabilities(n)
        log_ps.append(p.log())
        alphas.append(alpha)
        words.append(caption[t + 1] if caption else most_likely_word(p))
        if words[-1] == EOS:
            break
    generated = words[1:-1] if words[-1] == EOS else words[1:]
    return Plain(torch.stack(log_ps), torch.stack(alphas), generated)


def logits(y: int, h: Tensor, z: Tensor, w: Parameters) -> Tensor:
    return equations.logits(w.E[y], h, z, w.L_o, w.L_h, w.L_z, w.b_o)


def most_likely_word(p: Tensor) -> int:
    allowed = [word for word in range(V) if word not in NEVER_GENERATED]
    return max(allowed, key=lambda word: p[word].item())


# ----------------------------------------------------- how each mechanism attends, in plain words


def expectation(t: int, alpha: Tensor):
    return soft_context, None


def argmax(t: int, alpha: Tensor):
    return at(one_hot(alpha.argmax(), L).double()), None


def at(s: Tensor) -> Phi:
    """Eq. 9 with a place that is known."""
    return lambda a, alpha: hard_context(a, s)


def at_places(n: int) -> Attend:
    """Eq. 9 with the places that caption n was given."""
    return lambda t, alpha: (at(one_hot(PLACES[n, t], L).double()), None)


def by_gumbel(noise: Tensor) -> Attend:
    """Straight through: a sampled place with the gradient of a softmax; noise (T, L)."""
    return lambda t, alpha: (at(gumbel_place(alpha, noise[t])), None)


def gumbel_place(alpha: Tensor, noise: Tensor) -> Tensor:
    soft = ((alpha.log() + noise) / SIZES.temperature_end).softmax(-1)
    return one_hot(soft.argmax(), L) + soft - soft.detach()


def summed_out(places: int, noise: Tensor | None) -> Attend:
    """The most likely places one by one, if there are others only those with 1% of the weight.

    The others as one. The state: Gumbel, or expectation.
    """

    def attend(t: int, alpha: Tensor):
        order = alpha.argsort(descending=True).tolist()
        single = [i for i in order[:places] if alpha[i] > 0.01 or places >= L]
        mixture = [(alpha[i], one_hot(torch.tensor(i), L).double()) for i in single]
        if rest := order[len(single) :]:
            share = sum(alpha[i] for i in rest)
            weights = sum(alpha[i] / share * one_hot(torch.tensor(i), L) for i in rest)
            mixture.append((share, weights))
        return soft_context if noise is None else at(gumbel_place(alpha, noise[t])), mixture

    return attend


@dataclass(frozen=True)
class Case:
    """A mechanism, and how the fast decoder and the plain one are run with it."""

    attention: str
    attention_mode: str | None = None  # of ATTENTION_MODES; None: as it learns
    soft_share: float = 0.5
    sum_share: float = 0.5
    places: int = 3
    options: dict = field(default_factory=dict)  # of ModelConfig, for every mechanism

    def __str__(self) -> str:
        values = (self.attention, self.attention_mode, self.soft_share, self.sum_share, self.places)
        count = {"reinforce": 3, "marginal": 5}.get(self.attention, 2)
        return "-".join(map(str, (*values[:count], *self.options)))

    def decoder(self) -> Decoder:
        shares = {"soft_share": self.soft_share, "sum_share": self.sum_share}
        return make(self.attention, places=self.places, **shares, **self.options)

    def plainly(self) -> list[Attend]:
        """How each caption attends, in plain words, after the fast decoder ran from `SEED`."""
        if self.attention_mode == "sample":
            return [at_places(n) for n in range(B)]
        if self.attention == "marginal" and self.attention_mode == "expectation":
            return B * [summed_out(self.places, None)]
        if self.attention_mode == "expectation" or self.attention == "soft":
            return B * [expectation]
        if self.attention_mode == "argmax" or self.attention == "argmax":
            return B * [argmax]
        torch.manual_seed(SEED)
        coins = torch.rand(B) if self.attention in ("reinforce", "marginal") else None
        if self.attention == "reinforce":
            soft = coins < self.soft_share
            return [expectation if soft[n] else at_places(n) for n in range(B)]
        noise = torch.zeros(B, T, L).double()
        for t in range(T):
            n = sum(len(caption) - 1 > t for caption in CAPTIONS)
            noise[:n, t] = -torch.empty(n, L).double().exponential_().log()
        if self.attention == "gumbel":
            return [by_gumbel(noise[n]) for n in range(B)]
        return [
            summed_out(self.places, noise[n]) if coins[n] < self.sum_share else by_gumbel(noise[n])
            for n in range(B)
        ]


LEARNING = [
    Case("soft"), Case("argmax"), Case("gumbel"),
    *(Case("reinforce", soft_share=share) for share in (0.0, 0.5, 1.0)),
    *(Case("marginal", sum_share=share, places=k) for share in (0.0, 0.5, 1.0) for k in (3, L)),
]  # fmt: skip
MODES = [
    *(Case(name, "expectation") for name in ATTENTIONS),
    *(Case(name, mode) for name in list(ATTENTIONS)[1:] for mode in ("argmax", "sample")),
]
OPTIONS = [{"scores_see_word": True}, {"gate": False}]
OPTIONS += [OPTIONS[0] | OPTIONS[1] | {"first_state": "learned"}]
for options in OPTIONS:
    LEARNING += [Case(name, options=options) for name in ATTENTIONS]
    MODES += [Case(name, ATTENTIONS[name].attention_modes[0], options=options)
              for name in ATTENTIONS]  # fmt: skip
    MODES += [Case("marginal", "expectation", options=options)]


@pytest.fixture(autouse=True)
def given_places(monkeypatch):
    """The fast decoder samples the places of `PLACES`, step after step."""
    calls = itertools.count()

    def given(alpha: Tensor, draws: None) -> Tensor:
        return PLACES[: len(alpha), next(calls), None]

    monkeypatch.setattr(attention, "sample_place", given)
    monkeypatch.setattr(hard, "sample_place", given)


# --------------------------------------------------------------- fast and plain give the same


def test_every_mechanism_is_compared():
    assert {case.attention for case in LEARNING} == set(ATTENTIONS)
    soft = {case.attention_mode for case in MODES if case.attention == "soft"}
    assert soft == {"expectation"}
    for name in set(ATTENTIONS) - {"soft"}:
        modes = {case.attention_mode for case in MODES if case.attention == name}
        assert modes == set(ATTENTION_MODES)


@pytest.mark.parametrize("case", LEARNING + MODES, ids=str)
def test_loss_gradients_and_maps_are_the_same(case):
    """-log p, the loss of eq. 14 or of the learning rule, each parameter's gradient, and alpha."""
    decoder, a = case.decoder(), features()
    config = TrainingConfig(
        doubly_stochastic=0.4, label_smoothing=0, lambda_r=0.7, lambda_e=0.2
    )  # fmt: skip
    if case.attention == "reinforce":
        decoder.attention.update_baseline(-15.0)  # a baseline of -1.5 a word
    torch.manual_seed(SEED)
    output = decoder(a, pad_captions(CAPTIONS), case.attention_mode)
    fast = Objective(config)(output)
    losses, gradients, nll = [], [], 0.0
    for n, (caption, attend) in enumerate(zip(CAPTIONS, case.plainly(), strict=True)):
        plain = plain_forward(decoder, a[n], attend, caption)
        assert_same(output.alpha[n, : len(caption) - 1], plain.alpha, "alpha")
        assert not output.alpha[n, len(caption) - 1 :].any()
        log_p_y = plain.log_p.gather(1, torch.tensor(caption[1:])[:, None]).sum()
        loss = equations.doubly_stochastic_loss(log_p_y, plain.alpha, 0.4)
        gradient = derivative(loss, decoder)
        if output.sampled is not None:
            s = None if attend is expectation else one_hot(PLACES[n, : len(plain.alpha)], L)
            more = by_the_rule(decoder, plain.alpha, log_p_y, s, config)
            loss, gradient = loss + more[0], gradient + more[1]
        losses.append(loss)
        gradients.append(gradient)
        nll -= log_p_y.item()
    assert fast.nll == pytest.approx(nll, rel=1e-9)
    assert_same(fast.total, sum(losses), "loss")
    fast.total.backward()
    ends = itertools.accumulate(p.numel() for p in learned(decoder))
    named = [(name, p) for name, p in decoder.named_parameters() if p.requires_grad]
    for (name, parameter), end in zip(named, ends, strict=True):
        found = sum(gradients)[end - parameter.numel() : end].view_as(parameter)
        assert_same(parameter.grad, found, f"gradient of {name}")


def by_the_rule(
    decoder: Decoder, alpha: Tensor, log_p_y: Tensor, s: Tensor | None, config: TrainingConfig
) -> tuple[Tensor, Tensor]:
    """What sampled places (T, L) add to -log p(y|s,a), and to its gradient, after eq. 12.

    The gradient is the rule's own, and needs no loss; the fast objective needs one with that
    gradient, and its value is compared, too.
    """
    b = decoder.attention.baseline_average.item() * len(alpha)
    entropy = equations.entropy(alpha).sum()
    log_p_s = 0 * entropy  # soft steps: no place was sampled
    if s is not None:
        log_p_s = equations.place_probability(s, alpha).log().sum()
    d_y, d_s, d_H = (derivative(x, decoder)[None] for x in (log_p_y, log_p_s, entropy))
    lambdas = config.lambda_r, config.lambda_e
    rule = equations.learning_rule(log_p_y.detach()[None], d_y, d_s, d_H, b, *lambdas)
    value = -config.lambda_r * (log_p_y - b) * log_p_s - config.lambda_e * entropy
    return value.detach(), d_y[0] - rule


def derivative(value: Tensor, decoder: Decoder) -> Tensor:
    """By all parameters, one behind the other."""
    parameters = learned(decoder)
    found = torch.autograd.grad(value, parameters, allow_unused=True, retain_graph=True)
    pairs = zip(found, parameters, strict=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in pairs])


@pytest.mark.parametrize("case", MODES, ids=str)
def test_greedy_captions_and_their_maps_are_the_same(case):
    decoder, a = case.decoder().eval(), features()
    decoder.context_dropout.p = 0.3  # of training alone
    with torch.no_grad():
        plain = [plain_forward(decoder, a[n], attend) for n, attend in enumerate(case.plainly())]
    fast = greedy(decoder, a, T, case.attention_mode)
    assert len({tuple(one.words) for one in plain}) > 1
    for one, other in zip(fast, plain, strict=True):
        assert one.words == other.words
        assert_same(one.alpha.double(), other.alpha[: len(one.words)].float().double())


# ----------------------------------------------------------------- the bound, eq. 8 to 12


def list_all(decoder: Decoder, caption: list[int], seed: int = 1):
    """log p(s|a) and log p(y|s,a) of every sequence of places, by the plain functions."""
    regions, (image,) = 3, features(1, seed, regions=3)
    w, a = Parameters.of(decoder), paper_a(decoder, image)
    log_s, log_y = [], []
    for places in itertools.product(range(regions), repeat=len(caption) - 1):
        h, c = equations.initial_state(a, w.W_init_h, w.b_init_h, w.W_init_c, w.b_init_c)
        log_p_s = log_p_y = 0.0
        for place, (y, target) in zip(places, itertools.pairwise(caption), strict=True):
            s = one_hot(torch.tensor(place), regions).double()
            h, c, alpha, n = equations.step(y, a, h, c, at(s), w)
            log_p_s = log_p_s + equations.place_probability(s, alpha).log()
            log_p_y = log_p_y + equations.word_probabilities(n)[target].log()
        log_s.append(log_p_s)
        log_y.append(log_p_y)
    return torch.stack(log_s), torch.stack(log_y)


CAPTION = [BOS, 4, EOS]  # two words, three places: nine sequences


def all_parts(decoder: Decoder):
    """p(s|a), log p(y|s,a) and the derivatives of both logarithms, for every s."""
    log_s, log_y = list_all(decoder, CAPTION)
    d_y, d_s = (torch.stack([derivative(x, decoder) for x in xs]) for xs in (log_y, log_s))
    return log_s.exp().detach(), log_y.detach(), d_y, d_s


@pytest.mark.parametrize("seed", range(5))
def test_the_bound_is_below_log_p(seed):
    log_s, log_y = list_all(make("soft", seed), CAPTION, seed)
    assert len(log_s) == 9 and log_s.exp().sum().item() == pytest.approx(1)
    log_p = equations.log_likelihood(log_s.exp(), log_y)
    assert_same(log_p, (log_s + log_y).logsumexp(0))
    assert equations.bound(log_s.exp(), log_y) < log_p - 1e-4


def test_equation_11_is_the_bounds_derivative():
    decoder = make("soft")
    log_s, log_y = list_all(decoder, CAPTION)
    assert_same(
        equations.bound_gradient(*all_parts(decoder)),
        derivative(equations.bound(log_s.exp(), log_y), decoder),
    )


@pytest.mark.parametrize("count", [1, 2])
def test_equation_12_is_right_on_average(count):
    """The mean over all that can be sampled, each as often as it is: nothing is left to chance."""
    p_s, log_y, d_y, d_s = all_parts(make("soft"))
    exact = equations.bound_gradient(p_s, log_y, d_y, d_s)
    mean = torch.zeros_like(exact)
    for samples in itertools.product(range(9), repeat=count):
        n = list(samples)
        mean += p_s[n].prod() * equations.sampled_gradient(log_y[n], d_y[n], d_s[n])
    assert_same(mean, exact)


def test_the_learning_rule_is_equation_12_with_a_baseline():
    """Any baseline leaves it right on average; the entropy is added with its weight."""
    p_s, log_y, d_y, d_s = all_parts(make("soft"))
    exact, none = equations.bound_gradient(p_s, log_y, d_y, d_s), torch.zeros_like(d_s)
    for b in (0.0, -3.0, 20.0):
        each = [equations.learning_rule(log_y[[n]], d_y[[n]], d_s[[n]], none[[n]], b, 1.0, 0.5)
                for n in range(9)]  # fmt: skip
        assert_same((p_s[:, None] * torch.stack(each)).sum(0), exact)
    with_entropy = equations.learning_rule(log_y, d_y, d_s, torch.ones_like(d_s), -3.0, 1.0, 0.5)
    without = equations.learning_rule(log_y, d_y, d_s, none, -3.0, 1.0, 0.5)
    assert_same(with_entropy, without + 0.5)
    assert equations.moving_average(-20.0, -30.0) == pytest.approx(-21.0)


def test_places_are_sampled_as_equation_8_says():
    alpha = torch.tensor([0.5, 0.3, 0.2, 0.0])
    s = equations.sample_place(alpha.expand(20000, -1), torch.Generator().manual_seed(0))
    assert torch.equal(s.sum(-1), torch.ones(20000))
    torch.testing.assert_close(s.mean(0), alpha, atol=0.02, rtol=0)
    assert set(equations.place_probability(s, alpha).tolist()) == set(alpha[:3].tolist())


# ------------------------------------------------- soft attention as an approximation, section 4.2


def test_nwgm_is_the_geometric_mean():
    """Its definition, products of powers, against the softmax of expected logits."""
    torch.manual_seed(0)
    n, alpha = torch.randn(L, V).double(), torch.randn(L).double().softmax(-1)
    powers = [[n[i, k].exp() ** alpha[i] for i in range(L)] for k in range(V)]
    products = torch.stack([torch.stack(row).prod() for row in powers])
    assert_same(equations.nwgm(n, alpha), products / products.sum())


def test_the_expected_context_gives_the_nwgm_where_the_logits_are_linear_in_it():
    """The logits are linear in z, so with h_t fixed no approximation is in it."""
    decoder, (image,) = make("soft"), features(1)
    w, a = Parameters.of(decoder), paper_a(decoder, image)
    h, alpha = torch.randn(7).double(), torch.randn(L).double().softmax(-1)
    n = torch.stack([logits(4, h, a[i], w) for i in range(L)])
    expected = equations.word_probabilities(logits(4, h, soft_context(a, alpha), w))
    assert_same(equations.nwgm(n, alpha), expected)
    assert (expected - alpha @ n.softmax(-1)).abs().max() > 1e-3  # E[p] is something else


def test_the_benchmark_of_the_chapter_runs():
    """Two scenes: NWGM and expected context are the same where the logits are linear, not else."""
    command = [sys.executable, "benchmarks/nwgm.py", "--images", "2"]
    ran = subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)},
                         capture_output=True, text=True, timeout=300)  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    found = re.findall(r"^(.+?) +(\d\.\d+) +(\d\.\d+)$", ran.stdout, re.MULTILINE)
    both, output = ({name: float(row[part]) for name, *row in found} for part in (0, 1))
    assert len(found) == 7
    assert output["|difference|: expected context, NWGM"] == 0
    assert both["|difference|: expected context, NWGM"] > 0
    for losses in (both, output):  # E log p is at most log NWGM, and at most log E p
        assert losses["-log p(y_t): bound"] > losses["-log p(y_t): NWGM"]
        assert losses["-log p(y_t): bound"] > losses["-log p(y_t): expectation"]


# --------------------------------------------------------------------------- as a reader finds them


def test_every_equation_has_its_number():
    """1 to 14, at the beginning of a function's docstring, in the order of the sections."""
    functions = [f for f in vars(equations).values() if getattr(f, "__doc__", None)]
    texts = [f.__doc__ for f in functions if getattr(f, "__module__", "") == equations.__name__]
    numbers = [int(found[1]) for text in texts if (found := re.match(r"Eq\. (\d+)", text))]
    assert set(numbers) == set(range(1, 15))


def test_the_table_names_every_function():
    own = [name for name, f in vars(equations).items()
           if callable(f) and getattr(f, "__module__", "") == equations.__name__]  # fmt: skip
    assert own and not [name for name in own if f"`{name}`" not in equations.__doc__]


def test_the_examples_are_true():
    found = doctest.testmod(equations)
    assert found.attempted >= 6 and not found.failed


@pytest.mark.parametrize("options", [{}, OPTIONS[-1]], ids=str)
def test_any_axes_may_stand_before_the_shapes(options):
    """A batch of captions in one call is what the captions are one by one."""
    decoder, images = make("soft", **options), features()
    w, a = Parameters.of(decoder), paper_a(decoder, images)
    y, h, c = torch.tensor([4, 5, 6, 7]), torch.randn(B, 7).double(), torch.randn(B, 7).double()
    both = zip(
        equations.initial_state(a, w.W_init_h, w.b_init_h, w.W_init_c, w.b_init_c)
        + equations.step(y, a, h, c, soft_context, w),
        zip(*(
            equations.initial_state(a[n], w.W_init_h, w.b_init_h, w.W_init_c, w.b_init_c)
            + equations.step(y[n], a[n], h[n], c[n], soft_context, w)
            for n in range(B)
        ), strict=True),
        strict=True,
    )  # fmt: skip
    for together, apart in both:
        assert_same(together, torch.stack(apart))


@pytest.mark.parametrize(
    ("number", "names"),
    [
        ("4.1", ["scores"]),
        ("4.2", ["weights"]),
        ("4.3", ["soft_context"]),
        ("4.4", ["context_gate"]),
        ("4.5", ["lstm_gates", "lstm_memory", "lstm_hidden"]),
        ("4.6", ["logits"]),
    ],
)
def test_lab_4_builds_these_functions(number, names):
    answers = [getattr(equations, name) for name in names]
    assert check(number, answers if len(answers) > 1 else answers[0]).right is True
    lab = ast.parse((ROOT / "labs" / "04_soft_attention.py").read_text(encoding="utf-8"))
    for answer in answers:
        written = [
            [argument.arg for argument in node.args.args] for node in lab.body
            if isinstance(node, ast.FunctionDef) and node.name == answer.__name__
        ]  # fmt: skip
        assert written == [[*inspect.signature(answer).parameters]] * 2  # exercise and solution
