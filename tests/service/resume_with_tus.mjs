// Uploads a file with tus-js-client: sends some parts, stops, and resumes with another upload object.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const [modules, endpoint, path, name] = process.argv.slice(2);
const { Upload } = createRequire(`${modules}/`)("tus-js-client");
const file = readFileSync(path);
const options = { endpoint, metadata: { filename: name }, chunkSize: 50_000, retryDelays: [100, 200, 400] };

const url = await new Promise((resolve, reject) => {
  const upload = new Upload(file, {
    ...options,
    onError: reject,
    onSuccess: () => reject(new Error("the upload ended before it was stopped")),
    onChunkComplete: (size, sent) => {
      if (sent >= 100_000) upload.abort().then(() => resolve(upload.url), reject);
    },
  });
  upload.start();
});
let resumedAt = null;
await new Promise((resolve, reject) => {
  const upload = new Upload(file, {
    ...options,
    uploadUrl: url,
    onError: reject,
    onSuccess: resolve,
    onChunkComplete: (size, sent) => { resumedAt ??= sent - size; },
  });
  upload.start();
});
console.log(JSON.stringify({ url, resumedAt, size: file.length }));
