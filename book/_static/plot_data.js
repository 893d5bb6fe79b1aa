// Below each plot of a page, a button that saves its data as CSV: made in the browser, on a click,
// from what plotly drew, so that it asks no server and adds nothing to the page's weight.
(() => {
"use strict";
const plain = text => String(text).replace(/<br\s*\/?>/g, " ").replace(/<[^>]*>/g, "")
  .replace(/\s+/g, " ").trim();
const list = values => values === undefined || values === null ? [] : Array.from(values);
const isNumber = value => value !== "" && value !== null && !Number.isNaN(Number(value));

function axisOf(gd, trace, kind) {  // the axis as drawn, and what its own or the only title says
  const name = (trace[`${kind}axis`] || kind).replace(kind, `${kind}axis`);
  const titled = key => plain(gd.layout[key]?.title?.text ?? "");
  const every = Object.keys(gd.layout).filter(key => key.startsWith(`${kind}axis`)).map(titled);
  const said = [...new Set(every.filter(Boolean))];
  return {title: titled(name) || (said.length === 1 ? said[0] : ""), drawn: gd._fullLayout[name]};
}
function hasWords({drawn}) {  // rows of a table that are drawn at 0, 1, 2 bear names
  return !!drawn.tickvals && !!drawn.ticktext && !list(drawn.ticktext).every(isNumber);
}
function inWords(axis, value) {
  if (!hasWords(axis) || !isNumber(value)) return value;
  const {tickvals, ticktext} = axis.drawn;
  const far = list(tickvals).map(tick => Math.abs(tick - value));
  return plain(ticktext[far.indexOf(Math.min(...far))]);
}
function panelOf(gd, x, y) {  // the title that stands on top of a panel
  const within = (at, [low, high]) => at >= low - 1e-6 && at <= high + 1e-6;
  const [, top] = y.drawn.domain;
  const above = list(gd.layout.annotations).filter(a => a.xref === "paper" && a.yref === "paper" &&
    within(a.x, x.drawn.domain) && a.y >= top - 1e-6 && a.y < top + 0.03);
  return above.length ? plain(above[0].text) : "";
}
function ends(bar, values, i) {  // of an error bar
  if (!bar || !bar.visible || !bar.array) return [];
  const minus = bar.symmetric === false && bar.arrayminus ? bar.arrayminus : bar.array;
  return [values[i] - minus[i], Number(values[i]) + Number(bar.array[i])];
}

function rowsOf(gd) {  // a row a mark, as objects by the names of columns
  const rows = [], times = new Map();
  for (const trace of gd._fullData) {
    if (trace.visible === false) continue;
    const [x, y] = ["x", "y"].map(kind => axisOf(gd, trace, kind));
    if (!x.drawn || !y.drawn) continue;
    const first = {panel: panelOf(gd, x, y), series: plain(trace.name ?? "")};
    if (/^trace \d+$/.test(first.series)) first.series = "";
    const key = JSON.stringify(first);
    times.set(key, (times.get(key) ?? 0) + 1);
    first.line = times.get(key);
    const [across, up] = [[x, "x"], [y, "y"]].map(([axis, letter]) =>
      axis.title || (hasWords(axis) ? "row" : letter));
    const add = row => rows.push({...first, ...row});
    const text = (from, i) => {
      const said = Array.isArray(from) || ArrayBuffer.isView(from) ? from[i] : undefined;
      return said === undefined ? {} : {label: plain(said)};
    };
    if (trace.z) {
      const bar = trace.colorbar?.title?.text ?? gd.layout.coloraxis?.colorbar?.title?.text;
      const [xs, ys] = [list(trace.x), list(trace.y)];
      list(trace.z).forEach((line, r) => list(line).forEach((z, c) => add({
        [across]: xs[c] ?? c, [up]: ys[r] ?? r, [plain(bar ?? "") || "value"]: z,
        ...text(trace.text?.[r], c),
      })));
    } else if (trace.q1) {
      list(trace.q1).forEach((q1, i) => add({
        [across]: trace.x[i], "5th percentile": trace.lowerfence[i], "25th percentile": q1,
        median: trace.median[i], "75th percentile": trace.q3[i],
        "95th percentile": trace.upperfence[i],
      }));
    } else {
      const [xs, ys] = [list(trace.x), list(trace.y)];
      for (let i = 0; i < Math.max(xs.length, ys.length); i++) {
        const row = {};
        for (const [axis, name, values, bar] of
          [[x, across, xs, trace.error_x], [y, up, ys, trace.error_y]]) {
          if (!values.length) continue;
          row[name] = inWords(axis, values[i]);
          const [low, high] = ends(bar, values, i);
          if (low !== undefined) Object.assign(row, {[`${name}, low`]: low, [`${name}, high`]: high});
        }
        add({...row, ...text(trace.text, i)});
      }
    }
  }
  return rows;
}
function csvOf(gd) {
  const rows = rowsOf(gd), names = [...new Set(rows.flatMap(Object.keys))];
  const shown = names.filter(name => {
    const values = new Set(rows.map(row => row[name]));
    if (name === "panel" || name === "series") return values.size > 1 || !values.has("");
    return name !== "line" || values.size > 1;  // runs that share one entry of the legend
  });
  const cell = value => {
    const said = value === undefined || value === null || Number.isNaN(value) ? "" : String(value);
    return /[",\r\n]/.test(said) ? `"${said.replace(/"/g, '""')}"` : said;
  };
  return [shown, ...rows.map(row => shown.map(name => row[name]))]
    .map(line => line.map(cell).join(",")).join("\r\n") + "\r\n";
}
function save(gd, name, said) {
  if (!gd._fullData) {
    said.textContent = " The plot is not drawn yet; its data come when it is.";
    setTimeout(() => save(gd, name, said), 250);
    return;
  }
  said.textContent = "";
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(["\ufeff" + csvOf(gd)], {type: "text/csv;charset=utf-8"}));
  link.download = `${name}.csv`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

document.addEventListener("DOMContentLoaded", () => {
  const style = document.createElement("style");
  style.textContent = ".oa-data{margin:.1em 0 .6em;text-align:right;font-size:.85rem}" +
    ".oa-data button{border:0;padding:.3em .2em;background:none;font:inherit;" +
    "color:var(--pst-color-text-base,inherit);" +
    "text-decoration:underline;cursor:pointer}@media print{.oa-data{display:none}}";
  document.head.append(style);
  const page = location.pathname.split("/").pop().replace(/\.html$/, "") || "index";
  document.querySelectorAll(".oa-plot .plotly-graph-div").forEach((gd, i) => {
    const button = document.createElement("button"), said = document.createElement("span");
    const place = gd.closest("[id^=fig-]")?.id ?? `plot-${i + 1}`;
    button.type = "button";
    button.textContent = "Data of this plot (CSV)";
    said.setAttribute("role", "status");
    button.addEventListener("click", () => save(gd, `${page}-${place}`, said));
    const line = document.createElement("div");
    line.className = "oa-data";
    line.append(button, said);
    gd.closest(".oa-plot").after(line);
  });
});
})();
