// The regions of a job as paths in level-0 pixels. Each zoom level is fetched when it is first drawn.

import { service } from "./service.js";

/** The regions of one job. */
export class Regions {
  constructor(job, document) {
    this.job = job;
    this.mpp = document.mpp;
    this.width = document.width;
    this.height = document.height;
    this.count = document.n_regions;
    this.coarsest = document.coarsest_level;
    this.values = {
      targets: document.targets,
      tissue_clusters: document.tissue_clusters,
      features: document.features,
      area_mm2: document.area_mm2,
      centre: document.centre,
    };
    this.levels = new Map();
    this.requested = new Set();
    this.store(document.level, document);
    this.shown = this.levels.get(document.level);
  }

  static async open(job, level = 12) {
    return new Regions(job, await service.regions(job, level, true));
  }

  /** Return the best available shapes for a zoom level; `changed` is called when better ones arrive. */
  at(level, changed) {
    const wanted = Math.max(0, Math.min(level, this.coarsest));
    const shapes = this.levels.get(wanted);
    if (shapes) this.shown = shapes;
    else if (!this.requested.has(wanted)) {
      this.requested.add(wanted);
      service.regions(this.job, wanted, false).then(
        (document) => {
          this.store(document.level, document);
          this.levels.set(wanted, this.levels.get(document.level));
          changed();
        },
        () => this.requested.delete(wanted),
      );
    }
    return this.shown;
  }

  store(level, document) {
    if (!this.levels.has(level)) this.levels.set(level, document.outlines.map(shapeOf));
  }

  /** Return the region under a point, or null. */
  under(x, y, canvas) {
    const context = canvas.getContext("2d");
    context.save();
    context.setTransform(1, 0, 0, 1, 0, 0);
    const index = this.shown.findIndex(
      ({ path, x0, y0, x1, y1 }) =>
        x >= x0 && x <= x1 && y >= y0 && y <= y1 && context.isPointInPath(path, x, y, "evenodd"),
    );
    context.restore();
    return index < 0 ? null : index;
  }

  /** Return the box of a region: x0, y0, x1, y1. */
  box(node) {
    return this.shown[node];
  }
}

function shapeOf(polygons) {
  const path = new Path2D();
  const shape = { path, polygons, x0: Infinity, y0: Infinity, x1: -Infinity, y1: -Infinity };
  for (const polygon of polygons)
    for (const ring of polygon) {
      let x = 0,
        y = 0;
      for (let at = 0; at < ring.length; at += 2) {
        x += ring[at];
        y += ring[at + 1];
        if (at === 0) path.moveTo(x, y);
        else path.lineTo(x, y);
        if (x < shape.x0) shape.x0 = x;
        if (y < shape.y0) shape.y0 = y;
        if (x > shape.x1) shape.x1 = x;
        if (y > shape.y1) shape.y1 = y;
      }
      path.closePath();
    }
  return shape;
}

/** Return a region's outline as the data of an SVG path. */
export function pathData({ polygons }) {
  const words = [];
  for (const polygon of polygons) for (const ring of polygon) words.push(`M${ring[0]} ${ring[1]}`, ...pairs(ring), "Z");
  return words.join("");
}

function* pairs(ring) {
  for (let at = 2; at < ring.length; at += 2) yield `l${ring[at]} ${ring[at + 1]}`;
}
