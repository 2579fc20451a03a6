// One view of a slide and its regions: pan and zoom, colours with a legend, scale bar, position in mm, magnification.

import { element } from "./elements.js";
import { makeLegend } from "./legend.js";
import { amount } from "./numbers.js";
import { Overlay } from "./overlay.js";
import { service } from "./service.js";

const REDUCED_MOTION = matchMedia("(prefers-reduced-motion: reduce)");

/**
 * One view. It calls `callbacks.picked(node)`, `callbacks.moved(pane)`, `callbacks.coloured(id)` and
 * `callbacks.loaded()`.
 */
export class Pane {
  constructor(host, name, callbacks) {
    this.callbacks = callbacks;
    this.colourings = [];
    this.slide = null;
    this.view = null;
    this.pending = 0;
    this.loads = new Set();
    this.build(host, name);
    this.overlay = new Overlay(this.canvas);
    new ResizeObserver(() => this.redraw()).observe(this.root);
  }

  build(host, name) {
    this.canvas = element("canvas", { class: "overlay", "aria-hidden": "true" });
    this.sight = element("div", {
      class: "sight",
      tabindex: "0",
      role: "application",
      "aria-label": `Slide, ${name} view`,
    });
    this.select = element("select", {
      "aria-label": `Colour regions by, ${name} view`,
      on: { change: () => this.callbacks.coloured(this.select.value) },
    });
    this.strength = element("input", {
      type: "range",
      min: "0",
      max: "100",
      value: "100",
      "aria-label": "Opacity of the colours",
      on: {
        input: () => {
          this.overlay.opacity = this.strength.value / 100;
          this.redraw();
        },
      },
    });
    this.legend = element("div", { class: "legend" });
    this.controls = element(
      "div",
      { class: "controls float", hidden: true },
      element("label", { class: "colour" }, element("span", {}, "Colour by"), this.select),
      element("label", { class: "strength" }, element("span", {}, "Opacity"), this.strength),
      this.legend,
    );
    this.bar = element("div", { class: "scale-line" });
    this.barText = element("span", {});
    this.place = element("span", { class: "place" });
    this.power = element("span", { class: "power" });
    this.foot = element(
      "div",
      { class: "foot float" },
      element("div", { class: "scale" }, this.bar, this.barText),
      this.place,
      this.power,
    );
    const zooms = element(
      "div",
      { class: "zooms float" },
      ...[
        ["+", "Closer", 1.5],
        ["\u2212", "Farther", 1 / 1.5],
        ["\u2302", "Whole slide", 0],
      ].map(([sign, title, factor]) =>
        element(
          "button",
          { title, "aria-label": title, on: { click: () => (factor ? this.zoomBy(factor) : this.home()) } },
          sign,
        ),
      ),
    );
    this.note = element("p", { class: "note float", hidden: true });
    this.root = element("div", { class: "pane" }, this.sight, this.canvas, this.controls, zooms, this.foot, this.note);
    this.sight.addEventListener("pointermove", (event) => this.point(event));
    this.sight.addEventListener("pointerleave", () => this.point(null));
    host.append(this.root);
  }

  /** Show a slide. Resolves when it is visible. */
  open(slide) {
    this.close();
    this.slide = slide;
    if (window.OpenSeadragon) return this.openSeadragon(slide);
    this.note.textContent =
      "OpenSeadragon is not installed, so only a thumbnail is shown. " +
      "The operator of this service can install it with: wsigraph viewer";
    this.note.hidden = false;
    return this.openThumbnail(slide);
  }

  openSeadragon(slide) {
    const { tile_px: side, overlap_px: overlap, format } = slide.deepzoom;
    this.viewer = window.OpenSeadragon({
      element: this.sight,
      tileSources: {
        Image: {
          xmlns: "http://schemas.microsoft.com/deepzoom/2008",
          Url: service.tiles(slide),
          Format: format,
          Overlap: overlap,
          TileSize: side,
          Size: { Width: slide.size.width, Height: slide.size.height },
        },
      },
      drawer: "canvas",
      showNavigationControl: false,
      showNavigator: true,
      navigatorPosition: "TOP_RIGHT",
      navigatorSizeRatio: 0.16,
      navigatorAutoFade: false,
      gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: true },
      gestureSettingsTouch: { clickToZoom: false, dblClickToZoom: true, flickEnabled: !REDUCED_MOTION.matches },
      gestureSettingsPen: { clickToZoom: false },
      animationTime: REDUCED_MOTION.matches ? 0 : 0.55,
      springStiffness: 9,
      maxZoomPixelRatio: 8,
      minZoomImageRatio: 0.7,
      visibilityRatio: 0.3,
      imageLoaderLimit: 8,
      maxImageCacheCount: 600,
      immediateRender: false,
      preserveImageSizeOnResize: true,
    });
    this.viewer.addHandler("canvas-key", (event) => {
      event.preventDefaultAction = true;
    });
    this.viewer.addHandler("canvas-click", (event) => {
      if (event.quick) this.pick(event.position.x, event.position.y);
    });
    this.viewer.addHandler("update-viewport", () => this.redraw({ isMove: true }));
    this.viewer.addHandler("viewport-change", () => this.callbacks.moved(this));
    return /** @type {Promise<void>} */ (
      new Promise((resolve, reject) => {
        this.viewer.addOnceHandler("open", () => {
          const item = this.viewer.world.getItemAt(0);
          item.addHandler("fully-loaded-change", ({ fullyLoaded }) => {
            if (fullyLoaded) this.callbacks.loaded?.();
          });
          this.watchLoads(item.source);
          this.redraw();
          resolve();
        });
        this.viewer.addOnceHandler("open-failed", (event) => reject(new Error(event.message)));
      })
    );
  }

  openThumbnail(slide) {
    this.image = element("img", { class: "thumbnail", alt: "", src: service.thumbnail(slide) });
    this.sight.append(this.image);
    this.sight.onclick = (event) => this.pick(event.offsetX, event.offsetY);
    return this.image.decode().then(() => {
      this.redraw();
      this.callbacks.loaded?.();
    });
  }

  /** Track the tiles that are loading: OpenSeadragon aborts queued tiles, but not requested ones. */
  watchLoads(source) {
    const start = source.downloadTileStart;
    source.downloadTileStart = (load) => {
      const { callback } = load;
      load.callback = (done) => {
        this.loads.delete(load);
        callback(done);
      };
      this.loads.add(load);
      start.call(source, load);
    };
  }

  close() {
    for (const load of this.loads) {
      load.source.downloadTileAbort(load);
      clearTimeout(load.jobId);
    }
    this.loads.clear();
    this.viewer?.destroy();
    this.viewer = null;
    this.image?.remove();
    this.setRegions(null, []);
  }

  /** Map level-0 pixels to the pane: scale and top left corner in CSS px; null while no slide is open. */
  viewTransform() {
    const { clientWidth: width, clientHeight: height } = this.sight;
    if (this.image) {
      const scale = Math.min(width / this.slide.size.width, height / this.slide.size.height);
      return {
        scale,
        x: (width - scale * this.slide.size.width) / 2,
        y: (height - scale * this.slide.size.height) / 2,
      };
    }
    const item = this.viewer?.world.getItemAt(0);
    if (!item) return null;
    const bounds = this.viewer.viewport.getBounds(true),
      unit = width / bounds.width;
    return { scale: unit / this.slide.size.width, x: -bounds.x * unit, y: -bounds.y * unit };
  }

  redraw({ isMove = false } = {}) {
    if (!isMove) this.overlay?.refresh();
    if (this.pending) return;
    this.pending = requestAnimationFrame(() => {
      this.pending = 0;
      const view = this.slide && this.viewTransform();
      if (!view) return;
      this.view = view;
      this.overlay.draw(view, this.sight.clientWidth, this.sight.clientHeight, () => this.redraw({ isMove: true }));
      this.showScale(view.scale);
    });
  }

  setRegions(regions, colourings) {
    this.overlay.regions = regions;
    this.overlay.selected = this.overlay.hovered = null;
    this.overlay.removed = new Set();
    this.colourings = colourings;
    this.controls.hidden = !colourings.length;
    const groups = new Map();
    for (const { id, group, title } of colourings) {
      if (!groups.has(group)) groups.set(group, element("optgroup", { label: group }));
      groups.get(group).append(element("option", { value: id }, title));
    }
    this.select.replaceChildren(...groups.values());
    this.redraw();
  }

  colour(id) {
    const colouring = this.colourings.find((candidate) => candidate.id === id) ?? this.colourings[0] ?? null;
    this.overlay.colouring = colouring;
    if (colouring) {
      this.select.value = colouring.id;
      this.legend.replaceChildren(...makeLegend(colouring));
    }
    this.redraw();
    return colouring?.id ?? null;
  }

  get colouredBy() {
    return this.overlay.colouring?.id ?? null;
  }

  select_(node) {
    this.overlay.selected = node;
    this.redraw();
  }

  remove(nodes) {
    this.overlay.removed = new Set(nodes);
    this.redraw();
  }

  /** Return the centre of the view in level-0 pixels, and screen pixels per level-0 pixel. */
  centre() {
    const view = this.viewTransform();
    if (!view) return null;
    return {
      x: (this.sight.clientWidth / 2 - view.x) / view.scale,
      y: (this.sight.clientHeight / 2 - view.y) / view.scale,
      scale: view.scale,
    };
  }

  /** Move to a position. */
  goTo({ x, y, scale = null }, { immediately = false } = {}) {
    if (!this.viewer?.world.getItemAt(0)) return;
    const { viewport } = this.viewer,
      width = this.slide.size.width;
    if (scale) viewport.zoomTo((scale * width) / this.sight.clientWidth, null, immediately);
    viewport.panTo(new window.OpenSeadragon.Point(x / width, y / width), immediately);
  }

  /** Zoom to a region. */
  goToRegion(node) {
    const { x0, y0, x1, y1 } = this.overlay.regions.box(node);
    const scale = Math.min(this.sight.clientWidth / (x1 - x0), this.sight.clientHeight / (y1 - y0)) * 0.55;
    this.goTo({ x: (x0 + x1) / 2, y: (y0 + y1) / 2, scale: Math.min(scale, 2) });
  }

  /** Move to a region if it is not visible. */
  reveal(node) {
    const view = this.viewTransform();
    if (!view) return;
    const { x0, y0, x1, y1 } = this.overlay.regions.box(node),
      x = (x0 + x1) / 2,
      y = (y0 + y1) / 2;
    const left = x * view.scale + view.x,
      top = y * view.scale + view.y;
    if (left < 40 || top < 40 || left > this.sight.clientWidth - 40 || top > this.sight.clientHeight - 40)
      this.goTo({ x, y });
  }

  panBy(across, down) {
    const centre = this.centre();
    if (centre)
      this.goTo({
        x: centre.x + (across * this.sight.clientWidth) / centre.scale,
        y: centre.y + (down * this.sight.clientHeight) / centre.scale,
      });
  }

  zoomBy(factor) {
    this.viewer?.viewport.zoomBy(factor);
    this.viewer?.viewport.applyConstraints();
  }

  home() {
    this.viewer?.viewport.goHome();
  }

  pick(x, y) {
    if (!this.overlay.regions || !this.view) return;
    this.callbacks.picked(
      this.overlay.regions.under((x - this.view.x) / this.view.scale, (y - this.view.y) / this.view.scale, this.canvas),
    );
  }

  point(event) {
    const { view, slide, overlay } = this;
    let node = null,
      text = "";
    if (event && view && slide) {
      const frame = this.sight.getBoundingClientRect();
      const x = (event.clientX - frame.left - view.x) / view.scale,
        y = (event.clientY - frame.top - view.y) / view.scale;
      if (x >= 0 && y >= 0 && x < slide.size.width && y < slide.size.height) {
        text = slide.mpp
          ? `${((x * slide.mpp) / 1000).toFixed(3)}, ${((y * slide.mpp) / 1000).toFixed(3)} mm`
          : `${Math.round(x)}, ${Math.round(y)} px`;
        if (overlay.regions && event.pointerType === "mouse") node = overlay.regions.under(x, y, this.canvas);
        if (node !== null && overlay.colouring) text += ` \u00b7 region ${node}: ${overlay.colouring.value(node)}`;
      }
    }
    this.place.textContent = text;
    if (node !== overlay.hovered) {
      overlay.hovered = node;
      if (overlay.isQuick) this.redraw();
    }
  }

  showScale(scale) {
    const { mpp, magnification } = this.slide;
    if (mpp) {
      const aim = (110 * mpp) / scale,
        power = 10 ** Math.floor(Math.log10(aim));
      const length = [1, 2, 5, 10]
        .map((step) => step * power)
        .filter((length) => length <= aim * 1.25)
        .pop();
      this.bar.style.width = `${((length / mpp) * scale).toFixed(1)}px`;
      this.barText.textContent = length >= 1000 ? `${amount(length / 1000)} mm` : `${amount(length)} \u00b5m`;
    }
    const native = magnification || (mpp ? 10 / mpp : null);
    this.power.textContent = native ? `${magnification ? "" : "\u2248 "}${amount(native * scale, 2)}\u00d7` : "";
    this.power.title = magnification
      ? `scanned at ${magnification}\u00d7`
      : "estimated from the pixel size; the file has no objective power";
  }
}
