"use strict";
// Live updates: events of the stream become events of the page (live-alarm, live-ticket, live-reservation,
// live-health), at most one of a kind in PAUSE_MS; the parts of a page that show them ask for themselves
// again. A page in the background lets go of the stream, so that many tabs do not use up the connections.
(() => {
  const PAUSE_MS = 2000;
  const KINDS = ["alarm", "ticket", "reservation", "health"];
  const sign = document.getElementById("live");
  const due = new Map();
  let source = null;

  const busy = () => document.querySelector("form.guarded[data-touched]") !== null;
  const tell = (kind) => {
    if (due.has(kind)) { due.set(kind, true); return; }
    due.set(kind, false);
    if (!busy()) document.body.dispatchEvent(new CustomEvent("live-" + kind));
    setTimeout(() => { const again = due.get(kind); due.delete(kind); if (again) tell(kind); }, PAUSE_MS);
  };
  const show = (state, text) => { if (sign) { sign.dataset.state = state; sign.textContent = text; } };

  const open = () => {
    if (source || document.hidden) return;
    source = new EventSource("/api/v1/stream");
    source.onopen = () => show("live", "live");
    source.onerror = () => show("lost", "reconnecting");
    for (const kind of KINDS) source.addEventListener(kind, () => tell(kind));
    source.addEventListener("lagged", () => KINDS.forEach(tell));
  };
  const close = () => { if (source) { source.close(); source = null; } };
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) close();
    else { open(); KINDS.forEach(tell); }
  });
  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", open);
  // What somebody is filling in is not replaced under their hands.
  document.addEventListener("input", (event) => {
    const form = event.target.closest("form.guarded");
    if (form) form.dataset.touched = "";
  });
  open();
})();

// A file is sent as it is: the body of one request.
document.addEventListener("submit", (event) => {
  const form = event.target.closest("form[data-upload]");
  if (!form) return;
  event.preventDefault();
  const file = form.querySelector("input[type=file]").files[0];
  const said = form.querySelector("[role=alert]");
  const button = form.querySelector("button");
  if (!file) return;
  const query = new URLSearchParams({ name: file.name });
  for (const field of form.querySelectorAll("input[name]")) {
    if (field.value.trim()) query.set(field.name, field.value.trim());
  }
  button.disabled = true;
  said.hidden = true;
  fetch(`${form.dataset.upload}?${query}`, {
    method: "POST",
    headers: { "Content-Type": file.type || "text/plain", "X-CSRF-Token": form.dataset.csrf },
    body: file,
  }).then(async (answer) => {
    if (answer.ok) { location.reload(); return; }
    const problem = await answer.json().catch(() => ({}));
    throw new Error(problem.detail || "The file was not taken.");
  }).catch((error) => {
    said.textContent = error.message;
    said.hidden = false;
    button.disabled = false;
  });
});
