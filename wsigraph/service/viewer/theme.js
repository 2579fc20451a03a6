// Light or dark theme, set before the first paint; a classic script, because modules run later.
(() => {
  const stored = localStorage.getItem("wsigraph-theme");
  if (stored === "light" || stored === "dark") document.documentElement.dataset.theme = stored;
  // OpenSeadragon adds a style element unless it finds one with this attribute. The content security policy forbids
  // style elements and viewer.css has the rule, so this adds an inert element of that name.
  const marker = document.createElementNS(null, "style");
  marker.setAttribute("data-openseadragon-mobile-css", "");
  document.head.append(marker);
})();
