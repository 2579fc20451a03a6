// Small SVG charts. Colours are set by CSS classes, so the style sheet decides the theme.

import { svgElement } from "./elements.js";
import { amount, percent } from "./numbers.js";

const WIDTH = 340,
  LEFT = 40,
  RIGHT = 10,
  TOP = 10,
  BOTTOM = 32;

/** Axes of a chart: an SVG element, and functions from values to positions. */
function frame({ label, height, x, y }) {
  const right = WIDTH - RIGHT,
    bottom = height - BOTTOM;
  const across = (value) => LEFT + ((value - x.low) / (x.high - x.low || 1)) * (right - LEFT);
  const up = (value) => bottom - ((value - y.low) / (y.high - y.low || 1)) * (bottom - TOP);
  const svg = svgElement("svg", {
    class: "chart",
    viewBox: `0 0 ${WIDTH} ${height}`,
    role: "img",
    "aria-label": label,
  });
  for (const tick of y.ticks) {
    svg.append(svgElement("line", { class: "grid", x1: LEFT, x2: right, y1: up(tick), y2: up(tick) }));
    svg.append(
      svgElement("text", { class: "tick", x: LEFT - 6, y: up(tick) + 3.5, "text-anchor": "end" }, y.format(tick)),
    );
  }
  for (const tick of x.ticks)
    svg.append(
      svgElement("text", { class: "tick", x: across(tick), y: bottom + 13, "text-anchor": "middle" }, x.format(tick)),
    );
  svg.append(svgElement("line", { class: "axis", x1: LEFT, x2: right, y1: bottom, y2: bottom }));
  svg.append(svgElement("text", { class: "title", x: right, y: bottom + 27, "text-anchor": "end" }, x.title));
  return { svg, across, up, right, bottom };
}

function ticks(low, high, aim = 4) {
  const raw = (high - low) / aim,
    power = 10 ** Math.floor(Math.log10(raw || 1));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= raw) ?? raw;
  const points = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step * 1e-6; at += step)
    points.push(Math.abs(at) < step * 1e-6 ? 0 : at);
  return points;
}

const line = (points) => points.map(([x, y], at) => `${at ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");
const area = (upper, lower) => `${line(upper)}${line([...lower].reverse()).replace("M", "L")}Z`;

/** Survival curves: this slide with its band, the cohort, and this slide after an ablation. */
export function survivalChart({ own, cohort, changed }) {
  const last = own.time_days.at(-1),
    inYears = last > 730,
    unit = inYears ? 365.25 : 1;
  const x = {
    low: 0,
    high: last,
    ticks: ticks(0, last / unit, 5).map((tick) => tick * unit),
    format: (tick) => amount(tick / unit),
    title: inYears ? "years" : "days",
  };
  const y = { low: 0, high: 1, ticks: [0, 0.25, 0.5, 0.75, 1], format: (tick) => percent(tick) };
  const { svg, across, up } = frame({ label: "Survival curve", height: 190, x, y });
  const at = (times, fractions) => [
    [across(0), up(1)],
    ...times.map((time, index) => [across(time), up(fractions[index])]),
  ];
  if (cohort) {
    const steps = (name) =>
      stepped(cohort.time_days, cohort[name], last).map(([time, fraction]) => [across(time), up(fraction)]);
    svg.append(
      svgElement("path", { class: "cohort band", d: area(steps("high"), steps("low")) }),
      svgElement("path", { class: "cohort line", d: line(steps("survival")) }),
    );
  }
  if (own.low)
    svg.append(
      svgElement("path", { class: "own band", d: area(at(own.time_days, own.high), at(own.time_days, own.low)) }),
    );
  const before = svgElement("path", { class: "own line", d: line(at(own.time_days, own.probability)) });
  const after = svgElement("path", { class: "changed line", d: "" });
  svg.append(before, after);
  svg.change = (next) => {
    before.classList.toggle("past", Boolean(next));
    after.setAttribute("d", next ? line(at(next.time_days, next.probability)) : "");
  };
  svg.change(changed);
  return svg;
}

function stepped(times, fractions, last) {
  const points = [[0, 1]];
  for (let index = 0; index < times.length && times[index] <= last; index += 1)
    points.push([times[index], points.at(-1)[1]], [times[index], fractions[index]]);
  return [...points, [last, points.at(-1)[1]]];
}

/** Stage probabilities as bars. `change(next)` moves the bars and marks their old values. */
export function stageBars(stage, inSet) {
  const names = Object.keys(stage),
    row = 26,
    height = names.length * row + 4,
    from = 62,
    to = WIDTH - 54;
  const svg = svgElement("svg", {
    class: "chart bars",
    viewBox: `0 0 ${WIDTH} ${height}`,
    role: "img",
    "aria-label": "Stage probabilities",
  });
  const rows = names.map((name, at) => {
    const top = at * row + 4;
    const bar = svgElement("rect", { class: "bar", x: from, y: top, height: row - 9, rx: 2.5 });
    const mark = svgElement("line", { class: "was", y1: top - 2, y2: top + row - 7 });
    const number = svgElement("text", { class: "value", x: WIDTH - 4, y: top + 13, "text-anchor": "end" });
    const member = svgElement("text", { class: "in-set", x: 46, y: top + 13, "text-anchor": "middle" });
    svg.append(
      svgElement("rect", { class: "track", x: from, y: top, width: to - from, height: row - 9, rx: 2.5 }),
      bar,
      mark,
      svgElement("text", { class: "name", x: 2, y: top + 13 }, name),
      member,
      number,
    );
    return { name, bar, mark, number, member };
  });
  svg.change = (next, nextSet) => {
    for (const { name, bar, mark, number, member } of rows) {
      const fraction = (next ?? stage)[name] ?? 0,
        place = from + stage[name] * (to - from);
      bar.setAttribute("width", Math.max(1, fraction * (to - from)).toFixed(1));
      mark.setAttribute("x1", place);
      mark.setAttribute("x2", place);
      mark.classList.toggle("shown", Boolean(next));
      number.textContent = percent(fraction, 1);
      const belongs = (nextSet ?? inSet).includes(name);
      member.textContent = belongs ? "\u25cf" : "";
      bar.classList.toggle("in", belongs);
    }
  };
  svg.change(null, null);
  return svg;
}

const ORDERS = [
  ["area", "largest first"],
  ["attention", "attention"],
  ["gradient_x_input", "gradient \u00d7 input"],
];

/** The output while regions are removed by attribution, by baseline orders and in random order. */
export function curveChart(curve, unit) {
  const lines = Object.values(curve.output).flat(),
    low = Math.min(...lines),
    high = Math.max(...lines),
    slack = (high - low) * 0.06 || 0.1;
  const fractions = curve.area_fraction,
    last = fractions.at(-1);
  const x = {
    low: 0,
    high: last,
    ticks: ticks(0, last, 4),
    format: (tick) => percent(tick),
    title: "fraction of the tissue removed",
  };
  const y = {
    low: low - slack,
    high: high + slack,
    ticks: ticks(low - slack, high + slack, 4),
    format: (tick) => amount(tick, 2),
  };
  const { svg, across, up, bottom } = frame({ label: `Output (${unit}) while regions are removed`, height: 170, x, y });
  const at = (output) => output.map((value, index) => [across(fractions[index]), up(value)]);
  const { random_p5: p5, random_p50: p50, random_p95: p95 } = curve.output;
  if (p5)
    svg.append(
      svgElement("path", { class: "cohort band", d: area(at(p95), at(p5)) }),
      svgElement("path", { class: "cohort line", d: line(at(p50)) }),
    );
  ORDERS.forEach(
    ([name], number) =>
      curve.output[name] &&
      svg.append(svgElement("path", { class: `baseline line dash${number}`, d: line(at(curve.output[name])) })),
  );
  svg.append(svgElement("path", { class: "own line", d: line(at(curve.output.attribution)) }));
  const cursor = svgElement("line", { class: "cursor", y1: TOP, y2: bottom });
  svg.append(cursor);
  svg.point = (fraction) => {
    cursor.classList.toggle("shown", fraction > 0 && fraction <= last);
    cursor.setAttribute("x1", across(fraction));
    cursor.setAttribute("x2", across(fraction));
  };
  svg.point(0);
  return svg;
}

/** The lines of `curveChart` by name, for its key. */
export const curveKey = (curve) => [
  ["own", "by attribution"],
  ...ORDERS.map(([name, label], number) => [`baseline dash${number}`, label, name]).filter(
    ([, , name]) => curve.output[name],
  ),
  ["cohort", "at random, 5 to 95 %"],
];

/** A sample of a line for a legend. */
export const swatch = (name) =>
  svgElement(
    "svg",
    { class: "key-line", viewBox: "0 0 26 8", "aria-hidden": "true" },
    svgElement("line", { class: `${name} line`, x1: 1, x2: 25, y1: 4, y2: 4 }),
  );

/** A training percentile, 0 to 100, as a mark on a line. */
export function percentileBar(percentile) {
  const svg = svgElement("svg", {
    class: "percentile",
    viewBox: "0 0 100 8",
    preserveAspectRatio: "none",
    "aria-hidden": "true",
  });
  svg.append(
    svgElement("rect", { class: "track", x: 0, y: 3, width: 100, height: 2 }),
    svgElement("rect", { class: "middle", x: 25, y: 3, width: 50, height: 2 }),
  );
  svg.append(
    svgElement("rect", {
      class: percentile < 5 || percentile > 95 ? "far" : "near",
      x: Math.min(97, Math.max(0, percentile - 1.5)),
      y: 0,
      width: 3,
      height: 8,
      rx: 1,
    }),
  );
  return svg;
}

/** A signed fraction as a bar left or right of a centre line. */
export function fractionBar(fraction, max) {
  const half = Math.min(50, (50 * Math.abs(fraction)) / (max || 1));
  return svgElement(
    "svg",
    { class: "fraction", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
    svgElement("rect", { class: "track", x: 0, y: 4, width: 100, height: 2 }),
    svgElement("rect", {
      class: fraction < 0 ? "down" : "up",
      x: fraction < 0 ? 50 - half : 50,
      y: 1,
      width: Math.max(0.8, half),
      height: 8,
      rx: 1,
    }),
    svgElement("rect", { class: "zero", x: 49.6, y: 0, width: 0.8, height: 10 }),
  );
}
