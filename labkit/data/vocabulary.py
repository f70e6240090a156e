"""The vocabulary: words to ids and back.

A caption is a list of ids: `<bos>`, its words, `<eos>`. Words come from
`labkit.data.words.tokenize`; those that occur fewer than `min_count` times become `<unk>`.

Other projects do this differently, so models with different vocabularies compare only roughly:

- The paper (Xu et al., 2015) uses a fixed vocabulary of 10,000 words.
- Karpathy's neuraltalk2 lower-cases, deletes all punctuation ("man's" becomes "mans", "t-shirt"
  "tshirt"), keeps words that occur more than 5 times, maps the others to UNK, and cuts captions
  at 16 words.
- yunjey/show-attend-and-tell (TensorFlow) lower-cases, deletes some punctuation, writes "&" as
  "and" and a hyphen as a space, keeps every word of the training split, silently drops unknown
  words from a caption, and removes captions of more than 15 words.
"""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from labkit.console import printable
from labkit.data.words import tokenize
from labkit.files import atomic_write, read_json

PAD, BOS, EOS, UNK = 0, 1, 2, 3
SPECIAL = ("<pad>", "<bos>", "<eos>", "<unk>")


@dataclass(frozen=True)
class Vocabulary:
    """The words that a model can generate.

    Attributes:
        words: The word of each id; the first four are `<pad>`, `<bos>`, `<eos>`, `<unk>`.

    Raises:
        ValueError: The first four words differ from these, or a word occurs twice.

    Example:
        >>> from labkit import Vocabulary
        >>> vocabulary = Vocabulary.build(["A dog runs.", "A brown dog!"], min_count=2)
        >>> vocabulary.words
        ('<pad>', '<bos>', '<eos>', '<unk>', 'a', 'dog')
        >>> vocabulary.encode("a dog sleeps")
        [1, 4, 5, 3, 2]
        >>> vocabulary.decode([1, 4, 5, 3, 2])
        'a dog <unk>'
    """

    words: tuple[str, ...]
    _ids: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        ids = {word: i for i, word in enumerate(self.words)}
        strings = all(isinstance(word, str) for word in self.words)
        if not strings or self.words[:4] != SPECIAL or len(ids) != len(self.words):
            raise ValueError(f"a vocabulary has each word once, and begins with {SPECIAL}")
        object.__setattr__(self, "_ids", ids)

    @classmethod
    def build(cls, captions: Iterable[str], min_count: int = 5) -> "Vocabulary":
        """Collect the words of the training captions, most frequent first, ties alphabetical.

        Args:
            captions: Captions as written.
            min_count: How often a word must occur to be in the vocabulary.

        Raises:
            ValueError: No word occurs that often.
        """
        counts = Counter(word for caption in captions for word in tokenize(caption))
        frequent = [word for word, count in counts.items() if count >= min_count]
        if not frequent:
            raise ValueError(f"no word occurs {min_count} times: lower min_count, or add captions")
        return cls((*SPECIAL, *sorted(frequent, key=lambda word: (-counts[word], word))))

    def encode(self, caption: str, max_length: int | None = None) -> list[int]:
        """Convert a caption to ids, from `<bos>` to `<eos>`.

        Args:
            caption: A caption as written.
            max_length: The number of words to keep; `<eos>` is always kept. None keeps all.

        Returns:
            At most `max_length` + 2 ids.
        """
        words = tokenize(caption)[:max_length]
        return [BOS, *(self._ids.get(word, UNK) for word in words), EOS]

    def decode(self, ids: Iterable[int]) -> str:
        """Convert ids to words joined by spaces, up to the first `<eos>`, without special ids.

        Args:
            ids: Word ids. `<pad>` and `<bos>` are skipped; `<unk>` is kept.

        Raises:
            ValueError: An id is not in the vocabulary.
        """
        words = []
        for i in map(int, ids):
            if i == EOS:
                break
            if not 0 <= i < len(self.words):
                raise ValueError(f"id {i} is not one of this vocabulary's {len(self)} words")
            if i not in (PAD, BOS):
                words.append(self.words[i])
        return " ".join(words)

    def ids(self, words: Iterable[str]) -> list[int]:
        """The ids of single words.

        Raises:
            ValueError: The vocabulary does not have one of them.
        """
        words = list(words)
        if unknown := [word for word in words if word not in self._ids]:
            near = get_close_matches(unknown[0].lower(), self.words, 1)
            meant = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"the vocabulary has no word {unknown[0]!r}{meant}")
        return [self._ids[word] for word in words]

    def __len__(self) -> int:
        return len(self.words)

    def save(self, path: str | Path) -> None:
        """Write the words as JSON, atomically."""
        text = json.dumps({"words": self.words}, ensure_ascii=False, indent=0)
        with atomic_write(path) as part:
            part.write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> "Vocabulary":
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: The file is not a vocabulary.
        """
        try:
            words = read_json(path)["words"]
            text = "\n".join(words)
            if text != printable(text, "\n") or len(text.split()) != len(words):
                raise ValueError("a word holds spaces or control characters")
            return cls(tuple(words))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is not a vocabulary: build it from the captions") from error
