// Keeps an open page up to date: the server sends the content again when it has changed. Without this script the page
// shows its state at the time of loading.
"use strict";
(() => {
  const main = document.querySelector("main[data-live]");
  const note = document.getElementById("connection");

  document.addEventListener("submit", (e) => {
    const question = e.target.dataset.confirm;
    if (question && !window.confirm(question)) e.preventDefault();
  });
  if (!main || !window.EventSource) return;

  let source = null;

  const show = (html) => {
    // Keep a selection: skip this update. The next one has the whole content.
    const selection = document.getSelection();
    if (selection && !selection.isCollapsed && main.contains(selection.anchorNode)) return;
    const fresh = new DOMParser().parseFromString(html, "text/html").body;
    for (const d of main.querySelectorAll("details[open][id]")) {
      const same = fresh.querySelector("#" + CSS.escape(d.id));
      if (same) same.open = true;
    }
    const focused = main.contains(document.activeElement) ? pathTo(document.activeElement) : null;
    main.replaceChildren(...fresh.childNodes);
    if (focused) {
      const again = follow(focused);
      if (again) again.focus({ preventScroll: true });
    }
  };

  // Returns a description of an element by which follow finds it after an update.
  const pathTo = (element) => {
    if (element.getAttribute("href")) return { href: element.getAttribute("href") };
    const form = element.closest("form");
    if (form) return { action: form.getAttribute("action") };
    const details = element.closest("details[id]");
    return details ? { details: details.id } : null;
  };
  const follow = (path) => {
    if (path.href) return main.querySelector(`a[href="${CSS.escape(path.href)}"]`);
    if (path.action) return main.querySelector(`form[action="${CSS.escape(path.action)}"] button`);
    return main.querySelector(`#${CSS.escape(path.details)} > summary`);
  };

  const open = () => {
    if (source) return;
    source = new EventSource(main.dataset.live);
    source.addEventListener("page", (e) => show(JSON.parse(e.data)));
    source.addEventListener("open", () => { note.hidden = true; main.dataset.connected = "yes"; });
    source.addEventListener("error", () => {
      note.hidden = false;
      delete main.dataset.connected;
      // An error status closes the source permanently, so open a new one later.
      if (source && source.readyState === EventSource.CLOSED) {
        close();
        window.setTimeout(() => { if (!document.hidden) open(); }, 5000);
      }
    });
  };
  const close = () => {
    if (source) source.close();
    source = null;
  };

  // A hidden page holds no connection.
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  window.addEventListener("pagehide", close);
  if (!document.hidden) open();
})();
