// Server-sent events over fetch: as EventSource, with the position told again after each cut, the reason of a refusal, and an
// end of patience when a connection is open and silent.

const SILENCE_MS = 40000;
const FIRST_RETRY_MS = 1000;
const LONGEST_RETRY_MS = 15000;

export class Refused extends Error {}

// parse: a function that takes pieces of text and calls EMIT with {event, data, id, own} for each whole event; `own`
// tells whether the position came with this event or with an earlier one.
export function parser(emit, setRetry) {
  let rest = "";
  let event = "";
  let data = [];
  let id = null;
  let own = false;
  let begun = false;
  return (piece) => {
    rest += begun ? piece : piece.replace(/^\ufeff/, "");
    begun ||= piece.length > 0;
    let at = 0;
    for (;;) {
      const found = /\r\n|\n|\r/g;
      found.lastIndex = at;
      const end = found.exec(rest);
      // A carriage return at the end may have its line feed in the next piece.
      if (!end || (end[0] === "\r" && end.index === rest.length - 1)) break;
      line(rest.slice(at, end.index));
      at = found.lastIndex;
    }
    rest = rest.slice(at);
  };

  function line(text) {
    if (text === "") {
      if (data.length) emit({ event: event || "message", data: data.join("\n"), id, own });
      own = false;
      event = "";
      data = [];
      return;
    }
    const colon = text.indexOf(":");
    const name = colon < 0 ? text : text.slice(0, colon);
    const value = colon < 0 ? "" : text.slice(colon + 1).replace(/^ /, "");
    if (name === "data") data.push(value);
    else if (name === "event") event = value;
    else if (name === "id" && !value.includes("\0")) {
      id = value;
      own = true;
    } else if (name === "retry" && /^\d+$/.test(value)) setRetry(Number(value));
  }
}

// follow URL: read it until SIGNAL, over any number of connections. HANDLE gets each event, STATE the connection's state.
export async function follow(url, { handle, state, signal }) {
  let last = null;
  let retry = FIRST_RETRY_MS;
  let failures = 0;
  while (!signal.aborted) {
    state("connecting", { again: failures > 0 || last !== null });
    let wait;
    try {
      const read = (one) => {
        if (one.id !== null) last = one.id;
        // Positions from before a reset mean nothing any more.
        if (one.event === "reset" && !one.own) last = null;
        handle(one);
      };
      await connection(url, last, { read, open: () => { failures = 0; state("live", {}); }, setRetry: (ms) => { retry = ms; }, signal });
      wait = retry;
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Refused && !error.retryMs) {
        state("refused", { why: error.message });
        return;
      }
      failures += 1;
      wait = error.retryMs ?? Math.min(LONGEST_RETRY_MS, retry * 2 ** (failures - 1));
      state("lost", { why: error.message, wait });
    }
    await pause(wait, signal);
  }
}

async function connection(url, last, { read, open, setRetry, signal }) {
  const gone = new AbortController();
  const end = () => gone.abort(new Error("nothing came for a while"));
  const stop = () => gone.abort(signal.reason);
  signal.addEventListener("abort", stop);
  let silence = setTimeout(end, SILENCE_MS);
  try {
    const headers = { Accept: "text/event-stream" };
    if (last !== null) headers["Last-Event-ID"] = last;
    const answer = await fetch(url, { headers, cache: "no-store", signal: gone.signal });
    if (!answer.ok) throw await refusal(answer);
    open();
    const take = parser(read, setRetry);
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      clearTimeout(silence);
      silence = setTimeout(end, SILENCE_MS);
      take(value);
    }
  } finally {
    clearTimeout(silence);
    signal.removeEventListener("abort", stop);
  }
}

async function refusal(answer) {
  let why = `the answer was ${answer.status}`;
  try {
    why = (await answer.json()).detail ?? why;
  } catch {
    // It is no problem document.
  }
  const after = Number(answer.headers.get("Retry-After"));
  // Too many readers, or a part that is away: later it may be otherwise. Anything else stays refused.
  const passing = answer.status === 429 || answer.status >= 500;
  const error = passing ? new Error(why) : new Refused(why);
  if (passing && after > 0) error.retryMs = after * 1000;
  return error;
}

function pause(ms, signal) {
  return new Promise((done) => {
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", () => { clearTimeout(timer); done(); }, { once: true });
  });
}
