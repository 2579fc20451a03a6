// Slides to choose from, files to add, jobs to start and follow.

import { byId, drawn, element, tell } from "./elements.js";
import { bytes, days, percent } from "./numbers.js";
import { service } from "./service.js";
import { sendFile } from "./upload.js";

const ACTIVE = ["queued", "running"], POLL_MS = 2000, MANY = 8;

/** The list on the left; `heard.slide(id)`, `heard.job(id)`, `heard.jobDone(job)`. */
export class Rail {
  constructor(heard) {
    this.heard = heard;
    this.slides = [];
    this.jobs = [];
    this.followed = new Map();
    this.chosen = { slide: null, job: null };
    this.listen();
  }

  listen() {
    byId("slide-filter").addEventListener("input", () => this.showSlides());
    byId("file").addEventListener("change", (event) => { this.add([...event.target.files]); event.target.value = ""; });
    byId("drop").addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); byId("file").click(); } });
    let depth = 0;
    const over = (isOver) => document.body.classList.toggle("dropping", isOver);
    const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
    addEventListener("dragenter", (event) => { if (hasFiles(event)) { depth += 1; over(true); } });
    addEventListener("dragleave", () => { depth = Math.max(0, depth - 1); over(depth > 0); });
    addEventListener("dragover", (event) => { if (hasFiles(event)) event.preventDefault(); });
    addEventListener("drop", (event) => { if (hasFiles(event)) { event.preventDefault(); depth = 0; over(false); this.add([...event.dataTransfer.files]); } });
    byId("wish-target").addEventListener("change", () => { byId("wish-days-label").hidden = byId("wish-target").value !== "survival"; });
    byId("wish").addEventListener("submit", (event) => { event.preventDefault(); this.start(); });
  }

  async loadSlides() {
    this.slides = await service.slides();
    byId("slide-filter").hidden = this.slides.length < MANY;
    this.showSlides();
  }

  showSlides() {
    const word = byId("slide-filter").value.trim().toLowerCase();
    const found = this.slides.filter(({ name }) => name.toLowerCase().includes(word)).slice(0, 300);
    const rows = found.map(({ slide_id: id, name, bytes: size }) => element("li", {},
      element("button", { "aria-current": id === this.chosen.slide ? "true" : false, title: name, on: { click: () => this.heard.slide(id) } },
        element("img", { src: service.thumbnail(id), alt: "", loading: "lazy", width: 44, height: 44 }),
        element("span", { class: "name" }, name), element("span", { class: "muted" }, size ? bytes(size) : ""))));
    byId("slides").replaceChildren(...(rows.length ? rows : [element("li", { class: "empty" }, this.slides.length ? "No slide of that name." : "No slides yet. Add one below.")]));
  }

  chooseSlide(slide, mpp) {
    this.chosen = { slide, job: null };
    byId("wish-mpp-label").hidden = Boolean(mpp);
    byId("wish-mpp").required = !mpp;
    byId("wish-mpp").value = "";
    this.jobs = [];
    this.showSlides();
    this.showJobs();
  }

  chooseJob(job) {
    this.chosen.job = job;
    this.showJobs();
  }

  /** Read the jobs of a slide, the latest first, and follow those that run. */
  async loadJobs(slide) {
    const jobs = await service.jobs(slide);
    if (slide !== this.chosen.slide) return [];
    this.jobs = jobs;
    this.showJobs();
    for (const job of jobs) if (ACTIVE.includes(job.state)) this.follow(job.job_id);
    return jobs;
  }

  showJobs() {
    const rows = this.jobs.map((job) => this.row(job));
    byId("jobs").replaceChildren(...(rows.length ? rows : [element("li", { class: "empty" }, this.chosen.slide ? "None of this slide yet." : "Choose a slide.")]));
    byId("wish").hidden = !this.chosen.slide;
  }

  row(job) {
    const title = job.kind === "explain" ? `Why ${job.target}` : "Prediction", isActive = ACTIVE.includes(job.state);
    const left = job.seconds_left ? `, ${Math.max(1, Math.round(job.seconds_left))} s left` : "";
    const said = { queued: "waiting", running: `${job.stage || "starting"} ${percent(job.fraction)}${left}`, done: new Date(1000 * job.ended_at).toLocaleString([], { dateStyle: "medium", timeStyle: "short" }), failed: job.error?.message ?? "failed", cancelled: "cancelled" }[job.state];
    const bar = isActive ? element("progress", { max: 1, value: job.state === "running" ? job.fraction : null, "aria-label": title }) : null;
    const stop = isActive ? element("button", { class: "icon small", title: "Cancel", "aria-label": `Cancel ${title}`, on: { click: () => this.cancel(job.job_id) } }, drawn("svg", { viewBox: "0 0 24 24" }, drawn("path", { d: "M6 6l12 12M18 6 6 18" }))) : null;
    return element("li", { class: job.state }, element("button", { class: "job", disabled: job.state !== "done", "aria-current": job.job_id === this.chosen.job ? "true" : false, on: { click: () => this.heard.job(job.job_id) } },
      element("span", { class: "name" }, title), element("span", { class: "muted" }, said), bar), stop);
  }

  async start() {
    const kind = byId("wish-target").value, target = kind === "survival" ? `survival@${byId("wish-days").value}` : kind;
    try {
      const mpp = Number(byId("wish-mpp").value) || null;
      const job = await service.start({ slide_id: this.chosen.slide, kind: "explain", target, ...(mpp ? { mpp } : {}) });
      this.put(job);
      if (job.state === "done") this.heard.jobDone(job);
      else this.follow(job.job_id);
      tell(job.state === "done" ? `${target} is explained already` : `Explaining ${target}${kind === "survival" ? ` (${days(Number(byId("wish-days").value))})` : ""}`);
    } catch (problem) {
      tell(problem.message, { isError: true });
    }
  }

  async cancel(id) {
    try {
      this.put(await service.cancel(id));
    } catch (problem) {
      tell(problem.message, { isError: true });
    }
  }

  put(job) {
    if (job.slide_id !== this.chosen.slide) return;
    const at = this.jobs.findIndex(({ job_id: id }) => id === job.job_id);
    if (at < 0) this.jobs.unshift(job);
    else this.jobs[at] = job;
    this.showJobs();
  }

  /** Follow a job to its end by server-sent events, or by asking where those do not come through. */
  follow(id) {
    if (this.followed.has(id)) return;
    const source = service.events(id);
    this.followed.set(id, source);
    source.addEventListener("job", (event) => this.news(JSON.parse(event.data)));
    source.addEventListener("gone", () => this.unfollow(id));
    source.addEventListener("error", () => {
      if (!this.followed.has(id)) return;
      source.close();
      setTimeout(() => this.poll(id), POLL_MS);
    });
  }

  async poll(id) {
    if (!this.followed.has(id)) return;
    try {
      this.news(await service.job(id));
    } catch (problem) {
      if (problem.status === 404) this.unfollow(id);
    }
    setTimeout(() => this.poll(id), POLL_MS);
  }

  news(job) {
    this.put(job);
    if (ACTIVE.includes(job.state)) return;
    this.unfollow(job.job_id);
    if (job.state === "done") this.heard.jobDone(job);
    else if (job.state === "failed") tell(job.error?.message ?? "The job failed.", { isError: true });
  }

  unfollow(id) {
    this.followed.get(id)?.close();
    this.followed.delete(id);
  }

  async add(files) {
    for (const file of files) {
      const bar = element("progress", { max: 1, value: 0, "aria-label": `Adding ${file.name}` }), said = element("span", { class: "muted" });
      const stop = new AbortController();
      const row = element("li", {}, element("span", { class: "name" }, file.name), said, bar, element("button", { class: "icon small", title: "Stop", "aria-label": `Stop adding ${file.name}`, on: { click: () => { stop.abort(); if (row.classList.contains("error")) row.remove(); } } }, drawn("svg", { viewBox: "0 0 24 24" }, drawn("path", { d: "M6 6l12 12M18 6 6 18" }))));
      byId("uploads").append(row);
      try {
        const slide = await sendFile(file, stop.signal, (sent) => { bar.value = sent / (file.size || 1); said.textContent = `${bytes(sent)} of ${bytes(file.size)}`; });
        row.remove();
        await this.loadSlides();
        tell(`${file.name} is there`);
        if (slide) this.heard.slide(slide);
      } catch (problem) {
        if (stop.signal.aborted) row.remove();
        else { row.classList.add("error"); said.textContent = problem.message; }
      }
    }
  }
}
