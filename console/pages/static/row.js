// One event of a tail, from the page's template. templates/parts.html has the same for pages that the server makes.
import { show, visible } from "./text.js";
import { write } from "./times.js";

const LEVELS = new Set(["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"]);
// The server cuts long texts in lists; a page that is given more shows no more.
const MOST = 4096;
const SEVERE = new Set(["ERROR", "FATAL"]);

export const isError = (event) => SEVERE.has(event.level);

const text = (value) => (value === null || value === undefined ? "" : String(value));

export function regionTone(name) {
  let sum = 0;
  for (const byte of new TextEncoder().encode(name)) sum += byte;
  return sum % 6;
}

export function makeRow(template, event, selection) {
  const row = template.content.firstElementChild.cloneNode(true);
  const level = text(event.level);
  const [service, region, correlation] = [text(event.serviceName), text(event.region), text(event.correlationId)];
  row.id = `e-${text(event.eventId)}-${text(event.timestamp).replace(/[^0-9]/g, "")}`;
  row.classList.add(`l-${LEVELS.has(level) ? level.toLowerCase() : "other"}`);
  const time = row.querySelector("time");
  time.dateTime = text(event.timestamp);
  write(time);
  row.querySelector(".level").textContent = visible(level);
  fill(row, ".service", service, "service", selection);
  fill(row, ".region", region, "region", selection).classList.add(`r-${regionTone(region)}`);
  fill(row, ".correlation", correlation, "correlationId", selection);
  if (!event.late) row.querySelector(".late").remove();
  const open = row.querySelector(".open");
  open.href = `/events/${encodeURIComponent(text(event.eventId))}?${new URLSearchParams({ timestamp: text(event.timestamp) })}`;
  const message = text(event.message);
  show(row.querySelector(".message"), message.slice(0, MOST) || "(no text)");
  if (event.cut || message.length > MOST) {
    const cut = document.createElement("span");
    cut.className = "cut";
    cut.textContent = "… cut";
    open.append(cut);
  }
  for (const link of row.querySelectorAll("a")) link.tabIndex = -1;
  return row;
}

function fill(row, place, value, parameter, selection) {
  const link = row.querySelector(place);
  const query = new URLSearchParams(selection);
  query.set(parameter, value);
  link.href = `/tail?${query}`;
  link.textContent = visible(value);
  return link;
}
