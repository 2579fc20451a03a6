// Rules for the viewer's JavaScript. Prettier decides the layout.

import js from "@eslint/js";

const BROWSER = [
  "AbortController Blob CSS CustomEvent DOMException DOMMatrix DOMParser Event EventSource File FileReader FormData",
  "Image IntersectionObserver MutationObserver Path2D ResizeObserver URL URLSearchParams addEventListener",
  "cancelAnimationFrame clearTimeout console crypto customElements devicePixelRatio document fetch history innerHeight",
  "innerWidth localStorage location matchMedia navigator performance removeEventListener requestAnimationFrame",
  "setTimeout structuredClone window confirm getComputedStyle",
]
  .join(" ")
  .split(" ");

const globals = (names) => Object.fromEntries(names.map((name) => [name, "readonly"]));

export default [
  { ignores: ["**/vendor/**"] },
  js.configs.recommended,
  {
    languageOptions: { ecmaVersion: 2023, sourceType: "module", globals: globals(BROWSER) },
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: {
      eqeqeq: "error",
      "no-eval": "error",
      "no-implied-eval": "error",
      "no-new-func": "error",
      "no-var": "error",
      "prefer-const": ["error", { destructuring: "all" }],
      "object-shorthand": "error",
      "max-lines": ["error", 400],
      "max-lines-per-function": ["error", 80],
      "max-len": ["error", { code: 120, ignoreUrls: true }],
    },
  },
  { files: ["wsigraph/service/viewer/theme.js"], languageOptions: { sourceType: "script" } },
  { files: ["tests/viewer/*.js"], languageOptions: { globals: globals(["process", "globalThis"]) } },
];
