// Maps and sentences of the viewer: labkit/figures/viewer.py and strips.py, function by function.
// A map is {alpha: Float32Array(rows * columns), rows, columns}, row by row.
(() => {
  "use strict";
  const labkit = (window.labkit = window.labkit || {});

  const PHOTO_PIXELS = 320; // the longer side of the photograph, as the viewer lays it out
  const LIGHT_PIXELS = 64; // the longer side of a map; the page stretches it over the photograph
  const DARKEST = 0.15, BRIGHTEST = 0.68; // of a map; the page darkens below 0.5, lightens above
  const PLACES = [
    "upper left", "upper middle", "upper right",
    "left", "middle", "right",
    "lower left", "lower middle", "lower right",
  ]; // the thirds of a photograph's height and width
  const HINT = "Point at a word, or use the arrow keys. " +
    "Escape, or a click on the picture, shows the picture alone.";

  // Python's round: a half goes to the even neighbour.
  const round = (x) => {
    const below = Math.floor(x), rest = x - below;
    if (rest !== 0.5) return Math.round(x);
    return below % 2 ? below + 1 : below;
  };
  const percent = (share) => `${round(100 * share)}%`;
  const sum = (numbers) => numbers.reduce((total, x) => total + x, 0);

  // The size of a photograph that fits into a square of so many pixels; never larger than it is.
  const thumbnail = (width, height, pixels = PHOTO_PIXELS) => {
    if (width <= pixels && height <= pixels) return [width, height];
    const aspect = width / height;
    const nearest = (side, missed) => {
      const [low, high] = [Math.floor(side), Math.ceil(side)];
      return Math.max(missed(high) < missed(low) ? high : low, 1);
    };
    if (aspect <= 1) return [nearest(pixels * aspect, (n) => Math.abs(aspect - n / pixels)), pixels];
    return [pixels, nearest(pixels / aspect, (n) => (n ? Math.abs(aspect - pixels / n) : 0))];
  };

  const cubic = (x) => { // the bicubic filter with a = -0.5
    const a = -0.5, d = Math.abs(x);
    if (d < 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
    return d < 2 ? a * (((d - 5) * d + 8) * d - 4) : 0;
  };

  // Which cells a pixel of one axis is made of, and by what shares: [first cell, shares].
  const stretch = (cells, pixels) => {
    const scale = cells / pixels, wide = Math.max(scale, 1);
    return Array.from({ length: pixels }, (_, pixel) => {
      const centre = scale * (pixel + 0.5);
      const first = Math.max(Math.trunc(centre - 2 * wide + 0.5), 0);
      const end = Math.min(Math.trunc(centre + 2 * wide + 0.5), cells);
      const parts = [];
      for (let cell = first; cell < end; cell++) parts.push(cubic((cell - centre + 0.5) / wide));
      const total = sum(parts);
      return [first, parts.map((part) => part / total)];
    });
  };

  // strips.smooth: a map stretched over a photograph, each cell over its own part.
  const smooth = ({ alpha, rows, columns }, height, width) => {
    const across = new Float32Array(rows * width); // (rows, width)
    stretch(columns, width).forEach(([first, shares], x) => {
      for (let row = 0; row < rows; row++) {
        across[row * width + x] = sum(shares.map((s, k) => s * alpha[row * columns + first + k]));
      }
    });
    const drawn = new Float32Array(height * width); // (height, width)
    stretch(rows, height).forEach(([first, shares], y) => {
      for (let x = 0; x < width; x++) {
        const value = sum(shares.map((s, k) => s * across[(first + k) * width + x]));
        drawn[y * width + x] = Math.max(value, 0);
      }
    });
    return drawn;
  };

  // viewer._light: a map as grey pixels, brightest where the weight is largest.
  const light = (map, [width, height], darkest = DARKEST, brightest = BRIGHTEST) => {
    const scale = LIGHT_PIXELS / Math.max(width, height);
    const [across, down] = [width, height].map((side) => Math.max(8, round(side * scale)));
    const drawn = smooth(map, down, across);
    const top = Math.max(drawn.reduce((a, b) => Math.max(a, b), 0), 1e-12);
    const grey = Uint8Array.from(drawn, (x) => round(255 * (darkest + (brightest - darkest) * x / top)));
    return { width: across, height: down, grey };
  };

  const canvasOf = (width, height) => Object.assign(document.createElement("canvas"), { width, height });
  const lightCanvas = (map, size, ...range) => {
    const { width, height, grey } = light(map, size, ...range);
    const canvas = canvasOf(width, height), pen = canvas.getContext("2d");
    const image = pen.createImageData(width, height);
    grey.forEach((g, k) => image.data.set([g, g, g, 255], 4 * k));
    pen.putImageData(image, 0, 0);
    return canvas;
  };

  // The share of each cell in each third: (3, cells).
  const thirds = (cells) => [0, 1, 2].map((third) => Array.from({ length: cells }, (_, cell) => {
    const inside = Math.min((cell + 1) * 3 / cells, third + 1) - Math.max(cell * 3 / cells, third);
    return Math.max(inside, 0) * cells / 3;
  }));

  // viewer.describe: "looks mostly at the upper left, 62% of the weight there".
  const describe = ({ alpha, rows, columns }) => {
    const total = sum(alpha);
    if (total <= 0) return "looks nowhere";
    const down = thirds(rows), across = thirds(columns);
    const shares = PLACES.map((_, place) => {
      const high = down[Math.floor(place / 3)], wide = across[place % 3];
      return sum(Array.from(alpha, (w, k) => high[Math.floor(k / columns)] * wide[k % columns] * w)) / total;
    });
    const [first, second] = PLACES.map((_, place) => place).sort((i, j) => shares[j] - shares[i]);
    if (shares[first] >= 0.5) {
      const how = shares[first] > 0.99 ? "only" : "mostly";
      return `looks ${how} at the ${PLACES[first]}, ${percent(shares[first])} of the weight there`;
    }
    const both = shares[first] + shares[second];
    if (both >= 0.5) {
      const where = `the ${PLACES[first]} and the ${PLACES[second]}`;
      return `looks mostly at ${where}, ${percent(both)} of the weight there`;
    }
    const where = `most at the ${PLACES[first]}, ${percent(shares[first])} of the weight there`;
    return `looks all over the picture, ${where}`;
  };

  // The longest run of words that two stretches share; the earliest of several.
  const longestRun = (one, other, [from, to, start, end]) => {
    let best = [from, start, 0];
    for (let i = from; i < to; i++) {
      for (let j = start; j < end; j++) {
        let size = 0;
        while (i + size < to && j + size < end && one[i + size] === other[j + size]) size++;
        if (size > best[2]) best = [i, j, size];
      }
    }
    return best;
  };

  // viewer.align: for each word of one caption the index of its counterpart in the other, or null.
  const align = (one, other) => {
    const places = one.map(() => null);
    const match = (from, to, start, end) => {
      const [i, j, size] = longestRun(one, other, [from, to, start, end]);
      if (!size) { // no word is shared: those in the same place correspond
        for (let k = 0; from + k < to && start + k < end; k++) places[from + k] = start + k;
        return;
      }
      for (let k = 0; k < size; k++) places[i + k] = j + k;
      match(from, i, start, j);
      match(i + size, to, j + size, end);
    };
    match(0, one.length, 0, other.length);
    return places;
  };

  const listed = (names) =>
    [names.slice(0, -1).join(", "), names[names.length - 1]].filter(Boolean).join(" and ");
  const sentences = ({ words, maps }) => words.map((word, k) => `${word}: ${describe(maps[k])}`);

  // As in Python: three digits are kept of each weight.
  const rounded = (map) => ({ ...map, alpha: map.alpha.map((x) => round(Math.fround(x * 1000)) / 1000) });

  // viewer._data: what viewer.js shows. A caption is {name, words, maps}, a photo {url, width, height}.
  const viewerData = (photo, captions, alt) => {
    const shown = captions.map((one) => ({ ...one, maps: one.maps.map(rounded) }));
    const texts = [];
    const numbers = shown.map(({ words }) => {
      const text = words.join(" ");
      const number = texts.findIndex((other) => other === text);
      return number < 0 ? texts.push(text) - 1 : number;
    });
    const each = texts.map((_, number) => shown[numbers.findIndex((other) => other === number)].words);
    const rows = each.map((words, number) => ({
      who: listed(shown.filter((_, k) => numbers[k] === number).map(({ name }) => name)),
      words,
      aligned: words.map((_, k) => each.map((other) => align(words, other)[k])),
    }));
    const size = thumbnail(photo.width, photo.height);
    const panels = shown.map((one, k) => ({
      name: one.name,
      caption: numbers[k],
      maps: one.maps.map((map) => lightCanvas(map, size).toDataURL()),
      says: sentences(one),
    }));
    const label = `Where ${listed(shown.map(({ name }) => name))} looked`;
    return { label, alt, hint: HINT, photo: photo.url, captions: rows, panels };
  };

  // viewer._in_words: the whole viewer as text.
  const inWords = (captions, alt) => [alt, ...captions.flatMap(({ name, words, maps }) => [
    `Caption by ${name}: ${words.join(" ")}.`,
    `${sentences({ words, maps: maps.map(rounded) }).join(". ")}.`,
  ])].join(" ");

  labkit.maps = {
    align, canvasOf, describe, inWords, light, lightCanvas, listed, percent, rounded, sentences, smooth,
    thumbnail, viewerData,
  };
})();
