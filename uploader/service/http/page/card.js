/* One job, as the overview shows it and as its own page begins. */

import { Bar, confirmed, el, show, write } from "./parts.js";
import { duration, modelOf, moment, sentAndConfirmed, size } from "./format.js";
import { post } from "./api.js";

const STAGES = ["create", "upload", "validate", "ready"];
const LEGAL = {
  active: ["pause", "cancel"],
  paused: ["resume", "cancel"],
  blocked: ["retry", "pause", "cancel"],
  failed: ["retry", "cancel"],
};
const LABELS = { pause: "Pause", resume: "Resume", retry: "Retry", cancel: "Cancel…" };

export function needsHuman(job) {
  return job.status === "failed" || job.status === "blocked";
}

function speedOf(job, now) {
  if (job.awaiting_since) {
    const waited = (now - Date.parse(job.awaiting_since)) / 1000;
    if (waited > 10) return `waiting for the storage service's answer, ${duration(waited)}`;
  }
  if (job.rate_bps === null) return "";
  const left = job.eta_s === null ? "" : `, ${duration(job.eta_s)} left`;
  return `${size(job.rate_bps)}/s${left}`;
}

function whyOf(job) {
  const until = job.not_before ? ` (again at ${moment(job.not_before)})` : "";
  return job.reason ? `${job.reason.message}${until}` : "";
}

export class JobCard {
  constructor(job, site, heading = "h3") {
    this.site = site;
    this.id = job.id;
    const name = modelOf(job);
    this.pill = el("span", { class: "pill" });
    this.path = el("p", { class: "path" });
    this.stages = STAGES.map((stage) => el("li", {}, stage));
    this.bar = new Bar(`Upload of ${name}`);
    this.sent = el("span", { class: "key" });
    this.confirmed = el("span", { class: "key is-confirmed" });
    this.files = el("span");
    this.speed = el("span");
    this.message = el("span");
    this.hint = el("span", { class: "hint" });
    this.why = el("p", { class: "why" }, this.message, this.hint);
    this.error = el("p", { class: "error", role: "alert", hidden: true });
    this.buttons = Object.fromEntries(
      Object.entries(LABELS).map(([verb, label]) => [
        verb,
        el(
          "button",
          {
            type: "button",
            class: verb === "cancel" ? "danger" : null,
            "aria-label": `${label.replace("…", "")} ${name}`,
            onclick: () => this.carryOut(verb),
          },
          label,
        ),
      ]),
    );
    this.node = el(
      "article",
      { class: "card", "aria-label": name },
      el(
        "div",
        { class: "top" },
        el(heading, {}, el("a", { href: `#/jobs/${job.id}` }, name)),
        this.pill,
        el("div", { class: "buttons" }, ...Object.values(this.buttons)),
      ),
      this.path,
      el("ol", { class: "stages", "aria-label": "Stages" }, ...this.stages),
      this.bar.node,
      el("p", { class: "figures" }, this.sent, this.confirmed, this.files, this.speed),
      this.why,
      this.error,
    );
  }

  update(job) {
    this.job = job;
    const { total, confirmed: done, sent, words } = sentAndConfirmed(job);
    this.pill.className = `pill ${job.status}`;
    write(this.pill, job.status);
    write(this.path, `job ${job.id} · ${job.kind} · ${job.path}`);
    this.stages.forEach((item, at) => {
      if (STAGES[at] === job.stage) item.setAttribute("aria-current", "step");
      else item.removeAttribute("aria-current");
    });
    this.bar.update(sent, done, total, words);
    write(this.sent, `${size(sent)} sent`);
    write(this.confirmed, `${size(done)} confirmed of ${size(total)}`);
    write(this.files, `${job.files_stored} of ${job.files_total} files`);
    write(this.speed, speedOf(job, this.site.now()));
    write(this.message, whyOf(job));
    write(this.hint, job.reason?.hint ? `To do: ${job.reason.hint}` : "");
    show(this.why, Boolean(job.reason));
    const legal = LEGAL[job.status] ?? [];
    for (const [verb, button] of Object.entries(this.buttons)) show(button, legal.includes(verb));
  }

  async carryOut(verb) {
    const body = {};
    if (verb === "cancel") {
      const box = el("input", { type: "checkbox", name: "delete_remote" });
      const also = el("label", {}, box, " Also delete the model on Fireworks, if this job created it");
      const words = "The upload is given up. What was sent stays on Fireworks until you delete it.";
      const answer = await confirmed(`Cancel ${modelOf(this.job)}?`, words, "Cancel the job", also);
      if (!answer) return;
      if (answer.has("delete_remote")) body.delete_remote = true;
    }
    try {
      await post(`/api/jobs/${this.id}/${verb}`, body);
      show(this.error, false);
    } catch (error) {
      write(this.error, error.hint ? `${error.message}: ${error.hint}` : error.message);
      show(this.error, true);
    }
    this.site.refresh();
  }
}
