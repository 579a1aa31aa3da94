/* Sizes, durations and times as the command line writes them (uploader/core/text.py). */

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

export function size(count) {
  let unit = 0;
  while (Math.abs(count) >= 1024 && unit < UNITS.length - 1) {
    count /= 1024;
    unit += 1;
  }
  return `${unit ? count.toFixed(1) : Math.round(count)} ${UNITS[unit]}`;
}

const two = (number) => String(Math.floor(number)).padStart(2, "0");

export function duration(seconds) {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole}s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}m${two(whole % 60)}s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)}h${two((whole % 3600) / 60)}m`;
  return `${Math.floor(whole / 86400)}d${two((whole % 86400) / 3600)}h`;
}

export function percent(part, whole) {
  return `${whole ? Math.floor((100 * part) / whole) : 100}%`;
}

export function clock(at) {
  return new Date(at).toLocaleTimeString([], { hour12: false });
}

export function moment(at) {
  return new Date(at).toLocaleString([], { hour12: false });
}

export function modelOf(job) {
  return job.model.slice(job.model.lastIndexOf("/") + 1);
}

export function sentAndConfirmed(of) {
  const total = of.bytes_total ?? of.size_bytes;
  const confirmed = of.bytes_confirmed ?? of.offset;
  const sent = Math.max(confirmed, Math.min(total, of.bytes_sent_once ?? of.bytes_sent));
  const words = `${size(sent)} sent, ${size(confirmed)} confirmed of ${size(total)}`;
  return { total, confirmed, sent, words };
}

/* Most findings name their file themselves. */
export function finding({ file, message, hint }) {
  const place = file && !message.includes(file) ? `${file}: ` : "";
  return `${place}${message}${hint ? ` (${hint})` : ""}`;
}
