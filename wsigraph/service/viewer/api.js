// The page of the HTTP API: shows the OpenAPI document. It sends nothing but the request for it.

import { byId, element } from "./elements.js";

const METHODS = ["get", "post", "patch", "put", "delete", "head"],
  MAX_DEPTH = 5;

const response = await fetch(new URL("../v1/openapi.json", import.meta.url), { credentials: "same-origin" });
if (response.ok) show(await response.json());
else
  byId("operations").replaceChildren(
    element(
      "p",
      { class: "empty" },
      response.status === 401
        ? "Sign in with the viewer first, then open this page again."
        : `The service responded ${response.status}.`,
    ),
  );

function show(document_) {
  byId("version").textContent = document_.info.version;
  byId("about").textContent = document_.info.description;
  const groups = new Map();
  for (const [path, operations] of Object.entries(document_.paths))
    for (const method of METHODS)
      if (operations[method]) {
        const operation = operations[method],
          [tag] = operation.tags ?? ["other"];
        if (!groups.has(tag)) groups.set(tag, []);
        groups.get(tag).push(makeOperation(document_, method, path, operation));
      }
  byId("operations").replaceChildren(
    ...[...groups].map(([tag, rows]) => element("section", {}, element("h2", {}, tag), ...rows)),
  );
  byId("filter").addEventListener("input", filter);
  document.body.dataset.ready = "true";
}

function filter() {
  const word = byId("filter").value.trim().toLowerCase();
  for (const row of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll(".operation")))
    row.hidden = !row.dataset.text.includes(word);
}

function makeOperation(document_, method, path, operation) {
  const text = `${method} ${path} ${operation.summary} ${operation.operationId}`.toLowerCase();
  const isPublic = operation.security?.length === 0;
  const details = element(
    "details",
    { class: "operation", id: operation.operationId, "data-text": text },
    element(
      "summary",
      {},
      element("span", { class: "method" }, method.toUpperCase()),
      element("span", { class: "path" }, path),
      element("span", { class: "muted" }, operation.summary),
    ),
  );
  // the content is made when it is first opened, because 30 operations have hundreds of fields
  details.addEventListener("toggle", () => {
    if (details.open && details.childElementCount === 1) details.append(makeContent(document_, operation, isPublic));
  });
  return details;
}

function makeContent(document_, operation, isPublic) {
  const parts = [
    element("p", {}, ...makeText(operation.description?.split("\n\nRaises")[0] ?? "")),
    element(
      "p",
      { class: "muted" },
      element("code", {}, operation.operationId),
      isPublic ? " \u00b7 needs no token" : "",
    ),
  ];
  if (operation.parameters?.length)
    parts.push(
      element("h3", {}, "Parameters"),
      makeTable(
        operation.parameters.map(({ name, in: place, required, description, schema }) => [
          element("code", {}, name),
          `${place}${required ? ", required" : ""}`,
          makeType(document_, schema),
          description ?? "",
        ]),
      ),
    );
  for (const [media, { schema }] of Object.entries(operation.requestBody?.content ?? {}))
    parts.push(element("h3", {}, `Body: ${media}`), element("pre", {}, makeExample(document_, schema)));
  parts.push(element("h3", {}, "Responses"));
  const rows = [];
  for (const [status, { description, content }] of Object.entries(operation.responses)) {
    const [media, { schema } = {}] = Object.entries(content ?? {})[0] ?? [];
    const isProblem = schema?.$ref?.endsWith("/Problem");
    rows.push([status, description, isProblem || !media ? "" : media]);
    if (!isProblem && schema && media === "application/json")
      parts.push(element("pre", {}, makeExample(document_, schema)));
  }
  parts.push(makeTable(rows));
  return element("div", {}, ...parts);
}

/** Return a description with its ``code`` as elements. */
function makeText(text) {
  return text.split("``").map((part, index) => (index % 2 ? element("code", {}, part) : part));
}

function makeTable(rows) {
  return element(
    "table",
    {},
    element("tbody", {}, ...rows.map((cells) => element("tr", {}, ...cells.map((cell) => element("td", {}, cell))))),
  );
}

function resolve(document_, schema) {
  return schema?.$ref ? document_.components.schemas[schema.$ref.split("/").pop()] : (schema ?? {});
}

/** Return a type in words: `integer 0 to 9`, `text or null`. */
function makeType(document_, schema) {
  const found = resolve(document_, schema);
  if (found.anyOf) return found.anyOf.map((option) => makeType(document_, option)).join(" or ");
  if (found.enum) return found.enum.join(", ");
  const low = found.minimum ?? found.exclusiveMinimum,
    high = found.maximum ?? found.exclusiveMaximum;
  const range = low !== undefined && high !== undefined ? ` ${low} to ${high}` : "";
  const preset = found.default !== undefined && found.default !== null ? `, default ${found.default}` : "";
  return `${found.const ?? found.type ?? "any"}${range}${preset}`;
}

/** Return the shape of a JSON value as indented text. */
function makeExample(document_, schema, depth = 0) {
  const found = resolve(document_, schema),
    pad = "  ".repeat(depth + 1);
  if (depth > MAX_DEPTH) return "...";
  if (found.anyOf) return found.anyOf.map((option) => makeExample(document_, option, depth)).join(" or ");
  if (found.type === "array") return `[${makeExample(document_, found.items, depth)}, ...]`;
  if (found.type === "object" && found.properties) {
    const rows = Object.entries(found.properties).map(
      ([name, property]) => `${pad}${name}: ${makeExample(document_, property, depth + 1)}`,
    );
    return `{\n${rows.join("\n")}\n${"  ".repeat(depth)}}`;
  }
  if (found.type === "object") {
    const value = typeof found.additionalProperties === "object" ? found.additionalProperties : {};
    return `{name: ${makeExample(document_, value, depth)}, ...}`;
  }
  return makeType(document_, found);
}
