import assert from "node:assert/strict";
import { test } from "node:test";

import { Nuclei } from "../../../src/nucseg/app/static/nuclei.js";

const reply = () => ({
  found: 4,
  image: { channels: ["DAPI", ""] },
  columns: {
    label: [1, 2, 4],
    area: [10, 50, 200],
    score: [0.9, 0.5, 0.8],
    touches_border: [false, true, false],
    bbox_row: [0, 1, 2],
    bbox_column: [3, 4, 5],
    bbox_height: [6, 7, 8],
    bbox_width: [9, 10, 11],
    intensity_mean_0: [1, 2, 3],
    intensity_mean_1: [4, 5, 6],
  },
});
const all = { min_score: 0, min_area: 0, max_area: null, border_nuclei: "keep" };
const kept = (nuclei) => nuclei.kept.map((row) => nuclei.columns.label[row]);

test("filters keep what is within their bounds, and number it", () => {
  const nuclei = new Nuclei(reply());
  for (const [change, labels] of [
    [{}, [1, 2, 4]],
    [{ min_score: 0.8 }, [1, 4]],
    [{ min_area: 50 }, [2, 4]],
    [{ max_area: 50 }, [1, 2]],
    [{ border_nuclei: "drop" }, [1, 4]],
  ]) {
    nuclei.filter({ ...all, ...change });
    assert.deepEqual(kept(nuclei), labels);
    assert.deepEqual([...nuclei.numbers], labels.map((label, place) => [label, place + 1]));
  }
  assert.deepEqual([...nuclei.shown], [0, 1, 2, 0, 1]);
});

test("a nucleus drawn by hand is kept whatever the filters", () => {
  const nuclei = new Nuclei(reply());
  const columns = Object.fromEntries(Object.keys(nuclei.columns).map((name) => [name, [1]]));
  nuclei.apply({ removed: [2], columns: { ...columns, label: [5] } });
  assert.deepEqual(nuclei.columns.label, [1, 4, 5]);
  assert.equal(nuclei.value("area", 5), 1);
  nuclei.filter({ ...all, min_area: 1000 });
  assert.deepEqual(kept(nuclei), [5]);
  assert.equal(nuclei.has(2), false);
});

test("a change keeps the table in the order of labels", () => {
  const nuclei = new Nuclei(reply());
  const columns = Object.fromEntries(Object.keys(nuclei.columns).map((name) => [name, [7]]));
  nuclei.apply({ removed: [], columns: { ...columns, label: [3] } });
  assert.deepEqual(nuclei.columns.label, [1, 2, 3, 4]);
  assert.deepEqual(nuclei.columns.area, [10, 50, 7, 200]);
});

test("boxes and names of channels", () => {
  const nuclei = new Nuclei(reply());
  assert.deepEqual(nuclei.box(2), [1, 4, 7, 10]);
  assert.deepEqual(nuclei.intensities.map((name) => nuclei.intensityTitle(name)), ["Mean DAPI", "Mean channel 1"]);
});

test("a mark by hand is stronger than a prediction", () => {
  const nuclei = new Nuclei(reply());
  nuclei.setClasses({
    classes: [{ id: "a", name: "round" }, { id: "b", name: "long" }],
    image: { labels: [1, 2], numbers: [0, 0], probabilities: [0.7, 0.6], marked: { 2: "b" } },
  });
  assert.deepEqual([1, 2, 4].map((label) => nuclei.classOf(label)), [0, 1, undefined]);
});

test("doubtful nuclei come first, and those drawn by hand not at all", () => {
  const nuclei = new Nuclei(reply());
  const columns = Object.fromEntries(Object.keys(nuclei.columns).map((name) => [name, [0]]));
  nuclei.apply({ removed: [], columns: { ...columns, label: [5] } });
  nuclei.filter({ ...all, min_score: 0.6 });
  assert.deepEqual(nuclei.byScore(), [4, 1]);
});
