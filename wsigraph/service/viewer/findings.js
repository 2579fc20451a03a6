// What was read from the slide: stage, survival, what becomes of them without the most important regions, and the tests.

import { curveChart, curveKey, shareBar, stageBars, survivalChart, swatch } from "./charts.js";
import { byId, element, tell } from "./elements.js";
import { amount, days, percent, signed, whole } from "./numbers.js";
import { service } from "./service.js";

const REST_MS = 40;

/** The panel of a job's prediction; `removed(nodes)` is told which regions are away. */
export class Findings {
  constructor(removed) {
    this.place = byId("prediction");
    this.removed = removed;
    this.answers = new Map();
    this.targets = [];
    this.count = 0;
    this.asking = false;
  }

  empty(text) {
    Object.assign(this, { facts: null, targets: [], count: 0, slider: null });
    this.place.replaceChildren(element("p", { class: "empty" }, text));
  }

  /** Show a job. `targets` carry the order of regions. */
  show(job, facts, targets) {
    Object.assign(this, { job, facts, targets, count: 0, target: targets[0]?.target ?? null });
    this.answers.clear();
    const { prediction, explanation, cohort } = facts;
    this.place.replaceChildren(
      element("p", { class: "notice" }, sentence(prediction.notice)),
      ...this.reading(prediction, cohort),
      ...(targets.length ? [this.removing()] : []),
      ...(explanation ? [inWords(explanation) ?? "", ...this.testing(explanation)] : [element("p", { class: "empty" }, "Not explained yet. Start an explanation on the left to see what this rests on.")]),
      cautions(prediction, explanation),
      ...this.files(job),
    );
  }

  reading(prediction, cohort) {
    const found = [];
    if (Object.keys(prediction.stage).length) {
      this.bars = stageBars(prediction.stage, prediction.stage_set);
      this.set = element("p", { class: "caption" });
      found.push(element("section", {}, element("h3", {}, "Stage"), this.bars, this.set));
    }
    if (prediction.risk !== null) {
      this.figures = element("dl", { class: "figures" });
      this.curve = survivalChart({ own: prediction.survival, cohort });
      found.push(element("section", { class: "survival" }, element("h3", {}, "Survival"), this.figures, this.curve,
        key([["own", "this slide"], ["changed", "without the regions"], ...(cohort ? [["cohort", `cohort of ${whole(cohort.n_patients)} (Kaplan\u2013Meier)`]] : [])])));
    }
    this.tellReading(null);
    return found;
  }

  tellReading(changed) {
    const { prediction } = this.facts, now = changed ?? prediction;
    this.bars?.change(changed?.stage ?? null, changed?.stage_set ?? null);
    if (this.set) this.set.textContent = now.stage_set.length ? `\u25cf in the conformal set: ${now.stage_set.join(", ")}. Bars are probabilities${changed ? "; the marks are those of the whole slide" : ""}.` : "Too few held-out patients for a conformal set.";
    if (!this.figures) return;
    this.curve.change(changed?.survival ?? null);
    const past = (text) => (changed ? element("del", {}, text) : null);
    this.figures.replaceChildren(
      element("div", {}, element("dt", { title: "log cumulative hazard at the last interval; higher is worse" }, "Risk"), element("dd", {}, past(amount(prediction.risk)), amount(now.risk))),
      element("div", {}, element("dt", {}, "Median survival"), element("dd", {}, past(days(prediction.median_survival_days)), days(now.median_survival_days))),
    );
  }

  removing() {
    this.slider = element("input", { id: "remove", type: "range", min: "0", max: String(Math.max(0, this.facts.n_regions - 1)), value: "0", disabled: !this.facts.can_remove, "aria-describedby": "remove-told", on: { input: () => this.take(Number(this.slider.value)) } });
    this.told = element("output", { id: "remove-told", for: "remove", "aria-live": "polite" });
    this.choice = element("select", { "aria-label": "Important for", on: { change: () => { this.target = this.choice.value; this.take(this.count, true); } } }, ...this.targets.map(({ target }) => element("option", { value: target }, target)));
    this.tellRemoval(null);
    return element("section", { class: "removal" },
      element("h3", {}, "Take regions away"),
      element("label", { for: "remove", class: "caption" }, "The most important for ", this.choice, " first; the rest is read again."),
      this.slider, this.told);
  }

  /** Take the first `count` regions away and show what is read then. */
  take(count, anew = false) {
    if (!this.slider || this.slider.disabled) return;
    count = Math.max(0, Math.min(count, Number(this.slider.max)));
    if (count === this.count && !anew) return;
    this.count = count;
    this.slider.value = String(count);
    this.removed(this.order.slice(0, count));
    this.refresh();
  }

  get order() {
    return this.targets.find(({ target }) => target === this.target)?.order ?? [];
  }

  async refresh() {
    if (this.asking) return;
    this.asking = true;
    try {
      // one question at a time: what the slider has passed meanwhile is never asked
      for (let shown = null; shown !== `${this.job}/${this.target}/${this.count}`; ) {
        shown = `${this.job}/${this.target}/${this.count}`;
        const { count, job, target } = this;
        if (count && !this.answers.has(shown)) this.answers.set(shown, await service.without(job, { top: count, target }));
        if (job !== this.job) continue;
        const answer = count ? this.answers.get(shown) : null;
        this.tellReading(answer?.prediction ?? null);
        this.tellRemoval(answer);
        if (count) await new Promise((resolve) => setTimeout(resolve, REST_MS));
      }
    } catch (problem) {
      tell(problem.message, { isError: true });
    } finally {
      this.asking = false;
    }
  }

  tellRemoval(answer) {
    this.drop?.point(answer && this.target === this.facts.explanation?.target ? answer.area_fraction : 0);
    if (!answer) this.told.textContent = this.facts.can_remove ? "Nothing is taken away." : "The service has another model now; start the job again.";
    else this.told.replaceChildren(element("strong", {}, `${answer.n_removed} of ${answer.n_regions} regions`), ` away, ${percent(answer.area_fraction, 1)} of the tissue; risk ${signed(answer.prediction.risk - this.facts.prediction.risk)}`);
  }

  testing(explanation) {
    const { curves, unit, target } = explanation, found = [];
    const titles = { drop: "Regions dropped", replace: "Regions replaced by training regions of their broad kind" };
    for (const [name, curve] of Object.entries(curves)) {
      const chart = curveChart(curve, unit);
      if (name === "drop") this.drop = chart;
      found.push(element("figure", {}, element("figcaption", {}, `${titles[name] ?? name}: ${unit}`), chart,
        element("p", { class: "caption" }, `By attribution the output moves ${amount(curve.gain.attribution)} SD towards ${amount(curve.towards)} on average, at random ${amount(curve.gain.random_mean)} SD; it beats ${percent(curve.random_beaten)} of ${curve.n_random} random orders.`)));
    }
    const first = Object.values(curves)[0];
    return [element("section", {}, element("h3", {}, `Do the reasons hold? \u2013 ${target}`), ...found, first ? key(curveKey(first)) : null), restsOn(explanation)];
  }

  files(job) {
    const names = ["report.html", "explanation.geojson", "report.geojson", "prediction.json", "explanation.json"].filter((name) => this.results?.includes(name));
    if (!names.length) return [];
    return [element("section", {}, element("h3", {}, "Files"), element("ul", { class: "files" }, ...names.map((name) => element("li", {}, element("a", { href: service.result(job, name), target: "_blank", rel: "noopener" }, name)))))];
  }
}

function inWords({ text }) {
  if (!text.length) return null;
  const [first, ...others] = text;
  return element("section", {}, element("h3", {}, "In words"), element("details", { class: "words" }, element("summary", {}, first), ...others.map((each) => element("p", {}, each))));
}

function restsOn({ groups, target, value, baseline_value: baseline, unit, members, gap, is_complete: isComplete }) {
  const most = Math.max(...Object.values(groups).map(Math.abs)), sorted = Object.entries(groups).sort(([, a], [, b]) => Math.abs(b) - Math.abs(a));
  const rows = sorted.map(([name, each]) => element("tr", {}, element("th", { scope: "row" }, name), element("td", { class: "wide" }, shareBar(each, most)), element("td", { class: "number" }, signed(each))));
  const agreement = members.agreement === null ? "." : `, and their maps agree to ${amount(members.agreement, 2)} (rank correlation).`;
  return element("section", {}, element("h3", {}, "What it rests on"), element("table", { class: "groups" }, element("tbody", {}, ...rows)),
    element("p", { class: "caption" }, `${target} is ${amount(value)} against ${amount(baseline)} of the baseline (${unit}); ${members.n} members say ${amount(members.low)} to ${amount(members.high)}`, agreement,
      ` Attributions add up to the difference within ${amount(gap, 2)}${isComplete ? "" : ", more than allowed"}.`));
}

function cautions(prediction, explanation) {
  const said = [...new Set([...prediction.warnings, ...(explanation?.warnings ?? [])])];
  const facts = [prediction.distance === null ? null : `${amount(prediction.distance)} from the training slides (about 1 for one like them)`, prediction.relation === "external" ? "a patient unknown to the model" : `known to the model: ${prediction.relation}`, `model ${prediction.model}`];
  return element("section", {}, ...(said.length ? [element("h3", {}, "Take care"), element("ul", { class: "warnings" }, ...said.map((text) => element("li", {}, sentence(text))))] : []),
    element("p", { class: "caption" }, facts.filter(Boolean).join(" \u00b7 ")));
}

const sentence = (text) => `${text[0]?.toUpperCase() ?? ""}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;

const key = (entries) => element("ul", { class: "key" }, ...entries.map(([kind, text]) => element("li", {}, swatch(kind), text)));

