"""The equations of Show, Attend and Tell, one short function each, under the paper's numbers.

Xu et al. 2015, arXiv 1502.03044. Read it beside the paper: nothing here is fast. The model runs on
`labkit.model.attention`, `labkit.model.hard_attention`, `labkit.model.decoder`,
`labkit.model.gradients` and `labkit.training.objective`: each shortcut there names its function
here. ``tests/model/test_equations.py`` shows that both give the same losses, gradients and maps.

=========  ===========================================  ===========================================
equation   plain function                               fast code
=========  ===========================================  ===========================================
1, 2, 3    `lstm_gates`, `lstm_memory`, `lstm_hidden`   `Decoder.lstm_step`
4          `scores`                                     `Attention.scores`
5          `weights`                                    `Attention.expectation`
6          `context`                                    `Attention.forward`, `Decoder.lstm_step`
after 6    `initial_state`                              `Decoder._first_state`
7          `word_probabilities` of `logits`             `Decoder.word_log_probs`, `Decoder.forward`
8          `place_probability`, `sample_place`          `ReinforceAttention.attend`
9, 13      `hard_context`, `soft_context`               `Attention.forward`
10, 11     `bound`, `bound_gradient`, `log_likelihood`  none: sums over all places
12         `sampled_gradient`, `learning_rule`          `Objective.sampling_loss`
after 12   `moving_average`                             `ReinforceAttention.update_baseline`
after 12   `entropy`                                    `ReinforceAttention.attend`
after 13   `nwgm`                                       none
4.2.1      `context_gate`, the gate beta_t              `Decoder.lstm_step`
14         `doubly_stochastic_loss`                     `Objective.__call__`
=========  ===========================================  ===========================================

`step` puts them together, and `Parameters` lists what is learned. Shapes are those of one caption
at one step: L regions of D numbers, T words (the paper's C), a vocabulary of V words (its K), word
vectors of m numbers, an LSTM of H units (its n), A hidden units in f_att. Any axes may stand before
these. Vectors are rows: the paper's W x is ``x @ W.T``. The paper writes z-hat for z.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Phi = Callable[[Tensor, Tensor], Tensor]  # phi(a (L, D), alpha (L,)) gives (D,)

# -------------------------------------------------------------------- the decoder, section 3.1.2


def lstm_gates(
    Ey: Tensor, h: Tensor, z: Tensor, W_y: Tensor, W_h: Tensor, W_z: Tensor, b: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Eq. 1: (i_t, f_t, o_t, g_t) = (sigma, sigma, sigma, tanh) T (E y_{t-1}; h_{t-1}; z_t).

    T is an affine map of the three stacked, with the matrix [W_y W_h W_z] and the bias b. Shapes:
    Ey (m,), h (H,), z (D,), W_y (4H, m), W_h (4H, H), W_z (4H, D), b (4H,).
    """
    stacked = Ey @ W_y.T + h @ W_h.T + z @ W_z.T + b  # (4H,)
    i, f, o, g = stacked.chunk(4, -1)  # (H,) each
    return torch.sigmoid(i), torch.sigmoid(f), torch.sigmoid(o), torch.tanh(g)


def lstm_memory(f: Tensor, c: Tensor, i: Tensor, g: Tensor) -> Tensor:
    """Eq. 2: c_t = f_t * c_{t-1} + i_t * g_t, number by number. Shapes: all (H,)."""
    return f * c + i * g  # (H,)


def lstm_hidden(o: Tensor, c: Tensor) -> Tensor:
    """Eq. 3: h_t = o_t * tanh(c_t), number by number. Shapes: all (H,)."""
    return o * torch.tanh(c)  # (H,)


def scores(a: Tensor, h: Tensor, W_a: Tensor, W_s: Tensor, b: Tensor, v: Tensor) -> Tensor:
    """Eq. 4: e_ti = f_att(a_i, h_{t-1}) = v . tanh(W_a a_i + W_s h_{t-1} + b).

    The paper calls f_att a multilayer perceptron and gives no formula; this is its code's. Shapes:
    a (L, D), h = h_{t-1} (H,), W_a (A, D), W_s (A, H), b (A,), v (A,).
    """
    region = a @ W_a.T  # (L, A)
    state = (h @ W_s.T)[..., None, :]  # (1, A), the same for all regions
    return torch.tanh(region + state + b) @ v  # (L,)


def weights(e: Tensor) -> Tensor:
    """Eq. 5: alpha_ti = exp(e_ti) / sum_k exp(e_tk). Shape: e (L,), a score for each region.

    >>> weights(torch.tensor([0.0, 0.0, 0.0, 0.0]))
    tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """
    return e.softmax(-1)  # (L,)


def context(phi: Phi, a: Tensor, alpha: Tensor, beta: Tensor | float = 1.0) -> Tensor:
    """Eq. 6: z_t = phi({a_i}, {alpha_ti}), times the gate beta_t of section 4.2.1.

    ``phi`` is `soft_context`, or `hard_context` of a place sampled from alpha. The paper has the
    gate with soft attention, this package with both. Shapes: a (L, D), alpha (L,), beta (1,).
    """
    return beta * phi(a, alpha)  # (D,)


def initial_state(
    a: Tensor, W_init_h: Tensor, b_init_h: Tensor, W_init_c: Tensor, b_init_c: Tensor
) -> tuple[Tensor, Tensor]:
    """Between eq. 6 and 7: h_0 = f_init,h(mean_i a_i) and c_0 = f_init,c(mean_i a_i).

    Each is a multilayer perceptron, of one layer here. Shapes: a (L, D), each W (H, D), b (H,).
    """
    mean = a.mean(-2)  # (D,)
    return torch.tanh(mean @ W_init_h.T + b_init_h), torch.tanh(mean @ W_init_c.T + b_init_c)


def logits(
    Ey: Tensor, h: Tensor, z: Tensor, L_o: Tensor, L_h: Tensor, L_z: Tensor, b_o: Tensor
) -> Tensor:
    """n_t = L_o (E y_{t-1} + L_h h_t + L_z z_t), the exponent of eq. 7, named so in section 4.2.

    Shapes: Ey (m,), h = h_t (H,), z (D,), L_o (V, m), L_h (m, H), L_z (m, D), b_o (V,).
    """
    return (Ey + h @ L_h.T + z @ L_z.T) @ L_o.T + b_o  # (V,)


def word_probabilities(n: Tensor) -> Tensor:
    """Eq. 7: p(y_t | a, y_1 ... y_{t-1}) is proportional to exp(n_t). Shape: n (V,)."""
    return n.softmax(-1)  # (V,)


# -------------------------------------------------------- stochastic 'hard' attention, section 4.1


def place_probability(s: Tensor, alpha: Tensor) -> Tensor:
    """Eq. 8: p(s_t,i = 1 | s_j<t, a) = alpha_t,i. Shapes: s_t one-hot (L,), alpha (L,)."""
    return (s * alpha).sum(-1)  # ()


def sample_place(alpha: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Sample s_t ~ Multinoulli({alpha_t,i}), one-hot (L,), from alpha (L,), as eq. 8 has it."""
    place = torch.multinomial(alpha, 1, generator=generator)  # (1,)
    return torch.zeros_like(alpha).scatter(-1, place, 1)  # (L,)


def hard_context(a: Tensor, s: Tensor) -> Tensor:
    """Eq. 9: z_t = sum_i s_t,i a_i, the vector of one place. Shapes: a (L, D), s one-hot (L,)."""
    return (s[..., None] * a).sum(-2)  # (D,)


def bound(p_s: Tensor, log_p_y: Tensor) -> Tensor:
    """Eq. 10: L_s = sum_s p(s|a) log p(y|s,a) <= log p(y|a). Shapes: (L^T,), one for each s.

    >>> p_s, p_y = torch.tensor([0.5, 0.5]), torch.tensor([0.8, 0.2])
    >>> bound(p_s, p_y.log()), log_likelihood(p_s, p_y.log())
    (tensor(-0.9163), tensor(-0.6931))
    """
    return (p_s * log_p_y).sum()  # ()


def log_likelihood(p_s: Tensor, log_p_y: Tensor) -> Tensor:
    """Eq. 10, right: log p(y|a) = log sum_s p(s|a) p(y|s,a). Shapes: (L^T,), one for each s."""
    return (p_s * log_p_y.exp()).sum().log()  # ()


def bound_gradient(p_s: Tensor, log_p_y: Tensor, d_log_p_y: Tensor, d_log_p_s: Tensor) -> Tensor:
    """Eq. 11: dL_s/dW = sum_s p(s|a) [d log p(y|s,a)/dW + log p(y|s,a) d log p(s|a)/dW].

    Shapes: p_s = p(s|a) and log_p_y = log p(y|s,a) (L^T,); derivatives by w parameters (L^T, w).
    """
    return (p_s[:, None] * (d_log_p_y + log_p_y[:, None] * d_log_p_s)).sum(0)  # (w,)


def sampled_gradient(log_p_y: Tensor, d_log_p_y: Tensor, d_log_p_s: Tensor) -> Tensor:
    """Eq. 12: the mean of eq. 11's bracket over N samples s ~ p(s|a). Shapes: (N,), 2 x (N, w)."""
    return (d_log_p_y + log_p_y[:, None] * d_log_p_s).mean(0)  # (w,)


def moving_average(b: float, log_p_y: float) -> float:
    """After eq. 12: the baseline b_k = 0.9 b_{k-1} + 0.1 log p(y|s_k,a) of minibatch k."""
    return 0.9 * b + 0.1 * log_p_y


def entropy(alpha: Tensor) -> Tensor:
    """After eq. 12: H[s_t] = -sum_i alpha_t,i log alpha_t,i in nats. Shape: alpha (L,)."""
    return -(alpha * alpha.log()).sum(-1)  # ()


def learning_rule(
    log_p_y: Tensor, d_log_p_y: Tensor, d_log_p_s: Tensor, d_entropy: Tensor,
    b: float, lambda_r: float, lambda_e: float,
) -> Tensor:  # fmt: skip
    """The last rule of section 4.1: eq. 12 with a baseline b, and the gradient of the entropy.

    With probability 1/2 the paper sets s to its expectation alpha, for a whole image: no place is
    sampled then, and d_log_p_s is 0. Shapes: log_p_y (N,), derivatives (N, w).
    """
    reward = log_p_y[:, None] - b  # (N, 1)
    return (d_log_p_y + lambda_r * reward * d_log_p_s + lambda_e * d_entropy).mean(0)  # (w,)


# ----------------------------------------------------- deterministic 'soft' attention, section 4.2


def soft_context(a: Tensor, alpha: Tensor) -> Tensor:
    """Eq. 13: E[z_t] = sum_i alpha_t,i a_i, the expected context. Shapes: a (L, D), alpha (L,).

    >>> soft_context(torch.tensor([[4.0, 0.0], [0.0, 4.0]]), torch.tensor([0.75, 0.25]))
    tensor([3., 1.])
    """
    return (alpha[..., None] * a).sum(-2)  # (D,)


def nwgm(n: Tensor, alpha: Tensor) -> Tensor:
    """After eq. 13: the normalised weighted geometric mean of p(y_t) over the places.

    prod_i exp(n_t,k,i)^alpha_i / sum_j prod_i exp(n_t,j,i)^alpha_i is the softmax of the expected
    logits E[n_t]. The paper takes it for E[p(y_t)], after Baldi and Sadowski (2014). Shapes:
    n (L, V), the logits with z_t = a_i for each place i; alpha (L,).
    """
    return soft_context(n, alpha).softmax(-1)  # (V,), of E[n_t]: a mean by alpha, as in eq. 13


def context_gate(h: Tensor, w_beta: Tensor, b_beta: Tensor) -> Tensor:
    """Sec. 4.2.1: beta_t = sigma(f_beta(h_{t-1})). Shapes: h (H,), w_beta (1, H), b_beta (1,)."""
    return torch.sigmoid(h @ w_beta.T + b_beta)  # (1,)


def doubly_stochastic_loss(log_p_y: Tensor, alpha: Tensor, lambda_: float) -> Tensor:
    """Eq. 14: L_d = -log p(y|a) + lambda sum_i (1 - sum_t alpha_ti)^2.

    Shapes: log_p_y (), the sum of log p(y_t) over the words; alpha (T, L).

    >>> even = torch.full((2, 2), 0.5)  # each region gets 1 in sum
    >>> doubly_stochastic_loss(torch.tensor(-3.0), even, lambda_=1.0)
    tensor(3.)
    """
    return -log_p_y + lambda_ * (1 - alpha.sum(-2)).square().sum(-1)  # ()


# ------------------------------------------------------------------------------ all parts together


@dataclass(frozen=True)
class Parameters:
    """All learned numbers of a decoder, named as in the functions above."""

    E: Tensor  # (V, m) a row for each word
    W_init_h: Tensor  # (H, D)
    b_init_h: Tensor  # (H,)
    W_init_c: Tensor  # (H, D)
    b_init_c: Tensor  # (H,)
    W_a: Tensor  # (A, D)
    W_s: Tensor  # (A, H); with scores_see_word [W_s W_q], (A, H + m)
    b_att: Tensor  # (A,) b of eq. 4
    v: Tensor  # (A,)
    w_beta: Tensor  # (1, H)
    b_beta: Tensor  # (1,); without a gate infinite, so that beta = sigma(inf) = 1
    W_y: Tensor  # (4H, m)
    W_h: Tensor  # (4H, H)
    W_z: Tensor  # (4H, D)
    b_lstm: Tensor  # (4H,) b of eq. 1
    L_o: Tensor  # (V, m)
    L_h: Tensor  # (m, H)
    L_z: Tensor  # (m, D)
    b_o: Tensor  # (V,)

    @classmethod
    def of(cls, decoder: Any) -> "Parameters":
        """Take a `labkit.model.decoder.Decoder` apart; gradients reach its own parameters.

        One tensor is cut, two biases are added. ``a`` is ``decoder.reduce(decoder.norm(...))``.
        """
        A, H = decoder.config.attention_dim, decoder.config.hidden_dim
        W_s, w_beta, W_h = decoder.W_h.weight.split([A, 1, 4 * H])
        b_s, b_beta, b_h = decoder.W_h.bias.split([A, 1, 4 * H])
        W_y, b_y = decoder.W_y.weight, decoder.W_y.bias
        if decoder.config.scores_see_word:  # W_q E y_{t-1} is added to W_s h_{t-1}
            (W_y, W_q), (b_y, b_q) = W_y.split([4 * H, A]), b_y.split([4 * H, A])
            W_s, b_s = torch.cat([W_s, W_q], 1), b_s + b_q
        b_beta = b_beta if decoder.config.gate else torch.full_like(b_beta, torch.inf)
        first, scorer = decoder.init_hc, decoder.attention
        (W_init_h, W_init_c), (b_init_h, b_init_c) = first.weight.chunk(2), first.bias.chunk(2)
        E = L_o = decoder.embedding.weight  # one matrix reads and predicts words
        return cls(
            E, W_init_h, b_init_h, W_init_c, b_init_c,
            scorer.W_a.weight, W_s, scorer.W_a.bias + b_s, scorer.v, w_beta, b_beta,
            W_y, W_h, decoder.W_z.weight, b_y + b_h,
            L_o, decoder.L_h.weight, decoder.L_z.weight, decoder.bias + L_o @ decoder.L_h.bias,
        )  # fmt: skip


def step(
    y: int | Tensor, a: Tensor, h: Tensor, c: Tensor, phi: Phi, w: Parameters
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One step of the decoder: look, move the LSTM, predict the next word.

    Takes the last word's number y, annotation vectors a (L, D), h_{t-1} and c_{t-1} (H,). Returns
    h_t, c_t, the weights alpha_t (L,) and the next word's logits n_t (V,).
    """
    Ey = w.E[y]  # (m,)
    seen = h if w.W_s.shape[1] == h.shape[-1] else torch.cat([h, Ey], -1)  # scores_see_word
    alpha = weights(scores(a, seen, w.W_a, w.W_s, w.b_att, w.v))  # (L,), eq. 4 and 5
    z = context(phi, a, alpha, context_gate(h, w.w_beta, w.b_beta))  # (D,), eq. 6
    i, f, o, g = lstm_gates(Ey, h, z, w.W_y, w.W_h, w.W_z, w.b_lstm)  # (H,) each, eq. 1
    c = lstm_memory(f, c, i, g)  # (H,), eq. 2
    h = lstm_hidden(o, c)  # (H,), eq. 3
    return h, c, alpha, logits(Ey, h, z, w.L_o, w.L_h, w.L_z, w.b_o)  # for eq. 7
