// Format numbers for display.

const SPACE = "\u202f";

export function amount(value, digits = 3) {
  if (value === null || value === undefined || Number.isNaN(value)) return "\u2013";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6))
    return value
      .toExponential(digits - 1)
      .replace("e", "\u00b710^")
      .replace("^+", "^");
  const decimals = size === 0 ? 0 : Math.max(0, Math.min(6, digits - 1 - Math.floor(Math.log10(size))));
  return minus(Number(value.toFixed(decimals)).toLocaleString("en", { maximumFractionDigits: decimals }));
}

export const signed = (value, digits = 3) => (value > 0 ? "+" : "") + amount(value, digits);

export const percent = (fraction, digits = 0) => minus(`${(100 * fraction).toFixed(digits)}${SPACE}%`);

export const signedPercent = (fraction, digits = 1) => (fraction > 0 ? "+" : "") + percent(fraction, digits);

export const whole = (value) => Math.round(value).toLocaleString("en");

/** Days, or years for long times. */
export function days(value) {
  if (value === null || value === undefined) return "not reached";
  return value >= 1095 ? `${(value / 365.25).toFixed(1)} years` : `${whole(value)} days`;
}

export function bytes(n) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let step = 0;
  for (; n >= 1000 && step < units.length - 1; step += 1) n /= 1000;
  return `${n >= 100 || step === 0 ? Math.round(n) : n.toFixed(1)} ${units[step]}`;
}

/** 1st, 2nd, 33rd. */
export function ordinal(n) {
  const rounded = Math.round(n),
    tens = rounded % 100;
  const end = tens > 10 && tens < 14 ? "th" : (["th", "st", "nd", "rd"][rounded % 10] ?? "th");
  return `${rounded}${end}`;
}

function minus(text) {
  return text.replace("-", "\u2212");
}
