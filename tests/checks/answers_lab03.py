"""Answers to the exercises of lab 3: right ones, and wrong ones with a part of each message."""


def place_of(image, per_shard):
    return divmod(image, per_shard)


def share_of(order, step, batch_size, rank, world_size):
    return order[step * batch_size : (step + 1) * batch_size][rank::world_size]


def share_in_a_row(order, step, batch_size, rank, world_size):
    """Another right answer: each process takes a contiguous part."""
    together = order[step * batch_size : (step + 1) * batch_size]
    size = -(-len(together) // world_size)
    return list(together[rank * size : (rank + 1) * size])


def state_after(steps, batch_size, num_samples):
    epoch, step = divmod(steps, -(-num_samples // batch_size))
    return epoch, step * batch_size


RIGHT = [
    ("3.1", 19_929),
    ("3.2", place_of),
    ("3.3", share_of),
    ("3.3", share_in_a_row),
    ("3.4", state_after),
]
OPEN = {"3.1": ...}


WRONG = [
    ("3.1", 9_964, "4 bytes per number"),
    ("3.1", 19_930, "round down"),
    ("3.1", 21_399, "2^30"),
    ("3.1", 4e9 / (196 * 512 * 2), "not a whole number"),
    ("3.2", lambda i, per: (i % per, i // per), "swapped"),
    ("3.2", lambda i, per: (i // per + 1, i % per), "you count files from 1"),
    ("3.2", lambda i, per: (i / per, i % per), "with //"),
    ("3.2", lambda i, per: divmod(i, 10_000), "4 images per file it is (1, 2), not (0, 6)"),
    ("3.2", lambda i, per: i // per, "return two numbers, file and row"),
    ("3.3", lambda o, t, b, r, w: o[t * b : (t + 1) * b], "appears 3 times"),
    ("3.3", lambda o, t, b, r, w: o[t * b : (t + 1) * b][::w], "use `rank`"),
    ("3.3", lambda o, t, b, r, w: o[t * b :][:b][r * (b // w) :][: b // w], "left over"),
    ("3.3", lambda o, t, b, r, w: o[(t * w + r) * b :][:b], "3 times 6 samples"),
    ("3.3", lambda o, t, b, r, w: o[r * 8 : r * 8 + 8][t * 2 :][:2], "one process alone"),
    ("3.3", lambda o, t, b, r, w: o[t * b : (t + 1) * b][r : b - 1 : w], "never appear"),
    ("3.3", lambda o, t, b, r, w: o[t * b : (t + 1) * b][r:], "more than once"),
    ("3.4", lambda n, b, s: divmod(n * b, s), "every step as full"),
    ("3.4", lambda n, b, s: divmod(n, -(-s // b)), "is in steps"),
    ("3.4", lambda n, b, s: state_after(n, b, s)[::-1], "swapped"),
    ("3.4", lambda n, b, s: (n // (s // b + 1), n % (s // b + 1) * b), "divide evenly"),
    ("3.4", lambda n, b, s: (0, 40), "on 828 samples it is (0, 200), not (0, 40)"),
    ("3.4", lambda n, b, s: (n // (s // b), n % (s // b) * b), "round up"),
]
