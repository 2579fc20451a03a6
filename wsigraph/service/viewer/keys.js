// Keyboard shortcuts.

import { byId } from "./elements.js";

const STEP = 0.2,
  CLOSER = 1.5;

/** Handle the keys of a page. */
export function addShortcuts(page) {
  const withPane = (action) => action(page.first);
  const actions = {
    ArrowLeft: () => withPane((pane) => pane.panBy(-STEP, 0)),
    ArrowRight: () => withPane((pane) => pane.panBy(STEP, 0)),
    ArrowUp: () => withPane((pane) => pane.panBy(0, -STEP)),
    ArrowDown: () => withPane((pane) => pane.panBy(0, STEP)),
    "+": () => withPane((pane) => pane.zoomBy(CLOSER)),
    "=": () => withPane((pane) => pane.zoomBy(CLOSER)),
    "-": () => withPane((pane) => pane.zoomBy(1 / CLOSER)),
    0: () => withPane((pane) => pane.home()),
    n: () => page.step(1),
    p: () => page.step(-1),
    z: () => page.now.region !== null && page.first.goToRegion(page.now.region),
    "]": () => page.findings.ablate(page.findings.count + 1),
    "[": () => page.findings.ablate(page.findings.count - 1),
    c: () => page.nextColour(1),
    o: () => toggle(page, "hasLines"),
    h: () => toggle(page, "isHidden"),
    s: () => page.compare(page.panes.length < 2),
    l: () => page.toggleRail(),
    t: () => page.toggleTheme(),
    "?": () => byId("keys").showModal(),
    Escape: () => page.pick(null),
  };
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const at = /** @type {Element} */ (event.target);
    // keep letters in text fields, and arrows in controls that use them
    if (event.key !== "Escape" && at.closest("select, textarea, input:not([type=range])")) return;
    if (event.key.startsWith("Arrow") && at.closest("input, [role=tab], #panel, #rail")) return;
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
}

function toggle(page, name) {
  for (const pane of page.panes) {
    pane.overlay[name] = !pane.overlay[name];
    pane.redraw();
  }
}
