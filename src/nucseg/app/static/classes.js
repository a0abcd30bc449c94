// Classes of nuclei by clicks: named, marked, learned by the server, shown, saved.

import * as api from "./api.js";
import { $, element, later, saveAs, say } from "./page.js";

export class ClassPanel {
  constructor({ viewer, attempt, current, filters, onClasses, onTool, onNucleus }) {
    Object.assign(this, { viewer, attempt, current, filters, onClasses, onTool, onNucleus });
    this.begin();
    $("class-add").addEventListener("click", () => this.add());
    $("class-undo").addEventListener("click", () => this.undo());
    $("class-next").addEventListener("click", () => this.next());
    $("class-save").addEventListener("click", () => this.save());
    $("class-load").addEventListener("change", () => this.loadFile());
    $("classes").addEventListener("toggle", () => this.show());
    $("show-classes").addEventListener("change", () => this.show());
    this.nameSoon = later(400, () => this.rename());
  }

  begin() {
    this.state = { classes: [], colours: [], accuracy: null, lacking: "" };
    this.chosen = 0;
    // The nucleus that was shown as uncertain, and those that were and got no mark.
    this.asked = null;
    this.seen = [];
    this.work = Promise.resolve();
    this.fresh = true;
    this.showList();
    this.show();
  }

  get image() {
    return this.current()?.info.id ?? "";
  }

  // One request after the other, so that marks are told in their order.
  ask(request) {
    this.work = this.work.then(() => this.attempt(async () => this.take(await request())));
    return this.work;
  }

  load() {
    return this.ask(() => api.get("api/classes", { query: { image: this.image } }));
  }

  take(state) {
    const names = ({ classes }) => classes.map(({ id, name }) => `${id} ${name}`).join("|");
    const others = names(state) !== names(this.state);
    this.state = state;
    if (!state.classes.some(({ id }) => id === this.chosen)) this.chosen = state.classes[0]?.id ?? 0;
    const entry = this.current();
    if (entry?.nuclei && state.image?.id === entry.info.id) entry.nuclei.setClasses(state);
    // After the page was loaded again, what was begun is shown.
    if (this.fresh && state.classes.some(({ marks }) => marks)) $("classes").open = true;
    this.fresh = false;
    // Whoever writes a name goes on writing.
    if (others && !$("class-list").contains(document.activeElement)) this.showList();
    this.show();
    this.onClasses();
  }

  showList() {
    const rows = this.state.classes.map(({ id, name, colour }, place) => {
      const swatch = element("span", { className: "swatch", "aria-hidden": "true" });
      swatch.style.background = `rgb(${colour.join(" ")})`;
      const choose = element("button", { type: "button", className: "choose", title: `Choose this class (${place + 1})`, "aria-label": `Mark nuclei as ${name}` }, swatch, `${place + 1}`);
      choose.addEventListener("click", () => this.answer(id));
      const field = element("input", { type: "text", value: name, maxLength: 40, "aria-label": `Name of class ${place + 1}` });
      field.addEventListener("input", () => this.nameSoon());
      field.addEventListener("change", () => this.rename());
      const close = element("button", { type: "button", textContent: "×", "aria-label": `Remove class ${place + 1}` });
      close.addEventListener("click", () => this.remove(id));
      const row = element("li", {}, choose, field, element("span", { className: "number" }), close);
      row.dataset.id = id;
      return row;
    });
    $("class-list").replaceChildren(...rows);
    this.showBar();
  }

  // Where the panel is out of sight, as on telephones, classes are chosen beside the image.
  showBar() {
    const buttons = this.state.classes.map(({ id, name, colour }) => {
      const swatch = element("span", { className: "swatch", "aria-hidden": "true" });
      swatch.style.background = `rgb(${colour.join(" ")})`;
      const button = element("button", { type: "button", "aria-pressed": id === this.chosen }, swatch, name);
      button.addEventListener("click", () => this.answer(id));
      return button;
    });
    const next = element("button", { type: "button", textContent: "Next uncertain", disabled: !this.state.accuracy });
    next.addEventListener("click", () => this.next());
    // Whoever is at a button stays there.
    const place = [...$("class-bar").children].indexOf(document.activeElement);
    $("class-bar").replaceChildren(...buttons, next);
    if (place >= 0) $("class-bar").children[place]?.focus();
    $("class-bar").hidden = this.viewer.tool !== "mark";
  }

  show() {
    const { classes, accuracy, lacking, image, can_undo, colours, fewest } = this.state;
    const marks = classes.reduce((sum, each) => sum + each.marks, 0);
    for (const row of $("class-list").children) {
      const each = classes.find(({ id }) => id === Number(row.dataset.id));
      if (!each) continue;
      row.querySelector(".number").textContent = each.marks;
      row.querySelector(".number").title = `${each.marks} marked`;
      row.querySelector(".choose").setAttribute("aria-pressed", each.id === this.chosen);
      row.querySelector(".choose").setAttribute("aria-label", `Mark nuclei as ${each.name}`);
    }
    this.showBar();
    $("classes-fewest").textContent = fewest ?? 3;
    $("class-add").disabled = !classes.length || classes.length >= colours.length;
    $("class-undo").disabled = !can_undo;
    $("class-next").disabled = $("class-save").disabled = !accuracy;
    $("class-lacking").textContent = lacking;
    $("class-lacking").hidden = !lacking;
    $("class-accuracy").hidden = $("class-hint").hidden = !accuracy;
    if (accuracy) {
      const guess = `${Math.round(100 * accuracy.commonest)} %`;
      $("class-accuracy").textContent = `Cross-validated: ${accuracy.told}. Always saying the commonest class: ${guess}.`;
    }
    const warnings = image?.warnings?.join(" ") ?? "";
    $("class-warnings").textContent = warnings;
    $("class-warnings").hidden = !warnings;
    const active = marks > 0 || accuracy || this.viewer.tool === "mark";
    $("show-classes-row").hidden = !active;
    const shown = active && $("show-classes").checked && colours.length;
    this.viewer.set("classColours", shown ? colours.slice(0, classes.length) : null);
  }

  names() {
    return [...$("class-list").children].map((row) => ({ id: Number(row.dataset.id), name: row.querySelector("input").value }));
  }

  setNames(classes) {
    return this.ask(() => api.post("api/classes/names", { json: { image: this.image, classes } }));
  }

  rename() {
    const classes = this.names();
    const now = this.state.classes;
    if (classes.every(({ name }, place) => name.trim() === now[place]?.name)) return;
    if (classes.every(({ name }) => name.trim())) this.setNames(classes);
  }

  async add() {
    const classes = this.names();
    const id = Math.max(0, ...classes.map((each) => each.id)) + 1;
    await this.setNames([...classes, { id, name: `class ${id}` }]);
    this.choose(id);
    $("class-list").lastElementChild?.querySelector("input").select();
  }

  async remove(id) {
    const { name, marks } = this.state.classes.find((each) => each.id === id);
    if (marks && !window.confirm(`Remove ${name} and its ${marks} marks?`)) return;
    await this.setNames(this.names().filter((each) => each.id !== id));
    this.showList();
    this.show();
  }

  // Choose a class, and the tool with it.
  choose(id) {
    this.chosen = id;
    if (this.viewer.tool !== "mark") this.onTool("mark");
    this.show();
    const { name } = this.state.classes.find((each) => each.id === id) ?? {};
    if (name) say(`Click nuclei of the class ${name}.`);
  }

  // Choose a class, and mark the nucleus that was asked about while it is selected.
  answer(id) {
    this.choose(id);
    if (this.asked && this.asked[0] === this.image && this.asked[1] === this.viewer.selected) this.mark(this.asked[1]);
  }

  chosenTool(name) {
    if (name === "mark") $("classes").open = true;
    this.show();
  }

  // Mark a nucleus as one of the chosen class; a second click on it takes the mark away.
  async mark(number) {
    const image = this.image;
    const kind = this.chosen;
    const { name } = this.state.classes.find(({ id }) => id === kind) ?? {};
    if (!image || !name) return;
    const place = this.state.classes.findIndex(({ id }) => id === kind);
    const again = this.current().nuclei.marks?.get(number) === place;
    const asked = this.asked && this.asked[0] === image && this.asked[1] === number;
    this.asked = null;
    await this.ask(() => api.post("api/classes/marks", { json: { image, number, kind: again ? null : kind } }));
    say(again ? "The mark is taken away." : `Marked as ${name}.`);
    if (asked && !again && this.state.accuracy) await this.next();
  }

  async undo() {
    if (!this.state.can_undo) return;
    await this.ask(() => api.post("api/classes/undo", { json: { image: this.image } }));
    say("The last mark is taken back.");
  }

  // Show the nucleus of any image that the classes are least sure of.
  async next() {
    if (!this.state.accuracy) return;
    if (this.asked) this.seen.push(this.asked);
    await this.work;
    const find = (seen) => api.post("api/classes/next", { json: { filters: this.filters(), seen } });
    await this.attempt(async () => {
      let { image, number } = await find(this.seen);
      if (!image && this.seen.length) {
        this.seen = [];
        ({ image, number } = await find([]));
      }
      if (!image) {
        say("All nuclei are marked.");
        return;
      }
      this.asked = [image, number];
      if (this.viewer.tool !== "mark") this.onTool("mark");
      await this.onNucleus(image, number);
      const found = this.current()?.nuclei?.classes?.get(number);
      const guess = found ? `: ${this.state.classes[found[0]].name} with ${Math.round(100 * found[1])} %` : "";
      say(`Uncertain${guess}. Choose its class, by its number or button.`);
    });
  }

  async save() {
    await this.attempt(async () => {
      saveAs(await api.blob("api/classes/file"), "classes.json");
      say("Saved classes.json. nucseg segment --classes classes.json applies it.");
    });
  }

  // Take the classes of a file that was saved before, in place of these and their marks.
  async loadFile() {
    const [file] = $("class-load").files;
    $("class-load").value = "";
    if (!file) return;
    const marks = this.state.classes.reduce((sum, each) => sum + each.marks, 0);
    if (marks && !window.confirm(`Load other classes, and take ${marks} marks away?`)) return;
    const text = await file.text();
    const before = this.state;
    await this.ask(() => api.post("api/classes/file", { json: { image: this.image, name: file.name, text } }));
    if (this.state !== before) {
      this.showList();
      this.show();
      say(`Loaded the classes of ${file.name}.`);
    }
  }

  takesKey(key) {
    const number = Number(key);
    return key === "c" || key === "u" || (key === "enter" && this.viewer.tool === "mark") ||
      (number >= 1 && number <= this.state.classes.length);
  }

  key(key) {
    if (key === "c") this.onTool("mark");
    else if (key === "u") this.next();
    else if (key === "enter") {
      if (this.viewer.selected) this.mark(this.viewer.selected);
    } else this.answer(this.state.classes[Number(key) - 1].id);
  }
}
