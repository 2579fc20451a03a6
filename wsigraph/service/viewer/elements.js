// Elements made from plain values. Text becomes text nodes: nothing that comes from a slide or a name is parsed as HTML.

const SVG = "http://www.w3.org/2000/svg";

/** Return an element; `on` holds listeners, everything else becomes an attribute (false and null are left out). */
export function element(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** Return an SVG element. */
export function drawn(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") for (const [event, heard] of Object.entries(value)) node.addEventListener(event, heard);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, String(value));
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export const byId = (id) => document.getElementById(id);

let silence = 0;

/** Tell the reader something in passing. */
export function tell(text, { isError = false } = {}) {
  const place = byId("told");
  place.textContent = text;
  place.classList.toggle("error", isError);
  place.classList.add("shown");
  clearTimeout(silence);
  silence = setTimeout(() => place.classList.remove("shown"), isError ? 9000 : 3500);
}
