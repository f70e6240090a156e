#!/usr/bin/env bash
# torch.onnx and onnxruntime: an exported LogSigmoid is -inf from -18 down, and does not rise before that.
#
# A good guess: torch.nn.LogSigmoid exists because log(sigmoid(x)) loses small numbers, and its export keeps that.
# The exporter writes just that: Sigmoid, then Log. onnxruntime's Sigmoid in float32 is coarse in its tail and 0
# from about -18, where the exact one reaches down to -103. So the logarithm is -inf, and from -16 to -17 it rises
# instead of falling. -softplus(-x) is the same function and is exported soundly.
#
# Seen with: torch 2.13.0, onnxscript 0.7.2, onnxruntime 1.32.0, Python 3.11, x86_64 (2026-11-28):
#   PyTorch: -12.000 -16.000 -17.000 -18.000 -20.000
#   exported LogSigmoid: -12.006 -16.636 -16.230 -inf -inf
#   exported -softplus(-x): -12.000 -16.000 -17.000 -18.000 -20.000
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 onnxscript==0.7.2 onnxruntime==1.32.0 numpy==2.4.6
"$folder/venv/bin/python" - 2>/dev/null <<'PYTHON'
import numpy as np
import onnxruntime
import torch


class Soft(torch.nn.Module):
    def forward(self, x):
        return -torch.nn.functional.softplus(-x)


def exported(module, x):
    program = torch.onnx.export(module, (x,), dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
    return session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]


x = torch.tensor([-12.0, -16.0, -17.0, -18.0, -20.0])
want = torch.nn.LogSigmoid()(x).numpy()
plain, soft = exported(torch.nn.LogSigmoid(), x), exported(Soft(), x)
for name, values in ("PyTorch", want), ("exported LogSigmoid", plain), ("exported -softplus(-x)", soft):
    print(f"{name}: " + " ".join(f"{value:.3f}" for value in values))
assert np.isfinite(want).all() and np.allclose(soft, want, atol=1e-3)
assert np.isinf(plain[-1]) and plain[2] > plain[1], "the behaviour has changed"
PYTHON
