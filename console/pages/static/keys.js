// Single keys. They are off in fields, and a reader can switch them off (WCAG 2.1.4).
import { filter, focusedRow, step, stepWithin, toEnd } from "./list.js";
import { preferred, say } from "./prefer.js";
import { otherZone } from "./times.js";

const FIELDS = "input, select, textarea, [contenteditable]";
const PRESSED_BY_SPACE = "button, summary, input, select, textarea";
let afterG = false;

const press = (name) => document.querySelector(`[data-do="${name}"]`)?.click();
const go = (href) => () => location.assign(href);

const KEYS = {
  j: () => step(1),
  k: () => step(-1),
  // The end of a tail moves on, so its end is a place and not an event.
  G: () => (document.querySelector("[data-tail]") ? press("to-end") : toEnd(true)),
  "/": () => document.getElementById("find")?.focus(),
  s: go("/"),
  t: () => location.assign("/tail" + selection()),
  r: go("/replication"),
  f: () => filter(false),
  x: () => filter(true),
  w: () => press("wrap"),
  y: () => copyLink(),
  u: () => otherZone(),
  "?": () => document.getElementById("help").showModal(),
};

// The filters of this search are those of the tail; a tail has no span of time.
function selection() {
  if (document.documentElement.dataset.page !== "search") return "";
  const kept = new URLSearchParams(location.search);
  for (const name of ["from", "to", "cursor", "limit", "order", "by"]) kept.delete(name);
  return kept.size ? `?${kept}` : "";
}

export function listen() {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (document.querySelector("dialog[open]")) return;
    if (event.target.closest?.(FIELDS)) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (arrows(event) || escape(event)) return;
    if (preferred("keys", "on") === "off") return;
    if (event.key === " ") {
      if (event.target.closest?.(PRESSED_BY_SPACE) || !document.querySelector("[data-tail]")) return;
      event.preventDefault();
      press("pause");
      return;
    }
    if (event.key === "g" && afterG) toEnd(false);
    afterG = event.key === "g" && !afterG;
    const act = Object.hasOwn(KEYS, event.key) ? KEYS[event.key] : null;
    if (!act) return;
    event.preventDefault();
    act();
  });
}

function arrows(event) {
  const focused = focusedRow() ?? event.target.closest?.("[data-value]");
  if (!focused) return false;
  const moves = {
    ArrowDown: () => step(1),
    ArrowUp: () => step(-1),
    ArrowRight: () => stepWithin(1),
    ArrowLeft: () => stepWithin(-1),
    Home: () => toEnd(false),
    End: () => toEnd(true),
  };
  if (!Object.hasOwn(moves, event.key)) return false;
  event.preventDefault();
  moves[event.key]();
  return true;
}

function escape(event) {
  if (event.key !== "Escape") return false;
  document.querySelector("[data-back]")?.click();
  return true;
}

async function copyLink() {
  const open = focusedRow()?.querySelector(".open");
  await copy(open ? open.href : location.href, "The address is copied.");
}

export async function copy(text, done) {
  try {
    await navigator.clipboard.writeText(text);
    say(done);
  } catch {
    say("The browser does not let this page copy; mark it and copy it yourself.");
  }
}
