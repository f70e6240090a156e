"""Answers to the exercises of lab 3: right ones, and wrong ones with what is said of them."""


def place_of(image, per_shard):
    return divmod(image, per_shard)


def share_of(order, step, batch, rank, world):
    return order[step * batch : (step + 1) * batch][rank::world]


def share_in_a_row(order, step, batch, rank, world):
    """Another right answer: each process takes a part in a row."""
    together = order[step * batch : (step + 1) * batch]
    size = -(-len(together) // world)
    return list(together[rank * size : (rank + 1) * size])


def state_after(steps, batch, samples):
    epoch, step = divmod(steps, -(-samples // batch))
    return epoch, step * batch


RIGHT = [
    ("3.1", 19_929),
    ("3.2", place_of),
    ("3.3", share_of),
    ("3.3", share_in_a_row),
    ("3.4", state_after),
]
OPEN = {"3.1": ...}


WRONG = [
    ("3.1", 9_964, "4 bytes a number"),
    ("3.1", 19_930, "round down"),
    ("3.1", 21_399, "2^30"),
    ("3.1", 4e9 / (196 * 512 * 2), "no whole number"),
    ("3.2", lambda i, per: (i % per, i // per), "exchanged"),
    ("3.2", lambda i, per: (i // per + 1, i % per), "files are counted from 1"),
    ("3.2", lambda i, per: (i / per, i % per), "with //"),
    ("3.2", lambda i, per: divmod(i, 10_000), "image 6 of files of 4 it is (1, 2), not (0, 6)"),
    ("3.2", lambda i, per: i // per, "give two numbers, file and row"),
    ("3.3", lambda o, t, b, r, w: o[t * b : (t + 1) * b], "comes 3 times"),
    ("3.3", lambda o, t, b, r, w: o[t * b : (t + 1) * b][::w], "use `rank`"),
    ("3.3", lambda o, t, b, r, w: o[t * b :][:b][r * (b // w) :][: b // w], "left over"),
    ("3.3", lambda o, t, b, r, w: o[(t * w + r) * b :][:b], "3 times 6 samples"),
    ("3.3", lambda o, t, b, r, w: o[r * 8 : r * 8 + 8][t * 2 :][:2], "one process alone"),
    ("3.3", lambda o, t, b, r, w: o[t * b : (t + 1) * b][r : b - 1 : w], "never come"),
    ("3.3", lambda o, t, b, r, w: o[t * b : (t + 1) * b][r:], "more than once"),
    ("3.4", lambda n, b, s: divmod(n * b, s), "counted as full"),
    ("3.4", lambda n, b, s: divmod(n, -(-s // b)), "in steps"),
    ("3.4", lambda n, b, s: state_after(n, b, s)[::-1], "exchanged"),
    ("3.4", lambda n, b, s: (n // (s // b + 1), n % (s // b + 1) * b), "come out even"),
    ("3.4", lambda n, b, s: (0, 40), "on 828 samples it is (0, 200), not (0, 40)"),
    ("3.4", lambda n, b, s: (n // (s // b), n % (s // b) * b), "round up"),
]
