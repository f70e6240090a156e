"""Rewards of our own, for `labkit train --reward benchmarks/own_rewards.py:NAME`."""

from labkit.data.scenes import is_true, read_caption, things_of


def relate(caption, references, facts):
    """1 for a caption that is true and states a relation."""
    links = (read_caption(caption) or ([], []))[1]
    return is_true(caption, things_of(facts)) and any(links)


def complete(caption, references, facts):
    """1 for such a caption that also says how large both objects are."""
    phrases = (read_caption(caption) or ([], []))[0]
    sizes = sum(phrase.size is not None for phrase in phrases)
    return relate(caption, references, facts) and sizes == len(phrases) == 2
