"""How fast the decoder learns and captions, beside the plain equations and beside a peer.

    python benchmarks/decoder.py [--json decoder.json]
    python benchmarks/decoder.py --peer DIR   # a checkout of sgrvinod's image captioning tutorial
    python benchmarks/decoder.py --device cuda

Contenders take turns on the same random numbers: 40 captions of 8 to 16 words, a vocabulary of
10,000, 196 regions, all sizes 512, annotation vectors of 512 and of 2,048 numbers. "plain" is the
decoder as it is commonly written, from `labkit.model.equations`: the regions projected at each
step, the vocabulary product made at each step, a beam search for each image by itself. The peer is
another program with other weights, so only its time is compared. A step is loss and gradients; its
optimiser is another question. A beam search has 5 beams and 20 words.

Time is CPU time of one thread, which a busy machine disturbs least, and wall time of two threads.
Ratios are medians over the rounds. Before the clock runs, losses, gradients and best captions of
"labkit" and "plain" are compared, in float64 and without dropout.
"""

import argparse
import importlib.util
import json
import statistics
import sys
import time
import types
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear
from torch.nn.utils.rnn import pack_padded_sequence

from labkit import Decoder, GenerationConfig, ModelConfig, TrainingConfig
from labkit.data.vocabulary import BOS, EOS, PAD
from labkit.model import equations
from labkit.model.captions import NEVER_GENERATED, Caption
from labkit.model.decoder import pad_captions
from labkit.model.equations import Parameters, soft_context
from labkit.model.generation import generate
from labkit.training.objective import Objective

CAPTIONS, REGIONS, V, SIZE = 40, 196, 10_000, 512
BEAMS, WORDS, IMAGES = 5, 20, 25
MECHANISMS = ["soft", "reinforce", "gumbel", "marginal"]
OBJECTIVE = TrainingConfig(doubly_stochastic=1.0, label_smoothing=0.0)  # the peer's terms


class Case:
    """The numbers that all contenders get: a decoder, annotation vectors, captions."""

    def __init__(self, D: int, device: str, attention: str = "soft", dropout: float = 0.5):
        torch.manual_seed(0)
        config = ModelConfig(
            vocab_size=V, encoder_dim=D, attention=attention, attention_dim=SIZE,
            dropout=dropout, word_dropout=dropout / 2, feature_dropout=dropout / 2,
        )  # fmt: skip
        self.decoder = Decoder(config).to(device)
        with torch.no_grad():
            self.decoder.bias[EOS] = -30  # no caption ends before its 20 words
            self.decoder.embedding.weight *= 4  # some words are likelier than others, as in life
        self.a = torch.randn(CAPTIONS, REGIONS, D, device=device).relu()
        lengths = torch.randint(8, 17, (CAPTIONS,)).tolist()
        self.captions = pad_captions(
            [[BOS, *torch.randint(4, V, (n - 1,)).tolist(), EOS] for n in lengths]
        ).to(device)


# ------------------------------------------------------------------------------- a training step


def labkit_step(case: Case, bf16: bool) -> Tensor:
    """Loss per word and gradients, as in training."""
    case.decoder.zero_grad(set_to_none=True)
    a = case.a.bfloat16() if bf16 else case.a
    with torch.autocast(a.device.type, torch.bfloat16, enabled=bf16):
        output = case.decoder(a, case.captions)
    loss = Objective(OBJECTIVE)(output)
    loss = loss.total / loss.words
    loss.backward()
    return loss.detach()


def plain_step(case: Case) -> Tensor:
    """The same, composed of the equations. Shapes: B captions side by side, n unfinished."""
    decoder, captions = case.decoder, case.captions
    decoder.zero_grad(set_to_none=True)
    w = Parameters.of(decoder)
    lengths = (captions[:, 1:] != PAD).sum(1)
    lengths, order = lengths.sort(descending=True)
    captions = captions[order]
    a = decoder.reduce(decoder.norm(case.a[order]))  # (B, L, D)
    h, c = equations.initial_state(a, w.W_init_h, w.b_init_h, w.W_init_c, w.b_init_c)
    log_p, alphas = a.new_zeros(len(a)), a.new_zeros(len(a), REGIONS)
    for t in range(int(lengths[0])):
        n = int((lengths > t).sum())
        h, c, alpha, logits = equations.step(
            captions[:n, t], a[:n], h[:n], c[:n], soft_context, w
        )  # (n, H), (n, H), (n, L), (n, V)
        rest = log_p.new_zeros(len(a) - n)
        log_p = log_p + torch.cat(
            [-cross_entropy(logits, captions[:n, t + 1], reduction="none"), rest]
        )
        alphas = alphas + torch.cat([alpha, alpha.new_zeros(len(a) - n, REGIONS)])
    loss = equations.doubly_stochastic_loss(log_p, alphas[:, None], 1.0).sum() / lengths.sum()
    loss.backward()
    return loss.detach()


# ----------------------------------------------------------------------------------- a beam search


@torch.inference_mode()
def labkit_beam(case: Case, bf16: bool) -> list[Caption]:
    """All images at once."""
    config = GenerationConfig(num_beams=BEAMS, max_length=WORDS)
    with torch.autocast(case.a.device.type, torch.bfloat16, enabled=bf16):
        return generate(case.decoder, case.a[:IMAGES], config)


@torch.inference_mode()
def plain_beam(case: Case, images: int) -> list[list[int]]:
    """An image at a time, its features copied for each beam. No caption ends early here."""
    decoder, found = case.decoder, []
    w = Parameters.of(decoder)
    for features in case.a[:images]:
        a = decoder.reduce(decoder.norm(features))  # (L, D)
        h, c = equations.initial_state(a, w.W_init_h, w.b_init_h, w.W_init_c, w.b_init_c)
        a, h, c = a.repeat(BEAMS, 1, 1), h.repeat(BEAMS, 1), c.repeat(BEAMS, 1)
        scores = torch.full((BEAMS, 1), -torch.inf, device=a.device)
        scores[0] = 0
        words, sequences = torch.full((BEAMS,), BOS, device=a.device), [[] for _ in range(BEAMS)]
        for t in range(WORDS + 1):
            h, c, _, logits = equations.step(words, a, h, c, soft_context, w)
            log_p = equations.word_probabilities(logits).log()
            if t == WORDS:  # all captions end here
                break
            log_p[:, [*NEVER_GENERATED, EOS]] = -torch.inf
            best, places = (scores + log_p).view(-1).topk(BEAMS)
            parents, words = places // V, places % V
            scores, h, c = best[:, None], h[parents], c[parents]
            sequences = [
                [*sequences[p], word]
                for p, word in zip(parents.tolist(), words.tolist(), strict=True)
            ]
        found.append(sequences[int((scores[:, 0] + log_p[:, EOS]).argmax())])
    return found


# -------------------------------------------------------------------------------------- the peer


class Peer:
    """sgrvinod's ``models.py`` and ``caption.py``, read from a checkout that the user has.

    They are of 2018: packages that are gone since are replaced by empty ones, and the division of
    whole numbers, which torch has changed, is written as today's. Its search stops after 20 words.
    """

    def __init__(self, folder: Path, D: int, device: str):
        def module(name: str, **names: object) -> None:
            sys.modules[name] = types.ModuleType(name)
            vars(sys.modules[name]).update(names)

        module("scipy.misc", imread=lambda _: np.zeros((256, 256, 3)), imresize=lambda x, _: x)
        module("skimage"), module("skimage.transform")
        path = folder / "models.py"
        spec = importlib.util.spec_from_file_location("peer_models", path)
        self.models = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.models)
        source = (folder / "caption.py").read_text(encoding="utf-8")
        source = source.split("def visualize_att")[0]
        source = source.replace("top_k_words / vocab_size", "top_k_words // vocab_size")
        source = source.replace("step > 50", f"step >= {WORDS}")
        self.caption: dict = {}
        exec(compile(source, folder / "caption.py", "exec"), self.caption)
        torch.manual_seed(0)
        self.decoder = self.models.DecoderWithAttention(SIZE, SIZE, SIZE, V, D).to(device)
        self.decoder.fc.bias.data[EOS] = -30

    def step(self, case: Case) -> None:
        """As in its ``train.py``: the loss of packed words, and its doubly stochastic term."""
        self.decoder.train().zero_grad()
        lengths = (case.captions != PAD).sum(1, keepdim=True)
        scores, captions, lengths, alphas, _ = self.decoder(case.a, case.captions, lengths)
        scores = pack_padded_sequence(scores, lengths, batch_first=True).data
        targets = pack_padded_sequence(captions[:, 1:], lengths, batch_first=True).data
        loss = cross_entropy(scores, targets) + ((1.0 - alphas.sum(dim=1)) ** 2).mean()
        loss.backward()

    @torch.inference_mode()
    def beam(self, case: Case, images: int) -> None:
        """Its search for some images, an image at a time."""
        self.decoder.eval()
        word_map = {str(i): i for i in range(4, V)} | {"<start>": BOS, "<end>": EOS, "a": 0, "b": 3}
        for a in case.a[:images]:
            with suppress(ValueError):  # no caption has ended: it takes the best of an empty list
                self.caption["caption_image_beam_search"](
                    lambda _, a=a: a.view(1, 14, 14, -1), self.decoder, "", word_map, BEAMS
                )


# ---------------------------------------------------------------------------------- measurements


def check(D: int, device: str) -> dict[str, float]:
    """Compare "labkit" and "plain": losses, gradients, best captions."""
    case = Case(D, device, dropout=0.0)
    case.decoder.double().train()
    case.a = case.a.double()
    ours = labkit_step(case, False)
    grads = {k: p.grad.clone() for k, p in case.decoder.named_parameters()}
    plain = plain_step(case)
    distance = max(
        float((grads[k] - p.grad).norm() / p.grad.norm().clamp(min=1e-12))
        for k, p in case.decoder.named_parameters() if p.grad is not None
    )  # fmt: skip
    case.decoder.eval()
    captions = [one.words for one in labkit_beam(case, False)]
    same = sum(x == y for x, y in zip(captions, plain_beam(case, IMAGES), strict=True))
    difference = abs(float(ours - plain) / float(plain))
    if difference > 1e-9 or distance > 1e-9 or same < IMAGES:
        raise SystemExit(
            f"D {D}: labkit and the equations differ: loss by {difference:.1e}, a gradient by "
            f"{distance:.1e}, {IMAGES - same} of {IMAGES} captions"
        )
    return {"loss differs by": difference, "gradients differ by": distance, "same captions": same}


def seconds(work: Callable[[], object], device: str, cpu: bool) -> float:
    clock = time.process_time if cpu else time.perf_counter
    begin = clock()
    work()
    if device != "cpu":
        torch.cuda.synchronize()
    return clock() - begin


def take_turns(work: dict[str, Callable[[], object]], rounds: int, device: str) -> dict[str, list]:
    """Measure each once a round, beginning with another one each time, after a warm-up.

    CPU time with one thread, and wall time with two.
    """
    times: dict[str, list[dict[str, float]]] = {name: [] for name in work}
    names = list(work)
    for number in range(-1, rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            torch.set_num_threads(1)
            one = {"cpu": seconds(work[name], device, cpu=device == "cpu")}
            torch.set_num_threads(2)
            one["wall"] = seconds(work[name], device, cpu=False)
            if number >= 0:
                times[name].append(one)
    return times


def product_limit(bf16: bool, device: str) -> float:
    """The machine's best at one large product of one thread, in multiplications per second."""
    torch.set_num_threads(1)
    dtype = torch.bfloat16 if bf16 else torch.float32
    x, y = (torch.randn(4096, 1024, device=device, dtype=dtype) for _ in range(2))
    times = [seconds(lambda: linear(x, y), device, cpu=device == "cpu") for _ in range(6)]
    return 4096 * 4096 * 1024 / min(times[1:])


def measure(D: int, rounds: int, device: str, peer: Path | None) -> list[dict]:
    """All figures at one size of annotation vectors."""
    cases = {m: Case(D, device, m) for m in MECHANISMS}
    soft, other = cases["soft"], Peer(peer, D, device) if peer else None
    steps: dict[str, Callable[[], object]] = {}
    for bf16 in (False, True):
        precision = "bf16" if bf16 else "fp32"
        for name, case in cases.items():
            steps[f"{name} {precision}"] = lambda case=case, bf16=bf16: labkit_step(case, bf16)
    steps["plain fp32"] = lambda: plain_step(soft)
    if other:
        steps["peer fp32"] = lambda: other.step(soft)
    rows = table(f"step, D {D}", take_turns(steps, rounds, device), 1)
    for case in cases.values():
        case.decoder.eval()
    few = 3  # images for the slow ones
    searches: dict[str, Callable[[], object]] = {
        "soft fp32": lambda: labkit_beam(soft, False), "soft bf16": lambda: labkit_beam(soft, True),
        "plain fp32": lambda: plain_beam(soft, few),
    }  # fmt: skip
    if other:
        searches["peer fp32"] = lambda: other.beam(soft, few)
    counts = {name: few if name.split()[0] in ("plain", "peer") else IMAGES for name in searches}
    return rows + table(f"beam, D {D}", take_turns(searches, rounds, device), counts)


def table(title: str, times: dict[str, list], counts: int | dict[str, int]) -> list[dict]:
    """Print a line for each contender: times, and how many times as fast as the others."""
    rows = []
    per = {
        name: {c: [one[c] / (counts if isinstance(counts, int) else counts[name]) for one in found]
               for c in ("cpu", "wall")}
        for name, found in times.items()
    }  # fmt: skip
    for name, own in per.items():
        row = {"what": title, "name": name}
        row |= {f"{c} ms": statistics.median(own[c]) * 1e3 for c in own}
        for base in ("peer fp32", "plain fp32", f"soft {name.split()[1]}"):
            if base in per:
                for c in own:
                    ratios = [b / o for b, o in zip(per[base][c], own[c], strict=True)]
                    row[f"{base.split()[0]}/{c}"] = statistics.median(ratios)
        rows.append(row)
    print(f"\n{title}\n{'':18}" + "".join(f"{key:>12}" for key in list(rows[0])[2:]))
    for row in rows:
        print(f"{row['name']:18}" + "".join(f"{x:12.3g}" for x in list(row.values())[2:]))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", type=Path, help="folder of the peer's checkout")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict] = []
    for D in (512, 2048):
        found = check(D, args.device)
        print(f"D {D}: " + ", ".join(f"{k} {v:.2g}" for k, v in found.items()))
        rows += measure(D, args.rounds, args.device, args.peer)
    limits = {k: product_limit(k == "bf16", args.device) for k in ("fp32", "bf16")}
    print("\nlargest product, G multiplications a second:",
          ", ".join(f"{k} {v / 1e9:.0f}" for k, v in limits.items()))  # fmt: skip
    if args.json:
        args.json.write_text(json.dumps({"rows": rows, "limits": limits}, indent=1) + "\n")


if __name__ == "__main__":
    main()
