"use strict";
/* Matrix products: nearly all of the time is spent here.

   A product of numbers costs less than fetching its two factors. So a tile is made at once: 4 rows
   of the matrix W times 4 vectors, 8 numbers fetched for 16 products. W is laid out once so that
   the four rows' numbers lie side by side, and the vectors are, too, before they are used. */

/* Lay out a matrix (rows, columns) in groups of four rows; the last group is filled up by zeros. */
labkit.layOut = ({ shape: [rows, columns], values }, bias = null) => {
  const padded = (rows + 3) & ~3;
  const laid = new Float32Array(padded * columns);
  for (let r = 0; r < rows; r++) {
    const to = (r >> 2) * 4 * columns + (r & 3), from = r * columns;
    for (let k = 0; k < columns; k++) laid[to + 4 * k] = values[from + k];
  }
  const b = new Float32Array(padded); // added to each vector's product; zeros if there is none
  if (bias) b.set(bias);
  return { rows, padded, columns, values: laid, bias: b };
};

/* Row r of such a matrix. */
labkit.rowOf = (W, r) => {
  const from = (r >> 2) * 4 * W.columns + (r & 3);
  return Float32Array.from({ length: W.columns }, (_, k) => W.values[from + 4 * k]);
};

/* y_j = W x_j + b for n vectors that lie one after the other: x (n, columns) -> (n, padded). */
labkit.linear = (W, x, n) => {
  const y = new Float32Array(n * W.padded);
  labkit.product(W, n, x, 1, W.columns, y, 1, W.padded);
  return y;
};

/* y_j = W x_j + b, j < n. Number k of vector j is x[k * xStep + j * xNext]; y likewise. */
labkit.product = (W, n, x, xStep, xNext, y, yStep, yNext) => {
  const K = W.columns, w = W.values, b = W.bias;
  const panel = (labkit.panel = labkit.panel && labkit.panel.length >= 16 * K
    ? labkit.panel : new Float32Array(16 * K));
  for (let j = 0; j < n; j += 16) { // 16 vectors stay in the processor's cache for all rows of W
    const here = Math.min(16, n - j), fours = here & ~3;
    labkit.fillPanel(panel, x, j * xNext, xStep, xNext, K, here);
    for (let r = 0; r < W.padded; r += 4) {
      const yAt = r * yStep + j * yNext;
      for (let q = 0; q < fours; q += 4)
        labkit.tile(w, r * K, panel, q * K, K, b, r, y, yAt + q * yNext, yStep, yNext);
      for (let q = fours; q < here; q++)
        labkit.strip(w, r * K, panel, q * K, K, b, r, y, yAt + q * yNext, yStep);
    }
  }
};

/* Up to 16 vectors, four by four side by side; those left over one after the other. */
labkit.fillPanel = (panel, x, at, xStep, xNext, K, here) => {
  for (let k = 0; k < K; k++, at += xStep)
    for (let q = 0; q < here; q++) {
      const place = q < (here & ~3) ? (q & ~3) * K + 4 * k + (q & 3) : q * K + k;
      panel[place] = x[at + q * xNext];
    }
};

/* 4 rows times 4 vectors. */
labkit.tile = (w, i, x, j, K, b, r, y, at, down, right) => {
  let a00 = 0, a01 = 0, a02 = 0, a03 = 0, a10 = 0, a11 = 0, a12 = 0, a13 = 0;
  let a20 = 0, a21 = 0, a22 = 0, a23 = 0, a30 = 0, a31 = 0, a32 = 0, a33 = 0;
  for (const end = i + 4 * K; i < end; i += 4, j += 4) {
    const w0 = w[i], w1 = w[i + 1], w2 = w[i + 2], w3 = w[i + 3];
    const x0 = x[j], x1 = x[j + 1], x2 = x[j + 2], x3 = x[j + 3];
    a00 += w0 * x0; a01 += w0 * x1; a02 += w0 * x2; a03 += w0 * x3;
    a10 += w1 * x0; a11 += w1 * x1; a12 += w1 * x2; a13 += w1 * x3;
    a20 += w2 * x0; a21 += w2 * x1; a22 += w2 * x2; a23 += w2 * x3;
    a30 += w3 * x0; a31 += w3 * x1; a32 += w3 * x2; a33 += w3 * x3;
  }
  const b0 = b[r], b1 = b[r + 1], b2 = b[r + 2], b3 = b[r + 3];
  y[at] = a00 + b0; y[at + right] = a01 + b0; y[at + 2 * right] = a02 + b0; y[at + 3 * right] = a03 + b0;
  at += down;
  y[at] = a10 + b1; y[at + right] = a11 + b1; y[at + 2 * right] = a12 + b1; y[at + 3 * right] = a13 + b1;
  at += down;
  y[at] = a20 + b2; y[at + right] = a21 + b2; y[at + 2 * right] = a22 + b2; y[at + 3 * right] = a23 + b2;
  at += down;
  y[at] = a30 + b3; y[at + right] = a31 + b3; y[at + 2 * right] = a32 + b3; y[at + 3 * right] = a33 + b3;
};

/* 4 rows times 1 vector, in two sums each: an addition need not wait for the one before it. */
labkit.strip = (w, i, x, j, K, b, r, y, at, down) => {
  let a0 = b[r], a1 = b[r + 1], a2 = b[r + 2], a3 = b[r + 3], c0 = 0, c1 = 0, c2 = 0, c3 = 0;
  const end = i + 4 * K;
  for (; i + 4 < end; i += 8, j += 2) {
    const x0 = x[j], x1 = x[j + 1];
    a0 += w[i] * x0; a1 += w[i + 1] * x0; a2 += w[i + 2] * x0; a3 += w[i + 3] * x0;
    c0 += w[i + 4] * x1; c1 += w[i + 5] * x1; c2 += w[i + 6] * x1; c3 += w[i + 7] * x1;
  }
  if (i < end) { // K is odd
    a0 += w[i] * x[j]; a1 += w[i + 1] * x[j]; a2 += w[i + 2] * x[j]; a3 += w[i + 3] * x[j];
  }
  y[at] = a0 + c0; y[at + down] = a1 + c1; y[at + 2 * down] = a2 + c2; y[at + 3 * down] = a3 + c3;
};
