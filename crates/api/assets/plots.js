"use strict";
// The plots of an asset: a figure per metric with mean, band, limits and marks.
(() => {
  const host = document.getElementById("plots");
  if (!host || !host.dataset.last) return;
  const HOUR_MS = 3600000, HEIGHT = 170;
  const first = Date.parse(host.dataset.first);
  let last = Date.parse(host.dataset.last);
  const asset = encodeURIComponent(host.dataset.asset), device = encodeURIComponent(host.dataset.device);
  const buttons = [...document.querySelectorAll(".ranges button")];
  let range = "24", shown = null, plots = [], asked = 0;

  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const get = async (url) => {
    const answer = await fetch(url, { headers: { accept: "application/json" } });
    if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).detail || answer.statusText);
    return answer.json();
  };
  const text = (tag, content, kind) => {
    const element = document.createElement(tag);
    element.textContent = content;
    if (kind) element.className = kind;
    return element;
  };
  const short = (x) => Number.isFinite(x) ? Number(x.toPrecision(3)).toLocaleString("en") : "\u2014";
  const stamp = (s) => new Date(s * 1000).toISOString().slice(0, 16).replace("T", " ") + " UTC";

  // Hours, with the day below where it is new; days alone where ticks are that far apart.
  const clock = (u, ticks, index, space, step) => {
    let day = "";
    return ticks.map((s) => {
      const iso = new Date(s * 1000).toISOString(), today = iso.slice(5, 10);
      if (step >= 86400) return today;
      const label = today === day ? iso.slice(11, 16) : iso.slice(11, 16) + "\n" + today;
      day = today;
      return label;
    });
  };

  // Horizontal limits and vertical marks, drawn under the line.
  const marks = (series, alarms, tickets) => (u) => {
    const { ctx, bbox } = u, ratio = window.devicePixelRatio || 1;
    ctx.save();
    ctx.beginPath(); ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height); ctx.clip();
    const stroke = (style, dash, x0, y0, x1, y1) => {
      ctx.strokeStyle = style; ctx.lineWidth = 1.5 * ratio; ctx.setLineDash(dash.map((d) => d * ratio));
      ctx.beginPath(); ctx.moveTo(x0, y0); ctx.lineTo(x1, y1); ctx.stroke();
    };
    for (const [name, limit] of Object.entries(series.limits)) {
      if (limit === null) continue;
      const y = u.valToPos(limit, "y", true);
      stroke(color(name.startsWith("critical") ? "--critical-fill" : "--warning-fill"), [5, 4], bbox.left, y, bbox.left + bbox.width, y);
    }
    const vertical = (at, style, dash) => { const x = u.valToPos(at, "x", true); stroke(style, dash, x, bbox.top, x, bbox.top + bbox.height); };
    for (const a of alarms) vertical(a.at, color(a.severity === "critical" ? "--critical-fill" : "--warning-fill"), []);
    for (const t of tickets) vertical(t.at, color("--text"), [2, 3]);
    ctx.restore();
  };

  const draw = ({ telemetry, alarms, tickets }) => {
    plots.forEach((p) => { p.watch.disconnect(); p.plot.destroy(); });
    plots = [];
    host.replaceChildren();
    const filled = telemetry.series.filter((s) => s.points.length > 0);
    if (filled.length === 0) { host.append(text("p", "No readings in this range.", "empty")); return; }
    const from = Date.parse(telemetry.from) / 1000, to = Date.parse(telemetry.to) / 1000;
    for (const series of filled) {
      const at = series.points.map((p) => Date.parse(p.ts) / 1000);
      const mean = series.points.map((p) => p.mean), min = series.points.map((p) => p.min), max = series.points.map((p) => p.max);
      const low = Math.min(...min), high = Math.max(...max), unit = series.unit ? " " + series.unit : "";
      const figure = text("figure", "", "plot card"), caption = document.createElement("figcaption");
      const name = text("span", series.metric + (series.unit ? " (" + series.unit + ")" : ""));
      const value = text("span", "", "muted");
      caption.append(name, value);
      figure.append(caption);
      host.append(figure);
      const newest = () => { value.textContent = "last " + short(mean[mean.length - 1]) + unit; };
      newest();
      const frame = document.createElement("div");
      frame.setAttribute("role", "img");
      frame.setAttribute("aria-label", `${series.metric}: ${short(low)} to ${short(high)}${unit}, last ${short(mean[mean.length - 1])}${unit}, ${stamp(at[0])} to ${stamp(at[at.length - 1])}`);
      figure.append(frame);
      const axis = { stroke: color("--muted"), grid: { stroke: color("--line"), width: 1 }, ticks: { stroke: color("--line"), width: 1 }, font: "12px system-ui, sans-serif" };
      // Limits are in view where the readings come near them.
      const limits = Object.values(series.limits).filter((l) => l !== null && l >= low - (high - low || Math.abs(high) || 1) && l <= high + (high - low || Math.abs(high) || 1));
      const plot = new uPlot({
        width: Math.max(200, frame.clientWidth), height: HEIGHT, tzDate: (ts) => uPlot.tzDate(new Date(ts * 1000), "Etc/UTC"),
        legend: { show: false }, cursor: { sync: { key: "asset" }, points: { size: 6 } },
        scales: {
          x: { range: (u, a, b) => (u.zoomed ? [a, b] : [from, to]) },
          y: { range: () => series.metric === "health" ? [0, 100] : uPlot.rangeNum(Math.min(low, ...limits), Math.max(high, ...limits), 0.1, true) },
        },
        series: [{}, { stroke: "transparent", points: { show: false } }, { stroke: "transparent", points: { show: false } },
          { stroke: color("--accent"), width: 1.6, points: { show: at.length < 40, size: 4, fill: color("--accent") } }],
        bands: [{ series: [1, 2], fill: color("--band") }],
        axes: [{ ...axis, space: 64, values: clock }, { ...axis, size: 56, values: (u, v) => v.map(short) }],
        hooks: {
          drawAxes: [marks(series, alarms, tickets)],
          setSelect: [(u) => { u.zoomed = u.select.width > 0; }],
          setCursor: [(u) => {
            const i = u.cursor.idx;
            if (i == null || mean[i] === undefined) newest();
            else value.textContent = `${stamp(at[i])}: ${short(mean[i])}${unit} (${short(min[i])} to ${short(max[i])})`;
          }],
        },
      }, [at, max, min, mean], frame);
      const watch = new ResizeObserver(() => { const width = Math.floor(frame.clientWidth); if (width > 0 && width !== plot.width) plot.setSize({ width, height: HEIGHT }); });
      watch.observe(frame);
      plots.push({ plot, watch });
    }
  };

  const load = async () => {
    const turn = ++asked;
    host.setAttribute("aria-busy", "true");
    const span = range === "all" ? "&from=" + encodeURIComponent(new Date(first).toISOString()) + "&to=" + encodeURIComponent(new Date(last + 1).toISOString())
      : "&from=" + encodeURIComponent(new Date(last + 1 - Number(range) * HOUR_MS).toISOString()) + "&to=" + encodeURIComponent(new Date(last + 1).toISOString());
    try {
      const [telemetry, alarms, tickets] = await Promise.all([
        get(`/api/v1/assets/${asset}/telemetry?points=300${span}`),
        get(`/api/v1/alarms?device=${device}&limit=200`), get(`/api/v1/tickets?asset=${asset}&limit=200`)]);
      if (turn !== asked) return;
      shown = {
        telemetry,
        alarms: alarms.items.map((a) => ({ at: Date.parse(a.raised_at) / 1000, severity: a.severity })),
        tickets: tickets.items.map((t) => ({ at: Date.parse(t.opened_at) / 1000 })),
      };
      draw(shown);
    } catch (error) {
      if (turn !== asked) return;
      shown = null;
      host.replaceChildren(text("p", "The readings cannot be shown: " + error.message, "empty"));
    } finally {
      if (turn === asked) host.setAttribute("aria-busy", "false");
    }
  };

  for (const button of buttons) {
    button.addEventListener("click", () => {
      range = button.dataset.range;
      buttons.forEach((b) => b.setAttribute("aria-pressed", String(b === button)));
      load();
    });
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { if (shown) draw(shown); });
  // New readings move the range along; a plot somebody is looking into closely stays.
  const QUIET_MS = 5000;
  let moved = 0;
  document.body.addEventListener("live-health", async () => {
    const now = performance.now();
    if (now - moved < QUIET_MS || plots.some((p) => p.plot.zoomed)) return;
    moved = now;
    const page = await get(`/api/v1/devices/${device}`).catch(() => null);
    const newest = page && page.scored_at ? Date.parse(page.scored_at) : last;
    if (newest > last) { last = newest; load(); }
  });
  load();
})();
