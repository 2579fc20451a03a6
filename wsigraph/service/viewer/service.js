// What the service is asked, and what it answers. Problems are thrown with the sentence that the service gives.

export class Problem extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

let signIn = null, signingIn = null;

/** Say how a token is asked for; called where the service wants one. */
export function onSignIn(asking) {
  signIn = asking;
}

async function ask(path, { method = "GET", json, body, headers = {}, signal, mayAsk = true } = {}) {
  const options = { method, signal, headers: { Accept: "application/json", ...headers }, credentials: "same-origin" };
  if (json !== undefined) {
    options.body = JSON.stringify(json);
    options.headers["Content-Type"] = "application/json";
  } else if (body !== undefined) options.body = body;
  let answer = await fetch(path, options);
  if (answer.status === 401 && signIn && mayAsk) {
    // whoever is refused meanwhile waits for the same token
    signingIn ??= signIn().finally(() => { signingIn = null; });
    await signingIn;
    answer = await fetch(path, options);
  }
  if (!answer.ok) throw new Problem(answer.status, await detailOf(answer));
  return answer.status === 204 ? null : answer.json();
}

async function detailOf(answer) {
  try {
    return (await answer.json()).detail ?? answer.statusText;
  } catch {
    return `the service answered ${answer.status}`;
  }
}

const part = encodeURIComponent;

export const service = {
  signIn: (token) => ask("/v1/session", { method: "POST", json: { token }, mayAsk: false }),
  slides: async () => (await ask("/v1/slides")).slides,
  slide: (slide) => ask(`/v1/slides/${part(slide)}`),
  tiles: (slide) => `/v1/slides/${part(slide)}/tiles/`,
  thumbnail: (slide) => `/v1/slides/${part(slide)}/thumbnail.jpeg`,
  jobs: async (slide) => (await ask(`/v1/jobs?slide_id=${part(slide)}`)).jobs,
  job: (job) => ask(`/v1/jobs/${part(job)}`),
  start: (wish) => ask("/v1/jobs", { method: "POST", json: wish }),
  cancel: (job) => ask(`/v1/jobs/${part(job)}`, { method: "DELETE" }),
  events: (job) => new EventSource(`/v1/jobs/${part(job)}/events`),
  result: (job, name) => `/v1/jobs/${part(job)}/results/${part(name)}`,
  facts: (job) => ask(`/v1/jobs/${part(job)}/facts`),
  regions: (job, level, values) => ask(`/v1/jobs/${part(job)}/regions?level=${level}&values=${values}`),
  region: (job, node) => ask(`/v1/jobs/${part(job)}/regions/${node}`),
  crop: (job, node) => `/v1/jobs/${part(job)}/regions/${node}/crop.jpeg`,
  without: (job, removal, signal) => ask(`/v1/jobs/${part(job)}/without`, { method: "POST", json: removal, signal }),
  beginUpload: (name, size) => ask("/v1/uploads", { method: "POST", json: { name, size } }),
  endUpload: (upload) => ask(`/v1/uploads/${part(upload)}`, { method: "DELETE" }),
  upload: (upload) => ask(`/v1/uploads/${part(upload)}`),
  sendPart: (upload, offset, body) =>
    ask(`/v1/uploads/${part(upload)}`, {
      method: "PATCH",
      body,
      headers: { "Upload-Offset": String(offset), "Content-Type": "application/offset+octet-stream" },
    }),
};
