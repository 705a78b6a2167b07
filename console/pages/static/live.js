// A part of a page that is renewed each second. The server makes it, so it looks the same without script.
import { writeAll } from "./times.js";

const EVERY_MS = 1000;
const PATIENCE_MS = 4000;

export function listen() {
  const part = document.querySelector("[data-live]");
  if (part) renew(part);
}

async function renew(part) {
  const stale = document.querySelector("[data-stale]");
  for (;;) {
    await new Promise((done) => { setTimeout(done, EVERY_MS); });
    // A hidden page costs nothing.
    if (document.hidden) continue;
    try {
      const answer = await fetch(part.dataset.live, { signal: AbortSignal.timeout(PATIENCE_MS) });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.querySelector("[data-live]");
      if (!fresh) throw new Error("no page");
      become(part, fresh);
      writeAll(part);
      stale.hidden = true;
    } catch {
      stale.hidden = false;
    }
  }
}

// become OLD FRESH: change only what differs, so that focus, selection and what a screen reader is reading stay.
function become(old, fresh) {
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  const wanted = [...fresh.childNodes];
  wanted.forEach((node, index) => {
    const present = old.childNodes[index];
    if (!present) old.append(document.importNode(node, true));
    else if (present.nodeType !== node.nodeType || present.nodeName !== node.nodeName) present.replaceWith(document.importNode(node, true));
    else if (node.nodeType === Node.ELEMENT_NODE) become(present, node);
    else if (present.data !== node.data) present.data = node.data;
  });
  while (old.childNodes.length > wanted.length) old.lastChild.remove();
}
