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
    throw new Error(`${name} cannot be read as an image here: choose a photograph, saved as JPEG or PNG`);
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
    const pixels = `${width} x ${height} pixels`;
    throw new Error(`the picture has ${pixels}, too many here: save a smaller copy of it`);
  } finally {
    bitmap.close();
    canvas.width = canvas.height = 0; // gives the memory back at once
  }
};

/* Squash a photograph to (3, S, S), first across and then down, as Pillow's Image.resize(BICUBIC)
   does in two calls: weights in whole numbers of 2^-22, and each pass rounded to 8 bits. */
labkit.toInput = ({ width, height, data }, size) => {
  const photo = { width, height, data, plane: 1, step: 4 }; // to the next colour; to the next pixel
  return labkit.lowered(labkit.narrowed(photo, size), size).data;
};

labkit.narrowed = ({ width, height, data, plane, step }, size) => {
  const out = labkit.emptyPicture(size, height), places = labkit.bicubicWeights(width, size);
  for (let colour = 0, to = 0; colour < 3; colour++)
    for (let y = 0; y < height; y++)
      for (let x = 0, from = colour * plane + y * width * step; x < size; x++)
        out.data[to++] = labkit.weighted(data, from, step, places[x]);
  return out;
};

labkit.lowered = ({ width, height, data, plane, step }, size) => {
  const out = labkit.emptyPicture(width, size), places = labkit.bicubicWeights(height, size);
  for (let colour = 0, to = 0; colour < 3; colour++)
    for (let y = 0; y < size; y++)
      for (let x = 0, from = colour * plane; x < width; x++, from += step)
        out.data[to++] = labkit.weighted(data, from, width * step, places[y]);
  return out;
};

labkit.emptyPicture = (width, height) => // a plane for each colour
  ({ width, height, data: new Uint8Array(3 * width * height), plane: width * height, step: 1 });

/* A new pixel: the weighted sum of old ones, `step` from each other in the data. */
labkit.weighted = (data, from, step, { first, weights }) => {
  let sum = 1 << 21; // one half, for rounding
  for (let k = 0, at = from + first * step; k < weights.length; k++, at += step)
    sum += data[at] * weights[k];
  sum >>= 22;
  return sum < 0 ? 0 : sum > 255 ? 255 : sum;
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
    const rounded = (share) => Math.trunc(share * (1 << 22) + (share < 0 ? -0.5 : 0.5));
    return { first, weights: Int32Array.from(shares, (share) => rounded(share / total)) };
  });
};

/* Keys's cubic kernel with a = -1/2. */
labkit.bicubic = (x, a = -0.5) => {
  x = Math.abs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
};
