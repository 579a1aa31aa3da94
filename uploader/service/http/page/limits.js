/* The limits in force: their words for the header, and the form that changes them. */

import { el, show, write } from "./parts.js";
import { moment, size } from "./format.js";
import { get, post } from "./api.js";

const ROWS = [
  ["bandwidth", "Bandwidth of each worker", "A rate like 20MB/s, off, or a timetable like Mon-08:00,20MB/s 19:00,off."],
  ["files", "Files at a time, over all jobs of a worker", "A number, or auto."],
  ["jobs", "Jobs at once per worker", "A number."],
];

function rateNow({ rate_bps: rate, until }) {
  if (!until) return "";
  return `${rate === null ? "off" : `${size(rate)}/s`} until ${moment(until)}`;
}

/* What differs from the defaults, as `uploader status` says it; may be empty. */
export function limitsLine({ bandwidth, files, jobs }) {
  const now = rateNow(bandwidth);
  const parts = [];
  if (bandwidth.value !== "off" || bandwidth.origin === "limit") {
    parts.push(`bandwidth ${bandwidth.value}${now ? ` (now ${now})` : ""}`);
  }
  if (files.origin === "limit") parts.push(`files ${files.value}`);
  if (jobs.origin === "limit") parts.push(`jobs ${jobs.value}`);
  return parts.length ? `limits: ${parts.join(", ")}` : "";
}

function originOf({ origin }) {
  if (origin === "limit") return "chosen by a user";
  return origin === "default" ? "the default" : `from ${origin}`;
}

export class LimitsView {
  constructor(site) {
    this.site = site;
    this.title = "Limits";
    this.rows = Object.fromEntries(ROWS.map(([name, label, help]) => [name, new Row(name, label, help)]));
    this.told = el("p", { role: "status" });
    this.error = el("p", { class: "error", role: "alert", hidden: true });
    const save = el("button", { type: "submit" }, "Change them");
    this.node = el(
      "div",
      {},
      el("p", {}, el("a", { href: "#/" }, "← All jobs")),
      el("h2", {}, this.title),
      el("p", { class: "small" }, "For all workers, until they are changed again. “default” is what is configured."),
      el(
        "form",
        { onsubmit: (event) => this.choose(event) },
        ...Object.values(this.rows).map((row) => row.node),
        el("p", { class: "buttons" }, save),
      ),
      this.error,
      this.told,
    );
  }

  async choose(event) {
    event.preventDefault();
    const changed = Object.values(this.rows).filter((row) => row.changed());
    const body = Object.fromEntries(changed.map((row) => [row.name, row.input.value.trim()]));
    show(this.error, false);
    write(this.told, "");
    try {
      const limits = await post("/api/limits", body);
      for (const row of changed) row.known = null;
      this.update(limits);
      write(this.told, changed.length ? "Changed. Every worker follows within a second." : "Nothing was changed.");
    } catch (error) {
      write(this.error, error.hint ? `${error.message}: ${error.hint}` : error.message);
      show(this.error, true);
    }
    this.site.refresh();
  }

  update(limits) {
    for (const row of Object.values(this.rows)) row.update(limits[row.name]);
  }

  async load() {
    const page = await get("/api/jobs?finished=0&limit=1000");
    this.update(page.limits);
    return page;
  }
}

class Row {
  constructor(name, label, help) {
    this.name = name;
    this.known = null;
    this.input = el("input", { type: "text", disabled: true, id: `limit-${name}`, name, autocomplete: "off", "aria-describedby": `about-${name}` });
    this.force = el("span");
    const about = el("p", { class: "small", id: `about-${name}` }, `${help} In force: `, this.force);
    this.node = el("div", {}, el("label", { for: `limit-${name}` }, label), this.input, about);
  }

  changed() {
    return this.known !== null && this.input.value.trim() !== this.known;
  }

  update(limit) {
    const now = limit.until ? `, now ${rateNow(limit)}` : "";
    write(this.force, `${limit.value}${now} (${originOf(limit)}).`);
    if (this.changed()) return; // somebody is writing
    if (this.input.value !== limit.value) this.input.value = limit.value;
    this.known = limit.value;
    this.input.disabled = false;
  }
}
