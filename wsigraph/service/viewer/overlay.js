// Regions drawn over a slide: one canvas over the pane, drawn anew with every frame that moves.

import { css } from "./colours.js";

const LINE = "rgba(12,16,32,0.75)";
const COSTLY_MS = 12, SETTLED_MS = 140, LEAST_PX2 = 90;

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
    // what was last drawn in full, to be moved along where drawing it anew would take longer than a frame
    this.kept = document.createElement("canvas");
    this.keptView = null;
    this.cost = 0;
    this.isStale = true;
    this.settling = 0;
  }

  /** Whether drawing in full fits into a frame. */
  get isQuick() {
    return this.cost <= COSTLY_MS;
  }

  /** Draw anew with the next frame: what is shown has changed, not only where. */
  refresh() {
    this.isStale = true;
  }

  /** Draw; `view` says where level-0 pixels lie on the canvas: scale, x, y in CSS pixels. */
  draw(view, width, height, changed) {
    const kept = this.keptView, isSame = kept && kept.width === width && kept.height === height;
    if (!this.isStale && isSame && kept.scale === view.scale && kept.x === view.x && kept.y === view.y) return;
    if (!this.isStale && isSame && this.cost > COSTLY_MS) {
      this.moveAlong(view);
      clearTimeout(this.settling);
      this.settling = setTimeout(() => { this.isStale = true; changed(); }, SETTLED_MS);
      return;
    }
    const start = performance.now();
    this.isStale = false;
    this.drawAnew(view, width, height, () => { this.isStale = true; changed(); });
    this.cost = performance.now() - start;
    this.keptView = { ...view, width, height };
    if (this.cost <= COSTLY_MS) return;
    Object.assign(this.kept, { width: this.canvas.width, height: this.canvas.height });
    this.kept.getContext("2d").drawImage(this.canvas, 0, 0);
  }

  moveAlong({ scale, x, y }) {
    const density = window.devicePixelRatio || 1, factor = scale / this.keptView.scale, paper = this.canvas.getContext("2d");
    paper.setTransform(1, 0, 0, 1, 0, 0);
    paper.clearRect(0, 0, this.canvas.width, this.canvas.height);
    paper.setTransform(factor, 0, 0, factor, (x - this.keptView.x * factor) * density, (y - this.keptView.y * factor) * density);
    paper.drawImage(this.kept, 0, 0);
  }

  drawAnew({ scale, x, y }, width, height, changed) {
    const density = window.devicePixelRatio || 1;
    const { canvas } = this;
    if (canvas.width !== Math.round(width * density) || canvas.height !== Math.round(height * density)) {
      canvas.width = Math.round(width * density);
      canvas.height = Math.round(height * density);
    }
    const paper = canvas.getContext("2d");
    paper.setTransform(1, 0, 0, 1, 0, 0);
    paper.clearRect(0, 0, canvas.width, canvas.height);
    if (!this.regions || !(scale > 0)) return;
    const shapes = this.regions.at(Math.floor(Math.log2(1 / scale)), changed);
    paper.setTransform(scale * density, 0, 0, scale * density, x * density, y * density);
    const sight = { x0: -x / scale, y0: -y / scale, x1: (width - x) / scale, y1: (height - y) / scale };
    const seen = [];
    shapes.forEach((shape, node) => {
      if (shape.x1 >= sight.x0 && shape.x0 <= sight.x1 && shape.y1 >= sight.y0 && shape.y0 <= sight.y1) seen.push(node);
    });
    this.drawnCount = seen.length;
    // lines around regions of a few pixels would hide the colours, and cost most
    const hasRoom = (width * height) / (seen.length || 1) > LEAST_PX2;
    if (!this.isHidden) this.fill(paper, shapes, seen, 1 / scale, density, hasRoom);
    this.emphasise(paper, shapes, 1 / scale);
  }

  fill(paper, shapes, seen, px, density, hasRoom) {
    const colours = this.colouring?.colours;
    const gone = this.removed.size ? hatching(paper, px / density) : null;
    for (const node of seen) {
      if (this.removed.has(node)) {
        paper.fillStyle = "rgba(255,255,255,0.72)";
        paper.fill(shapes[node].path, "evenodd");
        paper.fillStyle = gone;
        paper.fill(shapes[node].path, "evenodd");
      } else if (colours) {
        paper.fillStyle = css(colours[node], this.opacity);
        paper.fill(shapes[node].path, "evenodd");
      }
    }
    if (!this.hasLines || !hasRoom) return;
    paper.lineJoin = "round";
    paper.strokeStyle = LINE;
    paper.lineWidth = 0.8 * px;
    for (const node of seen) paper.stroke(shapes[node].path);
  }

  emphasise(paper, shapes, px) {
    paper.lineJoin = "round";
    for (const [node, strong] of [[this.hovered, false], [this.selected, true]]) {
      if (node === null || !shapes[node]) continue;
      paper.strokeStyle = "rgba(255,255,255,0.95)";
      paper.lineWidth = (strong ? 5.5 : 3.5) * px;
      paper.stroke(shapes[node].path);
      paper.strokeStyle = strong ? "#101426" : LINE;
      paper.lineWidth = (strong ? 2.5 : 1.5) * px;
      paper.stroke(shapes[node].path);
    }
  }
}

let tile = null;

/** Return a pattern of diagonal lines that is as fine on the screen whatever the zoom. */
function hatching(paper, px) {
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
  const pattern = paper.createPattern(tile, "repeat");
  pattern.setTransform(new DOMMatrix([px, 0, 0, px, 0, 0]));
  return pattern;
}
