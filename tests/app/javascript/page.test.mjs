import assert from "node:assert/strict";
import { test } from "node:test";

import { later, nuclei, number, positive, unfit } from "../../../src/nucseg/app/static/page.js";

test("numbers have few digits", () => {
  for (const [value, text] of [
    [null, "–"],
    [undefined, "–"],
    [Number.NaN, "–"],
    [3, "3"],
    [0.123456, "0.1235"],
    [1234.56, "1235"],
    [-0.5, "-0.5"],
    [0, "0"],
  ]) {
    assert.equal(number(value), text);
  }
  assert.equal(number(99.96, 3), "100");
  assert.deepEqual([nuclei(1), nuclei(0)], ["1 nucleus", "0 nuclei"]);
});

test("files that would be refused are not sent", () => {
  const session = { suffixes: [".tif", ".png"], limits: { max_upload: 1 } };
  assert.equal(unfit({ name: "A.TIF", size: 10 }, session), "");
  assert.match(unfit({ name: "a.txt", size: 10 }, session), /ends in \.tif, \.png/);
  assert.match(unfit({ name: "none", size: 10 }, session), /ends in/);
  assert.match(unfit({ name: "a.png", size: 2e6 }, session), /2 MB, at most 1 MB/);
  assert.match(unfit({ name: "a.png", size: 0 }, session), /empty/);
  assert.match(unfit({ name: "a.png", size: 10 }, null), /Load the page again/);
});

test("fields that hold no number above 0 hold nothing", () => {
  assert.deepEqual([4, 0, -1, Number.NaN].map((valueAsNumber) => positive({ valueAsNumber })), [4, null, null, null]);
});

test("of many calls soon after each other, the last is made", async () => {
  const made = [];
  const call = later(5, (value) => made.push(value));
  [1, 2, 3].forEach(call);
  await new Promise((resolve) => setTimeout(resolve, 40));
  assert.deepEqual(made.map((each) => each), [3]);
});
