/* The API: requests, refusals, and the stream of events. */

export class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail || `the daemon answered ${status}`);
    this.status = status;
    this.code = problem.code || "";
    this.hint = problem.hint || "";
    this.findings = problem.findings || [];
  }
}

const PATIENCE_MS = 8000;

async function ask(path, options) {
  const answer = await fetch(path, { cache: "no-store", ...options, headers: { Accept: "application/json", ...options.headers } });
  const document = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(answer.status, document);
  return document;
}

export const get = (path) => ask(path, { signal: AbortSignal.timeout(PATIENCE_MS) });

/* These two may wait for a disk, which takes as long as it takes: the daemon says if one is silent. */
export const list = (folder) => ask(`/api/folders?path=${encodeURIComponent(folder)}`, {});
export const post = (path, body = {}) =>
  ask(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

/* Calls `news` soon after something happened; the browser connects again by itself.
   One tab has the stream and tells the others, because a browser has six connections to a daemon. */
export function follow(since, news) {
  const tabs = new BroadcastChannel("uploader");
  tabs.onmessage = news;
  const open = () => {
    const source = new EventSource(`/api/events?since=${since}`);
    source.onmessage = (message) => {
      since = Number(message.lastEventId);
      tabs.postMessage(null);
      news();
    };
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED) setTimeout(open, 5000);
    };
  };
  const forever = () => new Promise(open);
  if (navigator.locks) void navigator.locks.request("uploader", forever);
  else open(); // the page of an insecure address has no locks
}
