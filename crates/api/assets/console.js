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

// What a file is: by its name where systems call tables after the program that opens them.
const media = (file) => {
  if (/\.csv$/i.test(file.name)) return "text/csv";
  if (/\.json$/i.test(file.name)) return "application/json";
  return file.type || "text/plain";
};

// A signature: what is drawn on the pad goes the way of a file.
const drawn = new WeakSet();
const blank = (pad) => {
  const ink = pad.getContext("2d");
  ink.fillStyle = "#fff";
  ink.fillRect(0, 0, pad.width, pad.height);
  drawn.delete(pad);
};
document.addEventListener("pointerdown", (event) => {
  const pad = event.target.closest("canvas.pad");
  if (!pad || event.button > 0) return;
  event.preventDefault();
  if (!drawn.has(pad)) blank(pad);
  const ink = pad.getContext("2d");
  const at = (e) => {
    const box = pad.getBoundingClientRect();
    return [(e.clientX - box.left) * pad.width / box.width, (e.clientY - box.top) * pad.height / box.height];
  };
  Object.assign(ink, { lineWidth: 3, lineCap: "round", lineJoin: "round", strokeStyle: "#111" });
  ink.beginPath();
  ink.moveTo(...at(event));
  const move = (e) => { ink.lineTo(...at(e)); ink.stroke(); drawn.add(pad); };
  const end = () => { pad.removeEventListener("pointermove", move); };
  pad.setPointerCapture(event.pointerId);
  pad.addEventListener("pointermove", move);
  pad.addEventListener("pointerup", end, { once: true });
  pad.addEventListener("pointercancel", end, { once: true });
  pad.closest("form").dataset.touched = "";
});
document.addEventListener("reset", (event) => {
  const pad = event.target.querySelector("canvas.pad");
  if (pad) blank(pad);
});
const signature = async (pad) => {
  if (!drawn.has(pad)) return null;
  const picture = await new Promise((done) => { pad.toBlob(done, "image/png"); });
  return new File([picture], pad.dataset.name, { type: "image/png" });
};

// A file is sent as it is: the body of one request.
document.addEventListener("submit", async (event) => {
  const form = event.target.closest("form[data-upload]");
  if (!form) return;
  event.preventDefault();
  const pad = form.querySelector("canvas.pad");
  const said = form.querySelector("[role=alert]");
  const button = form.querySelector("button");
  button.disabled = true;
  const file = pad ? await signature(pad) : form.querySelector("input[type=file]").files[0];
  if (!file) {
    button.disabled = false;
    said.textContent = pad ? "Nothing is signed yet." : "Choose a file.";
    said.hidden = false;
    return;
  }
  const query = new URLSearchParams({ name: file.name });
  for (const field of form.querySelectorAll("input[name]")) {
    if (field.value.trim()) query.set(field.name, field.value.trim());
  }
  said.hidden = true;
  fetch(`${form.dataset.upload}?${query}`, {
    method: "POST",
    headers: { "Content-Type": media(file), "X-CSRF-Token": form.dataset.csrf },
    body: file,
  }).then(async (answer) => {
    if (answer.ok) { location.reload(); return; }
    const problem = await answer.json().catch(() => ({}));
    const lines = (problem.errors || []).slice(0, 20).map((e) => `line ${e.line}${e.column ? `, ${e.column}` : ""}: ${e.detail}`);
    throw new Error(lines.join("\n") || problem.detail || "The file was not taken.");
  }).catch((error) => {
    said.textContent = error.message;
    said.hidden = false;
    button.disabled = false;
  });
});
