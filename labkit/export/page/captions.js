"use strict";
/* From annotation vectors to words: greedy, and beam search, as in labkit/model/generation.py and
   labkit/model/beams.py. */

[labkit.PAD, labkit.BOS, labkit.EOS, labkit.UNK] = [0, 1, 2, 3];
labkit.NEVER = [labkit.PAD, labkit.BOS, labkit.UNK]; // they mean nothing to a reader
labkit.CANDIDATES = 5;

/* Caption a photograph from its annotation vectors `a`, as `labkit.encode` gives them.

   options: numBeams (1 is greedy), maxLength, lengthPenalty, noRepeatNgramSize: the model's own
   if they are not given. prefix: words with which the caption begins. force: {step, place}: at that
   step, counted from 0, look at that place alone. pause: awaited between words.

   Returns the words, the score, alpha of each word, and of each word the five likeliest candidates
   {word, p}. If the caption ended, a last list has the candidates at its end; "<eos>" ends it. */
labkit.generate = async (model, a, options = {}) => {
  const own = model.generation;
  const settings = {
    numBeams: own.num_beams, maxLength: own.max_length, lengthPenalty: own.length_penalty,
    noRepeatNgramSize: own.no_repeat_ngram_size, prefix: [], force: null,
    pause: labkit.pauses(),
  };
  for (const [name, value] of Object.entries(options)) if (value != null) settings[name] = value;
  settings.prefix = settings.prefix.map((word) => {
    if (model.numberOf.has(word)) return model.numberOf.get(word);
    throw new Error(`${model.name} does not know the word ${word}: begin with words that it knows`);
  });
  const image = labkit.imageOf(model, a);
  const start = { word: labkit.BOS, ...image.first, score: 0, ids: [], alpha: [], candidates: [] };
  const search = settings.numBeams === 1 ? labkit.greedy : labkit.beamSearch;
  const { ids, score, alpha, candidates } = await search(model, image, start, settings);
  return {
    words: ids.map((y) => model.words[y]), score, alpha: alpha.slice(0, ids.length),
    candidates: candidates.map((some) => some.map(({ y, p }) => ({ word: model.words[y], p }))),
  };
};

/* The most likely word at each step. */
labkit.greedy = async (model, image, start, settings) => {
  let beam = start;
  for (let t = 0; t < settings.maxLength; t++) {
    await settings.pause();
    const [step] = labkit.next(model, image, [beam], t, settings);
    const word = labkit.argmax(step.logP);
    beam = labkit.extended(beam, step, word, beam.score + step.logP[word]);
    if (word === labkit.EOS) return { ...beam, ids: beam.ids.slice(0, -1) };
  }
  return beam;
};

/* Keep the k most likely beginnings, the beams; return the best caption that ended.

   A sum of logarithms favours short captions: those that ended are compared by
   log p / words ** penalty, with <eos> counted as a word. */
labkit.beamSearch = async (model, image, start, settings) => {
  const { numBeams: k, maxLength, lengthPenalty: penalty } = settings, ended = [];
  let beams = [start];
  for (let t = 0; ; t++) {
    await settings.pause();
    const steps = labkit.next(model, image, beams, t, settings);
    const found = labkit.bestContinuations(beams, steps, t === maxLength, 2 * k);
    for (const { j, y, total } of found.slice(0, k))
      if (y === labkit.EOS && ended.length < k) {
        const one = labkit.extended(beams[j], steps[j], y, total / (t + 1) ** penalty);
        ended.push({ ...one, ids: beams[j].ids });
      }
    const going = found.filter(({ y }) => y !== labkit.EOS).slice(0, k);
    // log p only falls: divided by the largest divisor it is the most that a beam can still reach
    const limit = going.length ? going[0].total / (maxLength + 1) ** penalty : -Infinity;
    const best = ended.reduce((most, one) => (one.score > most ? one.score : most), -Infinity);
    if (t === maxLength || ended.length >= k || best > limit || !going.length) break;
    beams = going.map(({ j, y, total }) => labkit.extended(beams[j], steps[j], y, total));
  }
  if (!ended.length) return { ...beams[0], score: beams[0].score / maxLength ** penalty };
  return ended.reduce((best, one) => (one.score > best.score ? one : best));
};

/* A caption with one word more. */
labkit.extended = (beam, { h, c, alpha, candidates }, word, score) => ({
  word, h, c, score, ids: [...beam.ids, word], alpha: [...beam.alpha, alpha],
  candidates: [...beam.candidates, candidates],
});

/* One step of all beams; what may not come has log p = -infinity. */
labkit.next = (model, image, beams, t, { prefix, force, noRepeatNgramSize }) => {
  const place = force && force.step === t ? force.place : null;
  const steps = labkit.step(model, image, beams, place);
  steps.forEach((step, j) => {
    for (const y of labkit.NEVER) if (y !== prefix[t]) step.logP[y] = -Infinity;
    if (noRepeatNgramSize && t >= Math.max(prefix.length, 1))
      labkit.forbidRepeats(step.logP, beams[j].ids, noRepeatNgramSize);
    const likely = labkit.largest(step.logP, labkit.CANDIDATES);
    step.candidates = likely.map((y) => ({ y, p: Math.exp(step.logP[y]) }));
    if (t < prefix.length)
      step.logP = step.logP.map((one, y) => (y === prefix[t] ? one : -Infinity)); // a given word
  });
  return steps;
};

/* No word twice in a row, and no n words that were there before. */
labkit.forbidRepeats = (logP, ids, n) => {
  logP[ids[ids.length - 1]] = -Infinity;
  const last = ids.slice(ids.length - n + 1);
  for (let begin = 0; begin + n <= ids.length; begin++)
    if (n === 1 || last.every((y, k) => y === ids[begin + k])) logP[ids[begin + n - 1]] = -Infinity;
};

/* The best continuations of all beams, {beam j, word y, total log p}, best first. At the end of the
   longest caption only <eos> is left. */
labkit.bestContinuations = (beams, steps, atEnd, count) => {
  const all = steps.flatMap(({ logP }, j) => {
    const words = atEnd ? [labkit.EOS] : labkit.largest(logP, count);
    return words.map((y) => ({ j, y, total: beams[j].score + logP[y] }));
  });
  const possible = all.filter(({ total }) => total > -Infinity);
  return possible.sort((one, other) => other.total - one.total).slice(0, count);
};

/* The numbers of the `count` largest, largest first. */
labkit.largest = (numbers, count) => {
  const best = [];
  for (let y = 0; y < numbers.length; y++) {
    if (best.length === count && !(numbers[y] > numbers[best[count - 1]])) continue;
    if (numbers[y] === -Infinity) continue;
    let at = best.length;
    while (at && numbers[y] > numbers[best[at - 1]]) at--;
    best.splice(at, 0, y);
    if (best.length > count) best.pop();
  }
  return best;
};
