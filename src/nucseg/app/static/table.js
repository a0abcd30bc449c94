// The table of nuclei. Rows are made for the part that is in view, so that thousands stay smooth.

import { element, number } from "./page.js";

const ROW = 30;
const BEYOND = 10;
const TITLES = {
  number: "No.",
  score: "Score",
  area: "Area (px)",
  perimeter: "Perimeter",
  major_axis: "Major axis",
  minor_axis: "Minor axis",
  eccentricity: "Eccentricity",
  solidity: "Solidity",
  form_factor: "Form factor",
  class: "Class",
  class_probability: "Probability",
  centroid_row: "Row",
  centroid_column: "Column",
};

export class NucleiTable {
  constructor(place, { onHover, onSelect }) {
    this.place = place;
    this.onHover = onHover;
    this.onSelect = onSelect;
    this.sort = { name: "number", down: false };
    this.order = [];
    this.selected = 0;
    this.hovered = 0;
    place.addEventListener("scroll", () => this.draw(), { passive: true });
    place.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.draw()).observe(place);
    this.clear();
  }

  clear() {
    this.nuclei = null;
    this.place.replaceChildren(element("p", { className: "quiet empty-table", textContent: "No nuclei to list." }));
  }

  show(nuclei) {
    if (!nuclei.kept.length) return this.clear();
    const fresh = this.nuclei !== nuclei || !this.body;
    this.nuclei = nuclei;
    if (fresh || this.built !== this.names().join()) this.build();
    this.arrange();
  }

  names() {
    const classes = ["class", "class_probability"];
    const names = ["number", "score", ...(this.nuclei.classes?.size ? classes : []), "area", ...this.nuclei.intensities];
    return [...names, ...Object.keys(TITLES).filter((name) => !names.includes(name) && !classes.includes(name))];
  }

  build() {
    const head = element("tr");
    for (const name of this.names()) {
      const title = TITLES[name] ?? this.nuclei.intensityTitle(name);
      const button = element("button", { type: "button", textContent: title, tabIndex: 0 });
      button.addEventListener("click", () => {
        this.sort = { name, down: this.sort.name === name ? !this.sort.down : name !== "number" };
        this.arrange();
      });
      head.append(element("th", { scope: "col" }, button));
    }
    this.built = this.names().join();
    if (!this.names().includes(this.sort.name)) this.sort = { name: "number", down: false };
    this.body = element("tbody");
    this.table = element("table", { role: "grid", "aria-label": "Nuclei" }, element("thead", {}, head), this.body);
    this.body.addEventListener("pointerover", (event) => this.onHover(labelOf(event)));
    this.body.addEventListener("pointerleave", () => this.onHover(0));
    this.body.addEventListener("click", (event) => this.onSelect(labelOf(event)));
    this.place.replaceChildren(this.table);
    this.place.scrollTop = 0;
  }

  value(row, name) {
    const label = this.nuclei.columns.label[row];
    if (name === "number") return this.nuclei.numbers.get(label);
    if (name === "class") return this.nuclei.classOf(label);
    if (name === "class_probability") return this.nuclei.classes.get(label)?.[1];
    return this.nuclei.columns[name][row];
  }

  // Sort the rows.
  arrange() {
    const { name, down } = this.sort;
    const way = down ? -1 : 1;
    const keyed = this.nuclei.kept.map((row) => [this.value(row, name) ?? -Infinity, row]);
    keyed.sort((a, b) => way * (a[0] - b[0]) || a[1] - b[1]);
    this.order = keyed.map(([, row]) => row);
    this.names().forEach((each, column) => {
      const cell = this.table.rows[0].cells[column];
      cell.setAttribute("aria-sort", each === name ? (down ? "descending" : "ascending") : "none");
    });
    this.table.setAttribute("aria-rowcount", this.order.length + 1);
    this.drawn = "";
    this.draw();
  }

  draw() {
    if (!this.nuclei) return;
    const first = Math.max(Math.floor(this.place.scrollTop / ROW) - BEYOND, 0);
    const last = Math.min(first + Math.ceil(this.place.clientHeight / ROW) + 2 * BEYOND, this.order.length);
    const drawn = `${first} ${last}`;
    if (drawn !== this.drawn) {
      this.drawn = drawn;
      const names = this.names();
      const rows = this.order.slice(first, last).map((row, i) => this.row(row, first + i, names));
      this.body.replaceChildren(space(first * ROW, names), ...rows, space((this.order.length - last) * ROW, names));
    }
    for (const row of this.body.rows) {
      const label = Number(row.dataset.label);
      row.classList.toggle("hover", label > 0 && label === this.hovered);
      if (label) row.setAttribute("aria-selected", label === this.selected);
    }
  }

  row(row, place, names) {
    const label = this.nuclei.columns.label[row];
    const cells = names.map((name) => {
      if (name === "class") return element("td", { textContent: this.nuclei.classNames[this.nuclei.classOf(label)] ?? "–" });
      const hand = name === "score" && this.nuclei.byHand(label);
      return element("td", { textContent: hand ? "by hand" : number(this.value(row, name)) });
    });
    const made = element("tr", { className: "data", "aria-rowindex": place + 2 }, ...cells);
    made.dataset.label = label;
    return made;
  }

  hover(label) {
    this.hovered = label;
    this.draw();
  }

  select(label) {
    this.selected = label;
    if (!this.nuclei) return;
    const place = this.order.findIndex((row) => this.nuclei.columns.label[row] === label);
    if (place >= 0) {
      const top = place * ROW;
      const height = this.place.clientHeight - this.table.tHead.offsetHeight;
      if (top < this.place.scrollTop || top + ROW > this.place.scrollTop + height) {
        this.place.scrollTop = top - height / 2;
      }
    }
    this.draw();
  }

  // The nucleus so many rows on, in the order of the table.
  neighbour(steps) {
    if (!this.nuclei) return 0;
    const labels = this.nuclei.columns.label;
    const place = this.order.findIndex((row) => labels[row] === this.selected);
    const next = place < 0 ? (steps > 0 ? 0 : this.order.length - 1) : place + steps;
    return labels[this.order[Math.min(Math.max(next, 0), this.order.length - 1)]];
  }

  key(event) {
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -1e9, End: 1e9 }[event.key];
    if (!steps || !this.nuclei || event.target.tagName === "BUTTON") return;
    event.preventDefault();
    this.onSelect(this.neighbour(steps));
  }
}

const labelOf = (event) => Number(event.target.closest("tr.data")?.dataset.label ?? 0);

function space(height, names) {
  const row = element("tr", { className: "space", "aria-hidden": "true" }, element("td", { colSpan: names.length }));
  row.firstElementChild.style.height = `${height}px`;
  row.hidden = height === 0;
  return row;
}
