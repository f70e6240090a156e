"use strict";
/* A trained decoder: its weights, what it keeps of a photograph, and one step.

   Several captions go on at once, the beams, and each matrix is used once for all of them. What
   does not change is kept: a word's share of the gates for good, a place's for one photograph. */

/* The model of one name, loaded once. */
labkit.loadModel = (name, onProgress) => {
  labkit.loaded = labkit.loaded || {};
  labkit.loaded[name] = labkit.loaded[name] || labkit.readModel(name, onProgress).catch((error) => {
    delete labkit.loaded[name]; // the next photograph tries again
    throw error;
  });
  return labkit.loaded[name];
};

labkit.readModel = async (name, onProgress) => {
  const facts = labkit.models.find((one) => one.name === name);
  if (!facts) throw new Error(`there is no model ${name} here: choose one of labkit.models`);
  const tensors = labkit.readTensors(await labkit.readBytes(facts, onProgress));
  const { feature_dim: D, embed_dim: m, hidden_dim: H } = facts.config;
  const matrix = (of, bias) => labkit.layOut(tensors[`${of}.weight`], bias && tensors[bias].values);
  const both = new Float32Array((4 * H + m) * D); // W_z above L_z
  both.set(tensors["W_z.weight"].values);
  both.set(tensors["L_z.weight"].values, 4 * H * D);
  return {
    ...facts,
    reduce: matrix("reduce"),
    W_a: matrix("attention.W_a", "attention.W_a.bias"),
    v: tensors["attention.v"].values,
    W_init: matrix("init_hc", "init_hc.bias"),
    W_y: matrix("W_y", "W_y.bias"), // the LSTM's W_y; and W_q, if scores see the last word
    W_h: matrix("W_h", "W_h.bias"), // W_s, the gate's row, and the LSTM's W_h
    W_z_L_z: labkit.layOut({ shape: [4 * H + m, D], values: both }),
    L_h: matrix("L_h", "L_h.bias"),
    E: matrix("embedding", "bias"), // L_o is the matrix E, and b_o its bias
    numberOf: new Map(facts.words.map((word, y) => [word, y])),
    known: new Map(), // words that came already
    images: new WeakMap(), // photographs that came already
  };
};

/* What is kept of a photograph: its reduced vectors, their keys, and the first state. */
labkit.imageOf = (model, a) => {
  if (model.images.has(a)) return model.images.get(a);
  const { encoder_dim: size, feature_dim: D } = model.config, L = a.length / size;
  const normal = labkit.normalised(a, size);
  const reduced = labkit.unpadded(labkit.linear(model.reduce, normal, L), model.reduce);
  const keys = labkit.unpadded(labkit.linear(model.W_a, reduced, L), model.W_a); // W_a a_i + b
  const image = {
    a: reduced, L, expKeys: keys.map(labkit.expOf), seen: new Map(),
    first: labkit.initialState(model.W_init, reduced, D),
  };
  model.images.set(a, image);
  return image;
};

/* Each annotation vector with mean 0 and variance 1: features of any network have one size then. */
labkit.normalised = (a, size) => {
  const normal = new Float32Array(a.length);
  for (let from = 0; from < a.length; from += size) {
    let mean = 0, variance = 0;
    for (let k = 0; k < size; k++) mean += a[from + k] / size;
    for (let k = 0; k < size; k++) variance += (a[from + k] - mean) ** 2 / size;
    const deviation = Math.sqrt(variance + 1e-5);
    for (let k = 0; k < size; k++) normal[from + k] = (a[from + k] - mean) / deviation;
  }
  return normal;
};

/* The rows of `labkit.linear` without the zeros at their ends. */
labkit.unpadded = (y, { rows, padded }) => {
  if (rows === padded) return y;
  const n = y.length / padded, out = new Float32Array(n * rows);
  for (let j = 0; j < n; j++) out.set(y.subarray(j * padded, j * padded + rows), j * rows);
  return out;
};

/* What is kept of a word y: its vector E y (m), and its shares: of the gates, W_y E y + b (4H); of
   the query, W_q E y + b (A), if scores see the last word. */
labkit.wordOf = (model, y) => {
  if (!model.known.has(y)) {
    const Ey = labkit.rowOf(model.E, y), gates = labkit.linear(model.W_y, Ey, 1);
    model.known.set(y, { Ey, gates, query: gates.subarray(4 * model.config.hidden_dim) });
  }
  return model.known.get(y);
};

/* W_z z and L_z z for contexts z (n, D) without their gates: n rows (4H + m). */
labkit.seenOf = (model, contexts) => {
  const rows = labkit.linear(model.W_z_L_z, labkit.stacked(contexts), contexts.length);
  return contexts.map((_, j) => labkit.rowFrom(rows, model.W_z_L_z, j));
};

labkit.seenAt = (model, image, place) => {
  if (!image.seen.has(place)) {
    const z = labkit.hardContext(image.a, model.config.feature_dim, place); // eq. 9
    image.seen.set(place, labkit.seenOf(model, [z])[0]);
  }
  return image.seen.get(place);
};

labkit.stacked = (rows) => {
  const all = new Float32Array(rows.length * rows[0].length);
  rows.forEach((row, j) => all.set(row, j * row.length));
  return all;
};

labkit.rowFrom = (rows, W, j) => rows.subarray(j * W.padded, j * W.padded + W.rows);

/* One step of n beams {word, h, c}: each one's new {h, c}, its weights alpha (L), and log p of each
   next word (V). `place`: look there, whatever the scores say. Beams that go on from the same
   beginning with another last word have the same h_{t-1}: they look at the same places, unless
   scores see the last word. */
labkit.step = (model, image, beams, place = null) => {
  const looker = (beam) => (model.config.scores_see_word ? beam : beam.h);
  const lookers = new Map(beams.map((beam) => [looker(beam), beam]));
  const found = labkit.look(model, image, [...lookers.values()], place);
  const looks = new Map([...lookers.keys()].map((one, j) => [one, found[j]]));
  const steps = beams.map((beam) => {
    const { Ey, gates } = labkit.wordOf(model, beam.word), look = looks.get(looker(beam));
    return { ...look, Ey, ...labkit.lstm(gates, look.hidden, look.seen, look.beta, beam.c) };
  }); // eq. 1 to 3
  const Lh = labkit.linear(model.L_h, labkit.stacked(steps.map((step) => step.h)), steps.length);
  steps.forEach((step, j) => (step.Lh = labkit.rowFrom(Lh, model.L_h, j)));
  labkit.predict(model, image, steps);
  return steps;
};

/* Where to look: alpha, and one place; or all places by their weights, where `place` is null. Hard
   attention looks at the most likely place, unless the model's settings say otherwise. */
labkit.attend = (model, image, query, place) => {
  if (place !== null) {
    const alpha = new Float32Array(image.L);
    alpha[place] = 1;
    return { alpha, place };
  }
  const e = labkit.scores(image.expKeys, query, model.v); // eq. 4
  const alpha = labkit.weights(e); // eq. 5
  if (model.mode === "expectation") return { alpha, place: null, e };
  return { alpha, place: model.mode === "sample" ? labkit.samplePlace(alpha) : labkit.argmax(e) };
};

/* W_z z_t and L_z z_t for beams {word, h}, before the gate; and with them alpha, the gate beta, and
   W_h h_{t-1}. */
labkit.look = (model, image, beams, place) => {
  const { attention_dim: A, feature_dim: D, scores_see_word: reads, gate } = model.config;
  const rows = labkit.linear(model.W_h, labkit.stacked(beams.map(({ h }) => h)), beams.length);
  const looks = beams.map(({ word }, j) => {
    const row = labkit.rowFrom(rows, model.W_h, j); // W_s h_{t-1}, the gate, W_h h_{t-1}
    const query = row.slice(0, A), { query: more } = labkit.wordOf(model, word);
    if (reads) for (let k = 0; k < A; k++) query[k] += more[k]; // W_q E y_{t-1}
    const attended = labkit.attend(model, image, query, place);
    return { ...attended, beta: gate ? labkit.contextGate(row[A]) : 1, hidden: row.subarray(A + 1) };
  });
  const soft = looks.filter((look) => look.place === null);
  const contexts = soft.map((look) => labkit.softContext(image.a, D, look.alpha)); // eq. 13
  const seen = contexts.length ? labkit.seenOf(model, contexts) : [];
  soft.forEach((look, j) => (look.seen = seen[j]));
  for (const look of looks) look.seen = look.seen || labkit.seenAt(model, image, look.place);
  return looks;
};

/* log p of each next word, eq. 7. */
labkit.predict = (model, image, steps) => {
  const H = model.config.hidden_dim, everywhere = steps[0].place === null;
  if (model.attention === "marginal" && everywhere)
    return labkit.predictMixture(model, image, steps);
  const rows = steps.map(({ Ey, Lh, seen, beta }) =>
    labkit.mixed(Ey, Lh, seen.subarray(4 * H), beta));
  const n = labkit.linear(model.E, labkit.stacked(rows), rows.length); // n_t
  steps.forEach((step, j) => (step.logP = labkit.logProbabilities(labkit.rowFrom(n, model.E, j))));
};
