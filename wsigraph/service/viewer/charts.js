// Small charts as SVG. Classes carry the colours, so that light and dark are a matter of the style sheet.

import { drawn } from "./elements.js";
import { amount, percent } from "./numbers.js";

const WIDTH = 340, LEFT = 40, RIGHT = 10, TOP = 10, BOTTOM = 32;

/** Axes of a chart: an SVG with a frame, and functions from values to places. */
function frame({ label, height, x, y }) {
  const right = WIDTH - RIGHT, bottom = height - BOTTOM;
  const across = (value) => LEFT + ((value - x.low) / (x.high - x.low || 1)) * (right - LEFT);
  const up = (value) => bottom - ((value - y.low) / (y.high - y.low || 1)) * (bottom - TOP);
  const svg = drawn("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": label });
  for (const tick of y.ticks) {
    svg.append(drawn("line", { class: "grid", x1: LEFT, x2: right, y1: up(tick), y2: up(tick) }));
    svg.append(drawn("text", { class: "tick", x: LEFT - 6, y: up(tick) + 3.5, "text-anchor": "end" }, y.told(tick)));
  }
  for (const tick of x.ticks) svg.append(drawn("text", { class: "tick", x: across(tick), y: bottom + 13, "text-anchor": "middle" }, x.told(tick)));
  svg.append(drawn("line", { class: "axis", x1: LEFT, x2: right, y1: bottom, y2: bottom }));
  svg.append(drawn("text", { class: "title", x: right, y: bottom + 27, "text-anchor": "end" }, x.title));
  return { svg, across, up, right, bottom };
}

function ticks(low, high, aim = 4) {
  const raw = (high - low) / aim, power = 10 ** Math.floor(Math.log10(raw || 1));
  const step = [1, 2, 2.5, 5, 10].map((each) => each * power).find((each) => each >= raw) ?? raw;
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step * 1e-6; at += step) found.push(Math.abs(at) < step * 1e-6 ? 0 : at);
  return found;
}

const line = (points) => points.map(([x, y], at) => `${at ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");
const area = (upper, lower) => `${line(upper)}${line([...lower].reverse()).replace("M", "L")}Z`;

/** Survival: this slide's curve with its band, the cohort's, and the curve without some regions. */
export function survivalChart({ own, cohort, changed }) {
  const last = own.time_days.at(-1), inYears = last > 730, unit = inYears ? 365.25 : 1;
  const x = { low: 0, high: last, ticks: ticks(0, last / unit, 5).map((tick) => tick * unit), told: (tick) => amount(tick / unit), title: inYears ? "years" : "days" };
  const y = { low: 0, high: 1, ticks: [0, 0.25, 0.5, 0.75, 1], told: (tick) => percent(tick) };
  const { svg, across, up } = frame({ label: "Survival curve", height: 190, x, y });
  const at = (times, shares) => [[across(0), up(1)], ...times.map((time, index) => [across(time), up(shares[index])])];
  if (cohort) {
    const steps = (name) => stepped(cohort.time_days, cohort[name], last).map(([time, share]) => [across(time), up(share)]);
    svg.append(drawn("path", { class: "cohort band", d: area(steps("high"), steps("low")) }), drawn("path", { class: "cohort line", d: line(steps("survival")) }));
  }
  if (own.low) svg.append(drawn("path", { class: "own band", d: area(at(own.time_days, own.high), at(own.time_days, own.low)) }));
  const before = drawn("path", { class: "own line", d: line(at(own.time_days, own.probability)) });
  const after = drawn("path", { class: "changed line", d: "" });
  svg.append(before, after);
  svg.change = (next) => {
    before.classList.toggle("past", Boolean(next));
    after.setAttribute("d", next ? line(at(next.time_days, next.probability)) : "");
  };
  svg.change(changed);
  return svg;
}

function stepped(times, shares, last) {
  const found = [[0, 1]];
  for (let index = 0; index < times.length && times[index] <= last; index += 1) found.push([times[index], found.at(-1)[1]], [times[index], shares[index]]);
  return [...found, [last, found.at(-1)[1]]];
}

/** Stage probabilities as bars; `change(next)` moves them and leaves a mark where they were. */
export function stageBars(stage, inSet) {
  const names = Object.keys(stage), row = 26, height = names.length * row + 4, from = 62, to = WIDTH - 54;
  const svg = drawn("svg", { class: "chart bars", viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": "Stage probabilities" });
  const rows = names.map((name, at) => {
    const top = at * row + 4;
    const bar = drawn("rect", { class: "bar", x: from, y: top, height: row - 9, rx: 2.5 });
    const mark = drawn("line", { class: "was", y1: top - 2, y2: top + row - 7 });
    const number = drawn("text", { class: "value", x: WIDTH - 4, y: top + 13, "text-anchor": "end" });
    const member = drawn("text", { class: "in-set", x: 46, y: top + 13, "text-anchor": "middle" });
    svg.append(drawn("rect", { class: "track", x: from, y: top, width: to - from, height: row - 9, rx: 2.5 }), bar, mark,
      drawn("text", { class: "name", x: 2, y: top + 13 }, name), member, number);
    return { name, bar, mark, number, member };
  });
  svg.change = (next, nextSet) => {
    for (const { name, bar, mark, number, member } of rows) {
      const share = (next ?? stage)[name] ?? 0, place = from + stage[name] * (to - from);
      bar.setAttribute("width", Math.max(1, share * (to - from)).toFixed(1));
      mark.setAttribute("x1", place);
      mark.setAttribute("x2", place);
      mark.classList.toggle("shown", Boolean(next));
      number.textContent = percent(share, 1);
      const belongs = (nextSet ?? inSet).includes(name);
      member.textContent = belongs ? "\u25cf" : "";
      bar.classList.toggle("in", belongs);
    }
  };
  svg.change(null, null);
  return svg;
}

const ORDERS = [["area", "largest first"], ["attention", "attention"], ["gradient_x_input", "gradient \u00d7 input"]];

/** What becomes of the output while regions are taken in the order of their attribution, beside rivals and chance. */
export function curveChart(curve, unit) {
  const lines = Object.values(curve.output).flat(), low = Math.min(...lines), high = Math.max(...lines), slack = (high - low) * 0.06 || 0.1;
  const shares = curve.area_fraction, last = shares.at(-1);
  const x = { low: 0, high: last, ticks: ticks(0, last, 4), told: (tick) => percent(tick), title: "share of the tissue taken away" };
  const y = { low: low - slack, high: high + slack, ticks: ticks(low - slack, high + slack, 4), told: (tick) => amount(tick, 2) };
  const { svg, across, up, bottom } = frame({ label: `Output (${unit}) while regions are taken away`, height: 170, x, y });
  const at = (output) => output.map((value, index) => [across(shares[index]), up(value)]);
  const { random_p5: p5, random_p50: p50, random_p95: p95 } = curve.output;
  if (p5) svg.append(drawn("path", { class: "cohort band", d: area(at(p95), at(p5)) }), drawn("path", { class: "cohort line", d: line(at(p50)) }));
  ORDERS.forEach(([name], number) => curve.output[name] && svg.append(drawn("path", { class: `rival line dash${number}`, d: line(at(curve.output[name])) })));
  svg.append(drawn("path", { class: "own line", d: line(at(curve.output.attribution)) }));
  const cursor = drawn("line", { class: "cursor", y1: TOP, y2: bottom });
  svg.append(cursor);
  svg.point = (share) => {
    cursor.classList.toggle("shown", share > 0 && share <= last);
    cursor.setAttribute("x1", across(share));
    cursor.setAttribute("x2", across(share));
  };
  svg.point(0);
  return svg;
}

/** The lines of `curveChart` by name, for its key. */
export const curveKey = (curve) => [["own", "by attribution"], ...ORDERS.map(([name, told], number) => [`rival dash${number}`, told, name]).filter(([, , name]) => curve.output[name]), ["cohort", "at random, 5 to 95 %"]];

/** A line as it looks in a chart. */
export const swatch = (kind) => drawn("svg", { class: "key-line", viewBox: "0 0 26 8", "aria-hidden": "true" }, drawn("line", { class: `${kind} line`, x1: 1, x2: 25, y1: 4, y2: 4 }));

/** Where a value lies among the training regions, 0 to 100. */
export function percentileBar(percentile) {
  const svg = drawn("svg", { class: "percentile", viewBox: "0 0 100 8", preserveAspectRatio: "none", "aria-hidden": "true" });
  svg.append(drawn("rect", { class: "track", x: 0, y: 3, width: 100, height: 2 }), drawn("rect", { class: "middle", x: 25, y: 3, width: 50, height: 2 }));
  svg.append(drawn("rect", { class: percentile < 5 || percentile > 95 ? "far" : "near", x: Math.min(97, Math.max(0, percentile - 1.5)), y: 0, width: 3, height: 8, rx: 1 }));
  return svg;
}

/** A signed share as a bar to the left or the right of a middle line. */
export function shareBar(share, most) {
  const half = Math.min(50, (50 * Math.abs(share)) / (most || 1));
  return drawn("svg", { class: "share", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
    drawn("rect", { class: "track", x: 0, y: 4, width: 100, height: 2 }),
    drawn("rect", { class: share < 0 ? "down" : "up", x: share < 0 ? 50 - half : 50, y: 1, width: Math.max(0.8, half), height: 8, rx: 1 }),
    drawn("rect", { class: "zero", x: 49.6, y: 0, width: 0.8, height: 10 }));
}
