import assert from "node:assert/strict";
import { test } from "node:test";

import { css, makeColourings, quantile, weightedQuantile } from "../../wsigraph/service/viewer/colours.js";

test("a quantile by weight ignores specks", () => {
  // 99 specks of a hundredth, one region of 9: half of the area lies below its value
  const values = [...Array(99).fill(100), 1],
    weights = [...Array(99).fill(0.01), 9];
  assert.equal(weightedQuantile(values, weights, 0.5), 1);
  assert.equal(quantile(values, 0.5), 100);
});

test("quantiles interpolate", () => {
  assert.equal(quantile([3, 1, 2], 0.5), 2);
  assert.equal(quantile([0, 1], 0.25), 0.25);
  assert.equal(quantile([], 0.5), 0);
});

test("a colour is a rule of CSS", () => {
  assert.equal(css([1, 2, 3]), "rgba(1,2,3,1.000)");
  assert.equal(css([1, 2, 3, 0.5], 0.5), "rgba(1,2,3,0.250)");
});

test("attributions are coloured by density, around zero", () => {
  const values = {
    targets: [{ target: "risk", unit: "log hazard", attribution: [1, -1, 0] }],
    area_mm2: [1, 1, 1],
    features: [],
    tissue_clusters: null,
  };
  const [risk] = makeColourings(values);
  const [raises, lowers, none] = risk.colours;
  assert.ok(raises[0] > raises[2], "raising is orange");
  assert.ok(lowers[2] > lowers[0], "lowering is blue");
  assert.equal(none[3], 0);
});
