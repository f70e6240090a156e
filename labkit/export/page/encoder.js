"use strict";
/* From a photograph's pixels to its annotation vectors a_1 ... a_L (section 3.1.1).

   Its networks are EfficientNet-Lites, as in labkit/features/backbones.py: convolutions, each with
   its batch norm folded into weights and bias. The maps of several lie side by side. A `map` has
   `channels` planes of rows x columns numbers, each plane `area` numbers long (a multiple of 4, for
   the products). */

labkit.newMap = (channels, rows, columns) => {
  const area = (rows * columns + 3) & ~3;
  return { channels, rows, columns, area, values: new Float32Array(channels * area) };
};

/* The encoder, loaded once. */
labkit.loadEncoder = (onProgress) => {
  labkit.loading = labkit.loading || labkit.readEncoder(onProgress).catch((error) => {
    labkit.loading = null; // the next photograph tries again
    throw error;
  });
  return labkit.loading;
};

/* Its weights, laid out for the loops below. */
labkit.readEncoder = async (onProgress) => {
  const tensors = labkit.readTensors(await labkit.readBytes(labkit.encoder, onProgress));
  const biasOf = (name) => tensors[`${name}.bias`].values;
  const matrix = (name) => {
    const { shape: [rows, ...others], values } = tensors[`${name}.weight`];
    const columns = others.reduce((product, size) => product * size);
    return labkit.layOut({ shape: [rows, columns], values }, biasOf(name));
  };
  const kernels = (name) => {
    const { shape: [channels, , size], values } = tensors[`${name}.weight`];
    return { channels, size, values, bias: biasOf(name) };
  };
  const optional = (name) => (`${name}.weight` in tensors ? matrix(name) : null);
  const blockOf = ({ name, ...block }) => ({
    ...block,
    expand: optional(`${name}.expand`),
    depthwise: kernels(`${name}.depthwise`),
    project: matrix(`${name}.project`),
  });
  const networks = labkit.encoder.networks.map(({ name, blocks }) => ({
    stem: matrix(`${name}.stem`), blocks: blocks.map(blockOf), head: optional(`${name}.head`),
  }));
  return { ...labkit.encoder, networks };
};

/* pixels (3, S, S) -> {a: (L, D), rows, columns}. `pause` is awaited between the layers. */
labkit.encode = async ({ networks, size, block }, pixels, pause = labkit.pauses()) => {
  const maps = [];
  for (const network of networks) {
    await pause();
    maps.push(...await labkit.mapsOf(network, block, labkit.stem(network.stem, pixels, size), pause));
  }
  return labkit.annotationVectors(maps);
};

/* The feature maps of one network: the last one, the finer one before it, or both. */
labkit.mapsOf = async ({ blocks, head }, wanted, map, pause) => {
  let fine = null;
  for (const block of blocks) {
    await pause();
    if (block.late && !fine) fine = map; // of stride 16, before the last halving
    map = labkit.block(block, map);
  }
  if (wanted === "stride16") return [map];
  await pause();
  const last = labkit.clip(labkit.pointwise(head, map));
  return wanted === "both" ? [last, labkit.halve(fine)] : [last];
};

/* The first convolution, 3 x 3 with stride 2 over all colours: a product with each pixel's
   27 neighbours. Pixels 0 ... 255 become -1 ... 1; beyond the right and the lower edge is 0. */
labkit.stem = (W, pixels, size) => {
  const half = Math.ceil(size / 2), before = labkit.padding(size, 3, 2);
  const near = labkit.newMap(27, half, half);
  for (let plane = 0; plane < 27; plane++) {
    const colour = Math.floor(plane / 9) * size * size;
    const down = Math.floor((plane % 9) / 3) - before, right = (plane % 3) - before;
    for (let y = 0; y < half; y++) for (let x = 0; x < half; x++) {
      const row = 2 * y + down, column = 2 * x + right;
      const inside = row >= 0 && row < size && column >= 0 && column < size;
      near.values[plane * near.area + y * half + x] =
        inside ? (pixels[colour + row * size + column] - 127) / 128 : 0;
    }
  }
  return labkit.pointwise(W, near);
};

/* A block: to more channels, a convolution of each channel by itself, to fewer channels; where the
   sizes allow it, the block's input is added. */
labkit.block = ({ expand, depthwise, project, stride, skip }, map) => {
  const wide = expand ? labkit.pointwise(expand, map) : map;
  const out = labkit.pointwise(project, labkit.depthwise(depthwise, stride, wide));
  if (skip) for (let k = 0; k < out.values.length; k++) out.values[k] += map.values[k];
  return out;
};

/* A convolution of 1 x 1: the same matrix at each place. */
labkit.pointwise = (W, map) => {
  const out = labkit.newMap(W.padded, map.rows, map.columns);
  labkit.product(W, map.area, map.values, map.area, 1, out.values, out.area, 1);
  return out;
};

/* ReLU6: below 0 is 0, above 6 is 6. Here it comes before and after each depthwise convolution. */
labkit.relu6 = (x) => (x < 0 ? 0 : x > 6 ? 6 : x);

labkit.clip = (map) => {
  for (let k = 0; k < map.values.length; k++) map.values[k] = labkit.relu6(map.values[k]);
  return map;
};

/* How many zeros come before the first of `n` places, so that ceil(n / stride) windows fit. */
labkit.padding = (n, size, stride) =>
  Math.floor(Math.max((Math.ceil(n / stride) - 1) * stride + size - n, 0) / 2);

/* A convolution of 3 x 3 or 5 x 5 of each channel by itself, between two ReLU6. */
labkit.depthwise = ({ channels, size, values, bias }, stride, map) => {
  const rows = Math.ceil(map.rows / stride), columns = Math.ceil(map.columns / stride);
  const out = labkit.newMap(channels, rows, columns);
  const top = labkit.padding(map.rows, size, stride);
  const left = labkit.padding(map.columns, size, stride);
  const width = (columns - 1) * stride + size, height = (rows - 1) * stride + size;
  const plane = new Float64Array(width * height), kernel = new Float64Array(size * size);
  const dot = size === 3 ? labkit.dot3x3 : labkit.dot5x5;
  for (let channel = 0; channel < channels; channel++) {
    kernel.set(values.subarray(channel * size * size, (channel + 1) * size * size));
    for (let y = 0, from = channel * map.area; y < map.rows; y++)
      for (let x = 0, to = (y + top) * width + left; x < map.columns; x++)
        plane[to++] = labkit.relu6(map.values[from++]);
    dot(plane, width, kernel, bias[channel], stride, out, channel * out.area);
  }
  return out;
};

labkit.dot3x3 = (p, width, k, bias, stride, out, to) => {
  const [k0, k1, k2, k3, k4, k5, k6, k7, k8] = k;
  for (let y = 0; y < out.rows; y++)
    for (let x = 0, a = y * stride * width; x < out.columns; x++, a += stride) {
      const b = a + width, c = b + width;
      const sum = p[a] * k0 + p[a + 1] * k1 + p[a + 2] * k2
        + (p[b] * k3 + p[b + 1] * k4 + p[b + 2] * k5)
        + (p[c] * k6 + p[c + 1] * k7 + p[c + 2] * k8);
      out.values[to++] = labkit.relu6(sum + bias);
    }
};

labkit.dot5 = (p, a, k, b) =>
  p[a] * k[b] + p[a + 1] * k[b + 1] + p[a + 2] * k[b + 2]
  + p[a + 3] * k[b + 3] + p[a + 4] * k[b + 4];

labkit.dot5x5 = (p, width, k, bias, stride, out, to) => {
  for (let y = 0; y < out.rows; y++)
    for (let x = 0, a = y * stride * width; x < out.columns; x++, a += stride) {
      const sum = labkit.dot5(p, a, k, 0) + labkit.dot5(p, a + width, k, 5)
        + labkit.dot5(p, a + 2 * width, k, 10) + labkit.dot5(p, a + 3 * width, k, 15)
        + labkit.dot5(p, a + 4 * width, k, 20);
      out.values[to++] = labkit.relu6(sum + bias);
    }
};

/* The mean of each 2 x 2 places. */
labkit.halve = (map) => {
  const out = labkit.newMap(map.channels, map.rows >> 1, map.columns >> 1);
  for (let channel = 0; channel < out.channels; channel++)
    for (let y = 0; y < out.rows; y++) for (let x = 0; x < out.columns; x++) {
      const at = channel * map.area + 2 * y * map.columns + 2 * x, v = map.values;
      const four = v[at] + v[at + 1] + v[at + map.columns] + v[at + map.columns + 1];
      out.values[channel * out.area + y * out.columns + x] = four / 4;
    }
  return out;
};

/* The channels at each place, row by row: a_i, the annotation vectors (L, D). */
labkit.annotationVectors = (maps) => {
  const { rows, columns } = maps[0], L = rows * columns;
  const D = maps.reduce((sum, map) => sum + map.channels, 0), a = new Float32Array(L * D);
  let first = 0;
  for (const { channels, area, values } of maps) {
    for (let d = 0; d < channels; d++)
      for (let i = 0; i < L; i++) a[i * D + first + d] = values[d * area + i];
    first += channels;
  }
  return { a, rows, columns };
};
