"use strict";
// The slicer: state, loading, cutting, drawing, controls. No library; 2D slices only.
// Parts hand over their bytes through this global: a page on disk may run scripts, not fetch.
window.oacoreSlicer = window.oacoreSlicer || {
  parts: {},
  put(key, part) { this.parts[key + ".js"] = part; },
};
document.querySelectorAll(".oa-slicer:not([data-ready])").forEach(root => {
root.dataset.ready = "false";
const data = JSON.parse(root.querySelector(".oas-data").textContent);
const find = selector => root.querySelector(selector);
const all = selector => [...root.querySelectorAll(selector)];
const make = (tag, properties = {}, ...children) => {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
};
const PLANES = ["sagittal", "coronal", "axial"];
const ACROSS = [1, 0, 0], DOWN = [2, 2, 1];  // the volume's axis along columns and rows of a plane
const EDGES = [["S", "I", "A", "P"], ["S", "I", "R", "L"], ["A", "P", "R", "L"]];
const FIELDS = ["backbone", "supervision", "head", "method"];
const LINES = ["#56b4e9", "#f0e442", "#00c08b", "#cc79a7", "#e69f00", "#ffffff", "#d55e00", "#0072b2"];
const DASHES = [[], [5, 3], [1.5, 2.5], [8, 3, 2, 3], [3, 3], [], [5, 3], [1.5, 2.5]];
const INFERNO = ["#000004", "#280b53", "#65156e", "#9f2a63", "#d44842", "#f57d15", "#fac127", "#fcffa4"];
const DIVERGING = ["#3aa0ff", "#1f6fc4", "#12406f", "#101010", "#7a3210", "#d55e00", "#ffb066"];
const CACHE = 60e6;  // voxels kept decoded
const START = {opacity: 60, top: 4, window: 100, level: 50};
const words = name => data.names[name] || name.replace(/_/g, " ");
const percent = p => p === null ? "" : Math.round(100 * p) + "%";
const size = bytes => (bytes / 1e6).toFixed(bytes < 95e3 ? 2 : 1) + " MB";

const state = {
  kase: 0, at: data.cases[0].start.slice(), models: ["", ""], mode: "one", shown: "all",
  outlines: new Set([0]), live: false, ...START,
};
const kase = () => data.cases[state.kase];
const mapOf = which => kase().maps.find(m => m.id === state.models[which]);

// ---- Loading: a script hands over a sheet, which is decoded into one volume of bytes.
const decoded = new Map();  // file -> {volume} once it is there
const underway = new Map();  // file -> promise
const failed = new Set();  // files that were not to be had: asked again when chosen again

function script(file) {
  return new Promise((resolve, reject) => {
    const node = make("script", {src: data.address + file});
    node.onload = () => { node.remove(); resolve(oacoreSlicer.parts[file]); };
    node.onerror = () => { node.remove(); reject(new Error(file)); };
    document.head.append(node);
  });
}
async function decode(part) {  // (slices, rows from the top, columns from the left), one byte each
  const bytes = Uint8Array.from(atob(part.data), c => c.charCodeAt(0));
  const [n, wide, high] = part.shape, tile = length => Math.ceil(length / 8) * 8;
  const picture = await createImageBitmap(
    new Blob([bytes], {type: part.type}), {colorSpaceConversion: "none"});
  const columns = picture.width / tile(wide), row = tile(high), v = new Uint8Array(n * high * wide);
  const canvas = make("canvas", {width: picture.width, height: row});
  const context = canvas.getContext("2d", {willReadFrequently: true, alpha: false});
  for (let first = 0; first < n; first += columns) {  // a strip at a time keeps memory low
    context.drawImage(picture, 0, -Math.floor(first / columns) * row);
    const pixels = context.getImageData(0, 0, picture.width, high).data;
    for (let i = first; i < Math.min(n, first + columns); i++) {
      const left = (i - first) * tile(wide);
      for (let r = 0, to = i * high * wide; r < high; r++) {
        let from = 4 * (r * picture.width + left);
        for (let c = 0; c < wide; c++, from += 4) v[to++] = pixels[from];
      }
    }
  }
  picture.close();
  return {v, n: [n, wide, high], tops: part.tops};
}
function want(file) {  // the volume of a part, or nothing until it is there
  if (decoded.has(file)) {
    const volume = decoded.get(file);
    decoded.delete(file);  // to the young end
    decoded.set(file, volume);
    return volume;
  }
  if (!underway.has(file) && !failed.has(file)) {
    underway.set(file, script(file).then(decode).then(volume => {
      decoded.set(file, volume);
      let kept = 0;
      for (const [name, one] of [...decoded].reverse()) {
        kept += one.v.length;
        if (kept > CACHE && name !== file) decoded.delete(name);
      }
    }, error => {
      failed.add(file);
      if (file === kase().image.file) state.live = false;  // back to the button
      find(".oas-error").textContent =
        `A part of ${kase().label} could not be loaded (${error.message}). ` +
        "Try once more by its button or menu; on disk, keep the whole folder of the book.";
    }).finally(() => {
      underway.delete(file);
      delete oacoreSlicer.parts[file];
      refresh();
    }));
  }
}

// ---- Cutting: slice i (in the stored box) of a volume across one axis.
function cut(volume, axis, i) {
  const [nx, ny, nz] = volume.n, v = volume.v;
  if (axis === 0) return v.subarray(i * ny * nz, (i + 1) * ny * nz);
  const out = new Uint8Array(nx * (axis === 1 ? nz : ny));
  if (axis === 1) {
    for (let r = 0, to = 0; r < nz; r++)
      for (let c = 0, from = ((nx - 1) * nz + r) * ny + ny - 1 - i; c < nx; c++, from -= nz * ny)
        out[to++] = v[from];
  } else {
    for (let r = 0, to = 0; r < ny; r++)
      for (let c = 0, from = ((nx - 1) * nz + nz - 1 - i) * ny + r; c < nx; c++, from -= nz * ny)
        out[to++] = v[from];
  }
  return out;
}
const kept = {};  // what was made last for a place on the screen, by what it was made from
function once(place, key, build) {
  if (!kept[place] || kept[place].key !== key) kept[place] = {key, made: build()};
  return kept[place].made;
}
function paint(width, height, codes, table) {  // bytes through a table of colours
  const canvas = make("canvas", {width, height}), context = canvas.getContext("2d");
  const picture = context.createImageData(width, height);
  const pixels = new Uint32Array(picture.data.buffer);
  for (let i = 0; i < pixels.length; i++) pixels[i] = table[codes[i]];
  context.putImageData(picture, 0, 0);
  return canvas;
}
function ramp(stops, n, alpha) {  // n colours along the stops, as little-endian RGBA
  const rgb = stops.map(s => [1, 3, 5].map(k => parseInt(s.slice(k, k + 2), 16)));
  return Uint32Array.from({length: n}, (_, i) => {
    const t = i / (n - 1) * (stops.length - 1), j = Math.min(Math.floor(t), stops.length - 2);
    const [r, g, b] = rgb[j].map((low, k) => Math.round(low + (t - j) * (rgb[j + 1][k] - low)));
    return (alpha << 24 | b << 16 | g << 8 | r) >>> 0;
  });
}
const HOT = ramp(INFERNO, 256, 255), BOTH = ramp(DIVERGING, 511, 255);
const least = volume => volume.tops[state.top];  // code of the threshold
function greys() {
  return once("greys", [state.window, state.level].join(), () => {
    const low = 2.55 * (state.level - state.window / 2), span = 2.55 * state.window;
    return Uint32Array.from({length: 256}, (_, q) => {
      const g = Math.max(0, Math.min(255, Math.round((q - low) / span * 255)));
      return (255 << 24 | g << 16 | g << 8 | g) >>> 0;
    });
  });
}
function cell(map, axis) {  // the map's cell, in its stored box, that holds the crosshair
  const at = (state.at[axis] + 0.5) / kase().shape[axis] * map.grid[axis] / map.step;
  const [low, high] = map.box[axis];
  return Math.max(0, Math.min(high - low - 1, Math.floor(at) - low));
}
function overlay(which, axis) {  // {canvas, map}, or nothing
  const map = mapOf(which), volume = map && want(map.file);
  const width = v => v.n[ACROSS[axis]], height = v => v.n[DOWN[axis]];
  if (!volume) return null;
  if (state.mode !== "difference") {
    const key = [map.file, cell(map, axis), state.top].join();
    return once(`map${which}${axis}`, key, () => {
      const table = HOT.map((colour, q) => q < least(volume) ? 0 : colour);
      return {map, canvas: paint(width(volume), height(volume), cut(volume, axis, cell(map, axis)), table)};
    });
  }
  const other = mapOf(1), second = other && want(other.file);
  if (!second) return null;
  const key = ["-", map.file, other.file, cell(map, axis), state.top].join();
  return once(`map${which}${axis}`, key, () => {
    const a = cut(volume, axis, cell(map, axis)), b = cut(second, axis, cell(other, axis));
    const w = width(volume), h = height(volume), w2 = width(second), h2 = height(second);
    const codes = new Uint16Array(a.length);  // 256 + signed root of the difference; 0: not shown
    for (let i = 0; i < a.length; i++) {
      const q = b[Math.floor((Math.floor(i / w) + 0.5) * h2 / h) * w2 + Math.floor((i % w + 0.5) * w2 / w)];
      if (a[i] < least(volume) && q < least(second)) continue;
      const d = a[i] * a[i] - q * q;
      codes[i] = 256 + Math.sign(d) * Math.round(Math.sqrt(Math.abs(d)));
    }
    const table = new Uint32Array(512);
    table.set(BOTH, 1);
    return {map, canvas: paint(w, h, codes, table)};
  });
}
function outlines(volume, axis, i) {  // a path for each mask, in mm from the upper left corner
  return once(`lines${axis}`, [kase().outline.file, i, ...state.outlines].join(), () => {
    const inside = cut(volume, axis, i), w = volume.n[ACROSS[axis]], h = volume.n[DOWN[axis]];
    const dx = kase().spacing[ACROSS[axis]], dy = kase().spacing[DOWN[axis]];
    const W = w + 2, codes = new Uint8Array(W * (h + 2));  // a frame of nothing spares the edges
    for (let r = 0; r < h; r++) codes.set(inside.subarray(r * w, r * w + w), (r + 1) * W + 1);
    const trace = (path, bit, rows, columns, down, right, line) => {
      // Edges between a voxel inside and the one before it, in runs: rows, then columns.
      for (let r = 1; r <= rows; r++) {
        let start = -1, at = r * down + right;
        for (let c = 1; c <= columns; c++, at += right) {
          const edge = (codes[at] ^ codes[at - down]) >> bit & 1;
          if (edge && start < 0) start = c;
          if (!edge && start >= 0) { line(path, r - 1, start - 1, c - 1); start = -1; }
        }
      }
    };
    return new Map([...state.outlines].filter(bit => bit < kase().masks.length).map(bit => {
      const path = new Path2D();
      trace(path, bit, h + 1, w + 1, W, 1, (p, y, x0, x1) => { p.moveTo(x0 * dx, y * dy); p.lineTo(x1 * dx, y * dy); });
      trace(path, bit, w + 1, h + 1, 1, W, (p, x, y0, y1) => { p.moveTo(x * dx, y0 * dy); p.lineTo(x * dx, y1 * dy); });
      return [bit, path];
    }));
  });
}

// ---- Drawing.
const span = axis => kase().box[axis][1] - kase().box[axis][0];
const mm = axis => span(axis) * kase().spacing[axis];
const previews = data.preview.planes.map(source => {
  const picture = make("img", {src: source, onload: () => refresh()});
  return picture;
});
function text(context, words_, x, y, align, baseline, px) {
  Object.assign(context, {font: `600 ${px}px system-ui, sans-serif`, textAlign: align,
    textBaseline: baseline, lineWidth: px / 4, strokeStyle: "#000c", fillStyle: "#fff",
    lineJoin: "round"});
  context.strokeText(words_, x, y);
  context.fillText(words_, x, y);
}
function drawPane(pane) {
  const {canvas, axis, which} = pane, fine = window.devicePixelRatio || 1;
  const width = Math.round(canvas.clientWidth * fine), image = state.live && want(kase().image.file);
  if (!width) return;
  const height = Math.round(width * mm(DOWN[axis]) / mm(ACROSS[axis]));
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, {width, height});
  const context = canvas.getContext("2d", {alpha: false}), scale = width / mm(ACROSS[axis]);
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.fillStyle = "#000";
  context.fillRect(0, 0, width, height);
  const place = state.at[axis] - kase().box[axis][0];
  if (image) {
    const key = [kase().image.file, place, state.window, state.level].join();
    const base = once(`base${axis}`, key, () => paint(
      image.n[ACROSS[axis]], image.n[DOWN[axis]], cut(image, axis, place), greys()));
    context.drawImage(base, 0, 0, width, height);
    const over = state.opacity > 0 && overlay(which, axis);
    if (over) {  // where the map's cells lie: they may stand out beyond the image's box
      const lie = a => {
        const cellSize = over.map.step / over.map.grid[a] * kase().shape[a];  // in image voxels
        return [kase().box[a][1] - over.map.box[a][1] * cellSize,
          (over.map.box[a][1] - over.map.box[a][0]) * cellSize].map(v => v * kase().spacing[a] * scale);
      };
      const [left, wide] = lie(ACROSS[axis]), [top, high] = lie(DOWN[axis]);
      context.globalAlpha = state.opacity / 100;
      context.drawImage(over.canvas, left, top, wide, high);
      context.globalAlpha = 1;
    }
    const masks = kase().outline && state.outlines.size && want(kase().outline.file);
    if (masks) {
      context.setTransform(scale, 0, 0, scale, 0, 0);
      outlines(masks, axis, place).forEach((path, bit) => {
        context.setLineDash(DASHES[bit].map(d => d * fine / scale));
        context.lineWidth = 1.4 * fine / scale;
        context.strokeStyle = LINES[bit];
        context.stroke(path);
      });
      context.setLineDash([]);
      context.setTransform(1, 0, 0, 1, 0, 0);
    }
    const x = (kase().box[ACROSS[axis]][1] - state.at[ACROSS[axis]] - 0.5) * kase().spacing[ACROSS[axis]] * scale;
    const y = (kase().box[DOWN[axis]][1] - state.at[DOWN[axis]] - 0.5) * kase().spacing[DOWN[axis]] * scale;
    const gap = 9 * fine;
    context.beginPath();
    for (const [x0, y0, x1, y1] of [[0, y, x - gap, y], [x + gap, y, width, y],
      [x, 0, x, y - gap], [x, y + gap, x, height]]) {
      context.moveTo(x0, y0);
      context.lineTo(x1, y1);
    }
    context.lineWidth = fine;
    context.strokeStyle = "#ffffff8c";
    context.stroke();
  } else if (kase().slug === data.preview.slug && previews[axis].complete) {
    context.drawImage(previews[axis], 0, 0, width, height);
  }
  const px = 13 * fine, pad = 5 * fine, [up, down, left, right] = EDGES[axis];
  text(context, up, width / 2, pad, "center", "top", px);
  text(context, down, width / 2, height - pad, "center", "bottom", px);
  text(context, left, pad, height / 2, "left", "middle", px);
  text(context, right, width - pad, height / 2, "right", "middle", px);
  const name = state.mode === "two" ? "AB"[which] : state.mode === "difference" ? "A − B" : "";
  if (name) text(context, name, pad, pad, "left", "top", 1.15 * px);
}
const nth = axis => `${PLANES[axis]} slice ${state.at[axis] + 1} of ${kase().shape[axis]}`;
const named = map => FIELDS.map(f => words(map[f])).join(", ");
const predicted = map => map && kase().predictions.find(
  p => p.backbone === map.backbone && p.supervision === map.supervision);
const best = p => p.prob_kl ? p.prob_kl.indexOf(Math.max(...p.prob_kl)) : null;
function said(which) {
  const map = mapOf(which), p = predicted(map), parts = [];
  if (p && p.prob_kl) parts.push(`KL ${best(p)} (${percent(p.prob_kl[best(p)])})`);
  if (p && p.prob_oa !== null) parts.push(`OA with ${percent(p.prob_oa)}`);
  return map ? named(map) + (parts.length ? `, predicts ${parts.join(" and ")}` : "") : "";
}
function sentence(axes) {
  const c = kase(), label = c.kl === null ? "" : ` Label KL ${c.kl}.`;
  const truth = c.kl_true === null ? "" : ` Drawn as KL ${c.kl_true}.`;
  const models = state.mode === "one" ? said(0)
    : `A: ${said(0)}; B: ${said(1)}${state.mode === "difference" ? "; difference A minus B" : ""}`;
  return `${c.label}, ${axes.map(nth).join(", ")}. ${models}.${label}${truth}`.replace(" .", "");
}
let waiting = false, speak = 0;
function refresh() {  // once a frame, however many events there were
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; draw(); });
}
function draw() {
  panes.forEach(pane => { if (pane.canvas.offsetParent) drawPane(pane); });
  PLANES.forEach((plane, axis) => {
    const slider = sliders[axis];
    slider.input.value = state.at[axis] + 1;
    slider.input.setAttribute("aria-valuetext", nth(axis));
    slider.output.textContent = `${state.at[axis] + 1} of ${kase().shape[axis]}`;
  });
  panes.forEach(({canvas, axis}) => {
    if (!canvas.offsetParent) return;
    canvas.setAttribute("aria-valuenow", state.at[axis] + 1);
    canvas.setAttribute("aria-valuetext", sentence([axis]));
  });
  const files = [kase().image, kase().outline, mapOf(0), state.mode !== "one" && mapOf(1)];
  const coming = files.filter(f => f && underway.has(f.file));
  const status = !state.live ? `Not loaded yet: ${kase().label} takes ${size(kase().image.bytes + (kase().outline || {bytes: 0}).bytes)}, a map more when it is shown.`
    : coming.length ? `Loading ${kase().label}, ${size(coming.reduce((sum, f) => sum + f.bytes, 0))} …`
    : sentence([0, 1, 2]);
  find(".oas-status").textContent = status;
  clearTimeout(speak);  // a reader who drags is told where it ended
  if (state.live && !coming.length) speak = setTimeout(() => { find("[aria-live]").textContent = status; }, 400);
  const ready = String(state.live && !coming.length && decoded.has(kase().image.file));
  if (root.dataset.ready !== ready) root.dataset.ready = ready;
  find(".oas-open").hidden = state.live;
  find(".oas-open").textContent = `Load ${kase().label}`;
}

// ---- Changes of state.
function go(axis, to) {  // false at either end, where the page may scroll on
  const [low, high] = kase().box[axis], next = Math.max(low, Math.min(high - 1, to));
  if (next === state.at[axis]) return false;
  state.at[axis] = next;
  start();
  return true;
}
function start() {
  state.live = true;
  refresh();
}
function choose(which, id) {
  state.models[which] = kase().maps.some(m => m.id === id) ? id : "";
  if (state.models[which]) return;
  const first = kase().maps.find(m => m.id === state.models[0]);
  const other = which && first && kase().maps.find(m =>
    m.id !== first.id && m.head === first.head && m.method === first.method);
  state.models[which] = ((other || kase().maps[which]) || kase().maps[0] || {id: ""}).id;
}
function open(place) {  // a case: keeps the models that it has, too
  state.kase = place;
  state.at = kase().start.slice();
  [0, 1].forEach(which => choose(which, state.models[which]));
  retry();
  panel();
}
function retry() {
  failed.clear();
  find(".oas-error").textContent = "";
}
function nearest(which, field, value) {  // the map with this value that shares most of the rest
  retry();
  const now = mapOf(which), like = m => FIELDS.filter(f => m[f] === now[f]).length;
  const having = kase().maps.filter(m => m[field] === value);
  choose(which, having.reduce((a, b) => like(b) > like(a) ? b : a).id);
}
function hash() {
  const at = state.at.map((v, axis) => "sca"[axis] + (v + 1));
  const models = state.mode === "one" ? [state.models[0]] : state.models;
  const words_ = [kase().slug, ...at, ...models.filter(Boolean)];
  return "#slicer=" + (state.mode === "difference" ? [...words_, "difference"] : words_).join();
}
function follow() {  // a deep link; false if the address holds none
  const found = /^#slicer=(.+)$/.exec(decodeURIComponent(location.hash));
  if (!found) return false;
  const [slug, ...rest] = found[1].split(",");
  const place = data.cases.findIndex(c => c.slug === slug);
  if (place < 0) {
    find(".oas-error").textContent = `This page has no case “${slug}”: the link is older or newer than the page.`;
    return false;
  }
  const ids = rest.filter(word => data.cases[place].maps.some(m => m.id === word));
  state.mode = ids.length > 1 ? rest.includes("difference") ? "difference" : "two" : "one";
  open(place);
  ids.slice(0, 2).forEach((id, which) => choose(which, id));
  if (ids.length === 1) choose(1, "");
  for (const word of rest) {
    const step = /^([sca])(\d+)$/.exec(word);
    if (step) go("sca".indexOf(step[1]), step[2] - 1);
  }
  start();
  panel();
  root.scrollIntoView({block: "start"});
  return true;
}

// ---- Controls.
const stage = find(".oas-stage"), panes = [], sliders = [];
PLANES.forEach((plane, axis) => {
  const pair = make("div", {className: "oas-pair"});
  [0, 1].forEach(which => {
    const canvas = make("canvas", {tabIndex: 0, className: which ? "oas-b" : "oas-a"});
    canvas.setAttribute("role", "slider");
    canvas.dataset.plane = plane;
    panes.push({canvas, axis, which});
    pair.append(canvas);
    listen(canvas, axis);
  });
  const input = make("input", {type: "range", step: 1}), output = make("output");
  input.oninput = () => go(axis, input.value - 1);
  input.dataset.slice = plane;
  sliders.push({input, output});
  const title = plane[0].toUpperCase() + plane.slice(1);
  const box = make("div", {className: "oas-plane"}, pair,
    make("label", {}, make("span", {textContent: title}), output, input));
  box.dataset.plane = axis;
  stage.append(box);
});
stage.append(make("button", {type: "button", className: "oas-open", onclick: () => { retry(); start(); }}));

function listen(canvas, axis) {
  let from = null;  // where a touch began, until it is known to be a drag
  const point = event => {
    const box = canvas.getBoundingClientRect();
    [[ACROSS[axis], (event.clientX - box.left) / box.width],
      [DOWN[axis], (event.clientY - box.top) / box.height]].forEach(([a, f]) =>
      go(a, kase().box[a][1] - 1 - Math.floor(f * span(a))));
    start();
  };
  canvas.onpointerdown = event => {
    if (event.button) return;
    from = [event.clientX, event.clientY, event.pointerType !== "mouse"];
    if (from[2]) return;
    canvas.setPointerCapture(event.pointerId);
    point(event);
  };
  canvas.onpointermove = event => {
    if (!from) return;
    if (from[2] && Math.abs(event.clientX - from[0]) < 6) return;
    from[2] = false;
    point(event);
  };
  canvas.onpointerup = event => {
    if (from && from[2]) point(event);
    from = null;
  };
  canvas.onpointercancel = () => { from = null; };  // the browser scrolls the page
  canvas.onkeydown = event => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const [low, high] = kase().box[axis], now = state.at[axis];
    const to = {ArrowUp: now + 1, ArrowRight: now + 1, ArrowDown: now - 1, ArrowLeft: now - 1,
      PageUp: now + 10, PageDown: now - 10, Home: low, End: high - 1}[event.key];
    if (to === undefined) return;
    event.preventDefault();
    event.stopPropagation();  // the book's theme turns pages with the arrows
    go(axis, to);
  };
  canvas.addEventListener("wheel", event => {
    if (document.activeElement !== canvas) return;
    if (go(axis, state.at[axis] + (event.deltaY < 0 ? 1 : -1))) event.preventDefault();
  }, {passive: false});
}
function options(select, values, now, name) {
  select.replaceChildren(...values.map(value =>
    make("option", {value, textContent: name(value), selected: value === now})));
}
function panel() {  // everything but the pictures, which change more often
  const c = kase(), two = state.mode !== "one", has = c.maps.length > 0;
  options(find("[data-set=case]"), data.cases.map((_, i) => i), state.kase, i => data.cases[i].label);
  for (const group of ["mode", "shown"])
    all(`[data-group=${group}] button`).forEach(b =>
      b.setAttribute("aria-pressed", b.dataset.value === state[group]));
  find("[data-group=mode]").hidden = c.maps.length < 2;
  const focused = document.activeElement && document.activeElement.dataset.model;
  find(".oas-models").replaceChildren(...(has ? two ? [0, 1] : [0] : []).map(which => {
    const field = make("fieldset", {}, make("legend", {textContent: two ? `Model ${"AB"[which]}` : "Model"}));
    FIELDS.forEach(name => {
      const select = make("select", {onchange: () => { nearest(which, name, select.value); start(); panel(); }});
      select.setAttribute("aria-label", `${name} of model ${"AB"[which]}`);
      select.dataset.model = name + which;
      options(select, [...new Set(c.maps.map(m => m[name]))], mapOf(which)[name], words);
      field.append(select);
    });
    return field;
  }));
  if (focused) (find(`[data-model=${focused}]`) || root).focus();
  find(".oas-outlines").replaceChildren(...c.masks.map((mask, bit) => {
    const box = make("input", {type: "checkbox", checked: state.outlines.has(bit)});
    box.onchange = () => { state.outlines[box.checked ? "add" : "delete"](bit); refresh(); };
    const line = make("span", {innerHTML: `<svg viewBox="0 0 26 8" aria-hidden="true"><path d="M1 4h24" fill="none"` +
      ` stroke="${LINES[bit]}" stroke-width="2" stroke-dasharray="${DASHES[bit].join(" ")}"/></svg>`});
    return make("label", {}, box, line, words(mask));
  }));
  const apart = state.mode === "difference", colours = apart ? DIVERGING : INFERNO;
  find(".oas-ramp").style.background = `linear-gradient(to right,${colours})`;
  find(".oas-low").textContent = apart ? "B more" : "Saliency 0";
  find(".oas-high").textContent = apart ? "A more" : "1 (square-root scale)";
  for (const part of ["low", "ramp", "high"]) find(".oas-" + part).hidden = !has;
  all("[data-tune]").forEach(input => {
    const name = input.dataset.tune;
    if (name === "top") input.max = data.tops.length - 1;
    input.value = state[name];
    const value = name === "top" ? data.tops[state.top] : state[name];
    input.nextElementSibling.textContent = value + "%";
    input.setAttribute("aria-valuetext", name === "top" ? `top ${value}% of the voxels` : value + "%");
    input.parentNode.hidden = !has && (name === "opacity" || name === "top");
  });
  const grades = [0, 1, 2, 3, 4], row = (head, cells) => make("tr", {}, make("th", {scope: "row", textContent: head}), ...cells);
  const cellOf = (p, chosen) => {
    const td = make("td", {className: "oas-p" + (chosen ? " oas-best" : ""), textContent: p === null ? "–" : percent(p)});
    td.style.setProperty("--p", percent(p || 0) || "0%");
    return td;
  };
  const rows = (two ? [0, 1] : [0]).map(which => [which, predicted(mapOf(which))]).filter(([, p]) => p).map(([which, p]) =>
    row(`${two ? "AB"[which] + ": " : ""}${words(p.backbone)} ${words(p.supervision)}`,
      [cellOf(p.prob_oa, false), ...grades.map(k => cellOf(p.prob_kl ? p.prob_kl[k] : null, best(p) === k))]));
  for (const [head, grade] of [["Label", c.kl], ["Truth (as drawn)", c.kl_true]])
    if (grade !== null) rows.push(row(head, [make("td", {textContent: grade >= 2 ? "OA" : "no OA"}),
      ...grades.map(k => make("td", {textContent: k === grade ? "●" : ""}))]));
  find(".oas-table").hidden = !rows.length;
  const top_ = make("tr", {}, ...["", "OA", ...grades.map(k => "KL " + k)].map(t => make("th", {scope: "col", textContent: t})));
  find(".oas-table").replaceChildren(make("thead", {}, top_), make("tbody", {}, ...rows));
  const map = mapOf(0), averaged = map && map.grid.map((n, a) => (map.step / n * c.shape[a] * c.spacing[a]).toFixed(1));
  find(".oas-note").textContent = [c.note, averaged && `A cell of the map is ${averaged.join(" × ")} mm` +
    (map.step > 1 ? ", an average over the network's voxels." : ".")].filter(Boolean).join(" ");
  stage.style.setProperty("--columns", [0, 1, 2].map(axis => mm(ACROSS[axis]).toFixed(1) + "fr").join(" "));
  root.classList.toggle("oas-two", state.mode === "two");
  root.classList.toggle("oas-single", state.shown !== "all");
  panes.forEach(({canvas, axis, which}) => {
    canvas.style.aspectRatio = `${mm(ACROSS[axis])} / ${mm(DOWN[axis])}`;
    canvas.hidden = which === 1 && state.mode !== "two";
    const model = state.mode === "two" ? ` of model ${"AB"[which]}` : "";
    canvas.setAttribute("aria-label", `${data.alt}: ${PLANES[axis]} picture${model}`);
    canvas.setAttribute("aria-valuemin", c.box[axis][0] + 1);
    canvas.setAttribute("aria-valuemax", c.box[axis][1]);
  });
  sliders.forEach(({input}, axis) => Object.assign(input, {min: c.box[axis][0] + 1, max: c.box[axis][1]}));
  all(".oas-plane").forEach(box => { box.hidden = state.shown !== "all" && state.shown !== box.dataset.plane; });
  find(".oas-link").hidden = true;
  refresh();
}
find("[data-set=case]").onchange = event => { open(+event.target.value); start(); };
all("[data-group] button").forEach(button => {
  button.onclick = () => {
    const group = button.parentNode.dataset.group;
    state[group] = button.dataset.value;
    if (group === "mode") start();
    panel();
  };
});
all("[data-tune]").forEach(input => {
  input.oninput = () => { state[input.dataset.tune] = +input.value; start(); panel(); };
});
find("[data-do=reset]").onclick = () => {
  Object.assign(state, START);
  state.at = kase().start.slice();
  panel();
};
find("[data-do=link]").onclick = async event => {
  const link = location.href.split("#")[0] + hash(), field = find(".oas-link"), button = event.target;
  Object.assign(field, {value: link, hidden: false});
  field.select();
  let done = "Link copied";
  try { await navigator.clipboard.writeText(link); } catch { done = "Copy the link beside"; }
  button.textContent = done;
  setTimeout(() => { button.textContent = "Copy a link to this view"; }, 2500);
};
addEventListener("hashchange", follow);
new ResizeObserver(() => {
  root.classList.toggle("oas-narrow", root.clientWidth < 560);
  refresh();
}).observe(root);
open(0);
if (!follow()) refresh();
});
