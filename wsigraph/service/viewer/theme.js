// Light or dark, settled before anything is drawn; a classic script, so that it runs before the first paint.
(() => {
  const kept = localStorage.getItem("wsigraph-theme");
  if (kept === "light" || kept === "dark") document.documentElement.dataset.theme = kept;
  // OpenSeadragon adds a style element unless it finds its own. The policy forbids such elements, and viewer.css has the
  // rule; so it finds this, which is no style element but one of that name.
  const found = document.createElementNS(null, "style");
  found.setAttribute("data-openseadragon-mobile-css", "");
  document.head.append(found);
})();
