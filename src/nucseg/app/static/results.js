// The results of images: a download, and the command that gives the same.

import * as api from "./api.js";
import { $, chosenFormats, positive, saveAs, say } from "./page.js";

// Show the command for an image with these filters; nothing where there is none.
export async function showCommand(entry, filters) {
  $("command-box").hidden = !entry?.labels;
  if (!entry?.labels) return;
  const json = { filters, formats: chosenFormats($("formats")), pixel_size: positive($("pixel-size")) };
  const told = await api.post(`api/images/${entry.info.id}/command`, { json });
  $("command").textContent = told.command;
  $("command-notes").textContent = told.notes.join(" ");
}

// Download the results of images, as training data too where that is chosen.
export async function saveResults(entries, filters) {
  const pixelSize = positive($("pixel-size"));
  const train = $("to-train").checked;
  const wanted = entries.map((entry) => ({ image: entry.info.id, filters, pixel_size: pixelSize }));
  $("download").disabled = true;
  say("Writing the results …");
  try {
    const json = { formats: chosenFormats($("formats")), to_train: train, images: wanted };
    saveAs(await api.blob("api/results", json), "nucseg-results.zip");
  } finally {
    $("download").disabled = false;
  }
  const next = train ? " Unpack it and train: nucseg train training -o mine --from nuclei" : "";
  say(`Saved the results of ${entries.length === 1 ? entries[0].info.name : `${entries.length} images`}.${next}`);
}
