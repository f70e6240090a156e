"use strict";
/* Marginal attention that looks at all places: each word is predicted from a mixture, as in
   labkit/model/mixture.py and MarginalAttention of labkit/model/hard_attention.py.

   p(y_t) = sum_i share_i p(y_t | z_ti): the likeliest places one by one, and the others as one. */

labkit.LEAST_SHARE = 0.01; // a place with less is summed among the others

/* The components of one step: [{share, context}]. */
labkit.components = (model, image, { e, alpha }) => {
  const { places, feature_dim: D } = model.config;
  const order = Array.from(alpha.keys()).sort((i, j) => e[j] - e[i]).slice(0, places);
  const single = places < image.L ? order.filter((i) => alpha[i] > labkit.LEAST_SHARE) : order;
  const one = (i) => ({ share: alpha[i], context: labkit.hardContext(image.a, D, i) });
  const parts = single.map(one), taken = new Set(single);
  const rest = alpha.map((share, i) => (taken.has(i) ? 0 : share));
  const share = rest.reduce((sum, x) => sum + x, 0);
  if (single.length < image.L && share > 0)
    parts.push({ share, context: labkit.softContext(image.a, D, rest.map((x) => x / share)) });
  return parts;
};

/* log p of each next word: the logarithm of the components' weighted sum. */
labkit.predictMixture = (model, image, steps) => {
  const { hidden_dim: H } = model.config;
  for (const step of steps) {
    const parts = labkit.components(model, image, step);
    const seen = labkit.seenOf(model, parts.map((part) => part.context));
    const rows = seen.map((one) => labkit.mixed(step.Ey, step.Lh, one.subarray(4 * H), step.beta));
    const n = labkit.linear(model.E, labkit.stacked(rows), rows.length);
    const p = new Float64Array(model.E.rows);
    parts.forEach(({ share }, j) => {
      const logP = labkit.logProbabilities(labkit.rowFrom(n, model.E, j));
      for (let y = 0; y < p.length; y++) p[y] += share * Math.exp(logP[y]);
    });
    step.logP = p.map(Math.log);
  }
};
