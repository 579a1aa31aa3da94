/* Small pieces that every view is made of. Text is always set as text, never as HTML. */

export function el(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

const SVG = "http://www.w3.org/2000/svg";

export function svg(name, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/* Sets text only if it differs, so that a screen reader is not told the same again. */
export function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function show(node, visible) {
  if (node.hidden === visible) node.hidden = !visible;
}

/* A bar of two tones: what was sent, and on top of it what the server has confirmed. */
export class Bar {
  constructor(label) {
    this.sent = el("span");
    this.confirmed = el("span");
    this.node = el(
      "div",
      { class: "bar", role: "progressbar", "aria-label": label, "aria-valuemin": 0, "aria-valuemax": 100 },
      this.sent,
      this.confirmed,
    );
  }

  update(sent, confirmed, total, words) {
    const part = (count) => (total ? Math.floor((1000 * count) / total) / 10 : 100);
    this.sent.style.width = `${part(sent)}%`;
    this.confirmed.style.width = `${part(confirmed)}%`;
    this.node.setAttribute("aria-valuenow", Math.floor(part(confirmed)));
    this.node.setAttribute("aria-valuetext", words);
  }
}

/* Children by key: kept, moved and removed, so that focus stays where it is. */
export class Keyed {
  constructor(parent, make) {
    this.parent = parent;
    this.make = make;
    this.parts = new Map();
  }

  update(items, keyOf) {
    const wanted = new Set(items.map(keyOf));
    for (const [key, part] of this.parts) {
      if (!wanted.has(key)) {
        part.node.remove();
        this.parts.delete(key);
      }
    }
    let before = this.parent.firstElementChild;
    for (const item of items) {
      const key = keyOf(item);
      let part = this.parts.get(key);
      if (!part) {
        part = this.make(item);
        this.parts.set(key, part);
      }
      part.update(item);
      if (part.node === before) before = before.nextElementSibling;
      else this.parent.insertBefore(part.node, before);
    }
  }
}

/* Asks before something is lost; resolves to the form's data, or to null. */
export function confirmed(title, words, action, extra = null) {
  return new Promise((resolve) => {
    const form = el(
      "form",
      { method: "dialog" },
      el("h2", {}, title),
      el("p", {}, words),
      extra,
      el(
        "p",
        { class: "buttons" },
        el("button", { value: "yes", class: "danger" }, action),
        el("button", { value: "" }, "Leave it as it is"),
      ),
    );
    const dialog = el("dialog", { "aria-label": title }, form);
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes" ? new FormData(form) : null);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
