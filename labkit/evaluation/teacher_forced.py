"""Teacher forcing: a model's attention maps and loss on the references."""

from collections.abc import Sequence

import numpy as np
import torch

from labkit.data.vocabulary import Vocabulary
from labkit.distributed import ProcessGroup
from labkit.model.decoder import Decoder, pad_captions
from labkit.store.shards import FeatureStore

BATCH_SIZE = 20  # images whose references go through the decoder at once


@torch.inference_mode()
def teacher_forced_maps(
    decoder: Decoder, vocabulary: Vocabulary, store: FeatureStore, pairs: Sequence[tuple[int, int]],
    attention_mode: str | None = None,
) -> torch.Tensor:  # fmt: skip
    """Compute where the model looks at each word of the references.

    Args:
        decoder: In evaluation mode.
        vocabulary: Its words.
        store: The images.
        pairs: C pairs: a row of the store, and the number of one of its captions.
        attention_mode: A key of `labkit.model.config.ATTENTION_MODES`; None uses the mechanism's
            default.

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
    decoder: Decoder, vocabulary: Vocabulary, store: FeatureStore, max_length: int,
    group: ProcessGroup | None = None,
) -> float:  # fmt: skip
    """Compute the mean of -log p over the words of the references, without label smoothing.

    Args:
        decoder: In evaluation mode.
        vocabulary: Its words.
        store: The images; those without captions are left out.
        max_length: Longer captions are truncated to this number of words, as in training.
        group: The processes that share the work; None is this process alone.

    Returns:
        The loss in nats per word, over all processes.
    """
    group, nll, words = group or ProcessGroup(), 0.0, 0
    captioned = [row for row in range(len(store)) if store.captions[row]]
    mine = captioned[group.rank :: group.world_size]
    for start in range(0, len(mine), BATCH_SIZE):
        rows = mine[start : start + BATCH_SIZE]
        where = np.repeat(np.arange(len(rows)), [len(store.captions[row]) for row in rows])
        a = torch.from_numpy(store.read(rows)).float()[where].to(group.device)  # (C, L, D)
        ids = [vocabulary.encode(text, max_length) for row in rows for text in store.captions[row]]
        output = decoder(a, pad_captions(ids).to(group.device))
        nll += output.nll.sum().item()
        words += len(output.nll)
    total, count = group.all_reduce_sum(nll, words)
    return total / count
