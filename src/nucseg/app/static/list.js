// The list of images.

import { $, element } from "./page.js";

// Show all images, with the number of nuclei that are kept of each.
export function fillList(images, current, { onOpen, onRemove }) {
  const rows = [...images.values()].map((entry) => {
    const state = entry.failed ? "failed" : entry.nuclei ? entry.nuclei.kept.length : "…";
    const button = element("button", { type: "button", className: "open", "aria-current": entry === current }, 
      nameInList(entry.info.name),
      element("span", { className: "number", textContent: state }));
    button.addEventListener("click", () => onOpen(entry));
    const close = element("button", { type: "button", textContent: "×", "aria-label": `Remove ${entry.info.name}` });
    close.addEventListener("click", () => onRemove(entry));
    return element("li", {}, button, close);
  });
  // Whoever is at a button of the list stays there.
  const place = [...$("images").querySelectorAll("button")].indexOf(document.activeElement);
  $("images").replaceChildren(...rows);
  if (place >= 0) $("images").querySelectorAll("button")[place]?.focus();
  $("no-images").hidden = images.size > 0;
  $("canvas-empty").textContent = current?.failed ? `${current.info.name} could not be segmented.` : "Drop an image, or try a sample.";
}

// Names of a plate often differ at their end, so that the middle is left out where there is no room.
function nameInList(name) {
  const end = name.length > 18 ? 9 : 0;
  const parts = [["start", name.slice(0, name.length - end)], ["end", name.slice(name.length - end)]];
  return element("span", { className: "name", title: name }, ...parts.map(([className, textContent]) => element("span", { className, textContent })));
}
