// Filters, which act at once, and the choices with which the network runs again.

import { $, element, positive } from "./page.js";

const FIELDS = ["min-score", "min-area", "max-area"];

export class Controls {
  constructor({ onFilters, onRun }) {
    this.onFilters = onFilters;
    for (const name of FIELDS) {
      $(name).addEventListener("input", () => this.fromSlider(name));
      $(`${name}-number`).addEventListener("input", () => this.fromNumber(name));
      $(`${name}-number`).addEventListener("change", () => this.show());
    }
    $("drop-border").addEventListener("change", (event) => {
      this.set({ border_nuclei: event.target.checked ? "drop" : "keep" });
    });
    $("reset").addEventListener("click", () => {
      this.set(this.own);
      this.show();
    });
    $("run").addEventListener("submit", (event) => {
      event.preventDefault();
      onRun(this.run());
    });
  }

  begin(session) {
    this.own = session.filters;
    this.filters = { ...session.filters };
    this.largest = 1000;
    $("diameter-row").hidden = !session.takes_diameter;
    $("diameter").value = "";
    $("tta").checked = false;
    $("network").open = false;
    this.show();
  }

  set(changes) {
    this.filters = { ...this.filters, ...changes };
    this.onFilters();
  }

  fromSlider(name) {
    const value = $(name).valueAsNumber;
    const field = $(`${name}-number`);
    if (name === "max-area" && value >= this.largest) {
      field.value = "";
      this.set({ max_area: null });
      return;
    }
    field.value = value;
    this.set({ [name.replace("-", "_")]: value });
  }

  fromNumber(name) {
    const value = $(`${name}-number`).valueAsNumber;
    if (Number.isNaN(value)) {
      if (name === "max-area") this.set({ max_area: null });
    } else if (name === "min-score") {
      this.set({ min_score: Math.min(Math.max(value, 0), 1) });
    } else {
      // The network's own minimum was applied where nuclei were found.
      const least = name === "min-area" ? this.own.min_area : 1;
      this.set({ [name.replace("-", "_")]: Math.max(Math.round(value), least) });
    }
    this.showSliders();
  }

  show() {
    const { min_score, min_area, max_area, border_nuclei } = this.filters;
    $("min-score-number").value = min_score;
    $("min-area-number").value = min_area;
    $("max-area-number").value = max_area ?? "";
    $("drop-border").checked = border_nuclei === "drop";
    this.showSliders();
  }

  showSliders() {
    const { min_score, min_area, max_area } = this.filters;
    $("min-area").min = $("min-area-number").min = this.own.min_area;
    $("min-area").max = $("max-area").max = this.largest;
    $("min-score").value = min_score;
    $("min-area").value = min_area;
    $("max-area").value = max_area ?? this.largest;
  }

  // What there is to choose in an image, and the range of its nuclei.
  forImage({ info, nuclei, pixelSize }) {
    const areas = nuclei ? nuclei.columns.area : [];
    this.largest = Math.max(areas.reduce((most, area) => Math.max(most, area), 0), this.own.min_area + 10);
    const run = info.run ?? { channel: info.channel, plane: info.planes[0] };
    const channels = info.channels.map((name, i) => element("option", { value: i, textContent: name ? `${i}: ${name}` : `${i}` }));
    $("channel").replaceChildren(element("option", { value: "", textContent: "automatic" }), ...channels);
    $("channel").value = run.channel ?? "";
    $("plane").replaceChildren(...info.planes.map((name) => element("option", { value: name, textContent: name || "the only one" })));
    $("plane").value = run.plane;
    $("plane-row").hidden = info.planes.length < 2 && run.project !== "max";
    $("project").checked = run.project === "max";
    $("diameter").value = run.diameter ?? "";
    $("tta").checked = run.tta ?? false;
    $("pixel-size").placeholder = pixelSize ? pixelSize.map((size) => Number(size.toPrecision(4))).join(" × ") : "not known";
    this.show();
  }

  run() {
    const project = $("project").checked ? "max" : "none";
    return {
      channel: $("channel").value || null,
      // Without a name it is the first one.
      plane: project === "max" ? "" : $("plane").value,
      project,
      diameter: positive($("diameter")),
      tta: $("tta").checked,
    };
  }
}
