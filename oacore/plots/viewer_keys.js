// What keys do, in the viewer's pictures and sliders and in the card of thumbnails alike.
function steps(event, now, low, high) {  // where a key leads among low to high; undefined: nowhere
  if (event.ctrlKey || event.altKey || event.metaKey) return undefined;
  const to = {ArrowUp: now + 1, ArrowRight: now + 1, ArrowDown: now - 1, ArrowLeft: now - 1,
    PageUp: now + 10, PageDown: now - 10, Home: low, End: high}[event.key];
  if (to === undefined) return undefined;
  event.preventDefault();
  event.stopPropagation();  // the book's theme turns pages with the arrows
  return Math.max(low, Math.min(high, to));
}
