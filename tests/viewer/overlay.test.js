import assert from "node:assert/strict";
import { test } from "node:test";

import { isOutlined, OUTLINED_PX } from "../../wsigraph/service/viewer/overlay.js";

test("regions have outlines from eight pixels of the screen", () => {
  const region = { x0: 0, y0: 0, x1: 100, y1: 20 };
  assert.equal(OUTLINED_PX, 8);
  assert.ok(isOutlined(region, 10), "ten screen pixels wide");
  assert.ok(!isOutlined(region, 12.5), "eight screen pixels wide");
  assert.ok(!isOutlined(region, 100), "one screen pixel wide");
});
