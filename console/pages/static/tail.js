// The tail: events as they are stored. What the reader looks at stands still; what comes meanwhile waits, and is counted.
import { focusedRow, setStop } from "./list.js";
import { isError, makeRow } from "./row.js";
import { follow } from "./stream.js";

const WINDOW = 500;
const DRAW_MS = 120;
// Of a flood a reader sees only its end, so not all of a window is made each time.
const FLOOD = 150;
// Drawing takes a fifth of the time at most, on any machine.
const SHARE = 4;
const TELL_MS = 5000;
const NEAR_END_PX = 24;
// A browser opens six connections to a server, and a tail keeps one of them.
const TAILS = 5;

const many = (number, what) => `${number.toLocaleString("en")} ${what}${number === 1 ? "" : "s"}`;
const news = ({ events, errors }) =>
  `${events.toLocaleString("en")} new${errors ? `, ${many(errors, "error")}` : ""}`;
const seconds = (ms) => (ms < 10000 ? `${(ms / 1000).toFixed(1)} s` : `${Math.round(ms / 1000)} s`);

export function listen() {
  const place = document.querySelector("[data-tail]");
  if (place) new Tail(place).start();
}

class Tail {
  constructor(place) {
    this.place = place;
    this.list = place.querySelector("[data-list]");
    this.window = place.querySelector("[data-window]");
    this.template = document.getElementById("row");
    this.selection = new URL(place.dataset.search, location.origin).search;
    this.waiting = []; // come, and not shown yet; the newest WINDOW of them
    this.unseen = { events: 0, errors: 0 };
    this.untold = { events: 0, errors: 0 };
    this.received = 0;
    this.passedBefore = 0; // over the connections that have ended
    this.passedHere = 0;
    this.first = null;
    this.paused = false;
    this.following = true;
    this.drawing = null;
    this.pauseMs = DRAW_MS;
    this.flooded = false;
  }

  start() {
    this.window.addEventListener("scroll", () => this.scrolled(), { passive: true });
    this.list.addEventListener("focusin", () => { this.following = false; });
    this.button("pause").addEventListener("click", () => this.pause(!this.paused));
    this.button("to-end").addEventListener("click", () => this.toEnd());
    this.button("clear").addEventListener("click", () => this.clear());
    setInterval(() => this.tell(), TELL_MS);
    window.addEventListener("pagehide", () => this.controller?.abort());
    window.addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
    if (!navigator.locks) this.connect();
    else this.connectIfFree();
  }

  // Each tail of this browser holds a shared lock, so that they can be counted.
  async connectIfFree() {
    const held = (await navigator.locks.query()).held.filter((lock) => lock.name === "tail").length;
    if (held >= TAILS) {
      this.state("refused", `${TAILS} tails are open in this browser, which opens only a few connections to one server. Close one of them and load this page again.`);
      return;
    }
    navigator.locks.request("tail", { mode: "shared" }, () => this.connect());
  }

  connect() {
    this.controller = new AbortController();
    return follow(this.place.dataset.stream, {
      handle: (one) => this.handle(one),
      state: (name, about) => this.connection(name, about),
      signal: this.controller.signal,
    });
  }

  connection(name, about) {
    if (name === "live") {
      this.passedBefore = Math.max(this.passedBefore + this.passedHere, this.received);
      this.passedHere = 0;
      this.state("live", "live");
    }
    if (name === "connecting") this.state("connecting", about.again ? "connecting again" : "connecting");
    else if (name === "refused") this.state("refused", `refused: ${about.why}`);
    else if (name === "lost") this.state("lost", `the connection is lost; the next try is in ${seconds(about.wait)}, and goes on where this ended`);
  }

  state(name, words) {
    const state = this.place.querySelector("[data-state]");
    if (state.dataset.state !== name) state.dataset.state = name;
    const place = this.place.querySelector("[data-state-words]");
    if (place.textContent !== words) place.textContent = words;
  }

  handle({ event, data }) {
    let body;
    try {
      body = JSON.parse(data);
    } catch {
      return;
    }
    if (event === "log") this.take(body);
    else if (event === "at") this.at(body);
    else if (event === "behind") this.state("behind", `behind by ${many(body.rows ?? 0, "event")}, ${seconds(body.ms ?? 0)}; all of them will come`);
    else if (event === "reset" && body.from) this.mark(`Not all came: ${body.why}.`);
    else if (event === "reset") this.mark(`Begun anew: ${body.why ?? "the position is gone"}. What was before this line may not be complete.`);
    else if (event === "bye") this.state("connecting", `the console stops (${body.why ?? "restart"}); connecting again`);
  }

  at(body) {
    const behind = body.behindMs ?? 0;
    this.state(behind > 5000 ? "behind" : "live", behind > 5000 ? `behind by ${seconds(behind)}` : "live");
    this.passedHere = body.passed ?? 0;
    this.count();
  }

  // How many events the console has looked at for this tail is told every few seconds, and anew for each connection.
  count() {
    const passed = Math.max(this.passedBefore + this.passedHere, this.received);
    this.place.querySelector("[data-passed]").textContent =
      `${many(passed, "event")} passed, ${this.received.toLocaleString("en")} matched`;
  }

  take(event) {
    this.received += 1;
    this.first ??= event.timestamp;
    this.waiting.push(event);
    const error = isError(event) ? 1 : 0;
    for (const count of [this.unseen, this.untold]) {
      count.events += 1;
      count.errors += error;
    }
    // More than a page holds would never be shown; the search has them.
    if (this.waiting.length > 2 * WINDOW) this.drop();
    this.drawing ??= setTimeout(() => this.draw(), this.pauseMs);
  }

  drop(most = WINDOW) {
    this.waiting = this.waiting.slice(-most);
    this.dropped = true;
  }

  mark(words) {
    this.waiting.push({ mark: words });
    this.drawing ??= setTimeout(() => this.draw(), this.pauseMs);
  }

  // Whether new events may be shown at once: not while the reader has stopped, scrolled away, marked text, or is on a row.
  get standsStill() {
    if (this.paused || !this.following || focusedRow()) return true;
    const selection = document.getSelection();
    return !selection.isCollapsed && this.list.contains(selection.anchorNode);
  }

  draw() {
    this.drawing = null;
    this.count();
    const begin = performance.now();
    if (this.standsStill && this.list.childElementCount) {
      this.offer();
    } else {
      const most = this.flooded ? FLOOD : WINDOW;
      this.flooded = this.waiting.length > FLOOD;
      this.show(most);
    }
    this.pauseMs = Math.max(DRAW_MS, SHARE * (performance.now() - begin));
  }

  offer() {
    const button = this.button("to-end");
    button.hidden = this.unseen.events === 0;
    button.querySelector("[data-new]").textContent = news(this.unseen);
  }

  show(most = WINDOW) {
    if (this.waiting.length > most) this.drop(most);
    const rows = this.waiting.map((event) => (event.mark ? this.makeMark(event.mark) : makeRow(this.template, event, this.selection)));
    this.waiting = [];
    this.unseen = { events: 0, errors: 0 };
    this.button("to-end").hidden = true;
    if (this.dropped || this.list.childElementCount + rows.length > WINDOW) this.trim(rows.length);
    this.list.append(...rows);
    if (!this.list.querySelector('.open[tabindex="0"]')) setStop(this.list, this.list.querySelector(".row"));
    this.place.querySelector("[data-waiting]").hidden = this.list.childElementCount > 0;
    this.window.scrollTop = this.window.scrollHeight;
  }

  trim(coming) {
    const keep = this.dropped ? 0 : Math.max(0, WINDOW - coming);
    this.dropped = false;
    while (this.list.childElementCount > keep) this.list.firstElementChild.remove();
    this.place.querySelector("[data-trimmed]").hidden = false;
    for (const link of this.place.querySelectorAll("[data-older]")) {
      const search = new URL(this.place.dataset.search, location.origin);
      search.searchParams.set("from", this.first);
      link.href = search.pathname + search.search;
    }
  }

  makeMark(words) {
    const mark = document.createElement("li");
    mark.className = "mark";
    mark.textContent = words;
    return mark;
  }

  scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.window;
    const atEnd = scrollHeight - scrollTop - clientHeight < NEAR_END_PX;
    if (atEnd === this.following || focusedRow()) return;
    this.following = atEnd;
    if (atEnd && !this.paused && this.waiting.length) this.draw();
  }

  pause(paused) {
    this.paused = paused;
    const button = this.button("pause");
    button.setAttribute("aria-pressed", String(paused));
    button.textContent = paused ? "Go on" : "Pause";
    this.place.classList.toggle("paused", paused);
    if (!paused) this.toEnd();
  }

  toEnd() {
    if (this.paused) return this.pause(false);
    if (this.list.contains(document.activeElement) || document.activeElement === this.button("to-end")) this.window.focus({ preventScroll: true });
    this.following = true;
    this.show();
    return undefined;
  }

  clear() {
    this.list.textContent = "";
    this.show();
  }

  tell() {
    if (!this.untold.events) return;
    document.querySelector("[data-told]").textContent = news(this.untold);
    this.untold = { events: 0, errors: 0 };
  }

  button(name) {
    return this.place.querySelector(`[data-do="${name}"]`);
  }
}
