"""Answers to the exercises of lab 4: right ones, and wrong ones with a part of each message."""

import torch

torch.set_num_threads(1)


def scores(a, h, W_a, W_s, b, v):
    return torch.tanh(a @ W_a.T + (h @ W_s.T)[:, None] + b) @ v


def weights(e):
    return e.softmax(-1)


def soft_context(a, alpha):
    return alpha @ a


def context_gate(h, w_beta, b_beta):
    return torch.sigmoid(h @ w_beta.T + b_beta)


def lstm_gates(Ey, h, z, W_y, W_h, W_z, b):
    i, f, o, g = (Ey @ W_y.T + h @ W_h.T + z @ W_z.T + b).chunk(4, -1)
    return i.sigmoid(), f.sigmoid(), o.sigmoid(), g.tanh()


def lstm_memory(f, c, i, g):
    return f * c + i * g


def lstm_hidden(o, c):
    return o * c.tanh()


LSTM = [lstm_gates, lstm_memory, lstm_hidden]


def with_gates(gates):
    return [gates, lstm_memory, lstm_hidden]


def torch_gates(Ey, h, z, W_y, W_h, W_z, b):
    """The same inputs, in the order of torch's own cell."""
    i, f, g, o = (Ey @ W_y.T + h @ W_h.T + z @ W_z.T + b).chunk(4, -1)
    return i.sigmoid(), f.sigmoid(), o.sigmoid(), g.tanh()


def raw_gates(*given):
    Ey, h, z, W_y, W_h, W_z, b = given
    return (Ey @ W_y.T + h @ W_h.T + z @ W_z.T + b).chunk(4, -1)


def logits(Ey, h, z, L_o, L_h, L_z, b_o):
    return (Ey + h @ L_h.T + z @ L_z.T) @ L_o.T + b_o


RIGHT = [
    ("4.1", scores),
    ("4.2", weights),
    ("4.3", soft_context),
    ("4.4", context_gate),
    ("4.5", LSTM),
    ("4.6", logits),
]
WRONG = [
    ("4.1", lambda a, h, W_a, W_s, b, v: (a @ W_a.T + (h @ W_s.T)[:, None] + b) @ v, "tanh"),
    ("4.1", lambda a, h, W_a, W_s, b, v: scores(a, h, W_a.T, W_s, b, v), "W_a is transposed"),
    ("4.1", lambda a, h, W_a, W_s, b, v: scores(a, h, W_a.T, W_s.T, b, v), "both matrices"),
    ("4.1", lambda a, h, W_a, W_s, b, v: scores(a, 0 * h, W_a, W_s, b, v), "left out W_s h"),
    ("4.1", lambda a, h, W_a, W_s, b, v: scores(a, h, W_a, W_s, b, v).T, "your scores are"),
    ("4.1", lambda a, h, W_a, W_s, b, v: (a @ W_a.T + h @ W_s.T + b).tanh() @ v, "axis, (1, L, A)"),
    ("4.1", lambda *given: scores(*given).detach(), "no gradient"),
    ("4.2", lambda e: e.softmax(0), "they must sum to 1 over the reg"),
    ("4.2", lambda e: e / e.sum(-1, keepdim=True), "left out the exponential"),
    ("4.2", lambda e: e.sigmoid(), "sigmoid"),
    ("4.2", lambda e: e.exp() / e.exp().sum(-1, keepdim=True), "overflows"),
    ("4.2", lambda e: e.softmax(-1)[..., None], "has shape (3, 5, 1)"),
    ("4.3", lambda a, alpha: a.mean(0).expand(len(alpha), -1), "alpha is not used"),
    ("4.3", lambda a, alpha: a.sum(0).expand(len(alpha), -1), "without their weights"),
    ("4.3", lambda a, alpha: alpha[..., None] * a, "do not add them up"),
    ("4.3", lambda a, alpha: a[alpha.argmax(-1)], "hard attention"),
    ("4.4", lambda h, w, b: torch.sigmoid(h * w + b), "your gate is a vector"),
    ("4.4", lambda h, w, b: h @ w.T + b, "left out the sigmoid"),
    ("4.4", lambda h, w, b: torch.tanh(h @ w.T + b), "needs the sigmoid"),
    ("4.4", lambda h, w, b: context_gate(h, w, b)[:, 0], "keep the last axis"),
    ("4.4", lambda h, w, b: context_gate(h, w, b).detach(), "no gradient"),
    ("4.5", with_gates(torch_gates), "torch.nn.LSTM has i, f, g, o"),
    ("4.5", with_gates(raw_gates), "left out the sigmoids and the tanh"),
    ("4.5", with_gates(lambda *given: lstm_gates(*given)[::-1]), "(i, f, o, g) is"),
    ("4.5", with_gates(lambda *given: lstm_gates(*given)[0]), "four things"),
    ("4.5", with_gates(lambda y, h, z, *rest: lstm_gates(y, h, 0 * z, *rest)), "see the picture"),
    ("4.5", with_gates(lambda y, *rest: lstm_gates(0 * y, *rest)), "left out the word"),
    ("4.5", with_gates(lambda y, h, *rest: lstm_gates(y, 0 * h, *rest)), "does not remember"),
    ("4.5", [lstm_gates, lambda f, c, i, g: i * g, lstm_hidden], "left out the old c"),
    ("4.5", [lstm_gates, lambda f, c, i, g: lstm_memory(i, c, f, g), lstm_hidden], "are swapped"),
    ("4.5", [lstm_gates, lambda f, c, i, g: lstm_memory(f.sigmoid(), c, i.sigmoid(), g.tanh()),
             lstm_hidden], "already, in lstm_gates"),
    ("4.5", [lstm_gates, lstm_memory, lambda o, c: o * c], "left out tanh"),
    ("4.5", [lstm_gates, lstm_memory, lambda o, c: o.sigmoid() * c.tanh()], "already, in lstm_g"),
    ("4.5", lstm_gates, "pass the three functions"),
    ("4.5", [lstm_gates, lstm_memory], "pass the three functions"),
    ("4.6", lambda *given: logits(*given).softmax(-1), "these are the probabilities"),
    ("4.6", lambda *given: logits(*given).log_softmax(-1), "logarithms of the probabilities"),
    ("4.6", lambda y, h, z, *rest: logits(y, h, 0 * z, *rest), "without the picture"),
    ("4.6", lambda y, *rest: logits(0 * y, *rest), "the last word"),
    ("4.6", lambda y, h, z, o, p, q, b: logits(y, h, z, o, p.T, q.T, b), "transposed"),
]  # fmt: skip
