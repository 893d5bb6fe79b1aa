// Slices of knees beside a plot of them: hover or tap a point, or type a case's number.
//
// DATA: id, sheet (data URI), columns, width and height of a tile in px, count. Every plot on the
// page with `layout.meta == "knees"` takes part; the customdata of its points are tile numbers.
(function (DATA) {
  "use strict";
  const card = document.getElementById(DATA.id);
  if (!card || card.dataset.begun) return;
  card.dataset.begun = "yes";
  const field = card.querySelector("input");
  const docked = card.querySelector(".oa-knee-slice");
  const said = card.querySelector(".oa-knee-text"), counted = card.querySelector("output");
  const box = document.createElement("div");
  box.className = "oa-knee-box";
  box.hidden = true;
  box.innerHTML = '<div class="oa-knee-slice"></div><div class="oa-knee-text"></div>';
  document.body.appendChild(box);
  const plots = [];
  let pinned = null; // tile number that stays when the pointer leaves
  let shown = null;

  function paint(tile, key) {
    const wide = tile.clientWidth || DATA.width;
    const scale = wide / DATA.width;
    const rows = Math.ceil(DATA.count / DATA.columns);
    tile.style.backgroundImage = `url(${DATA.sheet})`;
    tile.style.backgroundSize =
      `${DATA.columns * wide}px ${rows * DATA.height * scale}px`;
    tile.style.backgroundPosition =
      `${-(key % DATA.columns) * wide}px ` +
      `${-Math.floor(key / DATA.columns) * DATA.height * scale}px`;
    tile.dataset.knee = key;
  }

  function write(place, text) {
    place.replaceChildren(...text.split("<br>").flatMap((line, i) =>
      i ? [document.createElement("br"), line] : [line]));
  }

  // Where a point of a panel lies, in px from the plot's corner; null if it is not drawn.
  function spot(gd, trace, i) {
    const axis = (name, kind) => gd._fullLayout[kind + "axis" + name.slice(1)];
    const x = axis(trace.xaxis || "x", "x"), y = axis(trace.yaxis || "y", "y");
    const left = x._offset + x.d2p(trace.x[i]), top = y._offset + y.d2p(trace.y[i]);
    const inside = left >= x._offset - 1 && left <= x._offset + x._length + 1 &&
      top >= y._offset - 1 && top <= y._offset + y._length + 1;
    return inside ? { left, top } : null;
  }

  function panels(gd) {
    return gd._fullData.filter((trace) => trace.visible === true && trace.customdata);
  }

  // Plotly may draw a plot anew, without what we put there.
  function layerOf(gd) {
    let layer = gd.querySelector(".oa-knee-rings");
    if (!layer) {
      layer = document.createElement("div");
      layer.className = "oa-knee-rings";
      layer.setAttribute("aria-hidden", "true");
      gd.querySelector(".svg-container").appendChild(layer);
    }
    return layer;
  }

  function ring(gd, key) {
    const layer = layerOf(gd);
    layer.replaceChildren();
    if (key === null) return;
    for (const trace of panels(gd)) {
      const i = Array.prototype.indexOf.call(trace.customdata, key);
      const at = i < 0 ? null : spot(gd, trace, i);
      if (!at) continue;
      const one = document.createElement("span");
      one.style.left = `${at.left}px`;
      one.style.top = `${at.top}px`;
      layer.appendChild(one);
    }
  }

  function textOf(key) {
    for (const gd of plots) {
      for (const trace of panels(gd)) {
        const i = Array.prototype.indexOf.call(trace.customdata, key);
        if (i >= 0) return trace.text[i];
      }
    }
    return `Case ${key + 1}`;
  }

  // Show a knee in the card and ring it in every panel; null clears.
  function choose(key) {
    shown = key;
    plots.forEach((gd) => ring(gd, key));
    docked.style.visibility = key === null ? "hidden" : "visible"; // keeps its place
    counted.textContent = key === null ? "" : `case ${key + 1} of ${DATA.count}`;
    if (key === null) {
      said.replaceChildren();
      docked.removeAttribute("aria-label");
      return;
    }
    paint(docked, key);
    write(said, textOf(key));
    docked.setAttribute("aria-label", `Sagittal slice of case ${key + 1}`);
    docked.setAttribute("aria-valuenow", key + 1);
    docked.setAttribute("aria-valuetext", `case ${key + 1} of ${DATA.count}`);
  }

  function float(gd, point) {
    const at = spot(gd, point.fullData, point.pointNumber);
    if (!at) return;
    const corner = gd.querySelector(".svg-container").getBoundingClientRect();
    const x = corner.left + at.left, y = corner.top + at.top;
    box.hidden = false;
    paint(box.firstChild, point.customdata);
    write(box.lastChild, textOf(point.customdata));
    const wide = box.offsetWidth, high = box.offsetHeight, room = 14;
    const view = document.documentElement;
    const right = x + room + wide <= view.clientWidth;
    const left = right ? x + room : x - room - wide;
    box.style.left = `${Math.max(4, Math.min(left, view.clientWidth - wide - 4))}px`;
    box.style.top = `${Math.max(4, Math.min(y - high / 2, window.innerHeight - high - 4))}px`;
  }

  function attach(gd) {
    if (plots.includes(gd)) return;
    plots.push(gd);
    gd.classList.add("oa-knees");
    gd.on("plotly_hover", (event) => {
      const point = event.points.find((one) => one.customdata !== undefined);
      if (!point) return;
      choose(point.customdata);
      float(gd, point);
    });
    gd.on("plotly_unhover", () => {
      box.hidden = true;
      choose(pinned);
    });
    gd.on("plotly_click", (event) => {
      const point = event.points.find((one) => one.customdata !== undefined);
      if (!point) return;
      pin(point.customdata);
      float(gd, point);
    });
    gd.on("plotly_afterplot", () => ring(gd, shown)); // another width has other places
  }

  function pin(key) {
    pinned = key;
    field.value = key === null ? "" : key + 1;
    choose(key);
  }

  field.addEventListener("input", () => {
    const number = Math.round(Number(field.value));
    pinned = field.value && number >= 1 && number <= DATA.count ? number - 1 : null;
    choose(pinned);
  });
  card.addEventListener("keydown", (event) => {
    if (event.key === "Escape") return pin(null);
    // In the number, these keys move the cursor.
    if (event.target === field && /^(Arrow(Left|Right)|Home|End)$/.test(event.key)) return;
    if (event.target !== field && event.target !== docked) return;
    const to = steps(event, shown === null ? -1 : shown, 0, DATA.count - 1);
    if (to !== undefined) pin(to);
  });
  window.addEventListener("scroll", () => { box.hidden = true; }, true);
  document.addEventListener("pointerdown", (event) => {
    if (!plots.some((gd) => gd.contains(event.target))) box.hidden = true;
  }, true);

  // The book draws the plot above once its page is read, JupyterLab in its own time.
  let tries = 40;
  function find() {
    document.querySelectorAll(".js-plotly-plot").forEach((gd) => {
      if (gd.on && gd._fullData && gd.layout.meta === "knees") attach(gd);
    });
    if (!plots.length && tries--) setTimeout(find, 500);
  }
  find();
  choose(null);
})(@DATA@);
