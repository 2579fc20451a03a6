// Colour scales that are safe for colour blindness: blue to vermilion around zero, viridis for amounts, and the
// colours of Okabe and Ito for clusters.

import { amount } from "./numbers.js";

const RAISES = [213, 94, 0],
  LOWERS = [0, 90, 200];
const VIRIDIS = [
  [68, 1, 84],
  [71, 44, 122],
  [59, 81, 139],
  [44, 113, 142],
  [33, 144, 141],
  [39, 173, 129],
  [92, 200, 99],
  [170, 220, 50],
  [253, 231, 37],
];
const CLUSTERS = [
  [0, 114, 178],
  [230, 159, 0],
  [0, 158, 115],
  [240, 228, 66],
  [213, 94, 0],
  [86, 180, 233],
  [90, 90, 90],
];

/** Return the colourings of a job, each with a name, a colour for every region, and a legend. */
export function makeColourings(values) {
  const colourings = values.targets.map((target) => diverging(target, values.area_mm2));
  if (values.tissue_clusters) colourings.push(categorical(values.tissue_clusters));
  for (const feature of values.features) colourings.push(sequential(feature));
  return colourings;
}

function diverging({ target, unit, attribution }, area) {
  // attribution per area, because large regions would look important only for their size
  const density = attribution.map((value, node) => value / area[node]);
  // a quantile over tissue, not over regions: a few specks of extreme density would take all of the scale
  const max = weightedQuantile(density.map(Math.abs), area, 0.95) || 1;
  const colours = density.map((value) => divergingAt(value / max));
  const title =
    target === "stage" ? "Stage" : target === "risk" ? "Risk" : target.replace("survival@", "Survival at ") + " d";
  return {
    id: target,
    group: "Attribution to",
    title,
    isAttribution: true,
    colours,
    caption: `attribution to ${unit}, per mm\u00b2`,
    value: (node) => `${amount(density[node])} per mm\u00b2`,
    legend: {
      stops: [-1, -0.5, 0, 0.5, 1].map(divergingAt),
      ends: [amount(-max, 2), "0", amount(max, 2)],
      words: ["lowers", "raises"],
    },
  };
}

function categorical({ names, of }) {
  const colours = of.map((cluster) => [...CLUSTERS[cluster % CLUSTERS.length], 0.62]);
  return {
    id: "tissue_cluster",
    group: "Tissue",
    title: "Tissue cluster",
    colours,
    caption: "nearest tissue cluster of the training cohort",
    value: (node) => names[of[node]],
    legend: {
      clusters: names
        .map((name, cluster) => ({ name, colour: [...CLUSTERS[cluster % CLUSTERS.length], 1] }))
        .filter((_, cluster) => of.includes(cluster)),
    },
  };
}

function sequential({ feature, name, unit, group, values }) {
  const low = quantile(values, 0.02),
    high = quantile(values, 0.98),
    span = high - low || 1;
  const title = name[0].toUpperCase() + name.slice(1);
  return {
    id: feature,
    group: `Feature: ${group}`,
    title,
    colours: values.map((value) => [...viridis((value - low) / span), 0.72]),
    caption: unit || "no unit",
    value: (node) => `${amount(values[node])} ${unit}`,
    legend: { stops: VIRIDIS.map((colour) => [...colour, 1]), ends: [amount(low, 2), amount(high, 2)] },
  };
}

function divergingAt(fraction) {
  const strength = Math.min(1, Math.abs(fraction));
  return [...(fraction < 0 ? LOWERS : RAISES), 0.78 * strength ** 0.75];
}

function viridis(fraction) {
  const place = Math.max(0, Math.min(1, fraction)) * (VIRIDIS.length - 1),
    low = Math.min(VIRIDIS.length - 2, Math.floor(place));
  return VIRIDIS[low].map((channel, index) =>
    Math.round(channel + (place - low) * (VIRIDIS[low + 1][index] - channel)),
  );
}

export const css = ([red, green, blue, opacity = 1], factor = 1) =>
  `rgba(${red},${green},${blue},${(opacity * factor).toFixed(3)})`;

export function quantile(values, fraction) {
  const sorted = Float64Array.from(values).sort();
  if (!sorted.length) return 0;
  const place = fraction * (sorted.length - 1),
    low = Math.floor(place);
  return sorted[low] + (place - low) * ((sorted[low + 1] ?? sorted[low]) - sorted[low]);
}

/** Return the value below which a fraction of the weight lies. */
export function weightedQuantile(values, weights, fraction) {
  const order = values.map((_, index) => index).sort((left, right) => values[left] - values[right]);
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  let below = 0;
  for (const index of order) {
    below += weights[index];
    if (below >= fraction * total) return values[index];
  }
  return 0;
}
