import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.store.shuffle import ShuffledOrder

seeds = st.integers()


def whole(count: int, seed: int, epoch: int) -> np.ndarray:
    return ShuffledOrder(count, seed, epoch)(np.arange(count))


@settings(deadline=None)
@given(st.integers(1, 3000), seeds, seeds)
def test_every_sample_stands_at_one_position(count, seed, epoch):
    assert sorted(whole(count, seed, epoch)) == list(range(count))


@settings(deadline=None)
@given(st.integers(1, 3000), seeds, st.data())
def test_a_position_is_the_same_asked_for_alone_or_with_others(count, seed, data):
    order, all_at_once = ShuffledOrder(count, seed, 3), whole(count, seed, 3)
    some = data.draw(st.lists(st.integers(0, count - 1), max_size=20))
    assert order(np.array(some, dtype=np.int64)).tolist() == all_at_once[some].tolist()


def test_golden():
    """The order must never change: training resumes from states that were written years ago."""
    assert whole(10, 0, 0).tolist() == [4, 8, 0, 6, 9, 5, 3, 1, 7, 2]
    assert whole(10, 0, 1).tolist() == [7, 5, 9, 4, 1, 6, 8, 3, 2, 0]
    coco = ShuffledOrder(82_783, 1, 0)(np.array([0, 1, 41_391, 82_782]))
    assert coco.tolist() == [55198, 6803, 52859, 57723]
    many = ShuffledOrder(10**9, 2026, 7)(np.arange(5))
    assert many.tolist() == [746693074, 713433013, 250887867, 904087441, 691308778]
    most = ShuffledOrder(2**62, 2**64 - 1, 2**64 - 1)(np.array([0, 2**62 - 1]))
    assert most.tolist() == [2294147128497576662, 3833374439677310733]


def test_another_seed_or_epoch_is_another_order():
    orders = {tuple(whole(50, seed, epoch)) for seed in range(20) for epoch in range(20)}
    assert len(orders) == 400


@pytest.mark.parametrize("count", [5, 33])
def test_every_sample_comes_equally_often_to_every_position(count):
    """Chi-squared over 500 epochs, within 5 standard deviations of what chance gives."""
    epochs, times = 500, np.zeros((count, count))
    for epoch in range(epochs):
        times[np.arange(count), whole(count, 7, epoch)] += 1
    chi2 = ((times - epochs / count) ** 2 / (epochs / count)).sum()
    freedom = (count - 1) ** 2
    assert abs(chi2 - freedom) < 5 * np.sqrt(2 * freedom)


def test_neighbours_of_one_epoch_are_strangers_in_the_next():
    one, other = whole(20_000, 0, 0), whole(20_000, 0, 1)
    for first, second in [(one, other), (one[1:], one[:-1]), (one, np.arange(20_000))]:
        assert abs(np.corrcoef(first, second)[0, 1]) < 0.03


def test_a_thousand_million_images_take_no_memory():
    """10^9 images in 10^6 shards: an epoch starts at once, anywhere, in a few kilobytes."""
    seen: list[int] = []
    tracemalloc.start()
    order = ShuffledOrder(10**9, seed=1, epoch=2)
    for start in (0, 123_456_789, 10**9 - 4000):
        for step in range(100):
            seen += order(np.arange(start + 40 * step, start + 40 * step + 40)).tolist()
    kept = 12_000 * (8 + 32)  # `seen` itself
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < kept + 200_000
    assert len(set(seen)) == 12_000
    assert len({sample // 1000 for sample in seen}) > 11_800  # of the 10^6 shards


@pytest.mark.parametrize("count", [-1, 0, 2**62 + 1])
def test_too_few_or_too_many_samples_are_refused(count):
    with pytest.raises(ValueError, match="an order has 1 to"):
        ShuffledOrder(count, 0, 0)


@pytest.mark.parametrize("position", [-1, 7, 60])
def test_positions_outside_are_refused(position):
    with pytest.raises(IndexError, match="order of 7 samples"):
        ShuffledOrder(7, 0, 0)(np.array([position]))
