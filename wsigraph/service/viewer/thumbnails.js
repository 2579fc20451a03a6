// Thumbnails of the list of slides. They wait for the tiles of the open slide, and load two at a time while visible.

import { element } from "./elements.js";

const AT_ONCE = 2,
  LONGEST_WAIT_MS = 15000;

/** Loads the images of a list. Until `start` is called none is requested, so that tiles come first. */
export class Thumbnails {
  constructor(list) {
    this.waiting = [];
    this.loading = 0;
    this.isStarted = false;
    this.observer = new IntersectionObserver((entries) => this.seen(entries), {
      root: list.closest("nav"),
      rootMargin: "120px",
    });
    // a slide that does not open must not hold them back for ever
    setTimeout(() => this.start(), LONGEST_WAIT_MS);
  }

  /** Load `address` into an image when it is visible. */
  add(image, address) {
    image.dataset.address = address;
    this.observer.observe(image);
    return image;
  }

  start() {
    this.isStarted = true;
    this.next();
  }

  seen(entries) {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) this.waiting.push(target);
      else this.waiting = this.waiting.filter((image) => image !== target);
    }
    this.next();
  }

  next() {
    while (this.isStarted && this.loading < AT_ONCE && this.waiting.length) {
      const image = this.waiting.shift();
      if (!image.isConnected || image.src) continue;
      this.observer.unobserve(image);
      this.loading += 1;
      const ended = () => {
        this.loading -= 1;
        this.next();
      };
      image.addEventListener("load", ended, { once: true });
      image.addEventListener("error", ended, { once: true });
      image.addEventListener("error", () => replaceBroken(image), { once: true });
      image.src = image.dataset.address;
    }
  }
}

/** Say in the place of a thumbnail that the slide could not be read. */
function replaceBroken(image) {
  const text = "The thumbnail could not be read";
  image.replaceWith(element("span", { class: "broken", role: "img", "aria-label": text, title: text }, "!"));
}
