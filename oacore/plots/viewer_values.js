// What lies at a place of the knee, in words: grey value, saliency, tissue.
function values({data, state, kase, mapOf, here, words}) {
  const at = (volume, [x, y, z]) => {  // bytes lie by slices, from the top, from the front
    const [nx, ny, nz] = volume.n;
    if (x < 0 || y < 0 || z < 0 || x >= nx || y >= ny || z >= nz) return undefined;
    return volume.v[(x * nz + nz - 1 - z) * ny + ny - 1 - y];
  };
  const inside = (one, place) => place.map((v, axis) => v - one.box[axis][0]);
  function saliency(map, place) {
    const volume = map && here(map.file);
    if (!volume) return undefined;
    const cell = place.map((v, axis) => {
      const found = Math.floor((v + 0.5) / kase().shape[axis] * map.grid[axis] / map.step);
      return Math.max(0, Math.min(volume.n[axis] - 1, found - map.box[axis][0]));
    });
    return (at(volume, cell) / 255) ** 2;  // bytes are of the root
  }
  function of(one, place) {
    const image = here(one.image.file), grey = image && at(image, inside(one, place));
    if (grey === undefined) return "";
    const found = [`grey value ${grey} of 255`];
    const shown = data.together ? [] : state.mode === "one" ? [0] : [0, 1];
    for (const which of shown) {
      const s = saliency(mapOf(which), place);
      if (s !== undefined) found.push(`saliency ${s.toFixed(2)}${shown.length > 1 ? ` (${"AB"[which]})` : ""}`);
    }
    const masks = one.outline && here(one.outline.file);
    if (masks) {
      const bits = at(masks, inside(one, place));
      const names = one.masks.filter((_, bit) => bits >> bit & 1).map(words);
      found.push(names.length ? names.join(", ") : "no marked tissue");
    }
    return found.join(", ");
  }
  return place => (data.together ? data.cases : [kase()]).map(one => {
    const said = of(one, place);
    return said && data.together ? `${one.label}: ${said}` : said;
  }).filter(Boolean).join("; ");
}
