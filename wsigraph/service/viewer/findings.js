// The prediction panel: stage, survival, ablation of the most important regions, and the faithfulness tests.

import { curveChart, curveKey, fractionBar, stageBars, survivalChart, swatch } from "./charts.js";
import { byId, element, showMessage } from "./elements.js";
import { amount, days, percent, signed, whole } from "./numbers.js";
import { service } from "./service.js";

const REST_MS = 40;

/** The prediction of a job. It calls `removed(nodes)` when regions are removed. */
export class Findings {
  constructor(removed) {
    this.place = byId("prediction");
    this.removed = removed;
    this.ablations = new Map();
    this.targets = [];
    this.count = 0;
    this.isLoading = false;
    /** @type {any} */
    this.facts = null;
    this.job = null;
    this.target = null;
    this.results = [];
  }

  empty(text) {
    Object.assign(this, { facts: null, targets: [], count: 0, slider: null });
    this.place.replaceChildren(element("p", { class: "empty" }, text));
  }

  /** Show a job. `targets` carry the order of regions. */
  show(job, facts, targets) {
    Object.assign(this, { job, facts, targets, count: 0, target: targets[0]?.target ?? null });
    this.ablations.clear();
    const { prediction, explanation, cohort } = facts;
    this.place.replaceChildren(
      element("p", { class: "notice" }, sentence(prediction.notice)),
      ...this.predictionSections(prediction, cohort),
      ...(targets.length ? [this.ablationSection()] : []),
      ...(explanation
        ? [summarySection(explanation) ?? "", ...this.faithfulnessSections(explanation)]
        : prediction.withheld
          ? []
          : [
              element(
                "p",
                { class: "empty" },
                "No explanation yet. Start one on the left to see which regions matter.",
              ),
            ]),
      warningsSection(prediction, explanation),
      ...this.files(job),
    );
  }

  predictionSections(prediction, cohort) {
    const sections = [];
    if (prediction.withheld) {
      sections.push(
        element(
          "section",
          {},
          element("h3", {}, "Prediction withheld"),
          element("p", {}, sentence(prediction.withheld)),
        ),
      );
    }
    if (Object.keys(prediction.stage).length) {
      this.bars = stageBars(prediction.stage, prediction.stage_set);
      this.set = element("p", { class: "caption" });
      sections.push(element("section", {}, element("h3", {}, "Stage"), this.bars, this.set));
    }
    if (prediction.risk !== null) {
      this.figures = element("dl", { class: "figures" });
      this.curve = survivalChart({ own: prediction.survival, cohort, changed: null });
      sections.push(
        element(
          "section",
          { class: "survival" },
          element("h3", {}, "Survival"),
          this.figures,
          this.curve,
          key([
            ["own", "this slide"],
            ["changed", "without the removed regions"],
            ...(cohort ? [["cohort", `cohort of ${whole(cohort.n_patients)} (Kaplan\u2013Meier)`]] : []),
          ]),
        ),
      );
    }
    this.updatePrediction(null);
    return sections;
  }

  updatePrediction(changed) {
    const { prediction } = this.facts,
      now = changed ?? prediction;
    this.bars?.change(changed?.stage ?? null, changed?.stage_set ?? null);
    if (this.set)
      this.set.textContent = now.stage_set.length
        ? `\u25cf in the conformal set: ${now.stage_set.join(", ")}. Bars are probabilities` +
          (changed ? "; the marks are those of the whole slide." : ".")
        : "Too few held-out patients for a conformal set.";
    if (!this.figures) return;
    this.curve.change(changed?.survival ?? null);
    const past = (text) => (changed ? element("del", {}, text) : null);
    this.figures.replaceChildren(
      element(
        "div",
        {},
        element("dt", { title: "log cumulative hazard at the last interval; higher is worse" }, "Risk"),
        element("dd", {}, past(amount(prediction.risk)), amount(now.risk)),
      ),
      element(
        "div",
        {},
        element("dt", {}, "Median survival"),
        element("dd", {}, past(days(prediction.median_survival_days)), days(now.median_survival_days)),
      ),
    );
  }

  ablationSection() {
    this.slider = element("input", {
      id: "remove",
      type: "range",
      min: "0",
      max: String(Math.max(0, this.facts.n_regions - 1)),
      value: "0",
      disabled: !this.facts.can_remove,
      "aria-describedby": "ablation-status",
      on: { input: () => this.ablate(Number(this.slider.value)) },
    });
    this.ablationStatus = element("output", { id: "ablation-status", for: "remove", "aria-live": "polite" });
    this.choice = element(
      "select",
      {
        "aria-label": "Important for",
        on: {
          change: () => {
            this.target = this.choice.value;
            this.ablate(this.count, true);
          },
        },
      },
      ...this.targets.map(({ target }) => element("option", { value: target }, target)),
    );
    this.updateAblation(null);
    return element(
      "section",
      { class: "ablation" },
      element("h3", {}, "Remove regions"),
      element(
        "label",
        { for: "remove", class: "caption" },
        "Most important regions for ",
        this.choice,
        " are removed first. The model predicts again without them.",
      ),
      this.slider,
      this.ablationStatus,
    );
  }

  /** Remove the `count` most important regions and show the new prediction. */
  ablate(count, anew = false) {
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
    if (this.isLoading) return;
    this.isLoading = true;
    try {
      // one request at a time: positions that the slider has passed meanwhile are skipped
      for (let shown = null; shown !== `${this.job}/${this.target}/${this.count}`;) {
        shown = `${this.job}/${this.target}/${this.count}`;
        const { count, job, target } = this;
        if (count && !this.ablations.has(shown))
          this.ablations.set(shown, await service.ablate(job, { top: count, target }));
        if (job !== this.job) continue;
        const ablation = count ? this.ablations.get(shown) : null;
        this.updatePrediction(ablation?.prediction ?? null);
        this.updateAblation(ablation);
        if (count) await new Promise((resolve) => setTimeout(resolve, REST_MS));
      }
    } catch (problem) {
      showMessage(problem.message, { isError: true });
    } finally {
      this.isLoading = false;
    }
  }

  updateAblation(ablation) {
    this.drop?.point(ablation && this.target === this.facts.explanation?.target ? ablation.area_fraction : 0);
    if (!ablation)
      this.ablationStatus.textContent = this.facts.can_remove
        ? "No region is removed."
        : "The service now runs another model. Start the job again.";
    else
      this.ablationStatus.replaceChildren(
        element("strong", {}, `${ablation.n_removed} of ${ablation.n_regions} regions`),
        ` removed, ${percent(ablation.area_fraction, 1)} of the tissue; risk `,
        signed(ablation.prediction.risk - this.facts.prediction.risk),
      );
  }

  faithfulnessSections(explanation) {
    const { curves, unit, target } = explanation,
      sections = [];
    const titles = {
      drop: "Regions dropped",
      replace: "Regions replaced by training regions of their broad tissue cluster",
    };
    for (const [name, curve] of Object.entries(curves)) {
      const chart = curveChart(curve, unit);
      if (name === "drop") this.drop = chart;
      sections.push(
        element(
          "figure",
          {},
          element("figcaption", {}, `${titles[name] ?? name}: ${unit}`),
          chart,
          element(
            "p",
            { class: "caption" },
            `Removed by attribution, the output moves ${amount(curve.gain.attribution)} SD towards `,
            `${amount(curve.towards)} on average; in random order ${amount(curve.gain.random_mean)} SD. `,
            `Attribution beats ${percent(curve.random_beaten)} of ${curve.n_random} random orders.`,
          ),
        ),
      );
    }
    const first = Object.values(curves)[0];
    return [
      element(
        "section",
        {},
        element("h3", {}, `Faithfulness \u2013 ${target}`),
        ...sections,
        first ? key(curveKey(first)) : null,
      ),
      groupsSection(explanation),
    ];
  }

  files(job) {
    const names = [
      "report.html",
      "explanation.geojson",
      "report.geojson",
      "prediction.json",
      "explanation.json",
    ].filter((name) => this.results?.includes(name));
    if (!names.length) return [];
    return [
      element(
        "section",
        {},
        element("h3", {}, "Files"),
        element(
          "ul",
          { class: "files" },
          ...names.map((name) =>
            element(
              "li",
              {},
              element("a", { href: service.result(job, name), target: "_blank", rel: "noopener" }, name),
            ),
          ),
        ),
      ),
    ];
  }
}

function summarySection({ text }) {
  if (!text.length) return null;
  const [first, ...others] = text;
  return element(
    "section",
    {},
    element("h3", {}, "Summary"),
    element(
      "details",
      { class: "words" },
      element("summary", {}, first),
      ...others.map((value) => element("p", {}, value)),
    ),
  );
}

function groupsSection({
  groups,
  target,
  value,
  reference_value: reference,
  unit,
  members,
  completeness_error: completenessError,
  is_complete: isComplete,
}) {
  const max = Math.max(...Object.values(groups).map(Math.abs)),
    sorted = Object.entries(groups).sort(([, a], [, b]) => Math.abs(b) - Math.abs(a));
  const rows = sorted.map(([name, value]) =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, name),
      element("td", { class: "wide" }, fractionBar(value, max)),
      element("td", { class: "number" }, signed(value)),
    ),
  );
  const agreement =
    members.agreement === null ? "." : `, and their maps agree to ${amount(members.agreement, 2)} (rank correlation).`;
  return element(
    "section",
    {},
    element("h3", {}, "Attribution by feature group"),
    element("table", { class: "groups" }, element("tbody", {}, ...rows)),
    element(
      "p",
      { class: "caption" },
      `${target} is ${amount(value)} against ${amount(reference)} for the reference input (${unit}). The `,
      `${members.n} ensemble members give ${amount(members.low)} to ${amount(members.high)}`,
      agreement,
      ` Attributions sum to the difference with an error of ${amount(completenessError, 2)}`,
      isComplete ? "." : ", more than allowed.",
    ),
  );
}

function warningsSection(prediction, explanation) {
  const warnings = [...new Set([...prediction.warnings, ...(explanation?.warnings ?? [])])];
  const facts = [
    prediction.distance === null
      ? null
      : `${amount(prediction.distance)} from the training slides (about 1 for similar slides)`,
    prediction.relation === "external"
      ? "a patient that the model was not trained on"
      : `known to the model: ${prediction.relation}`,
    `model ${prediction.model}`,
  ];
  return element(
    "section",
    {},
    ...(warnings.length
      ? [
          element("h3", {}, "Warnings"),
          element("ul", { class: "warnings" }, ...warnings.map((text) => element("li", {}, sentence(text)))),
        ]
      : []),
    element("p", { class: "caption" }, facts.filter(Boolean).join(" \u00b7 ")),
  );
}

const sentence = (text) => `${text[0]?.toUpperCase() ?? ""}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;

const key = (entries) =>
  element("ul", { class: "key" }, ...entries.map(([name, text]) => element("li", {}, swatch(name), text)));
