#!/usr/bin/env bash
# onnxruntime: random draws by different nodes of one graph are one draw, shifted by a constant.
#
# A good guess: two random nodes without a seed draw independently of each other, as two calls of torch.rand do. But
# each has a generator of its own, seeded with the clock plus its place in the graph, and the generator only
# multiplies (std::default_random_engine). Neighbours' seeds then give the same first number up to .00001, and later
# ones at a distance that is known beforehand. A sampler whose steps are written out in the graph, one random number
# each, so takes the same quantile at each step of the first caption, and of two captions drawn side by side by
# Multinomial, the second tells nothing new. A session that stays open has another distance in each run, so a test with
# many runs of one session sees nothing: who loads the model for each caption (a page, a command) is hurt. One
# node that draws all the numbers, of which each step takes its own, is sound.
#
# Seen with: onnxruntime 1.32.0, onnx 1.23.2, numpy 2.4.6, Linux x86_64, Python 3.11 (2026-11-29):
#   without a seed, first numbers of two nodes: .00001 apart
#   five fair coins fall alike: five nodes 1.00, one node 0.05, by chance 0.06
#   two words of eight are the same: new sessions 0.00, one session 0.12, by chance 0.12
# (asserted: within .07; each of 300 sessions has another seed, as one in a process of its own has)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import onnxruntime
from onnx import TensorProto, checker, helper

SEEDS = np.random.default_rng(0).integers(0, 2**31 - 1, 300)


def model(operator, count, kind, **options):
    names = [f"drawn_{n}" for n in range(count)]
    nodes = [helper.make_node(operator, ["x"], [name], **options) for name in names]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, None])]
    outputs = [helper.make_tensor_value_info(name, kind, [1, None]) for name in names]
    graph = helper.make_graph(nodes, "draws", inputs, outputs)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    checker.check_model(proto)
    return proto.SerializeToString()


def draw(session, width):
    return np.concatenate(session.run(None, {"x": np.zeros((1, width), np.float32)}), 1)[0]


def sessions(proto):
    for seed in SEEDS:
        onnxruntime.set_seed(int(seed))
        yield onnxruntime.InferenceSession(proto)


def alike(rows):
    rows = np.stack(rows)
    return float((rows == rows[:, :1]).all(1).mean())


uniform = {"operator": "RandomUniformLike", "kind": TensorProto.FLOAT, "dtype": TensorProto.FLOAT}
two, five, one = (model(count=count, **uniform) for count in (2, 5, 1))
words = model("Multinomial", 2, TensorProto.INT32, sample_size=1, dtype=TensorProto.INT32)
first = draw(onnxruntime.InferenceSession(two), 1)
apart = float(abs(first[1] - first[0]))
coins = [
    alike([draw(session, 1) < 0.5 for session in sessions(five)]),
    alike([draw(session, 5) < 0.5 for session in sessions(one)]),
]
fresh = alike([draw(session, 8) for session in sessions(words)])
session = onnxruntime.InferenceSession(words)
kept = alike([draw(session, 8) for _ in range(3000)])
print(f"without a seed, first numbers of two nodes: {apart:.5f} apart".replace(" 0.", " ."))
print("five fair coins fall alike: five nodes {:.2f}, one node {:.2f}, by chance 0.06".format(*coins))
print(f"two words of eight are the same: new sessions {fresh:.2f}, one session {kept:.2f}, by chance 0.12")
assert apart < 2e-5, "the behaviour has changed"
assert coins[0] > 0.97 and abs(coins[1] - 0.0625) < 0.07, "the behaviour has changed"
assert fresh < 0.03 and abs(kept - 0.125) < 0.07, "the behaviour has changed"
PYTHON
