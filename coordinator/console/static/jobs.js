// A job that runs: one line for each hospital, and the table beside it kept as it is now. All of it
// is in the page without this script, too; what comes is put into places that are there already.
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  const section = document.querySelector("[data-job]");
  if (!section) return;
  const place = document.getElementById("curves"), path = "/jobs/" + section.dataset.job;
  const measure = document.getElementById("measure"), highlight = document.getElementById("highlight");
  const loaded = document.getElementById("loaded"), states = document.getElementById("states");
  const cells = [...document.querySelectorAll("#sites tbody tr")].map((row) => [...row.querySelectorAll("td")]);
  const looksAt = new URLSearchParams(location.search).get("round");
  const number = new Intl.NumberFormat(section.dataset.locale, { maximumFractionDigits: 4 });
  const ink = () => getComputedStyle(document.body).color;
  let chart = null, sites = [], rounds = [], figures = [], pooled = new Map(), news = null, drawing = 0, generation = 0;

  const columns = () => {
    const of = (at) => rounds.map((round) => pooled.get(round)?.[at] ?? null);
    return [rounds, ...sites.map((_, site) => figures.map((row) => row[site] ?? null)), of(0), of(1), of(2)];
  };
  const chosen = () => highlight.value === "" ? -1 : Number(highlight.value);
  const draw = () => {
    drawing = 0;
    if (!chart) {
      const axis = { stroke: ink, grid: { stroke: "#8884", width: 1 }, ticks: { stroke: "#8884" } };
      const site = (name, at) => ({ label: name, spanGaps: true,
        stroke: () => at === chosen() ? "#d9480f" : chosen() < 0 ? "#4a86c577" : "#4a86c533",
        width: 1, points: { show: rounds.length < 3, size: 4 } });
      const whole = (label, dash) => ({ label, stroke: ink, width: dash ? 1 : 3, dash, spanGaps: true, points: { show: !dash, size: 6 } });
      chart = new uPlot({
        width: place.clientWidth, height: 260, cursor: { show: false }, legend: { show: false },
        scales: { x: { time: false, range: (_, low, high) => [Math.min(low ?? 1, 1), Math.max(high ?? 1, Number(place.dataset.rounds), 2)] } },
        series: [{}, ...sites.map(site), whole(place.dataset.pooled), whole("", [4, 4]), whole("", [4, 4])],
        axes: [{ ...axis, label: place.dataset.round, incrs: [1, 2, 5, 10, 20, 50, 100, 200] },
               { ...axis, size: 60, values: (_, at) => at.map((one) => number.format(one)) }],
      }, columns(), place);
      return;
    }
    chart.setData(columns());
  };
  const soon = () => { drawing ||= requestAnimationFrame(draw); };
  const put = (round, row) => {
    const at = rounds.indexOf(round);
    if (at >= 0) figures[at] = row;
    else if (!rounds.length || round > rounds[rounds.length - 1]) { rounds.push(round); figures.push(row); }
    soon();
  };
  const read = async (mine, after) => {
    const answer = await fetch(`${path}/curves?measure=${encodeURIComponent(measure.value)}&after=${after}`);
    if (!answer.ok || mine !== generation) return;
    const found = await answer.json();
    if (mine !== generation) return;
    sites = found.sites;
    for (const [round, auc, low, high] of found.pooled) pooled.set(round, [auc, low, high]);
    for (const [round, row] of found.rounds) put(round, row);
    const last = found.rounds.length ? found.rounds[found.rounds.length - 1][0] : after;
    loaded.hidden = !found.more;
    loaded.textContent = `${rounds.length} ${loaded.dataset.says}`;
    if (found.more) await read(mine, last);
  };
  // One line for each round: a new one comes to the top, and the last of as many as there may be goes.
  const ends = (round, texts) => {
    const body = document.querySelector("#ends tbody");
    let row = body.querySelector(`[data-round="${Number(round)}"]`);
    if (!row) {
      const first = body.querySelector("tr");
      if (first && Number(first.dataset.round) > round) return;
      row = (first ?? document.getElementById("line").content.firstElementChild).cloneNode(true);
      row.dataset.round = round;
      const link = row.querySelector("a");
      link.href = `${path}?round=${Number(round)}#hospitals`;
      link.textContent = round;
      body.prepend(row);
      while (body.children.length > Number(section.dataset.lines)) body.lastElementChild.remove();
    }
    row.querySelectorAll("td").forEach((cell, at) => { if (cell.textContent !== texts[at]) cell.textContent = texts[at]; });
  };
  // A page that was opened before the first round has its places hidden until that begins.
  const begun = (now) => {
    document.getElementById("waiting")?.remove();
    for (const place of ["progress", "of-rounds", "of-round"]) document.getElementById(place).hidden = false;
    document.getElementById("round").textContent = now.round || now.number;
    if (looksAt === null) document.querySelector("#of-round > span").textContent = now.number;
  };
  const told = (now) => {
    const stage = document.getElementById("stage");
    if (stage.textContent !== now.stage) stage.textContent = now.stage;
    if (now.number) begun(now);
    for (const [at, auc, low, high] of now.pooled) pooled.set(at, [auc, low, high]);
    if (now.number) put(now.number, now.figures);
    for (const [at, texts] of now.newest) ends(at, texts);
    if (looksAt !== null) return;  // somebody reads another round
    if (states.textContent !== now.states) states.textContent = now.states;
    now.rows.forEach((row, at) => row.forEach((text, column) => {
      const cell = cells[at]?.[column];
      if (cell && cell.textContent !== text) cell.textContent = text;
    }));
  };
  const listen = () => {
    news?.close();
    if (section.dataset.live !== "yes") return;
    news = new EventSource(`${path}/live?measure=${encodeURIComponent(measure.value)}`);
    news.onmessage = (event) => { if (event.data) told(JSON.parse(event.data)); };
    news.addEventListener("over", () => news.close());
  };
  const begin = () => {
    generation += 1; rounds = []; figures = []; pooled = new Map();
    if (chart) { chart.destroy(); chart = null; }
    read(generation, 0).catch(() => {});
    listen();
  };
  measure.addEventListener("change", begin);
  highlight.addEventListener("change", () => { if (chart) chart.redraw(false); });
  addEventListener("resize", () => chart?.setSize({ width: place.clientWidth, height: 260 }));
  begin();
});
