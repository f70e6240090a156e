"""What a model does while it is given the references word by word: its maps, and its loss."""

from collections.abc import Sequence

import numpy as np
import torch

from labkit.data.vocabulary import Vocabulary
from labkit.distributed import ProcessGroup
from labkit.model.decoder import Decoder, pad_captions
from labkit.store.shards import FeatureStore

FORCED = 20  # images whose captions go through the decoder at once


@torch.inference_mode()
def teacher_forced_maps(
    decoder: Decoder, vocabulary: Vocabulary, store: FeatureStore, pairs: Sequence[tuple[int, int]],
    attention_mode: str | None = None,
) -> torch.Tensor:
    """Where the model looks while it is made to tell the human captions.

    Args:
        decoder: in evaluation mode.
        vocabulary: its words.
        store: the pictures.
        pairs: (row of the store, number of its caption), C of them.
        attention_mode: how to look, see `labkit.model.attention.Attention.see`.

    Returns:
        alpha (C, T, L); row t belongs to word t of the caption.
    """
    device = next(decoder.parameters()).device
    rows, where = np.unique([row for row, _ in pairs], return_inverse=True)
    a = torch.from_numpy(store.read(rows)).float()[where].to(device)  # (C, L, D)
    captions = pad_captions([vocabulary.encode(store.captions[r][k]) for r, k in pairs])
    return decoder(a, captions.to(device), attention_mode).alpha.cpu()


@torch.inference_mode()
def word_loss(
    decoder: Decoder, vocabulary: Vocabulary, store: FeatureStore, max_words: int,
    group: ProcessGroup | None = None,
) -> float:  # fmt: skip
    """Mean of -log p of a word of the human captions, in nats, teacher forced, without smoothing.

    Args:
        decoder: in evaluation mode.
        vocabulary: its words.
        store: the pictures; those without captions are left out.
        max_words: longer captions are cut, as in training.
        group: the processes that share the work.
    """
    group, nll, words = group or ProcessGroup(), 0.0, 0
    rows = [row for row in range(len(store)) if store.captions[row]][group.rank :: group.world_size]
    for start in range(0, len(rows), FORCED):
        some = rows[start : start + FORCED]
        where = np.repeat(np.arange(len(some)), [len(store.captions[row]) for row in some])
        a = torch.from_numpy(store.read(some)).float()[where].to(group.device)  # (C, L, D)
        ids = [vocabulary.encode(text, max_words) for row in some for text in store.captions[row]]
        told = decoder(a, pad_captions(ids).to(group.device))
        nll -= told.log_p.gather(1, told.targets[:, None]).sum().item()
        words += len(told.targets)
    nll, words = group.all_reduce_sum(nll, words)
    return nll / words
