// The next page of a search, below the one that is there.
import { focusRow, prepare } from "./list.js";
import { say } from "./prefer.js";
import { writeAll } from "./times.js";

// As long as nothing is found, so many requests are made for one click; each looks further for two seconds.
const ROUNDS = 30;
const MOST_IN_ADDRESS = 1000;

export function listen() {
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[data-more]");
    // Who opens it elsewhere, or has no list yet, gets a page as without script.
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.defaultPrevented) return;
    const list = document.querySelector(".found [data-list]");
    event.preventDefault();
    load(link, list);
  });
}

async function load(link, list) {
  if (link.getAttribute("aria-busy") === "true") return;
  let first = null;
  for (let round = 0; link && !first && round < ROUNDS; round += 1) {
    link.setAttribute("aria-busy", "true");
    let page;
    try {
      const answer = await fetch(link.href, { headers: { Accept: "text/html" } });
      page = new DOMParser().parseFromString(await answer.text(), "text/html");
    } catch {
      link.removeAttribute("aria-busy");
      say("The console does not answer; try again.");
      return;
    }
    const refused = page.querySelector(".trouble p");
    if (refused) {
      link.removeAttribute("aria-busy");
      say(refused.textContent);
      return;
    }
    first = append(page, list);
    if (!list && first) return location.assign(link.href);
    const next = page.querySelector(".found .more");
    document.querySelector(".found .more").replaceWith(next ?? "");
    link = next?.querySelector("a[data-more]");
  }
  writeAll();
  if (first) {
    prepare(list.parentElement);
    focusRow(first);
    keep(list.children.length);
  } else {
    say(link ? "Nothing yet; there is more to search." : "Nothing more is found.");
  }
}

function append(page, list) {
  const rows = [...page.querySelectorAll(".found [data-list] > .row")];
  const far = page.querySelector("[data-how-far]");
  if (far) {
    const count = far.querySelector("[data-count]");
    if (count && list) count.textContent = String(list.children.length + rows.length);
    document.querySelector("[data-how-far]").replaceWith(far);
  }
  if (list) list.append(...rows);
  if (rows.length) say(`${rows.length} more events`);
  return rows[0] ?? null;
}

// The address shows as many as the page does, so a reload and a colleague see the same.
function keep(shown) {
  const here = new URL(location.href);
  if (here.searchParams.has("cursor")) return;
  here.searchParams.set("limit", String(Math.min(shown, MOST_IN_ADDRESS)));
  history.replaceState(history.state, "", here);
}
