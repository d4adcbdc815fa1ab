"use strict";
// The page shows /metrics, /ready and /monitor of its own server, and the traffic of the minutes before it was opened.
// Data becomes text, never markup.

const POLL = 2000; // milliseconds between two requests for /metrics
const AGAIN = 60000; // and for /monitor, when /metrics does not say that it changed
const PATIENCE = 5000; // milliseconds that an answer may take
const KEPT = 300; // seconds that the lines show
const RECENT = 60; // seconds that shares and quantiles are computed over
const SMOOTH = 10; // seconds that rates are computed over
const WINDOWS = 24; // the newest windows, in the heat map and the charts
const COLUMNS = 40; // the columns of most weight, in the heat map
const SEVERITIES = ["ok", "info", "warning", "critical"];
const METRICS = {
  roc_auc: ["ROC AUC", 1], pr_auc: ["Average precision", 1], accuracy: ["Accuracy", 1], precision: ["Precision", 1],
  recall: ["Recall", 1], f1: ["F1", 1], brier: ["Brier score", -1], log_loss: ["Log loss", -1],
  ece: ["Calibration error", -1], cost: ["Cost", -1],
};
const APART = { "(prediction)": "the predictions", "(multivariate)": "all columns together" };
const SVG = document.querySelector("svg").namespaceURI;

const find = (selector, parent = document) => parent.querySelector(selector);

function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children); // strings become text
  return element;
}

function draw(name, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

// --- words for numbers

const round = (value, digits) => value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
const sayCount = (value, one, many = `${one}s`) => `${round(value, 0)} ${value === 1 ? one : many}`;
const sayRate = (value) => round(value, value > 0 && value < 10 ? 1 : 0);
const sayShare = (value) => `${round(100 * value, value > 0 && value < 0.1 ? 1 : 0)} %`;
const sayTime = (date) => date.toLocaleTimeString("en-GB");

function saySeconds(...values) {
  const [size, unit] = Math.max(...values) >= 1 ? [1, "s"] : [1000, "ms"];
  const words = values.map((value) => size * value).map((value) => round(value, value < 1 ? 2 : value < 10 ? 1 : 0));
  return `${words.join(" / ")} ${unit}`;
}

function sayDuration(seconds) {
  for (const [size, name] of [[86400, "day"], [3600, "hour"], [60, "minute"]])
    if (seconds >= size) return sayCount(Math.floor(seconds / size), name);
  return "less than a minute";
}

// --- Prometheus' text

const ESCAPED = { "\\n": "\n", "\\\\": "\\", '\\"': '"' };

function parseMetrics(text) {
  const families = new Map();
  for (const line of text.split("\n")) {
    const found = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/.exec(line);
    if (!found) continue;
    const labels = {};
    for (const [, key, value] of (found[2] || "").matchAll(/(\w+)="((?:\\.|[^"\\])*)"/g))
      labels[key] = value.replace(/\\[n"\\]/g, (pair) => ESCAPED[pair]);
    if (!families.has(found[1])) families.set(found[1], []);
    families.get(found[1]).push({ labels, value: Number(found[3].replace("Inf", "Infinity")) });
  }
  return families;
}

function sum(families, name, wanted = () => true) {
  return (families.get(name) || []).filter((sample) => wanted(sample.labels)).reduce((total, { value }) => total + value, 0);
}

const readBuckets = (pairs) => pairs
  .map(([bound, count]) => [Number(bound.replace("+Inf", "Infinity")), count])
  .sort(([one], [other]) => one - other);

function takeSample(families) {
  const ours = (labels) => labels.path === "/predict";
  const answered = sum(families, "prediction_latency_seconds_count");
  const errors = "http_errors_total";
  return {
    at: performance.now() / 1000,
    answered,
    asked: answered + sum(families, errors, ours),
    failed: sum(families, errors, (labels) => labels.status.startsWith("5")),
    refused: sum(families, errors, (labels) => ours(labels) && labels.status.startsWith("4")),
    buckets: readBuckets((families.get("prediction_latency_seconds_bucket") || []).map(({ labels, value }) => [labels.le, value])),
  };
}

async function readHistory() {
  // the server's totals of the last minutes, oldest first, so that the page need not wait a minute for "the last minute"
  const answer = await ask("/dashboard/traffic");
  if (!answer.ok) return [];
  const now = performance.now() / 1000;
  return (await answer.json()).map(({ age, buckets, ...totals }) => ({ at: now - age, ...totals, buckets: readBuckets(Object.entries(buckets)) }));
}

function pastSample(samples, seconds) {
  // the newest sample that is at least this old, else the oldest
  const last = samples[samples.length - 1];
  return samples.findLast((sample) => last.at - sample.at >= seconds) || samples[0];
}

function estimateQuantile(share, before, after) {
  // as Prometheus' histogram_quantile does: linear within a bucket; before: null counts from the start
  const earlier = new Map(before ? before.buckets : []);
  const counts = after.buckets.map(([bound, count]) => [bound, count - (earlier.get(bound) || 0)]);
  const total = counts.length ? counts[counts.length - 1][1] : 0;
  if (!total) return null;
  let low = 0, below = 0;
  for (const [bound, count] of counts) {
    if (count >= share * total) return bound === Infinity ? low : low + ((bound - low) * (share * total - below)) / (count - below);
    [low, below] = [bound, count];
  }
  return low;
}

// --- requests

const samples = [];
const history = { requests: [], errors: [], latency: [], accuracy: [] };

function showCard(name, value, note, bad = false) {
  const card = find(`#${name}`);
  find(".value", card).textContent = value;
  find(".value", card).classList.toggle("bad", bad);
  find(".note", card).textContent = note;
  drawSpark(find(".spark", card), history[name]);
}

function addPoint(name, at, value) {
  const points = history[name];
  points.push([at, value]);
  while (points[0][0] < at - KEPT) points.shift();
}

function drawSpark(svg, points) {
  const known = points.filter(([, value]) => value !== null);
  svg.setAttribute("viewBox", "0 0 100 30");
  svg.setAttribute("preserveAspectRatio", "none");
  if (known.length < 2) return svg.replaceChildren();
  const end = points[points.length - 1][0], start = Math.min(points[0][0], end - RECENT);
  const top = Math.max(...known.map(([, value]) => value)) || 1;
  const place = ([at, value]) => `${((100 * (at - start)) / (end - start)).toFixed(2)} ${(28 - (25 * value) / top).toFixed(2)}`;
  const line = `M${known.map(place).join("L")}`;
  const x = (point) => place(point).split(" ")[0];
  const area = `${line}L${x(known[known.length - 1])} 30L${x(known[0])} 30Z`;
  svg.replaceChildren(draw("path", { class: "area", d: area }), draw("path", { d: line }));
}

function addSample(sample) {
  const last = samples[samples.length - 1];
  if (last && (sample.asked < last.asked || sample.failed < last.failed)) samples.length = 0; // the server was restarted
  samples.push(sample);
  while (samples[0].at < sample.at - KEPT) samples.shift();
  const traffic = measureTraffic();
  addPoint("requests", sample.at, traffic.rate);
  addPoint("errors", sample.at, traffic.share);
  addPoint("latency", sample.at, traffic.slow);
  return traffic;
}

function measureTraffic() {
  // the rate of requests, and the failures and latencies of the last minute; before the first minute is over, since the start
  const sample = samples[samples.length - 1];
  const near = pastSample(samples, SMOOTH), recent = samples.length > 1 ? pastSample(samples, RECENT) : null;
  const [failed, refused, asked] = ["failed", "refused", "asked"].map((name) => sample[name] - (recent ? recent[name] : 0));
  const [median, slow] = [0.5, 0.99].map((part) => estimateQuantile(part, recent, sample));
  const rate = recent ? (sample.asked - near.asked) / (sample.at - near.at) : null;
  return { sample, failed, refused, rate, median, slow, share: failed / Math.max(asked, failed, 1), recent: recent !== null };
}

function showTraffic(families) {
  const { sample, failed, refused, rate, median, slow, share, recent } = addSample(takeSample(families));
  const when = recent ? "in the last minute" : "since the start";
  showCard("requests", rate === null ? "…" : sayRate(rate), `${sayCount(sample.asked, "request")} for predictions since the start`);
  showCard("errors", sayShare(share), `${round(failed, 0)} failed (5xx), ${round(refused, 0)} refused (4xx) ${when}`, share > 0.01);
  const note = slow !== null ? `of the predictions ${when}` : recent ? "No requests in the last minute." : "No requests yet.";
  showCard("latency", slow === null ? "–" : saySeconds(median, slow), note);
  showAccuracy(families, sample.at);
  showInputs(families);
}

function showInputs(families) {
  // what was taken, but not as the model knows it: by column, since the start
  const list = (name) => (families.get(name) || []).filter(({ value }) => value > 0)
    .sort((one, other) => other.value - one.value)
    .map(({ labels, value }) => `${labels.column} (${round(value, 0)})`);
  const unseen = list("model_inputs_unseen_total"), ignored = list("model_inputs_ignored_total");
  find("#inputs").textContent = [
    unseen.length ? `Values that the contract's open lists do not have, since the start: ${unseen.join(", ")}.` : "",
    ignored.length ? `Columns that were ignored because the model does not read them: ${ignored.join(", ")}.` : "",
  ].filter(Boolean).join(" ");
}

function showAccuracy(families, at) {
  const model = ((families.get("model_info") || [])[0] || { labels: {} }).labels.model;
  const labelled = sum(families, "model_feedback_total", (labels) => labels.model === model);
  const correct = sum(families, "model_feedback_total", (labels) => labels.model === model && labels.correct === "true");
  addPoint("accuracy", at, labelled ? correct / labelled : null);
  const note = labelled ? `of ${sayCount(labelled, "prediction")} of the live model with a label` : "No labels for the live model yet.";
  showCard("accuracy", labelled ? `${round((100 * correct) / labelled, 1)} %` : "–", note);
}

// --- the model

function showVerdict(selector, kind, title, ...lines) {
  const box = find(selector);
  box.className = `verdict ${kind}`;
  box.replaceChildren(make("strong", {}, title), ...lines.filter(Boolean).map((line) => make("div", {}, line)));
}

async function showState(families) {
  const info = families.get("model_info")[0].labels;
  const age = families.get("model_age_seconds");
  const since = age ? `live for ${sayDuration(age[0].value)}` : "";
  const line = [info.family, since, `bundle ${info.bundle}`].filter(Boolean).join(" · ");
  if (sum(families, "model_ready") === 1) return showVerdict("#state", "good", `Model ${info.model} is live and ready`, line);
  const ready = await (await ask("/ready")).json();
  const title = ready.status === "draining" ? "The server is stopping" : `Model ${info.model} does not work properly`;
  showVerdict("#state", ready.status === "ready" ? "good" : "bad", title, line, ...ready.problems);
}

// --- the monitoring report

let shown = null; // the report on the page, and when its file was written
let written = null; // the same moment, by /metrics; and when we last asked for the report
let asked = -Infinity;

async function followMonitor(families) {
  const stamp = sum(families, "monitor_written_timestamp_seconds");
  if (stamp === written && performance.now() - asked < AGAIN) return;
  const answer = await ask("/monitor");
  [written, asked] = [stamp, performance.now()];
  if (answer.status === 404) {
    shown = null;
    showVerdict("#report", "", "No monitoring report yet", (await answer.json()).detail);
    find("#standing").replaceChildren();
    for (const section of ["#drift", "#performance"]) find(section).hidden = true;
    return;
  }
  shown = { report: await answer.json(), at: Date.parse(answer.headers.get("last-modified")) };
  shown.report.windows.sort((one, other) => Date.parse(one.end) - Date.parse(other.end));
  showAlerts(shown.report);
  showHeat(shown.report);
  showPerformance(shown.report);
}

function showReport(families) {
  if (!shown) return;
  const { report, at } = shown, live = families.get("model_info")[0].labels.model;
  const newest = report.windows.findLast((window) => window.judged);
  const count = report.alerts.length;
  const title = {
    ok: "No alerts: neither the data nor the model's performance has changed",
    info: `${sayCount(count, "alert")}: no action needed`,
    warning: `${sayCount(count, "alert")}: investigate the cause`,
    critical: `${sayCount(count, "alert")}: action needed`,
  }[report.severity];
  const counted = newest ? `Newest window ${newest.name}: ${sayCount(newest.rows, "row")}, ${round(newest.labelled, 0)} of them labelled` : "No window has enough rows";
  const simulated = report.simulated ? "This report is about a simulated log, not about this server's predictions." : "";
  const foreign = report.model === live ? "" : `This report is about model ${report.model}; model ${live} has become live since.`;
  showVerdict("#report", report.severity === "ok" ? "good" : report.severity, title, `${counted} · written ${sayDuration((Date.now() - at) / 1000)} ago`, simulated, foreign);
}

function showAlerts(report) {
  const rank = (alert) => SEVERITIES.indexOf(alert.severity);
  const lines = [...report.alerts].sort((one, other) => rank(other) - rank(one)).map((alert) => make(
    "li", { class: alert.severity },
    make("span", { class: `badge ${alert.severity}` }, alert.severity),
    make("span", {}, alert.message),
    make("span", { class: "since" }, alert.since ? `since ${alert.since}` : ""),
  ));
  find("#standing").replaceChildren(...lines);
}

function gradeHeat(psi) {
  return [0.05, 0.1, 0.25, 0.5].filter((limit) => psi >= limit).length;
}

function showHeat(report) {
  const windows = report.windows.slice(-WINDOWS);
  const cells = new Map(report.drift.map((row) => [JSON.stringify([row.column, row.window]), row]));
  const weight = (column) => report.weights[column] ?? 0;
  const columns = [...report.columns].sort((one, other) => weight(other) - weight(one));
  const apart = [...new Set(report.drift.map((row) => row.column))].filter((column) => !report.columns.includes(column));
  const shown = [...apart, ...columns.slice(0, COLUMNS)];
  const most = Math.max(...columns.map(weight), 1e-9);
  const head = make("tr", {}, make("th", { class: "column" }, "Column"), make("th", { class: "weight" }, "Weight"));
  head.append(...windows.map((window) => make("th", { title: sayCount(window.rows, "row") }, window.name)));
  const body = shown.map((column, place) => {
    const own = place >= apart.length;
    const name = make("th", { class: own ? "column" : "column apart", title: column, scope: "row" }, APART[column] ?? column);
    const row = make("tr", {}, name);
    if (place === apart.length - 1) row.className = "last-apart";
    row.append(own ? makeWeight(weight(column), most) : make("th", { class: "weight" }));
    row.append(...windows.map((window) => makeCell(cells.get(JSON.stringify([column, window.name])), window)));
    return row;
  });
  find("#heat thead").replaceChildren(head);
  find("#heat tbody").replaceChildren(...body);
  const left = columns.length - COLUMNS;
  find("#omitted").textContent = left > 0 ? `${sayCount(left, "column")} with less weight not shown.` : "";
  const first = find("#drift").hidden;
  find("#drift").hidden = !windows.length;
  if (first) find("#drift .table").scrollLeft = find("#heat").scrollWidth; // the newest windows
}

function makeWeight(weight, most) {
  const bar = draw("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" });
  bar.append(draw("rect", { width: 100, height: 10 }), draw("rect", { class: "share", width: (100 * weight) / most, height: 10 }));
  return make("th", { class: "weight" }, bar, sayShare(weight));
}

function makeCell(row, window) {
  if (!row) return make("td", { class: "heat-none", title: `${window.name}: ${sayCount(window.rows, "row")}` }, "–");
  const grade = row.psi === null ? (row.drifted ? 3 : 0) : gradeHeat(row.psi);
  const facts = [["PSI", row.psi], ["distance", row.distance], ["p", row.p], ["missing", row.missing]]
    .filter(([, value]) => value !== null && value !== undefined)
    .map(([name, value]) => `${name} ${name === "missing" ? sayShare(value) : Number(value.toPrecision(3))}`);
  if (row.new?.length) facts.push(`new: ${row.new.map((value) => `"${value}"`).join(" ")}`);
  const title = `${row.column}, ${row.window}: ${[...facts, row.drifted ? "drifted" : "not drifted"].join(", ")}`;
  const text = row.psi === null ? (row.drifted ? "drift" : "none") : round(row.psi, 2);
  return make("td", { class: `heat-${grade}${row.drifted ? " drifted" : ""}`, title }, text);
}

function showPerformance(report) {
  const windows = report.windows.slice(-WINDOWS).map((window) => window.name);
  const metrics = [...new Set(report.performance.map((row) => row.metric))];
  const charts = metrics.map((metric) => {
    const rows = report.performance.filter((row) => row.metric === metric && windows.includes(row.window));
    rows.sort((one, other) => windows.indexOf(one.window) - windows.indexOf(other.window));
    return makeChart(metric, windows, rows);
  });
  find("#charts").replaceChildren(...charts);
  find("#performance").hidden = !charts.length;
}

function chooseStep(least) {
  // 1, 2 or 5 of some power of ten
  const power = 10 ** Math.floor(Math.log10(least));
  return power * [1, 2, 5, 10].find((times) => times * power >= least);
}

function makeChart(metric, windows, rows) {
  const [title, way] = METRICS[metric] || [metric, 0];
  const width = 360, height = 210, left = 40, right = 16, top = 10, bottom = 26;
  const values = rows.flatMap(({ realised, expected }) => [realised, expected].filter(Boolean).flatMap(({ low, high, value }) => [low, high, value]).filter((number) => number !== null));
  let [least, most] = [Math.min(...values), Math.max(...values)];
  const air = (most - least || Math.abs(most) || 1) * 0.08;
  [least, most] = [least - air, most + air];
  const step = width - left - right;
  const x = (row) => left + (windows.length > 1 ? (step * (windows.indexOf(row.window) + 0.5)) / windows.length : step / 2);
  const y = (value) => top + ((height - top - bottom) * (most - value)) / (most - least);
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${title} by window, realised and expected` });
  const apart = chooseStep((most - least) / 6);
  const digits = Math.max(0, -Math.floor(Math.log10(apart) + 1e-9));
  for (let tick = Math.ceil(least / apart); tick * apart <= most; tick++) {
    const value = tick * apart;
    svg.append(draw("line", { class: "grid", x1: left, x2: width - right, y1: y(value), y2: y(value) }));
    svg.append(draw("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, round(value, digits)));
  }
  const every = Math.ceil(windows.length / 5);
  windows.forEach((window, place) => {
    if ((windows.length - 1 - place) % every === 0)
      svg.append(draw("text", { x: x({ window }), y: height - 8, "text-anchor": "middle" }, window));
  });
  const expected = rows.filter(({ expected }) => expected && expected.low !== null && expected.high !== null), realised = rows.filter((row) => row.realised);
  const trace = (line, value) => line.map((row) => `${x(row).toFixed(1)} ${y(value(row)).toFixed(1)}`);
  if (expected.length) {
    const band = [...trace(expected, (row) => row.expected.high), ...trace(expected, (row) => row.expected.low).reverse()];
    svg.append(draw("path", { class: "band", d: `M${band.join("L")}Z` }));
    svg.append(draw("path", { class: "expected", d: `M${trace(expected, (row) => row.expected.value).join("L")}` }));
  }
  if (realised.length) svg.append(draw("path", { class: "realised", d: `M${trace(realised, (row) => row.realised.value).join("L")}` }));
  for (const row of realised) {
    const { value, low, high } = row.realised, limits = expected.includes(row) ? row.expected : null;
    const off = limits && ((way >= 0 && value < limits.low) || (way <= 0 && value > limits.high));
    const known = low !== null && high !== null;
    const interval = known ? ` (${Number(low.toPrecision(4))} to ${Number(high.toPrecision(4))})` : "";
    const said = `${row.window}: ${Number(value.toPrecision(4))}${interval}`;
    if (known) svg.append(draw("line", { class: "whisker", x1: x(row), x2: x(row), y1: y(low), y2: y(high) }));
    svg.append(draw("circle", { class: off ? "off" : "", cx: x(row), cy: y(value), r: 4 }, draw("title", {}, said)));
  }
  const better = way > 0 ? "higher is better" : way < 0 ? "lower is better" : "";
  return make("figure", {}, make("figcaption", {}, title, make("span", {}, better)), svg);
}

// --- polling

const ask = (path) => fetch(path, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
let gone = null; // since when the server does not answer

async function poll() {
  const pulse = find("#pulse");
  try {
    const answer = await ask("/metrics");
    if (!answer.ok) throw new Error(`/metrics answers ${answer.status}`);
    const families = parseMetrics(await answer.text());
    showTraffic(families);
    await showState(families);
    await followMonitor(families);
    showReport(families);
    gone = null;
    document.body.classList.remove("stale");
    pulse.className = "good";
    pulse.textContent = `live, ${sayTime(new Date())}`;
  } catch (error) {
    gone ??= new Date();
    document.body.classList.add("stale");
    pulse.className = "bad";
    pulse.textContent = `no answer since ${sayTime(gone)}`;
    showVerdict("#state", "bad", "The server does not answer", `${error.message}. No answer since ${sayTime(gone)}; the page asks again every ${POLL / 1000} s.`);
  }
  setTimeout(poll, POLL);
}

async function start() {
  try {
    (await readHistory()).forEach(addSample);
  } catch {
    samples.length = 0; // the page then counts from when it was opened
  }
  poll();
}

start();
