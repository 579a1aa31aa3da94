/* Rates over time as one line: (seconds, bytes per second), oldest first. */

import { svg } from "./parts.js";
import { size } from "./format.js";

export class Chart {
  constructor(label) {
    this.label = label;
    this.line = svg("polyline", { class: "rate" });
    this.node = svg(
      "svg",
      { class: "chart", viewBox: "0 0 100 100", preserveAspectRatio: "none", role: "img" },
      svg("line", { class: "floor", x1: 0, x2: 100, y1: 100, y2: 100 }),
      this.line,
    );
  }

  update(points, from, to) {
    const top = Math.max(1, ...points.map(([, rate]) => rate));
    const place = ([at, rate]) =>
      `${((100 * (at - from)) / Math.max(1, to - from)).toFixed(2)},${(100 - (95 * rate) / top).toFixed(2)}`;
    this.line.setAttribute("points", points.map(place).join(" "));
    const words = points.length ? `${this.label}, at most ${size(top)}/s` : `${this.label}: nothing yet`;
    this.node.setAttribute("aria-label", words);
  }
}

/* Rates between moments at which so many bytes were confirmed: (ms, bytes) in, steps out. */
export function ratesOf(points) {
  const known = spaced(points);
  const steps = [];
  for (let at = 1; at < known.length; at += 1) {
    const seconds = Math.max(0.001, (known[at][0] - known[at - 1][0]) / 1000);
    const rate = Math.max(0, (known[at][1] - known[at - 1][1]) / seconds);
    steps.push([known[at - 1][0], rate], [known[at][0], rate]);
  }
  return steps;
}

/* Files that are stored within a second are one step; else it would dwarf all the others. */
function spaced(points) {
  const kept = [];
  for (const point of points) {
    if (!kept.length || point[0] - kept.at(-1)[0] >= 1000) kept.push(point);
  }
  if (kept.length > 1) kept[kept.length - 1] = points.at(-1);
  return kept;
}
