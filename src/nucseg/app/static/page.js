// Small helpers for the page: elements, messages, saving, numbers.

export const $ = (id) => document.getElementById(id);

export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role") made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children);
  return made;
}

const SVG = "http://www.w3.org/2000/svg";

export function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

export function say(text) {
  $("status").textContent = text;
}

export function complain(error) {
  const message = error instanceof Error ? error.message : String(error);
  const box = element("div", { className: "error" }, element("span", { textContent: message }));
  const close = element("button", { type: "button", textContent: "Close", "aria-label": "Close this message" });
  close.addEventListener("click", () => box.remove());
  box.append(close);
  const shown = $("errors");
  shown.append(box);
  while (shown.children.length > 4) shown.firstElementChild.remove();
}

export function clearErrors() {
  $("errors").replaceChildren();
}

export function saveAs(blob, name) {
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // The clipboard is closed to pages that are not secure, such as one from another computer.
    const field = element("textarea", { value: text });
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
  say("Copied the command.");
}

export function number(value, digits = 4) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (Number.isInteger(value)) return String(value);
  const size = Math.abs(value);
  if (size >= 1000) return value.toFixed(0);
  return String(Number(value.toPrecision(digits)));
}

export const nuclei = (count) => (count === 1 ? "1 nucleus" : `${count} nuclei`);

export function later(milliseconds, action) {
  let timer = 0;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => action(...given), milliseconds);
  };
}

// Files that are dropped on an element, or chosen.
export function takeFiles(zone, inputs, take) {
  const over = (on) => zone.classList.toggle("over", on);
  zone.addEventListener("dragover", (event) => {
    event.preventDefault();
    over(true);
  });
  zone.addEventListener("dragleave", (event) => {
    if (!zone.contains(event.relatedTarget)) over(false);
  });
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    over(false);
    if (event.dataTransfer.files.length) take([...event.dataTransfer.files]);
  });
  for (const input of inputs) {
    input.addEventListener("change", () => {
      const files = [...input.files];
      input.value = "";
      if (files.length) take(files);
    });
  }
}

// Why a file is not worth sending; empty where it is.
export function unfit(file, session) {
  if (!session) return "There is no session yet. Load the page again.";
  const dot = file.name.lastIndexOf(".");
  const suffix = dot < 0 ? "" : file.name.slice(dot).toLowerCase();
  if (!session.suffixes.includes(suffix)) {
    return `${file.name} is not taken: expected a file that ends in ${session.suffixes.join(", ")}.`;
  }
  const limit = session.limits.max_upload;
  if (file.size > limit * 1e6) {
    return `${file.name} is too large: it has ${number(file.size / 1e6, 3)} MB, at most ${limit} MB can be uploaded.`;
  }
  return file.size ? "" : `${file.name} is empty: it has zero bytes.`;
}

export function showFormats(place, formats) {
  place.replaceChildren(
    ...formats.map((each) => {
      const box = element("input", { type: "checkbox", value: each.name, checked: each.default });
      const text = element("span", {}, `${each.name} `, element("span", { className: "quiet", textContent: each.description }));
      return element("label", {}, box, text);
    }),
  );
}

export const chosenFormats = (place) => [...place.querySelectorAll("input:checked")].map((box) => box.value);

export function positive(field) {
  const value = field.valueAsNumber;
  return value > 0 ? value : null;
}
