import assert from "node:assert/strict";
import { test } from "node:test";

import { amount, bytes, days, ordinal, percent, signed } from "../../wsigraph/service/viewer/numbers.js";

test("numbers keep their significant digits and a true minus sign", () => {
  assert.equal(amount(1234.5), "1,235");
  assert.equal(amount(0.012345, 2), "0.012");
  assert.equal(amount(-0.5), "\u22120.5");
  assert.equal(amount(Number.NaN), "\u2013");
  assert.equal(signed(0.25), "+0.25");
});

test("small and large numbers have an exponent", () => {
  assert.equal(amount(2e-5, 2), "2.0\u00b710^-5");
});

test("units follow the size", () => {
  assert.equal(bytes(999), "999 B");
  assert.equal(bytes(1_500_000), "1.5 MB");
  assert.equal(days(400), "400 days");
  assert.equal(days(3652.5), "10.0 years");
  assert.equal(days(null), "not reached");
  assert.equal(percent(0.123, 1), "12.3\u202f%");
});

test("ordinals", () => {
  assert.deepEqual([1, 2, 3, 4, 11, 12, 13, 21, 102, 111].map(ordinal), [
    ..."1st 2nd 3rd 4th 11th 12th 13th 21st 102nd 111th".split(" "),
  ]);
});
