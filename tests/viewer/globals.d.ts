// What the browser has beside the DOM: OpenSeadragon is a classic script that sets a global.
interface Window {
  OpenSeadragon?: any;
}
