// Times in UTC, as the server writes them, or in the reader's zone.
import { prefer, preferred } from "./prefer.js";

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const two = (number) => String(number).padStart(2, "0");

export function isLocal() {
  return preferred("zone", "utc") === "local";
}

// A moment's parts in the zone that is chosen. The digits below a millisecond are those of the text, which Date would drop.
function parts(iso, local) {
  const at = new Date(iso);
  if (Number.isNaN(at.getTime())) return null;
  const digits = (/\.(\d+)/.exec(iso)?.[1] ?? "").padEnd(6, "0").slice(0, 6);
  const shifted = local ? new Date(at.getTime() - at.getTimezoneOffset() * 60000) : at;
  const minutes = local ? -at.getTimezoneOffset() : 0;
  const size = Math.abs(minutes);
  return {
    date: shifted.toISOString().slice(0, 10),
    day: `${shifted.getUTCDate()} ${MONTHS[shifted.getUTCMonth()]}`,
    clock: shifted.toISOString().slice(11, 19),
    digits,
    zone: local ? `${minutes < 0 ? "−" : "+"}${two(Math.floor(size / 60))}:${two(size % 60)}` : "UTC",
  };
}

export function write(time, local = isLocal()) {
  const at = parts(time.dateTime, local);
  if (!at) return;
  if (time.dataset.form === "whole") {
    time.textContent = `${at.date} ${at.clock}.${at.digits} ${at.zone}`;
  } else if (time.dataset.form === "clock") {
    time.textContent = `${at.clock}.${at.digits.slice(0, 3)}`;
  } else {
    time.textContent = "";
    const day = document.createElement("span");
    day.className = "day";
    day.textContent = at.day;
    time.append(day, ` ${at.clock}.${at.digits.slice(0, 3)}`);
  }
  time.title = `${at.date} ${at.clock}.${at.digits} ${at.zone}`;
}

export function writeAll(root = document) {
  const local = isLocal();
  for (const time of root.querySelectorAll("time[datetime]")) write(time, local);
  const zone = local ? parts(new Date().toISOString(), true).zone : "UTC";
  for (const place of document.querySelectorAll("[data-zone]")) place.textContent = zone;
}

export function otherZone() {
  prefer("zone", isLocal() ? "utc" : "local");
  writeAll();
}
