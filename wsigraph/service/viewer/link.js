// The address says what is looked at: slide, job, colours, place, region. It can be kept, sent and opened again.

const FIELDS = ["slide", "job", "colour", "second", "x", "y", "zoom", "region", "remove", "tab"];

/** Return what the address names. */
export function readLink() {
  const found = {};
  for (const [name, value] of new URLSearchParams(location.hash.slice(1))) if (FIELDS.includes(name)) found[name] = value;
  for (const name of ["x", "y", "zoom", "region", "remove"]) {
    if (!(name in found)) continue;
    const number = Number(found[name]);
    if (Number.isFinite(number)) found[name] = number;
    else delete found[name];
  }
  return found;
}

let pending = 0;

/** Put `fields` into the address, soon; what is null is left out. History gets no entry for each move. */
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
