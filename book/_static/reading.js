// Parts that are wider than the page can be reached with the keys, and look as if there were more.
//
// A page is printed as it looks in the light theme.
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
    ".oa-slicer .oas-scroll": "Table",
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
    const said = part.dataset.scrolls;
    if (scrolls && !said) {
      part.tabIndex = 0;
      part.dataset.scrolls = part.ariaLabel ? "named" : "unnamed"; // a figure has a name
      if (!part.ariaLabel) {
        part.setAttribute("role", "region");
        part.setAttribute("aria-label", name(part, kind));
      }
    } else if (!scrolls && said) {
      part.removeAttribute("tabindex");
      delete part.dataset.scrolls;
      if (said === "unnamed") {
        part.removeAttribute("role");
        part.removeAttribute("aria-label");
      }
    }
  }

  // Names of rows in two columns stay in sight, unless they would fill half of the frame. Where
  // each column begins is known only here; with one column the style sheet does it.
  function hold(part) {
    for (const table of part.querySelectorAll("table.dataframe:has(th[rowspan])")) {
      for (const cell of table.querySelectorAll(".oa-name")) cell.classList.remove("oa-name");
      const names = [...table.querySelectorAll("tbody th")];
      const end = Math.max(...names.map((cell) => cell.offsetLeft + cell.offsetWidth));
      if (!part.classList.contains("oa-wide") || end > part.clientWidth / 2) continue;
      const above = [...table.querySelectorAll("thead th")].filter((cell) => cell.offsetLeft + 1 < end);
      const cells = [...names, ...above].map((cell) => [cell, cell.offsetLeft]);
      for (const [cell, left] of cells) {
        cell.style.left = `${left}px`;
        cell.classList.add("oa-name");
      }
    }
  }

  const kinds = new Map();
  const sizes = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      const part = kinds.has(target) ? target : target.parentElement; // its content has grown
      look(part, kinds.get(part));
      hold(part);
    }
  });
  for (const [selector, kind] of Object.entries(KINDS)) {
    for (const part of document.querySelectorAll(`article :is(${selector})`)) {
      if (kinds.has(part)) continue;
      kinds.set(part, kind);
      sizes.observe(part);
      for (const child of part.children) if (!kinds.has(child)) sizes.observe(child);
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
