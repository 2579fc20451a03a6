// Draws the regions on a canvas over the slide, again for every frame that moves.

import { css } from "./colours.js";

const LINE = "rgba(12,16,32,0.75)";
const COSTLY_MS = 12,
  SETTLED_MS = 140;

/** The side in screen pixels from which a region has an outline. */
export const OUTLINED_PX = 8;

/** Return whether a region is large enough for an outline; a screen pixel spans `px` level-0 pixels. */
export function isOutlined({ x0, y0, x1, y1 }, px) {
  return Math.max(x1 - x0, y1 - y0) > OUTLINED_PX * px;
}

/** Draws the regions of a job on a canvas. */
export class Overlay {
  constructor(canvas) {
    this.canvas = canvas;
    this.regions = null;
    this.colouring = null;
    this.selected = null;
    this.hovered = null;
    this.removed = new Set();
    this.opacity = 1;
    this.hasLines = true;
    this.isHidden = false;
    this.drawnCount = 0;
    // a copy of the last full drawing, moved along while a new drawing would take longer than a frame
    this.copy = document.createElement("canvas");
    this.copyView = null;
    this.cost = 0;
    this.isStale = true;
    this.settling = 0;
  }

  /** Whether drawing in full fits into a frame. */
  get isQuick() {
    return this.cost <= COSTLY_MS;
  }

  /** Redraw in full with the next frame. */
  refresh() {
    this.isStale = true;
  }

  /** Draw. `view` maps level-0 pixels to the canvas: scale, x and y in CSS pixels. */
  draw(view, width, height, changed) {
    const copy = this.copyView,
      isSame = copy && copy.width === width && copy.height === height;
    if (!this.isStale && isSame && copy.scale === view.scale && copy.x === view.x && copy.y === view.y) return;
    if (!this.isStale && isSame && this.cost > COSTLY_MS) {
      this.moveAlong(view);
      clearTimeout(this.settling);
      this.settling = setTimeout(() => {
        this.isStale = true;
        changed();
      }, SETTLED_MS);
      return;
    }
    const start = performance.now();
    this.isStale = false;
    this.drawAnew(view, width, height, () => {
      this.isStale = true;
      changed();
    });
    this.cost = performance.now() - start;
    this.copyView = { ...view, width, height };
    if (this.cost <= COSTLY_MS) return;
    Object.assign(this.copy, { width: this.canvas.width, height: this.canvas.height });
    this.copy.getContext("2d").drawImage(this.canvas, 0, 0);
  }

  moveAlong({ scale, x, y }) {
    const density = window.devicePixelRatio || 1,
      factor = scale / this.copyView.scale,
      context = this.canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    context.setTransform(
      factor,
      0,
      0,
      factor,
      (x - this.copyView.x * factor) * density,
      (y - this.copyView.y * factor) * density,
    );
    context.drawImage(this.copy, 0, 0);
  }

  drawAnew({ scale, x, y }, width, height, changed) {
    const density = window.devicePixelRatio || 1;
    const { canvas } = this;
    if (canvas.width !== Math.round(width * density) || canvas.height !== Math.round(height * density)) {
      canvas.width = Math.round(width * density);
      canvas.height = Math.round(height * density);
    }
    const context = canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (!this.regions || !(scale > 0)) return;
    const shapes = this.regions.at(Math.floor(Math.log2(1 / scale)), changed);
    context.setTransform(scale * density, 0, 0, scale * density, x * density, y * density);
    const visibleBox = { x0: -x / scale, y0: -y / scale, x1: (width - x) / scale, y1: (height - y) / scale };
    const visible = [];
    shapes.forEach((shape, node) => {
      if (
        shape.x1 >= visibleBox.x0 &&
        shape.x0 <= visibleBox.x1 &&
        shape.y1 >= visibleBox.y0 &&
        shape.y0 <= visibleBox.y1
      )
        visible.push(node);
    });
    this.drawnCount = visible.length;
    if (!this.isHidden) this.fill(context, shapes, visible, 1 / scale, density);
    this.emphasise(context, shapes, 1 / scale);
  }

  fill(context, shapes, visible, px, density) {
    const colours = this.colouring?.colours;
    const removedPattern = this.removed.size ? hatching(context, px / density) : null;
    for (const node of visible) {
      if (this.removed.has(node)) {
        context.fillStyle = "rgba(255,255,255,0.72)";
        context.fill(shapes[node].path, "evenodd");
        context.fillStyle = removedPattern;
        context.fill(shapes[node].path, "evenodd");
      } else if (colours) {
        context.fillStyle = css(colours[node], this.opacity);
        context.fill(shapes[node].path, "evenodd");
      }
    }
    if (!this.hasLines) return;
    context.lineJoin = "round";
    context.strokeStyle = LINE;
    context.lineWidth = 0.8 * px;
    // outlines of regions of a few pixels would hide their colours, and are slowest to draw
    for (const node of visible) if (isOutlined(shapes[node], px)) context.stroke(shapes[node].path);
  }

  emphasise(context, shapes, px) {
    context.lineJoin = "round";
    for (const [node, strong] of [
      [this.hovered, false],
      [this.selected, true],
    ]) {
      if (node === null || !shapes[node]) continue;
      context.strokeStyle = "rgba(255,255,255,0.95)";
      context.lineWidth = (strong ? 5.5 : 3.5) * px;
      context.stroke(shapes[node].path);
      context.strokeStyle = strong ? "#101426" : LINE;
      context.lineWidth = (strong ? 2.5 : 1.5) * px;
      context.stroke(shapes[node].path);
    }
  }
}

let tile = null;

/** Return a pattern of diagonal lines with a constant spacing on the screen. */
function hatching(context, px) {
  if (!tile) {
    tile = document.createElement("canvas");
    tile.width = tile.height = 12;
    const brush = tile.getContext("2d");
    brush.strokeStyle = "rgba(20,24,40,0.6)";
    brush.lineWidth = 1.6;
    brush.beginPath();
    for (const shift of [-12, 0, 12]) {
      brush.moveTo(shift, 12);
      brush.lineTo(shift + 12, 0);
    }
    brush.stroke();
  }
  const pattern = context.createPattern(tile, "repeat");
  pattern.setTransform(new DOMMatrix([px, 0, 0, px, 0, 0]));
  return pattern;
}
