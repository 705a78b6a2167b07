// Lists that are one tab stop each: arrows or j and k go from event to event, left and right through an event's values.
import { say } from "./prefer.js";

const rowsOf = (list) => list.querySelectorAll(":scope > .row");
const stopOf = (row) => row.querySelector(".open");

export function focusedRow() {
  return document.activeElement?.closest?.("[data-list] > .row") ?? null;
}

// prepare ROOT: make each list within one tab stop.
export function prepare(root = document) {
  for (const list of root.querySelectorAll("[data-list]")) {
    for (const link of list.querySelectorAll("a")) link.tabIndex = -1;
    setStop(list, list.querySelector(".row.here") ?? list.querySelector(".row"));
  }
  for (const values of root.querySelectorAll("[data-values]")) {
    const first = values.querySelector("[data-value]");
    if (first) first.tabIndex = 0;
  }
}

export function setStop(list, row) {
  if (!row) return;
  for (const old of list.querySelectorAll('.open[tabindex="0"]')) old.tabIndex = -1;
  stopOf(row).tabIndex = 0;
}

export function listen() {
  document.addEventListener("focusin", ({ target }) => {
    const row = target.closest?.("[data-list] > .row");
    if (row) setStop(row.parentElement, row);
    if (target.matches?.("[data-value]")) {
      for (const other of document.querySelectorAll('[data-value][tabindex="0"]')) other.tabIndex = -1;
      target.tabIndex = 0;
    }
  });
  document.addEventListener("click", (event) => {
    const row = event.target.closest?.("[data-list] > .row");
    if (!row || event.defaultPrevented) return;
    // Who has marked text wants to copy it, and not to go elsewhere.
    if (String(document.getSelection()).trim()) {
      if (event.target.closest(".open")) event.preventDefault();
      return;
    }
    if (!event.target.closest("a")) stopOf(row).click();
    else if (event.target.closest(".open")) remember(row);
  });
}

// When the reader comes back, the focus is on this event again.
function remember(row) {
  if (document.documentElement.dataset.page !== "search") return;
  const here = new URL(location.href);
  here.hash = row.id;
  history.replaceState(history.state, "", here);
  try {
    sessionStorage.setItem("search", JSON.stringify({ at: plain(here), place: here.hash, entries: history.length }));
  } catch {
    // Then the link back is an ordinary one.
  }
}

// An address without its place on the page; one parameter can be written in several ways.
export const plain = (url) => `${url.pathname}?${url.searchParams}`;

export function comeBack() {
  const row = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (row?.matches?.(".row")) focusRow(row);
}

export function focusRow(row) {
  const stop = stopOf(row);
  setStop(row.parentElement, row);
  stop.focus({ preventScroll: true });
  row.scrollIntoView({ block: "nearest" });
}

// step BY: go to another event, or to another value on the page of an event.
export function step(by) {
  const value = document.activeElement?.closest?.("[data-value]");
  if (value) return stepValues(value, by);
  const row = focusedRow();
  const list = row?.parentElement ?? document.querySelector("[data-values] [data-value]") ?? document.querySelector("[data-list]");
  if (!list) return false;
  if (list.matches("[data-value]")) {
    list.focus();
    return true;
  }
  const rows = [...rowsOf(list)];
  const at = row ? rows.indexOf(row) + by : entry(list, rows);
  const next = rows[Math.max(0, Math.min(rows.length - 1, at))];
  if (next) focusRow(next);
  return Boolean(next);
}

// Where a reader comes into a list: where they have been; in a tail at the newest, which is what they see.
function entry(list, rows) {
  if (list.closest('[role="log"]')) return rows.length - 1;
  return rows.indexOf(list.querySelector('.row:has(.open[tabindex="0"])'));
}

function stepValues(value, by) {
  const all = [...document.querySelectorAll("[data-value]")];
  const next = all[all.indexOf(value) + by];
  if (next) next.focus();
  else if (by > 0) {
    const row = document.querySelector("[data-list] > .row");
    if (row) focusRow(row);
  }
  return true;
}

// stepWithin BY: go to another value of the event that has the focus.
export function stepWithin(by) {
  const row = focusedRow();
  if (!row) return false;
  const links = [...row.querySelectorAll("a")];
  const next = links[links.indexOf(document.activeElement) + by];
  if (next) next.focus();
  return true;
}

export function toEnd(last) {
  const list = focusedRow()?.parentElement ?? document.querySelector("[data-list]");
  const rows = list ? rowsOf(list) : [];
  const row = rows[last ? rows.length - 1 : 0];
  if (row) focusRow(row);
}

// filter OUT: search for what has the focused value, or for what has it not.
export function filter(out) {
  const focused = document.activeElement;
  const value = focused?.closest?.("[data-value]");
  if (value) {
    const href = out ? value.dataset.lessLike : value.dataset.moreLike;
    if (href) location.assign(href);
    else say(out ? "This value cannot be left out: levels and texts can." : "This value cannot be searched for.");
    return;
  }
  const row = focusedRow();
  if (!row) {
    say("Put the focus on an event first: j and k do.");
    return;
  }
  if (out) {
    const text = row.querySelector(".message").textContent.trim().slice(0, 200);
    const here = new URL(location.pathname === "/tail" ? location.href : "/" + location.search, location.origin);
    here.searchParams.append("-text", String(document.getSelection()).trim() || text);
    here.searchParams.delete("cursor");
    location.assign(here);
    return;
  }
  const link = focused.matches("a.value") ? focused : row.querySelector("a.service");
  location.assign(link.href);
}
