"use strict";
/* Matrix products: nearly all of the time is spent here.

   A product of numbers costs less than fetching its two factors. So a tile is made at once: 4 rows
   of the matrix W times 4 vectors, 8 numbers fetched for 16 products. W is laid out once so that
   the four rows' numbers lie side by side, and the vectors are, too, before they are used. After a
   ReLU most numbers are 0: where all four vectors have a 0, the step is left out.

   No script of this folder searches an array by indexOf or includes: after that, on some processors,
   Firefox 140 computes fifty times slower until the page is closed. A Map or a Set does it, too. */

/* Long work awaits a pause now and then, in which the page draws and listens. */
labkit.AWAKE = 40; // ms of computing between two breaths

labkit.breath = () => new Promise((resolve) => setTimeout(resolve));

labkit.pauses = () => {
  let last = performance.now();
  return async () => {
    if (performance.now() - last <= labkit.AWAKE) return;
    await labkit.breath();
    last = performance.now();
  };
};

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
  const whole = n & ~3, panels = labkit.panelsFor(W.columns);
  for (let j = 0; j < whole; j += 16) { // 16 vectors stay in the cache while all rows of W pass by
    const count = Math.min(4, (whole - j) / 4);
    labkit.fillPanels(panels, count, W.columns, x, j * xNext, xStep, xNext);
    labkit.tiles(W, panels, count, y, j * yNext, yStep, yNext);
  }
  for (let j = whole; j < n; j++) { // three at most are left over
    const vector = panels[0].values;
    for (let k = 0; k < W.columns; k++) vector[k] = x[k * xStep + j * xNext];
    labkit.strips(W, vector, y, j * yNext, yStep);
  }
};

/* All rows times the vectors of `count` panels. */
labkit.tiles = (W, panels, count, y, at, yStep, yNext) => {
  for (let r = 0; r < W.padded; r += 4)
    for (let q = 0; q < count; q++)
      labkit.tile(W, r, panels[q], y, at + r * yStep + 4 * q * yNext, yStep, yNext);
};

/* All rows times one vector. */
labkit.strips = (W, x, y, at, yStep) => {
  for (let r = 0; r < W.padded; r += 4) labkit.strip(W, r, x, y, at + r * yStep, yStep);
};

/* Four panels, each for four vectors of K numbers; used again and again. */
labkit.panelsFor = (K) => {
  if (!labkit.panels || labkit.panels[0].steps.length < K)
    labkit.panels = Array.from({ length: 4 }, () =>
      ({ length: 0, steps: new Int32Array(K), values: new Float32Array(4 * K) }));
  return labkit.panels;
};

/* Put 4 vectors side by side into each of `count` panels; `steps` has 4k for each k that is in. */
labkit.fillPanels = (panels, count, K, x, from, xStep, xNext) => {
  for (const panel of panels) panel.length = 0;
  for (let k = 0; k < K; k++)
    for (let q = 0; q < count; q++) {
      const { steps, values } = panels[q], at = from + k * xStep + 4 * q * xNext;
      const x0 = x[at], x1 = x[at + xNext], x2 = x[at + 2 * xNext], x3 = x[at + 3 * xNext];
      if (x0 === 0 && x1 === 0 && x2 === 0 && x3 === 0) continue;
      const here = panels[q].length++, to = 4 * here;
      steps[here] = 4 * k;
      values[to] = x0; values[to + 1] = x1; values[to + 2] = x2; values[to + 3] = x3;
    }
};

/* Rows r to r + 3 times 4 vectors. */
labkit.tile = (W, r, panel, y, at, down, right) => {
  const w = W.values, { values: x, steps, length: n } = panel, from = r * W.columns;
  let a00 = 0, a01 = 0, a02 = 0, a03 = 0, a10 = 0, a11 = 0, a12 = 0, a13 = 0;
  let a20 = 0, a21 = 0, a22 = 0, a23 = 0, a30 = 0, a31 = 0, a32 = 0, a33 = 0;
  for (let s = 0, j = 0; s < n; s++, j += 4) {
    const i = from + steps[s];
    const w0 = w[i], w1 = w[i + 1], w2 = w[i + 2], w3 = w[i + 3];
    const x0 = x[j], x1 = x[j + 1], x2 = x[j + 2], x3 = x[j + 3];
    a00 += w0 * x0; a01 += w0 * x1; a02 += w0 * x2; a03 += w0 * x3;
    a10 += w1 * x0; a11 += w1 * x1; a12 += w1 * x2; a13 += w1 * x3;
    a20 += w2 * x0; a21 += w2 * x1; a22 += w2 * x2; a23 += w2 * x3;
    a30 += w3 * x0; a31 += w3 * x1; a32 += w3 * x2; a33 += w3 * x3;
  }
  const b = W.bias, two = 2 * right, three = 3 * right;
  y[at] = a00 + b[r]; y[at + right] = a01 + b[r];
  y[at + two] = a02 + b[r]; y[at + three] = a03 + b[r];
  at += down;
  y[at] = a10 + b[r + 1]; y[at + right] = a11 + b[r + 1];
  y[at + two] = a12 + b[r + 1]; y[at + three] = a13 + b[r + 1];
  at += down;
  y[at] = a20 + b[r + 2]; y[at + right] = a21 + b[r + 2];
  y[at + two] = a22 + b[r + 2]; y[at + three] = a23 + b[r + 2];
  at += down;
  y[at] = a30 + b[r + 3]; y[at + right] = a31 + b[r + 3];
  y[at + two] = a32 + b[r + 3]; y[at + three] = a33 + b[r + 3];
};

/* Rows r to r + 3 times 1 vector, in two sums each: no addition waits for the one before it. */
labkit.strip = (W, r, x, y, at, down) => {
  const w = W.values, b = W.bias, end = (r + 4) * W.columns;
  let a0 = b[r], a1 = b[r + 1], a2 = b[r + 2], a3 = b[r + 3], c0 = 0, c1 = 0, c2 = 0, c3 = 0;
  let i = r * W.columns, j = 0;
  for (; i + 4 < end; i += 8, j += 2) {
    const x0 = x[j], x1 = x[j + 1];
    a0 += w[i] * x0; a1 += w[i + 1] * x0; a2 += w[i + 2] * x0; a3 += w[i + 3] * x0;
    c0 += w[i + 4] * x1; c1 += w[i + 5] * x1; c2 += w[i + 6] * x1; c3 += w[i + 7] * x1;
  }
  if (i < end) { // one is left: their number is odd
    a0 += w[i] * x[j]; a1 += w[i + 1] * x[j]; a2 += w[i + 2] * x[j]; a3 += w[i + 3] * x[j];
  }
  y[at] = a0 + c0; y[at + down] = a1 + c1; y[at + 2 * down] = a2 + c2; y[at + 3 * down] = a3 + c3;
};
