// The page: holds the current slide, job and region, and connects the panels.

import { makeColourings } from "./colours.js";
import { byId, showMessage } from "./elements.js";
import { showSlide } from "./facts.js";
import { Findings } from "./findings.js";
import { addShortcuts } from "./keys.js";
import { readLink, writeLink } from "./link.js";
import { Pane } from "./pane.js";
import { Rail } from "./rail.js";
import { RegionPanel } from "./region.js";
import { Regions } from "./regions.js";
import { onSignIn, Problem, service } from "./service.js";

class Page {
  constructor() {
    this.now = { slide: null, job: null, region: null };
    this.turn = 0;
    this.rail = new Rail({
      slide: (id) => this.openSlide(id),
      job: (id) => this.openJob(id),
      jobDone: (job) => this.jobDone(job),
    });
    this.findings = new Findings((nodes) => {
      for (const pane of this.panes) pane.remove(nodes);
      this.write();
    });
    this.regionPanel = new RegionPanel({
      picked: (node) => this.pick(node, { reveals: true }),
      goTo: (node) => this.panes[0].goToRegion(node),
    });
    const callbacks = {
      picked: (node) => this.pick(node),
      moved: (pane) => this.moved(pane),
      loaded: () => this.rail.thumbnails.start(),
    };
    const slideView = byId("slide-view");
    this.panes = [new Pane(slideView, "first", { ...callbacks, coloured: (id) => this.colour(0, id) })];
    this.makeSecond = () => new Pane(slideView, "second", { ...callbacks, coloured: (id) => this.colour(1, id) });
    this.regionPanel.empty();
    this.findings.empty("Choose a slide.");
    this.listen();
  }

  get first() {
    return this.panes[0];
  }

  listen() {
    byId("rail-toggle").addEventListener("click", () => this.toggleRail());
    byId("side-by-side").addEventListener("click", () => this.compare(this.panes.length < 2));
    byId("theme").addEventListener("click", () => this.toggleTheme());
    byId("help").addEventListener("click", () => byId("keys").showModal());
    for (const name of ["prediction", "region", "slide"])
      byId(`tab-${name}`).addEventListener("click", () => this.tab(name));
    document.querySelector(".tabs").addEventListener("keydown", (event) => this.tabKey(event));
    addEventListener("hashchange", () => this.follow());
    addShortcuts(this);
    onSignIn(signIn);
    const isNarrow = matchMedia("(max-width: 1180px)");
    isNarrow.addEventListener("change", () => this.toggleRail(!isNarrow.matches));
    if (isNarrow.matches) this.toggleRail(false);
  }

  async begin() {
    try {
      const link = readLink(),
        listed = this.rail.loadSlides();
      if (!link.slide) await listed;
      const wanted = link.slide ?? this.rail.slides[0]?.slide_id;
      if (wanted) await Promise.all([listed, this.openSlide(wanted, link)]);
      else this.findings.empty("No slides yet. Add one on the left.");
    } catch (problem) {
      showMessage(problem.message, { isError: true });
    }
    document.body.dataset.ready = "true";
  }

  /** Show the view in the URL after it was changed. */
  async follow() {
    const link = readLink();
    if (link.slide) await this.openSlide(link.slide, link);
  }

  /** @param {Record<string, any>} link */
  async openSlide(id, link = {}) {
    const turn = (this.turn += 1);
    try {
      const slide = await service.slide(id);
      if (turn !== this.turn) return;
      this.now = { slide, job: null, region: null };
      document.title = `${slide.name} \u2013 wsigraph`;
      byId("title").textContent = slide.name;
      showSlide(slide);
      this.regionPanel.empty();
      this.rail.chooseSlide(id, slide.mpp);
      await Promise.all(this.panes.map((pane) => pane.open(slide)));
      if (turn !== this.turn) return;
      this.place(link);
      const jobs = await this.rail.loadJobs(id);
      if (turn !== this.turn) return;
      const done = jobs.filter(({ state }) => state === "done");
      const job =
        done.find(({ job_id: candidate }) => candidate === link.job) ??
        done.find(({ kind }) => kind === "explain") ??
        done[0];
      if (job) await this.openJob(job.job_id, link);
      else this.findings.empty("No prediction yet. Start an explanation on the left.");
    } catch (problem) {
      if (turn === this.turn) this.fail(problem);
    }
  }

  /** @param {Record<string, any>} link */
  async openJob(id, link = {}) {
    const turn = this.turn,
      jobTurn = (this.jobTurn = (this.jobTurn ?? 0) + 1);
    const isOutdated = () => turn !== this.turn || jobTurn !== this.jobTurn;
    try {
      const [facts, regions, job] = await Promise.all([service.facts(id), Regions.open(id), service.job(id)]);
      if (isOutdated()) return;
      const before = this.now.job ? { colour: this.first.colouredBy, region: this.now.region } : {};
      this.now.job = id;
      this.now.region = null;
      this.regions = regions;
      this.colourings = makeColourings(regions.values);
      for (const pane of this.panes) pane.setRegions(regions, this.colourings);
      this.first.colour(link.colour ?? before.colour ?? null);
      this.findings.results = job.results;
      this.findings.show(id, facts, regions.values.targets);
      this.rail.chooseJob(id);
      if (link.second) this.compare(true, link.second);
      else this.panes[1]?.colour(this.other());
      const region = link.region ?? before.region ?? null;
      if (region !== null && region < regions.count) await this.pick(region, { opens: link.tab !== "prediction" });
      if (link.tab) this.tab(link.tab);
      if (link.remove) this.findings.ablate(link.remove);
      this.write();
    } catch (problem) {
      if (!isOutdated()) this.fail(problem);
    }
  }

  jobDone(job) {
    if (job.slide_id === this.now.slide?.slide_id) this.openJob(job.job_id);
    else showMessage(`${job.slide_id}: done`);
  }

  /** @param {Record<string, any>} link */
  place({ x, y, zoom }) {
    const { mpp } = this.now.slide,
      unit = mpp ? 1000 / mpp : 1;
    if (x !== undefined && y !== undefined)
      for (const pane of this.panes) pane.goTo({ x: x * unit, y: y * unit, scale: zoom }, { immediately: true });
  }

  async pick(node, { reveals = false, opens = true } = {}) {
    this.now.region = node;
    for (const pane of this.panes) {
      pane.select_(node);
      if (reveals && node !== null) pane.reveal(node);
    }
    this.write();
    if (node === null) return this.regionPanel.empty();
    if (opens) this.tab("region");
    try {
      await this.regionPanel.show(this.now.job, node, this.regions);
    } catch (problem) {
      this.fail(problem);
    }
  }

  /** Select the next region by importance. */
  step(by) {
    const order = this.findings.order.length ? this.findings.order : [...Array(this.regions?.count ?? 0).keys()];
    if (!order.length || !this.now.job) return;
    const at = order.indexOf(this.now.region);
    this.pick(order[(at < 0 ? (by > 0 ? 0 : order.length - 1) : at + by + order.length) % order.length], {
      reveals: true,
    });
  }

  colour(at, id) {
    this.panes[at].colour(id);
    this.write();
  }

  nextColour(by) {
    const ids = this.colourings?.map(({ id }) => id) ?? [];
    if (ids.length) this.colour(0, ids[(ids.indexOf(this.first.colouredBy) + by + ids.length) % ids.length]);
  }

  other() {
    const targets = this.colourings?.filter(({ isAttribution }) => isAttribution).map(({ id }) => id) ?? [];
    return targets.find((id) => id !== this.first.colouredBy) ?? this.first.colouredBy;
  }

  /** Show a second view of the same place, coloured by another target. */
  compare(wanted, colour = null) {
    if (wanted && this.panes.length < 2) {
      const pane = this.makeSecond();
      this.panes.push(pane);
      byId("slide-view").classList.add("two");
      if (this.now.slide)
        pane.open(this.now.slide).then(
          () => this.moved(this.first),
          (problem) => this.fail(problem),
        );
      if (this.regions) pane.setRegions(this.regions, this.colourings);
      pane.select_(this.now.region);
      pane.remove(this.first.overlay.removed);
    } else if (!wanted && this.panes.length > 1) {
      const pane = this.panes.pop();
      pane.close();
      pane.root.remove();
      byId("slide-view").classList.remove("two");
    }
    if (wanted) this.panes[1].colour(colour ?? this.other());
    byId("side-by-side").setAttribute("aria-pressed", String(wanted));
    this.write();
  }

  moved(pane) {
    const centre = pane.centre();
    if (!centre) return;
    if (!this.syncing) {
      this.syncing = true;
      for (const other of this.panes)
        if (other !== pane && other.slide === pane.slide) other.goTo(centre, { immediately: true });
      this.syncing = false;
    }
    if (pane === this.first) this.write();
  }

  write() {
    const { slide, job, region } = this.now,
      centre = this.first.centre();
    if (!slide) return;
    const unit = slide.mpp ? slide.mpp / 1000 : 1;
    writeLink({
      slide: slide.slide_id,
      job,
      colour: job ? this.first.colouredBy : null,
      second: this.panes[1]?.colouredBy,
      x: centre && (centre.x * unit).toFixed(4),
      y: centre && (centre.y * unit).toFixed(4),
      zoom: centre && centre.scale.toPrecision(4),
      region,
      remove: this.findings.count || null,
      tab: this.shownTab === "prediction" ? null : this.shownTab,
    });
  }

  tab(name) {
    if (!["prediction", "region", "slide"].includes(name)) return;
    this.shownTab = name;
    for (const tab of ["prediction", "region", "slide"]) {
      byId(tab).hidden = tab !== name;
      byId(`tab-${tab}`).setAttribute("aria-selected", String(tab === name));
      byId(`tab-${tab}`).tabIndex = tab === name ? 0 : -1;
    }
    this.write();
  }

  tabKey(event) {
    const names = ["prediction", "region", "slide"],
      by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    event.stopPropagation();
    const next = names[(names.indexOf(this.shownTab ?? "prediction") + by + 3) % 3];
    this.tab(next);
    byId(`tab-${next}`).focus();
  }

  toggleRail(shown = document.body.classList.contains("no-rail")) {
    document.body.classList.toggle("no-rail", !shown);
    byId("rail-toggle").setAttribute("aria-expanded", String(shown));
  }

  toggleTheme() {
    const root = document.documentElement,
      isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = isDark ? "light" : "dark";
    localStorage.setItem("wsigraph-theme", root.dataset.theme);
  }

  fail(problem) {
    this.rail.thumbnails.start();
    showMessage(problem instanceof Problem || problem instanceof Error ? problem.message : String(problem), {
      isError: true,
    });
  }
}

/** Ask the user for a token and sign in. */
function signIn() {
  const dialog = byId("sign-in");
  service.signInMethods().then(
    ({ oidc }) => {
      byId("provider").hidden = !oidc;
    },
    () => {},
  );
  return /** @type {Promise<void>} */ (
    new Promise((resolve) => {
      dialog.addEventListener(
        "close",
        async () => {
          const token = byId("token").value.trim();
          byId("token").value = "";
          try {
            if (token) await service.signIn(token);
          } catch (problem) {
            showMessage(problem.message, { isError: true });
            return resolve(signIn());
          }
          resolve();
        },
        { once: true },
      );
      dialog.showModal();
    })
  );
}

new Page().begin();
