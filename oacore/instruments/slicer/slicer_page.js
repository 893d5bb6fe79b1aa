// The slicer on a page without a kernel: parts are scripts that hand over their bytes, because a
// page opened from disk may run a script that lies beside it, but may not fetch a file.
window.oacoreSlicer = window.oacoreSlicer || {
  parts: {},
  put(key, part) { this.parts[key + ".js"] = part; },
};
async function decode(part) {  // a sheet of sagittal slices, see oacore.instruments.slicer.sheets
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
document.querySelectorAll(".oa-slicer:not([data-ready])").forEach(root => {
  root.dataset.ready = "false";
  const data = JSON.parse(root.querySelector(".oas-data").textContent);
  const load = file => new Promise((resolve, reject) => {
    const node = element("script", {src: data.address + file});
    node.onload = () => {
      const part = window.oacoreSlicer.parts[file];
      delete window.oacoreSlicer.parts[file];
      node.remove();
      decode(part).then(resolve, reject);
    };
    node.onerror = () => {
      node.remove();
      reject(new Error(`A part of this case could not be loaded (${file}). Try once more by its ` +
        "button or menu; on disk, keep the whole folder of the book."));
    };
    document.head.append(node);
  });
  slicer(root, data, {load, follow: true});
});
