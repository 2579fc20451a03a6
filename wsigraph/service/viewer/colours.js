// Colours for values, for eyes of every kind: blue and vermilion around zero, viridis for amounts, Okabe and Ito for kinds.

import { amount } from "./numbers.js";

const RAISES = [213, 94, 0], LOWERS = [0, 90, 200];
const VIRIDIS = [[68, 1, 84], [71, 44, 122], [59, 81, 139], [44, 113, 142], [33, 144, 141], [39, 173, 129], [92, 200, 99], [170, 220, 50], [253, 231, 37]];
const KINDS = [[0, 114, 178], [230, 159, 0], [0, 158, 115], [240, 228, 66], [213, 94, 0], [86, 180, 233], [90, 90, 90]];

/** Return the colourings of a job: each with a name, a colour for every region, and a legend. */
export function colouringsOf(values) {
  const found = values.targets.map((target) => diverging(target, values.area_mm2));
  if (values.kind) found.push(categorical(values.kind));
  for (const feature of values.features) found.push(sequential(feature));
  return found;
}

function diverging({ target, unit, attribution }, area) {
  // by area, as what a pixel carries: else large regions would seem to matter for their size
  const density = attribution.map((value, node) => value / area[node]);
  const most = quantile(density.map(Math.abs), 0.98) || 1;
  const colours = density.map((value) => divergingAt(value / most));
  const title = target === "stage" ? "Stage" : target === "risk" ? "Risk" : target.replace("survival@", "Survival at ") + " d";
  return {
    id: target, group: "Attribution to", title, isAttribution: true, colours,
    told: `attribution to ${unit}, per mm\u00b2`, value: (node) => `${amount(density[node])} per mm\u00b2`,
    legend: { stops: [-1, -0.5, 0, 0.5, 1].map(divergingAt), ends: [amount(-most, 2), "0", amount(most, 2)], words: ["lowers", "raises"] },
  };
}

function categorical({ names, of }) {
  const colours = of.map((kind) => [...KINDS[kind % KINDS.length], 0.62]);
  return {
    id: "kind", group: "Tissue", title: "Kind of tissue", colours, told: "nearest kind in the training cohort", value: (node) => names[of[node]],
    legend: { kinds: names.map((name, kind) => ({ name, colour: [...KINDS[kind % KINDS.length], 1] })).filter((_, kind) => of.includes(kind)) },
  };
}

function sequential({ feature, name, unit, group, values }) {
  const low = quantile(values, 0.02), high = quantile(values, 0.98), span = high - low || 1;
  const title = name[0].toUpperCase() + name.slice(1);
  return {
    id: feature, group: `Feature: ${group}`, title, colours: values.map((value) => [...viridis((value - low) / span), 0.72]),
    told: unit || "pure number", value: (node) => `${amount(values[node])} ${unit}`,
    legend: { stops: VIRIDIS.map((colour) => [...colour, 1]), ends: [amount(low, 2), amount(high, 2)] },
  };
}

function divergingAt(share) {
  const strength = Math.min(1, Math.abs(share));
  return [...(share < 0 ? LOWERS : RAISES), 0.78 * strength ** 0.75];
}

function viridis(share) {
  const place = Math.max(0, Math.min(1, share)) * (VIRIDIS.length - 1), low = Math.min(VIRIDIS.length - 2, Math.floor(place));
  return VIRIDIS[low].map((channel, index) => Math.round(channel + (place - low) * (VIRIDIS[low + 1][index] - channel)));
}

export const css = ([red, green, blue, opacity = 1], factor = 1) => `rgba(${red},${green},${blue},${(opacity * factor).toFixed(3)})`;

export function quantile(values, share) {
  const sorted = Float64Array.from(values).sort();
  if (!sorted.length) return 0;
  const place = share * (sorted.length - 1), low = Math.floor(place);
  return sorted[low] + (place - low) * ((sorted[low + 1] ?? sorted[low]) - sorted[low]);
}
