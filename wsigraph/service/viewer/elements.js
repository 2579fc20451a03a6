// Create DOM elements. Text becomes text nodes: no name or metadata is ever parsed as HTML.

const SVG = "http://www.w3.org/2000/svg";

/**
 * Return an element. `on` has event listeners; all other names become attributes, except false and null.
 *
 * @returns {any}
 */
export function element(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/**
 * Return an SVG element.
 *
 * @returns {any}
 */
export function svgElement(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, String(value));
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** @type {(id: string) => any} */
export const byId = (id) => document.getElementById(id);

let hideTimer = 0;

/** Show a message for a few seconds. */
export function showMessage(text, { isError = false } = {}) {
  const message = byId("message");
  message.textContent = text;
  message.classList.toggle("error", isError);
  message.classList.add("shown");
  clearTimeout(hideTimer);
  hideTimer = setTimeout(() => message.classList.remove("shown"), isError ? 9000 : 3500);
}
