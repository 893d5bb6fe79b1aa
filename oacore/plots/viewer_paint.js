// What all viewers of pictures are made of: elements, sheets of bytes, colours, letters.
const INFERNO = ["#000004", "#280b53", "#65156e", "#9f2a63", "#d44842", "#f57d15", "#fac127", "#fcffa4"];
async function decode(part) {  // a sheet of slices or pictures, see oacore.plots.sheets
  const bytes = Uint8Array.from(atob(part.data), c => c.charCodeAt(0));
  const [n, wide, high] = part.shape, tile = length => Math.ceil(length / 8) * 8;
  const picture = await createImageBitmap(
    new Blob([bytes], {type: part.type}), {colorSpaceConversion: "none"});
  const columns = picture.width / tile(wide), row = tile(high), v = new Uint8Array(n * high * wide);
  const canvas = element("canvas", {width: picture.width, height: row});
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
function element(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}
function paint(width, height, codes, table, old) {  // bytes through a table of colours
  const same = old && old.width === width && old.height === height;  // spares making a canvas
  const canvas = same ? old : element("canvas", {width, height}), context = canvas.getContext("2d");
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
function greys(window, level) {  // colours of 256 bytes; both are percent of the scale
  const low = 2.55 * (level - window / 2), range = 2.55 * window;
  return Uint32Array.from({length: 256}, (_, q) => {
    const g = Math.max(0, Math.min(255, Math.round((q - low) / range * 255)));
    return (255 << 24 | g << 16 | g << 8 | g) >>> 0;
  });
}
function letters(context, words, x, y, align, baseline, px, color = "#fff") {
  Object.assign(context, {font: `600 ${px}px system-ui, sans-serif`, textAlign: align,
    textBaseline: baseline, lineWidth: px / 4, strokeStyle: "#000c", fillStyle: color,
    lineJoin: "round"});
  context.strokeText(words, x, y);
  context.fillText(words, x, y);
}
function options(select, values, now, name) {
  select.replaceChildren(...values.map(value =>
    element("option", {value, textContent: name(value), selected: value === now})));
}
