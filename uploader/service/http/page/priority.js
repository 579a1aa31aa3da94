/* A job's priority, which can be changed until the job has ended. */

import { el, show, write } from "./parts.js";
import { post } from "./api.js";

export class PriorityForm {
  constructor(site, ref) {
    this.site = site;
    this.ref = ref;
    this.known = null;
    this.input = el("input", { type: "number", id: "priority", step: 1, required: true });
    this.error = el("p", { class: "error", role: "alert", hidden: true });
    this.node = el(
      "form",
      { class: "priority", hidden: true, onsubmit: (event) => this.choose(event) },
      el("label", { for: "priority" }, "Priority (a job with a higher one runs first)"),
      this.input,
      el("button", { type: "submit" }, "Set"),
      this.error,
    );
  }

  async choose(event) {
    event.preventDefault();
    show(this.error, false);
    try {
      const job = await post(`/api/jobs/${encodeURIComponent(this.ref)}/edit`, { priority: this.input.valueAsNumber });
      this.known = null;
      this.update(job);
    } catch (error) {
      write(this.error, error.hint ? `${error.message}: ${error.hint}` : error.message);
      show(this.error, true);
    }
    this.site.refresh();
  }

  update(job) {
    show(this.node, !["done", "cancelled"].includes(job.status));
    const value = String(job.priority);
    if (this.known !== null && this.input.value !== this.known) return; // somebody is writing
    if (this.input.value !== value) this.input.value = value;
    this.known = value;
  }
}
