// The URL fragment holds the view (slide, job, colours, position, region), so that a link restores it.

const FIELDS = ["slide", "job", "colour", "second", "x", "y", "zoom", "region", "remove", "tab"];

/** Return the view in the URL. */
export function readLink() {
  const view = {};
  for (const [name, value] of new URLSearchParams(location.hash.slice(1)))
    if (FIELDS.includes(name)) view[name] = value;
  for (const name of ["x", "y", "zoom", "region", "remove"]) {
    if (!(name in view)) continue;
    const number = Number(view[name]);
    if (Number.isFinite(number)) view[name] = number;
    else delete view[name];
  }
  // links of earlier versions
  if (view.colour === "kind") view.colour = "tissue_cluster";
  return view;
}

let pending = 0;

/** Write `fields` into the URL after a short delay, without those that are null. Moves add no history entries. */
export function writeLink(fields) {
  clearTimeout(pending);
  pending = setTimeout(() => {
    const query = new URLSearchParams();
    for (const name of FIELDS) {
      const value = fields[name];
      if (value !== null && value !== undefined && value !== "") query.set(name, String(value));
    }
    history.replaceState(null, "", `#${query}`);
  }, 150);
}
