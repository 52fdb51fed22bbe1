// What the pages do beyond HTML: a chart, and slices that follow the slider. They work without it.
"use strict";
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
