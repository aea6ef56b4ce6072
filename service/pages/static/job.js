// A running job's page: what its events tell is shown as it comes. What changes the page's parts is asked for anew.
(function () {
  "use strict";

  var SVG = "http://www.w3.org/2000/svg";
  var PARTS = ["job.started", "job.resolved", "job.attempt_lost", "job.cancelling", "job.succeeded", "job.failed", "job.cancelled"];
  var MOST_LOG = 64 * 1024;
  var sources = [];

  function byId(id) { return document.getElementById(id); }

  function put(id, text) {
    var element = byId(id);
    if (element && element.textContent !== text) element.textContent = text;
  }

  function duration(seconds) {
    if (seconds < 60) return Math.round(seconds) + " s";
    if (seconds < 3600) return Math.floor(seconds / 60) + " min " + Math.round(seconds % 60) + " s";
    return Math.floor(seconds / 3600) + " h " + Math.round(seconds % 3600 / 60) + " min";
  }

  // The curve -------------------------------------------------------------------------------------------------------

  function node(name, attributes, text) {
    var made = document.createElementNS(SVG, name);
    Object.keys(attributes).forEach(function (key) { made.setAttribute(key, attributes[key]); });
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function Curve() { this.points = []; this.due = false; }

  Curve.prototype.add = function (step, loss) {
    var last = this.points[this.points.length - 1];
    // Another training begins at its own first step.
    if (last && step < last[0]) this.points = [];
    this.points.push([step, loss]);
    if (this.due) return;
    this.due = true;
    requestAnimationFrame(this.draw.bind(this));
  };

  Curve.prototype.draw = function () {
    this.due = false;
    var svg = byId("curve-svg");
    if (!svg || this.points.length < 2) return;
    byId("curve").hidden = false;
    var points = this.points, left = 46, right = 628, top = 10, bottom = 172;
    var steps = points.map(function (one) { return one[0]; }), losses = points.map(function (one) { return one[1]; });
    var x0 = steps[0], x1 = steps[steps.length - 1], high = Math.max.apply(null, losses);
    var y1 = high * 1.05 || 1;
    function x(step) { return left + (right - left) * (step - x0) / (x1 - x0 || 1); }
    function y(loss) { return bottom - (bottom - top) * loss / y1; }
    svg.replaceChildren();
    [0, 0.5, 1].forEach(function (share) {
      var at = y(y1 * share);
      svg.append(node("line", { class: "curve-grid", x1: left, x2: right, y1: at, y2: at }));
      svg.append(node("text", { class: "curve-text", x: left - 6, y: at + 4, "text-anchor": "end" }, (y1 * share).toPrecision(2)));
    });
    svg.append(node("text", { class: "curve-text", x: left, y: 192 }, String(x0)));
    svg.append(node("text", { class: "curve-text", x: right, y: 192, "text-anchor": "end" }, "step " + x1));
    svg.append(node("polyline", { class: "curve-line", points: points.map(function (one) { return x(one[0]).toFixed(1) + "," + y(one[1]).toFixed(1); }).join(" ") }));
    var end = points[points.length - 1];
    svg.append(node("circle", { class: "curve-dot", cx: x(end[0]), cy: y(end[1]), r: 4 }));
    put("curve-caption", "Loss by step, live: " + end[1].toFixed(3) + " at step " + end[0]);
  };

  // Events ----------------------------------------------------------------------------------------------------------

  function showProgress(progress, curve) {
    var bar = byId("progress-bar");
    if (bar) bar.value = progress.fraction;
    put("progress-share", Math.round(progress.fraction * 100) + " %");
    if (progress.eta_seconds != null) put("progress-eta", duration(progress.eta_seconds) + " left");
    var parts = [];
    if (progress.step != null && progress.total_steps) parts.push("step " + progress.step.toLocaleString("en") + " of " + progress.total_steps.toLocaleString("en"));
    if (progress.loss != null) parts.push("loss " + progress.loss.toFixed(3));
    put("progress-step", parts.join(" · "));
    if (progress.step != null && progress.loss != null) curve.add(progress.step, progress.loss);
  }

  var SAID = { done: "done", current: "now", skipped: "skipped" };

  function mark(item, state) {
    item.className = "stage " + state;
    item.querySelector(".stage-state").textContent = SAID[state];
    if (state === "current") item.setAttribute("aria-current", "step"); else item.removeAttribute("aria-current");
  }

  function showStage(data) {
    var items = Array.from(document.querySelectorAll("#stages [data-stage]"));
    var at = items.find(function (item) { return item.dataset.stage === data.stage; });
    if (!at) return;
    if (!data.skipped) items.filter(function (item) { return item.classList.contains("current"); }).forEach(function (item) { mark(item, "done"); });
    mark(at, data.skipped ? "skipped" : "current");
    if (!data.skipped) window.layercut.say(at.querySelector(".stage-name").textContent);
  }

  function refresh(job) { if (job.isConnected) htmx.trigger(job, "refresh"); }

  function watch(job) {
    var curve = new Curve(), seen = Number(job.dataset.last);
    // From the first event on: the curve is drawn of those before, too.
    var source = new EventSource(job.dataset.live + "?after=0");
    sources.push(source);
    source.addEventListener("job.started", function () { curve.points = []; });
    source.addEventListener("job.progress", function (message) {
      var event = JSON.parse(message.data);
      if (event.number > seen) showProgress(event.data, curve);
      else if (event.data.step != null && event.data.loss != null) curve.add(event.data.step, event.data.loss);
    });
    source.addEventListener("job.stage", function (message) {
      var event = JSON.parse(message.data);
      if (event.number > seen) showStage(event.data);
    });
    PARTS.forEach(function (type) {
      source.addEventListener(type, function (message) {
        if (JSON.parse(message.data).number > seen) refresh(job);
      });
    });
    source.onerror = function () {
      // The stream is refused, or the proxy before us has none: looked at again, then.
      if (source.readyState === EventSource.CLOSED) setTimeout(refresh, 4000, job);
    };
  }

  function watchLog(log) {
    var source = new EventSource(log.dataset.live + "?offset=" + log.dataset.offset);
    var isEmpty = log.dataset.offset === "0";
    sources.push(source);
    source.addEventListener("log", function (message) {
      var atEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 24;
      var text = (isEmpty ? "" : log.textContent) + JSON.parse(message.data).text;
      isEmpty = false;
      log.textContent = text.slice(-MOST_LOG);
      if (atEnd) log.scrollTop = log.scrollHeight;
    });
  }

  function start() {
    sources.forEach(function (source) { source.close(); });
    sources = [];
    var job = byId("job"), log = byId("log");
    if (!job) return;
    if (log) log.scrollTop = log.scrollHeight;
    document.querySelectorAll("[data-figure] img").forEach(function (image) {
      function hide() {
        var figure = image.closest("[data-figure]");
        figure.hidden = true;
        var card = figure.closest(".card");
        card.hidden = card.querySelectorAll("[data-figure]:not([hidden])").length === 0;
      }
      if (image.complete && image.naturalWidth === 0 && image.loading !== "lazy") hide();
      image.addEventListener("error", hide);
    });
    if (job.dataset.live) watch(job);
    if (log && log.dataset.live) watchLog(log);
  }

  // Whoever is asked whether it is meant is not to lose the question: the page is drawn anew once that is answered.
  document.addEventListener("htmx:beforeSwap", function (event) {
    var job = event.target, asked = job.id === "job" && job.querySelector("dialog[open]");
    if (!asked) return;
    event.detail.shouldSwap = false;
    asked.addEventListener("close", function () { refresh(job); }, { once: true });
  });
  document.addEventListener("htmx:afterSettle", start);
  // A browser has six connections for all its tabs here: one that nobody looks at gives its own back.
  document.addEventListener("visibilitychange", function () {
    var job = byId("job");
    if (!job || !job.dataset.live) return;
    if (document.hidden) sources.forEach(function (source) { source.close(); });
    else refresh(job);
  });
  window.addEventListener("pagehide", function () { sources.forEach(function (source) { source.close(); }); });
  window.addEventListener("pageshow", function (event) { if (event.persisted) start(); });
  start();
})();
