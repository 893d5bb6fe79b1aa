// The viewer's pictures: image, overlay, masks, crosshair and letters of one pane.
const LINES = ["#56b4e9", "#f0e442", "#00c08b", "#cc79a7", "#e69f00", "#ffffff", "#d55e00", "#0072b2"];
const DASHES = [[], [5, 3], [1.5, 2.5], [8, 3, 2, 3], [3, 3], [], [5, 3], [1.5, 2.5]];
const DIVERGING = ["#3aa0ff", "#1f6fc4", "#12406f", "#101010", "#7a3210", "#d55e00", "#ffb066"];
const HOT = ramp(INFERNO, 256, 255), BOTH = ramp(DIVERGING, 511, 255);

function painter({data, state, kase, mapOf, want, refresh}) {
  const span = axis => kase().box[axis][1] - kase().box[axis][0];
  const mm = axis => span(axis) * kase().spacing[axis];
  const previews = (data.preview ? data.preview.planes : []).map(source =>
    element("img", {src: source, onload: () => refresh()}));
  const kept = {};  // what was made last for a place on the screen, by what it was made from
  function once(place, key, build) {
    const old = kept[place];
    if (!old || old.key !== key) kept[place] = {key, made: build(old ? old.made : {})};
    return kept[place].made;
  }
  const least = volume => volume.tops[state.top];  // code of the threshold
  const width = (v, axis) => v.n[ACROSS[axis]], height = (v, axis) => v.n[DOWN[axis]];

  const shades = () => once("greys", [state.window, state.level].join(),
    () => greys(state.window, state.level));
  function cell(map, axis) {  // the map's cell, in its stored box, that holds the crosshair
    const at = (state.at[axis] + 0.5) / kase().shape[axis] * map.grid[axis] / map.step;
    const [low, high] = map.box[axis];
    return Math.max(0, Math.min(high - low - 1, Math.floor(at) - low));
  }
  function overlay(which, axis) {  // {canvas, map}, or nothing
    const map = mapOf(which), volume = map && want(map.file);
    if (state.mode !== "difference") {
      if (!volume) return null;
      const key = [map.file, cell(map, axis), state.top].join();
      return once(`map${which}${axis}`, key, old => {
        const table = HOT.map((colour, q) => q < least(volume) ? 0 : colour);
        const codes = cut(volume, axis, cell(map, axis));
        const [w, h] = [width(volume, axis), height(volume, axis)];
        return {map, canvas: paint(w, h, codes, table, old.canvas)};
      });
    }
    const other = mapOf(1), second = other && want(other.file);
    if (!volume || !second) return null;
    const key = ["-", map.file, other.file, cell(map, axis), state.top].join();
    return once(`map${which}${axis}`, key, old => {
      const a = cut(volume, axis, cell(map, axis)), b = cut(second, axis, cell(other, axis));
      const w = width(volume, axis), h = height(volume, axis);
      const w2 = width(second, axis), h2 = height(second, axis);
      const across = Int32Array.from({length: w}, (_, x) => Math.floor((x + 0.5) * w2 / w));
      const codes = new Uint16Array(a.length);  // 256 + signed root of the difference; 0: not shown
      const lowA = least(volume), lowB = least(second);
      for (let y = 0, i = 0; y < h; y++) {
        const row = Math.floor((y + 0.5) * h2 / h) * w2;
        for (let x = 0; x < w; x++, i++) {
          const q = b[row + across[x]];
          if (a[i] < lowA && q < lowB) continue;
          const d = a[i] * a[i] - q * q;
          codes[i] = 256 + Math.sign(d) * Math.round(Math.sqrt(Math.abs(d)));
        }
      }
      const table = new Uint32Array(512);
      table.set(BOTH, 1);
      return {map, canvas: paint(w, h, codes, table, old.canvas)};
    });
  }
  function outlines(volume, axis, i) {  // a path for each mask that is switched on
    return once(`lines${axis}`, [kase().outline.file, i, ...state.outlines].join(), () => {
      const codes = cut(volume, axis, i);
      const shown = [...state.outlines].filter(bit => bit < kase().masks.length);
      return new Map(shown.map(bit => [bit, outline(codes, bit, width(volume, axis),
        height(volume, axis), kase().spacing[ACROSS[axis]], kase().spacing[DOWN[axis]])]));
    });
  }
  function areas(volume, axis, i) {  // masks as areas; where they overlap the later one shows
    return once(`areas${axis}`, [kase().outline.file, i, ...state.outlines].join(), old => {
      const colours = data.colours.map(one => ramp([one, one], 2, 255)[0]);
      const table = Uint32Array.from({length: 256}, (_, bits) => {
        const on = [...state.outlines].filter(bit => bits >> bit & 1);
        return on.length ? colours[Math.max(...on)] : 0;
      });
      return paint(width(volume, axis), height(volume, axis), cut(volume, axis, i), table, old);
    });
  }
  function lay(context, over, axis, scale) {  // a map's cells may stand out beyond the image's box
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
  function drawPane({canvas, axis, which}) {
    const fine = window.devicePixelRatio || 1, wide = Math.round(canvas.clientWidth * fine);
    const image = state.live && want(kase().image.file);
    if (!wide) return;
    const high = Math.round(wide * mm(DOWN[axis]) / mm(ACROSS[axis]));
    if (canvas.width !== wide || canvas.height !== high)
      Object.assign(canvas, {width: wide, height: high});
    const context = canvas.getContext("2d", {alpha: false}), scale = wide / mm(ACROSS[axis]);
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = "#000";
    context.fillRect(0, 0, wide, high);
    const place = state.at[axis] - kase().box[axis][0];
    if (image) {
      const key = [kase().image.file, place, state.window, state.level].join();
      const base = once(`base${axis}`, key, old => paint(
        width(image, axis), height(image, axis), cut(image, axis, place), shades(), old));
      context.drawImage(base, 0, 0, wide, high);
      const over = state.opacity > 0 && overlay(which, axis);
      if (over) lay(context, over, axis, scale);
      const masks = kase().outline && state.outlines.size && want(kase().outline.file);
      if (masks && data.colours) {
        context.globalAlpha = state.opacity / 100;
        context.drawImage(areas(masks, axis, place), 0, 0, wide, high);
        context.globalAlpha = 1;
      } else if (masks) {
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
      const [x, y] = [ACROSS[axis], DOWN[axis]].map(a =>
        (kase().box[a][1] - state.at[a] - 0.5) * kase().spacing[a] * scale);
      const gap = 9 * fine;
      context.beginPath();
      for (const [x0, y0, x1, y1] of [[0, y, x - gap, y], [x + gap, y, wide, y],
        [x, 0, x, y - gap], [x, y + gap, x, high]]) {
        context.moveTo(x0, y0);
        context.lineTo(x1, y1);
      }
      context.lineWidth = fine;
      context.strokeStyle = "#ffffff8c";
      context.stroke();
    } else if (data.preview && kase().slug === data.preview.slug && previews[axis].complete) {
      context.drawImage(previews[axis], 0, 0, wide, high);
    }
    const px = 13 * fine, pad = 5 * fine, {left, right, below, above} = PLANES[axis];
    letters(context, above, wide / 2, pad, "center", "top", px);
    letters(context, below, wide / 2, high - pad, "center", "bottom", px);
    letters(context, left, pad, high / 2, "left", "middle", px);
    letters(context, right, wide - pad, high / 2, "right", "middle", px);
    const name = data.together ? kase().label : state.mode === "two" ? "AB"[which] : state.mode === "difference" ? "A − B" : "";
    if (name) letters(context, name, pad, pad, "left", "top", 1.15 * px);
  }
  return {span, mm, drawPane};
}
