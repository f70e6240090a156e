"""How near soft attention comes to the expectation over places that it stands for (section 4.2).

    python benchmarks/nwgm.py [--model scenes-soft] [--images 100]
    python benchmarks/nwgm.py --model flickr8k-soft --photos FOLDER_OF_FLICKR8K

At each word of a human caption, teacher forced, the word's probability is computed from the same
h_{t-1} in four ways: with the expected context, as soft attention does; as the NWGM, the softmax
of the logits' expectation over the places; as the expectation of the probability, an exact sum
over the L places; and as the expectation of its logarithm, which is eq. 10's bound for one word.
It prints their mean -log p(y_t) and the mean absolute differences between them, in nats: first
where the place changes the LSTM and the output, as in the paper, then where it changes the output
alone and the LSTM reads the expected context. The images are drawn scenes of the split "test", or
the photographs of Flickr8k's split "dev", each with its first caption. About 10 seconds on one
thread for 100 scenes, a minute for 100 photographs.
"""

import argparse
from itertools import pairwise

import torch
from torch import Tensor

from labkit import Captioner, DataReport, make_scenes, read_flickr8k
from labkit.features.encoder import encode
from labkit.model import equations
from labkit.model.equations import Parameters, soft_context


def each_place(a: Tensor, alpha: Tensor) -> Tensor:
    """In the place of phi: the contexts of all places, (L, D), one step for each."""
    return a


def one_word(
    y: int, target: int, a: Tensor, h: Tensor, c: Tensor, w: Parameters
) -> tuple[Tensor, Tensor, Tensor]:
    """h_t and c_t of soft attention, and log p(target) in each way, twice: (2, 4)."""
    h_soft, c_soft, alpha, n_soft = equations.step(y, a, h, c, soft_context, w)
    n = equations.step(y, a, h, c, each_place, w)[3]  # (L, V)
    z = equations.context(each_place, a, alpha, equations.context_gate(h, w.w_beta, w.b_beta))
    n_output = equations.logits(w.E[y], h_soft, z, w.L_o, w.L_h, w.L_z, w.b_o)  # (L, V)
    found = []
    for n_i in (n, n_output):
        soft, nwgm = equations.word_probabilities(n_soft), equations.nwgm(n_i, alpha)  # (V,)
        p = equations.word_probabilities(n_i)[:, target]  # (L,)
        found += [soft[target].log(), nwgm[target].log(), (alpha @ p).log(), alpha @ p.log()]
    return h_soft, c_soft, torch.stack(found).view(2, 4)


@torch.inference_mode()
def measure(model: str, photos: str | None, images: int) -> Tensor:
    """Log p of every word in each way: (words, 2, 4)."""
    captioner = Captioner.from_pretrained(model)
    records = read_flickr8k(photos, ["dev"]) if photos else make_scenes(images, split="test")
    encoded = encode(records[:images], captioner.encoder, DataReport(), progress=False)
    decoder, log_ps = captioner.decoder.double(), []
    w = Parameters.of(decoder)
    for record, features in encoded:
        a = decoder.reduce(decoder.norm(torch.from_numpy(features).double()))  # (L, D)
        h, c = equations.initial_state(a, w.W_init_h, w.b_init_h, w.W_init_c, w.b_init_c)
        for y, target in pairwise(captioner.vocabulary.encode(record.captions[0])):
            h, c, log_p = one_word(y, target, a, h, c, w)
            log_ps.append(log_p)
    return torch.stack(log_ps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="scenes-soft", help="one with soft attention")
    parser.add_argument("--photos", help="Flickr8k's folder; by default scenes are drawn")
    parser.add_argument("--images", type=int, default=100, help="each with its first caption")
    given = parser.parse_args()
    if given.images < 1:
        parser.error("--images must be at least 1")
    torch.set_num_threads(1)
    log_p = measure(given.model, given.photos, given.images)
    soft, nwgm, mean, bound = log_p.unbind(2)  # (words, 2) each
    rows = {
        "-log p(y_t): expected context": -soft,
        "-log p(y_t): NWGM": -nwgm,
        "-log p(y_t): expectation": -mean,
        "-log p(y_t): bound": -bound,
        "|difference|: expected context, NWGM": (soft - nwgm).abs(),
        "|difference|: NWGM, expectation": (nwgm - mean).abs(),
        "|difference|: expected context, expectation": (soft - mean).abs(),
    }
    print(f"{given.model}, {len(log_p)} words")
    print(f"{'nats a word, where the place changes':<44} LSTM and output  output alone")
    for name, values in rows.items():
        both, output = values.mean(0).tolist()
        print(f"{name:<44} {both:15.3f}  {output:12.3f}")


if __name__ == "__main__":
    main()
