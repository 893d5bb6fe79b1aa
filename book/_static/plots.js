// Plots take the colours of the page: ink on white, or light ink on dark where the theme is dark.
//
// oacore/plots/style.py gives figures the colours on the left. What tells things apart (the set of
// Okabe and Ito, colour scales) is on neither side and stays.
(function () {
  "use strict";
  const DARK = {
    white: "#121212",
    "#ffffff": "#121212",
    "#f5f5f5": "#2a3038",
    "#e3e3e3": "#3b424c",
    "#666666": "#9aa2ad",
    "#555555": "#b4bac2",
    "#333333": "#d5d9de",
    "#1a1a1a": "#eceff2",
  };
  const LIGHT = Object.fromEntries(
    Object.entries(DARK).filter(([name]) => name !== "white").map(([light, dark]) => [dark, light])
  );
  const root = document.documentElement;
  // Until the theme's script has run, its "auto" is what the system says.
  const isDark = () => root.dataset.theme === "dark" ||
    (root.dataset.theme === "auto" && matchMedia("(prefers-color-scheme: dark)").matches);

  // Swaps colours within lists and objects, in place: whatever a reader did to a plot stays.
  function paint(thing, colours) {
    for (const key of Object.keys(thing)) {
      const value = thing[key];
      if (typeof value === "string") {
        thing[key] = colours[value.toLowerCase()] ?? value;
      } else if (value && typeof value === "object" && !ArrayBuffer.isView(value)) {
        paint(value, colours);
      }
    }
  }

  // Figures leave room above for a legend of a line an entry, as a phone needs it. Where it is not
  // taken, the plot moves up (oacore.css), under the edge of its frame.
  function trim(plot) {
    const { _fullLayout: layout } = plot;
    const from = plot.getBoundingClientRect().top;
    const tops = (layout._subplots.yaxis ?? [])
      .map((name) => layout[`yaxis${name.slice(1)}`]._offset - 14); // a number may stand on a bar
    for (const part of plot.querySelectorAll(".infolayer > g, .menulayer > g")) {
      const box = part.getBoundingClientRect();
      if (box.width && box.height) tops.push(box.top - from);
    }
    const slack = tops.length ? Math.max(Math.floor(Math.min(...tops)) - 8, 0) : 0;
    plot.style.setProperty("--oa-slack", `${slack}px`);
  }

  const draw = Plotly.newPlot;
  Plotly.newPlot = async (place, data, layout, config) => {
    if (isDark()) paint([data, layout], DARK);
    const plot = await draw(place, data, layout, config);
    trim(plot);
    plot.on("plotly_afterplot", () => trim(plot));
    return plot;
  };

  let dark = isDark();
  new MutationObserver(() => {
    if (dark === isDark()) return;
    dark = isDark();
    for (const plot of document.querySelectorAll(".js-plotly-plot")) {
      paint([plot.data, plot.layout], dark ? DARK : LIGHT);
      Plotly.redraw(plot);
    }
  }).observe(root, { attributeFilter: ["data-theme"] });

  // Paper is as wide as 180 mm.
  const PAPER = 680; // px
  addEventListener("beforeprint", () => {
    for (const plot of document.querySelectorAll(".js-plotly-plot")) {
      if (plot.clientWidth > PAPER) Plotly.relayout(plot, { width: PAPER });
    }
  });
  addEventListener("afterprint", () => {
    for (const plot of document.querySelectorAll(".js-plotly-plot")) {
      if (plot.layout.width === PAPER) Plotly.relayout(plot, { width: null, autosize: true });
    }
  });
})();
