"use strict";
/* Whether a file is whole. A browser shows the upper half of a photograph that was cut short and says
   nothing; labkit/data/photos.py refuses it, and so does the page. */

/* Throws one sentence if the file is empty or cut short. What is no photograph, `readPhoto` finds. */
labkit.checkWhole = async (blob) => {
  const name = blob.name || "this file";
  if (!blob.size) throw new Error(`${name} is empty: choose a photograph, in JPEG or PNG`);
  const bytes = new Uint8Array(await blob.arrayBuffer());
  const ends = labkit.endOf(bytes);
  if (ends === null || ends <= bytes.length) return;
  throw new Error(`${name} is cut short: download it again, or save it as JPEG or PNG once more`);
};

/* How many bytes the file should have at least; null if its format is not known here. */
labkit.endOf = (bytes) => {
  const view = new DataView(bytes.buffer), begins = (text, at) =>
    [...text].every((letter, k) => bytes[at + k] === letter.charCodeAt(0));
  if (bytes[0] === 0xff && bytes[1] === 0xd8) return labkit.endOfJpeg(bytes);
  if (begins("\x89PNG", 0)) return labkit.endOfPng(bytes, view);
  if (begins("RIFF", 0) && begins("WEBP", 8)) return 8 + view.getUint32(4, true);
  return null;
};

/* JPEG: segments of known lengths up to the start of scan (FF DA), then pixels up to FF D9. */
labkit.endOfJpeg = (bytes) => {
  let at = 2;
  while (at + 4 <= bytes.length && bytes[at] === 0xff && bytes[at + 1] !== 0xda)
    at += 2 + 256 * bytes[at + 2] + bytes[at + 3];
  for (; at + 1 < bytes.length; at++)
    if (bytes[at] === 0xff && bytes[at + 1] === 0xd9) return at + 2;
  return Infinity;
};

/* PNG: chunks of a length, a name, the content and a checksum, up to IEND. */
labkit.endOfPng = (bytes, view) => {
  let at = 8;
  while (at + 12 <= bytes.length) {
    if (String.fromCharCode(...bytes.subarray(at + 4, at + 8)) === "IEND") return at + 12;
    at += 12 + view.getUint32(at);
  }
  return Infinity;
};
