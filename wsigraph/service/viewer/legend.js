// The legend of a colouring: a ramp with its ends, or the names of clusters.

import { css } from "./colours.js";
import { element, svgElement } from "./elements.js";

/** Return the elements of a legend. */
export function makeLegend({ legend, caption }) {
  if (legend.clusters)
    return [
      element(
        "ul",
        { class: "clusters" },
        ...legend.clusters.map(({ name, colour }) =>
          element(
            "li",
            {},
            svgElement(
              "svg",
              { class: "swatch", viewBox: "0 0 10 10" },
              svgElement("rect", { width: 10, height: 10, rx: 2, fill: css(colour) }),
            ),
            name,
          ),
        ),
      ),
    ];
  const name = `ramp-${Math.random().toString(36).slice(2)}`;
  const stops = legend.stops.map((colour, at) =>
    svgElement("stop", {
      offset: at / (legend.stops.length - 1),
      "stop-color": css(colour.slice(0, 3)),
      "stop-opacity": colour[3] ?? 1,
    }),
  );
  return [
    svgElement(
      "svg",
      { class: "ramp", viewBox: "0 0 200 10", preserveAspectRatio: "none", "aria-hidden": "true" },
      svgElement("linearGradient", { id: name }, ...stops),
      svgElement("rect", { width: 200, height: 10, fill: "#fff" }),
      svgElement("rect", { width: 200, height: 10, fill: `url(#${name})` }),
    ),
    element("div", { class: "ends" }, ...legend.ends.map((end) => element("span", {}, end))),
    element(
      "p",
      { class: "unit" },
      legend.words ? `blue ${legend.words[0]}, orange ${legend.words[1]} \u00b7 ` : "",
      caption,
    ),
  ];
}
