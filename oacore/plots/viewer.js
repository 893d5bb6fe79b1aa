// The viewer: state, words, controls. `home` is where it lives, a page or JupyterLab:
//   load(file, report)  promise of a volume; report(done, of) while it is computed
//   describe(place)     promise of a case that `data` only names; not on a page
//   drop(file)          nobody waits for this part any more; not on a page
//   save(files)         promise of a sentence that says where the maps were written; not on a page
//   follow              whether the address of the page names case, slices and maps
// `data` holds the cases. With `colours` their masks are areas, not outlines; `together`, too, all
// cases are seen side by side, in one plane.
const FIELDS = ["backbone", "supervision", "head", "method", "weights"];
const GROSS = 3;  // grades between an answer and the knee from which on it is called a gross failure
const START = {opacity: 60, top: 4, window: 100, level: 50};
const size = bytes => (bytes / 1e6).toFixed(bytes < 95e3 ? 2 : 1) + " MB";
const percent = p => p === null ? "" : Math.round(100 * p) + "%";
const best = p => p.prob_kl ? p.prob_kl.indexOf(Math.max(...p.prob_kl)) : null;

function slicer(root, data, home) {
  const find = selector => root.querySelector(selector);
  const all = selector => [...root.querySelectorAll(selector)];
  const fresh = () => data.colours ? {...START, opacity: 40} : START;
  const words = name => data.names[name] || name.replace(/_/g, " ");
  const state = {
    kase: 0, at: [], models: ["", ""], mode: "one", shown: data.together ? "0" : "all",
    outlines: new Set(data.colours ? data.cases[0].masks.keys() : [0]), live: false, ...fresh(),
  };
  let opening = null, told = "", waiting = false, speak = 0;
  let over = null;  // {axis, place} under the pointer, where one is in a picture
  const kase = () => data.cases[state.kase];
  const mapOf = which => kase().maps.find(m => m.id === state.models[which]);
  const parts = shelf(home, () => refresh());
  const painters = (data.together ? data.cases : [null]).map(one => painter(
    {data, state, kase: one ? () => one : kase, mapOf, want: parts.want, refresh}));
  const {span, mm} = painters[0];
  const maps = () => (state.mode === "one" ? [0] : [0, 1]).map(mapOf).filter(Boolean);
  const said = (place, text) => { if (place.textContent !== text) place.textContent = text; };
  const lies = values({data, state, kase, mapOf, words, here: file => parts.here.get(file)});

  // ---- Words.
  const count = axis => {  // slices are counted among those that are there: air is cut off
    const [low, high] = kase().box[axis];
    return `slice ${state.at[axis] - low + 1} of ${high - low}`;
  };
  const nth = axis => `${PLANES[axis].name} ${count(axis)}`;
  const origin = ["left", "posterior", "inferior"];  // where slice 1 lies
  const placed = axis => `${nth(axis)}, ` +
    `${(state.at[axis] * kase().spacing[axis]).toFixed(1)} mm from the ${origin[axis]} edge`;
  const untrained = map => !!map && map.weights === "random";
  const named = map => FIELDS.filter(f => f !== "weights" || untrained(map))
    .map(f => words(map[f])).join(", ");
  const predicted = map => untrained(map) ? undefined : map && kase().predictions.find(
    p => p.backbone === map.backbone && p.supervision === map.supervision);
  function answer(which) {
    const map = mapOf(which), p = predicted(map), found = [];
    if (p && p.prob_kl) found.push(`KL ${best(p)} (${percent(p.prob_kl[best(p)])})`);
    if (p && p.prob_oa !== null) found.push(`OA with ${percent(p.prob_oa)}`);
    return map ? named(map) + (found.length ? `, predicts ${found.join(" and ")}` : "") : "";
  }
  function verdict(which) {  // a model's answer beside the grade, before a picture is loaded
    const c = kase(), map = mapOf(which), p = predicted(map);
    const grade = c.kl_true === null ? c.kl : c.kl_true;
    if (untrained(map)) return `${words(map.backbone)} ${words(map.supervision)} with random weights ` +
      "has learned nothing: its map is there to compare.";
    if (!p || grade === null) return "";
    const model = `${words(p.backbone)} ${words(p.supervision)}`, oa = grade >= 2;
    if (!p.prob_kl) return (p.prob_oa > 0.5) === oa ? `${model} answers rightly: ${oa ? "OA" : "no OA"}.`
      : `${model} is wrong: it says ${oa ? "no OA" : "OA"}.`;
    const off = Math.abs(best(p) - grade), far = `${off} grade${off > 1 ? "s" : ""}`;
    return `${model} answers KL ${best(p)}: ` + (!off ? "the right grade."
      : `${far} too ${best(p) > grade ? "high" : "low"}${off < GROSS ? "." : ", a gross failure."}`);
  }
  function verdicts() {
    const c = kase(), shown = (state.mode === "one" ? [0] : [0, 1]).map(verdict);
    const found = [...new Set(shown)].filter(Boolean);
    if (!found.length) return "";
    const label = c.kl === null ? "" : `was read as KL ${c.kl}`;
    const truth = c.kl_true === null ? "" : `was drawn as KL ${c.kl_true}`;
    if (!label && !truth) return found.join(" ");
    return [`${c.label} ${[label, truth].filter(Boolean).join(" and ")}.`, ...found].join(" ");
  }
  function sentence(axes) {
    const c = kase();
    if (data.colours) return (data.together ? "" : c.label + ": ") + axes.map(placed).join("; ");
    const label = c.kl === null ? "" : ` Read as KL ${c.kl}.`;
    const truth = c.kl_true === null ? "" : ` Drawn as KL ${c.kl_true}.`;
    const models = state.mode === "one" ? answer(0)
      : `A: ${answer(0)}; B: ${answer(1)}${state.mode === "difference" ? "; difference A minus B" : ""}`;
    return `${c.label}, ${axes.map(nth).join(", ")}. ${models}.${label}${truth}`.replace(" .", "");
  }
  function news(coming) {  // what is going on
    const c = kase(), bytes = list => size(list.reduce((sum, f) => sum + f.bytes, 0));
    if (opening !== null) return `Reading ${data.cases[opening].label} …`;
    if (!state.live) return `Not loaded yet: ${c.label} takes ${bytes([c.image, c.outline].filter(Boolean))}, a map more when it is shown.`;
    if (!coming.length) return sentence(data.together ? [+state.shown] : [0, 1, 2]);
    const computed = coming.map(f => parts.underway.get(f.file)).find(job => job.of);
    const map = maps().find(m => coming.includes(m));
    return computed && map ? `Computing ${named(map)}: pass ${computed.done} of ${computed.of} …`
      : `Loading ${c.label}, ${bytes(coming)} …`;
  }

  // ---- Drawing.
  function refresh() {  // once a frame, however many events there were
    if (root.dataset.ready === "true") root.dataset.ready = false;  // of what was shown until now
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; draw(); });
  }
  function draw() {
    const c = kase(), shown = data.together ? data.cases : [c];
    const files = [...shown.flatMap(one => [one.image, one.outline]), ...maps()].filter(Boolean);
    parts.keep(files.map(f => f.file));
    if (parts.failed.has(c.image.file)) state.live = false;  // back to the button
    panes.forEach(pane => {
      if (pane.canvas.offsetParent) painters[data.together ? pane.which : 0].drawPane(pane);
    });
    sliders.forEach(({input, output}, axis) => {
      const n = state.at[axis] - c.box[axis][0] + 1;
      if (input.value !== String(n)) input.value = n;
      input.setAttribute("aria-valuetext", nth(axis));
      output.textContent = count(axis);
    });
    panes.forEach(({canvas, axis}) => {
      canvas.tabIndex = state.live ? 0 : -1;  // no stops at what does nothing yet
      if (!canvas.offsetParent) return;
      canvas.setAttribute("aria-valuenow", state.at[axis] - c.box[axis][0] + 1);
      canvas.setAttribute("aria-valuetext", sentence([axis]));
    });
    const coming = files.filter(f => parts.underway.has(f.file));
    const wrong = files.map(f => parts.failed.get(f.file)).find(Boolean);
    const status = news(coming), job = coming.map(f => parts.underway.get(f.file)).find(j => j.of);
    said(find(".oas-status"), status);
    said(find(".oas-error"), told || wrong || "");
    find(".oas-progress").hidden = !job;
    if (job) Object.assign(find(".oas-progress"), {max: job.of, value: job.done});
    const ready = state.live && !coming.length && opening === null && parts.here.has(c.image.file);
    clearTimeout(speak);  // a reader who drags is told where it ended
    if (ready) speak = setTimeout(() => { said(find("[aria-live]"), status); }, 400);
    if (root.dataset.ready !== String(ready)) root.dataset.ready = ready;
    all(".oas-plane input, .oas-tune input, .oas-outlines input, [data-do=reset]").forEach(
      one => { one.disabled = !state.live; });
    root.classList.toggle("oas-idle", !state.live);
    readout();
    find(".oas-open").hidden = state.live;
    said(find(".oas-open"), `Load ${c.label}`);
    find("[data-do=save]").disabled = !ready || !maps().every(m => parts.here.has(m.file));
  }

  function readout() {
    const place = over ? over.place.slice() : state.at;
    if (over) place[over.axis] = state.at[over.axis];  // keys may have gone to another slice
    const text = lies(place);
    said(find(".oas-value"), text && `${over ? "Under the pointer" : "At the crosshair"}: ${text}.`);
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
  const opener = () => {
    const offered = kase().maps.filter(m => !untrained(m));
    return offered.find(m => m.supervision === "dual") || offered[0] || {id: ""};
  };
  function choose(which, id) {
    state.models[which] = kase().maps.some(m => m.id === id) ? id : "";
    if (state.models[which]) return;
    const first = kase().maps.find(m => m.id === state.models[0]), like = (m, ...fields) =>
      m.id !== first.id && fields.every(field => m[field] === first[field]);
    const own = ["backbone", "supervision", "head"];  // first of all, the same network untrained
    const other = which && first && (
      kase().maps.find(m => untrained(m) && like(m, ...own, "method")) ||
      kase().maps.find(m => untrained(m) && like(m, ...own)) ||
      kase().maps.find(m => like(m, "head", "method", "weights")));
    state.models[which] = (other || which && kase().maps[which] || opener()).id;
  }
  function show(place) {  // a case that is described: keeps the models that it has, too
    state.kase = place;
    state.at = kase().start.slice();
    [0, 1].forEach(which => choose(which, state.models[which]));
    retry();
    panel();
  }
  async function open(place) {  // the last one that was asked for
    if (data.cases[place].shape) opening = null;
    else {
      opening = place;
      retry();
      refresh();
      try {
        const found = await home.describe(place);
        data.cases[place] = found;
      } catch (error) {
        if (opening !== place) return;
        told = error.message;
      }
      if (opening !== place) return;
      opening = null;
      if (told) return panel();
    }
    show(place);
    start();
  }
  function retry() {
    parts.failed.clear();
    told = "";
  }
  function nearest(which, field, value) {  // the map with this value that shares most of the rest
    retry();
    const now = mapOf(which), like = m => FIELDS.reduce((n, f, i) =>
      n + (m[f] === now[f] ? 1 + 0.1 * (FIELDS.length - i) : 0), 0);  // a tie keeps the network
    const having = kase().maps.filter(m => m[field] === value);
    choose(which, having.reduce((a, b) => like(b) > like(a) ? b : a).id);
  }
  function hash() {
    const at = state.at.map((v, axis) => "sca"[axis] + (v - kase().box[axis][0] + 1));
    const link = [kase().slug, ...at, ...maps().map(m => m.id)];
    return "#slicer=" + (state.mode === "difference" ? [...link, "difference"] : link).join();
  }
  function follow() {  // a deep link; false if the address holds none
    const found = /^#slicer=(.+)$/.exec(decodeURIComponent(location.hash));
    if (!found) return false;
    const [slug, ...rest] = found[1].split(",");
    const place = data.cases.findIndex(c => c.slug === slug);
    if (place < 0) {
      told = `This page has no case “${slug}”: the link is older or newer than the page.`;
      refresh();
      return false;
    }
    const ids = rest.filter(word => data.cases[place].maps.some(m => m.id === word));
    state.mode = ids.length > 1 ? rest.includes("difference") ? "difference" : "two" : "one";
    show(place);
    ids.slice(0, 2).forEach((id, which) => choose(which, id));
    if (ids.length === 1) choose(1, "");
    for (const word of rest) {
      const step = /^([sca])(\d+)$/.exec(word);
      const axis = step && "sca".indexOf(step[1]);
      if (step) go(axis, kase().box[axis][0] + Number(step[2]) - 1);
    }
    start();
    panel();
    root.scrollIntoView({block: "start"});
    return true;
  }

  // ---- Controls.
  const stage = find(".oas-stage"), panes = [], sliders = [];
  const press = (axis, event) => {
    const [low, high] = kase().box[axis], to = steps(event, state.at[axis], low, high - 1);
    if (to !== undefined) go(axis, to);
  };
  stage.append(element("button", {type: "button", className: "oas-open", onclick: () => {
    retry();
    start();
    panes.find(({canvas}) => canvas.offsetParent).canvas.focus();  // the button is gone
  }}));
  PLANES.forEach(({name: plane}, axis) => {
    const pair = element("div", {className: "oas-pair"});
    (data.together ? [...data.cases.keys()] : [0, 1]).forEach(which => {
      const canvas = element("canvas", {tabIndex: 0, className: which ? "oas-b" : "oas-a"});
      canvas.setAttribute("role", "slider");
      canvas.dataset.plane = plane;
      panes.push({canvas, axis, which});
      pair.append(canvas);
      listen(canvas, axis);
    });
    const input = element("input", {type: "range", step: 1}), output = element("output");
    input.oninput = () => go(axis, kase().box[axis][0] + Number(input.value) - 1);
    input.onkeydown = event => press(axis, event);
    input.dataset.slice = plane;
    sliders.push({input, output});
    const title = plane[0].toUpperCase() + plane.slice(1);
    const box = element("div", {className: "oas-plane"}, pair,
      element("label", {}, element("span", {textContent: title}), output, input));
    box.dataset.plane = axis;
    stage.append(box);
  });

  function listen(canvas, axis) {
    let from = null;  // where a touch began, until it is known to be a drag
    const under = event => {  // the place, on the slice that is shown
      const box = canvas.getBoundingClientRect(), place = state.at.slice();
      [[ACROSS[axis], (event.clientX - box.left) / box.width],
        [DOWN[axis], (event.clientY - box.top) / box.height]].forEach(([a, f]) => {
        const [low, high] = kase().box[a];
        place[a] = Math.max(low, Math.min(high - 1, high - 1 - Math.floor(f * span(a))));
      });
      return place;
    };
    const point = event => {
      under(event).forEach((to, a) => { if (a !== axis) go(a, to); });
      start();
    };
    canvas.onpointerdown = event => {
      if (event.button) return;
      from = [event.clientX, event.clientY, event.pointerType !== "mouse"];
      if (from[2]) return;
      canvas.setPointerCapture(event.pointerId);
      point(event);
    };
    canvas.onpointerleave = () => { over = null; readout(); };
    canvas.onpointermove = event => {
      over = from || event.pointerType !== "mouse" ? null : {axis, place: under(event)};
      if (!from) return readout();
      if (from[2] && Math.abs(event.clientX - from[0]) < 6) return;
      from[2] = false;
      point(event);
    };
    canvas.onpointerup = event => {
      if (from && from[2]) point(event);
      from = null;
    };
    canvas.onpointercancel = () => { from = null; };  // the browser scrolls the page
    canvas.onkeydown = event => press(axis, event);
    canvas.addEventListener("wheel", event => {
      if (document.activeElement !== canvas) return;
      if (go(axis, state.at[axis] + (event.deltaY < 0 ? 1 : -1))) event.preventDefault();
    }, {passive: false});
  }
  const {panel} = controls({root, data, home, state, fresh, kase, mapOf, mm, panes, sliders, words,
    predicted, verdicts, nearest, start, refresh, maps, hash, open, find, all});
  if (home.follow) addEventListener("hashchange", follow);
  const sized = new ResizeObserver(() => {
    root.classList.toggle("oas-narrow", root.clientWidth < 560);
    refresh();
  });
  sized.observe(root);
  show(data.opens || 0);
  if (home.follow) follow();
  else start();
  return () => sized.disconnect();
}
