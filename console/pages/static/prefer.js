// What a reader prefers: colours, zone, keys, long lines. It belongs to the reader and not to what is shown, so it is in the
// browser's storage and not in the address.

const kept = new Map();

export function preferred(name, otherwise) {
  try {
    return localStorage.getItem(name) ?? otherwise;
  } catch {
    return kept.get(name) ?? otherwise;
  }
}

export function prefer(name, value) {
  kept.set(name, value);
  try {
    localStorage.setItem(name, value);
  } catch {
    // Storage is switched off: it holds for this page.
  }
}

// say TEXT: tell it to those who see and to those who listen. It goes away by itself.
let clearing;
export function say(text) {
  const place = document.getElementById("said");
  place.textContent = text;
  clearTimeout(clearing);
  clearing = setTimeout(() => { place.textContent = ""; }, 5000);
}
