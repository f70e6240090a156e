"""Interventions against a loop of the paper's equations, with the replacements put in by hand."""

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from labkit import beam_search, greedy
from labkit.data.vocabulary import BOS, EOS
from labkit.evaluation.interventions import WEIGHTS, Intervened, estimate, teacher_force
from labkit.model import equations
from labkit.model.attention import EncodedImage
from labkit.model.config import ModelConfig
from labkit.model.decoder import Decoder, pad_captions
from labkit.model.equations import Parameters, hard_context, soft_context
from labkit.model.hard_attention import ATTENTIONS

N, L, V = 6, 5, 9
SIZES = ModelConfig(
    vocab_size=V, encoder_dim=8, feature_dim=6, embed_dim=4, hidden_dim=7, attention_dim=3,
    dropout=0,
)  # fmt: skip
CAPTIONS = [[7, 8, 5, 4, 6, EOS], [4, 5, 4, EOS], [6, EOS], [EOS], [5, 5, 5, 5], [8, 4, 7]]
PLACES = torch.tensor([3, 0, 4, 4, 1, 2])
STEPS = torch.tensor([2, 0, 1, 0, 3, 1])
MODES = [(name, mode) for name, kind in ATTENTIONS.items() for mode in kind.attention_modes
         if mode != "sample"]  # fmt: skip

torch.set_num_threads(1)
Weights = Callable[[int, Tensor], Tensor]  # of step t, from the model's own


def make(attention: str = "soft", seed: int = 0) -> Decoder:
    torch.manual_seed(seed)
    decoder = Decoder(replace(SIZES, attention=attention)).double().eval()
    for parameter in decoder.parameters():
        nn.init.normal_(parameter, std=0.7)
    return decoder


def features(seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(N, L, 8, generator=generator, dtype=torch.double)


def by_hand(
    decoder: Decoder, caption: list[int], first: Tensor, seen: Tensor, other: Weights
) -> Tensor:
    """Log p of a caption's words (T,), by the equations alone."""
    w, a = Parameters.of(decoder), decoder.reduce(decoder.norm(seen))
    mean = decoder.reduce(decoder.norm(first))
    h, c = equations.initial_state(mean, w.W_init_h, w.b_init_h, w.W_init_c, w.b_init_c)
    found = []
    for t, (y, wanted) in enumerate(itertools.pairwise([BOS, *caption])):
        def phi(a: Tensor, alpha: Tensor, t: int = t) -> Tensor:
            return soft_context(a, other(t, alpha))

        h, c, _, n = equations.step(y, a, h, c, phi, w)
        found.append(equations.word_probabilities(n)[wanted].log())
    return torch.stack(found)


def own(mode: str) -> Weights:
    """The weights that a mechanism looks by when no mixture predicts its words."""
    if mode == "expectation":
        return lambda t, alpha: alpha
    return lambda t, alpha: one_hot(alpha.argmax(), L).double()


@torch.no_grad()
def assert_by_hand(decoder, probe, others, mode=None, first=None, seen=None, chosen=range(N)):
    """Each image's words are as likely as by hand."""
    a = features()
    first, seen = (a if one is None else one for one in (first, seen))
    read = teacher_force(probe, a, CAPTIONS, mode)
    for n in chosen:
        plain = by_hand(decoder, CAPTIONS[n], first[n], seen[n], others(n))
        torch.testing.assert_close(read[n].log_p, plain, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("name", "mode"), MODES)
def test_replaced_weights_are_those_of_the_equations(name, mode):
    """Also where a mixture predicts the words, of which one component is left."""
    decoder = make(name)
    even = torch.full((L,), 1 / L, dtype=torch.double)
    assert_by_hand(decoder, Intervened(decoder, "uniform"), lambda n: lambda t, _: even, mode)
    assert_by_hand(decoder, Intervened(decoder, "zero"), lambda n: lambda t, _: 0 * even, mode)
    for place in (2, torch.tensor(2), PLACES):
        places = torch.as_tensor(place).expand(N)
        assert_by_hand(
            decoder, Intervened(decoder, place),
            lambda n, places=places: lambda t, _: one_hot(places[n], L).double(), mode,
        )  # fmt: skip


def test_no_context_is_a_context_of_zeros_and_a_place_is_a_hard_context():
    decoder, a = make(), features()
    contexts = []
    decoder.W_z.register_forward_pre_hook(lambda _, given: contexts.append(given[0]))
    reduced = decoder.reduce(decoder.norm(a))
    with torch.no_grad():
        for weights in ("zero", PLACES):
            image, state = (probe := Intervened(decoder, weights)).init_state(a)
            _, _, step = probe.step(torch.full((N, 1), BOS), image, state)
            vectors = hard_context(reduced, one_hot(PLACES, L).double())
            z = step.beta[:, 0] * vectors if weights is PLACES else torch.zeros(N, 6).double()
            torch.testing.assert_close(contexts.pop()[:, 0], z)


@pytest.mark.parametrize(("name", "mode"), [("soft", "expectation"), ("gumbel", "argmax")])
def test_weights_are_replaced_at_the_steps_asked_for_and_no_others(name, mode):
    decoder, look = make(name), own(mode)
    even = torch.full((L,), 1 / L, dtype=torch.double)
    table = torch.rand(N, 4, generator=torch.Generator().manual_seed(0)) < 0.5  # shorter than T
    for at in (1, STEPS, table):
        def others(n, at=at):
            def weights(t, alpha):
                if isinstance(at, Tensor) and at.dim() == 2:
                    now = t < 4 and at[n, t]
                else:
                    now = t == torch.as_tensor(at).expand(N)[n]
                return even if now else look(t, alpha)
            return weights

        assert_by_hand(decoder, Intervened(decoder, "uniform", at=at), others, mode)


def test_a_mixture_stays_where_its_step_is_not_asked_for():
    decoder, a = make("marginal"), features()
    whole = teacher_force(decoder, a, CAPTIONS, "expectation")
    found = teacher_force(Intervened(decoder, "zero", at=STEPS), a, CAPTIONS, "expectation")
    for n, t in enumerate(STEPS.tolist()):
        torch.testing.assert_close(found[n].log_p[:t], whole[n].log_p[:t])
        assert (found[n].log_p[t] - whole[n].log_p[t]).abs() > 1e-6


@pytest.mark.parametrize(("name", "mode"), [("soft", "expectation"), ("reinforce", "argmax")])
def test_the_first_state_and_attention_are_shown_their_own_images(name, mode):
    decoder, a, other = make(name), features(), features(2)
    look = own(mode)
    for change in ({"first": other}, {"seen": other}, {"first": other, "seen": other}):
        probe = Intervened(decoder, **change)
        assert_by_hand(decoder, probe, lambda n: look, mode, **change)
    both = Intervened(decoder, first=other, seen=other)
    found, plain = teacher_force(both, a, CAPTIONS), teacher_force(decoder, other, CAPTIONS)
    assert all(torch.equal(one.log_p, two.log_p) for one, two in zip(found, plain, strict=True))
    assert_by_hand(
        decoder, Intervened(decoder, PLACES, first=other),
        lambda n: lambda t, _: one_hot(PLACES[n], L).double(), mode, first=other,
    )  # fmt: skip


def test_a_hook_of_ones_own_gives_what_the_wrapper_gives():
    decoder, a = make(), features()

    def uniform(step):
        return replace(step, weights=torch.full_like(step.weights, 1 / L))

    image, state = decoder.init_state(a)
    image.intervene = uniform
    words = torch.full((N, 1), BOS)
    probe = Intervened(decoder, "uniform")
    log_p, _, step = decoder.step(words, image, state)
    torch.testing.assert_close(log_p, probe.step(words, *probe.init_state(a))[0])
    own_alpha = decoder.step(words, *decoder.init_state(a))[2].alpha
    torch.testing.assert_close(step.alpha, own_alpha)  # the map stays the model's own
    assert image.choose(torch.tensor([4, 1])).intervene is uniform
    assert image.first(2).intervene is uniform


# ------------------------------------------------------------------------- generation under it

KINDS = [
    {"weights": "uniform"}, {"weights": "shuffled"}, {"weights": "zero"}, {"weights": PLACES},
    {"weights": PLACES, "at": STEPS}, {"weights": "shuffled", "at": torch.eye(N, 3).bool()},
    {"first": features(2)}, {"seen": features(2), "weights": "shuffled"},
]  # fmt: skip


def test_all_weights_are_tried():
    tried = [change.get("weights") for change in KINDS]
    assert {one for one in tried if isinstance(one, str)} == set(WEIGHTS)


@pytest.mark.parametrize("name", ATTENTIONS)
def test_without_an_intervention_generation_is_the_decoders(name):
    decoder, a = make(name), features()
    for search in (greedy, beam_search):
        for one, two in zip(search(Intervened(decoder), a), search(decoder, a), strict=True):
            assert (one.words, one.score) == (two.words, two.score)
            assert torch.equal(one.alpha, two.alpha)


@pytest.mark.parametrize("change", KINDS, ids=lambda change: "-".join(change))
@pytest.mark.parametrize("beams", [1, 3])
def test_an_image_does_not_depend_on_its_neighbours(change, beams, monkeypatch):
    """Beam search leaves out images that are done; what is left keeps its own intervention."""
    decoder, a, left = make(seed=3), features(), []
    choose = EncodedImage.choose
    monkeypatch.setattr(
        EncodedImage, "choose", lambda self, rows: left.append(len(rows)) or choose(self, rows)
    )

    def search(change, a):
        return beam_search(Intervened(decoder, **change), a, beams, max_length=8)

    together = search(change, a)
    if beams > 1:
        assert left and min(left) < N
    for n, one in enumerate(together):
        mine = {key: value[n : n + 1] if isinstance(value, Tensor) else value
                for key, value in change.items()}  # fmt: skip
        (alone,) = search(mine, a[n : n + 1])
        assert alone.words == one.words
        assert alone.score == pytest.approx(one.score)
        torch.testing.assert_close(alone.alpha, one.alpha)


def test_a_beam_of_one_is_greedy_and_scores_are_those_of_reading():
    decoder, a = make("gumbel", 3), features()
    for change in KINDS:
        probe = Intervened(decoder, **change)
        for one, two in zip(greedy(probe, a, 8), beam_search(probe, a, 1, 8), strict=True):
            assert one.words == two.words
        captions = greedy(probe, a, 8)
        words = [[*one.words, EOS][:8] for one in captions]
        read = teacher_force(probe, a, words)
        for caption, one in zip(captions, read, strict=True):
            assert caption.score == pytest.approx(one.log_p.sum().item(), rel=1e-5)


def test_shuffled_weights_are_the_models_own_in_another_order():
    decoder, a = make(), features()
    orders = []
    for seed in (0, 1):
        probe = Intervened(decoder, "shuffled", seed=seed)
        image, state = probe.init_state(a, 2)
        for _ in range(3):
            _, state, step = probe.step(torch.full((N, 2), 5), image, state)
            assert torch.equal(step.weights.sort(-1)[0], step.alpha.sort(-1)[0])
            where = (step.alpha[..., None, :] == step.weights[..., None]).long().argmax(-1)
            assert torch.equal(where[:, 0], where[:, 1])  # all beams of an image alike
            orders += [tuple(order) for order in where[:, 0].tolist()]
    assert len(set(orders)) > 25  # of 36: by image, step and seed


def test_what_cannot_be_done_is_refused():
    decoder, a = make(), features()
    with pytest.raises(ValueError, match="no weights 'even': choose uniform, shuffled, zero"):
        Intervened(decoder, "even")
    for change in ({"first": a[:2]}, {"seen": a[:2]}, {"weights": PLACES[:2]}, {"at": STEPS[:2]}):
        with pytest.raises(ValueError, match="6 images need an intervention each, not 2"):
            greedy(Intervened(decoder, **{"weights": "zero"} | change), a)
    with pytest.raises(ValueError, match="6 images need a caption each, not 1"):
        teacher_force(decoder, a, CAPTIONS[:1])


# --------------------------------------------------------------------------- reading, estimating


@pytest.mark.parametrize(("name", "mode"), MODES)
def test_reading_is_what_training_does(name, mode):
    decoder, a = make(name), features()
    with torch.no_grad():
        output = decoder(a, pad_captions([[BOS, *one] for one in CAPTIONS]), mode)
    found = teacher_force(decoder, a, CAPTIONS, mode)
    total = sum(one.log_p.sum() for one in found)
    torch.testing.assert_close(total, -output.nll.sum())
    for n, one in enumerate(found):
        assert len(one.log_p) == len(one.best) == len(one.alpha) == len(CAPTIONS[n])
        torch.testing.assert_close(one.alpha, output.alpha[n, : len(CAPTIONS[n])])


def test_captions_without_words_are_read():
    decoder, a = make(), features()
    assert all(len(one.log_p) == 0 for one in teacher_force(decoder, a, [[]] * N))
    assert [len(one.alpha) for one in teacher_force(decoder, a[:2], [[], [5]])] == [0, 1]
    assert teacher_force(decoder, a[:0], []) == []


VALUES = {0: [0.3, 2.0, 1.1], 1: [5.0], 2: [0.9, 0.1], 3: [-1.3], 4: [2.7, 2.2, 3.3, 0.2], 5: [1.7]}


def test_the_interval_is_that_of_all_resamples():
    """All 6 ** 6 resamples of six images, each with all of its values."""
    pairs = [(value, image) for image, values in VALUES.items() for value in values]
    values, images = zip(*pairs, strict=True)
    means = []
    for chosen in itertools.product(VALUES, repeat=len(VALUES)):
        drawn = [value for image in chosen for value in VALUES[image]]
        means.append(sum(drawn) / len(drawn))
    found = estimate(values, images)
    assert (found.n, found.images) == (12, 6)
    assert found.mean == pytest.approx(np.mean(values))
    wanted = np.quantile(means, [0.025, 0.975])
    assert [found.low, found.high] == pytest.approx(wanted.tolist(), abs=0.06)
    assert estimate(values, images) == found  # seeded


def test_more_words_of_the_same_images_do_not_narrow_the_interval():
    generator = np.random.default_rng(0)
    values = generator.normal(size=40)
    one = estimate(values, range(40))
    ten = estimate(np.tile(values, 10), [*range(40)] * 10)
    assert (ten.low, ten.high) == pytest.approx((one.low, one.high))
    assert ten.n == 10 * one.n
    as_words = estimate(np.tile(values, 10), range(400))
    assert as_words.high - as_words.low < 0.5 * (one.high - one.low)


def test_estimates_of_little():
    assert estimate([], []) is None
    assert estimate([2.0, 4.0], [7, 7]) == replace(estimate([3.0], [0]), n=2)
    assert estimate([3.0], [0]).low is None
    sure = estimate([True] * 5, [0, 0, 1, 2, 2])
    assert (sure.mean, sure.low, sure.high) == (1, 1, 1)
    with pytest.raises(ValueError, match="2 values need an image each, not 1"):
        estimate([1, 2], [1])
