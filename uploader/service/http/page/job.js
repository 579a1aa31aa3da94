/* One job: what it says about itself, its life, its files, and what to do next. */

import { Bar, el, Keyed, show, write } from "./parts.js";
import { clock, finding, moment, modelOf, sentAndConfirmed, size } from "./format.js";
import { Chart, ratesOf } from "./chart.js";
import { JobCard } from "./card.js";
import { PriorityForm } from "./priority.js";
import { get } from "./api.js";

const MARKS = {
  enqueued: ["+", ""], created: ["C", ""], adopted: ["C", ""], paused: ["‖", "warn"],
  resumed: ["▸", ""], retried: ["↻", ""], retrying: ["!", "warn"], file_failed: ["!", "warn"],
  rescued: ["✕", "bad"], session_resumed: ["↦", ""], session_dropped: ["⟲", "warn"],
  blocked: ["✕", "bad"], failed: ["✕", "bad"], healed: ["↻", "good"], validating: ["V", ""],
  ready: ["✓", "good"], cancelled: ["✕", "bad"], recreated: ["⟲", "warn"],
};
const MOST_MARKS = 80;
const MOST_ROWS = 5;
const MARK_PX = 26;
const MOST_EVENTS = 200;

class FileRow {
  constructor(file) {
    this.bar = new Bar(`Upload of ${file.path}`);
    this.sent = el("td", { class: "number" });
    this.confirmed = el("td", { class: "number" });
    this.state = el("td");
    this.node = el(
      "tr",
      {},
      el("th", { scope: "row" }, file.path, this.bar.node),
      this.sent,
      this.confirmed,
      el("td", { class: "number" }, size(file.size_bytes)),
      this.state,
    );
  }

  update(file) {
    const { total, confirmed, sent, words } = sentAndConfirmed(file);
    this.bar.update(sent, confirmed, total, words);
    write(this.sent, size(sent));
    write(this.confirmed, size(confirmed));
    const stored = file.verified ? "stored, verified" : "stored";
    const failed = file.last_error && `the last try failed: ${file.last_error}`;
    write(this.state, file.stored ? stored : failed || (sent ? "in flight" : "waiting"));
  }
}

class Timeline {
  constructor() {
    this.chart = new Chart("Throughput over the job's life");
    this.marks = el("div", { class: "marks" });
    this.told = el("p", { class: "small", "aria-live": "polite" }, "Point at a mark to see what happened.");
    this.from = el("span");
    this.to = el("span");
    const times = el("p", { class: "small times" }, this.from, this.to);
    const meaning = "The line is what the server confirmed per second: on average from one stored file to the next, and in detail since this page was opened.";
    const words = el("p", { class: "small" }, meaning);
    this.node = el("div", { class: "timeline" }, this.marks, this.chart.node, times, words, this.told);
    this.samples = [];
  }

  update(job, events, now) {
    const from = Date.parse(job.created_at);
    const ended = ["done", "cancelled", "failed"].includes(job.status);
    const to = Math.max(from + 1000, ended ? Date.parse(job.updated_at) : now);
    if (job.status === "active") this.samples.push([now, job.bytes_confirmed]);
    if (this.samples.length > 2000) this.samples = this.samples.filter((_, at) => at % 2 === 0);
    const known = storedBytes(job, events);
    const [first, last] = [this.samples[0]?.[0] ?? Infinity, this.samples.at(-1)?.[0] ?? Infinity];
    const before = known.filter(([at]) => at < first);
    const after = known.filter(([at]) => at > last);
    this.chart.update(ratesOf([[from, 0], ...before, ...this.samples, ...after]), from, to);
    write(this.from, moment(from));
    write(this.to, moment(to));
    const marked = events.filter((event) => Object.hasOwn(MARKS, event.kind)).slice(-MOST_MARKS);
    if (this.last === marked.at(-1)?.seq && this.span === to - from) return;
    if (this.marks.contains(document.activeElement)) return; // the focus would be lost
    this.last = marked.at(-1)?.seq;
    this.span = to - from;
    this.place(marked.map((event) => [event, Math.min(1, (Date.parse(event.at) - from) / (to - from))]));
  }

  /* In as many rows as it takes for no mark to cover another; the last row takes the rest. */
  place(marked) {
    const gap = MARK_PX / Math.max(MARK_PX, this.marks.clientWidth);
    const ends = [];
    const made = marked.map(([event, part]) => {
      const free = ends.findIndex((end) => end <= part);
      const row = free >= 0 ? free : Math.min(ends.length, MOST_ROWS - 1);
      ends[row] = part + gap;
      return this.mark(event, part, row);
    });
    this.marks.style.height = `${Math.max(1, ends.length) * MARK_PX}px`;
    this.marks.replaceChildren(...made);
  }

  mark(event, part, row) {
    const [sign, tone] = MARKS[event.kind];
    const words = `${clock(event.at)} ${event.kind.replaceAll("_", " ")}: ${event.path ? `${event.path}: ` : ""}${event.message}`;
    const tell = () => write(this.told, words);
    const made = el(
      "button",
      { type: "button", class: `mark ${tone}`, title: words, "aria-label": words, onfocus: tell, onmouseenter: tell, onclick: tell },
      sign,
    );
    made.style.left = `${100 * part}%`;
    made.style.top = `${row * MARK_PX}px`;
    return made;
  }
}

/* How many bytes were confirmed when each file was stored. */
function storedBytes(job, events) {
  const sizes = new Map(job.files.map((file) => [file.path, file.size_bytes]));
  let sum = 0;
  return events
    .filter((event) => event.kind === "stored" && sizes.has(event.path))
    .map((event) => [Date.parse(event.at), (sum += sizes.get(event.path))]);
}

function afterReady(job) {
  const name = modelOf(job);
  return el(
    "section",
    {},
    el("h2", {}, "What next"),
    el("p", {}, "The model is READY. It is not served yet: a deployment is a step of its own, billed by the GPU-second. First see which shapes fit, then deploy:"),
    el("pre", { tabindex: 0 }, `firectl deployment-shape-version list --base-model ${job.model}\nfirectl deployment create ${job.model}\n\nuploader show ${name}`),
  );
}

function findingsOf(job) {
  if (!job.preflight.length && !job.warnings.length) return null;
  const lines = [
    ...job.preflight.map(finding),
    ...job.warnings.map((words) => `Fireworks: ${words}`),
  ];
  return el("section", {}, el("h2", {}, "Warnings"), el("ul", {}, ...lines.map((line) => el("li", {}, line))));
}

const inFlightFirst = (a, b) => rank(a) - rank(b) || a.path.localeCompare(b.path);
const rank = (file) => (file.stored ? 2 : file.bytes_sent ? 0 : 1);

export class JobView {
  constructor(site, ref) {
    this.site = site;
    this.ref = ref;
    this.sentences = el("div", { "aria-label": "Explanation" });
    this.timeline = new Timeline();
    this.rows = el("tbody");
    this.files = new Keyed(this.rows, (file) => new FileRow(file));
    this.history = el("ol", { class: "history" });
    this.after = el("div");
    this.priority = new PriorityForm(site, ref);
    this.top = el("div");
    const headings = ["File", "Sent", "Confirmed", "Size", "State"];
    this.node = el(
      "div",
      {},
      el("p", {}, el("a", { href: "#/" }, "← All jobs")),
      this.top,
      this.sentences,
      this.priority.node,
      this.after,
      el("section", {}, el("h2", {}, "Its life"), this.timeline.node),
      el(
        "section",
        {},
        el("h2", {}, "Files"),
        el(
          "table",
          {},
          el("thead", {}, el("tr", {}, ...headings.map((word, at) => el("th", { scope: "col", class: at && at < 4 ? "number" : null }, word)))),
          this.rows,
        ),
      ),
      el("section", {}, el("h2", {}, "What happened"), this.history),
    );
    this.title = `job ${ref}`;
    this.events = [];
  }

  async load() {
    const path = `/api/jobs/${encodeURIComponent(this.ref)}`;
    const since = this.events.at(-1)?.seq ?? 0;
    const [job, explained, events, page] = await Promise.all([
      get(path),
      get(`${path}/explain`),
      get(`/api/events?since=${since}&wait=0&job=${encodeURIComponent(this.ref)}`),
      get("/api/jobs?finished=0&limit=1000"),
    ]);
    this.events.push(...events);
    if (!this.card) {
      this.card = new JobCard(job, this.site, "h2");
      this.top.append(this.card.node);
      this.title = modelOf(job);
    }
    this.card.update(job);
    this.priority.update(job);
    const lines = explained.sentences;
    if (lines.join("\n") !== this.lines) {
      this.lines = lines.join("\n");
      this.sentences.replaceChildren(...lines.map((line) => el("p", {}, line)));
    }
    this.timeline.update(job, this.events, this.site.now());
    this.files.update([...job.files].sort(inFlightFirst), (file) => file.path);
    if (events.length || !this.history.children.length) this.tell();
    const state = `${job.status} ${job.preflight.length} ${job.warnings.length}`;
    if (state !== this.state) {
      this.state = state;
      this.after.replaceChildren(...[job.status === "done" ? afterReady(job) : null, findingsOf(job)].filter(Boolean));
    }
    return page;
  }

  tell() {
    const newest = this.events.slice(-MOST_EVENTS).reverse();
    this.history.replaceChildren(
      ...newest.map((event) =>
        el("li", {}, el("time", { datetime: event.at }, moment(event.at)), `${event.kind.replaceAll("_", " ")}: ${event.path ? `${event.path}: ` : ""}${event.message}`),
      ),
    );
  }
}
