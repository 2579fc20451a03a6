// Regions drawn over a slide: one canvas over the pane, drawn anew with every frame that moves.

import { css } from "./colours.js";

const LINE = "rgba(12,16,32,0.75)";

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
  }

  /** Draw; `view` says where level-0 pixels lie on the canvas: scale, x, y in CSS pixels. */
  draw({ scale, x, y }, width, height, changed) {
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
    if (!this.isHidden) this.fill(paper, shapes, seen, 1 / scale, density);
    this.emphasise(paper, shapes, 1 / scale);
  }

  fill(paper, shapes, seen, px, density) {
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
    if (!this.hasLines) return;
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
