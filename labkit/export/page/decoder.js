"use strict";
/* The equations of Show, Attend and Tell (Xu et al. 2015), under the paper's numbers: each function
   has the name that it has in labkit/model/equations.py. Arrays are rows of numbers; their shapes
   stand in brackets: L regions of D numbers, H units of the LSTM, A of f_att, m numbers for a word,
   V words. The products of matrices, which are `labkit.linear`, are made before: in model.js. */

labkit.sigma = (x) => 1 / (1 + Math.exp(-x));

/* Eq. 4: e_ti = v . tanh(W_a a_i + W_s h_{t-1} + b), for all i: (L).

   tanh(x) = 2 / (1 + exp(-2x)) - 1, and exp(-2 (key + query)) is a product of two exponentials:
   of the keys W_a a_i + b (L, A), made once, and of the query W_s h_{t-1} (A), made once a word. If
   scores see the last word, the query is W_s h_{t-1} + W_q E y_{t-1}. */
labkit.scores = (expKeys, query, v) => {
  const A = v.length, e = new Float64Array(expKeys.length / A), expQuery = query.map(labkit.expOf);
  const sum = v.reduce((total, x) => total + x, 0);
  for (let i = 0, at = 0; i < e.length; i++) {
    let total = 0;
    for (let k = 0; k < A; k++, at++) total += v[k] / (1 + expKeys[at] * expQuery[k]);
    e[i] = 2 * total - sum;
  }
  return e;
};

labkit.expOf = (x) => Math.exp(-2 * Math.max(-43, Math.min(43, x))); // finite in 32 bits, and not 0

/* Eq. 5: alpha_ti = exp(e_ti) / sum_k exp(e_tk): (L). */
labkit.weights = (e) => {
  const most = e.reduce((a, b) => Math.max(a, b)); // else the exponentials might be infinite
  const alpha = Float32Array.from(e, (x) => Math.exp(x - most));
  const sum = alpha.reduce((a, b) => a + b, 0);
  return alpha.map((x) => x / sum);
};

/* Eq. 8: a place s_t ~ Multinoulli({alpha_t,i}), its number. */
labkit.samplePlace = (alpha) => {
  let left = Math.random();
  const place = alpha.findIndex((share) => (left -= share) < 0);
  return place < 0 ? labkit.argmax(alpha) : place; // the shares' sum is 1 but for rounding
};

labkit.argmax = (numbers) => numbers.reduce((best, x, i) => (x > numbers[best] ? i : best), 0);

/* Eq. 9: z_t = sum_i s_t,i a_i = a_place, the vector of one place: (D). */
labkit.hardContext = (a, D, place) => a.subarray(place * D, (place + 1) * D);

/* Eq. 13: E[z_t] = sum_i alpha_t,i a_i, the expected context: (D). */
labkit.softContext = (a, D, alpha) => {
  const z = new Float32Array(D);
  for (let i = 0; i < alpha.length; i++)
    if (alpha[i]) for (let d = 0; d < D; d++) z[d] += alpha[i] * a[i * D + d];
  return z;
};

/* Section 4.2.1: beta_t = sigma(f_beta(h_{t-1})), with which the context of eq. 6 is multiplied. */
labkit.contextGate = (x) => labkit.sigma(x);

/* Eq. 1, number k: (i_t, f_t, o_t, g_t) = (sigma, sigma, sigma, tanh) of the sum of W_y E y_{t-1},
   W_h h_{t-1} and W_z z_t, each (4H); z_t has the gate beta. */
labkit.lstmGates = (k, H, word, hidden, context, beta) => {
  const sum = (at) => word[at] + hidden[at] + beta * context[at];
  const i = labkit.sigma(sum(k)), f = labkit.sigma(sum(k + H)), o = labkit.sigma(sum(k + 2 * H));
  return [i, f, o, Math.tanh(sum(k + 3 * H))];
};

/* Eq. 2: c_t = f_t c_{t-1} + i_t g_t, number by number. */
labkit.lstmMemory = (f, c, i, g) => f * c + i * g;

/* Eq. 3: h_t = o_t tanh(c_t), number by number. */
labkit.lstmHidden = (o, c) => o * Math.tanh(c);

/* Eq. 1 to 3 for all H numbers. */
labkit.lstm = (word, hidden, context, beta, before) => {
  const H = before.length, h = new Float32Array(H), c = new Float32Array(H);
  for (let k = 0; k < H; k++) {
    const [i, f, o, g] = labkit.lstmGates(k, H, word, hidden, context, beta);
    c[k] = labkit.lstmMemory(f, before[k], i, g);
    h[k] = labkit.lstmHidden(o, c[k]);
  }
  return { h, c };
};

/* Between eq. 6 and 7: h_0 and c_0 from the mean of the annotation vectors. */
labkit.initialState = (W_init, a, D) => {
  const L = a.length / D, mean = labkit.softContext(a, D, new Float32Array(L).fill(1 / L));
  const hc = labkit.linear(W_init, mean, 1).map(Math.tanh), H = W_init.rows / 2;
  return { h: hc.slice(0, H), c: hc.slice(H, 2 * H) };
};

/* The bracket of n_t = L_o (E y_{t-1} + L_h h_t + L_z z_t): (m). The product with L_o follows. */
labkit.mixed = (Ey, Lh, Lz, beta) => Ey.map((x, k) => x + Lh[k] + beta * Lz[k]);

/* Eq. 7 in logarithms: log p(y_t) = n_t - log sum_k exp(n_tk): (V). */
labkit.logProbabilities = (n) => {
  let most = -Infinity, sum = 0;
  for (let k = 0; k < n.length; k++) if (n[k] > most) most = n[k];
  for (let k = 0; k < n.length; k++) sum += Math.exp(n[k] - most);
  const all = most + Math.log(sum), logP = new Float64Array(n.length);
  for (let k = 0; k < n.length; k++) logP[k] = n[k] - all;
  return logP;
};
