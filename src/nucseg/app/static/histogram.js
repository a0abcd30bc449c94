// Histograms, as small pictures that tell in words what they show.

import { $, element, number, svg } from "./page.js";

const BINS = 32;
const WIDTH = 320;
const HEIGHT = 92;

function histogram(place, values, { unit = "", mark = null } = {}) {
  const known = values.filter((value) => value !== null).sort((a, b) => a - b);
  if (!known.length) {
    place.replaceChildren(element("p", { className: "quiet", textContent: "No nuclei." }));
    return;
  }
  const low = known[0];
  const high = known.at(-1);
  const middle = known[Math.floor(known.length / 2)];
  const range = high - low || 1;
  const counts = Array.from({ length: BINS }, () => 0);
  for (const value of known) counts[Math.min(Math.floor(((value - low) / range) * BINS), BINS - 1)]++;
  const most = Math.max(...counts);
  const told = `From ${number(low)} to ${number(high)}${unit}, median ${number(middle)}, ${known.length} nuclei`;
  const picture = svg("svg", { class: "histogram", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": told });
  counts.forEach((count, bin) => {
    const height = (count / most) * (HEIGHT - 6);
    const x = (bin * WIDTH) / BINS;
    if (count) picture.append(svg("rect", { class: "bar", x: x + 0.5, y: HEIGHT - 1 - height, width: WIDTH / BINS - 1, height }));
  });
  picture.append(svg("line", { class: "axis", x1: 0, x2: WIDTH, y1: HEIGHT - 0.5, y2: HEIGHT - 0.5 }));
  if (mark !== null) {
    const x = Math.min(Math.max(((mark - low) / range) * WIDTH, 1), WIDTH - 1);
    picture.append(svg("line", { class: "mark", x1: x, x2: x, y1: 0, y2: HEIGHT }));
  }
  const scale = element("div", { className: "quiet histogram-scale" });
  for (const text of [number(low), `median ${number(middle)}${unit}`, number(high)]) scale.append(element("span", { textContent: text }));
  place.replaceChildren(picture, scale);
}

// Histograms of the kept nuclei of an image, with a mark where one of them is.
export function showHistograms(nuclei, label) {
  const names = nuclei ? nuclei.intensities : [];
  const choice = $("intensity-channel");
  if (names.some((name, i) => choice.options[i]?.text !== nuclei.intensityTitle(name)) || choice.options.length !== names.length) {
    choice.replaceChildren(...names.map((name) => element("option", { value: name, textContent: nuclei.intensityTitle(name) })));
  }
  $("intensity-channel-row").hidden = names.length < 2;
  for (const [place, name] of [["area-histogram", "area"], ["intensity-histogram", choice.value || names[0]]]) {
    const column = nuclei ? nuclei.columns[name] : [];
    const values = nuclei ? nuclei.kept.map((row) => column[row]) : [];
    histogram($(place), values, { unit: name === "area" ? " px" : "", mark: label ? nuclei.value(name, label) : null });
  }
}
