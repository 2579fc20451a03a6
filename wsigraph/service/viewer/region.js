// The panel of one region: image, attribution, features with training percentiles, neighbours.

import { percentileBar, fractionBar } from "./charts.js";
import { byId, svgElement, element } from "./elements.js";
import { amount, ordinal, percent, signed, signedPercent } from "./numbers.js";
import { pathData } from "./regions.js";
import { service } from "./service.js";

const FEW = 10;

/** The panel of a region; `callbacks.picked(node)` and `callbacks.goTo(node)`. */
export class RegionPanel {
  constructor(callbacks) {
    this.place = byId("region");
    this.callbacks = callbacks;
    this.showsAll = false;
    this.requests = 0;
  }

  empty() {
    this.requests += 1;
    this.place.replaceChildren(
      element("p", { class: "empty" }, "Click a region on the slide, or press n for the most important one."),
    );
  }

  /** Show a region of a job. */
  async show(job, node, regions) {
    const turn = (this.requests += 1);
    const facts = await service.region(job, node);
    if (turn !== this.requests) return;
    this.place.replaceChildren(
      element("section", {}, this.head(facts), this.picture(job, facts, regions)),
      this.attributionTable(facts),
      element("section", {}, ...this.features(facts)),
      element("section", {}, ...this.neighbours(facts)),
    );
    this.place.scrollTop = 0;
  }

  head(facts) {
    const area = `${amount(facts.area_mm2)} mm\u00b2, ${percent(facts.area_fraction, 1)} of the tissue`,
      place = `${area} \u00b7 at ${facts.x_mm.toFixed(2)}, ${facts.y_mm.toFixed(2)} mm`;
    return element(
      "header",
      { class: "region-head" },
      element("h3", {}, `Region ${facts.node}`),
      element(
        "button",
        { class: "text", title: "Zoom to the region (z)", on: { click: () => this.callbacks.goTo(facts.node) } },
        "Zoom to it",
      ),
      element("p", { class: "cluster" }, facts.tissue_cluster ? `Nearest tissue cluster: ${facts.tissue_cluster}` : ""),
      element("p", { class: "caption" }, place),
    );
  }

  picture(job, facts, regions) {
    const { x, y, width, height } = facts.crop;
    const outline = svgElement(
      "svg",
      { viewBox: `${x} ${y} ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" },
      svgElement("path", { class: "halo", d: pathData(regions.box(facts.node)) }),
      svgElement("path", { class: "edge", d: pathData(regions.box(facts.node)) }),
    );
    const image = element("img", {
      src: service.crop(job, facts.node),
      width,
      height,
      alt: `The slide around region ${facts.node}`,
      loading: "eager",
    });
    return element("figure", { class: "crop" }, image, outline);
  }

  attributionTable({ targets, cut_change: cut }) {
    if (!targets.length) return element("p", { class: "caption" }, "No explanation, so no attribution.");
    const max = Math.max(...targets.map(({ fraction }) => Math.abs(fraction)));
    const rows = targets.map(({ target, fraction, rank, attribution, unit }) =>
      element(
        "tr",
        { title: `${signed(attribution)} ${unit}` },
        element("th", { scope: "row" }, target),
        element("td", { class: "wide" }, fractionBar(fraction, max)),
        element("td", { class: "number" }, signedPercent(fraction)),
        element("td", { class: "number muted" }, `${ordinal(rank)}`),
      ),
    );
    return element(
      "section",
      {},
      element("h4", {}, "Attribution"),
      element("table", { class: "groups" }, element("tbody", {}, ...rows)),
      element(
        "p",
        { class: "caption" },
        "As a fraction of all attributions; and the rank of the region.",
        cut === null ? "" : ` Without messages from its neighbours the output changes by ${signed(cut)}.`,
      ),
    );
  }

  features({ features }) {
    const isExplained = features.some(({ attribution }) => attribution !== null);
    const order = isExplained
      ? [...features].sort((a, b) => Math.abs(b.attribution) - Math.abs(a.attribution))
      : features;
    const body = element("tbody"),
      more = element("button", {
        class: "text",
        on: {
          click: () => {
            this.showsAll = !this.showsAll;
            fill();
          },
        },
      });
    const fill = () => {
      body.replaceChildren(...order.slice(0, this.showsAll ? order.length : FEW).map(featureRow));
      more.textContent = this.showsAll ? "Fewer" : `All ${order.length}`;
    };
    fill();
    return [
      element("h4", {}, "Features", element("span", { class: "muted" }, isExplained ? " by attribution" : "")),
      element(
        "table",
        { class: "features" },
        element(
          "thead",
          {},
          element(
            "tr",
            {},
            element("th", { scope: "col" }, "feature"),
            element("th", { scope: "col", class: "number" }, "value"),
            element("th", { scope: "col", title: "among the training regions" }, "percentile"),
            isExplained ? element("th", { scope: "col", class: "number" }, "attribution") : null,
          ),
        ),
        body,
      ),
      more,
    ];
  }

  neighbours({ neighbours }) {
    if (!neighbours.length) return [element("p", { class: "caption" }, "It touches no other region.")];
    return [
      element("h4", {}, `Neighbours (${neighbours.length})`),
      element(
        "ul",
        { class: "neighbours" },
        ...neighbours.map(({ node, boundary_um: boundary, fraction, tissue_cluster: cluster }) =>
          element(
            "li",
            {},
            element(
              "button",
              { title: cluster ?? "", on: { click: () => this.callbacks.picked(node) } },
              element("strong", {}, node),
              element("span", {}, `${amount(boundary)} \u00b5m`),
              fraction === null
                ? null
                : element("span", { class: fraction < 0 ? "down" : "up" }, signedPercent(fraction)),
            ),
          ),
        ),
      ),
    ];
  }
}

function featureRow({ name, unit, value, percentile, attribution }) {
  const place =
    percentile === null
      ? ["\u2013"]
      : [percentileBar(percentile), element("span", { class: "number" }, ordinal(percentile))];
  return element(
    "tr",
    {},
    element("th", { scope: "row" }, name, unit ? element("span", { class: "muted" }, ` ${unit}`) : null),
    element("td", { class: "number" }, amount(value)),
    element("td", { class: "place" }, element("div", {}, ...place)),
    attribution === null
      ? null
      : element("td", { class: `number ${attribution < 0 ? "down" : "up"}` }, signed(attribution, 2)),
  );
}
