"""Answers to the exercises of lab 4: right ones, and wrong ones with a part of each message."""

import torch

torch.set_num_threads(1)


def scores(a, h, W_a, W_s, b, v):
    return torch.tanh(a @ W_a.T + (h @ W_s.T)[:, None] + b) @ v


def weights(e):
    return e.softmax(-1)


def mix(alpha, a):
    return alpha @ a


def context(phi, h, w_beta, b_beta):
    return torch.sigmoid(h @ w_beta.T + b_beta) * phi


def lstm(word, z, h, c, W_y, W_z, W_h, b):
    i, f, o, g = (word @ W_y.T + z @ W_z.T + h @ W_h.T + b).chunk(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def torch_lstm(word, z, h, c, W_y, W_z, W_h, b):
    """The same inputs in torch's own cell, which has a different order of gates."""
    size = h.shape[-1]
    cell = torch.nn.LSTMCell(word.shape[-1] + z.shape[-1], size)
    with torch.no_grad():
        cell.weight_ih.copy_(torch.cat([W_y, W_z], 1))
        cell.weight_hh.copy_(W_h)
        cell.bias_ih.copy_(b)
        cell.bias_hh.zero_()
    return cell(torch.cat([word, z], -1), (h, c))


def word_log_p(word, h, z, L_o, L_h, L_z, b_o):
    return ((word + h @ L_h.T + z @ L_z.T) @ L_o.T + b_o).log_softmax(-1)


RIGHT = [
    ("4.1", scores),
    ("4.2", weights),
    ("4.3", mix),
    ("4.4", context),
    ("4.5", lstm),
    ("4.6", word_log_p),
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
    ("4.3", lambda alpha, a: a.mean(0).expand(len(alpha), -1), "alpha is not used"),
    ("4.3", lambda alpha, a: a.sum(0).expand(len(alpha), -1), "without their weights"),
    ("4.3", lambda alpha, a: alpha[..., None] * a, "do not add them up"),
    ("4.3", lambda alpha, a: a[alpha.argmax(-1)], "hard attention"),
    ("4.4", lambda phi, h, w, b: torch.sigmoid(h @ w.T + b) * h, "multiply h by the gate"),
    ("4.4", lambda phi, h, w, b: torch.sigmoid(h * w + b) * phi, "your gate is a vector"),
    ("4.4", lambda phi, h, w, b: torch.sigmoid(phi @ w.T + b) * phi, "the gate from phi"),
    ("4.4", lambda phi, h, w, b: (h @ w.T + b) * phi, "left out the sigmoid"),
    ("4.4", lambda phi, h, w, b: torch.sigmoid(h @ w.T + b), "this is the gate"),
    ("4.5", torch_lstm, "torch.nn.LSTM has i, f, g, o"),
    ("4.5", lambda *given: lstm(*given)[::-1], "h comes first"),
    ("4.5", lambda *given: lstm(*given)[0], "two things"),
    ("4.5", lambda word, z, *rest: lstm(word, 0 * z, *rest), "does not see the picture"),
    ("4.5", lambda word, *rest: lstm(0 * word, *rest), "left out the word"),
    ("4.6", lambda *given: word_log_p(*given).exp(), "their logarithms"),
    ("4.6", lambda word, h, z, *rest: word_log_p(word, h, 0 * z, *rest), "without the picture"),
    ("4.6", lambda word, *rest: word_log_p(0 * word, *rest), "the last word"),
    ("4.6", lambda y, h, z, o, p, q, b: word_log_p(y, h, z, o, p.T, q.T, b), "transposed"),
]
