/* The page: one view at a time, asked for again after every event and every few seconds. */

import { el, show, write } from "./parts.js";
import { clock, size } from "./format.js";
import { follow, Refused } from "./api.js";
import { Chart } from "./chart.js";
import { Overview } from "./overview.js";
import { JobView } from "./job.js";
import { EnqueueView } from "./enqueue.js";
import { LimitsView, limitsLine } from "./limits.js";

const MOVING_MS = 1000;
const STILL_MS = 5000;
const BROKEN_MS = 2000;
const HIDDEN_MS = 60000;
const RATES = 120;

const main = document.getElementById("main");
const facts = document.getElementById("facts");
const notice = document.getElementById("notice");
const chart = new Chart("Total rate of the last minutes");
document.querySelector("header").insertBefore(chart.node, facts.nextSibling);

let view = null;
let loading = null;
let again = false;
let timer = 0;
let askedAt = 0;
let answeredAt = null;
let followed = false;
const rates = [];

const site = { now: () => Date.now(), refresh: () => void refresh() };

function route() {
  const [, kind, ref] = location.hash.split("/");
  if (kind === "jobs" && ref) return new JobView(site, decoded(ref));
  if (kind === "enqueue") return new EnqueueView(site);
  if (kind === "limits") return new LimitsView(site);
  return new Overview(site);
}

/* What a person has typed may have a % that begins nothing. */
function decoded(ref) {
  try {
    return decodeURIComponent(ref);
  } catch {
    return ref;
  }
}

function enter() {
  view = route();
  main.replaceChildren(view.node);
  document.title = view.title;
  main.focus({ preventScroll: true });
  refresh();
}

/* After an event: many of them in a second are one question. */
function news() {
  if (loading) again = true;
  else if (!document.hidden) later(askedAt + MOVING_MS - Date.now());
}

function later(wait) {
  clearTimeout(timer);
  timer = setTimeout(refresh, Math.max(100, document.hidden ? HIDDEN_MS : wait));
}

async function refresh() {
  if (loading) {
    again = true;
    return;
  }
  const shown = view;
  askedAt = Date.now();
  loading = shown.load();
  let wait = BROKEN_MS;
  try {
    const page = await loading;
    wait = answered(page, shown);
  } catch (error) {
    failed(error);
  }
  loading = null;
  if (shown !== view) wait = 0;
  else if (again) wait = askedAt + MOVING_MS - Date.now();
  again = false;
  later(wait);
}

function answered(page, shown) {
  answeredAt = Date.now();
  document.body.classList.remove("stale");
  document.title = shown.title;
  const held = new Set(page.workers.flatMap((worker) => worker.jobs));
  const rate = page.jobs.reduce((sum, job) => sum + (job.rate_bps ?? 0), 0);
  rates.push([answeredAt, rate]);
  if (rates.length > RATES) rates.shift();
  chart.update(rates, rates[0][0], answeredAt);
  const workers = page.workers.length;
  const working = workers === 1 ? "1 worker" : `${workers} workers`;
  const limits = limitsLine(page.limits);
  write(facts, `${workers ? working : "no worker runs"}, ${size(rate)}/s in all${limits ? `; ${limits}` : ""}`);
  const waits = page.jobs.some((job) => job.status === "active");
  const words = !workers && waits ? "No worker runs: jobs wait. `uploader run` or the service starts one." : "";
  write(notice, words);
  notice.className = "notice";
  show(notice, Boolean(words));
  if (!followed) follow(page.last_event, news);
  followed = true;
  return held.size && page.jobs.some((job) => held.has(job.id) && job.status === "active") ? MOVING_MS : STILL_MS;
}

function failed(error) {
  notice.className = "notice";
  if (error instanceof Refused && error.status === 401) {
    write(notice, "This page may no longer ask. `uploader dashboard` prints a new link.");
  } else if (error instanceof Refused && error.status < 500) {
    notice.replaceChildren(el("strong", {}, error.message), ` ${error.hint}`);
  } else {
    const since = answeredAt ? `: it last answered at ${clock(answeredAt)}, and what is shown is from then` : "";
    const [what, then] = error.name === "TimeoutError" ? ["does not answer", "it does"] : ["is gone", "it is back"];
    write(notice, `The daemon ${what}${since}. The page goes on by itself once ${then}.`);
    document.body.classList.add("stale");
  }
  show(notice, true);
}

window.addEventListener("hashchange", enter);
document.addEventListener("visibilitychange", () => document.hidden || refresh());
enter();
