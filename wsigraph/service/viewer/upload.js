// Resumable uploads: a file is sent in parts, and after an error the upload resumes at the offset of the service.

import { service } from "./service.js";

const PART = 4_000_000,
  MAX_TRIES = 5,
  WAIT_MS = 1500;

/** Send a file; returns the identifier of the new slide. */
export async function sendFile(file, signal, progress) {
  let { upload_id: upload, offset, slide_id: slide } = await service.beginUpload(file.name, file.size);
  let failures = 0;
  progress(offset);
  // after the last byte the service checks the file; an empty part waits for its verdict
  while (!slide) {
    if (signal.aborted) {
      await service.endUpload(upload);
      throw new DOMException("stopped", "AbortError");
    }
    try {
      const status = await service.sendPart(upload, offset, file.slice(offset, offset + PART));
      offset = status.offset ?? offset + PART;
      slide = status.slide_id ?? null;
      failures = 0;
      if (offset >= file.size && !slide) await new Promise((resolve) => setTimeout(resolve, WAIT_MS));
    } catch (problem) {
      failures += 1;
      const isFinal = problem.status && problem.status !== 409 && problem.status !== 429 && problem.status < 500;
      if (isFinal || failures >= MAX_TRIES) throw problem;
      await new Promise((resolve) => setTimeout(resolve, WAIT_MS * failures));
      offset = (await service.upload(upload).catch(() => ({ offset }))).offset ?? offset;
    }
    progress(Math.min(offset, file.size));
  }
  return slide;
}
