#!/usr/bin/env bash
# torch.onnx: words drawn without replacement (torch.multinomial) are drawn with replacement once exported.
#
# A good guess: what the exporter cannot write, it refuses, and the older exporter (dynamo=False) does refuse this.
# ONNX's Multinomial only knows draws with replacement, while PyTorch's default is to draw without. The present
# exporter (dynamo=True) takes the argument `replacement` and never looks at it. So k different words for the beams of
# a stochastic search, or k different regions of an image to keep, come out with repeats, the likely ones most of
# all, and nothing is said. The first column is right, and so is all with one draw, the usual test. The k best of
# log p + Gumbel noise (topk) are the same draw, and are exported soundly.
#
# Seen with: torch 2.13.0, onnxscript 0.7.2, onnxruntime 1.32.0, Python 3.11 (2026-11-29), two draws of
# p = (.7, .2, .1), 20000 times:
#   PyTorch: the same word twice 0.00, first word (0.70, 0.20, 0.10), second word (0.26, 0.49, 0.25)
#   exported: the same word twice 0.54, first word (0.70, 0.20, 0.10), second word (0.70, 0.20, 0.10)
#   exported, topk: the same word twice 0.00, first word (0.71, 0.19, 0.10), second word (0.24, 0.49, 0.26)
#   dynamo=False: SymbolicValueError
# (asserted: within .03)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 onnxscript==0.7.2 onnxruntime==1.32.0 numpy==2.4.6
# (sed leaves out the graph that the older exporter prints with its refusal)
"$folder/venv/bin/python" - "$folder/old.onnx" 2>/dev/null <<'PYTHON' | sed '/^Torch IR graph/,/^$/d'
import sys

import numpy as np
import onnxruntime
import torch


class Draw(torch.nn.Module):
    def forward(self, p):
        return torch.multinomial(p, 2)


class Best(torch.nn.Module):
    def forward(self, p):
        return (p.log() - (-torch.rand_like(p).log()).log()).topk(2)[1]


def exported(module, p):
    program = torch.onnx.export(module, (p,), dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
    return session.run(None, {session.get_inputs()[0].name: p.numpy()})[0]


torch.manual_seed(0)
p = torch.tensor([[0.7, 0.2, 0.1]]).repeat(20000, 1)
drawn = {
    "PyTorch": Draw()(p).numpy(),
    "exported": exported(Draw(), p),
    "exported, topk": exported(Best(), p),
}
apart, again = (0.0, 0.7, 0.2, 0.1, 0.25, 0.49, 0.26), (0.54, 0.7, 0.2, 0.1, 0.7, 0.2, 0.1)
for (name, words), want in zip(drawn.items(), (apart, again, apart), strict=True):
    twice = (words[:, 0] == words[:, 1]).mean()
    shares = [np.bincount(column, minlength=3) / len(words) for column in words.T]
    first, second = ("({:.2f}, {:.2f}, {:.2f})".format(*share) for share in shares)
    print(f"{name}: the same word twice {twice:.2f}, first word {first}, second word {second}")
    assert np.allclose([twice, *shares[0], *shares[1]], want, atol=0.03), "the behaviour has changed"
try:
    torch.onnx.export(Draw(), (p,), sys.argv[1], dynamo=False)
    older = "no error"
except Exception as error:
    older = type(error).__name__
print(f"dynamo=False: {older}")
assert older == "SymbolicValueError", "the behaviour has changed"
PYTHON
