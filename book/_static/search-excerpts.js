// Below each result of the search, what its page says around the words that were looked for.
//
// PAGES: of each page, ids and texts of its sections (workflow/excerpts.py).
(function () {
  "use strict";
  const AROUND = 110; // characters before and after the first word that is found

  function excerpt(page, anchor, words) {
    const sections = PAGES[page] ?? [];
    const named = sections.filter(([id]) => id === anchor);
    const wanted = named.length ? named : sections; // not every anchor is a section's
    const found = (text) => {
      const low = text.toLowerCase();
      const places = words.map((word) => low.indexOf(word)).filter((place) => place >= 0);
      return places.length ? { hits: places.length, at: Math.min(...places) } : null;
    };
    let best = null;
    for (const [id, text] of wanted) {
      const here = found(text);
      if (here && (!best || here.hits > best.hits)) best = { ...here, id, text };
    }
    if (!best && wanted.length) best = { id: wanted[0][0], text: wanted[0][1], at: 0 };
    return best;
  }

  function quote({ text, at }, words) {
    let start = Math.max(at - AROUND, 0);
    if (start) start = text.indexOf(" ", start) + 1;
    let end = Math.min(at + AROUND, text.length);
    if (end < text.length) end = Math.max(text.lastIndexOf(" ", end), at + 1);
    const line = document.createElement("p");
    line.className = "context";
    const said = (start ? "… " : "") + text.slice(start, end) + (end < text.length ? " …" : "");
    const safe = words.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
    for (const part of said.split(new RegExp(`(${safe.join("|")})`, "i"))) {
      const mark = words.includes(part.toLowerCase()) ? document.createElement("mark") : null;
      if (mark) mark.textContent = part;
      line.append(mark ?? part);
    }
    return line;
  }

  document.addEventListener("DOMContentLoaded", () => {
    const query = new URLSearchParams(location.search).get("q") ?? "";
    const words = query.toLowerCase().split(/[^\p{L}\p{N}_]+/u).filter((word) => word.length > 1);
    const results = document.getElementById("search-results");
    if (!words.length) return;
    new MutationObserver(() => {
      for (const item of results.querySelectorAll("ul.search > li:not([data-quoted])")) {
        item.dataset.quoted = "yes";
        const link = item.querySelector("a");
        const [page, anchor] = link.getAttribute("href").split("#");
        const best = excerpt(page.replace(/\.html$/, ""), anchor, words);
        if (best) item.append(quote(best, words));
      }
    }).observe(results, { childList: true, subtree: true });
  });
})();
