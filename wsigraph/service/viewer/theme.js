// Light or dark, settled before anything is drawn; a classic script, so that it runs before the first paint.
(() => {
  const kept = localStorage.getItem("wsigraph-theme");
  if (kept === "light" || kept === "dark") document.documentElement.dataset.theme = kept;
})();
