"use strict";
/* From an image file to the square of pixels that the encoder takes: labkit/data/photos.py.

   Every pixel is the same as Python's, and that matters: with the pixels that a browser's own
   scaling gives, many photographs get another caption. */

/* Read a photograph upright, at its own size, white under transparent pixels. */
labkit.readPhoto = async (blob) => {
  let bitmap;
  try {
    // "none": the file's numbers as they are, as Python reads them, whatever its colour space
    bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none" });
  } catch {
    const name = blob.name || "this file";
    throw new Error(`${name} cannot be read as an image here: save it as JPEG or PNG, and try again`);
  }
  const { width, height } = bitmap;
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  try {
    context.fillStyle = "white";
    context.fillRect(0, 0, width, height);
    context.drawImage(bitmap, 0, 0);
    return { width, height, data: context.getImageData(0, 0, width, height).data };
  } catch {
    throw new Error(`the picture has ${width} x ${height} pixels, too many here: save a smaller copy`);
  } finally {
    bitmap.close();
    canvas.width = canvas.height = 0; // gives the memory back at once
  }
};

/* Squash a photograph to (3, S, S), first in width and then in height, as Pillow's
   Image.resize(BICUBIC) does: weights in whole numbers of 2^-22, and each pass rounded to 8 bits. */
labkit.toInput = ({ width, height, data }, size) => {
  const narrow = new Uint8Array(3 * size * height), input = new Uint8Array(3 * size * size);
  const across = labkit.bicubicWeights(width, size), down = labkit.bicubicWeights(height, size);
  for (let colour = 0; colour < 3; colour++) {
    for (let y = 0; y < height; y++)
      labkit.resample(narrow, (colour * height + y) * size, 1, data, 4 * y * width + colour, 4, across);
    for (let x = 0; x < size; x++)
      labkit.resample(input, colour * size * size + x, size, narrow, colour * height * size + x, size, down);
  }
  return input;
};

/* One row or column: each new pixel is a weighted sum of old ones. `step` leads to the next. */
labkit.resample = (out, to, outStep, pixels, from, step, places) => {
  for (const { first, weights } of places) {
    let sum = 1 << 21; // one half, for rounding
    for (let k = 0, at = from + first * step; k < weights.length; k++, at += step)
      sum += pixels[at] * weights[k];
    sum >>= 22;
    out[to] = sum < 0 ? 0 : sum > 255 ? 255 : sum;
    to += outStep;
  }
};

/* For each of `size` new pixels the first of the old ones under its window, and their weights. The
   window is as wide as four new pixels where the picture shrinks, which prevents moire. */
labkit.bicubicWeights = (length, size) => {
  const scale = length / size, wide = Math.max(scale, 1), reach = 2 * wide;
  return Array.from({ length: size }, (_, place) => {
    const centre = (place + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - reach + 0.5));
    const end = Math.min(length, Math.trunc(centre + reach + 0.5));
    const shares = new Float64Array(end - first);
    let total = 0;
    for (let k = 0; k < shares.length; k++)
      total += shares[k] = labkit.bicubic((k + first - centre + 0.5) * (1 / wide));
    const round = (share) => Math.trunc(share * (1 << 22) + (share < 0 ? -0.5 : 0.5));
    return { first, weights: Int32Array.from(shares, (share) => round(total ? share / total : share)) };
  });
};

/* Keys's cubic kernel with a = -1/2. */
labkit.bicubic = (x, a = -0.5) => {
  x = Math.abs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
};
