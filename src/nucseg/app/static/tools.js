// The tools by which nuclei are chosen and corrected.

import { say } from "./page.js";

// Letters that choose a tool.
export const TOOL_KEYS = { v: "select", escape: "select", d: "draw", s: "split", m: "merge", b: "brush", e: "erase" };

const HINTS = {
  select: "Click a nucleus to select it.",
  draw: "Draw the outline of a nucleus.",
  split: "Draw a line across a nucleus.",
  merge: "Draw a line through the nuclei to join.",
  brush: "Paint over the edge of the selected nucleus.",
  erase: "Move over what is too much of the selected nucleus.",
  mark: "Click nuclei of the chosen class.",
};

// Show which tool is chosen, and say what it does.
export function showTool(name) {
  for (const button of document.querySelectorAll("button[data-tool]")) {
    button.setAttribute("aria-pressed", button.dataset.tool === name);
  }
  say(HINTS[name]);
}
