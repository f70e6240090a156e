"""Answers to the exercises of lab 5: right ones, and wrong ones with a part of each message."""


def nll(log_p, targets):
    return -log_p.gather(2, targets[..., None])[..., 0]


def word_loss(log_p, captions):
    targets = captions[:, 1:]
    return nll(log_p, targets)[targets != 0].mean()


def in_a_loop(log_p, captions):
    """Another right answer."""
    total, words = 0.0, 0
    for row, caption in zip(log_p, captions.tolist(), strict=True):
        for step, word in enumerate(caption[1:]):
            if word:
                total, words = total - row[step, word], words + 1
    return total / words


def penalty(alpha, captions, target=1.0, masked=True, axis=1, regions="sum"):
    mask = (captions[:, 1:] != 0)[..., None]
    received = (alpha * mask if masked else alpha).sum(axis)
    squares = (target - received).square()
    return (squares.sum() if regions == "sum" else squares.mean(1).sum()) / mask.sum()


RIGHT = [
    ("5.1", 4_142),
    ("5.2", word_loss),
    ("5.2", in_a_loop),
    ("5.3", penalty),
    ("5.4", 1),
    ("5.4", 0.9999),
    ("5.4", 0.98),
]
OPEN = {"5.1": ..., "5.4": ...}


def counted(x, captions):
    return x[captions[:, 1:] != 0].sum()


WRONG = [
    ("5.1", 4_141, "round up"),
    ("5.1", 828, "not a photograph"),
    ("5.1", 4_140, "exactly five"),
    ("5.2", lambda p, c: nll(p, c[:, 1:]).mean(), "padding was counted"),
    ("5.2", lambda p, c: counted(nll(p, c[:, 1:]), c) / 10, "there are 8 targets"),
    ("5.2", lambda p, c: counted(nll(p, c[:, 1:]), c) / 2, "number of captions"),
    ("5.2", lambda p, c: nll(p, c[:, :-1])[c[:, :-1] != 0].mean(), "not shifted by one"),
    ("5.2", lambda p, c: -word_loss(p, c), "the sign is wrong"),
    ("5.2", lambda p, c: word_loss(p, c).item(), "no gradient"),
    ("5.3", lambda a, c, t=1.0: penalty(a, c, t, masked=False), "padding was counted"),
    ("5.3", lambda a, c, t=1.0: penalty(a, c, t, axis=2), "over the steps, axis 1"),
    ("5.3", lambda a, c, t=1.0: penalty(a, c, t, regions="mean"), "mean over the regions"),
    ("5.3", lambda a, c, t=1.0: penalty(a, c), "`target` was not used"),
    ("5.3", lambda a, c, t=1.0: penalty(a, c, t) * 8, "that is the sum"),
    ("5.3", lambda a, c, t=1.0: penalty(a, c.roll(1, 1), t), "must follow the targets"),
    ("5.3", lambda a, c, t=1.0: penalty(a, c * (c != 2), t), "its step counts"),
    ("5.3", lambda a, c, t=1.0: penalty(a, c, t) * 8 / 10, "there are 8 targets"),
    ("5.3", lambda a, c, t=1.0: penalty(a, c, t).detach(), "no gradient"),
    ("5.4", 16 / 196, "does not scale"),
    ("5.4", 0, "does not vanish"),
    ("5.4", 0.5, "measure it"),
]
