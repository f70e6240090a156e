"""The order of an epoch: a shuffle that can be evaluated at any position.

A shuffled array takes memory and time in proportion to the samples, and must be made again before
training can resume in the middle. This shuffle is a formula, `order(positions)`: for 10^9 samples
it starts as quickly and takes as little memory as for 10. It uses integers and SHA-512 only, no
library's random numbers, so it is the same on every machine and in every version.

It is a Feistel network [1]_: a number's bits are cut into two halves, and each half in turn is
combined by exclusive or with a hash of the other. That can be undone, so no two numbers become the
same. A result that is not a sample's number passes the network again until it is ("cycle walking",
[2]_).

References:
    .. [1] M. Luby, C. Rackoff: How to construct pseudorandom permutations, 1988.
    .. [2] J. Black, P. Rogaway: Ciphers with arbitrary finite domains, 2002.
"""

import hashlib

import numpy as np

ROUNDS = 6
SMALLEST = 6  # bits; with fewer, some orders would come up more often than others
ODD = np.array([0xBF58476D1CE4E5B9, 0x94D049BB133111EB], np.uint64)  # those of SplitMix64


class ShuffledOrder:
    """A permutation of `range(count)`, a pure function of (count, seed, epoch).

    Args:
        count: number of samples, 1 to 2^62.
        seed: any integer.
        epoch: any integer; each pair of seed and epoch has its own order.

    Raises:
        ValueError: the count is out of range.

    Example:
        >>> ShuffledOrder(10, seed=0, epoch=0)(np.arange(10))
        array([4, 8, 0, 6, 9, 5, 3, 1, 7, 2])
    """

    def __init__(self, count: int, seed: int, epoch: int):
        if not 1 <= count <= 1 << 62:
            raise ValueError(f"an order has 1 to 2^62 samples, not {count}")
        self.count = count
        bits = max(SMALLEST, (count - 1).bit_length())
        self._low, self._high = bits // 2, bits - bits // 2
        keys = hashlib.sha512(f"{seed} {epoch}".encode()).digest()
        self._keys = np.frombuffer(keys, "<u8")[:ROUNDS].astype(np.uint64)

    def __call__(self, positions: np.ndarray) -> np.ndarray:
        """Find the samples at some positions.

        Args:
            positions: (n,) integers, 0 ... count - 1.

        Returns:
            (n,) int64, the samples' numbers, 0 ... count - 1.

        Raises:
            IndexError: a position is out of range.
        """
        positions = np.asarray(positions).astype(np.uint64)  # a negative one becomes very large
        if (positions >= self.count).any():
            raise IndexError(f"a position is outside the order of {self.count} samples")
        samples = self._network(positions)
        while (outside := np.flatnonzero(samples >= self.count)).size:
            samples[outside] = self._network(samples[outside])
        return samples.astype(np.int64)

    def _network(self, numbers: np.ndarray) -> np.ndarray:
        low = np.uint64(self._low)
        upper, lower = numbers >> low, numbers & np.uint64((1 << self._low) - 1)
        for one, other in self._keys.reshape(-1, 2):
            lower = lower ^ _hash(upper, one, self._low)
            upper = upper ^ _hash(lower, other, self._high)
        return upper << low | lower


def _hash(numbers: np.ndarray, key: np.uint64, bits: int) -> np.ndarray:
    """Hash each number with a key; products wrap around at 2^64, their high bits mix best."""
    numbers = (numbers ^ key) * ODD[0]
    numbers = (numbers ^ numbers >> np.uint64(32)) * ODD[1]
    return numbers >> np.uint64(64 - bits)
