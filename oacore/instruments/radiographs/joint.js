// A radiograph with its landmarks, compartments, grades and saliency. `data` holds
//   pictures, maps   sheets of bytes (oacore.plots.sheets); a map a case and head, in that order
//   cases            label, note, points, read, truth, answers: grades by head, or nothing
//   heads, networks, points, compartments, colors   what they are called, and how drawn
// A page without a kernel is all that it needs.
const START = {opacity: 70, window: 100, level: 50};
const HOT = ramp(INFERNO, 256, 255);
// Where there is no saliency the picture shows through.
const VEIL = HOT.map((color, q) => (color & 0xffffff | q << 24) >>> 0);
const NEAR = 12;  // px of the screen: how far from a landmark the pointer still means it

function joint(root, data) {
  root.dataset.ready = "false";
  const find = selector => root.querySelector(selector);
  const all = selector => [...root.querySelectorAll(selector)];
  const canvas = find("canvas"), last = data.cases.length - 1;
  const state = {kase: data.opens, map: 0, head: 0, on: new Set(data.on), ...START};
  const kase = () => data.cases[state.kase];
  const here = {};  // decoded sheets
  const kept = {};  // what was painted last, by what it was painted from
  let waiting = false, over = null, speak = 0;
  function once(place, key, build) {
    const old = kept[place];
    if (!old || old.key !== key) kept[place] = {key, made: build(old ? old.made : undefined)};
    return kept[place].made;
  }

  // ---- Words.
  const best = p => p.indexOf(Math.max(...p));
  const known = head => kase().truth ? kase().truth[head] : kase().read ? kase().read[head] : null;
  function answer(p, head) {  // a grade, how sure the network is of it, and whether it is off
    const grade = best(p), wanted = known(head);
    const off = wanted === null || grade === wanted ? "" : grade > wanted ? " ▲" : " ▼";
    return `${grade} (${Math.round(100 * p[grade])}%)${off}`;
  }
  function graded(one) {  // a case's name and its first grade
    const read = one.read && one.read[0];
    return read === null || read === undefined ? one.label : `${one.label}: read ${data.heads[0]} ${read}`;
  }
  function sentence() {
    const one = kase(), head = data.heads[0], found = [];
    if (one.read && one.read[0] !== null) found.push(`read as ${head} ${one.read[0]}`);
    if (one.truth && one.truth[0] !== null) found.push(`drawn as ${head} ${one.truth[0]}`);
    data.networks.forEach((name, i) => {
      if (one.answers[i]) found.push(`${name} answers ${head} ${best(one.answers[i][0])}`);
    });
    const map = data.maps.length ? ` Map of ${data.maps[state.map].name}, ${data.heads[state.head]}.` : "";
    return `${one.label}, ${state.kase + 1} of ${last + 1}${found.length ? ": " + found.join(", ") : ""}.${map}`;
  }

  // ---- Drawing.
  function refresh() {  // once a frame, however many events there were
    if (root.dataset.ready === "true") root.dataset.ready = "false";
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; draw(); });
  }
  const slice = (volume, i) => volume.v.subarray(
    i * volume.n[1] * volume.n[2], (i + 1) * volume.n[1] * volume.n[2]);
  const place = () => state.kase * data.heads.length + state.head;  // of a map in its sheet
  const map = () => data.maps.length ? here[`map${state.map}`] : undefined;
  function draw() {
    const pictures = here.pictures, wide = Math.round(canvas.clientWidth * devicePixelRatio);
    if (!pictures || !wide) return;
    const [, w, h] = pictures.n, scale = wide / w, high = Math.round(h * scale);
    if (canvas.width !== wide || canvas.height !== high)
      Object.assign(canvas, {width: wide, height: high});
    const context = canvas.getContext("2d", {alpha: false});
    context.imageSmoothingQuality = "high";
    context.drawImage(once("picture", [state.kase, state.window, state.level].join(), old => paint(
      w, h, slice(pictures, state.kase), greys(state.window, state.level), old)), 0, 0, wide, high);
    const salient = map();
    if (salient && state.opacity) {
      context.globalAlpha = state.opacity / 100;
      // Both span the same field, edge to edge.
      context.drawImage(once("map", [state.map, place()].join(), old => paint(
        salient.n[1], salient.n[2], slice(salient, place()), VEIL, old)), 0, 0, wide, high);
      context.globalAlpha = 1;
    }
    if (kase().points) marks(context, scale);
    said();
    root.dataset.ready = "true";
  }
  function marks(context, scale) {
    const fine = devicePixelRatio, at = kase().points.map(p => p.map(v => (v + 0.5) * scale));
    const colorOf = i => data.colors[
      Object.keys(data.compartments).find(name => data.compartments[name].includes(i)) || ""];
    Object.assign(context, {lineCap: "round", lineJoin: "round"});
    for (const [name, own] of Object.entries(data.compartments)) {
      if (!state.on.has(name)) continue;
      context.beginPath();
      own.forEach((i, k) => k ? context.lineTo(...at[i]) : context.moveTo(...at[i]));
      Object.assign(context, {strokeStyle: data.colors[name], lineWidth: 14 * fine, globalAlpha: 0.45});
      context.stroke();
      context.globalAlpha = 1;
      const [x, y] = [0, 1].map(k => own.reduce((sum, i) => sum + at[i][k], 0) / own.length);
      const away = (name[0] === "F" ? -28 : 28) * fine;  // into the bone
      letters(context, name, x, y + away, "center", "middle", 14 * fine, data.colors[name]);
    }
    at.forEach(([x, y], i) => {
      if (state.on.has("points")) {
        context.beginPath();
        context.arc(x, y, 3.4 * fine, 0, 7);
        Object.assign(context, {fillStyle: colorOf(i), strokeStyle: "#000", lineWidth: fine});
        context.fill();
        context.stroke();
      }
      if (state.on.has("names")) {
        const femur = data.points[i].name[0] === "f";
        letters(context, data.points[i].name, x, y + (femur ? -6 : 6) * fine, "center",
          femur ? "bottom" : "top", 11 * fine, colorOf(i));
      }
    });
  }

  // ---- What is said, and the panel.
  function said() {
    const text = sentence(), status = find(".oas-status");
    if (status.textContent !== text) status.textContent = text;
    clearTimeout(speak);  // a reader who goes on is told where it ended
    speak = setTimeout(() => {
      if (document.activeElement === canvas) find("[aria-live]").textContent = text;
    }, 400);
    find(".oas-value").textContent = over ? `Under the pointer: ${lies(over)}.` : "";
    canvas.setAttribute("aria-valuenow", state.kase + 1);
    canvas.setAttribute("aria-valuetext", text);
    find("[data-step]").value = state.kase + 1;
    find("[data-step]").setAttribute("aria-valuetext", kase().label);
    find(".oas-plane output").textContent = `${state.kase + 1} of ${last + 1}`;
    const box = find(".oas-scroll");  // keys must reach what scrolls, and stop nowhere else
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
  function lies({x, y}) {  // what is at a place of the picture, in its pixels
    const [, w, h] = here.pictures.n, salient = map();
    const cell = ([, wide, high]) => Math.floor(y / h * high) * wide + Math.floor(x / w * wide);
    const found = [`grey value ${slice(here.pictures, state.kase)[cell(here.pictures.n)]} of 255`];
    if (salient) found.push(`saliency ${((slice(salient, place())[cell(salient.n)] / 255) ** 2).toFixed(2)}`);
    if (kase().points) {
      const far = kase().points.map(p => Math.hypot(p[0] + 0.5 - x, p[1] + 0.5 - y));
      const i = far.indexOf(Math.min(...far));
      if (far[i] * canvas.clientWidth / w < NEAR) found.push(`${data.points[i].name}, ${data.points[i].what}`);
    }
    return found.join(", ");
  }
  function table() {
    const one = kase(), cell = value => element("td", {textContent: value === null ? "–" : value});
    const shown = [["Read", one.read], ["Drawn", one.truth]].filter(([, grades]) => grades);
    const columns = [...shown.map(([name]) => name), ...data.networks];
    const rows = data.heads.map((name, head) => {
      const cells = shown.map(([, grades]) => cell(grades[head]));
      for (const given of one.answers) {
        const td = cell(given ? answer(given[head], head) : null);
        td.className = "oas-p";
        td.style.setProperty("--p", given ? `${Math.round(100 * Math.max(...given[head]))}%` : "0%");
        cells.push(td);
      }
      const row = element("tr", {className: data.maps.length && head === state.head ? "oaj-asked" : ""},
        element("th", {scope: "row", textContent: name}), ...cells);
      return row;
    });
    const top = element("tr", {}, ...["Grade", ...columns].map(text =>
      element("th", {scope: "col", textContent: text})));
    find("table").replaceChildren(element("thead", {}, top), element("tbody", {}, ...rows));
  }
  function panel() {
    find("[data-set=kase]").value = state.kase;
    for (const name of ["map", "head"]) find(`[data-set=${name}]`).value = state[name];
    all("[data-tune]").forEach(input => {
      input.value = state[input.dataset.tune];
      input.nextElementSibling.textContent = input.value + "%";
    });
    all("[data-on]").forEach(box => { box.checked = state.on.has(box.dataset.on); });
    find(".oas-note").textContent = kase().note;
    find(".oas-note").hidden = !kase().note;
    if (data.graded) table();
    refresh();
  }
  function go(to) {
    state.kase = Math.max(0, Math.min(last, to));
    panel();
  }

  // ---- Controls.
  options(find("[data-set=kase]"), data.cases.map((_, i) => i), state.kase, i => graded(data.cases[i]));
  options(find("[data-set=map]"), data.maps.map((_, i) => i), 0, i => data.maps[i].name);
  options(find("[data-set=head]"), data.heads.map((_, i) => i), 0, i => data.heads[i]);
  const look = color => `<svg viewBox="0 0 26 10" aria-hidden="true"><path d="M3 5h20" ` +
    `stroke="${color}" stroke-width="6" stroke-linecap="round"/></svg>`;
  find(".oas-outlines").replaceChildren(...[["points", "Landmarks"], ["names", "Names"],
    ...Object.keys(data.compartments).map(name => [name, name])].map(([key, name]) => {
    const box = element("input", {type: "checkbox"});
    box.dataset.on = key;
    box.onchange = () => { state.on[box.checked ? "add" : "delete"](key); refresh(); };
    const line = data.compartments[key] ? [element("span", {innerHTML: look(data.colors[key])})] : [];
    return element("label", {}, box, ...line, name);
  }));
  const there = {maps: data.maps.length, grades: data.graded, answers: data.networks.length,
    points: data.cases.some(one => one.points)};
  all("[data-for]").forEach(one => { one.hidden = !there[one.dataset.for]; });
  // One below the other, where too little stands beside the picture, or too much.
  root.classList.toggle("oaj-stacked", !data.graded || data.networks.length > 1);
  find(".oas-ramp").style.background = `linear-gradient(to right,${INFERNO})`;
  Object.assign(find("[data-step]"), {max: last + 1});
  canvas.setAttribute("aria-label", data.alt);
  canvas.setAttribute("aria-valuemin", 1);
  canvas.setAttribute("aria-valuemax", last + 1);
  all("[data-set]").forEach(select => {
    select.onchange = () => { state[select.dataset.set] = Number(select.value); panel(); };
  });
  all("[data-tune]").forEach(input => {
    input.oninput = () => { state[input.dataset.tune] = Number(input.value); panel(); };
  });
  find("[data-step]").oninput = event => go(Number(event.target.value) - 1);
  const press = event => {
    const to = steps(event, state.kase, 0, last);
    if (to !== undefined) go(to);
  };
  canvas.onkeydown = find("[data-step]").onkeydown = press;
  find("[data-do=reset]").onclick = () => {
    Object.assign(state, START);
    state.on = new Set(data.on);
    panel();
  };
  const point = event => {
    const box = canvas.getBoundingClientRect(), [, w, h] = here.pictures ? here.pictures.n : [0, 1, 1];
    const x = (event.clientX - box.left) / box.width * w, y = (event.clientY - box.top) / box.height * h;
    over = here.pictures && x >= 0 && y >= 0 && x < w && y < h ? {x, y} : null;
    said();
  };
  canvas.onpointermove = canvas.onpointerdown = point;
  canvas.onpointerleave = event => { if (event.pointerType === "mouse") { over = null; said(); } };
  new ResizeObserver(() => {
    root.classList.toggle("oas-narrow", root.clientWidth < 560);
    refresh();
  }).observe(root);
  const wanted = [["pictures", data.pictures], ...data.maps.map((one, i) => [`map${i}`, one.part])];
  Promise.all(wanted.map(([key, part]) => decode(part).then(volume => { here[key] = volume; }))).then(
    () => panel(),
    error => { find(".oas-error").textContent = `The pictures could not be decoded (${error.message}).`; });
}
document.querySelectorAll(".oa-joint[data-ready=waiting]").forEach(root =>
  joint(root, JSON.parse(root.querySelector(".oas-data").textContent)));
