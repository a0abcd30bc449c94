// The page: what is open, and what happens when something is pressed.

import * as api from "./api.js";
import { BatchPanel } from "./batch.js";
import { ClassPanel } from "./classes.js";
import { Controls } from "./controls.js";
import { showHistograms } from "./histogram.js";
import { LabelMap } from "./labels.js";
import { fillList } from "./list.js";
import { Nuclei } from "./nuclei.js";
import {
  $, clearErrors, complain, copy, element, later, nuclei as counted, number, say, showFormats, takeFiles, unfit,
} from "./page.js";
import { makePyramid } from "./pyramid.js";
import { saveResults, showCommand } from "./results.js";
import { NucleiTable } from "./table.js";
import { setUpTabs, setUpTheme } from "./tabs.js";
import { showTool, TOOL_KEYS } from "./tools.js";
import { Viewer } from "./viewer.js";

let session;
let images = new Map();
let current = null;
let running = Promise.resolve();
let changing = Promise.resolve();

const viewer = new Viewer($("canvas"), {
  onHover: (label) => hover(label),
  onSelect: (label) => {
    select(label);
    if (viewer.tool === "mark" && label) classes.mark(label);
  },
  onLine: (tool, points) => change({ kind: tool, points, number: viewer.selected, radius: viewer.radius }),
  onZoom: (scale) => {
    $("zoom").textContent = `${number(scale * 100, scale < 0.1 ? 2 : 3)}%`;
  },
});
const table = new NucleiTable($("table"), {
  onHover: (label) => hover(label),
  onSelect: (label) => select(label, { reveal: true }),
});
const controls = new Controls({ onFilters: () => refreshSoon(), onRun: (run) => runAgain(run) });
const batch = new BatchPanel();
const classes = new ClassPanel({
  viewer,
  attempt,
  current: () => current,
  filters: () => controls.filters,
  onClasses: () => refresh(),
  onTool: (name) => chooseTool(name),
  onNucleus: (image, label) => showNucleus(image, label),
});

// Do something that may fail, and tell so on the page.
async function attempt(action) {
  try {
    return await action();
  } catch (error) {
    complain(error);
    if (error instanceof api.SessionEnded) await begin().catch(complain);
    return undefined;
  }
}

async function begin() {
  session = await api.post("api/session");
  $("model").textContent = `Model ${session.model.name} · nucseg ${session.version}`;
  $("model").title = session.model.description;
  showFormats($("formats"), session.formats);
  const samples = session.samples.map((name) => {
    const button = element("button", { type: "button", textContent: name });
    button.addEventListener("click", () => attempt(async () => take(await api.post(`api/samples/${name}`))));
    return button;
  });
  $("samples").replaceChildren(...samples);
  controls.begin(session);
  batch.begin(session);
  images = new Map();
  classes.begin();
  await open(null);
  for (const info of session.images) take(info, { openIt: images.size === 0 });
  showList();
  await classes.load();
}

async function addFiles(files) {
  clearErrors();
  for (const [place, file] of files.entries()) {
    const reason = unfit(file, session);
    if (reason) {
      complain(reason);
      continue;
    }
    say(`Sending ${file.name} (${place + 1} of ${files.length}).`);
    await attempt(async () => {
      take(await api.post("api/images", { query: { name: file.name }, body: file }), { openIt: place === 0 || !current });
    });
  }
}

// Put an image in the list, and find its nuclei.
function take(info, { openIt = true } = {}) {
  const entry = { info, nuclei: null, failed: "", channel: info.channel };
  images.set(info.id, entry);
  const work = info.run ? () => api.get(`api/images/${info.id}`) : () => segment(entry, { channel: info.channel });
  entry.ready = queued(entry, work);
  showList();
  if (openIt) open(entry);
}

const segment = (entry, run) => api.post(`api/images/${entry.info.id}/segment`, { json: run });

// One run of the network after the other.
function queued(entry, work) {
  running = running.then(async () => {
    if (!images.has(entry.info.id)) return;
    entry.failed = "";
    try {
      const reply = await work();
      entry.info = reply.image;
      entry.nuclei = new Nuclei(reply);
      entry.nuclei.filter(controls.filters);
      Object.assign(entry, { seconds: reply.seconds, confidence: reply.confidence, pixelSize: reply.pixel_size, shape: reply.shape, ...history(reply) });
    } catch (error) {
      entry.failed = error.message;
      complain(error);
      if (error instanceof api.SessionEnded) await begin().catch(complain);
    }
    showList();
  });
  return running;
}

const history = ({ edited, can_undo, can_redo }) => ({ edited, canUndo: can_undo, canRedo: can_redo });

// Show an image; it may have to be segmented first.
async function open(entry, { keepView = false } = {}) {
  current = entry;
  table.clear();
  if (!keepView) viewer.clear();
  showList();
  $("image-name").textContent = entry ? entry.info.name : "No image";
  $("canvas-empty").hidden = Boolean(entry);
  if (!entry) {
    busy("");
    refresh();
    return;
  }
  busy("Looking for nuclei …");
  await entry.ready;
  if (current !== entry) return;
  busy("");
  if (entry.failed) {
    $("canvas-empty").hidden = false;
    $("canvas-empty").textContent = `${entry.info.name} could not be segmented.`;
    controls.forImage(entry);
    refresh();
    return;
  }
  await attempt(async () => {
    const place = `api/images/${entry.info.id}`;
    const [picture, runs] = await Promise.all([api.blob(`${place}/picture`), api.bytes(`${place}/labels`)]);
    const made = await makePyramid(picture);
    if (current !== entry) return;
    entry.labels = new LabelMap(...entry.shape, runs);
    controls.forImage(entry);
    viewer.show({ ...made, labels: entry.labels, nuclei: entry.nuclei }, { keepView });
    refresh();
    await classes.load();
    say(`${entry.info.name}: ${counted(entry.nuclei.kept.length)}, found in ${number(entry.seconds, 2)} s.`);
  });
}

function busy(text) {
  $("busy").hidden = !text;
  $("busy-text").textContent = text;
}

// Apply the filters, and show what follows from them.
function refresh() {
  for (const entry of images.values()) entry.nuclei?.filter(controls.filters);
  const nuclei = current?.nuclei;
  const ready = Boolean(nuclei && current.labels);
  $("count").textContent = ready ? nuclei.kept.length : "–";
  $("count-noun").textContent = ready && nuclei.kept.length === 1 ? "nucleus" : "nuclei";
  const dropped = ready ? nuclei.size - nuclei.kept.length : 0;
  $("count-more").textContent = ready ? `${dropped} dropped by the filters · ${current.edited} changed by hand` : "";
  const doubts = (ready && current.confidence.warnings.join(" ")) || "";
  $("confidence").textContent = doubts;
  $("confidence").hidden = !doubts;
  $("download").disabled = !ready;
  if (ready) {
    if (viewer.selected && !nuclei.has(viewer.selected)) viewer.select(0);
    viewer.changed();
    table.show(nuclei);
  }
  showMarks();
  showList();
  tellCommand();
}

// A slider tells of more changes than the screen has frames.
let frame = 0;
function refreshSoon() {
  frame ||= requestAnimationFrame(() => {
    frame = 0;
    refresh();
  });
}

function showMarks() {
  const nuclei = current?.labels && current.nuclei;
  const label = nuclei && nuclei.has(viewer.selected) ? viewer.selected : 0;
  $("delete").disabled = !label;
  $("doubtful").disabled = !nuclei || !nuclei.kept.length;
  $("undo").disabled = !nuclei || !current.canUndo;
  $("redo").disabled = !nuclei || !current.canRedo;
  table.select(label);
  showHistograms(nuclei, label);
}

function showList() {
  fillList(images, current, { onOpen: open, onRemove: (entry) => attempt(() => forget(entry)) });
}

async function forget(entry) {
  images.delete(entry.info.id);
  if (entry === current) open(images.values().next().value ?? null);
  showList();
  await api.remove(`api/images/${entry.info.id}`);
  await classes.load();
}

// Show a nucleus closely, of another image too.
async function showNucleus(image, label) {
  const entry = images.get(image);
  if (entry !== current) await open(entry);
  if (entry !== current || !current.labels) return;
  select(label);
  viewer.closeUp(label);
}

function select(label, { reveal = false } = {}) {
  if (!current?.labels) return;
  viewer.select(label, { reveal });
  showMarks();
  const nuclei = current.nuclei;
  if (!label) return;
  const kept = nuclei.numbers.get(label);
  const score = nuclei.byHand(label) ? "made by hand" : `score ${number(nuclei.value("score", label), 2)}`;
  say(`${kept ? `Nucleus ${kept}` : "A dropped nucleus"}: ${nuclei.value("area", label)} pixels, ${score}.`);
}

function hover(label) {
  viewer.hover(label);
  table.hover(label);
}

// Change nuclei by hand: one change after the other.
function change(wanted) {
  const entry = current;
  if (!entry?.labels) return;
  changing = changing.then(() => attempt(async () => {
    const place = `api/images/${entry.info.id}`;
    const step = wanted.way
      ? await api.post(`${place}/history/${wanted.way}`)
      : await api.post(`${place}/edits`, { json: wanted });
    entry.labels.patch(step.window, step.runs);
    entry.nuclei.apply(step);
    Object.assign(entry, history(step));
    if (entry !== current) return;
    viewer.selected = wanted.kind === "delete" ? 0 : (step.columns.label[0] ?? 0);
    viewer.hovered = 0;
    refresh();
    const done = { delete: "Deleted.", draw: "Added a nucleus.", split: `Divided into ${step.columns.label.length}.`, merge: "Joined.", brush: "Painted.", erase: "Erased." }[wanted.kind];
    await classes.load();
    say(`${done ?? (wanted.way === "undo" ? "Undone." : "Done again.")} ${counted(entry.nuclei.kept.length)}.`);
  }));
}

const deleteSelected = () => viewer.selected && change({ kind: "delete", number: viewer.selected });

async function runAgain(run) {
  const entry = current;
  if (!entry) return;
  if (entry.edited && !window.confirm("The changes by hand will be lost. Run the network again?")) return;
  entry.ready = queued(entry, () => segment(entry, run));
  await open(entry, { keepView: entry.labels !== undefined });
}

const tellCommand = later(200, () => attempt(() => showCommand(current, controls.filters)));

async function download() {
  const all = [...images.values()].filter((entry) => entry.nuclei);
  await attempt(() => saveResults($("all-images").checked ? all : [current], controls.filters));
}

function chooseTool(name) {
  viewer.set("tool", name);
  showTool(name);
  classes.chosenTool(name);
}

function onKey(event) {
  const typing = event.target.matches("input:not([type=checkbox], [type=range]), select, textarea");
  const control = event.ctrlKey || event.metaKey;
  const key = event.key.toLowerCase();
  if (typing || $("panel-images").hidden) return;
  if (control && key === "z" && !event.shiftKey && viewer.tool === "mark") classes.undo();
  else if (control && key === "z") change({ way: event.shiftKey ? "redo" : "undo" });
  else if (control && key === "y") change({ way: "redo" });
  else if (control || event.altKey) return;
  else if (event.key === "Delete" || event.key === "Backspace") deleteSelected();
  else if (key === "enter" && event.target !== $("canvas")) return;
  else if (TOOL_KEYS[key]) chooseTool(TOOL_KEYS[key]);
  else if (key === "l") nextDoubtful();
  else if (["+", "=", "-", "0"].includes(key)) {
    // On the image it has them already.
    if (event.target !== $("canvas")) viewer.key(event);
  }
  else if (classes.takesKey(key)) classes.key(key);
  else if (key === "n" || key === "p") select(neighbour(key === "n" ? 1 : -1), { reveal: true });
  else return;
  event.preventDefault();
}

// Show the nuclei one by one, those with the lowest scores first.
function nextDoubtful() {
  const nuclei = current?.labels && current.nuclei;
  if (!nuclei?.kept.length) return;
  const order = nuclei.byScore();
  if (!order.length) return;
  const next = order[(order.indexOf(viewer.selected) + 1) % order.length];
  select(next);
  viewer.closeUp(next);
}

const neighbour = (steps) => table.neighbour(steps);

function setUp() {
  takeFiles($("drop"), [$("files")], addFiles);
  takeFiles($("view"), [], addFiles);
  for (const button of document.querySelectorAll("button[data-tool]")) button.addEventListener("click", () => chooseTool(button.dataset.tool));
  $("delete").addEventListener("click", deleteSelected);
  $("doubtful").addEventListener("click", nextDoubtful);
  $("radius").addEventListener("input", () => {
    viewer.radius = Math.min(Math.max($("radius").valueAsNumber || 4, 1), 200);
  });
  $("undo").addEventListener("click", () => change({ way: "undo" }));
  $("redo").addEventListener("click", () => change({ way: "redo" }));
  $("zoom-in").addEventListener("click", () => viewer.zoom(1.5));
  $("zoom-out").addEventListener("click", () => viewer.zoom(1 / 1.5));
  $("fit").addEventListener("click", () => viewer.fit());
  $("show-outlines").addEventListener("change", (event) => viewer.set("outlines", event.target.checked));
  $("show-dropped").addEventListener("change", (event) => viewer.set("dropped", event.target.checked));
  $("colour").addEventListener("change", (event) => viewer.set("colour", event.target.value));
  $("intensity-channel").addEventListener("change", showMarks);
  $("formats").addEventListener("change", tellCommand);
  $("pixel-size").addEventListener("input", tellCommand);
  $("download").addEventListener("click", download);
  $("copy").addEventListener("click", () => copy($("command").textContent));
  $("end").addEventListener("click", () => attempt(async () => {
    if (!window.confirm("Delete all images, changes and results of this session?")) return;
    await api.remove("api/session");
    await begin();
    say("All images and results are deleted.");
  }));
  document.addEventListener("keydown", onKey);
  // A file dropped beside the zones would otherwise replace the page.
  for (const name of ["dragover", "drop"]) document.addEventListener(name, (event) => event.preventDefault());
}

async function keepSession() {
  const pause = Math.min(60, session.limits.idle / 3) * 1000;
  setTimeout(async () => {
    try {
      await api.get("api/session");
    } catch (error) {
      if (error instanceof api.SessionEnded) await attempt(() => Promise.reject(error));
    }
    keepSession();
  }, pause);
}

// A cookie stands for the token from here on; the address may be seen by others.
if (location.search) window.history.replaceState(null, "", location.pathname);
setUpTheme();
setUpTabs();
setUp();
attempt(async () => {
  await begin();
  keepSession();
});
