// What script adds to pages that work without it. Only the tail needs it.
import * as chart from "./chart.js";
import * as keys from "./keys.js";
import * as list from "./list.js";
import * as live from "./live.js";
import * as more from "./more.js";
import { prefer, preferred } from "./prefer.js";
import * as tail from "./tail.js";
import { isLocal, otherZone, writeAll } from "./times.js";

const THEMES = { system: "System", light: "Light", dark: "Dark" };

function theme(name) {
  if (name === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  for (const place of document.querySelectorAll("[data-theme-name]")) place.textContent = THEMES[name];
}

function wrap(on) {
  document.documentElement.classList.toggle("whole-lines", on);
  for (const button of document.querySelectorAll('[data-do="wrap"]')) button.setAttribute("aria-pressed", String(on));
}

const DO = {
  zone: otherZone,
  theme: () => {
    const names = Object.keys(THEMES);
    const next = names[(names.indexOf(preferred("theme", "system")) + 1) % names.length];
    prefer("theme", next);
    theme(next);
  },
  help: () => document.getElementById("help").showModal(),
  wrap: () => {
    const on = preferred("wrap", "off") !== "on";
    prefer("wrap", on ? "on" : "off");
    wrap(on);
  },
  copy: (button) => keys.copy(button.closest("[data-copy]").dataset.copy, "Copied."),
};

document.addEventListener("click", (event) => {
  const button = event.target.closest?.("[data-do]");
  if (button && Object.hasOwn(DO, button.dataset.do)) DO[button.dataset.do](button);
  const back = event.target.closest?.("a[data-back]");
  const from = back && !event.defaultPrevented ? cameFrom(back) : null;
  if (!from) return;
  event.preventDefault();
  // Going back in history keeps the place in the list. It is right only if the search is what was there just before.
  if (history.length === from.entries + 1) history.back();
  else location.assign(back.href + from.place);
});

function cameFrom(link) {
  try {
    const search = JSON.parse(sessionStorage.getItem("search"));
    return search?.at === list.plain(new URL(link.href)) ? search : null;
  } catch {
    return null;
  }
}

// Empty fields, and those that say what holds anyway, do not belong into the address. Without script the server leaves them out.
document.addEventListener("submit", ({ target }) => {
  if (target.method !== "get") return;
  const value = (name) => target.elements[name]?.value?.trim() ?? "";
  const usual = value("from") === "-15m" && value("to") === "now";
  for (const field of target.elements) {
    const said = field.value.trim();
    const spare = said === field.dataset.default && (usual || field.name === "to");
    if (field.name && (!said || spare)) field.disabled = true;
  }
  setTimeout(() => { for (const field of target.elements) field.disabled = false; });
});

const single = document.getElementById("keys-on");
single.checked = preferred("keys", "on") === "on";
single.addEventListener("change", () => prefer("keys", single.checked ? "on" : "off"));

for (const part of document.querySelectorAll("[data-script]")) part.hidden = false;
theme(preferred("theme", "system"));
wrap(preferred("wrap", "off") === "on");
if (isLocal()) writeAll();
list.prepare();
for (const part of [list, keys, more, chart, live, tail]) part.listen();
list.comeBack();
document.documentElement.dataset.ready = "yes";
