"""Statistics of attention maps, for maps made by hand."""

import math

import pytest
import torch

from labkit.evaluation.attention_maps import Agreement, MapScores, agreement, map_scores


def test_looking_everywhere_alike():
    found = map_scores([torch.full((4, 8), 1 / 8), torch.full((2, 8), 1 / 8)])
    assert found.entropy == pytest.approx(math.log(8), abs=1e-6)
    assert found.coverage == pytest.approx(1)


def test_one_place_and_always_the_same():
    alpha = torch.eye(6)[[2, 2, 2, 2]]
    assert map_scores([alpha]) == MapScores(0.0, 0.0, 0.25)


def test_each_word_at_another_place():
    assert map_scores([torch.eye(6)[[0, 3, 5]]]) == MapScores(0.0, 1.0, 1.0)


def test_moves_are_counted_between_words_not_captions():
    """Two captions at different places: of three pairs of words one moves."""
    maps = [torch.eye(5)[[1, 1]], torch.eye(5)[[4, 4, 0]]]
    assert map_scores(maps).moves == pytest.approx(1 / 3)


def test_more_words_than_places_can_cover_all():
    assert map_scores([torch.eye(2)[[0, 1, 0, 1]]]).coverage == pytest.approx(1)


def test_entropy_is_a_mean_over_words():
    half = torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    assert map_scores([half]).entropy == pytest.approx(math.log(2) / 3, abs=1e-6)


def test_no_captions():
    assert map_scores([]) == map_scores([torch.zeros(0, 5)]) == MapScores(0.0, 0.0, 0.0)


def test_agreement():
    one = [torch.tensor([[0.6, 0.4, 0.0], [0.1, 0.2, 0.7]])]
    other = [torch.tensor([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]])]
    assert agreement(one, one) == Agreement(1.0, pytest.approx(1))
    found = agreement(one, other)
    assert found == Agreement(0.5, pytest.approx((0.8 + 0.5) / 2))
    assert agreement(other, one) == found


def test_only_the_same_words_are_compared():
    with pytest.raises(ValueError, match="same words"):
        agreement([torch.eye(3)], [torch.eye(3)[:2]])
