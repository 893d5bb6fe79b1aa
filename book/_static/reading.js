// Parts that are wider than the page can be reached with the keys, and look as if there were more.
//
// A page is printed as it looks in the light theme, with all that folds shown as it is.
(function () {
  "use strict";
  const root = document.documentElement;
  const KINDS = {
    ".oa-table, .pst-scrollable-table-container, .table-wrapper": "Table",
    "div.highlight > pre": "Code",
    ".output.stream, .output.text_plain": "Output",
    ".oa-plot:not(.oa-print), .oa-print > div:first-of-type": "Figure",
    "div.math": "Formula",
    ".cell_output > .output.text_html": "Output",
  };

  // Said before the kind, so that a page's regions have names of their own.
  let count = 0;
  function name(part, kind) {
    const head = part.querySelector("caption, th:not(:empty)")?.textContent.trim();
    count += 1;
    return `${kind} ${count}${head ? `: ${head.slice(0, 60)}` : ""}, scrolls`;
  }

  function look(part, kind) {
    const wide = part.scrollWidth > part.clientWidth + 1;
    const scrolls = wide || part.scrollHeight > part.clientHeight + 1;
    part.classList.toggle("oa-wide", wide);
    const end = part.scrollLeft + part.clientWidth >= part.scrollWidth - 2;
    part.classList.toggle("oa-more", wide && !end);
    if (scrolls && !part.dataset.scrolls) {
      part.dataset.scrolls = "yes";
      part.tabIndex = 0;
      part.setAttribute("role", "region");
      part.setAttribute("aria-label", name(part, kind));
    } else if (!scrolls && part.dataset.scrolls) {
      delete part.dataset.scrolls;
      for (const one of ["tabindex", "role", "aria-label"]) part.removeAttribute(one);
    }
  }

  const kinds = new Map();
  const sizes = new ResizeObserver((entries) => {
    for (const { target } of entries) look(kinds.get(target) ? target : target.parentElement,
      kinds.get(target) ?? kinds.get(target.parentElement));
  });
  for (const [selector, kind] of Object.entries(KINDS)) {
    for (const part of document.querySelectorAll(`article :is(${selector})`)) {
      if (kinds.has(part)) continue;
      kinds.set(part, kind);
      sizes.observe(part);
      part.addEventListener("scroll", () => look(part, kind), { passive: true });
    }
  }

  let theme = null;
  addEventListener("beforeprint", () => {
    theme ??= root.dataset.theme;
    root.dataset.theme = "light";
  });
  addEventListener("afterprint", () => {
    if (theme) root.dataset.theme = theme;
    theme = null;
  });
})();
