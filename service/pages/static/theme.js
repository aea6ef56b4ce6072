// Before the page is drawn: the colours that were chosen on this device.
(function () {
  "use strict";
  try {
    var theme = localStorage.getItem("layercut-theme");
    if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
  } catch (error) { /* storage is shut: the system's colours */ }
})();
