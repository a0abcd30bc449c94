// The batch: many files, one run.

import * as api from "./api.js";
import { $, chosenFormats, clearErrors, complain, copy, element, number, nuclei, positive, say, showFormats, takeFiles, unfit } from "./page.js";

const LOOK = 500;
const ACTIVE = ["waiting", "running", "cancelling"];
const SHOWN = 500;

export class BatchPanel {
  constructor() {
    this.files = [];
    takeFiles($("batch-drop"), [$("batch-files"), $("batch-folder")], (files) => this.choose(files));
    $("batch-settings").addEventListener("submit", (event) => {
      event.preventDefault();
      this.attempt(() => this.start());
    });
    $("batch-cancel").addEventListener("click", () => this.attempt(() => this.cancel()));
    $("batch-continue").addEventListener("click", () => this.attempt(() => this.run(true)));
    $("batch-copy").addEventListener("click", () => copy($("batch-command").textContent));
  }

  begin(session) {
    this.session = session;
    this.files = [];
    showFormats($("batch-formats"), session.formats);
    $("batch-min-score").value = session.filters.min_score;
    $("batch-min-area").value = session.filters.min_area;
    $("batch-max-area").value = session.filters.max_area ?? "";
    $("batch-drop-border").checked = session.filters.border_nuclei === "drop";
    $("batch-diameter-row").hidden = !session.takes_diameter;
    $("batch-command-box").hidden = true;
    this.count();
    this.show(session.batch);
    if (session.batch && ACTIVE.includes(session.batch.state)) this.watch();
  }

  async attempt(action) {
    try {
      await action();
    } catch (error) {
      complain(error);
      this.sending = false;
      this.count();
    }
  }

  choose(files) {
    clearErrors();
    const images = [];
    const refused = [];
    for (const file of files) {
      const reason = file.size ? unfit(file, this.session) : "";
      if (reason) refused.push(reason);
      else images.push(file);
    }
    if (refused.length) complain(refused.length === 1 ? refused[0] : `${refused.length} files are left out, such as: ${refused[0]}`);
    this.files = images;
    this.count();
  }

  count() {
    const size = this.files.reduce((sum, file) => sum + file.size, 0);
    const files = this.files.length === 1 ? "1 file" : `${this.files.length} files`;
    $("batch-count").textContent = this.files.length ? `${files}, ${number(size / 1e6, 3)} MB.` : "No files chosen.";
    $("batch-start").disabled = !this.files.length || Boolean(this.sending) || this.active;
  }

  settings(resume) {
    return {
      formats: chosenFormats($("batch-formats")),
      filters: {
        min_score: $("batch-min-score").valueAsNumber || 0,
        min_area: $("batch-min-area").valueAsNumber || 0,
        max_area: positive($("batch-max-area")),
        border_nuclei: $("batch-drop-border").checked ? "drop" : "keep",
      },
      channel: $("batch-channel").value || null,
      project: $("batch-project").checked ? "max" : "none",
      diameter: positive($("batch-diameter")),
      pixel_size: positive($("batch-pixel-size")),
      tta: $("batch-tta").checked,
      resume,
    };
  }

  async start() {
    clearErrors();
    this.sending = true;
    this.stopped = false;
    this.count();
    await api.post("api/batch");
    this.show({ state: "filling", done: 0, total: this.files.length, images: [], error: "" });
    $("batch-cancel").disabled = false;
    for (const [place, file] of this.files.entries()) {
      if (this.stopped) break;
      $("batch-state").textContent = `Sending ${file.name}, ${place + 1} of ${this.files.length}.`;
      $("batch-progress").max = this.files.length;
      $("batch-progress").value = place;
      try {
        await api.post("api/batch/files", { query: { name: file.name }, body: file });
      } catch (error) {
        if (error instanceof api.SessionEnded) throw error;
        complain(error);
      }
    }
    this.sending = false;
    if (this.stopped) {
      await api.remove("api/batch");
      this.show(null);
      return;
    }
    await this.run(false);
  }

  async run(resume) {
    const started = await api.post("api/batch/start", { json: this.settings(resume) });
    $("batch-command-box").hidden = false;
    $("batch-command").textContent = started.command;
    $("batch-notes").textContent = started.notes.join(" ");
    this.show(started);
    this.watch();
  }

  async cancel() {
    this.stopped = true;
    if (!this.sending) this.show(await api.post("api/batch/cancel"));
  }

  watch() {
    setTimeout(() => this.attempt(async () => {
      const report = await api.get("api/batch");
      this.show(report);
      if (ACTIVE.includes(report.state)) this.watch();
    }), LOOK);
  }

  show(report) {
    const state = report?.state ?? "none";
    this.active = ACTIVE.includes(state);
    $("batch-progress").max = Math.max(report?.total ?? 1, 1);
    $("batch-progress").value = report?.done ?? 0;
    $("batch-cancel").disabled = !this.active || state === "cancelling";
    $("batch-continue").hidden = state !== "cancelled";
    $("batch-download").hidden = state !== "done";
    const text = told(state, report);
    if ($("batch-state").textContent !== text) {
      $("batch-state").textContent = text;
      if (!this.active) say(text);
    }
    if (state === "failed" && this.last !== "failed") complain(report.error);
    this.last = state;
    this.list(report?.images ?? []);
    this.count();
  }

  list(images) {
    if (!images.length) {
      $("batch-table").replaceChildren(element("p", { className: "quiet empty-table", textContent: "Results appear here when the run is done." }));
      return;
    }
    const head = ["File", "Nuclei", "Seconds", "Remark"].map((title) => element("th", { scope: "col", textContent: title }));
    const rows = images.slice(0, SHOWN).map((each) => {
      const failed = each.status === "failed";
      const remark = failed ? `Failed: ${each.error}` : [each.status === "empty" ? "No nuclei." : "", ...each.warnings].filter(Boolean).join(" ");
      const values = [each.plane ? `${each.path} ${each.plane}` : each.path, failed ? "–" : each.nuclei, each.seconds, remark];
      return element("tr", { className: failed ? "bad" : "" }, ...values.map((value) => element("td", { textContent: value })));
    });
    if (images.length > SHOWN) rows.push(element("tr", {}, element("td", { colSpan: 4, textContent: `and ${images.length - SHOWN} more: see images.csv` })));
    $("batch-table").replaceChildren(
      element("table", { className: "plain", "aria-label": "Files of the batch" }, element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...rows)),
    );
  }
}

function told(state, report) {
  if (state === "running") return `Segmenting: ${Math.floor(report.done)} of ${report.total} done.`;
  if (state === "done") {
    const failed = report.images.filter((each) => each.status === "failed").length;
    const found = report.images.reduce((sum, each) => sum + each.nuclei, 0);
    return `Done: ${nuclei(found)} in ${report.images.length - failed} images${failed ? `, ${failed} failed` : ""}.`;
  }
  return {
    none: "Nothing runs.",
    filling: "Sending files.",
    waiting: "Waiting for another run to end.",
    cancelling: "Cancelling: images that are worked on are finished first.",
    cancelled: "Cancelled. What is done is kept: Go on does the rest.",
    failed: "The run failed.",
  }[state];
}
