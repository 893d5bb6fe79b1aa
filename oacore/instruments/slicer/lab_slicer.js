// The slicer in JupyterLab: asks the kernel, by messages whose answers carry bytes as buffers.
export default {
  render({model, el}) {
    const name = Math.random().toString(36).slice(2), asked = new Map(), ids = new Map();
    let count = 0, end = () => {};
    const heard = (message, buffers) => {
      const job = asked.get(message.id);
      if (!job) return;  // of another view, or nobody waits for it any more
      if ("done" in message) { job.report(message.done, message.of); return; }
      asked.delete(message.id);
      if (message.error) job.reject(new Error(message.error));
      else job.resolve({...message, buffers});
    };
    model.on("msg:custom", heard);
    const ask = (question, report = () => {}) => {
      const id = `${name}-${count++}`;
      if (question.file) ids.set(question.file, id);
      return new Promise((resolve, reject) => {
        asked.set(id, {resolve, reject, report});
        model.send({...question, id});
      });
    };
    const home = {
      load: (file, report) => ask({ask: /\/(image|outline)$/.test(file) ? "picture" : "map", file}, report)
        .then(({n, tops, buffers: [b]}) =>
          ({v: new Uint8Array(b.buffer, b.byteOffset, b.byteLength), n, tops})),
      describe: place => ask({ask: "case", place}).then(found => found.case),
      drop: file => {
        asked.delete(ids.get(file));
        model.send({ask: "drop", of: ids.get(file)});
      },
      save: files => ask({ask: "save", files}).then(found => found.saved),
      follow: false,
    };
    const root = element("section", {className: "oa-slicer", innerHTML: BODY});
    root.setAttribute("aria-label", "Slices and saliency");
    const guard = event => {  // plain keys are the slicer's, Ctrl+S and its like the notebook's
      const plain = !(event.ctrlKey || event.metaKey || event.altKey || event.shiftKey);
      if (root.contains(event.target)) event.target.toggleAttribute("data-lm-suppress-shortcuts", plain);
    };
    window.addEventListener("keydown", guard, true);  // before JupyterLab looks at the event
    const note = element("p", {className: "oas-wait", textContent: "The kernel reads the first case …"});
    note.setAttribute("role", "status");
    el.replaceChildren(note);
    const late = setTimeout(() => {
      note.textContent = "The kernel has not answered yet: it is busy with a cell, or it was " +
        "restarted, and then this cell must be run again.";
    }, 8000);
    ask({ask: "start"}).then(({data}) => {
      el.replaceChildren(root);
      end = slicer(root, data, home);
    }).catch(error => { note.textContent = error.message; }).finally(() => clearTimeout(late));
    return () => {
      clearTimeout(late);
      window.removeEventListener("keydown", guard, true);
      model.off("msg:custom", heard);
      for (const id of asked.keys()) model.send({ask: "drop", of: id});
      end();
    };
  },
};
