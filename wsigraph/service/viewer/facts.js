// Metadata of a slide, and its warnings.

import { byId, element } from "./elements.js";
import { amount, bytes, whole } from "./numbers.js";

/** Show the metadata of a slide. */
export function showSlide(slide) {
  const { width, height } = slide.size,
    mm = slide.mpp
      ? ` \u00b7 ${((width * slide.mpp) / 1000).toFixed(2)} \u00d7 ${((height * slide.mpp) / 1000).toFixed(2)} mm`
      : "";
  const rows = [
    ["Name", slide.name],
    ["Size", `${whole(width)} \u00d7 ${whole(height)} px${mm}`],
    ["Pixel size", slide.mpp ? `${amount(slide.mpp, 4)} \u00b5m (${slide.mpp_source})` : "not stated"],
    ["Objective", slide.magnification ? `${slide.magnification}\u00d7` : "not stated"],
    ["Levels", slide.levels.map(({ downsample }) => `1:${amount(downsample)}`).join(", ")],
    ["Format", `${slide.vendor}, read by ${slide.reader}`],
    ["File", slide.bytes ? bytes(slide.bytes) : "a folder"],
  ];
  byId("slide").replaceChildren(
    element("h3", {}, "Slide"),
    element(
      "dl",
      { class: "facts" },
      ...rows.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))),
    ),
    ...(slide.privacy
      ? [
          element(
            "p",
            { class: "notice" },
            `Patient data: ${slide.privacy}. `,
            slide.associated_served ? "This service serves these images." : "This service does not serve them.",
          ),
        ]
      : []),
    ...(slide.warnings.length
      ? [
          element("h3", {}, "Warnings"),
          element("ul", { class: "warnings" }, ...slide.warnings.map((text) => element("li", {}, text))),
        ]
      : []),
  );
}
