// A file sent in parts; what failed on the way is asked for again from where the service stands.

import { service } from "./service.js";

const PART = 4_000_000, TRIES = 5, WAIT_MS = 1500;

/** Send a file; returns the name of the slide that it became. */
export async function sendFile(file, signal, progress) {
  let { upload_id: upload, offset, slide_id: slide } = await service.beginUpload(file.name, file.size);
  let failed = 0;
  progress(offset);
  while (offset < file.size && !slide) {
    if (signal.aborted) {
      await service.endUpload(upload);
      throw new DOMException("stopped", "AbortError");
    }
    try {
      const answer = await service.sendPart(upload, offset, file.slice(offset, offset + PART));
      offset = answer.offset ?? offset + PART;
      slide = answer.slide_id ?? null;
      failed = 0;
    } catch (problem) {
      failed += 1;
      const isFinal = problem.status && problem.status !== 409 && problem.status !== 429 && problem.status < 500;
      if (isFinal || failed >= TRIES) throw problem;
      await new Promise((resolve) => setTimeout(resolve, WAIT_MS * failed));
      offset = (await service.upload(upload).catch(() => ({ offset }))).offset ?? offset;
    }
    progress(Math.min(offset, file.size));
  }
  return slide;
}
