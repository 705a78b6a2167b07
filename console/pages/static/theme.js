// Before the first paint, so that the page does not flash in other colours, or with what is for browsers without script. It is no module for that reason alone.
document.documentElement.classList.add("script");
try {
  const theme = localStorage.getItem("theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // Without storage the system's colours are used.
}
