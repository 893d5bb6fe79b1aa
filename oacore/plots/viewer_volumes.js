// Volumes of bytes for the viewer: kept, cut into slices, outlined. No library; 2D slices only.
// A volume is {v, n, tops}: bytes as (sagittal slices, rows from the top, columns from the left),
// the sides [x, y, z], and of a map the code at which the top so many % of its voxels begin.
const ACROSS = PLANES.map(p => p.across), DOWN = PLANES.map(p => p.up);  // axes of the volume
const ROOM = 60e6;  // bytes of volumes kept, if what is shown does not need more

function shelf(home, changed) {  // volumes by their file: those here, on their way, not to be had
  const here = new Map(), underway = new Map(), failed = new Map();
  function want(file) {  // the volume of a part, or nothing until it is there
    if (here.has(file)) {
      const volume = here.get(file);
      here.delete(file);  // to the young end
      here.set(file, volume);
      return volume;
    }
    if (underway.has(file) || failed.has(file)) return undefined;
    const job = {done: 0, of: 0};
    underway.set(file, job);
    const report = (done, of) => { Object.assign(job, {done, of}); changed(); };
    home.load(file, report).then(
      volume => { here.set(file, volume); },
      error => { if (underway.get(file) === job) failed.set(file, error.message); },
    ).finally(() => {
      if (underway.get(file) === job) underway.delete(file);
      changed();
    });
    return undefined;
  }
  function keep(files) {  // what is shown: the rest may go, and nobody waits for it any more
    let kept = 0;
    for (const [file, volume] of [...here].reverse()) {
      kept += volume.v.length;
      if (kept > ROOM && !files.includes(file)) here.delete(file);
    }
    if (home.drop) for (const file of [...underway.keys()])
      if (!files.includes(file)) { underway.delete(file); home.drop(file); }
  }
  return {want, keep, here, underway, failed};
}

function cut(volume, axis, i) {  // slice i of a volume across one axis
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
function outline(codes, bit, w, h, dx, dy) {  // around a mask's voxels, in mm from the upper left
  const W = w + 2, framed = new Uint8Array(W * (h + 2));  // a frame of nothing spares the edges
  for (let r = 0; r < h; r++) framed.set(codes.subarray(r * w, r * w + w), (r + 1) * W + 1);
  const path = new Path2D();
  const trace = (rows, columns, down, right, line) => {
    // Edges between a voxel inside and the one before it, in runs: rows, then columns.
    for (let r = 1; r <= rows; r++) {
      let start = -1, at = r * down + right;
      for (let c = 1; c <= columns; c++, at += right) {
        const edge = (framed[at] ^ framed[at - down]) >> bit & 1;
        if (edge && start < 0) start = c;
        if (!edge && start >= 0) { line(r - 1, start - 1, c - 1); start = -1; }
      }
    }
  };
  trace(h + 1, w + 1, W, 1, (y, x0, x1) => { path.moveTo(x0 * dx, y * dy); path.lineTo(x1 * dx, y * dy); });
  trace(w + 1, h + 1, 1, W, (x, y0, y1) => { path.moveTo(x * dx, y0 * dy); path.lineTo(x * dx, y1 * dy); });
  return path;
}
