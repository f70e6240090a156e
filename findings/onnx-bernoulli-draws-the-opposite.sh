#!/usr/bin/env bash
# ONNX: Bernoulli gives 1 with the probability 1 - p in onnxruntime, as the standard's own expansion says.
#
# A good guess: Bernoulli(p) is 1 with probability p, which is what the text of the standard says. But for runtimes
# that have no kernel, the standard also holds the operator as a formula, and there the comparison is the wrong
# way round: Greater(random, p). onnxruntime has no kernel, and follows the formula. onnx's reference
# evaluator draws as the text says. torch.onnx writes the operator for torch.bernoulli(p), so a mask of words or
# image regions drops what it should keep, while torch.rand_like(p) < p and torch.empty_like(p).bernoulli_(.1)
# come out right, and so do dropouts. At p = .5, the usual example, nothing is to be seen.
#
# Seen with: torch 2.13.0, onnx 1.23.2, onnxscript 0.7.2, onnxruntime 1.32.0, Python 3.11 (2026-11-28):
#   text: an output of 1 is produced with probability p
#   formula: RandomUniformLike, Greater, Cast
#   ones for p = 0, .1, .5, 1: PyTorch 0.00 0.10 0.50 1.00
#   ones for p = 0, .1, .5, 1: reference evaluator 0.00 0.10 0.50 1.00
#   ones for p = 0, .1, .5, 1: onnxruntime 1.00 0.90 0.50 0.00
#   ones for p = 0, .1, .5, 1: onnxruntime, rand < p 0.00 0.10 0.50 1.00
# (asserted: within .03)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 onnx==1.23.2 onnxscript==0.7.2 onnxruntime==1.32.0 numpy==2.4.6
"$folder/venv/bin/python" - 2>/dev/null <<'PYTHON'
import numpy as np
import onnx
import onnxruntime
import torch
from onnx.reference import ReferenceEvaluator

DRAWS = 40000


class Draw(torch.nn.Module):
    def forward(self, p):
        return torch.bernoulli(p)


class Compare(torch.nn.Module):
    def forward(self, p):
        return (torch.rand_like(p) < p).to(p.dtype)


def in_onnxruntime(model, p):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: p.numpy()})[0]


schema = onnx.defs.get_schema("Bernoulli", 15)
text = " ".join(schema.doc.split())
said = "an output of 1 is produced with probability p"
assert said in text, "the behaviour has changed"
print("text:", said)
node = onnx.helper.make_node("Bernoulli", ["p"], ["y"]).SerializeToString()
kind = onnx.helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, [None]).SerializeToString()
formula = onnx.FunctionProto.FromString(schema.get_context_dependent_function(node, [kind]))
print("formula:", ", ".join(step.op_type for step in formula.node))

p = torch.tensor([[0.0], [0.1], [0.5], [1.0]]).expand(4, DRAWS).contiguous()
draw, compare = (torch.onnx.export(m(), (p,), dynamo=True, verbose=False).model_proto for m in (Draw, Compare))
seen = {
    "PyTorch": torch.bernoulli(p).numpy(),
    "reference evaluator": ReferenceEvaluator(draw).run(None, {draw.graph.input[0].name: p.numpy()})[0],
    "onnxruntime": in_onnxruntime(draw, p),
    "onnxruntime, rand < p": in_onnxruntime(compare, p),
}
for name, drawn in seen.items():
    ones, want = drawn.mean(1), p.numpy().mean(1)
    print(f"ones for p = 0, .1, .5, 1: {name}", *(f"{x:.2f}" for x in ones))
    want = 1 - want if name == "onnxruntime" else want
    assert np.allclose(ones, want, atol=0.03), "the behaviour has changed"
PYTHON
