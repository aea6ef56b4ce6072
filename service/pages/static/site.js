// What all pages share: colours, times in the reader's zone, copying, parts that are looked at again.
(function () {
  "use strict";

  var root = document.documentElement;

  function say(text) {
    var toast = document.getElementById("toast");
    toast.textContent = text;
    toast.classList.add("shown");
    clearTimeout(say.timer);
    say.timer = setTimeout(function () { toast.classList.remove("shown"); }, 2500);
  }

  // Colours ---------------------------------------------------------------------------------------------------------

  function isDark() {
    if (root.dataset.theme) return root.dataset.theme === "dark";
    return matchMedia("(prefers-color-scheme: dark)").matches;
  }

  function setUpTheme() {
    var button = document.querySelector("[data-theme-toggle]");
    if (!button) return;
    button.hidden = false;
    button.setAttribute("aria-pressed", String(isDark()));
    button.addEventListener("click", function () {
      root.dataset.theme = isDark() ? "light" : "dark";
      button.setAttribute("aria-pressed", String(isDark()));
      try { localStorage.setItem("layercut-theme", root.dataset.theme); } catch (error) { /* for this page, then */ }
    });
  }

  // Times -----------------------------------------------------------------------------------------------------------

  var STEPS = [["day", 86400], ["hour", 3600], ["minute", 60]];
  var relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
  var absolute = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" });

  function showTime(element) {
    var at = new Date(element.dateTime);
    if (isNaN(at)) return;
    var seconds = (at - Date.now()) / 1000;
    element.title = absolute.format(at);
    if (Math.abs(seconds) > 7 * 86400) { element.textContent = element.title; return; }
    var step = STEPS.find(function (one) { return Math.abs(seconds) >= one[1]; });
    element.textContent = step ? relative.format(Math.round(seconds / step[1]), step[0])
      : seconds <= 0 ? "just now" : "in a moment";
  }

  function showTimes(within) {
    within.querySelectorAll("time[datetime]").forEach(showTime);
  }

  // Copying ---------------------------------------------------------------------------------------------------------

  function setUpCopying(within) {
    if (!navigator.clipboard) return;
    within.querySelectorAll("button[data-copy]").forEach(function (button) { button.hidden = false; });
  }

  document.addEventListener("click", function (event) {
    var button = event.target.closest("button[data-copy]");
    if (!button) return;
    var text = document.getElementById(button.dataset.copy).textContent;
    navigator.clipboard.writeText(text).then(
      function () { say("Copied"); },
      function () { say("The browser does not let it be copied"); });
  });

  // Dialogs: a link or form that opens one, where there is a script; its page says the same without ----------------

  document.addEventListener("click", function (event) {
    var opener = event.target.closest("[data-dialog]");
    if (opener) {
      var dialog = document.getElementById(opener.dataset.dialog);
      if (dialog && dialog.showModal) { event.preventDefault(); dialog.showModal(); }
    } else if (event.target.closest("[data-close]")) {
      event.preventDefault();
      event.target.closest("dialog").close();
    }
  });

  // Parts that are looked at again, while anybody looks: an attribute data-refresh, in milliseconds -----------------

  function lookAgain(element) {
    if (!element.isConnected) return;
    if (document.hidden || element.contains(document.activeElement) && document.activeElement.matches("input, select")) {
      setTimeout(lookAgain, 1000, element);
      return;
    }
    // The answer takes this element's place, or the same is tried once more.
    htmx.trigger(element, "refresh");
    setTimeout(lookAgain, Number(element.dataset.refresh), element);
  }

  function setUpRefresh(within) {
    var found = within.matches && within.matches("[data-refresh]") ? [within] : [];
    within.querySelectorAll("[data-refresh]").forEach(function (element) { found.push(element); });
    found.forEach(function (element) {
      if (element.dataset.ticking) return;
      element.dataset.ticking = "yes";
      setTimeout(lookAgain, Number(element.dataset.refresh), element);
    });
  }

  function setUp(within) {
    showTimes(within);
    setUpCopying(within);
    setUpRefresh(within);
  }

  window.layercut = { say: say, setUp: setUp };
  setUpTheme();
  setUp(document);
  setInterval(function () { showTimes(document); }, 30000);
  // A link that has the focus keeps it when its table is drawn anew.
  var focused = null;
  document.addEventListener("htmx:beforeSwap", function (event) {
    var active = document.activeElement;
    focused = active && event.target.contains(active) ? active.getAttribute("href") : null;
  });
  document.addEventListener("htmx:afterSettle", function (event) {
    setUp(event.target.id ? document.getElementById(event.target.id) || document : document);
    if (!focused) return;
    var again = Array.from(document.links).find(function (one) { return one.getAttribute("href") === focused; });
    if (again) again.focus({ preventScroll: true });
    focused = null;
  });
})();
