// The viewer's panel: menus, buttons, sliders, table. It is written anew at every choice.
function controls({root, data, home, state, fresh, kase, mapOf, mm, panes, sliders, words, predicted,
  verdicts, nearest, start, refresh, maps, hash, open, find, all}) {
  const stage = find(".oas-stage"), grades = [0, 1, 2, 3, 4];
  function graded(c) {  // a case's name, and its grade as read and as predicted
    const map = mapOf(0), of = map && `${map.backbone} ${map.supervision}`;
    const p = map && (c.predictions || []).find(one => `${one.backbone} ${one.supervision}` === of);
    const answer = p ? p.prob_kl ? `KL ${best(p)}` : p.prob_oa > 0.5 ? "OA" : "no OA"
      : map && c.predicted && c.predicted[of];
    const found = [c.kl !== null && c.kl !== undefined ? `read KL ${c.kl}` : "",
      answer ? `predicted ${answer}` : ""].filter(Boolean);
    return found.length ? `${c.label}: ${found.join(", ")}` : c.label;
  }
  function menus() {
    const c = kase(), two = state.mode !== "one";
    options(find("[data-set=case]"), data.cases.map((_, i) => i), state.kase, i => graded(data.cases[i]));
    for (const group of ["mode", "shown"])
      all(`[data-group=${group}] button`).forEach(b =>
        b.setAttribute("aria-pressed", b.dataset.value === state[group]));
    find("[data-group=mode]").hidden = c.maps.length < 2;
    find("[data-set=case]").parentNode.hidden = data.colours && (data.together || data.cases.length < 2);
    find("[data-group=shown] [data-value=all]").hidden = data.together;
    const focused = root.contains(document.activeElement) && document.activeElement.dataset.model;
    find(".oas-models").replaceChildren(...(c.maps.length ? two ? [0, 1] : [0] : []).map(which => {
      const legend = element("legend", {textContent: two ? `Model ${"AB"[which]}` : "Model"});
      return element("fieldset", {}, legend, ...FIELDS.map(name => {
        const select = element("select", {onchange: () => {
          nearest(which, name, select.value);
          start();
          panel();
        }});
        select.setAttribute("aria-label", `${name} of model ${"AB"[which]}`);
        select.dataset.model = name + which;
        const offered = [...new Set(c.maps.map(m => m[name]))];
        options(select, offered, mapOf(which)[name], words);
        select.hidden = name === "weights" && offered.length < 2;
        return select;
      }));
    }));
    if (focused) (find(`[data-model=${focused}]`) || root).focus();
  }
  function legends() {
    const has = kase().maps.length > 0;
    find(".oas-outlines").replaceChildren(...kase().masks.map((mask, bit) => {
      const box = element("input", {type: "checkbox", checked: state.outlines.has(bit)});
      box.onchange = () => { state.outlines[box.checked ? "add" : "delete"](bit); refresh(); };
      const look = data.colours ? `stroke="${data.colours[bit]}" stroke-width="8"`
        : `stroke="${LINES[bit]}" stroke-width="2" stroke-dasharray="${DASHES[bit].join(" ")}"`;
      const line = element("span", {innerHTML:
        `<svg viewBox="0 0 26 8" aria-hidden="true"><path d="M1 4h24" fill="none" ${look}/></svg>`});
      return element("label", {}, box, line, words(mask));
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
      const veiled = name === "opacity" && data.colours && kase().masks.length;
      input.parentNode.hidden = !has && !veiled && (name === "opacity" || name === "top");
    });
  }
  function table() {
    const c = kase(), two = state.mode !== "one", verdict = verdicts();
    find(".oas-verdict").textContent = verdict;
    find(".oas-verdict").hidden = !verdict;
    const row = (head, cells) =>
      element("tr", {}, element("th", {scope: "row", textContent: head}), ...cells);
    const cell = (p, chosen) => {
      const td = element("td",
        {className: "oas-p" + (chosen ? " oas-best" : ""), textContent: p === null ? "–" : percent(p)});
      td.style.setProperty("--p", percent(p || 0) || "0%");
      return td;
    };
    const rows = (two ? [0, 1] : [0]).map(which => [which, predicted(mapOf(which))])
      .filter(([, p]) => p).map(([which, p]) =>
        row(`${two ? "AB"[which] + ": " : ""}${words(p.backbone)} ${words(p.supervision)}`,
          [cell(p.prob_oa, false), ...grades.map(k => cell(p.prob_kl ? p.prob_kl[k] : null, best(p) === k))]));
    for (const [head, grade] of [["As read", c.kl], ["Truth (as drawn)", c.kl_true]])
      if (grade !== null) rows.push(row(head, [element("td", {textContent: grade >= 2 ? "OA" : "no OA"}),
        ...grades.map(k => element("td", {textContent: k === grade ? "●" : ""}))]));
    find(".oas-table").hidden = !rows.length;
    const top = element("tr", {}, ...["", "OA", ...grades.map(k => "KL " + k)].map(t =>
      element("th", {scope: "col", textContent: t})));
    find(".oas-table").replaceChildren(element("thead", {}, top), element("tbody", {}, ...rows));
    const map = mapOf(0), averaged = map && map.grid.map((n, a) =>
      (map.step / n * c.shape[a] * c.spacing[a]).toFixed(1));
    find(".oas-note").textContent = [c.note, averaged && `A cell of the map is ${averaged.join(" × ")} mm` +
      (map.step > 1 ? ", an average over the network's voxels." : ".")].filter(Boolean).join(" ");
  }
  function layout() {
    const c = kase(), there = {
      cases: data.cases.length > 1 && !data.together, maps: c.maps.length > 0, masks: c.masks.length > 0,
      overlay: c.maps.length > 0 || data.colours && c.masks.length > 0,
    };
    all("[data-for]").forEach(one => { one.hidden = !there[one.dataset.for]; });
    stage.style.setProperty("--columns", [0, 1, 2].map(axis => mm(ACROSS[axis]).toFixed(1) + "fr").join(" "));
    root.classList.toggle("oas-two", state.mode === "two");
    root.classList.toggle("oas-single", state.shown !== "all");
    root.classList.toggle("oas-together", !!data.together);
    panes.forEach(({canvas, axis, which}) => {
      canvas.style.aspectRatio = `${mm(ACROSS[axis])} / ${mm(DOWN[axis])}`;
      canvas.hidden = !data.together && which === 1 && state.mode !== "two";
      const of = data.together ? ` of ${data.cases[which].label}`
        : state.mode === "two" ? ` of model ${"AB"[which]}` : "";
      canvas.setAttribute("aria-label", `${data.alt}: ${PLANES[axis].name} picture${of}`);
      canvas.setAttribute("aria-valuemin", 1);
      canvas.setAttribute("aria-valuemax", c.box[axis][1] - c.box[axis][0]);
    });
    sliders.forEach(({input}, axis) =>
      Object.assign(input, {min: 1, max: c.box[axis][1] - c.box[axis][0]}));
    all(".oas-plane").forEach(box => {
      box.hidden = state.shown !== "all" && state.shown !== box.dataset.plane;
    });
    find(".oas-link").hidden = true;
    find(".oas-saved").textContent = "";
    find("[data-do=link]").hidden = !home.follow;
    find("[data-do=save]").hidden = !home.save || !c.maps.length;
  }
  function panel() {  // everything but the pictures, which change more often
    menus();
    legends();
    table();
    layout();
    refresh();
  }
  find("[data-set=case]").onchange = event => open(+event.target.value);
  all("[data-group] button").forEach(button => {
    button.onclick = () => {
      const group = button.parentNode.dataset.group;
      state[group] = button.dataset.value;
      if (group === "mode") start();
      panel();
    };
  });
  all("[data-tune]").forEach(input => {
    input.oninput = () => { state[input.dataset.tune] = +input.value; start(); legends(); };
  });
  find("[data-do=reset]").onclick = () => {
    Object.assign(state, fresh());
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
  find("[data-do=save]").onclick = async () => {
    const place = find(".oas-saved");
    place.textContent = "Saving …";
    try { place.textContent = await home.save(maps().map(m => m.file)); }
    catch (error) { place.textContent = error.message; }
  };
  return {panel};
}
