// What the pages do beyond HTML: charts, and slices that follow the slider. They work without it.
"use strict";
const COLOURS = ["#00aa77", "#c2570c", "#7c6fd6", "#d6336c", "#5a8f1a", "#b08900"];
const drawn = new Set();
addEventListener("resize", () => {
  for (const [place, chart] of drawn)
    if (place.isConnected) chart.setSize({ width: place.clientWidth, height: chart.height });
});
// Bars by name, beside each other where there are several, with whiskers of what noise leaves.
const drawBars = (place) => {
  const { labels, series } = JSON.parse(place.dataset.bars), wide = 0.8 / series.length;
  const at = labels.flatMap((_, i) => series.map((_, s) => i + (s - (series.length - 1) / 2) * wide));
  const spread = (values, s) => at.map((_, i) => (i % series.length === s ? values[Math.floor(i / series.length)] : null));
  const ink = getComputedStyle(document.body).color, axis = { stroke: ink, grid: { stroke: "#8884", width: 1 }, ticks: { stroke: "#8884" } };
  const whiskers = (u) => {
    const { ctx } = u; ctx.save(); ctx.strokeStyle = ink; ctx.lineWidth = devicePixelRatio;
    series.forEach((one, s) => one.counts.forEach((count, i) => {
      if (count === null) return;
      const x = u.valToPos(at[i * series.length + s], "x", true), reach = 3 * devicePixelRatio;
      const [low, high] = [count - one.margins[i], count + one.margins[i]].map((v) => u.valToPos(v, "y", true));
      ctx.beginPath(); ctx.moveTo(x, low); ctx.lineTo(x, high);
      for (const y of [low, high]) { ctx.moveTo(x - reach, y); ctx.lineTo(x + reach, y); }
      ctx.stroke();
    }));
    ctx.restore();
  };
  const top = Math.max(1, ...series.flatMap((one) => one.counts.map((c, i) => (c ?? 0) + (one.margins[i] ?? 0))));
  const low = Math.min(0, ...series.flatMap((one) => one.counts.map((c, i) => (c ?? 0) - (one.margins[i] ?? 0))));
  const longest = Math.max(...labels.map((label) => label.length));
  const crowded = (longest + 2) * 7 > (place.clientWidth - 70) / labels.length;
  const chart = new uPlot({
    width: place.clientWidth, height: 260, cursor: { show: false }, legend: { show: series.length > 1, live: false },
    scales: { x: { time: false, range: [-0.6, labels.length - 0.4] }, y: { range: [low, top * 1.05] } },
    series: [{ label: "" }, ...series.map((one, s) => ({ label: one.name, stroke: COLOURS[s % COLOURS.length], fill: COLOURS[s % COLOURS.length] + "99", paths: uPlot.paths.bars({ size: [0.9, 60] }), points: { show: false } }))],
    axes: [{ ...axis, splits: labels.map((_, i) => i), rotate: crowded ? -60 : 0, size: crowded ? 90 : 40, values: () => labels }, { ...axis, size: 70 }],
    hooks: { draw: [whiskers] },
  }, [at, ...series.map((one, s) => spread(one.counts, s))], place);
  for (const pair of drawn) if (!pair[0].isConnected) drawn.delete(pair); // swapped away
  drawn.add([place, chart]);
};
const drawAll = () => {
  for (const place of document.querySelectorAll("[data-bars]:not([data-drawn])")) {
    place.dataset.drawn = "1"; drawBars(place);
  }
};
document.addEventListener("DOMContentLoaded", drawAll);
document.addEventListener("htmx:load", drawAll);
document.addEventListener("DOMContentLoaded", () => {
  const ink = () => getComputedStyle(document.body).color;
  for (const place of document.querySelectorAll("[data-chart]")) {
    const rows = JSON.parse(place.dataset.chart);
    const hour = new Intl.DateTimeFormat(place.dataset.locale, { hour: "2-digit", minute: "2-digit", hour12: false });
    const axis = { stroke: ink, grid: { stroke: "#8884", width: 1 }, ticks: { stroke: "#8884" } };
    const chart = new uPlot({
      width: place.clientWidth, height: 200, cursor: { show: false }, legend: { show: false },
      scales: { y: { range: (_, low, high) => [0, Math.max(high, 1)] } },
      series: [{}, { label: place.dataset.label, stroke: "#0a7", fill: "#0a75", width: 2, paths: uPlot.paths.bars({ size: [0.7, 60] }), points: { show: false } }],
      axes: [{ ...axis, space: 70, values: (_, at) => at.map((one) => hour.format(new Date(one * 1000))) }, { ...axis, size: 60 }],
    }, [rows.map((row) => row[0]), rows.map((row) => row[1])], place);
    addEventListener("resize", () => chart.setSize({ width: place.clientWidth, height: 200 }));
  }
  for (const figure of document.querySelectorAll("[data-slices]")) {
    const image = figure.querySelector("img"), slider = figure.querySelector("input[type=range]");
    const output = figure.querySelector("output");
    let wanted = null, busy = false;
    const next = () => {
      if (wanted === null) { busy = false; return; }
      busy = true; image.src = figure.dataset.slices + wanted + ".png"; wanted = null;
    };
    image.addEventListener("load", next); image.addEventListener("error", next);
    slider.addEventListener("input", () => {
      output.textContent = slider.value; wanted = slider.value;
      if (!busy) next();
    });
  }
});
