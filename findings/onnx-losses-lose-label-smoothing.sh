#!/usr/bin/env bash
# torch.onnx: cross_entropy with label_smoothing is exported as the plain loss, and nothing is said.
#
# A good guess: what the exporter cannot write, it refuses, and the older exporter (dynamo=False) does refuse this
# loss. The present one (dynamo=True) writes ONNX's SoftmaxCrossEntropyLoss, which knows no smoothing, and leaves
# it out. ignore_index is kept, so the number looks right. Captioners are usually trained with a smoothing of .1.
# A graph made to score captions or to go on training elsewhere so minimises another loss than the one that it was
# made from. The same sum written with log_softmax is exported soundly.
#
# Seen with: torch 2.13.0, onnxscript 0.7.2, onnxruntime 1.32.0, Python 3.11 (2026-11-28), padding is ignored:
#   PyTorch: smoothed 4.397, plain 4.284, written out 4.397
#   exported: smoothed 4.284, plain 4.284, written out 4.397
#   dynamo=False: smoothed SymbolicValueError
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
from torch.nn.functional import cross_entropy

PADDING, SMOOTHING = 0, 0.1


class Smoothed(torch.nn.Module):
    def forward(self, scores, words):
        return cross_entropy(scores, words, ignore_index=PADDING, label_smoothing=SMOOTHING)


class Plain(torch.nn.Module):
    def forward(self, scores, words):
        return cross_entropy(scores, words, ignore_index=PADDING)


class WrittenOut(torch.nn.Module):
    def forward(self, scores, words):
        logs, real = scores.log_softmax(-1), (words != PADDING).to(scores.dtype)
        loss = (SMOOTHING - 1) * logs.gather(1, words[:, None])[:, 0] - SMOOTHING * logs.mean(-1)
        return (loss * real).sum() / real.sum()


words = torch.tensor([3, 1, 4, 1, 5, PADDING, PADDING])
scores = torch.sin(torch.arange(70.0) * 7).view(7, 10) * 5  # of 7 words out of a vocabulary of 10
modules = {"smoothed": Smoothed(), "plain": Plain(), "written out": WrittenOut()}
torch_losses, exported = {}, {}
for name, module in modules.items():
    torch_losses[name] = float(module(scores, words))
    graph = torch.onnx.export(module, (scores, words), dynamo=True, verbose=False).model_proto
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    inputs = dict(zip([x.name for x in session.get_inputs()], (scores.numpy(), words.numpy()), strict=True))
    exported[name] = float(session.run(None, inputs)[0])
for name, losses in (("PyTorch", torch_losses), ("exported", exported)):
    print(f"{name}:", ", ".join(f"{one} {loss:.3f}" for one, loss in losses.items()))
refusal = None
try:
    torch.onnx.export(modules["smoothed"], (scores, words), sys.argv[1], dynamo=False)
except Exception as error:
    refusal = type(error).__name__
print("dynamo=False: smoothed", refusal)
smoothed, plain, by_hand = torch_losses.values()
assert abs(smoothed - plain) > 0.1 and abs(smoothed - by_hand) < 1e-4, "the example is wrong"
assert np.allclose(list(exported.values()), [plain, plain, smoothed], atol=1e-4), "the behaviour has changed"
assert refusal == "SymbolicValueError", "the behaviour has changed"
PYTHON
