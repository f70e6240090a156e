#!/usr/bin/env bash
# torch.onnx: an exported torch.logaddexp gives -inf and inf where PyTorch gives finite numbers.
#
# A good guess: a graph that PyTorch's exporter writes computes what the model computes, up to rounding. For
# torch.logaddexp, the usual way to add up probabilities that are held as logarithms, it writes the formula of a
# textbook: Log(Exp(a) + Exp(b)). In float32 that is -inf from about -104 down and inf from 89 up. A caption of
# twenty words has a log probability of that size. torch.logsumexp of the stacked numbers is exported soundly.
#
# Seen with: torch 2.13.0, onnxscript 0.7.2, onnxruntime 1.32.0, Python 3.11 (2026-11-28), log(e^x + e^x):
#   PyTorch: -109.307 -99.307 50.693 100.693
#   exported logaddexp: -inf -99.290 50.693 inf
#   exported logsumexp: -109.307 -99.307 50.693 100.693
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 onnxscript==0.7.2 onnxruntime==1.32.0 numpy==2.4.6
"$folder/venv/bin/python" - 2>/dev/null <<'PYTHON'
import numpy as np
import onnxruntime
import torch


class Add(torch.nn.Module):
    def forward(self, x):
        return torch.logaddexp(x, x)


class Sum(torch.nn.Module):
    def forward(self, x):
        return torch.stack([x, x]).logsumexp(0)


def exported(module, x):
    program = torch.onnx.export(module, (x,), dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
    return session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]


x = torch.tensor([-110.0, -100.0, 50.0, 100.0])
want, added, summed = Add()(x).numpy(), exported(Add(), x), exported(Sum(), x)
for name, values in ("PyTorch", want), ("exported logaddexp", added), ("exported logsumexp", summed):
    print(f"{name}: " + " ".join(f"{value:.3f}" for value in values))
assert np.isfinite(want).all() and np.allclose(summed, want)
assert added[0] == -np.inf and added[3] == np.inf, "the behaviour has changed"
PYTHON
