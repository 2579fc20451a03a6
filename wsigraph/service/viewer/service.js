// The HTTP interface of the service. Errors are thrown with the message of the service.

export class Problem extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

// the page may be behind a path prefix of a proxy, so addresses start from where this file came from
const BASE = new URL("..", import.meta.url).href;

let signIn = null,
  signingIn = null;

/** Set the sign-in handler. It is called when the service requires a token. */
export function onSignIn(handler) {
  signIn = handler;
}

/**
 * @param {string} path
 * @param {Record<string, any>} choices
 */
async function request(path, choices = {}) {
  const { method = "GET", json, body, headers = {}, signal, maySignIn = true } = choices;
  /** @type {RequestInit & {headers: Record<string, string>}} */
  const options = { method, signal, headers: { Accept: "application/json", ...headers }, credentials: "same-origin" };
  if (json !== undefined) {
    options.body = JSON.stringify(json);
    options.headers["Content-Type"] = "application/json";
  } else if (body !== undefined) options.body = body;
  let response = await fetch(BASE + path, options);
  if (response.status === 401 && signIn && maySignIn) {
    // requests that fail meanwhile wait for the same sign-in
    signingIn ??= signIn().finally(() => {
      signingIn = null;
    });
    await signingIn;
    response = await fetch(BASE + path, options);
  }
  if (!response.ok) throw new Problem(response.status, await readDetail(response));
  return response.status === 204 ? null : response.json();
}

async function readDetail(response) {
  try {
    return (await response.json()).detail ?? response.statusText;
  } catch {
    return `the service responded ${response.status}`;
  }
}

const part = encodeURIComponent;

export const service = {
  signIn: (token) => request("v1/session", { method: "POST", json: { token }, maySignIn: false }),
  signInMethods: () => request("v1/session/methods", { maySignIn: false }),
  slides: async () => (await request("v1/slides")).slides,
  slide: (slide) => request(`v1/slides/${part(slide)}`),
  tiles: ({ slide_id: slide, version }) => `${BASE}v1/slides/${part(slide)}/versions/${version}/dzi_files/`,
  thumbnail: ({ slide_id: slide, version }) => `${BASE}v1/slides/${part(slide)}/versions/${version}/thumbnail.jpeg`,
  jobs: async (slide) => (await request(`v1/jobs?slide_id=${part(slide)}`)).jobs,
  job: (job) => request(`v1/jobs/${part(job)}`),
  start: (jobRequest) => request("v1/jobs", { method: "POST", json: jobRequest }),
  cancel: (job) => request(`v1/jobs/${part(job)}`, { method: "DELETE" }),
  events: (job) => new EventSource(`${BASE}v1/jobs/${part(job)}/events`),
  result: (job, name) => `${BASE}v1/jobs/${part(job)}/results/${part(name)}`,
  facts: (job) => request(`v1/jobs/${part(job)}/facts`),
  regions: (job, level, values) => request(`v1/jobs/${part(job)}/regions?level=${level}&values=${values}`),
  region: (job, node) => request(`v1/jobs/${part(job)}/regions/${node}`),
  crop: (job, node) => `${BASE}v1/jobs/${part(job)}/regions/${node}/crop.jpeg`,
  ablate: (job, ablationRequest, signal) =>
    request(`v1/jobs/${part(job)}/ablation`, { method: "POST", json: ablationRequest, signal }),
  beginUpload: (name, size) => request("v1/uploads", { method: "POST", json: { name, size } }),
  endUpload: (upload) => request(`v1/uploads/${part(upload)}`, { method: "DELETE" }),
  upload: (upload) => request(`v1/uploads/${part(upload)}`),
  sendPart: (upload, offset, body) =>
    request(`v1/uploads/${part(upload)}`, {
      method: "PATCH",
      body,
      headers: { "Upload-Offset": String(offset), "Content-Type": "application/offset+octet-stream" },
    }),
};
