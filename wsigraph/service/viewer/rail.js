// The list of slides, uploads and jobs.

import { byId, svgElement, element, showMessage } from "./elements.js";
import { bytes, days, percent } from "./numbers.js";
import { service } from "./service.js";
import { Thumbnails } from "./thumbnails.js";
import { sendFile } from "./upload.js";

const ACTIVE = ["queued", "running"],
  POLL_MS = 2000,
  MIN_FOR_FILTER = 8;

/** The panel on the left. It calls `callbacks.slide(id)`, `callbacks.job(id)` and `callbacks.jobDone(job)`. */
export class Rail {
  constructor(callbacks) {
    this.callbacks = callbacks;
    this.slides = [];
    this.jobs = [];
    this.followed = new Map();
    this.chosen = { slide: null, job: null };
    this.thumbnails = new Thumbnails(byId("slides"));
    this.listen();
  }

  listen() {
    byId("slide-filter").addEventListener("input", () => this.showSlides());
    byId("file").addEventListener("change", () => {
      const input = byId("file");
      this.add([...input.files]);
      input.value = "";
    });
    byId("drop").addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        byId("file").click();
      }
    });
    let depth = 0;
    const over = (isOver) => document.body.classList.toggle("dropping", isOver);
    const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
    addEventListener("dragenter", (event) => {
      if (hasFiles(event)) {
        depth += 1;
        over(true);
      }
    });
    addEventListener("dragleave", () => {
      depth = Math.max(0, depth - 1);
      over(depth > 0);
    });
    addEventListener("dragover", (event) => {
      if (hasFiles(event)) event.preventDefault();
    });
    addEventListener("drop", (event) => {
      if (hasFiles(event)) {
        event.preventDefault();
        depth = 0;
        over(false);
        this.add([...event.dataTransfer.files]);
      }
    });
    byId("job-target").addEventListener("change", () => {
      byId("job-days-label").hidden = byId("job-target").value !== "survival";
    });
    byId("job-kind").addEventListener("change", () => {
      byId("job-target-choice").hidden = byId("job-kind").value === "predict";
    });
    byId("job-request").addEventListener("submit", (event) => {
      event.preventDefault();
      this.start();
    });
  }

  async loadSlides() {
    this.slides = await service.slides();
    byId("slide-filter").hidden = this.slides.length < MIN_FOR_FILTER;
    this.showSlides();
  }

  showSlides() {
    const word = byId("slide-filter").value.trim().toLowerCase();
    const matches = this.slides.filter(({ name }) => name.toLowerCase().includes(word)).slice(0, 300);
    const rows = matches.map(({ slide_id: id, name, bytes: size, version }) =>
      element(
        "li",
        {},
        element(
          "button",
          {
            "aria-current": id === this.chosen.slide ? "true" : false,
            title: name,
            on: { click: () => this.callbacks.slide(id) },
          },
          this.thumbnails.add(
            element("img", { alt: "", width: 44, height: 44 }),
            service.thumbnail({ slide_id: id, version }),
          ),
          element("span", { class: "name" }, name),
          element("span", { class: "muted" }, size ? bytes(size) : ""),
        ),
      ),
    );
    byId("slides").replaceChildren(
      ...(rows.length
        ? rows
        : [
            element(
              "li",
              { class: "empty" },
              this.slides.length ? "No slide has this name." : "No slides yet. Add one below.",
            ),
          ]),
    );
  }

  chooseSlide(slide, mpp) {
    this.chosen = { slide, job: null };
    byId("job-mpp-label").hidden = Boolean(mpp);
    byId("job-mpp").required = !mpp;
    byId("job-mpp").value = "";
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
    byId("jobs").replaceChildren(
      ...(rows.length
        ? rows
        : [element("li", { class: "empty" }, this.chosen.slide ? "No jobs for this slide yet." : "Choose a slide.")]),
    );
    byId("job-request").hidden = !this.chosen.slide;
  }

  row(job) {
    const title = job.kind === "explain" ? `Explanation: ${job.target}` : "Prediction",
      isActive = ACTIVE.includes(job.state);
    const left = job.seconds_left ? `, ${Math.max(1, Math.round(job.seconds_left))} s left` : "";
    const status = {
      queued: "waiting",
      running: `${job.step || "starting"} ${percent(job.fraction)}${left}`,
      done: new Date(1000 * job.ended_at).toLocaleString([], { dateStyle: "medium", timeStyle: "short" }),
      failed: job.error?.message ?? "failed",
      cancelled: "cancelled",
    }[job.state];
    const bar = isActive
      ? element("progress", { max: 1, value: job.state === "running" ? job.fraction : null, "aria-label": title })
      : null;
    const stop = isActive
      ? element(
          "button",
          {
            class: "icon small",
            title: "Cancel",
            "aria-label": `Cancel ${title}`,
            on: { click: () => this.cancel(job.job_id) },
          },
          svgElement("svg", { viewBox: "0 0 24 24" }, svgElement("path", { d: "M6 6l12 12M18 6 6 18" })),
        )
      : null;
    return element(
      "li",
      { class: job.state },
      element(
        "button",
        {
          class: "job",
          disabled: job.state !== "done",
          "aria-current": job.job_id === this.chosen.job ? "true" : false,
          on: { click: () => this.callbacks.job(job.job_id) },
        },
        element("span", { class: "name" }, title),
        element("span", { class: "muted" }, status),
        bar,
      ),
      stop,
    );
  }

  async start() {
    const kind = byId("job-kind").value,
      output = byId("job-target").value,
      target = output === "survival" ? `survival@${byId("job-days").value}` : output;
    try {
      const mpp = Number(byId("job-mpp").value) || null;
      const job = await service.start({
        slide_id: this.chosen.slide,
        kind,
        ...(kind === "explain" ? { target } : {}),
        ...(mpp ? { mpp } : {}),
      });
      this.update(job);
      if (job.state === "done") this.callbacks.jobDone(job);
      else this.follow(job.job_id);
      const time = output === "survival" ? ` (${days(Number(byId("job-days").value))})` : "";
      if (kind === "predict") showMessage(job.state === "done" ? "Already predicted" : "Predicting");
      else showMessage(job.state === "done" ? `${target} is already explained` : `Explaining ${target}${time}`);
    } catch (problem) {
      showMessage(problem.message, { isError: true });
    }
  }

  async cancel(id) {
    try {
      this.update(await service.cancel(id));
    } catch (problem) {
      showMessage(problem.message, { isError: true });
    }
  }

  update(job) {
    if (job.slide_id !== this.chosen.slide) return;
    const at = this.jobs.findIndex(({ job_id: id }) => id === job.job_id);
    if (at < 0) this.jobs.unshift(job);
    else this.jobs[at] = job;
    this.showJobs();
  }

  /** Follow a job to its end by server-sent events, or by polling if these do not arrive. */
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
    this.update(job);
    if (ACTIVE.includes(job.state)) return;
    this.unfollow(job.job_id);
    if (job.state === "done") this.callbacks.jobDone(job);
    else if (job.state === "failed") showMessage(job.error?.message ?? "The job failed.", { isError: true });
  }

  unfollow(id) {
    this.followed.get(id)?.close();
    this.followed.delete(id);
  }

  async add(files) {
    for (const file of files) {
      const bar = element("progress", { max: 1, value: 0, "aria-label": `Adding ${file.name}` }),
        status = element("span", { class: "muted" });
      const stop = new AbortController();
      const row = element(
        "li",
        {},
        element("span", { class: "name" }, file.name),
        status,
        bar,
        element(
          "button",
          {
            class: "icon small",
            title: "Stop",
            "aria-label": `Stop adding ${file.name}`,
            on: {
              click: () => {
                stop.abort();
                if (row.classList.contains("error")) row.remove();
              },
            },
          },
          svgElement("svg", { viewBox: "0 0 24 24" }, svgElement("path", { d: "M6 6l12 12M18 6 6 18" })),
        ),
      );
      byId("uploads").append(row);
      try {
        const slide = await sendFile(file, stop.signal, (sent) => {
          bar.value = sent / (file.size || 1);
          status.textContent = `${bytes(sent)} of ${bytes(file.size)}`;
        });
        row.remove();
        await this.loadSlides();
        showMessage(`${file.name} was added`);
        if (slide) this.callbacks.slide(slide);
      } catch (problem) {
        if (stop.signal.aborted) row.remove();
        else {
          row.classList.add("error");
          status.textContent = problem.message;
        }
      }
    }
  }
}
