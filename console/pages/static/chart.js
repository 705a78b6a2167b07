// A span of time is chosen by drawing over the chart. A click on a bar is an ordinary link.

const LEAST_PX = 6;

export function listen() {
  for (const plot of document.querySelectorAll("[data-chart]")) watch(plot);
}

function watch(plot) {
  const chosen = plot.querySelector(".chosen");
  let from = null;
  let drawn = false;
  const at = (event) => Math.max(0, Math.min(1, (event.clientX - plot.getBoundingClientRect().left) / plot.clientWidth));

  plot.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || event.pointerType === "touch") return;
    from = at(event);
    drawn = false;
  });
  plot.addEventListener("dragstart", (event) => event.preventDefault());
  window.addEventListener("pointermove", (event) => {
    if (from === null) return;
    const to = at(event);
    drawn ||= Math.abs(to - from) * plot.clientWidth > LEAST_PX;
    chosen.hidden = !drawn;
    chosen.style.left = `${100 * Math.min(from, to)}%`;
    chosen.style.width = `${100 * Math.abs(to - from)}%`;
  });
  window.addEventListener("pointerup", (event) => {
    if (from === null) return;
    const [begin, end] = [from, at(event)].sort((a, b) => a - b);
    from = null;
    if (drawn) narrow(plot, begin, end);
    chosen.hidden = true;
  });
  window.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && from !== null) {
      from = null;
      chosen.hidden = true;
      event.preventDefault();
    }
  }, true);
  plot.addEventListener("click", (event) => { if (drawn) event.preventDefault(); }, true);
}

function narrow(plot, begin, end) {
  const [low, high] = [Number(plot.dataset.begin), Number(plot.dataset.end)];
  const moment = (share) => new Date(low + share * (high - low)).toISOString();
  const here = new URL(location.href);
  here.hash = "";
  here.searchParams.delete("cursor");
  here.searchParams.set("from", moment(begin));
  here.searchParams.set("to", moment(end));
  location.assign(here);
}
