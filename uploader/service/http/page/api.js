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

async function ask(path, body) {
  const options = { headers: { Accept: "application/json" }, signal: AbortSignal.timeout(PATIENCE_MS) };
  if (body !== undefined) {
    options.method = "POST";
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
    options.signal = undefined; // a folder of many files takes as long as it takes
  }
  const answer = await fetch(path, options);
  const document = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(answer.status, document);
  return document;
}

export const get = (path) => ask(path);
export const post = (path, body = {}) => ask(path, body);

/* Calls `news` soon after something happened; the browser connects again by itself. */
export function follow(since, news) {
  let source = null;
  const open = () => {
    source = new EventSource(`/api/events?since=${since}`);
    source.onmessage = (message) => {
      since = Number(message.lastEventId);
      news();
    };
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED) setTimeout(open, 5000);
    };
  };
  open();
  return () => source.close();
}
