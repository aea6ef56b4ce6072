// Forms that plan as one types, and files that show how far they are.
(function () {
  "use strict";

  document.documentElement.classList.add("scripted");

  // What is wrong with a field is said beside it; whoever cannot see that is told by the field.
  function mark(within) {
    within.querySelectorAll("[data-wrong]").forEach(function (complaint) {
      var name = complaint.dataset.wrong;
      var field = document.getElementById(name) || document.querySelector('fieldset[aria-describedby~="wrong-' + name + '"]');
      if (!field) return;
      if (complaint.textContent.trim()) field.setAttribute("aria-invalid", "true");
      else field.removeAttribute("aria-invalid");
    });
  }
  document.addEventListener("htmx:afterSettle", function () { mark(document); });

  // What was opened stays open when its table is drawn anew.
  var open = [];
  document.addEventListener("htmx:beforeSwap", function (event) {
    open = Array.from(event.target.querySelectorAll("details[open][id]")).map(function (one) { return one.id; });
  });
  document.addEventListener("htmx:afterSettle", function () {
    open.forEach(function (id) { var one = document.getElementById(id); if (one) one.open = true; });
    open = [];
  });

  // Twice is not meant.
  document.addEventListener("submit", function (event) {
    var form = event.target;
    if (!form.matches("[data-busy]")) return;
    if (form.dataset.sent) { event.preventDefault(); return; }
    form.dataset.sent = "yes";
    setTimeout(function () { delete form.dataset.sent; }, 8000);
  });
  window.addEventListener("pageshow", function () {
    document.querySelectorAll("[data-busy]").forEach(function (form) { delete form.dataset.sent; });
  });

  // Uploads -----------------------------------------------------------------------------------------------------------

  function megabytes(count) { return (count / 1e6).toFixed(count < 1e7 ? 1 : 0) + " MB"; }

  function sayWrong(form, text) {
    var place = form.querySelector(".field-error");
    place.textContent = text;
    place.setAttribute("role", "alert");
    var field = form.querySelector('input[type="file"]');
    field.setAttribute("aria-invalid", "true");
    field.focus();
  }

  function send(form) {
    var request = new XMLHttpRequest();
    var shown = form.querySelector(".sending"), bar = shown.querySelector("progress"), words = shown.querySelector(".hint");
    var button = form.querySelector('button[type="submit"]');
    form.querySelector(".field-error").textContent = "";
    shown.hidden = false;
    button.disabled = true;
    request.upload.addEventListener("progress", function (event) {
      if (!event.lengthComputable) return;
      bar.max = event.total;
      bar.value = event.loaded;
      words.textContent = event.loaded < event.total ? megabytes(event.loaded) + " of " + megabytes(event.total) : "Looking into it…";
    });
    request.addEventListener("load", function () {
      var page = new DOMParser().parseFromString(request.responseText, "text/html");
      if (request.status < 300) { location.assign(request.responseURL); return; }
      var said = page.querySelector("[data-refusal]") || page.querySelector("main .lead");
      stop(said ? said.textContent.trim() : "It was refused (" + request.status + ")");
    });
    request.addEventListener("error", function () { stop("The connection broke. Nothing of it is kept: send it again."); });
    function stop(text) {
      shown.hidden = true;
      button.disabled = false;
      sayWrong(form, text);
    }
    request.open("POST", form.action);
    request.send(new FormData(form));
  }

  document.querySelectorAll("form[data-upload]").forEach(function (form) {
    form.addEventListener("submit", function (event) {
      event.preventDefault();
      if (!form.querySelector('input[type="file"]').files.length) { sayWrong(form, "Choose a file first."); return; }
      send(form);
    });
  });

  // A choice that is looked at once it is made.
  document.addEventListener("change", function (event) {
    if (event.target.matches("[data-submits]")) event.target.form.requestSubmit();
  });
})();
