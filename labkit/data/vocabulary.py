"""Words to ids and back.

A caption is a list of ids: `<bos>`, its words, `<eos>`. Words come from `captions.tokenize`; those
met less often than `min_count` times become `<unk>`.

The peers do it otherwise, so scores of models with different vocabularies compare only roughly:

- The paper (Xu et al., 2015) takes a fixed vocabulary of 10,000 words.
- Karpathy's neuraltalk2 lower-cases, deletes all punctuation ("man's" becomes "mans", "t-shirt"
  "tshirt"), keeps words met more than 5 times, has UNK for the others, and cuts captions at 16
  words.
- yunjey/show-attend-and-tell (TensorFlow) lower-cases, deletes some punctuation, writes "&" as
  "and" and a hyphen as a space, keeps every word of the training split, leaves words it does not
  know out of a caption in silence, and deletes captions of more than 15 words.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from labkit.data.readers import tokenize

PAD, BOS, EOS, UNK = 0, 1, 2, 3
SPECIAL = ("<pad>", "<bos>", "<eos>", "<unk>")


@dataclass(frozen=True)
class Vocabulary:
    """The words that a model can say.

    Attributes:
        words: The word of each id; the first four are `<pad>`, `<bos>`, `<eos>`, `<unk>`.

    Raises:
        ValueError: The first four words are others, or a word stands twice.
    """

    words: tuple[str, ...]
    _ids: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self):
        ids = {word: i for i, word in enumerate(self.words)}
        strings = all(isinstance(word, str) for word in self.words)
        if not strings or self.words[:4] != SPECIAL or len(ids) != len(self.words):
            raise ValueError(f"a vocabulary has each word once, and begins with {SPECIAL}")
        object.__setattr__(self, "_ids", ids)

    @classmethod
    def build(cls, captions: Iterable[str], min_count: int = 5) -> "Vocabulary":
        """Take the words of the training captions, the most frequent first, ties alphabetical.

        Args:
            captions: Captions as written.
            min_count: How often a word must be met to be in the vocabulary.

        Raises:
            ValueError: No word is met that often.
        """
        counts = Counter(word for caption in captions for word in tokenize(caption))
        frequent = [word for word, count in counts.items() if count >= min_count]
        if not frequent:
            raise ValueError(f"no word is met {min_count} times: lower min_count, or add captions")
        return cls((*SPECIAL, *sorted(frequent, key=lambda word: (-counts[word], word))))

    def encode(self, caption: str, max_words: int | None = None) -> list[int]:
        """Turn a caption into ids, from BOS to EOS.

        Args:
            caption: A caption as written.
            max_words: Words after these are cut off; EOS stays. None cuts nothing.

        Returns:
            At most `max_words` + 2 ids.
        """
        words = tokenize(caption)[:max_words]
        return [BOS, *(self._ids.get(word, UNK) for word in words), EOS]

    def decode(self, ids: Iterable[int]) -> str:
        """Turn ids into words joined by spaces, up to the first EOS, without PAD and BOS.

        Raises:
            ValueError: An id that is no word's.
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

    def __len__(self) -> int:
        return len(self.words)

    def save(self, path: str | Path) -> None:
        """Write the words as JSON, all or nothing."""
        part = Path(f"{path}.part")
        with open(part, "w", encoding="utf-8") as file:
            json.dump({"words": self.words}, file, ensure_ascii=False, indent=0)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)

    @classmethod
    def load(cls, path: str | Path) -> "Vocabulary":
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: No such file.
            ValueError: The file is no vocabulary.
        """
        try:
            return cls(tuple(json.loads(Path(path).read_text(encoding="utf-8"))["words"]))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is not a vocabulary: build it from the captions") from error
