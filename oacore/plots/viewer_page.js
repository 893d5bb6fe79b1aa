// The viewer on a page without a kernel. Its parts travel in the page, or are scripts that hand over
// their bytes: a page opened from disk may run a script that lies beside it, but may not fetch a file.
window.oacoreSlicer = window.oacoreSlicer || {
  parts: {},
  put(key, part) { this.parts[key + ".js"] = part; },
};
document.querySelectorAll(".oa-slicer:not([data-ready])").forEach(root => {
  root.dataset.ready = "false";
  const data = JSON.parse(root.querySelector(".oas-data").textContent);
  const load = file => data.parts ? decode(data.parts[file]) : new Promise((resolve, reject) => {
    const node = element("script", {src: data.address + file});
    node.onload = () => {
      const part = window.oacoreSlicer.parts[file];
      delete window.oacoreSlicer.parts[file];
      node.remove();
      if (part) decode(part).then(resolve, reject);
      else lost();  // something else was served at this address
    };
    const lost = () => reject(new Error(`A part of this case could not be loaded (${file}). Try once ` +
      "more by its button or menu; on disk, keep the whole folder of the book."));
    node.onerror = () => {
      node.remove();
      lost();
    };
    document.head.append(node);
  });
  slicer(root, data, {load, follow: !data.parts});
});
