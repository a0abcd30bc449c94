// The image on its canvas: zoom, pan, outlines, and lines that are drawn by hand.

import { colouring, css, DROPPED_CSS } from "./labels.js";

const CLOSEST = 64;
const STEP = 1.25;
const PAN = 60;
// Pointers that moved less than this have clicked.
const CLICK = 5;
// Tools that draw lines.
const DRAWS = ["draw", "split", "merge", "brush", "erase"];
// Share of the view that a nucleus takes at least when it is looked at closely.
const CLOSE_UP = 0.12;
// Of nuclei without a class, on dark and on bright images.
const UNKNOWN = [[190, 190, 190], [90, 90, 90]];

export class Viewer {
  constructor(canvas, { onHover, onSelect, onLine, onZoom }) {
    Object.assign(this, { canvas, onHover, onSelect, onLine, onZoom });
    this.context = canvas.getContext("2d");
    this.view = { scale: 1, x: 0, y: 0 };
    this.tool = "select";
    this.selected = this.hovered = 0;
    this.outlines = true;
    this.dropped = false;
    // Of the brush, in pixels of the image.
    this.radius = 4;
    this.colour = "auto";
    // Colours of the classes; none while there are no classes to show.
    this.classColours = null;
    this.line = [];
    this.pointers = new Map();
    this.listen();
    new ResizeObserver(() => this.resize()).observe(canvas);
    this.resize();
  }

  // Show an image of which the pyramid of pictures, the label map and the nuclei are given.
  show({ pyramid, labels, nuclei, bright }, { keepView = false } = {}) {
    const other = !this.shown || !keepView;
    this.shown = { pyramid, labels, nuclei, bright };
    this.selected = this.hovered = 0;
    this.line = [];
    this.changed();
    if (other) this.fit();
  }

  clear() {
    this.shown = null;
    this.redraw();
  }

  // Nuclei, filters or colours have changed.
  changed() {
    this.overviews = new Map();
    this.redraw();
  }

  set(name, value) {
    this[name] = value;
    if (name === "tool") {
      this.line = [];
      this.canvas.dataset.tool = value;
    }
    this.changed();
  }

  select(label, { reveal = false } = {}) {
    this.selected = label;
    if (label && reveal) this.reveal(label);
    this.redraw();
  }

  hover(label) {
    if (label === this.hovered) return;
    this.hovered = label;
    this.redraw();
  }

  // Bring a nucleus into view.
  reveal(label) {
    const [top, left, height, width] = this.shown.nuclei.box(label);
    const { scale, x, y } = this.view;
    const hidden = left * scale + x < 0 || top * scale + y < 0 ||
      (left + width) * scale + x > this.width || (top + height) * scale + y > this.height;
    if (!hidden) return;
    this.view.x = this.width / 2 - (left + width / 2) * scale;
    this.view.y = this.height / 2 - (top + height / 2) * scale;
    this.keepInside();
  }

  // Bring a nucleus into view, and come closer where it is small.
  closeUp(label) {
    const { labels, nuclei } = this.shown;
    const [top, left, height, width] = nuclei.box(label);
    const wanted = (CLOSE_UP * Math.min(this.width, this.height)) / Math.max(height, width);
    const scale = Math.min(Math.max(this.view.scale, wanted), CLOSEST);
    // In the middle, but for nuclei near the edges of the image.
    const place = (middle, length, room) => {
      const free = room - length * scale;
      return free >= 0 ? free / 2 : Math.min(Math.max(room / 2 - middle * scale, free), 0);
    };
    const x = place(left + width / 2, labels.width, this.width);
    this.view = { scale, x, y: place(top + height / 2, labels.height, this.height) };
    this.redraw();
  }

  resize() {
    const ratio = window.devicePixelRatio || 1;
    const box = this.canvas.getBoundingClientRect();
    if (!box.width) return;
    const fitted = this.shown && this.isFitted();
    this.width = box.width;
    this.height = box.height;
    this.ratio = ratio;
    this.canvas.width = Math.round(box.width * ratio);
    this.canvas.height = Math.round(box.height * ratio);
    if (fitted) this.fit();
    this.redraw();
  }

  fitScale() {
    const { labels } = this.shown;
    return Math.min(this.width / labels.width, this.height / labels.height);
  }

  isFitted() {
    return Math.abs(this.view.scale / this.fitScale() - 1) < 1e-6;
  }

  fit() {
    if (!this.shown || !this.width) return;
    const scale = this.fitScale();
    const { labels } = this.shown;
    this.view = { scale, x: (this.width - labels.width * scale) / 2, y: (this.height - labels.height * scale) / 2 };
    this.redraw();
  }

  zoom(factor, x = this.width / 2, y = this.height / 2) {
    if (!this.shown) return;
    const { scale } = this.view;
    const smallest = Math.min(this.fitScale() / 2, 1);
    const next = Math.min(Math.max(scale * factor, smallest), CLOSEST);
    this.view.x = x - ((x - this.view.x) * next) / scale;
    this.view.y = y - ((y - this.view.y) * next) / scale;
    this.view.scale = next;
    this.keepInside();
    this.redraw();
  }

  pan(x, y) {
    this.view.x += x;
    this.view.y += y;
    this.keepInside();
    this.redraw();
  }

  // Part of the image stays in view, and one that is smaller than the view stays in the middle.
  keepInside() {
    const { labels } = this.shown;
    const { scale } = this.view;
    const hold = (offset, length, room) => {
      const size = length * scale;
      if (size <= room) return (room - size) / 2;
      return Math.min(Math.max(offset, room / 2 - size), room / 2);
    };
    this.view.x = hold(this.view.x, labels.width, this.width);
    this.view.y = hold(this.view.y, labels.height, this.height);
  }

  redraw() {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      this.draw();
    });
  }

  draw() {
    const { context, canvas } = this;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (!this.shown) return;
    const ratio = this.ratio;
    const scale = this.view.scale * ratio;
    const { pyramid, labels } = this.shown;
    const place = { scale, x: this.view.x * ratio, y: this.view.y * ratio };
    // The smallest picture that has a pixel for each of the screen's.
    const level = Math.min(Math.max(Math.floor(Math.log2(1 / scale)), 0), pyramid.length - 1);
    context.imageSmoothingEnabled = scale < 2;
    this.paint(pyramid[level], labels, place);
    if (this.outlines) this.drawOutlines(place);
    if (this.classColours) this.drawMarks(place);
    this.drawMarked(place);
    this.drawLine(place);
    this.onZoom(this.view.scale);
  }

  // Paint the part of a picture of the whole image that is in view.
  paint(picture, { width, height }, { scale, x, y }) {
    const left = Math.max(-x / scale, 0);
    const top = Math.max(-y / scale, 0);
    const right = Math.min((this.canvas.width - x) / scale, width);
    const bottom = Math.min((this.canvas.height - y) / scale, height);
    if (right <= left || bottom <= top) return;
    const [across, down] = [picture.width / width, picture.height / height];
    this.context.drawImage(
      picture, left * across, top * down, (right - left) * across, (bottom - top) * down,
      left * scale + x, top * scale + y, (right - left) * scale, (bottom - top) * scale,
    );
  }

  drawOutlines(place) {
    const { labels, nuclei, bright } = this.shown;
    const colour = this.classColours
      ? (label) => this.classColours[nuclei.classOf(label)] ?? UNKNOWN[Number(bright)]
      : colouring(this.colour, bright);
    if (place.scale < 1) {
      // From afar: outlines on as many pixels as the screen has.
      const step = 2 ** (Math.floor(Math.log2(1 / place.scale)) + 1);
      if (!this.overviews.has(step)) {
        const shown = this.dropped ? nuclei.shown : nuclei.shown.map((state) => (state === 1 ? 1 : 0));
        this.overviews.set(step, labels.overview(step, shown, colour));
      }
      const picture = this.overviews.get(step);
      const size = { width: picture.width * step, height: picture.height * step };
      this.context.imageSmoothingEnabled = false;
      this.paint(picture, size, place);
      return;
    }
    const { context } = this;
    this.intoImage(place);
    context.lineWidth = (1.6 * this.ratio) / place.scale;
    context.lineCap = "square";
    for (const label of nuclei.columns.label) {
      const kept = nuclei.shown[label] === 1;
      if ((!kept && !this.dropped) || !this.isInView(nuclei.box(label), place)) continue;
      context.strokeStyle = kept ? css(colour(label)) : DROPPED_CSS;
      context.stroke(labels.outline(label, nuclei.box(label)));
    }
  }

  // Fill the nuclei that were marked with the colour of their class.
  drawMarks(place) {
    const { context } = this;
    const { labels, nuclei } = this.shown;
    this.intoImage(place);
    for (const [label, number] of nuclei.marks ?? []) {
      if (!nuclei.has(label) || !this.isInView(nuclei.box(label), place)) continue;
      context.globalAlpha = 0.45;
      context.fillStyle = css(this.classColours[number]);
      context.fill(labels.area(label, nuclei.box(label)));
      context.globalAlpha = 1;
    }
  }

  isInView([top, left, height, width], { scale, x, y }) {
    return (left + width) * scale + x > 0 && left * scale + x < this.canvas.width &&
      (top + height) * scale + y > 0 && top * scale + y < this.canvas.height;
  }

  intoImage({ scale, x, y }) {
    this.context.setTransform(scale, 0, 0, scale, x, y);
  }

  drawMarked(place) {
    const { context } = this;
    const { labels, nuclei } = this.shown;
    this.intoImage(place);
    for (const [label, alpha] of [[this.hovered, 0.25], [this.selected, 0.35]]) {
      if (!label || !nuclei.has(label)) continue;
      context.fillStyle = `rgb(255 255 255 / ${alpha})`;
      context.fill(labels.area(label, nuclei.box(label)));
      const path = labels.outline(label, nuclei.box(label));
      context.lineCap = "square";
      for (const [colour, width] of [["#000", 5], ["#fff", 2.5]]) {
        context.strokeStyle = colour;
        context.lineWidth = ((label === this.selected ? width : width * 0.6) * this.ratio) / place.scale;
        context.stroke(path);
      }
    }
  }

  drawLine(place) {
    if (this.line.length < 2) return;
    const { context } = this;
    this.intoImage(place);
    context.beginPath();
    for (const [x, y] of this.line) context.lineTo(x, y);
    if (this.tool === "draw") context.closePath();
    context.lineJoin = context.lineCap = "round";
    if (this.tool === "brush" || this.tool === "erase") {
      context.strokeStyle = this.tool === "brush" ? "rgb(86 180 233 / 55%)" : "rgb(213 94 0 / 55%)";
      context.lineWidth = 2 * this.radius;
      context.stroke();
      return;
    }
    for (const [colour, width] of [["#000", 4.5], ["#fff", 2]]) {
      context.strokeStyle = colour;
      context.lineWidth = (width * this.ratio) / place.scale;
      context.stroke();
    }
  }

  toImage(x, y) {
    return [(x - this.view.x) / this.view.scale, (y - this.view.y) / this.view.scale];
  }

  labelAt(event) {
    if (!this.shown) return 0;
    const label = this.shown.labels.at(...this.toImage(event.offsetX, event.offsetY));
    const state = label ? this.shown.nuclei.shown[label] : 0;
    return state === 1 || (state === 2 && this.dropped) ? label : 0;
  }

  listen() {
    const { canvas } = this;
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      const lines = event.deltaMode === 1 ? 16 : 1;
      this.zoom(Math.exp(-Math.max(Math.min(event.deltaY * lines, 200), -200) * 0.002), event.offsetX, event.offsetY);
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.up(event));
    canvas.addEventListener("pointercancel", (event) => {
      this.pointers.delete(event.pointerId);
      this.line = [];
      this.redraw();
    });
    canvas.addEventListener("pointerleave", () => {
      if (!this.pointers.size) this.onHover(0);
    });
    canvas.addEventListener("keydown", (event) => this.key(event));
  }

  down(event) {
    if (!this.shown || event.button > 1) return;
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    const [x, y] = [event.offsetX, event.offsetY];
    this.pointers.set(event.pointerId, { x, y, startX: x, startY: y, moved: false, pans: event.button === 1 });
    // A second finger zooms and moves, whatever the tool.
    this.line = this.pointers.size === 1 && DRAWS.includes(this.tool) && event.button === 0 ? [this.toImage(x, y)] : [];
  }

  move(event) {
    const pointer = this.pointers.get(event.pointerId);
    if (!pointer) {
      this.onHover(this.labelAt(event));
      return;
    }
    const before = { ...pointer };
    pointer.x = event.offsetX;
    pointer.y = event.offsetY;
    pointer.moved ||= Math.hypot(pointer.x - pointer.startX, pointer.y - pointer.startY) > CLICK;
    if (this.pointers.size === 2) {
      this.pinch(pointer, before);
    } else if (this.line.length) {
      this.line.push(this.toImage(pointer.x, pointer.y));
      this.redraw();
    } else if (pointer.moved && (!DRAWS.includes(this.tool) || pointer.pans)) {
      this.pan(pointer.x - before.x, pointer.y - before.y);
    }
  }

  pinch(pointer, before) {
    const other = [...this.pointers.values()].find((each) => each !== pointer);
    const apart = (one) => Math.hypot(one.x - other.x, one.y - other.y) || 1;
    this.zoom(apart(pointer) / apart(before), (pointer.x + other.x) / 2, (pointer.y + other.y) / 2);
    this.pan((pointer.x - before.x) / 2, (pointer.y - before.y) / 2);
  }

  up(event) {
    const pointer = this.pointers.get(event.pointerId);
    this.pointers.delete(event.pointerId);
    if (!pointer) return;
    const line = this.line;
    this.line = [];
    this.redraw();
    if (line.length && pointer.moved) this.onLine(this.tool, line);
    else if (!pointer.moved) this.onSelect(this.labelAt(event));
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.shown) return;
    const moves = { ArrowLeft: [PAN, 0], ArrowRight: [-PAN, 0], ArrowUp: [0, PAN], ArrowDown: [0, -PAN] };
    if (moves[event.key]) this.pan(...moves[event.key]);
    else if (event.key === "+" || event.key === "=") this.zoom(STEP);
    else if (event.key === "-") this.zoom(1 / STEP);
    else if (event.key === "0") this.fit();
    else if (event.key === "Escape" && this.line.length) {
      this.line = [];
      this.redraw();
    } else return;
    event.preventDefault();
  }
}
