// The keyboard: everything that the mouse does.

import { byId } from "./elements.js";

const STEP = 0.2, CLOSER = 1.5;

/** Listen to keys for a page. */
export function listenToKeys(page) {
  const every = (act) => act(page.first);
  const does = {
    ArrowLeft: () => every((pane) => pane.panBy(-STEP, 0)),
    ArrowRight: () => every((pane) => pane.panBy(STEP, 0)),
    ArrowUp: () => every((pane) => pane.panBy(0, -STEP)),
    ArrowDown: () => every((pane) => pane.panBy(0, STEP)),
    "+": () => every((pane) => pane.zoomBy(CLOSER)),
    "=": () => every((pane) => pane.zoomBy(CLOSER)),
    "-": () => every((pane) => pane.zoomBy(1 / CLOSER)),
    0: () => every((pane) => pane.home()),
    n: () => page.step(1),
    p: () => page.step(-1),
    z: () => page.now.region !== null && page.first.goToRegion(page.now.region),
    "]": () => page.findings.take(page.findings.count + 1),
    "[": () => page.findings.take(page.findings.count - 1),
    c: () => page.nextColour(1),
    o: () => turn(page, "hasLines"),
    h: () => turn(page, "isHidden"),
    s: () => page.compare(page.panes.length < 2),
    l: () => page.toggleRail(),
    t: () => page.toggleTheme(),
    "?": () => byId("keys").showModal(),
    Escape: () => page.pick(null),
  };
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    // letters belong to where one writes, arrows to whatever they already move
    if (event.key !== "Escape" && event.target.closest("select, textarea, input:not([type=range])")) return;
    if (event.key.startsWith("Arrow") && event.target.closest("input, [role=tab], #panel, #rail")) return;
    const act = does[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
}

function turn(page, name) {
  for (const pane of page.panes) {
    pane.overlay[name] = !pane.overlay[name];
    pane.redraw();
  }
}
