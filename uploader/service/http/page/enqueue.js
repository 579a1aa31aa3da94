/* Pick a folder below the roots, see what preflight finds, and make a job of it. */

import { el, show, write } from "./parts.js";
import { duration, finding, size } from "./format.js";
import { get, list, post } from "./api.js";

export class EnqueueView {
  constructor(site) {
    this.site = site;
    this.title = "Enqueue a folder";
    this.here = el("p", { class: "path", tabindex: -1 });
    this.folders = el("ul", { class: "folders" });
    this.model = el("input", { type: "text", name: "model_id", id: "model_id", autocomplete: "off" });
    this.check = el("button", { type: "button", onclick: () => this.preflight(), disabled: true }, "Check this folder");
    this.plan = el("div", { "aria-live": "polite" });
    this.error = el("p", { class: "error", role: "alert", hidden: true });
    this.node = el(
      "div",
      {},
      el("p", {}, el("a", { href: "#/" }, "← All jobs")),
      el("h2", {}, this.title),
      this.here,
      this.folders,
      el("label", { for: "model_id" }, "Model id (optional: the folder's name is used)"),
      this.model,
      el("p", { class: "buttons" }, this.check),
      this.error,
      this.plan,
    );
    this.path = "";
    this.started = this.open("");
  }

  async open(path) {
    const asked = (this.asked = {}); // the answer about a folder that was chosen before comes too late
    this.check.disabled = true; // or the folder of before would be checked
    write(this.here, path ? `Looking at ${path} …` : "Looking …");
    const listed = await this.attempt(() => list(path), () => asked === this.asked);
    if (asked !== this.asked) return;
    if (listed) this.choose(path, listed);
    else if (!this.folders.hasChildNodes()) this.folders.append(this.entry(path, "Try again"));
    this.check.disabled = !this.path;
    const none = "The API may enqueue no folder: api.roots names those that it may.";
    const empty = listed && !listed.folders.length && !listed.silent.length;
    write(this.here, this.path || (empty ? none : "Choose a folder"));
    if (listed && path) this.here.focus(); // what had the focus is gone
  }

  choose(path, listed) {
    this.path = path;
    this.folders.replaceChildren(
      ...(path ? [this.entry(listed.parent ?? "", "↑ up")] : []),
      ...listed.folders.map((one) => this.entry(one.path, one.model ? `${one.name} (a model)` : one.name)),
      ...listed.silent.map((name) => el("li", {}, el("span", { class: "small" }, `${name} (its disk does not answer)`))),
      ...(listed.silent.length ? [this.entry(path, "Ask again")] : []),
    );
    this.plan.replaceChildren();
  }

  entry(target, label) {
    return el("li", {}, el("button", { type: "button", onclick: () => this.open(target) }, label));
  }

  body() {
    const model = this.model.value.trim();
    return model ? { path: this.path, model_id: model } : { path: this.path };
  }

  async preflight() {
    const asked = this.path;
    const matters = () => asked === this.path;
    await this.attempt(async () => {
      const seen = await post("/api/preflight", this.body());
      if (!matters()) return;
      const refused = seen.findings.some((one) => one.severity === "error");
      const expected = seen.expected_s ? `, about ${duration(seen.expected_s)} at ${size(seen.rate_bps)}/s` : "";
      this.plan.replaceChildren(
        el("h2", {}, refused ? "This folder is refused" : "The plan"),
        el("p", {}, `${seen.kind} (${seen.kind_because}): ${seen.files_total} files, ${size(seen.bytes_total)}${expected}.`),
        el(
          "ul",
          {},
          ...seen.findings.map((one) =>
            el("li", { class: one.severity === "error" ? "error" : null }, `${one.severity}: ${finding(one)}`),
          ),
        ),
        refused ? "" : el("button", { type: "button", onclick: () => this.enqueue() }, "Enqueue it"),
      );
    }, matters);
  }

  async enqueue() {
    await this.attempt(async () => {
      const job = await post("/api/jobs", this.body());
      location.hash = `#/jobs/${job.id}`;
    });
  }

  /* What `work` gives; if it is refused and that still matters, the page says why. */
  async attempt(work, matters = () => true) {
    show(this.error, false);
    try {
      return await work();
    } catch (error) {
      if (!matters()) return undefined;
      write(this.error, error.hint ? `${error.message.replace(/\.$/, "")}: ${error.hint}` : error.message);
      show(this.error, true);
      return undefined;
    }
  }

  async load() {
    return get("/api/jobs?finished=0&limit=1000");
  }
}
