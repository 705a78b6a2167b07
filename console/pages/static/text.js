// Text as a person can see it, as views/visible.py makes it for the other pages. A test compares the ranges.

export const HIDDEN = "\\u0000-\\u001f\\u007f-\\u009f\\u00ad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180f\\u200b-\\u200f\\u2028-\\u202e" +
  "\\u2060-\\u206f\\u3164\\ud800-\\udfff\\ufeff\\uffa0\\ufff0-\\ufffb\\u{1bca0}-\\u{1bca3}\\u{1d173}-\\u{1d17a}" +
  "\\u{e0000}-\\u{e0fff}";
const hidden = new RegExp(`[${HIDDEN}]`, "gu");
const BREAKS = { "\n": "↵", "\t": "⇥" };

function sign(character) {
  return BREAKS[character] ?? `⟨U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`;
}

// visible TEXT: one line of plain text.
export function visible(text) {
  return text.replace(hidden, sign);
}

// show TEXT in ELEMENT, and mark what stands for another character.
export function show(element, text) {
  if (text.search(hidden) < 0) {
    element.textContent = text;
    return;
  }
  element.textContent = "";
  let done = 0;
  for (const found of text.matchAll(hidden)) {
    if (found.index > done) element.append(text.slice(done, found.index));
    const mark = document.createElement("span");
    mark.className = "sign";
    mark.title = `U+${found[0].codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
    mark.textContent = sign(found[0]);
    element.append(mark);
    done = found.index + found[0].length;
  }
  if (done < text.length) element.append(text.slice(done));
}
