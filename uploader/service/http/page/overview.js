/* All jobs: what needs a human first. */

import { el, Keyed, show } from "./parts.js";
import { JobCard, needsHuman } from "./card.js";
import { get } from "./api.js";

const FINISHED = 20;
const GROUPS = [
  ["Needs you", needsHuman],
  ["Under way", (job) => job.status === "active"],
  ["Paused", (job) => job.status === "paused"],
  ["Finished", (job) => job.status === "done" || job.status === "cancelled"],
];

export class Overview {
  constructor(site) {
    this.groups = GROUPS.map(([title, belongs]) => {
      const list = el("div");
      const node = el("section", { "aria-label": title, hidden: true }, el("h2", {}, title), list);
      return { node, belongs, cards: new Keyed(list, (job) => new JobCard(job, site)) };
    });
    this.empty = el(
      "p",
      { hidden: true },
      "There are no jobs yet. ",
      el("code", {}, "uploader enqueue FOLDER"),
      " makes one, or enqueue a folder here.",
    );
    this.node = el("div", {}, this.empty, ...this.groups.map(({ node }) => node));
    this.title = "uploader";
  }

  async load() {
    const page = await get(`/api/jobs?finished=${FINISHED}&limit=1000`);
    show(this.empty, page.jobs.length === 0);
    const newest = [...page.jobs].reverse();
    for (const { node, belongs, cards } of this.groups) {
      const mine = newest.filter(belongs);
      cards.update(mine, (job) => job.id);
      show(node, mine.length > 0);
    }
    return page;
  }
}
