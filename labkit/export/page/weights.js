"use strict";
/* From the folder's weights/NAME-k.js to arrays of numbers.

   A page that is opened from a disk may not fetch a file, but it may load a script. So each script
   in weights/ holds a part of a .safetensors file as text (base64), and calls `labkit.arrived`. */

labkit.waiting = {}; // what to do with a part that arrives: name and number -> function of a text

labkit.arrived = (name, part, text) => labkit.waiting[`${name}-${part}`](text);

/* All bytes of one file, part by part; onProgress is told which share of them is there. */
labkit.readBytes = async ({ name, parts, bytes }, onProgress = () => {}) => {
  const all = new Uint8Array(bytes);
  let done = 0;
  for (let part = 0; part < parts; part++) {
    const some = labkit.fromBase64(await labkit.loadPart(name, part));
    all.set(some, done);
    onProgress((done += some.length) / bytes);
  }
  return all;
};

labkit.loadPart = (name, part) => new Promise((resolve, reject) => {
  const script = document.createElement("script");
  const file = `weights/${name}-${part}.js`;
  const leave = (then, what) => {
    script.remove();
    delete labkit.waiting[`${name}-${part}`];
    then(what);
  };
  labkit.waiting[`${name}-${part}`] = (text) => leave(resolve, text);
  script.onerror = () => leave(reject, new Error(
    `${file} cannot be loaded: check the connection, or export the page again`));
  script.src = labkit.base + file;
  document.head.append(script);
});

labkit.fromBase64 = (text) => {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const letters = atob(text), bytes = new Uint8Array(letters.length);
  for (let k = 0; k < bytes.length; k++) bytes[k] = letters.charCodeAt(k);
  return bytes;
};

/* The tensors of a .safetensors file, {name: {shape, values}}. The file is the length of its
   header (8 bytes), the header (JSON: each tensor's type, shape and place), and the numbers. */
labkit.readTensors = (bytes) => {
  const length = Number(new DataView(bytes.buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)));
  const tensors = {};
  for (const [name, { dtype, shape, data_offsets: place }] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    const own = bytes.slice(8 + length + place[0], 8 + length + place[1]); // begins at a number
    tensors[name] = { shape, values: labkit.toNumbers(dtype, own.buffer) };
  }
  return tensors;
};

labkit.toNumbers = (dtype, buffer) => {
  if (dtype === "F32") return new Float32Array(buffer);
  if (dtype !== "F16") throw new Error(`weights of type ${dtype} are not known here`);
  const table = (labkit.halves = labkit.halves || labkit.allHalves());
  const halves = new Uint16Array(buffer), numbers = new Float32Array(halves.length);
  for (let k = 0; k < halves.length; k++) numbers[k] = table[halves[k]];
  return numbers;
};

/* What each of the 65,536 numbers of 16 bits means: a sign, 5 bits e and 10 bits m give
   (1 + m / 1024) 2^(e - 15); for e = 0, m / 1024 2^-14; e = 31 is for infinity. */
labkit.allHalves = () => Float32Array.from({ length: 65536 }, (_, bits) => {
  const sign = bits >> 15 ? -1 : 1, e = (bits >> 10) & 31, m = bits & 1023;
  if (e === 31) return m ? NaN : sign * Infinity;
  return sign * (e ? (1 + m / 1024) * 2 ** (e - 15) : (m / 1024) * 2 ** -14);
});
