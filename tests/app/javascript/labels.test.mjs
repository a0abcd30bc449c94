import assert from "node:assert/strict";
import { test } from "node:test";

import { colouring, css, LabelMap } from "../../../src/nucseg/app/static/labels.js";

// Runs of label and length, as the server sends them: 0 0 3 / 3 0 0.
const small = () => new LabelMap(2, 3, new Uint32Array([0, 2, 3, 2, 0, 2]).buffer);

test("runs become labels", () => {
  assert.deepEqual([...small().pixels], [0, 0, 3, 3, 0, 0]);
});

test("a place has the label of its pixel, and none outside", () => {
  const map = small();
  assert.equal(map.at(2.9, 0.2), 3);
  assert.equal(map.at(0, 1), 3);
  for (const [x, y] of [[1, 1], [3, 0], [-1, 0], [0, 2]]) assert.equal(map.at(x, y), 0);
});

test("a window gets other labels, and the rest stays", () => {
  const map = small();
  map.patch([0, 1, 2, 2], [7, 1, 0, 1, 0, 1, 8, 1]);
  assert.deepEqual([...map.pixels], [0, 7, 0, 3, 0, 8]);
});

test("every so many pixels are sampled", () => {
  assert.deepEqual([...small().sampled(0, 2, 2)], [0, 3]);
});

test("outlines have a chosen colour, or several by label", () => {
  assert.deepEqual(colouring("#ff8000", false)(5), [255, 128, 0]);
  const auto = colouring("auto", true);
  assert.notDeepEqual(auto(1), auto(2));
  assert.deepEqual(auto(1), auto(4));
  assert.equal(css([1, 2, 3]), "rgb(1 2 3)");
});
