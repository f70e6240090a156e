#!/usr/bin/env bash
# torch.onnx: an exported logaddexp or LogSigmoid gives infinities where PyTorch gives finite numbers.
#
# A good guess: a graph that PyTorch's exporter writes computes what the model computes, up to rounding. Both
# functions exist because the formula of a textbook loses small numbers, and the exporter writes that formula:
# Log(Exp(a) + Exp(b)), and Log(Sigmoid(x)). In float32 the first is -inf from about -104 down, the size of the
# log probability of a caption, and inf from 89 up. The second should hold until -103, but onnxruntime's Sigmoid is
# coarse in its tail and 0 from about -18: -inf from there, and between -16 and -17 it rises instead of falling.
# torch.logsumexp of the stacked numbers and -softplus(-x) are the same functions, and are exported soundly.
#
# Seen with: torch 2.13.0, onnxscript 0.7.2, onnxruntime 1.32.0, Python 3.11, x86_64 (2026-11-28):
#   logaddexp, PyTorch: -109.307 -99.307 50.693 100.693
#   logaddexp, exported: -inf -99.290 50.693 inf
#   logsumexp, exported: -109.307 -99.307 50.693 100.693
#   LogSigmoid, PyTorch: -12.000 -16.000 -17.000 -18.000 -20.000
#   LogSigmoid, exported: -12.006 -16.636 -16.230 -inf -inf
#   -softplus(-x), exported: -12.000 -16.000 -17.000 -18.000 -20.000
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


class Soft(torch.nn.Module):
    def forward(self, x):
        return -torch.nn.functional.softplus(-x)


def exported(module, x):
    program = torch.onnx.export(module, (x,), dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
    return session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]


def show(name, values):
    print(f"{name}: " + " ".join(f"{value:.3f}" for value in values))
    return values


x = torch.tensor([-110.0, -100.0, 50.0, 100.0])
want = show("logaddexp, PyTorch", Add()(x).numpy())
added = show("logaddexp, exported", exported(Add(), x))
summed = show("logsumexp, exported", exported(Sum(), x))
assert np.isfinite(want).all() and np.allclose(summed, want)
assert added[0] == -np.inf and added[3] == np.inf, "the behaviour has changed"

x = torch.tensor([-12.0, -16.0, -17.0, -18.0, -20.0])
want = show("LogSigmoid, PyTorch", torch.nn.LogSigmoid()(x).numpy())
plain = show("LogSigmoid, exported", exported(torch.nn.LogSigmoid(), x))
soft = show("-softplus(-x), exported", exported(Soft(), x))
assert np.isfinite(want).all() and np.allclose(soft, want, atol=1e-3)
assert np.isinf(plain[-1]) and plain[2] > plain[1], "the behaviour has changed"
PYTHON
